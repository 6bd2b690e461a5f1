"""A folder of files as a target: one for each account and resource."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import InvalidArgumentError
from ...models.base import RawResponse
from ..formats.base import CheckCancelled, Format, Inputs, Table
from ..formats.jsonl import JsonLines
from ..formats.registry import formats
from ..records.keys import DuplicateScan, KeyIndex, find_duplicates
from ..state.journal import Journal
from ..state.manifest import WORK, FileEntry, ListEntry
from ..state.storage import AtomicFile, checksum, link, make_folder, replace
from .base import CALLS, Describe, ListJob, Target, WriteOptions, WriteResult, partition


class Folder(Target):
    """A folder with one file for each account and resource, partitioned as `resource=.../account=...`."""

    def __init__(self, path: Path, format: str) -> None:
        known = formats()
        if format not in known:
            raise InvalidArgumentError(f"format {format!r:.40} is unknown; there are: {', '.join(known)}")
        self._form: Format = known[format]
        self.format, self.root, self.work = format, path, path / WORK

    def prepare(self) -> None:
        """Raise ExportError if a package is missing that it needs."""
        self._form.prepare()

    def write(self, job: ListJob, journal: Journal, options: WriteOptions, describe: Describe) -> ListEntry:
        """Write the files beside their places."""
        before, check_cancelled = options.before if options.merge else None, options.check_cancelled
        table = Table(job.model, job.account)
        found, files = self._write(table, job.folder, journal.rows_path, before, check_cancelled)
        if journal.calls is not None:
            calls = partition(job.resource.name + CALLS, job.account)
            files += self._write(Table(RawResponse, job.account), calls, journal.calls_path, before, check_cancelled)[1]
        return describe(WriteResult(found, files[0].records, files))

    def _write(
        self, table: Table, folder: Path, spool: Path, before: ListEntry | None, check_cancelled: CheckCancelled
    ) -> tuple[DuplicateScan, list[FileEntry]]:
        final = folder / f"part-0{self._form.suffix}"
        base = None
        if before is not None and any(file.path == final.as_posix() for file in before.files):
            base = self.root / final
        sources, draft = self._form.sources(table, base, spool), self._draft(final)
        written = None
        if base is None and self._form.indexes_keys:
            # Nearly always no record comes twice: then one reading is enough.
            key_index = KeyIndex()
            written = self._make(draft, table, Inputs(None, spool, frozenset(), key_index), check_cancelled)
            found = key_index.find_duplicates(sources)
        else:
            found = find_duplicates(sources)
        if written is None or found.superseded:
            written = self._make(draft, table, Inputs(base, spool, found.superseded), check_cancelled)
        sha256, size = written
        records = found.total - len(found.superseded)
        return found, [FileEntry(path=final.as_posix(), bytes=size, records=records, sha256=sha256)]

    def _draft(self, final: Path) -> Path:
        # Not named as what it will be: a reader may look into every folder for `*.parquet`.
        return self.work / "drafts" / final.with_name(f"{final.name}.partial")

    def _make(self, path: Path, table: Table, inputs: Inputs, check_cancelled: CheckCancelled) -> tuple[str, int]:
        if isinstance(self._form, JsonLines) and inputs.base is None and not inputs.superseded:
            # The spool is what the file would be: it gets a second name.
            make_folder(path.parent)
            if link(inputs.spool, path):
                return checksum(path)
        draft = AtomicFile(path)
        try:
            self._form.write(draft, table, inputs, check_cancelled)
            draft.commit()
        except BaseException:
            draft.discard()
            raise
        return draft.sha256, draft.size

    def place(self, files: Sequence[FileEntry]) -> None:
        """Put files that were written in their places; those that are there already stay."""
        for file in files:
            draft = self._draft(Path(file.path))
            if draft.exists():
                replace(draft, self.root / file.path)

    def has(self, files: Sequence[FileEntry]) -> bool:
        """Return whether files that were written are still there, in their places or not."""
        return all(_has(self._draft(Path(f.path)), f) or _has(self.root / f.path, f) for f in files)


def _has(path: Path, file: FileEntry) -> bool:
    return path.is_file() and path.stat().st_size == file.bytes
