"""A folder of files as a target: one for each account and resource."""

from __future__ import annotations

from pathlib import Path

from ...errors import InvalidArgumentError
from ...models.base import RawResponse
from ..formats.base import CheckCancelled, Format, Inputs, Table
from ..formats.jsonl import JsonLines
from ..formats.registry import formats
from ..records.keys import DuplicateScan, KeyIndex, find_duplicates
from ..state.journal import Journal
from ..state.manifest import WORK, FileEntry, ListEntry
from ..state.storage import AtomicFile, checksum, link, replace, wrap_os_errors
from ..state.store import DRAFTS
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

    def damage(self, entry: ListEntry) -> str | None:
        """Say what is wrong with the files of a list: whether they are there, in the size that they were written in."""
        for file in entry.files:
            path = self.root / file.path
            if not path.is_file():
                return f"{file.path} is gone"
            if (size := path.stat().st_size) != file.bytes:
                return f"{file.path} is not as it was written ({size:,} bytes, {file.bytes:,} expected)"
        return None

    def write(self, job: ListJob, journal: Journal, options: WriteOptions, describe: Describe) -> ListEntry:
        """Write the files beside their places, or into them if that makes no difference to a crash."""
        before, check_cancelled = options.before if options.merge else None, options.check_cancelled
        table = Table(job.model, job.account)
        found, files = self._write(table, job.folder, journal.rows_path, before, check_cancelled)
        if journal.calls is not None:
            calls = partition(job.resource.name + CALLS, job.account)
            files += self._write(Table(RawResponse, job.account), calls, journal.calls_path, before, check_cancelled)[1]
        entry = describe(WriteResult(found, files[0].records, files))
        if before is None:
            # Written again from the same journal they are the same.
            self.place(entry)
        return entry

    def _write(
        self, table: Table, folder: Path, spool: Path, before: ListEntry | None, check_cancelled: CheckCancelled
    ) -> tuple[DuplicateScan, list[FileEntry]]:
        final = folder / f"part-0{self._form.suffix}"
        base = None
        if before is not None and any(file.path == final.as_posix() for file in before.files):
            base = self.root / final
        sources, draft = self._form.sources(table, base, spool), self._draft(final)
        merged = before is not None
        written = None
        if base is None and self._form.indexes_keys:
            # Nearly always no record comes twice: then one reading is enough.
            key_index = KeyIndex()
            inputs = Inputs(None, spool, frozenset(), key_index)
            written = self._make(draft, table, inputs, check_cancelled, named=merged)
            found = key_index.find_duplicates(sources)
        else:
            found = find_duplicates(sources)
        if written is None or found.superseded:
            inputs = Inputs(base, spool, found.superseded)
            written = self._make(draft, table, inputs, check_cancelled, named=merged)
        sha256, size = written
        records = found.total - len(found.superseded)
        return found, [FileEntry(path=final.as_posix(), bytes=size, records=records, sha256=sha256)]

    def _draft(self, final: Path) -> Path:
        # Not named as what it will be: a reader may look into every folder for `*.parquet`.
        return self.work / DRAFTS / f"{'+'.join(final.parts)}.partial"

    def _make(
        self, path: Path, table: Table, inputs: Inputs, check_cancelled: CheckCancelled, *, named: bool
    ) -> tuple[str, int]:
        """Make a file; its name is durable only if asked for."""
        as_it_is = isinstance(self._form, JsonLines) and inputs.base is None and not inputs.superseded
        if as_it_is and link(inputs.spool, path, named=named):  # the file would be what the spool is
            return checksum(path)
        draft = AtomicFile(path)
        try:
            self._form.write(draft, table, inputs, check_cancelled)
            draft.commit(named=named)
        except BaseException:
            draft.discard()
            raise
        return draft.sha256, draft.size

    def place(self, entry: ListEntry, *, after_crash: bool = False) -> None:
        """Put the files of a list in their places, and take away those that it has no more."""
        for file in entry.files:
            draft = self._draft(Path(file.path))
            if draft.exists() and (not after_crash or checksum(draft) == (file.sha256, file.bytes)):
                replace(draft, self.root / file.path)
        kept = {file.path for file in entry.files}
        with wrap_os_errors("removing an old file"):
            for resource in (entry.resource, entry.resource + CALLS):
                final = partition(resource, entry.account_id) / f"part-0{self._form.suffix}"
                if final.as_posix() not in kept:
                    (self.root / final).unlink(missing_ok=True)
