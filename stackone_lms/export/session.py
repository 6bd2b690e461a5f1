"""How a run begins and ends: the lock, what is known of the lists, the manifest. All of it waits for the disk."""

from __future__ import annotations

import contextlib
import time
import uuid
from datetime import UTC, datetime
from importlib import import_module

from .. import __version__
from ..errors import ExportError
from .entries import now
from .formats.base import CheckCancelled
from .plan import Plan
from .state import manifest
from .state.storage import locked, make_folder, wrap_os_errors
from .state.store import DRAFTS, LISTS, RunNote, StateStore, clear, clear_lists, joined, name_failed_accounts, partition
from .targets.base import ListJob


class Session:
    """A run, as its target and its work folder see it.

    Args:
        plan: What was asked for.

    Attributes:
        target: Where the rows go.
        store: What is known of the lists; once it is open.
        begun: What tells this run from others; once it is open.
    """

    store: StateStore
    begun: RunNote

    def __init__(self, plan: Plan) -> None:
        self._plan, self.target = plan, plan.target

    def load(self) -> None:
        """Import what is needed later, pyarrow and aiohttp: the event loop would stand still for 0.3 s each."""
        self.target.prepare()
        import_module("..transport.lean", __package__)

    def open(self, stack: contextlib.ExitStack) -> list[ListJob]:
        """Refuse what cannot be done before anything is written; return the lists to be exported."""
        target, plan = self.target, self._plan
        target.check_access()
        found = manifest.read(target.files)
        self._check_format(found)
        if plan.retry_failed and found is None and not target.work.exists():
            if target.exists():
                raise ExportError(
                    "which lists failed there is noted in the work folder that they failed in, and not in this one: "
                    "take that, or export without retry_failed (--retry-failed)"
                )
            raise ExportError("nothing was exported there yet, so nothing failed there: export first")
        stack.enter_context(locked(target.work / "lock"))
        stack.callback(target.rest)
        target.acquire()
        try:
            return self._begin(stack)
        except BaseException:
            target.release()
            raise

    def _begin(self, stack: contextlib.ExitStack) -> list[ListJob]:
        target, plan = self.target, self._plan
        target.lock_timeout = plan.lock_timeout
        target.open(plan.resources)
        store = self.store = StateStore(target.files, target.work, format=target.format, sdk=__version__)
        self._check_format(store.manifest)
        stack.callback(store.close)
        if (target.work / DRAFTS).exists():
            for entry in store.logged.values():
                target.place(entry, after_crash=True)
        for entry in store.logged.values():
            if entry.error is None and not entry.skipped_users:  # it has ended, and its journal was to go
                clear(target.work / LISTS / joined(partition(*entry.key)))
        held = target.entries()
        if held is not None:
            store.adopt(held)
        jobs = self._jobs()
        if plan.summary is not None:
            # An export that does not come to its end leaves none, rather than the one of last night.
            make_folder(plan.summary.parent)
            with wrap_os_errors("making room for the summary"):
                plan.summary.unlink(missing_ok=True)
        begun = store.interrupted
        resumed = begun is not None and not plan.restart and self.is_young(begun.started)
        if begun is None or not resumed:
            begun = RunNote(uuid.uuid4().hex, now())
        self.begun = begun
        store.begin(begun, keep_log=resumed)
        clear(target.work / DRAFTS)
        for name in (LISTS, DRAFTS):
            make_folder(target.work / name)
        return jobs

    def _check_format(self, found: manifest.Manifest | None) -> None:
        if found is not None and found.format != self.target.format:
            raise ExportError(f"the target holds {found.format}, not {self.target.format}: take another one")

    def _jobs(self) -> list[ListJob]:
        plan, store = self._plan, self.store
        names = {entry.account_id: entry.account_name for entry in store if entry.account_name is not None}
        accounts = list(plan.accounts)
        names |= {id: name for id, name in plan.accounts.items() if name is not None}
        if plan.retry_failed:
            failed = [entry for entry in store if entry.error is not None or entry.skipped_users]
            accounts = accounts or list(dict.fromkeys(entry.account_id for entry in failed))
            keys = {entry.key for entry in failed}
            return [job for id in accounts for job in plan.lists_of(id, names.get(id)) if job.key in keys]
        return [job for id in accounts for job in plan.lists_of(id, names.get(id))]

    def is_young(self, moment: str) -> bool:
        """Tell whether what began then may be gone on with."""
        age = datetime.now(UTC) - datetime.fromisoformat(moment)
        return age < self._plan.resume_within

    def finish(self, *, complete: bool, base_url: str, check_cancelled: CheckCancelled) -> tuple[str, ...]:
        """Write the manifest, and remove what is not needed any more.

        Args:
            complete: Whether no list failed.
            base_url: Where the API is.
            check_cancelled: Called now and then; raises to end it.

        Returns:
            The accounts whose data were removed, with `prune`.
        """
        pruned = self._prune() if self._plan.prune else ()
        if self._plan.optimize:
            self.target.optimize(check_cancelled)
        parameters = self._plan.parameters(base_url)
        self.store.finish(
            complete=complete, parameters=parameters, started=self.begun.started, finished=now(), sdk=__version__
        )
        name_failed_accounts(self.target.failed_accounts_path, self.store)
        work = self.target.work
        clear(work / DRAFTS)
        old = time.time() - self._plan.resume_within.total_seconds()
        for folder in (work / LISTS).iterdir() if (work / LISTS).exists() else ():
            if folder.stat().st_mtime < old:
                clear(folder)
        self.target.release()
        return pruned

    def _prune(self) -> tuple[str, ...]:
        """Remove what there is of accounts that are not asked for any more; return their ids."""
        gone = sorted({entry.account_id for entry in self.store} - {*self._plan.accounts})
        if gone:
            self.target.remove(gone, erase=False)
            clear_lists(self.target.work, gone)
            self.store.forget(gone)
        return tuple(gone)
