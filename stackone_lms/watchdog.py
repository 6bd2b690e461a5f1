"""One timer for all calls of a client: it cancels those that take too long.

A timer a request costs several microseconds; this one is set anew only when an earlier limit turns up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .transport.base import Watch


class Watchdog:
    """Cancels the task of a `Watch` when its time is over, and marks the watch as the one who did.

    Args:
        clock: Monotonic seconds, the same as of the watches.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._watches: set[Watch] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._next = float("inf")

    def __len__(self) -> int:
        return len(self._watches)

    def add(self, watch: Watch) -> None:
        """Begin to look after a call."""
        self._watches.add(watch)

    def discard(self, watch: Watch) -> None:
        """Stop looking after a call."""
        self._watches.discard(watch)

    def heed(self, watch: Watch) -> None:
        """Take note that `watch.due` has changed."""
        self.wake_by(watch.due)

    def wake_by(self, due: float) -> None:
        """Look at all watches at `due` at the latest."""
        if due < self._next:
            self._set(due)

    def _set(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = due
        delay = max(0.0, due - self._clock())
        self._timer = asyncio.get_running_loop().call_later(delay, self._look)

    def _look(self) -> None:
        now = self._clock()
        soonest = float("inf")
        self._timer = None
        for watch in self._watches:
            if watch.fired:
                continue
            if watch.due <= now:
                watch.fired = True
                watch.task.cancel()
            elif watch.due < soonest:
                soonest = watch.due
        self._next = float("inf")
        if soonest < self._next:
            self._set(soonest)

    def close_all(self) -> None:
        """Cancel every call, marked as closed."""
        for watch in self._watches:
            watch.closing = True
            if not watch.fired:
                watch.fired = True
                watch.task.cancel()

    def stop(self) -> None:
        """Set no timer any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._next = float("inf")
