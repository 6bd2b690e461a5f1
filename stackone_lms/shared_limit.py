"""One rate limit for several processes that share an API key, kept in a SQLite file or in Redis.

It is an adapter over pyrate-limiter, which the extra `shared-limit`
installs: `pip install "stackone-lms[shared-limit]"`.
"""

from __future__ import annotations

import importlib
import math
import threading
from collections.abc import Callable
from contextlib import nullcontext
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, cast

from .engine.rate_limit import (
    Clock,
    Limiter,
    RateLimitBackend,
    Sleep,
)
from .errors import ClientClosedError, ConfigurationError
from .options import RateLimit
from .threads import run_in_kept_thread

if TYPE_CHECKING:
    from pyrate_limiter import Rate
    from pyrate_limiter.abstracts import AbstractBucket

_SWEEP = 256
_SHORTEST = 0.005
_SLACK = 0.01
_LEAST_SLACK, _MOST_SLACK = 0.02, 1.0
_BURSTS = 10


class SharedLimit(RateLimitBackend):
    """A rate limit that several processes keep together; pass it as `rate_limit=`.

    What it guarantees: of all clients that use the same file (or the same Redis key) with the same numbers, no more
    than `requests` requests are let go in any `per` seconds, and no more than a tenth of them at once. They are counted
    one by one, when they are let go, in a log that outlives the processes. Within one process they go first come, first
    served; among processes there is no order.

    What it does not: the clock of the machine is trusted (with Redis: the clocks of all machines, which have to
    agree). Set forward, it lets the log be forgotten early; so it does, in a file, set back by more than `per`. A
    request may reach the server later than it was let go, so windows are a hundredth longer here (20 milliseconds at
    least, a second at most) than where requests arrive; what is under way for longer than that may be one too many
    there. A call that is cancelled while it asks may cost its turn. A pause that a server asks for (`Retry-After`)
    holds up only the process that was asked. If the file or Redis cannot be used, the call raises what they raise.

    Each request costs a short trip to the file or to Redis, in a thread: below a millisecond when nobody else is at
    it, some milliseconds when many are.

    Args:
        bucket: Makes a bucket of pyrate-limiter's, not an asynchronous one, from its rates. `SharedLimit.sqlite` and
            `SharedLimit.redis` do it for you.
        requests: Requests in any window of `per` seconds, over all processes. The API documents 1000 a minute.
        per: Length of the window in seconds; milliseconds count.

    Raises:
        ConfigurationError: A value is out of range, or pyrate-limiter is missing.
    """

    def __init__(self, bucket: Callable[[list[Rate]], AbstractBucket], *, requests: int = 1000, per: float = 60.0):
        RateLimit(requests, per=per)  # checks both
        self.requests, self.per = requests, per
        self._make = bucket
        _need("pyrate_limiter")

    @classmethod
    def sqlite(cls, path: str | PathLike[str], *, requests: int = 1000, per: float = 60.0) -> SharedLimit:
        """Keep the limit in a SQLite file, for the processes of one machine.

        Args:
            path: The file; made if it is missing, with a lock file beside it. Not on a network file system.
            requests: Requests in any window of `per` seconds, over all processes.
            per: Length of the window in seconds.

        Raises:
            ConfigurationError: A value is out of range, or pyrate-limiter is missing.
        """
        _need("filelock")
        file = fspath(path)

        def bucket(rates: list[Rate]) -> AbstractBucket:
            from pyrate_limiter import RateItem, SQLiteBucket  # noqa: PLC0415 (an extra)

            class Bucket(SQLiteBucket):
                def put(self, item: RateItem) -> bool:
                    newest = self.peek(0)
                    # Counted, times to come would hold up everybody until they have passed.
                    if newest is not None and newest.timestamp > item.timestamp + rates[-1].interval:
                        self.flush()
                    return super().put(item)

            return Bucket.init_from_file(rates, table="stackone_lms", db_path=file, use_file_lock=True)

        return cls(bucket, requests=requests, per=per)

    @classmethod
    def redis(
        cls, connection: Any, *, key: str = "stackone_lms", requests: int = 1000, per: float = 60.0
    ) -> SharedLimit:
        """Keep the limit in Redis, for processes of several machines whose clocks agree.

        Args:
            connection: A `redis.Redis` (not the asynchronous one); it stays yours to close.
            key: The key in Redis: one for each API key.
            requests: Requests in any window of `per` seconds, over all processes.
            per: Length of the window in seconds.

        Raises:
            ConfigurationError: A value is out of range, or pyrate-limiter is missing.
        """

        def bucket(rates: list[Rate]) -> AbstractBucket:
            from pyrate_limiter import RedisBucket  # noqa: PLC0415 (an extra)

            return cast("AbstractBucket", cast("Any", RedisBucket).init(rates, connection, key))

        return cls(bucket, requests=requests, per=per)

    def limiter(self, *, clock: Clock, sleep: Sleep) -> Limiter:
        """Return the limiter of one client."""
        pyrate = _need("pyrate_limiter")
        window = self.per + min(_MOST_SLACK, max(_LEAST_SLACK, _SLACK * self.per))
        rates = [pyrate.Rate(self.requests, round(window * 1000))]
        burst = math.ceil(self.requests / _BURSTS)
        brief = int(window * 1000 * burst / self.requests)
        if burst < self.requests and brief:
            rates.insert(0, pyrate.Rate(burst, brief))
        return _SharedLimiter(
            lambda: self._make(rates), pyrate.RateItem, self, self.requests / window, clock=clock, sleep=sleep
        )

    def __repr__(self) -> str:
        return f"SharedLimit(requests={self.requests}, per={self.per})"


def _need(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ConfigurationError('SharedLimit needs: pip install "stackone-lms[shared-limit]"') from None


class _SharedLimiter(Limiter):
    """Passes who gets a place in the bucket; the one whose turn it is asks for all who wait."""

    wait_reason = "shared_limit"

    def __init__(
        self,
        bucket: Callable[[], AbstractBucket],
        item: Callable[..., Any],
        quota: RateLimitBackend,
        rate: float,
        *,
        clock: Clock,
        sleep: Sleep,
    ) -> None:
        super().__init__(None, clock=clock, sleep=sleep)
        self.requests, self.per, self._shared_rate = quota.requests, quota.per, rate
        self._open_bucket, self._item = bucket, item
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
                self._bucket = self._open_bucket()
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
