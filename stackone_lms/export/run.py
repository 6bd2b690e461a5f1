"""The run: many accounts at once, each list from its journal to its place, the manifest when all were tried."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from ..base_client import BaseClient, bound_executor_of
from ..engine.observed import ObservedBulk, ObservedExport, observed_export
from ..engine.observers import BulkStart, ExportEnd, ExportStart
from ..errors import ExportError, SharedLimitError, StackOneError, key_refused
from ..threads import run_in_thread
from .entries import describe_list, failure_of, now
from .fetching import Fetcher
from .formats.base import DamagedError
from .outcome import ExportProgress, ExportResult, ListOutcome, State
from .plan import Approach, Plan
from .scheduling import AccountScheduler
from .session import Session
from .state.journal import VERSION, Header, Journal
from .state.manifest import ListEntry
from .state.storage import write_whole
from .state.store import (
    LISTS,
    Key,
    clear,
    joined,
)
from .targets.base import ListJob, WriteOptions, Written

R = TypeVar("R")


class _KeyRefusedError(Exception):
    """The API key is not accepted: nothing more can be fetched."""


class Run:
    """One run of an export.

    Args:
        client: Fetches, through views for each account.
        plan: What was asked for.
    """

    def __init__(self, client: BaseClient[Any], plan: Plan) -> None:
        self._client, self._plan, self._target = client, plan, plan.target
        self._session = Session(plan)
        self._writing = asyncio.Lock()
        self._to_write = 0
        self._stopped = False
        self._outcomes: dict[Key, ListOutcome] = {}
        self._flushed: dict[Key, ListEntry] = {}
        self._refused: StackOneError | None = None
        self._lists = self._lists_done = self._accounts_done = 0
        self._left: Counter[str] = Counter()
        """By account: lists that were not tried yet."""
        self._observed: ObservedExport | None = None
        self._observed_lists: dict[Key, ObservedBulk] = {}

    async def export(self) -> ExportResult:
        """Fetch and write everything."""
        began = time.monotonic()
        await self._in_thread(self._session.load)
        try:
            with contextlib.ExitStack() as stack:
                jobs = await self._in_thread(lambda: self._session.open(stack))
                self._lists, self._left = len(jobs), Counter(job.account for job in jobs)
                await self._lists_observed(jobs, began)
                await self._in_thread(self._flush)
                lists = tuple(map(self._became, jobs))
                pruned: tuple[str, ...] = ()
                if self._refused is None:
                    pruned = await self._in_thread(lambda: self._finish(complete=all(one.ok for one in lists)))
        except ExportError as error:
            error.__context__ = None  # an OSError, whose path is nobody's business
            raise
        result = ExportResult(
            lists=lists,
            seconds=time.monotonic() - began,
            interrupted=self._refused is not None,
            pruned_accounts=pruned,
            max_failed_accounts=self._plan.max_failures.of(len({one.account_id for one in lists})),
        )
        await self._in_thread(lambda: self._write_summary(result))
        return result

    def _finish(self, *, complete: bool) -> tuple[str, ...]:
        base_url, check = self._client.base_url, self._check_cancelled
        return self._session.finish(complete=complete, base_url=base_url, check_cancelled=check)

    def _write_summary(self, result: ExportResult) -> None:
        if self._plan.summary is not None:
            text = msgspec.json.format(msgspec.json.encode(result.to_dict()), indent=2)
            write_whole(self._plan.summary, text + b"\n")

    # The accounts

    async def _lists_observed(self, jobs: list[ListJob], began: float) -> None:
        """Export the lists, and tell observers of it."""
        hooks = bound_executor_of(self._client).settings.hooks
        start = ExportStart(accounts=len(self._left), lists=self._lists)
        observed = self._observed = observed_export(hooks, start)
        if observed is None:
            return await self._all_accounts(jobs)
        error: BaseException | None = None
        try:
            await self._all_accounts(jobs)
            error = self._refused
        except BaseException as raised:
            error = raised
            raise
        finally:
            tried = self._outcomes.values()
            end = ExportEnd(
                lists=len(tried),
                failed=sum(not one.ok for one in tried),
                records=sum(one.fetched for one in tried),
                seconds=time.monotonic() - began,
                error=error,
            )
            observed.end(end)

    async def _all_accounts(self, jobs: list[ListJob]) -> None:
        by_account: dict[str, list[ListJob]] = {}
        for job in jobs:
            by_account.setdefault(job.account, []).append(job)
        limiter = bound_executor_of(self._client).bulk_context().limiter
        scheduler = AccountScheduler(limiter, self._plan.max_concurrent_accounts)
        with contextlib.suppress(_KeyRefusedError):
            await scheduler.run(self._largest_first(by_account), lambda account: self._account(by_account[account]))

    def _largest_first(self, by_account: dict[str, list[ListJob]]) -> list[str]:
        """Return the accounts, those first of which nothing is known, then by what they held last."""

        def size(account: str) -> float:
            known = [entry for job in by_account[account] if (entry := self._session.store.find(job.key)) is not None]
            return float(sum(entry.records for entry in known)) if known else float("inf")

        return sorted(by_account, key=size, reverse=True)

    async def _account(self, jobs: list[ListJob]) -> None:
        # One list after the other: the API advises against concurrent requests to one account.
        for job in jobs:
            if self._refused is not None:
                return
            observed = None
            if self._observed is not None:
                start = BulkStart(operation=job.resource.operation.name, account_id=job.account)
                observed = self._observed_lists[job.key] = self._observed.list(start)
            try:
                outcome = self._outcomes[job.key] = await self._list(job)
            except BaseException as error:
                if observed is not None:
                    observed.end(self._refused or error)
                raise
            if observed is not None:
                observed.progress(outcome.fetched, len(outcome.skipped_users), None)
                observed.end(outcome.error)

    # One list

    async def _list(self, job: ListJob) -> ListOutcome:
        began = time.monotonic()
        before = self._session.store.find(job.key)
        if before is not None and self._passes_over(job, before):
            self._tell(job, "done", before.fetched)
            return _outcome(job, before, before.fetched, 0.0)
        held = before if before is not None and before.finished is not None else None
        damage = None if held is None else self._target.damage(held)
        approach = self._plan.approach(held, damage, datetime.now(UTC))
        try:
            return await self._bring_up_to_date(job, before, held, approach, began)
        except DamagedError as error:
            whole = Approach(self._plan.since, merge=False, reason=error.message)
            return await self._bring_up_to_date(job, before, held, whole, began)

    async def _bring_up_to_date(
        self, job: ListJob, before: ListEntry | None, held: ListEntry | None, approach: Approach, began: float
    ) -> ListOutcome:
        opened: list[Journal] = []
        try:
            await self._in_thread(lambda: opened.append(self._journal(job, held, approach)))
        except BaseException:
            for one in opened:
                one.close()
            raise
        (journal,) = opened
        entry, written, error = None, None, None
        try:
            written = await self._complete(job, journal, held)
        except ExportError:
            self._tell(job, "failed", journal.checkpoint.records)
            raise  # the target is at fault: the other lists would fail as well
        except StackOneError as failure:
            error = failure
        finally:
            await journal.aclose()
        fetched = journal.checkpoint.records
        if error is not None:
            entry = await self._failed(job, before, error)
        elif written is not None:
            entry = written.entry
            if written.durable:
                await self._in_thread(lambda: clear(journal.folder))
            elif self._target.is_full:
                async with self._writing:
                    await self._in_thread(self._flush)
        if entry is None:
            raise ExportError("the list was not written")
        self._tell(job, "done" if error is None else "failed", fetched)
        return _outcome(job, entry, fetched, time.monotonic() - began, reason=approach.reason, error=error)

    def _passes_over(self, job: ListJob, entry: ListEntry) -> bool:
        """Tell whether the interrupted run that this one goes on with has completed a list as it is asked for now."""
        return (
            job.key in self._session.store.ended
            and entry.error is None
            and not entry.skipped_users
            and entry.asked == self._plan.asked()
            and self._target.damage(entry) is None
        )

    def _journal(self, job: ListJob, held: ListEntry | None, approach: Approach) -> Journal:
        """Open the journal of a list, where an interrupted run left it if that was asked for the same."""
        plan = self._plan
        header = Header(
            version=VERSION,
            query=plan.query(job, approach.after),
            started=now(),
            merge=approach.merge,
            run=self._session.begun.run,
            parameters=plan.list_parameters(),
            base=held.finished if held is not None else None,
            whole_users=[one.user for one in held.skipped_users] if held is not None and approach.merge else [],
        )

        def resume(begun: Header) -> bool:
            same = (begun.parameters, begun.merge, begun.base) == (header.parameters, header.merge, header.base)
            in_time = begun.run == header.run or (plan.retry_failed and self._session.is_young(begun.started))
            return same and in_time

        folder = self._target.work / LISTS / joined(job.folder)
        return Journal(folder, header, with_calls=plan.raw, resume=resume)

    async def _complete(self, job: ListJob, journal: Journal, held: ListEntry | None) -> Written:
        view = bound_executor_of(self._client.with_options(account_id=job.account))
        observed = self._observed_lists.get(job.key)
        executor = view.observed_by(observed)

        def tell(records: int, total: float | None) -> None:
            self._tell(job, "fetching", records, total)
            if observed is not None:
                observed.progress(records, 0, None if total is None else int(total))

        tell(journal.checkpoint.records, None)
        await Fetcher(executor, self._plan, job, journal, tell).fetch()
        placing = asyncio.ensure_future(self._place(job, journal, held))
        try:
            return await asyncio.shield(placing)
        except asyncio.CancelledError:
            # Where the key was refused, what was fetched before is kept: that needs no request any more.
            if self._refused is None:
                placing.cancel()
            await asyncio.wait([placing])
            if placing.cancelled():
                raise
            return placing.result()

    async def _place(self, job: ListJob, journal: Journal, held: ListEntry | None) -> Written:
        self._to_write += 1
        try:
            async with self._writing:
                self._tell(job, "writing", journal.checkpoint.records)
                written = await self._in_thread(lambda: self._write(job, journal, held))
        finally:
            self._to_write -= 1
        if not written.durable and not journal.durable:
            await journal.commit()  # until it is written that is all that there is of it
        if self._target.remote:
            await self._in_thread(lambda: self._target.place(written.entry))
        return written

    def _write(self, job: ListJob, journal: Journal, held: ListEntry | None) -> Written:
        base = held if journal.header.merge else None
        begun = self._session.begun
        describe = describe_list(job, journal, base, self._plan, begun.run)
        options = WriteOptions(
            begun.run, datetime.fromisoformat(begun.started), held, journal.header.merge, self._check_cancelled
        )
        written = self._target.write(job, journal, options, describe)
        if self._to_write == 1:
            self._target.rest()
        if written.durable:
            self._session.store.put(written.entry)
            if held is not None and not self._target.remote:
                self._target.place(written.entry)
        return written

    def _flush(self) -> None:
        """Have what the target has kept written; then the journals of those lists are not needed any more."""
        flushed = [*self._target.flush()]
        if flushed:
            self._session.store.put(*(entry for _, entry in flushed))
        for job, entry in flushed:
            clear(self._target.work / LISTS / joined(job.folder))
            self._flushed[job.key] = entry

    async def _failed(self, job: ListJob, before: ListEntry | None, error: StackOneError) -> ListEntry:
        entry = before or ListEntry(resource=job.resource.name, account_id=job.account)
        entry = msgspec.structs.replace(entry, account_name=job.account_name, error=failure_of(error), tried=now())
        await self._in_thread(lambda: self._session.store.put(entry))
        if key_refused(error) or (isinstance(error, SharedLimitError) and not error.retryable):
            self._refused = error
            raise _KeyRefusedError
        return entry

    def _became(self, job: ListJob) -> ListOutcome:
        """Say what became of a list, when nothing is kept any more."""
        told, entry = self._outcomes.get(job.key), self._flushed.get(job.key)
        if told is None:
            return self._not_tried(job)
        if entry is None or told.error is not None:
            return told
        return _outcome(job, entry, told.fetched, told.seconds, reason=told.whole_because)

    def _not_tried(self, job: ListJob) -> ListOutcome:
        entry = self._session.store.find(job.key) or ListEntry(resource=job.resource.name, account_id=job.account)
        return _outcome(job, entry, 0, 0.0, error=self._refused)

    def _tell(self, job: ListJob, state: State, records: int, total: float | None = None) -> None:
        if state in {"done", "failed"}:
            self._left[job.account] -= 1
            self._lists_done += 1
            self._accounts_done += not self._left[job.account]
        if self._plan.progress is not None:
            name, id = job.key
            told = ExportProgress(
                resource=name,
                account_id=id,
                account_name=job.account_name,
                state=state,
                records=records,
                total=total,
                accounts=len(self._left),
                accounts_done=self._accounts_done,
                lists=self._lists,
                lists_done=self._lists_done,
            )
            self._plan.progress(told)

    def _check_cancelled(self) -> None:
        if self._stopped:
            raise ExportError("the export was interrupted")

    async def _in_thread(self, function: Callable[[], R]) -> R:
        work = run_in_thread(function, "stackone_lms-export")
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # The lock is given back only when nothing writes any more.
            self._stopped = self._refused is None
            await asyncio.wait([work])
            with contextlib.suppress(StackOneError):
                work.result()
            raise


def _outcome(
    job: ListJob,
    entry: ListEntry,
    fetched: int,
    seconds: float,
    *,
    reason: str | None = None,
    error: StackOneError | None = None,
) -> ListOutcome:
    return ListOutcome(
        resource=job.resource.name,
        account_id=job.account,
        account_name=job.account_name,
        records=entry.records,
        fetched=fetched,
        superseded=entry.superseded if error is None else 0,
        missing_users=entry.missing_users if error is None else 0,
        skipped_users=tuple(entry.skipped_users) if error is None else (),
        undated=entry.undated,
        replaced=entry.replaced if error is None else 0,
        new=entry.new if error is None else 0,
        changed=entry.changed if error is None else 0,
        whole_because=reason,
        seconds=seconds,
        error=error,
    )
