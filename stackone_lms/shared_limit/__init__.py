"""One rate limit for several processes that share an API key, kept in a SQLite file or in Redis."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from ..calls.signatures import not_for_users
from ..checks import import_extra
from ..engine.rate_limit import Clock, Limiter, RateLimitBackend, Sleep
from ..errors import ConfigurationError
from ..options import RateLimit
from ..transport.base import Secret
from .pyrate import PyrateLimiter, SQLiteFile
from .redis_store import RedisStore
from .reservations import ReservationLimiter, terms_of

if TYPE_CHECKING:
    from pyrate_limiter import Rate
    from pyrate_limiter.abstracts import AbstractBucket

DEFAULT_KEY = "stackone_lms:limit"
_REDIS = ("redis", "rediss", "unix")
_FORMS = "redis://host:6379/0#key, rediss://... (TLS), unix:///path/to/socket or file:///path/to/file"


class SharedLimit(RateLimitBackend):
    """A rate limit that several processes keep together; pass it as `rate_limit=`.

    `SharedLimit.redis` is for processes on any number of machines, `SharedLimit.sqlite` for those of one, and
    `SharedLimit.from_url` makes either of a URL. All of them hold: of all clients that use the same place with the same
    numbers, no more than `requests` requests are let go in any `per` seconds, and within one process they go first
    come, first served. A request may be under way to the server for longer than others: windows are a hundredth longer
    here (20 milliseconds at least, a second at most) than where requests arrive.

    A SharedLimit may serve several clients, and is pickled with all that it needs to be used elsewhere (a password in
    the URL, too), unless it was made of a connection.

    Args:
        bucket: Makes a bucket of pyrate-limiter's, not an asynchronous one, from its rates: for places other than
            those above. Needs the extra `shared-limit`.
        requests: Requests in any window of `per` seconds, over all processes. The API documents 1000 a minute.
        per: Length of the window in seconds; milliseconds count.

    Raises:
        ConfigurationError: A value is out of range, or what it needs is not installed.
    """

    def __init__(self, bucket: Callable[[list[Rate]], AbstractBucket], *, requests: int = 1000, per: float = 60.0):
        _need("pyrate_limiter")
        self._set(_Bucket(bucket), requests, per)

    def _set(self, place: _Location, requests: int, per: float) -> None:
        RateLimit(requests, per=per)  # checks both
        self.requests, self.per, self._place = requests, per, place

    @classmethod
    def _at(cls, place: _Location, requests: int, per: float) -> SharedLimit:
        limit = cls.__new__(cls)
        limit._set(place, requests, per)
        return limit

    @classmethod
    def sqlite(cls, path: str | PathLike[str], *, requests: int = 1000, per: float = 60.0) -> SharedLimit:
        """Keep the limit in a SQLite file, for the processes of one machine.

        Needs the extra `shared-limit`. The requests of the last window are counted in the file, and no more than a
        tenth of them are let go at once. Among processes there is no order. The clock of the machine is trusted: set
        forward, it lets the log be forgotten early; so it does, set back by more than `per`. Each request costs a short
        trip to the file, in a thread: below a millisecond when nobody else is at it, some milliseconds when many are.
        A call that is cancelled while it asks may cost its turn. A pause that a server asks for (`Retry-After`) holds
        up only the process that was asked. If the file cannot be used, the call raises what it raises.

        Args:
            path: The file; made if it is missing, with a lock file beside it. Not on a network file system.
            requests: Requests in any window of `per` seconds, over all processes.
            per: Length of the window in seconds.

        Raises:
            ConfigurationError: A value is out of range, or pyrate-limiter is missing.
        """
        for module in ("pyrate_limiter", "filelock"):
            _need(module)
        return cls._at(_Bucket(SQLiteFile(fspath(path))), requests, per)

    @classmethod
    def redis(
        cls, connection: str | Any, *, key: str | None = None, requests: int = 1000, per: float = 60.0
    ) -> SharedLimit:
        """Keep the limit in Redis (5 or newer, or what speaks like it), for processes of any number of machines.

        Needs the extra `redis`. Redis gives away times to depart, one after the other, by its own clock, so those of
        the machines do not matter. Processes get them in the order in which they ask: each process that has calls
        waiting gets as much as the others. They are taken eight at a time while calls wait (of a fast limit, those of a
        tenth of a second), and more while the limit is not used up, so that a request costs little. A time that is not
        used (a process was killed, or stopped for a while) is lost, and never made up for. 96 % of a limit a minute can
        be used, 88 % of one a second; a fiftieth of it at once after a quiet time.

        A pause that a server asks for (`Retry-After`) holds up all processes, as soon as they ask Redis again. While
        Redis cannot be reached, calls wait, and raise SharedLimitError when their time is over. A Redis that has been
        started anew without its data is told by those who know, and lets pass what it gave away before; a process that
        asks it first of all, and never before, may be as many requests too early as it takes at a time.

        Args:
            connection: The URL: `redis://[[user]:password@]host[:port][/database][#key]`, `rediss://` for TLS,
                `unix:///path`, with the options of redis-py as its query. Or a `redis.Redis`, or, for clients on one
                event loop, a `redis.asyncio.Redis`; those stay yours to close.
            key: The key in Redis: one for each API key. Default: that of the URL, then `stackone_lms:limit`.
            requests: Requests in any window of `per` seconds, over all processes.
            per: Length of the window in seconds.

        Raises:
            ConfigurationError: A value is out of range, or redis-py is missing.
        """
        _need("redis", extra="redis")
        if isinstance(connection, str):
            connection = Secret(connection)
            address = _address(connection)
            if address is None or address.scheme not in _REDIS:
                raise ConfigurationError("the URL of a limit in Redis must look like redis://host:6379/0#key")
            if key is not None and address.key:
                raise ConfigurationError("the key of a limit in Redis is given twice, as key= and in the URL")
            key = key if key is not None else address.key or None
        elif not callable(getattr(connection, "evalsha", None)):
            raise ConfigurationError(
                f"a limit in Redis takes a URL or a redis.Redis, not {type(connection).__name__:.60}"
            )
        key = DEFAULT_KEY if key is None else key
        if not isinstance(key, str) or not key:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError("the key of a limit in Redis must be a text that is not empty")
        place = _Redis(connection, key)
        place.check()
        return cls._at(place, requests, per)

    @classmethod
    def from_url(cls, url: str, *, requests: int = 1000, per: float = 60.0) -> SharedLimit:
        """Keep the limit at a URL, as on the command line (`--shared-limit URL`).

        Args:
            url: `redis://`, `rediss://` or `unix://` as `SharedLimit.redis` takes it, with the key after a `#`; or
                `file:///path/to/file`, as `SharedLimit.sqlite` takes it.
            requests: Requests in any window of `per` seconds, over all processes.
            per: Length of the window in seconds.

        Raises:
            ConfigurationError: A value is out of range, or what it needs is not installed.
        """
        url = Secret(url) if isinstance(url, str) else url  # pyright: ignore[reportUnnecessaryIsInstance]
        address = _address(url) if isinstance(url, str) else None  # pyright: ignore[reportUnnecessaryIsInstance]
        if address is None:
            raise ConfigurationError(f"the URL of a shared limit must look like {_FORMS}")
        if address.scheme in _REDIS:
            return cls.redis(url, requests=requests, per=per)
        return cls.sqlite(url2pathname(address.path), requests=requests, per=per)

    @not_for_users("each client has a limiter made")
    def limiter(self, *, clock: Clock, sleep: Sleep) -> Limiter:
        """Return the limiter of one client."""
        limiter = self._place.limiter(self.requests, self.per, clock, sleep)
        limiter.place = str(self._place)
        return limiter

    def _terms(self) -> tuple[object, int, float]:
        return self._place.identity, self.requests, self.per

    def __eq__(self, other: object) -> bool:
        """Whether it is the same limit, in the same place: a copy that came from another process is."""
        return isinstance(other, SharedLimit) and self._terms() == other._terms()

    def __hash__(self) -> int:
        return hash(self._terms())

    def __repr__(self) -> str:
        return f"SharedLimit({str(self._place)!r}, requests={self.requests}, per={self.per})"


class _Location(Protocol):
    """Where a limit is kept; `str()` shows it without a password."""

    @property
    def identity(self) -> object:
        """What equals that of the same place."""
        ...

    def limiter(self, requests: int, per: float, clock: Clock, sleep: Sleep) -> Limiter: ...


class _Bucket:
    def __init__(self, make: Callable[[list[Rate]], AbstractBucket]) -> None:
        self._make = make

    def __str__(self) -> str:
        return self._make.path if isinstance(self._make, SQLiteFile) else "a bucket"

    @property
    def identity(self) -> object:
        return self._make.path if isinstance(self._make, SQLiteFile) else self._make

    def limiter(self, requests: int, per: float, clock: Clock, sleep: Sleep) -> Limiter:
        return PyrateLimiter(self._make, requests=requests, per=per, clock=clock, sleep=sleep)


class _Redis:
    def __init__(self, connection: str | Any, key: str) -> None:
        self._connection, self._key = connection, key

    def __str__(self) -> str:
        return f"{self._where}#{self._key}"

    @property
    def identity(self) -> object:
        return self._connection, self._key

    def __getstate__(self) -> dict[str, Any]:
        if not isinstance(self._connection, str):
            raise TypeError("a SharedLimit made of a connection cannot be pickled: make it of the URL")
        return self.__dict__

    def limiter(self, requests: int, per: float, clock: Clock, sleep: Sleep) -> Limiter:
        own = isinstance(self._connection, str)
        address = _address(self._connection) if own else None
        store = RedisStore(
            self._open,
            own=own,
            where=self._where,
            secret=None if address is None else address.password,
            key=self._key,
            terms=terms_of(requests, per),
            clock=clock,
        )
        return ReservationLimiter(store, requests=requests, per=per, clock=clock, sleep=sleep)

    def check(self) -> None:
        """Have redis-py look at the options of the URL, without I/O."""
        try:
            if isinstance(self._connection, str):
                client = self._open()
                client.connection_pool.make_connection()
                client.close()
            return
        except (ValueError, TypeError, AttributeError):
            pass
        raise ConfigurationError(f"redis-py does not take the URL of the limit, or its options ({self._where})")

    @property
    def _where(self) -> str:
        address = _address(self._connection) if isinstance(self._connection, str) else None
        return f"a {type(self._connection).__name__}" if address is None else address.where

    def _open(self) -> Any:
        if not isinstance(self._connection, str):
            return self._connection
        import redis  # noqa: PLC0415 (an extra)
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.retry import Retry  # noqa: PLC0415

        make: Any = redis.Redis
        return make.from_url(
            str(self._connection).partition("#")[0],
            socket_connect_timeout=CONNECT_TIMEOUT,
            socket_timeout=READ_TIMEOUT,
            retry=Retry(NoBackoff(), 0),  # the limiter asks again
        )


CONNECT_TIMEOUT, READ_TIMEOUT = 5.0, 5.0
"""Seconds; options of the URL go before them."""


class _Address(NamedTuple):
    """What a URL says, with nothing in the clear that is secret."""

    scheme: str
    where: str
    """The URL without user, password, options and key."""
    path: str
    key: str
    password: Secret | None


def _address(url: str) -> _Address | None:
    """Return what a URL says; None if it is none of those that name a place for a limit."""
    try:
        parts = urlsplit(url)
        host, port, password = parts.hostname or "", parts.port, parts.password
    except ValueError:
        return None
    if parts.scheme == "file":
        local = parts.netloc in {"", "localhost"} and not parts.query and not parts.fragment
        good = local and parts.path.strip("/") != ""
    elif parts.scheme == "unix":
        good = parts.path.strip("/") != ""
    else:
        good = parts.scheme in _REDIS and host != ""
    if not good:
        return None
    host = f"[{host}]" if ":" in host else host
    where = f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path}"
    secret = None if password is None else Secret(unquote(password))
    return _Address(parts.scheme, where, parts.path, unquote(parts.fragment), secret)


def _need(module: str, *, extra: str = "shared-limit") -> None:
    import_extra(module, extra=extra, needing="a shared limit needs", error=ConfigurationError)
