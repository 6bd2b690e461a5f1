"""Bulk fetches and exports, as observers see them."""

from __future__ import annotations

from .hooks import Hooks
from .observers import (
    Audience,
    BulkEnd,
    BulkProgress,
    BulkStart,
    ExportEnd,
    ExportStart,
    Told,
    ask,
    tell,
)

_INTERVAL = 0.1  # seconds between reports


class ObservedBulk:
    """A bulk fetch, or one list of an export, that observers see.

    Args:
        hooks: Those of the client.
        audience: Who is told of its beginning, by its method `begun`.
        begun: That method.

    Attributes:
        hooks: Those of its calls.
    """

    def __init__(self, hooks: Hooks, audience: Audience, begun: str) -> None:
        self._of_client, self._begun, self._clock = audience, begun, hooks.clock
        self._members = hooks.observers
        self._audience: list[Told] = []
        self._of_calls: list[Told] = []
        self.hooks = hooks.within(self._of_calls)
        self._started_at: float | None = None
        self._told_at = 0.0
        self._done = self._failed = 0
        self._total: int | None = None
        self._over = False

    def start(self, start: BulkStart) -> None:
        """Begin; the second time nothing happens."""
        if self._started_at is not None:
            return
        self._started_at = self._told_at = self._clock()
        self._total = start.total
        self._audience += ask(self._of_client, self._begun, start)
        seen_by = {told.member for told in self._audience}
        # Who does not look at it as a whole sees its calls one by one.
        self._of_calls += [*self._audience, *(told for told in self._members if told.member not in seen_by)]

    def count(self, *, failed: bool) -> None:
        """Note an outcome that was delivered, and tell how far it is when that is due."""
        self._done += 1
        self._failed += failed
        if self._clock() - self._told_at >= _INTERVAL:
            self.progress(self._done, self._failed, self._total)

    def progress(self, done: int, failed: int, total: int | None) -> None:
        """Tell how far it is."""
        self._done, self._failed, self._total, self._told_at = done, failed, total, self._clock()
        tell(self._audience, "progressed", BulkProgress(done=done, failed=failed, total=total))

    def end(self, error: BaseException | None) -> None:
        """End; the second time nothing happens."""
        if self._started_at is None or self._over:
            return
        self._over = True
        end = BulkEnd(
            done=self._done,
            failed=self._failed,
            total=self._total,
            seconds=self._clock() - self._started_at,
            error=error,
        )
        tell(self._audience, "ended", end)


class ObservedExport:
    """An export that observers see.

    Args:
        hooks: Those of the client.
        start: What is told of its beginning.
    """

    def __init__(self, hooks: Hooks, start: ExportStart) -> None:
        self._hooks = hooks
        self._audience: Audience = ask(hooks.observers, "export_started", start)

    def list(self, start: BulkStart) -> ObservedBulk:
        """Begin one of its lists."""
        bulk = ObservedBulk(self._hooks, self._audience, "list_started")
        bulk.start(start)
        return bulk

    def end(self, end: ExportEnd) -> None:
        """End."""
        tell(self._audience, "ended", end)


def observed_export(hooks: Hooks | None, start: ExportStart) -> ObservedExport | None:
    """Begin an export that observers see; None if there are none."""
    return ObservedExport(hooks, start) if hooks is not None and hooks.observers else None


def observed_bulk(hooks: Hooks | None) -> ObservedBulk | None:
    """Return a bulk fetch that observers see, before it begins; None if there are none, or it is a part of another."""
    if hooks is None or not hooks.observers:
        return None
    return ObservedBulk(hooks, hooks.observers, "bulk_started")
