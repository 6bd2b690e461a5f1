"""The time limits of calls, and one timer for all calls of a client that cancels those that take too long.

A timer a request costs several microseconds; this one is set anew only when an earlier limit turns up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any

from ..errors import APITimeoutError, Phase, StackOneError

_PUNCTUAL = 0.01
"""Seconds that a timer may be late before the loop counts as having been held up."""
_MOST_EXTENSIONS = 3
"""How often in a row: a loop that is always late must not put a limit off for ever."""


_TIMED_OUT: dict[str, str] = {
    "pool": "no slot became free in time (max_concurrency)",
    "rate_limit": "the rate limit did not let the call pass in time",
    "connect": "no connection was made in time",
    "read": "the answer stopped coming",
    "attempt": "the request took too long",
    "total": "the call took too long",
}


class Deadline:
    """The time limits of one call; what a transport sees of it is `transport.base.TimeLimits`.

    Args:
        task: The task that performs the call.
        timer: Cancels it when its time is over.
        due: When, on the timer's clock, the call has to be over.

    Attributes:
        task: The task that performs the call, which is cancelled at `due`.
        due: When the present wait has to be over.
        phase: What is being waited for.
        request_sent: Whether the server may have got the request that was begun last.
        attempts: How many requests were begun.
        error: What the last of them failed with.
        fired: Whether the task was cancelled because its time was over, or the client closed.
        closing: Whether that was because the client closes.
        connect: Seconds that making a connection may take; None for no limit.
    """

    __slots__ = (
        "_end",
        "_extensions",
        "_last",
        "_read",
        "_timer",
        "attempts",
        "cancelling",
        "closing",
        "connect",
        "due",
        "error",
        "fired",
        "phase",
        "request_sent",
        "task",
    )

    def __init__(self, task: asyncio.Task[Any], timer: DeadlineTimer, due: float) -> None:
        self.task, self._timer, self.due = task, timer, due
        self.cancelling = task.cancelling()
        self.phase: Phase = "total"
        self._last: Phase = "total"
        self.attempts = 0
        self.error: StackOneError | None = None
        self.fired = self.closing = self.request_sent = False
        self.connect: float | None = None
        self._read: float | None = None
        self._end = due
        self._extensions = 0

    def wait(self, phase: Phase, due: float) -> None:
        """Begin to wait for `phase`, until `due` at the latest."""
        self.phase, self.due, self._extensions = phase, due, 0
        if due < self._timer.next:
            self._timer.wake_at(due)

    def attempt(self, now: float, end: float, last: Phase, *, connect: float | None, read: float | None) -> None:
        """Begin a request that has to be over at `end`, which is called `last`; it counts as sent from here on."""
        self.connect, self._read, self._end, self._last = connect, read, end, last
        self._await_bytes(now)

    def connecting(self) -> None:
        """Note that there is no connection yet, so nothing of the request is sent: `connect` is the limit."""
        self.request_sent = False
        due = self._end if self.connect is None else self._timer.clock() + self.connect
        if due < self._end:
            self.wait("connect", due)
        else:
            self.wait(self._last, self._end)

    def progress(self) -> None:
        """Note that the request was sent, or that bytes came: now the next ones are waited for."""
        self._await_bytes(self._timer.clock() if self._read is not None else 0.0)

    def _await_bytes(self, now: float) -> None:
        self.request_sent = True
        due = self._end if self._read is None else now + self._read
        if due < self._end:
            self.wait("read", due)
        else:
            self.wait(self._last, self._end)

    def extend(self, due: float) -> bool:
        """Let the present wait last until `due`; False if that was done too often already."""
        self._extensions += 1
        self.due = due
        return self._extensions <= _MOST_EXTENSIONS

    def timed_out(self) -> APITimeoutError:
        """Return the error of a call, or a request, whose time is over."""
        return APITimeoutError(_TIMED_OUT[self.phase], phase=self.phase, attempts=self.attempts)

    def uncancel(self) -> bool:
        """Take back the cancellation of the timer; False if somebody else cancelled the task too."""
        self.fired = False
        return self.task.uncancel() <= self.cancelling


class DeadlineTimer:
    """Cancels the task of a `Deadline` when its time is over, and notes there that it did.

    Args:
        clock: Monotonic seconds.

    Attributes:
        clock: Monotonic seconds.
        add: Begins to look after a call.
        discard: Stops looking after a call.
        next: When it looks at them next.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._deadlines: set[Deadline] = set()
        self.add = self._deadlines.add
        self.discard = self._deadlines.discard
        self._timer: asyncio.TimerHandle | None = None
        self._context = Context()
        self.next = float("inf")

    def __len__(self) -> int:
        return len(self._deadlines)

    def wake_at(self, due: float) -> None:
        """Look at all deadlines at `due` instead of `next`."""
        if self._timer is not None:
            self._timer.cancel()
        self.next = due
        delay = max(0.0, due - self.clock())
        # Without the contextvars of a call, which it may outlive.
        self._timer = asyncio.get_running_loop().call_later(delay, self._look, context=self._context)

    def _look(self) -> None:
        now = self.clock()
        late = now - self.next
        soonest = float("inf")
        self._timer = None
        for deadline in self._deadlines:
            if deadline.fired:
                continue
            # A process that was suspended, or a loop that was blocked, has not read what came meanwhile: that must not
            # count as the server's time. As long as it was late, from now on, is more than enough to read it; one turn
            # of the loop, for what the limit and the lateness come to together, is not.
            is_over = deadline.due <= now
            if is_over and not (late > _PUNCTUAL and deadline.extend(now + late)):
                deadline.fired = True
                deadline.task.cancel()
            elif deadline.due < soonest:
                soonest = deadline.due
        self.next = float("inf")
        if soonest < self.next:
            self.wake_at(soonest)

    def close_all(self) -> None:
        """Cancel every call, marked as closed."""
        for deadline in self._deadlines:
            deadline.closing = True
            if not deadline.fired:
                deadline.fired = True
                deadline.task.cancel()

    def stop(self) -> None:
        """Set no timer any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.next = float("inf")
