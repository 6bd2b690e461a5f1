"""What a client is constructed with, checked and completed from the environment, before any I/O."""

from __future__ import annotations

import base64
import functools
import ipaddress
import os
import platform
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast
from urllib.parse import SplitResult, unquote, urlsplit

from ._version import __version__
from .engine.responses import Redact
from .errors import ConfigurationError, InvalidArgumentError, printable
from .options import DEFAULT_RATE_LIMIT, DEFAULT_RETRY, DEFAULT_TIMEOUT, RateLimit, RetryPolicy, total_seconds
from .transport.base import Secret

DEFAULT_BASE_URL = "https://api.stackone.com"

T = TypeVar("T")


def as_secret(value: T) -> T:
    """Return a string so that no traceback with locals shows it, anything else as it is."""
    return cast("T", Secret(value)) if isinstance(value, str) else value


def from_environment(value: str | None, variable: str) -> str | None:
    """Return `value`, or the environment variable if it is None; an empty variable counts as missing."""
    return value if value is not None else os.environ.get(variable) or None


_VARIABLES = {
    "api_key": "STACKONE_API_KEY",
    "account_id": "STACKONE_ACCOUNT_ID",
    "base_url": "STACKONE_BASE_URL",
    "timeout": "STACKONE_TIMEOUT",
    "retry": "STACKONE_MAX_RETRIES",
    "rate_limit": "STACKONE_REQUESTS_PER_MINUTE",
}


def sources(**given: bool) -> dict[str, str]:
    """Return where each setting comes from: an argument, a variable of the environment, or the default.

    Args:
        **given: Of each setting, whether it was given as an argument.
    """
    found: dict[str, str] = {}
    for name, as_argument in given.items():
        variable = _VARIABLES.get(name, "")
        found[name] = "argument" if as_argument else variable if os.environ.get(variable) else "default"
    return found


def numbers_from_environment(timeout: Any, retry: Any, rate_limit: Any) -> tuple[Any, Any, Any]:
    """Return what was given of these, else what the environment says.

    The variables are STACKONE_TIMEOUT, STACKONE_MAX_RETRIES (n means n+1 attempts), STACKONE_REQUESTS_PER_MINUTE.

    Raises:
        ConfigurationError: A variable is no such number.
    """
    if timeout is DEFAULT_TIMEOUT:
        timeout = _number("STACKONE_TIMEOUT", float, "seconds, more than 0", total_seconds, timeout)
    if retry is DEFAULT_RETRY:
        retry = _number("STACKONE_MAX_RETRIES", int, "a whole number, 0 or more", lambda n: RetryPolicy(n + 1), retry)
    if rate_limit is DEFAULT_RATE_LIMIT:
        wanted = "a whole number, 1 or more"
        rate_limit = _number("STACKONE_REQUESTS_PER_MINUTE", int, wanted, RateLimit, rate_limit)
    return timeout, retry, rate_limit


def _number(variable: str, kind: type[Any], wanted: str, make: Callable[[Any], T], default: T) -> T:
    text = os.environ.get(variable)
    if not text:
        return default
    try:
        return make(kind(text))
    except ValueError:
        raise ConfigurationError(f"{variable} must be {wanted}, not {printable(text, 60)!r}") from None


def check_token(value: Any, what: str, kind: type[ConfigurationError | InvalidArgumentError]) -> str:
    """Return `value` if it can be a header value: visible ASCII, not empty. The message never shows it."""
    if not isinstance(value, str):
        raise kind(f"{what} must be a string, not {type(value).__name__}")
    if not value:
        raise kind(f"{what} is empty")
    if any(not "!" <= c <= "~" for c in value):
        raise kind(f"{what} holds white space, control characters or letters outside ASCII")
    return value


def check_api_key(api_key: str | None) -> str:
    """Return the API key, from STACKONE_API_KEY if it is None.

    Raises:
        ConfigurationError: There is none, or it cannot be one.
    """
    key = as_secret(from_environment(api_key, "STACKONE_API_KEY"))
    if key is None:
        raise ConfigurationError("no API key: pass api_key= or set STACKONE_API_KEY")
    check_token(key, "the API key", ConfigurationError)
    if ":" in key:
        raise ConfigurationError("the API key holds a colon, which Basic auth cannot carry in a user name")
    return key


