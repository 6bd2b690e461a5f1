"""One Delta table: made, grown, told from those of others, and brought in line with lists by one commit."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from ...errors import ExportError, printable
from ..formats.base import CheckCancelled
from ..records.arrow import import_pyarrow, schema_of
from ..records.columns import ACCOUNT, Column
from ..state.manifest import ListEntry
from ..state.storage import wrap_os_errors
from .delta_changes import Change, Held, accounts_of, hold, new_rows
from .delta_files import (
    SMALL_BYTES,
    DataFile,
    MadeFile,
    Maker,
    Source,
    count_by_account,
    local_source,
    open_parquet,
    packed,
)
from .delta_library import import_deltalake, speaking
from .delta_log import APP, Marks
from .delta_storage import Storage

FEED: Final = "delta.enableChangeDataFeed"
_NOT_OURS_TO_WRITE: Final = {"deletionVectors", "columnMapping", "rowTracking", "icebergCompatV1", "icebergCompatV2"}
"""Features of a table that this does not keep: to write all the same would bring back rows, or lose some."""


class RowCounts(NamedTuple):
    """What became of the rows of a list."""

    new: int
    changed: int


EntriesOf = Callable[[Mapping[str, RowCounts]], Iterable[ListEntry]]
"""Says what is to be remembered of the lists that are written, by account, once it is known what became of them."""


class LakeTable:
    """A Delta table with the rows of one resource.

    Args:
        storage: Where it is.
        name: What it is called.
        columns: What its rows are.
        work: A folder on this machine for what is being made.
    """

    def __init__(self, storage: Storage, name: str, columns: Sequence[Column], work: Path) -> None:
        self.storage, self.name, self._columns, self._work = storage, name, columns, work
        self._table: Any = None
        self._marks: Marks | None = None
        self._commits: int | None = None
        """Commits of exports that the marks tell of."""

    # What is there

    def exists(self) -> bool:
        """Tell whether there is a table."""
        if self._table is None:
            with speaking(f"looking for the Delta table {self.name}"):
                deltalake = import_deltalake()
                if deltalake.DeltaTable.is_deltatable(self.storage.uri, self.storage.options):
                    self._table = deltalake.DeltaTable(self.storage.uri, storage_options=self.storage.options)
        return self._table is not None

    @property
    def is_ours(self) -> bool:
        """Whether an export has made the table, which is there."""
        return self._table.transaction_version(APP) is not None

    @property
    def marks(self) -> Marks:
        """What the table says about its lists."""
        if self._marks is None:
            with speaking(f"reading the log of the Delta table {self.name}"):
                self._marks, self._commits = Marks.read(self._table), self._table.transaction_version(APP)
        return self._marks

    @property
    def has_feed(self) -> bool:
        """Whether it has a change data feed."""
        return bool(self._table.metadata().configuration.get(FEED) == "true")

    def files(self) -> list[DataFile]:
        """Return its active files."""
        with speaking(f"reading the log of the Delta table {self.name}"):
            found = import_pyarrow().table(self._table.get_add_actions(flatten=True))
        first, last = f"min.{ACCOUNT}", f"max.{ACCOUNT}"
        names = [name for name in ("path", "size_bytes", "num_records", first, last) if name in found.column_names]
        return [
            DataFile(row["path"], row["size_bytes"], row.get("num_records"), row.get(first), row.get(last))
            for row in found.select(names).to_pylist()
        ]

    def source(self, file: DataFile, *, verify: bool = False) -> Source:
        """Return a file of it, to be read; also with a look at the checksums of its pages."""
        with speaking(f"reading a file of the Delta table {self.name}"):
            name = unquote(file.path)
            opened = partial(open_parquet, self.storage.opener(name), verify=verify)
            return Source(opened, self.schema, partial(self.storage.local, name, self._work), f"{self.name}/{name}")

    @property
    def schema(self) -> Any:
        """Its columns, as Arrow has them."""
        pa = import_pyarrow()
        with speaking(f"reading the schema of the Delta table {self.name}"):
            ours: Any = schema_of(self._columns)
            theirs = pa.schema(self._table.schema().to_arrow())
            return pa.schema([ours.field(one.name) if one.name in ours.names else one for one in theirs])

    # Before the first request

    def refuse_foreign(self) -> None:
        """Raise ExportError if there is something else than a table of an export."""
        if not self.exists():
            if self.storage.names():
                raise ExportError(f"{self.storage.shown} holds something that is no Delta table: name another place")
            return
        with speaking(f"reading the Delta table {self.name}"):
            about, protocol = self._table.metadata(), self._table.protocol()
            present = {field.name: field.type for field in self._table.schema().fields}
            wanted = {
                field.name: field.type
                for field in import_deltalake().Schema.from_arrow(schema_of(self._columns)).fields
            }
            ours = self.is_ours
        if not ours:
            raise ExportError(f"{self.storage.shown} is a Delta table that is not of an export: name another place")
        if about.partition_columns or about.configuration.get("delta.appendOnly") == "true":
            raise ExportError(f"{self.storage.shown} was partitioned, or made append-only: exports cannot update it")
        features = {*(protocol.writer_features or ())} | {*(getattr(protocol, "reader_features", None) or ())}
        if wrong := sorted(features & _NOT_OURS_TO_WRITE):
            raise ExportError(
                f"{self.storage.shown} has features that exports do not keep: {', '.join(wrong)}; "
                "drop them from the table (ALTER TABLE ... DROP FEATURE), or name another place"
            )
        if other := [name for name, kind in wanted.items() if present.get(name, kind) != kind]:
            raise ExportError(f"{self.storage.shown} has columns of other types than exports: {', '.join(other)}")

    def make(self, *, feed: bool) -> None:
        """Make the table, or add what it lacks: columns, and the change data feed if that is asked for."""
        deltalake = import_deltalake()
        if not self.exists():
            self.storage.make_folder()
            with speaking(f"making the Delta table {self.name}"):
                transaction = deltalake.transaction.Transaction(APP, 0)
                try:
                    self._table = deltalake.DeltaTable.create(
                        self.storage.uri,
                        schema_of(self._columns),
                        description="exported by stackone-lms",
                        configuration={FEED: "true"} if feed else None,
                        storage_options=self.storage.options,
                        commit_properties=deltalake.CommitProperties(app_transactions=[transaction]),
                    )
                except deltalake.exceptions.DeltaError as error:
                    if "already exists" not in str(error):
                        raise
                    raise ExportError(
                        f"another export has just made {self.storage.shown}: start the same command again when that "
                        "has ended"
                    ) from None
            self._marks, self._commits = Marks(), 0
            self.storage.sync_log(self._table.version())
            return
        present = self.schema.names
        if missing := [column for column in self._columns if column.name not in present]:
            with speaking(f"adding columns to the Delta table {self.name}"):
                fields = deltalake.Schema.from_arrow(schema_of(missing)).fields
                self._table.alter.add_columns(fields)
        if feed and not self.has_feed:
            with speaking(f"turning on the change data feed of the Delta table {self.name}"):
                self._table.alter.set_table_properties({FEED: "true"})
        self._refresh()

    def drop_lost_files(self) -> None:
        """Take out of the log what is not there any more; otherwise nobody can read the table."""
        there = {*self.storage.names()}
        if any(unquote(file.path) not in there for file in self.files()):
            with speaking(f"repairing the Delta table {self.name}"):
                self._table.repair()

    def miscounted(self, check_cancelled: CheckCancelled) -> Mapping[str, int] | None:
        """Return the rows by account if there are not as many as the table says; else None."""
        files = self.files()
        expected = sum(entry.records for entry in self.marks.entries.values())
        if sum(file.records if file.records is not None else -1 for file in files) == expected:
            return None
        return count_by_account((self.source(file) for file in files), check_cancelled)

    # Writing

    def _refresh(self) -> None:
        with speaking(f"reading the log of the Delta table {self.name}"):
            self._table.update_incremental()
        self._refuse_others()

    def _refuse_others(self) -> None:
        """Raise ExportError if another export has written to it since its marks were read."""
        if self._marks is not None and self._table.transaction_version(APP) != self._commits:
            raise ExportError(
                f"another export is writing to {self.storage.shown}, or has written there since this one began: start "
                "the same command again when that has ended"
            )

    def apply(
        self,
        changes: Sequence[Change],
        run: str,
        entries_of: EntriesOf,
        check_cancelled: CheckCancelled,
        *,
        deadline: float,
        gone: Collection[str] = (),
        all: bool = False,
    ) -> None:
        """Bring the table in line with lists, by one commit, which tells what is known about them from then on.

        Raises:
            ExportError: It cannot be written, or another export writes to it.
        """
        while True:
            try:
                return self._try(changes, run, entries_of, check_cancelled, gone, all=all)
            except ExportError:
                # Somebody may have compacted it, or changed a property: then what is there is compared anew.
                version = self._table.version()
                self._refresh()
                if self._table.version() == version or time.monotonic() > deadline:
                    raise
                self._marks = None

    def _try(
        self,
        changes: Sequence[Change],
        run: str,
        entries_of: EntriesOf,
        check_cancelled: CheckCancelled,
        gone: Collection[str],
        *,
        all: bool,
    ) -> None:
        schema, files = self.schema, self.files()
        self._refuse_strange_rows([one.account for one in changes if one.keep and one.spec.keys], check_cancelled)
        accounts = accounts_of(changes)
        touched = [file for file in files if file.may_hold(accounts)] if accounts else []
        sources = [self.source(file) for file in touched]
        maker = Maker(self._work, schema, check_cancelled)
        held = hold(sources, changes, check_cancelled) if changes else Held()
        made = maker.new_rows(new_rows(changes, held, check_cancelled))
        entries = entries_of(
            {one.account: RowCounts(held.new[one.account], held.changed[one.account]) for one in changes}
        )
        dropped = held.dropped()
        rewritten: list[tuple[DataFile, Source, Sequence[int]]] = [
            (touched[at], sources[at], rows) for at, rows in sorted(dropped.items())
        ]
        left = {file.path for file, _, _ in rewritten}
        if made or rewritten:
            small = [file for file in files if file.bytes < SMALL_BYTES and file.path not in left]
            rewritten += [(file, self.source(file), ()) for file in small]
        told = partial(self.marks.commit, run, entries, gone, all=all)
        removed = [file for file, _, _ in rewritten]
        parts = [(source, rows, file.bytes) for file, source, rows in rewritten]
        if self.has_feed:
            self._move_then_commit(maker, made, removed, parts, told)
            return
        if parts and made and made[-1].bytes < SMALL_BYTES:
            last = made.pop()
            parts.append((self._source_of(last), (), last.bytes))
        made += [one for some in packed(parts) if (one := maker.rewritten(some)) is not None]
        self._commit(made, removed, told())

    def _refuse_strange_rows(self, accounts: Collection[str], check_cancelled: CheckCancelled) -> None:
        """Raise ExportError if others have added or deleted rows of lists that get changes, which do not mend that."""
        counted = self.miscounted(check_cancelled) if accounts else None
        entries = self.marks.entries
        if counted is not None and any(
            entry.records != counted.get(account, 0)
            for account in accounts
            if (entry := entries.get(account)) is not None
        ):
            raise ExportError(
                f"rows of {self.storage.shown} were added or deleted by others during the export: start the same "
                "command again, which fetches the lists of such rows completely"
            )

    def _source_of(self, made: MadeFile) -> Source:
        return local_source(made.draft, self.schema)

    def _move_then_commit(
        self,
        maker: Maker,
        made: Sequence[MadeFile],
        removed: Sequence[DataFile],
        parts: Sequence[tuple[Source, Sequence[int], int]],
        told: Callable[[], dict[str, Any]],
    ) -> None:
        """Put rows that go into files of their own before: of these alone the change data feed tells then."""
        kept = [one for some in packed(parts) if (one := maker.rewritten(some)) is not None]
        out = maker.taken_out([(source, rows) for source, rows, _ in parts if rows])
        apart = self._commit([*kept, *out], removed, {}, is_change=False)[len(kept) :] if kept or out else []
        self._commit(made, apart, told())

    def _commit(
        self,
        made: Sequence[MadeFile],
        removed: Sequence[DataFile],
        told: dict[str, Any],
        *,
        is_change: bool = True,
    ) -> list[DataFile]:
        deltalake = import_deltalake()
        self._refuse_others()
        at = int(time.time() * 1000)
        names = [f"part-{uuid.uuid4()}.zstd.parquet" for _ in made]
        # Noted before: what a crash leaves without a commit is taken away by the next export.
        note = self._work.parent / f"placing-{self.name}.json"
        with wrap_os_errors("noting what is being written"):
            note.write_text(json.dumps(names))
        for one, name in zip(made, names, strict=True):
            self.storage.put(one.draft, name)
        add = partial(deltalake.transaction.AddAction, partition_values={}, modification_time=at, data_change=is_change)
        remove = partial(deltalake.transaction.RemoveAction, data_change=is_change, deletion_timestamp=at)
        actions = [
            *(add(path=name, size=one.bytes, stats=_stats(one)) for one, name in zip(made, names, strict=True)),
            *(remove(path=file.path, size=file.bytes, partition_values={}) for file in removed),
        ]
        commits = (self._table.transaction_version(APP) or 0) + 1
        properties = deltalake.CommitProperties(
            custom_metadata=told,
            max_commit_retries=0,  # it would be tried again without a look at what somebody else has removed
            app_transactions=[deltalake.transaction.Transaction(APP, commits)],
        )
        try:
            with speaking(f"writing to the Delta table {self.name}"):
                try:
                    self._table.create_write_transaction(
                        actions, "append", self._table.schema(), commit_properties=properties
                    )
                except deltalake.exceptions.CommitFailedError as error:
                    said = printable(str(error), 200)
                    raise ExportError(f"{self.storage.shown} is being written to by others: {said}") from None
        except ExportError:
            self.storage.delete(names)
            raise
        self._commits = commits
        self._refresh()
        self.storage.sync_log(self._table.version())
        with wrap_os_errors("clearing away what is not needed any more"):
            note.unlink(missing_ok=True)
        return [
            DataFile(name, one.bytes, one.records, one.first or None, one.last or None)
            for one, name in zip(made, names, strict=True)
        ]

    def clear_strays(self) -> None:
        """Take away the files that a crash has left without a commit."""
        note = self._work.parent / f"placing-{self.name}.json"
        try:
            names = [str(name) for name in json.loads(note.read_bytes())]
        except (OSError, ValueError):
            return
        active = {file.path for file in self.files()} if self.exists() else set[str]()
        self.storage.delete([name for name in names if name not in active])
        with wrap_os_errors("clearing away what is not needed any more"):
            note.unlink(missing_ok=True)

    # Keeping house

    def compact(self, check_cancelled: CheckCancelled) -> int:
        """Put small files together, and delete those that no version of the last days has any more.

        How long that is, the table says; 7 days by default.

        Returns:
            How many files there are fewer.
        """
        with speaking(f"clearing old files of the Delta table {self.name}"):
            if self._table.vacuum(dry_run=True):
                self._table.vacuum(dry_run=False)
        files = sorted(self.files(), key=lambda file: (file.first or "", file.path))
        small = [file for file in files if file.bytes < SMALL_BYTES * 8]
        if len(small) < 2:
            return 0
        maker = Maker(self._work, self.schema, check_cancelled)
        parts = [(self.source(file), (), file.bytes) for file in small]
        made = [one for some in packed(parts) if (one := maker.rewritten(some)) is not None]
        self._commit(made, small, {}, is_change=False)
        return len(small) - len(made)

    def forget_the_past(self) -> None:
        """Leave nothing but what the table holds now: no older version can be read any more.

        The last commit tells of all lists.
        """
        with speaking(f"clearing the log of the Delta table {self.name}"):
            self._table.create_checkpoint()
        version = self._table.version()
        self.storage.sync_log(version)
        active = {unquote(file.path) for file in self.files()}
        current = (f"{version:020}.json", f"{version:020}.checkpoint", "_last_checkpoint")
        old = [
            name
            for name in self.storage.names()
            if (
                not name.removeprefix("_delta_log/").startswith(current)
                if name.startswith("_delta_log/")
                else name not in active
            )
        ]
        self.storage.delete(old)
        self.storage.sync_log(version)


def _stats(made: MadeFile) -> str:
    about: dict[str, Any] = {"numRecords": made.records, "nullCount": {ACCOUNT: 0}}
    if made.first:
        about |= {"minValues": {ACCOUNT: made.first}, "maxValues": {ACCOUNT: made.last}}
    return json.dumps(about)
