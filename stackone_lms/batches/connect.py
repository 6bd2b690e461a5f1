"""How processes reach the API that make a client of their own: plain data that names where the key is."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeVar

from msgspec import UNSET, UnsetType

from ..base_client import BaseClient
from ..client import AsyncClient
from ..configuration import as_secret, check_base_url, from_environment
from ..engine.rate_limit import RateLimitBackend
from ..errors import ConfigurationError
from ..options import RateLimit, RetryPolicy, Timeout
from ..sync import SyncClient
from ..threads import ProcessLock

C = TypeVar("C", bound=BaseClient[Any])

_PLACES: Final = ("key_env", "key_file", "key_from", "profile")
_OPTIONS: Final = ("base_url", "rate_limit", "timeout", "retry", "max_concurrency", "ca_bundle")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FUNCTION: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """How to reach the API, as plain data: it pickles, and holds no key but the name of the place where one is.

    `client()` is the one client that a process has for it, so that its rate limit lasts from one task to the next:
    a client for each task would begin with a full allowance each time. Several processes that share a key need a part
    of its limit each (`rate_limit=`), or a limit that they keep together (`stackone_lms.shared_limit`).

    The key is in one place: `key_env`, `key_file`, `key_from` or `profile`; where none is named, in STACKONE_API_KEY.
    It is read where and when the client is made. What is not given here comes from the environment or the profile, as
    with any client.

    Raises:
        ConfigurationError: Two places of the key are named, or a value cannot be.
    """

    key_env: str | None = None
    """Name of the environment variable with the key."""
    key_file: str | os.PathLike[str] | None = None
    """Path of a file whose first line is the key, such as a mounted secret."""
    key_from: str | None = None
    """A function without arguments that returns the key.

    It is written as `package.module:function`."""
    profile: str | None = None
    """Name of a profile, which `stackone-lms configure` writes."""
    base_url: str | None = None
    """Address of the API."""
    rate_limit: RateLimit | RateLimitBackend | int | UnsetType | None = UNSET
    """Client-side limit of this process, as of a client: in requests a minute or as a RateLimit; None: no limit."""
    timeout: Timeout | float | UnsetType = UNSET
    """Time limits, as of a client."""
    retry: RetryPolicy | int | UnsetType = UNSET
    """Retry rules, as of a client."""
    max_concurrency: int | UnsetType = UNSET
    """Requests under way at once."""
    ca_bundle: str | None = None
    """PEM file of CAs to trust besides the system's."""

    def __post_init__(self) -> None:
        named = [name for name in _PLACES if getattr(self, name) is not None]
        if len(named) > 1:
            raise ConfigurationError(f"{' and '.join(named)} exclude each other: the key is in one place")
        if self.key_file is not None:
            object.__setattr__(self, "key_file", os.fspath(self.key_file))
        for name in named:
            value: Any = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                raise ConfigurationError(f"{name} must be a text that is not empty, not {type(value).__name__}")
        # A key put here by mistake is not shown.
        if self.key_env is not None and not _VARIABLE.fullmatch(self.key_env):
            raise ConfigurationError("key_env must be the name of an environment variable, not the key itself")
        if self.key_from is not None and not _FUNCTION.fullmatch(self.key_from):
            raise ConfigurationError("key_from must name a function as package.module:function")
        if self.base_url is not None:
            check_base_url(self.base_url)

    def client(self) -> SyncClient:
        """Return the SyncClient of this process: the same at each call, made at the first.

        Its threads share it. A process that was forked makes its own; what its parent had is left alone. It ends with
        the process: closing it is needless, and the call after that makes another one, with a limit that begins anew.

        Raises:
            ConfigurationError: The key is not where it should be, or something else is missing.
        """
        return _client_of_process(SyncClient, self)

    def async_client(self) -> AsyncClient:
        """Return the AsyncClient of this process: the same at each call, made at the first.

        It belongs to the event loop on which it is used first, and moves to the next one, with the same limits, when
        that is closed: `asyncio.run` for one task after the other works. On a second loop that runs beside the first
        its calls raise WrongLoopError; threads use `client()`. The limit is its own, not that of `client()`.

        Raises:
            ConfigurationError: The key is not where it should be, or something else is missing.
        """
        return _client_of_process(AsyncClient, self)

    def _make(self, kind: Callable[..., C]) -> C:
        options = {name: value for name in _OPTIONS if (value := getattr(self, name)) is not UNSET}
        options = {name: value for name, value in options.items() if value is not None or name == "rate_limit"}
        if self.profile is not None:
            from_profile: Callable[..., C] = kind.from_profile  # type: ignore[attr-defined]
            return from_profile(self.profile, **options)
        return kind(self._key(), **options)

    def _key(self) -> str | None:
        if self.key_env is not None:
            key = as_secret(from_environment(None, self.key_env))
            if key is None:
                raise ConfigurationError(f"no API key: the environment variable {self.key_env} is not set")
            return key
        if self.key_file is not None:
            return _first_line(Path(self.key_file))
        return None if self.key_from is None else _returned(self.key_from)


def _first_line(path: Path) -> str:
    try:
        lines = [as_secret(line) for line in path.read_text("utf-8").splitlines()]
    except OSError as error:
        raise ConfigurationError(f"no API key: {str(path)!r:.200} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"no API key: {str(path)!r:.200} is no UTF-8 text") from None
    if not lines or not lines[0].strip():
        raise ConfigurationError(f"no API key: {str(path)!r:.200} holds nothing in its first line")
    return as_secret(lines[0].strip())


def _returned(place: str) -> str:
    module, _, name = place.partition(":")
    try:
        function: Any = import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"no API key: {place} cannot be imported: {error}") from None
    key = as_secret(function())
    if not isinstance(key, str):
        raise ConfigurationError(f"no API key: {place} returned {type(key).__name__}, not a text")
    return key


_lock = ProcessLock()
_clients: dict[tuple[int, type[Any], Connect], Any] = {}
"""By process: what a forked one takes along from its parent is not its own."""


def _client_of_process(kind: type[C], connect: Connect) -> C:
    key = (os.getpid(), kind, connect)
    with _lock:
        found: C | None = _clients.get(key)
        if found is None or found.closed:
            found = _clients[key] = connect._make(kind)  # pyright: ignore[reportPrivateUsage]
        return found