def _user_and_password(api_key: str) -> bytes:
    return str(api_key).encode("ascii") + b":"


def basic(api_key: str) -> str:
    """Return the Authorization header: the key as user name, no password."""
    return Secret("Basic " + base64.b64encode(_user_and_password(api_key)).decode("ascii"))


def redactor(api_key: str) -> Redact:
    """Return a function that takes the key, in all its spellings, out of what a server echoes."""
    # The padding is left out, as some spell it without.
    encoded = [
        base64.b64encode(text).decode("ascii").rstrip("=")
        for text in (_user_and_password(api_key), str(api_key).encode("ascii"))
    ]
    needles = [secret.encode("ascii") for secret in (api_key, *encoded)]

    def redact(body: bytes) -> bytes:
        for needle in needles:
            if needle in body:
                body = body.replace(needle, b"***")
        return body

    return redact


def check_base_url(base_url: str | None) -> SplitResult:
    """Return the base URL taken apart, from STACKONE_BASE_URL if it is None, then the API's own.

    Raises:
        ConfigurationError: It is not https (plain http is for loopback only), or has user info, query or fragment.
    """
    given: Any = from_environment(base_url, "STACKONE_BASE_URL") or DEFAULT_BASE_URL
    if not isinstance(given, str):
        raise ConfigurationError(f"base_url must be a string, not {type(given).__name__}")
    if any(c <= " " or c == "\\" or not c.isascii() or c == "\x7f" for c in given):
        raise ConfigurationError("base_url holds white space, control characters, a backslash or letters outside ASCII")
    try:
        url = urlsplit(given)
        host, _ = url.hostname, url.port
    except ValueError as error:
        raise ConfigurationError(f"base_url is no URL: {error}") from None
    if url.username is not None or url.password is not None:
        raise ConfigurationError("base_url must not hold user info; the key goes into api_key=")
    if url.scheme not in {"http", "https"} or not host:
        raise ConfigurationError(f"base_url must look like {DEFAULT_BASE_URL}, not {printable(given, 80)!r}")
    if url.query or url.fragment or given.endswith(("?", "#")):
        raise ConfigurationError("base_url must not have a query or a fragment")
    if any(part in {".", ".."} for part in unquote(url.path).split("/")):
        raise ConfigurationError("base_url must not have dot segments")
    if url.scheme == "http" and not is_loopback(host):
        raise ConfigurationError("base_url must be https: plain http would show the API key to the network")
    return url


def is_loopback(host: str) -> bool:
    """Tell whether a host name means this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_user_agent(user_agent: str | None) -> str:
    """Return the User-Agent: the package, Python and aiohttp with their versions, after the caller's own if given."""
    own = (
        f"stackone-lms-python/{__version__} (Python/{platform.python_version()}; {sys.platform}; aiohttp/{_aiohttp()})"
    )
    if user_agent is None:
        return own
    if not isinstance(user_agent, str) or not user_agent.strip():  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError("user_agent must be a non-empty string")
    if any(not " " <= c <= "~" for c in user_agent):
        raise ConfigurationError("user_agent holds control characters or letters outside ASCII")
    return f"{user_agent.strip()} {own}"


@functools.cache
def _aiohttp() -> str:
    from importlib.metadata import version  # noqa: PLC0415 (slow to import, needed once)

    return version("aiohttp")


def account_headers(api_key: str, user_agent: str) -> Callable[[str | None, bool], tuple[Mapping[str, str], Redact]]:
    """Return a function from account id and heartbeat to all headers of a request, and what redacts its answers."""
    authorization, redact = basic(api_key), redactor(api_key)

    def make(account_id: str | None, heartbeat: bool) -> tuple[Mapping[str, str], Redact]:
        headers = {
            "Authorization": authorization,
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "User-Agent": user_agent,
        }
        if account_id is not None:
            headers["x-account-id"] = account_id
        if heartbeat:
            headers["Prefer"] = "heartbeat"
        return headers, redact

    return make
