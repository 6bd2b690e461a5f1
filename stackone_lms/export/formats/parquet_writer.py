"""Writing Parquet: zstd, row groups of a size that readers work with in parallel."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from ..records.arrow import import_pyarrow
from ..state.storage import AtomicFile
from .row_groups import SplicedFile

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP: Final = 49_152
GROUP_BYTES: Final = 24 * 1024 * 1024


def import_parquet() -> Any:
    """Return the module `pyarrow.parquet`."""
    import_pyarrow()
    import pyarrow.parquet  # noqa: PLC0415 (an extra)

    return pyarrow.parquet


def written_alike(about: Any, schema: Any) -> bool:
    """Tell whether a file, by its metadata, is what this version of pyarrow makes of a schema."""
    made = BytesIO()
    with import_parquet().ParquetWriter(made, schema, compression="zstd"):
        pass
    own = import_parquet().ParquetFile(made).metadata
    return bool(own.schema.equals(about.schema) and own.created_by == about.created_by)


def write_batches(draft: AtomicFile, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Make a file of record batches."""
    with writing(draft, schema) as groups:
        for batch in batches:
            groups.add(batch)


@contextmanager
def writing(
    draft: AtomicFile | SplicedFile, schema: pa.Schema, group: int = ROW_GROUP, *, checksums: bool = False
) -> Generator[RowGroups]:
    """Make a file of record batches, with row groups of about so many rows; also with a checksum of each page."""
    sink = import_pyarrow().PythonFile(draft, mode="w")
    with import_parquet().ParquetWriter(sink, schema, compression="zstd", write_page_checksum=checksums) as writer:
        groups = RowGroups(writer, group)
        yield groups
        groups.flush()
        if isinstance(draft, SplicedFile):
            draft.hold_footer()
    if isinstance(draft, SplicedFile):
        draft.write_footer()


class RowGroups:
    """Gathers record batches into row groups, of so many rows or so many bytes at most."""

    def __init__(self, writer: Any, group: int) -> None:
        self._writer, self._group = writer, group
        self._batches: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        self._batches.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= self._group or self._bytes >= GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the rows that were added as a row group."""
        if self._rows:
            whole = import_pyarrow().Table.from_batches(self._batches)
            self._writer.write_table(whole, row_group_size=2 * self._group)
            del whole
            if self._bytes >= GROUP_BYTES:
                self._batches = []
                import_pyarrow().default_memory_pool().release_unused()  # it keeps as much again for later
        self._batches, self._rows, self._bytes = [], 0, 0
