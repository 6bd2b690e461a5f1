"""How many accounts are under way at a time: as many as the rate limit has room for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

from ..engine.rate_limit import Limiter

T = TypeVar("T")

AT_LEAST: Final = 4
"""Accounts under way even while requests wait for the limit: there is always one with a page to write."""
UNLIMITED: Final = 16
"""Accounts under way where the client keeps no limit, by whose room one could go."""
AT_MOST: Final = 128
"""Each has files open, and a system may allow 1,024."""
_SHORTEST, _LONGEST = 0.005, 0.1


class AccountScheduler:
    """Starts accounts, or their lists, one after the other.

    Args:
        limiter: The rate limit that their requests share.
        cap: Accounts under way at most; None: as the limit allows.
    """

    def __init__(self, limiter: Limiter, cap: int | None) -> None:
        self._limiter, self._cap = limiter, cap
        rate = limiter.rate
        self._pause = _LONGEST if rate is None else min(_LONGEST, max(_SHORTEST, 0.5 / rate))

    async def run(self, accounts: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
        """Do the work for all accounts; the first exception ends it, and is raised when all others have stopped."""
        under_way: set[asyncio.Task[None]] = set()

        async def one(account: T) -> None:
            await work(account)

        try:
            async with asyncio.TaskGroup() as group:
                for account in accounts:
                    while not self._has_room(len(under_way)):
                        # Whoever ends makes room at once; the limit is looked at again soon.
                        wait = None if self._cap is not None and len(under_way) >= self._cap else self._pause
                        await asyncio.wait(under_way, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
                    task = group.create_task(one(account))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                    if self._limiter.rate is not None and len(under_way) >= AT_LEAST:
                        await asyncio.sleep(self._pause)
            return
        except BaseExceptionGroup as failed:
            first = failed.exceptions[0]
        raise first

    def _has_room(self, under_way: int) -> bool:
        limiter = self._limiter
        if under_way >= min(AT_MOST, self._cap or AT_MOST):
            return False
        if under_way < AT_LEAST:
            return True
        tokens = limiter.tokens
        if tokens is None:
            return under_way < UNLIMITED
        return limiter.waiting == 0 and tokens >= 1.0
