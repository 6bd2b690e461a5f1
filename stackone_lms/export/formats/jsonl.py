"""JSON Lines: one record a line, as it was sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..records.keys import Keys, keys_of_lines
from ..records.lines import chunks
from ..state.storage import AtomicFile, wrap_os_errors
from .base import CheckCancelled, Format, Inputs, RowFilter, Table, column_batches, filtered_lines


class JsonLines(Format):
    """One record a line, byte by byte as the server sent it."""

    name, suffix = "jsonl", ".jsonl"

    def keys(self, path: Path, table: Table) -> Iterator[Keys]:
        """Yield the keys of the records of a file."""
        return keys_of_lines(path, of_users=table.of_users)

    def write(self, draft: AtomicFile, table: Table, inputs: Inputs, check_cancelled: CheckCancelled) -> None:
        """Make a file."""
        row_filter = RowFilter(inputs.superseded)
        for path in (inputs.base, inputs.spool):
            for lines in filtered_lines(path, row_filter, check_cancelled) if path is not None else ():
                if lines:
                    draft.write(b"\n".join(lines) + b"\n")

    def count(self, path: Path) -> int:
        """Return how many records a file holds."""
        with wrap_os_errors("reading what was exported"):
            return sum(chunk.count(b"\n") for chunk in chunks(path))

    def columns(self, path: Path, table: Table, names: Sequence[str]) -> Iterator[Mapping[str, Sequence[Any]]]:
        """Yield the values of some columns of a file, some records at a time."""
        return column_batches(table, Inputs(None, path, frozenset()), RowFilter(frozenset()), lambda: None)
