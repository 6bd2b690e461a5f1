"""One timer for all calls of a client: it cancels those that take too long.

A timer a request costs several microseconds; this one is set anew only when an earlier limit turns up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..transport.base import Deadline


class DeadlineTimer:
    """Cancels the task of a `Deadline` when its time is over, and marks the watch as the one who did.

    Args:
        clock: Monotonic seconds, the same as of the watches.

    Attributes:
        add: Begins to look after a call.
        discard: Stops looking after a call.
        next: When it looks at them next.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._watches: set[Deadline] = set()
        self.add = self._watches.add
        self.discard = self._watches.discard
        self._timer: asyncio.TimerHandle | None = None
        self.next = float("inf")

    def __len__(self) -> int:
        return len(self._watches)

    def heed(self, watch: Deadline) -> None:
        """Take note that `watch.due` has changed."""
        self.wake_by(watch.due)

    def wake_by(self, due: float) -> None:
        """Look at all watches at `due` at the latest."""
        if due < self.next:
            self._set(due)

    def _set(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.next = due
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
        self.next = float("inf")
        if soonest < self.next:
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
        self.next = float("inf")
