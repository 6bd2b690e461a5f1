"""A process that sends what a shared limit lets it: `python -m tests.shared_limit.worker URL REQUESTS PER AHEAD`.

It writes when each request left, by the clock that all processes of the machine have in common, and as the limiter saw
it when it let the request go: what the machine does to the process after that is not the limiter's. The clock that the
client sees is AHEAD of that one by so many seconds.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from itertools import count
from typing import Any

from stackone_lms.engine.rate_limit import Clock, Limiter, RateLimitBackend, Sleep
from stackone_lms.shared_limit import SharedLimit
from tests.bulk.server import Server, client

TASKS = 16


class Recorded(RateLimitBackend):
    """A limit whose limiter notes what time it is each time it looks."""

    def __init__(self, limit: SharedLimit) -> None:
        self.requests, self.per, self._limit = limit.requests, limit.per, limit
        self.looked_at = 0.0

    def limiter(self, *, clock: Clock, sleep: Sleep) -> Limiter:
        def look() -> float:
            self.looked_at = clock()
            return self.looked_at

        return self._limit.limiter(clock=look, sleep=sleep)


class Stamps(Server):
    """A server in memory that is told when each request was let go."""

    def __init__(self, limit: Recorded, stamp: Callable[[float], object]) -> None:
        super().__init__()
        self._limit, self._stamp = limit, stamp

    async def send(self, request: Any, limits: Any) -> Any:
        self._stamp(self._limit.looked_at)
        return await super().send(request, limits)


async def main() -> None:
    url, requests, per, seconds = sys.argv[1:]
    ahead = float(seconds)
    limit = Recorded(SharedLimit.from_url(url, requests=int(requests), per=float(per)))

    def stamp(moment: float) -> None:
        os.write(1, f"{moment - ahead!r}\n".encode())

    server = Stamps(limit, stamp)
    numbers = count()

    async with client(server, rate_limit=limit, clock=lambda: time.monotonic() + ahead) as of:

        async def work() -> None:
            while True:
                await of.completions.get(f"id-{next(numbers)}")

        print("ready", flush=True)
        sys.stdin.readline()
        await asyncio.gather(*(work() for _ in range(TASKS)))


def end_with_the_test() -> None:
    """Whoever started it has gone when nothing comes from there any more."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(3)


if __name__ == "__main__":
    threading.Thread(target=end_with_the_test, daemon=True).start()
    asyncio.run(main())
