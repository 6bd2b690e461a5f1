"""The queue of departures in Redis: one script, by the clock of Redis."""

from __future__ import annotations

import hashlib
import inspect
import re
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from ..engine.rate_limit import Clock
from ..errors import SharedLimitError, StackOneError, printable
from ..threads import run_in_kept_thread
from .reservations import Demand, Lease, Terms

SCRIPT = """\
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local step, slack, horizon = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local need, spare, pause = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local known, ahead, lost = tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9] == '1'

-- The next departure that is free, when this was written, until when nobody may depart.
local free, written, resumes = 0, now, 0
local state = redis.call('GET', KEYS[1])
if state then
  local a, b, c = string.match(state, '^(%d+) (%d+) (%d+)$')
  if not a then return redis.error_reply('WRONGTYPE the key holds something else') end
  free, written, resumes = tonumber(a), tonumber(b), tonumber(c)
end
if now < written then  -- the clock was set back
  free, resumes = free - (written - now), resumes - (written - now)
end
free = math.max(free, now - slack)
known = math.min(known, now + ahead)
if lost or known > free then  -- what others hold is forgotten: let it pass
  free = math.max(free, known, now + math.max(horizon, ahead))
end
if pause > 0 then resumes = math.max(resumes, now + pause) end
free = math.max(free, resumes)

local first, wait = free, free - now
if wait > horizon then need = math.max(math.min(need, 1), math.floor(need * horizon / wait)) end
local count = math.max(need, math.min(spare, math.floor(-wait / step) + 1))
free = free + count * step
local state = string.format('%.0f %.0f %.0f', free, now, resumes)
redis.call('SET', KEYS[1], state, 'PX', math.ceil((free - now + slack) / 1000) + 1000)
return {now, first, count, math.max(0, resumes - now)}
"""
SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()

_ROUND_TRIPS = 16
_MOST_SILENT = 3
"""Connections that end without an answer before it is told that it may be no Redis, if there never was one."""
_ENDED = re.compile("closed by server|reset by peer|broken pipe", re.IGNORECASE)
_MAY_PASS = frozenset(
    {
        *("ConnectionError", "TimeoutError", "OSError", "BusyLoadingError", "ClusterDownError", "MasterDownError"),
        *("ReadOnlyError", "TryAgainError", "MaxConnectionsError", "OutOfMemoryError"),
    }
)
"""Classes of errors that say nothing but that it does not go just now; by name, as redis-py is an extra."""
_REFUSED = frozenset(("AuthenticationError", "AuthenticationWrongNumberOfArgsError", "NoPermissionError"))


class _Timed(NamedTuple):
    answer: Any
    sent: float
    received: float


class RedisStore:
    """A queue of departures under one key.

    Args:
        open: Makes the client of redis-py, without I/O.
        own: Whether it is closed with the store.
        where: What to call the place in messages.
        secret: A password that messages must not show.
        key: The key.
        terms: The numbers of the limit.
        clock: Monotonic seconds, which any thread may ask for.
    """

    def __init__(
        self,
        open: Callable[[], Any],
        *,
        own: bool,
        where: str,
        secret: str | None,
        key: str,
        terms: Terms,
        clock: Clock,
    ) -> None:
        self._open, self._own, self._where, self._secret = open, own, where, secret
        self._key, self._terms, self._clock = key, terms, clock
        self._client: Any = None
        self._round_trips: deque[float] = deque(maxlen=_ROUND_TRIPS)
        self._answered, self._silent = False, 0
        self._closed = False

    async def reserve(self, demand: Demand) -> Lease:
        """Take departures off the queue.

        Raises:
            SharedLimitError: Redis cannot be reached, which may pass (`retryable`), or cannot be used.
        """
        try:
            return await self._reserve(demand)
        except StackOneError:
            raise
        except Exception as error:  # noqa: BLE001 (redis-py raises more than its own)
            failed = self._described(error)
        raise failed  # outside of the handler: frames of redis-py know the password

    async def _reserve(self, demand: Demand) -> Lease:
        if self._client is None:
            self._client = self._open()
        if not self._round_trips:
            await self._call("ping")  # connects, which takes longer than an answer
            self._answered = True
            self._note(await self._call("ping"))
        terms = self._terms
        command = ("evalsha", SHA, 1, self._key, terms.step, terms.slack, terms.horizon, *demand)
        try:
            done = await self._call(*command, 0)
        except Exception as error:
            if type(error).__name__ != "NoScriptError":
                raise
            # Redis was started anew, or has failed over. Who has departures knows that there are some.
            await self._call("script_load", SCRIPT)
            done = await self._call(*command, int(demand.known > 0))
        self._note(done)
        now, first, size, pause = done.answer
        # Neither way takes less than half of the shortest round trip, if both take the same.
        way = min(self._round_trips) / 2
        return Lease(now, first, size, pause, done.sent + way, done.received - way)

    def close(self) -> None:
        """Close the connection, if it is the store's own; a thread that is using it does so when it is done."""
        self._closed = True
        if self._own and self._client is not None:
            self._client.close()

    def _note(self, done: _Timed) -> None:
        self._round_trips.append(done.received - done.sent)

    async def _call(self, command: str, *args: Any) -> _Timed:
        client = self._client
        method = getattr(client, command)
        if inspect.iscoroutinefunction(client.execute_command):
            sent = self._clock()
            answer = await method(*args)
            return _Timed(answer, sent, self._clock())

        def work() -> _Timed:
            try:
                sent = self._clock()
                answer = method(*args)
                return _Timed(answer, sent, self._clock())
            finally:
                if self._closed:
                    self.close()

        # The thread looks up names and reads certificates, too: nothing of it blocks the event loop.
        return await run_in_kept_thread(work)

    def _described(self, error: Exception) -> SharedLimitError:
        names = {kind.__name__ for kind in type(error).__mro__}
        text = printable(str(error) or type(error).__name__)
        if self._secret:
            text = text.replace(self._secret, "***")
        tls = _tls_failure(error)
        what, passes = f"cannot be used: {text}", False
        if names & _REFUSED:
            what = f"does not accept the user, the password, or what they may do: {text}"
        elif "InvalidResponse" in names:
            what = f"is no Redis, or wants TLS (rediss://): {text}"
        elif tls is not None and not (self._answered and "timed out" in tls):
            what = f"does not speak TLS as it should (redis:// is without): {printable(tls)}"
        elif "WRONGTYPE" in text:
            what = f"holds something else under the key {self._key!r:.80}, maybe a limit of before: choose another key"
        elif isinstance(error, RuntimeError):
            what = f"has a connection of another event loop ({text}): give the URL, or a redis.Redis"
        elif names & _MAY_PASS or text.startswith("MISCONF"):
            self._silent += bool(_ENDED.search(text)) and not self._answered
            what, passes = f"cannot be reached: {text}", True
            if self._silent == _MOST_SILENT:
                self._silent, passes = 0, False
                what = f"ends connections without an answer: is it Redis, and without TLS (rediss://)? {text}"
        return SharedLimitError(f"the shared limit at {self._where} {what}", retryable=passes)


def _tls_failure(error: BaseException | None) -> str | None:
    """Return what is wrong with TLS, if that is the cause; an end of the connection is not."""
    while error is not None:
        failed = isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
        if failed or "handshake operation timed out" in str(error):
            return str(error)
        error = error.__cause__ or error.__context__
    return None
