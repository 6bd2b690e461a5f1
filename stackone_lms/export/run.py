"""The run: all accounts at once, each list from its journal to its place, the manifest last."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from .. import __version__
from ..client import BaseClient, bound_executor_of
from ..errors import ExportError, StackOneError, printable
from ..models.base import to_wire
from ..threads import run_in_thread
from .fetching import Fetcher
from .outcome import ExportProgress, ExportResult, ListOutcome, ProgressCallback, State
from .plan import Plan, differences
from .state import manifest
from .state.journal import (
    VERSION,
    Header,
    Journal,
    finished,
)
from .state.manifest import Failed, ListEntry, Manifest
from .state.storage import (
    locked,
    sync_folder,
    wrap_os_errors,
    write_whole,
)
from .targets.base import ListJob, WriteOptions, WriteResult

R = TypeVar("R")


class _Unfinished(msgspec.Struct, frozen=True):
    """A run that has begun."""

    run: str
    started: str
    parameters: dict[str, Any]


class Run:
    """One run of an export.

    Args:
        client: Fetches, through views for each account.
        plan: What was asked for.
        watch: Hears how far it is.
    """

    def __init__(self, client: BaseClient[Any], plan: Plan, watch: ProgressCallback | None) -> None:
        self._client, self._plan, self._target, self._watch = client, plan, plan.target, watch
        self._writing = asyncio.Lock()
        self._stop = threading.Event()
        self._outcomes: dict[tuple[str, str], ListOutcome] = {}

    async def export(self) -> ExportResult:
        """Fetch and write everything."""
        began = time.monotonic()
        self._target.prepare()
        try:
            with locked(self._target.work / "lock"):
                self._begin()
                await self._all_accounts()
                result = ExportResult(lists=self._in_order(), seconds=time.monotonic() - began)
                self._end(complete=result.ok)
        except ExportError as error:
            error.__context__ = None  # an OSError, whose path names an account
            raise
        return result

    def _in_order(self) -> tuple[ListOutcome, ...]:
        accounts, lists_of = self._plan.accounts, self._plan.lists_of
        return tuple(self._outcomes[one.resource.name, a] for a in accounts for one in lists_of(a))

    def _begin(self) -> None:
        work, parameters = self._target.work, self._plan.parameters(self._client.base_url)
        found = manifest.read(self._target.root)
        if found is not None and found.format != self._target.format:
            raise ExportError(f"the target holds {found.format}, not {self._target.format}: take another one")
        self._manifest = found or Manifest(sdk=__version__, format=self._target.format)
        begun = None if self._plan.restart else _read(work / manifest.RUN)
        if begun is None:
            if (work / manifest.RUN).exists():
                self._give_up(work)
            _clear(work)
            begun = _Unfinished(uuid.uuid4().hex, _now(), parameters)
            write_whole(work / manifest.RUN, msgspec.json.encode(begun))
        elif differing := differences(begun.parameters, parameters):
            raise ExportError(
                f"the target holds an unfinished export with other parameters: {'; '.join(differing)}; "
                "go on with the same ones, or give it up with restart"
            )
        self._begun = begun

    def _give_up(self, work: Path) -> None:
        """End a run that is not finished; the lists that it has finished stay in the manifest, as they do in place."""
        for path in sorted((work / "lists").rglob("journal")):
            completed = finished(path)
            entry = msgspec.json.decode(completed, type=ListEntry) if completed is not None else None
            if entry is not None and self._target.has(entry.files):
                self._place(entry, self._manifest.find(entry.resource, entry.account_id))
                self._manifest.put(entry)
                self._manifest.complete = False
        if self._manifest.lists:
            manifest.write(self._target.root, self._manifest)
        with wrap_os_errors("clearing away an old run"):
            (work / manifest.RUN).unlink()
        sync_folder(work)

    async def _all_accounts(self) -> None:
        at_once = asyncio.Semaphore(self._plan.max_concurrent_accounts)
        first: BaseException
        try:
            async with asyncio.TaskGroup() as group:
                for account in self._plan.accounts:
                    group.create_task(self._account(account, at_once))
            return
        except BaseExceptionGroup as failed:
            first = failed.exceptions[0]
        raise first

    async def _account(self, account: str, at_once: asyncio.Semaphore) -> None:
        async with at_once:
            # One list after the other: the API advises against concurrent requests to one account.
            for job in self._plan.lists_of(account):
                self._outcomes[job.resource.name, account] = await self._list(job)

    def _end(self, *, complete: bool) -> None:
        found, work = self._manifest, self._target.work
        found.sdk, found.complete, found.parameters = __version__, complete, self._begun.parameters
        found.started, found.finished = self._begun.started, _now()
        manifest.write(self._target.root, found)
        if complete:
            with wrap_os_errors("clearing away the journals"):
                (work / manifest.RUN).unlink()
            sync_folder(work)
            _clear(work)

    # One list

    async def _list(self, job: ListJob) -> ListOutcome:
        began = time.monotonic()
        before = self._manifest.find(job.resource.name, job.account)
        after, merge = self._plan.changes_after(job, before)
        header = Header(VERSION, self._plan.query(job, after), _now(), merge)
        folder = self._target.work / "lists" / job.folder
        journal = Journal(folder, header, with_calls=self._plan.raw)
        entry, error = None, None
        try:
            entry = await self._complete(job, journal, before)
        except ExportError:
            self._tell(job, "failed", journal.checkpoint.records)
            raise  # the target is at fault: the other lists would fail as well
        except StackOneError as failure:
            error = failure
        finally:
            await journal.aclose()
        if entry is None:
            entry = msgspec.structs.replace(_entry_of(job, before), error=_failed(error))
        self._manifest.put(entry)
        self._tell(job, "done" if error is None else "failed", journal.checkpoint.records)
        return ListOutcome(
            resource=job.resource.name,
            account_id=job.account,
            records=entry.records,
            fetched=journal.checkpoint.records,
            superseded=entry.superseded if error is None else 0,
            missing_users=journal.checkpoint.missing,
            seconds=time.monotonic() - began,
            error=error,
        )

    async def _complete(self, job: ListJob, journal: Journal, before: ListEntry | None) -> ListEntry:
        if journal.completed is None:
            carrier = bound_executor_of(self._client.with_options(account_id=job.account))
            folder = self._target.work / "lists" / job.folder

            def tell(records: int, total: float | None) -> None:
                self._tell(job, "fetching", records, total)

            tell(journal.checkpoint.records, None)
            await Fetcher(carrier, self._plan, job, journal, folder, tell).fetch()
            async with self._writing:
                self._tell(job, "writing", journal.checkpoint.records)
                await self._in_thread(lambda: self._write(job, journal, before))
        if journal.completed is None:
            raise ExportError("the list was not written")
        entry = msgspec.json.decode(journal.completed, type=ListEntry)
        if not self._target.has(entry.files):
            raise ExportError("a file of this unfinished export is gone: give it up with restart")
        await self._in_thread(lambda: self._place(entry, before))
        return entry

    def _write(self, job: ListJob, journal: Journal, before: ListEntry | None) -> None:
        header = journal.header
        base = before if header.merge else None
        if header.merge and base is None:
            raise ExportError("the manifest is gone, so that changes cannot be merged: give this run up with restart")
        began = datetime.fromisoformat(self._begun.started)
        merge = header.merge or "updated_after" in header.query
        options = WriteOptions(self._begun.run, began, before, merge, self._check_cancelled)
        entry = self._target.write(job, journal, options, lambda written: self._entry(job, journal, base, written))
        journal.finish(msgspec.Raw(msgspec.json.encode(entry)))

    def _entry(self, job: ListJob, journal: Journal, base: ListEntry | None, written: WriteResult) -> ListEntry:
        header, checkpoint = journal.header, journal.checkpoint
        newest = written.duplicates.newest
        if newest is not None:
            # A provider's clock that runs ahead must not hide what changes until then.
            newest = min(newest, datetime.fromisoformat(header.started))
        since = header.query.get("updated_after") if base is None else base.parameters.get("since")
        return ListEntry(
            resource=job.resource.name,
            account_id=job.account,
            records=written.records,
            new=written.new,
            changed=written.changed,
            fetched=checkpoint.records,
            superseded=len(written.duplicates.superseded),
            missing_users=checkpoint.missing,
            oldest_update=manifest.moment(written.duplicates.oldest),
            newest_update=manifest.moment(written.duplicates.newest),
            high_water=manifest.moment(newest),
            incremental=header.merge,
            parameters={**self._plan.kept_parameters(), "since": since, "page_size": self._plan.page_size},
            started=header.started,
            finished=_now(),
            files=written.files,
        )

    def _place(self, entry: ListEntry, before: ListEntry | None) -> None:
        self._target.place(entry.files)
        kept = {file.path for file in entry.files}
        with wrap_os_errors("removing an old file"):
            for file in before.files if before is not None else ():
                if file.path not in kept:
                    (self._target.root / file.path).unlink(missing_ok=True)

    def _tell(self, job: ListJob, state: State, records: int, total: float | None = None) -> None:
        if self._watch is not None:
            name, account = job.resource.name, job.account
            self._watch(ExportProgress(resource=name, account_id=account, state=state, records=records, total=total))

    def _check_cancelled(self) -> None:
        if self._stop.is_set():
            raise ExportError("the export was interrupted")

    async def _in_thread(self, function: Callable[[], R]) -> R:
        work = run_in_thread(function, "stackone_lms-export")
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # The lock is given back only when nothing writes any more.
            self._stop.set()
            await asyncio.wait([work])
            with contextlib.suppress(StackOneError):
                work.result()
            raise


def _now() -> str:
    return to_wire(datetime.now(UTC))


def _read(path: Path) -> _Unfinished | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Unfinished)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError):
        raise ExportError("the state of an unfinished export cannot be read: give it up with restart") from None


def _clear(work: Path) -> None:
    for name in ("lists", "drafts"):
        with wrap_os_errors("clearing away the journals"), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(work / name)


def _entry_of(job: ListJob, before: ListEntry | None) -> ListEntry:
    return before or ListEntry(resource=job.resource.name, account_id=job.account)


def _failed(error: StackOneError | None) -> Failed | None:
    if error is None:
        return None
    return Failed(
        type=type(error).__name__,
        message=printable(error.message, 500),
        status=error.status if isinstance(error.status, int) else None,
        request_id=error.request_id,
    )
