"""A limit kept in a bucket of pyrate-limiter: every process asks whether it may."""

from __future__ import annotations

import importlib
import math
import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from ..engine.rate_limit import Clock, Limiter, Sleep
from ..errors import ClientClosedError
from ..threads import run_in_kept_thread

if TYPE_CHECKING:
    from pyrate_limiter import Rate
    from pyrate_limiter.abstracts import AbstractBucket

_SWEEP = 256
_SHORTEST = 0.005
_SLACK = 0.01
_LEAST_SLACK, _MOST_SLACK = 0.02, 1.0
_BURSTS = 10


class SQLiteFile:
    """Makes the bucket of a SQLite file.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def __call__(self, rates: list[Rate]) -> AbstractBucket:
        """Open the file."""
        from pyrate_limiter import RateItem, SQLiteBucket  # noqa: PLC0415 (an extra)

        class Bucket(SQLiteBucket):
            def put(self, item: RateItem) -> bool:
                newest = self.peek(0)
                # Counted, times to come would hold up everybody until they have passed.
                if newest is not None and newest.timestamp > item.timestamp + rates[-1].interval:
                    self.flush()
                return super().put(item)

        return Bucket.init_from_file(rates, table="stackone_lms", db_path=self.path, use_file_lock=True)


class PyrateLimiter(Limiter):
    """Passes who gets a place in the bucket; the one whose turn it is asks for all who wait."""

    wait_reason = "shared_limit"

    def __init__(
        self,
        make: Callable[[list[Rate]], AbstractBucket],
        *,
        requests: int,
        per: float,
        clock: Clock,
        sleep: Sleep,
    ) -> None:
        super().__init__(None, clock=clock, sleep=sleep)
        self.requests, self.per = requests, per
        self._make = make
        pyrate: Any = importlib.import_module("pyrate_limiter")
        self._item = pyrate.RateItem
        window = per + min(_MOST_SLACK, max(_LEAST_SLACK, _SLACK * per))
        self._shared_rate = requests / window
        self._rates = [pyrate.Rate(requests, round(window * 1000))]
        burst = math.ceil(requests / _BURSTS)
        brief = int(window * 1000 * burst / requests)
        if burst < requests and brief:
            self._rates.insert(0, pyrate.Rate(burst, brief))
        self._bucket: AbstractBucket | None = None
        self._passed = 0
        self._opening = threading.Lock()
        self._closed = False

    @property
    def rate(self) -> float | None:
        """Requests a second that the limit allows to all processes together."""
        return self._shared_rate

    def try_acquire(self) -> bool:
        """Never pass without asking."""
        return False

    def give_back(self) -> None:
        """Do nothing: a place in the bucket cannot be returned."""

    def close(self) -> None:
        """Close the file; a thread that is opening it does so when it is done."""
        self._closed = True
        self._shut()

    def _shut(self) -> None:
        if self._opening.acquire(blocking=False):
            bucket, self._bucket = self._bucket, None
            self._opening.release()
            if bucket is not None:
                bucket.close()

    def _opened(self) -> AbstractBucket:
        with self._opening:
            if self._bucket is None and not self._closed:
                self._bucket = self._make(self._rates)
            bucket = self._bucket
        if self._closed:
            self._shut()
        if bucket is None or self._closed:
            raise ClientClosedError("the client is closed")
        return bucket

    async def _admit(self) -> None:
        await super()._admit()  # it sleeps while there is a pause
        while (delay := await run_in_kept_thread(self._ask)) > 0:
            await self._sleep(max(delay, _SHORTEST))
            await super()._admit()
        await super()._admit()

    def _ask(self) -> float:
        """Take a place in the bucket and return 0, or return the seconds until it is worth asking again."""
        bucket: Any = self._opened()
        # Stamped under the lock: another process could else be let go in between, with a later stamp.
        with bucket.limiter_lock() or nullcontext():
            now: int = bucket.now()
            item = self._item("request", now)
            if bucket.put(item):
                self._passed += 1
                if self._passed % _SWEEP == 0:
                    bucket.leak(now)
                return 0.0
            milliseconds: int = bucket.waiting(item)
            return milliseconds / 1000
