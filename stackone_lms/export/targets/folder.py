"""A folder of files as a target: one for each account and resource."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import InvalidArgumentError
from ...models.base import RawResponse
from ..formats.base import CheckCancelled, DamagedError, Format, Inputs, Table
from ..formats.jsonl import JsonLines
from ..formats.registry import formats
from ..lists import find
from ..records.history import History, Stamp
from ..records.keys import DuplicateScan, KeyIndex, find_duplicates, keys_of_lines
from ..state.files import WORK, Files
from ..state.journal import Journal
from ..state.manifest import FileEntry, ListEntry
from ..state.storage import AtomicFile, checksum, link, sync_folder, wrap_os_errors
from ..state.store import DRAFTS, clear, joined, partition
from .base import CALLS, FAILED_ACCOUNTS, Describe, ListJob, Target, TargetCheck, WriteOptions, WriteResult, Written


class Folder(Target):
    """A folder with one file for each account and resource, partitioned as `resource=.../account=...`."""

    def __init__(self, path: Path, format: str) -> None:
        known = formats()
        if format not in known:
            raise InvalidArgumentError(f"format {format!r:.40} is unknown; there are: {', '.join(known)}")
        self._form: Format = known[format]
        self.format, self.files, self.work = format, Files(path), path / WORK

    def prepare(self) -> None:
        """Raise ExportError if a package is missing that it needs."""
        self._form.prepare()

    @property
    def failed_accounts_path(self) -> Path:
        """Where the ids of failed accounts stand: named like the manifest, so that readers of the folder pass it by."""
        return self.files.root / f"_{FAILED_ACCOUNTS}"

    def damage(self, entry: ListEntry) -> str | None:
        """Say what is wrong with the files of a list: whether they are there, in the size that they were written in."""
        return next(filter(None, map(self._wrong, entry.files)), None)

    def write(self, job: ListJob, journal: Journal, options: WriteOptions, describe: Describe) -> Written:
        """Write the files beside their places, or into them if that makes no difference to a crash."""
        table = Table(job.resource.row_model, job.account)
        history = History(Stamp(options.exported_at, options.run))
        found, files = self._write(table, job.folder, journal.rows_path, options, history)
        if journal.calls is not None:
            calls, other = Table(RawResponse, job.account), History(history.stamp)
            folder = partition(job.resource.name + CALLS, job.account)
            files += self._write(calls, folder, journal.calls_path, options, other)[1]
        entry = describe(WriteResult(found, files[0].records, files, history.new, history.changed))
        if options.before is None and not self.remote:
            # Written again from the same journal they are the same; else they depend on what is in the place.
            self.place(entry)
        return Written(entry)

    def _write(
        self, table: Table, folder: Path, spool: Path, options: WriteOptions, history: History
    ) -> tuple[DuplicateScan, list[FileEntry]]:
        final = folder / f"part-0{self._form.suffix}"
        before = options.before.files if options.before is not None else ()
        held = next((file for file in before if file.path == final.as_posix()), None)
        merged = self._checked(held) if held is not None and options.merge else contextlib.nullcontext()
        with merged as base:
            return self._write_file(table, final, base, held, spool, options, history)

    def _write_file(
        self,
        table: Table,
        final: Path,
        base: Path | None,
        held: FileEntry | None,
        spool: Path,
        options: WriteOptions,
        history: History,
    ) -> tuple[DuplicateScan, list[FileEntry]]:
        draft, named = self._draft(final), options.before is not None or self.remote
        written, intact = None, base is not None
        if base is not None:
            found = self._form.find_duplicates(table, base, spool)
        else:
            sources = [partial(keys_of_lines, spool, of_users=table.of_users)]
            if held is not None:
                intact = self._hold(table, held, history, options.check_cancelled)
            if self._form.indexes_keys:
                # Nearly always no record comes twice: then one reading is enough.
                key_index = KeyIndex()
                inputs = Inputs(None, spool, frozenset(), history, key_index)
                written = self._make(draft, table, inputs, options.check_cancelled, named=named)
                found = key_index.find_duplicates(sources)
            else:
                found = find_duplicates(sources)
        if written is None or found.superseded:
            history.new = history.changed = 0
            inputs = Inputs(base, spool, found.superseded, history)
            written = self._make(draft, table, inputs, options.check_cancelled, named=named)
        sha256, size = written
        if intact and held is not None and (held.sha256, held.bytes) == written:
            with wrap_os_errors("removing what is in its place already"):
                draft.unlink()
        records = found.total - len(found.superseded)
        if base is None and history.empty:
            history.new = records
        return found, [FileEntry(path=final.as_posix(), bytes=size, records=records, sha256=sha256)]

    @contextlib.contextmanager
    def _checked(self, file: FileEntry) -> Generator[Path]:
        """Give a path to read a file from; raise DamagedError unless it is what was written."""
        if (wrong := self._wrong(file)) is not None:
            raise DamagedError(wrong)
        with self.files.opened(file.path) as path:
            if checksum(path)[0] != file.sha256:
                raise DamagedError(f"{file.path} is not as it was written")
            yield path

    def _wrong(self, file: FileEntry) -> str | None:
        if (size := self.files.size(file.path)) is None:
            return f"{file.path} is gone"
        if size != file.bytes:
            return f"{file.path} is not as it was written ({size:,} bytes, {file.bytes:,} expected)"
        return None

    def _hold(self, table: Table, file: FileEntry, history: History, check_cancelled: CheckCancelled) -> bool:
        """Note what is replaced, to tell what has changed; return False if the file is damaged."""
        with contextlib.suppress(DamagedError), self._checked(file) as path:
            self._form.hold(path, table, history, check_cancelled)
            return True
        return False

    def _draft(self, final: Path) -> Path:
        # Not named as what it will be: a reader may look into every folder for `*.parquet`.
        return self.work / DRAFTS / f"{joined(final)}.partial"

    def _make(
        self, path: Path, table: Table, inputs: Inputs, check_cancelled: CheckCancelled, *, named: bool
    ) -> tuple[str, int]:
        """Make a file; its name is durable only if asked for."""
        as_it_is = isinstance(self._form, JsonLines) and inputs.base is None and not inputs.superseded
        if as_it_is and link(inputs.spool, path, named=named):  # the file would be what the spool is
            if isinstance(self._form, JsonLines) and not inputs.history.empty:
                self._form.compare(inputs.spool, table, inputs.history, check_cancelled)
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
                self.files.put(draft, file.path)
        kept = {file.path for file in entry.files}
        for resource in (entry.resource, entry.resource + CALLS):
            final = (partition(resource, entry.account_id) / f"part-0{self._form.suffix}").as_posix()
            if final not in kept:
                self.files.delete(final)

    def remove(self, accounts: Sequence[str], *, erase: bool) -> None:
        """Remove the folders of some accounts, of every resource; a file that is gone leaves nothing to erase."""
        for account in accounts:
            for folder in sorted(self.files.root.glob(str(partition("*", account)))):
                clear(folder)
                sync_folder(folder.parent)

    def check(self, entries: Sequence[ListEntry], accounts: Collection[str] | None) -> TargetCheck:
        """Compare presence, size, checksum and number of records of the files; and look for others."""
        listed = [file for entry in entries for file in entry.files]
        problems: list[str] = []
        for file in listed:
            if self.files.size(file.path) is None:
                problems.append(f"{file.path}: missing")
                continue
            with self.files.opened(file.path) as path:
                found, size = checksum(path)
                if (found, size) != (file.sha256, file.bytes):
                    problems.append(f"{file.path}: not as it was written ({size} bytes, {file.bytes} expected)")
                elif (records := self._form.count(path)) != file.records:
                    problems.append(f"{file.path}: {records} records, {file.records} expected")
        paths = {file.path for file in listed}
        folders = None if accounts is None else {partition("", account).name for account in accounts}
        problems += [f"{path}: not part of the export" for path in self._data_files(folders) if path not in paths]
        return TargetCheck(len(listed), sum(file.records for file in listed), problems)

    def _data_files(self, folders: set[str] | None) -> Iterator[str]:
        """Yield what a reader may take for a part of the data set, or of some accounts' folders in it."""
        for name in sorted(self.files.names()):
            part = name.endswith(self._form.suffix) or name.startswith("resource=")
            if part and (folders is None or not folders.isdisjoint(name.split("/"))):
                yield name

    def columns(self, entry: ListEntry, names: Sequence[str]) -> Iterator[Mapping[str, Sequence[Any]]]:
        """Yield the values of some columns of a list, some records at a time."""
        table = Table(find(entry.resource).row_model, entry.account_id)
        for file in entry.files:
            if file.path.startswith(f"resource={entry.resource}/"):
                with self.files.opened(file.path) as path:
                    yield from self._form.columns(path, table, names)
