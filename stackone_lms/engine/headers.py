"""Headers that a caller adds to requests: which there may be, and how their values stay hidden."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, cast

from ..errors import ConfigurationError, InvalidArgumentError
from ..transport.base import Secret
from .responses import Redact

RESERVED = frozenset(
    {"authorization", "x-account-id", "host", "content-length", "content-type", "transfer-encoding", "connection"}
    | {"accept-encoding"}
)
"""Headers that only the client sets, in lower case."""
_KEPT = RESERVED | {"accept", "user-agent"}
"""Those that are always there; the last two may have other values."""
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)

_Error = type[ConfigurationError | InvalidArgumentError]


def _checked(what: str, name: object, text: object, error: _Error) -> tuple[str, Secret]:
    """Return name and value of a header. The messages never show a value."""
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise error(f"{what}: {name!r:.60} cannot be the name of a header")
    if name.lower() in RESERVED:
        raise error(f"{what}: {name} is set by the client; not to be given are {', '.join(sorted(RESERVED))}")
    if not isinstance(text, str):
        raise error(f"{what}: {name} must be a string, not {type(text).__name__}")
    if text != text.strip() or any(not " " <= c <= "~" for c in text):
        raise error(f"{what}: {name} holds control characters, letters outside ASCII or white space around it")
    return name, Secret(text)


def extra_headers(value: Any, error: _Error) -> Mapping[str, str]:
    """Return headers to add to every request.

    Raises:
        ConfigurationError: They cannot be sent, or are not to be given; or the error given.
    """
    if not isinstance(value, Mapping):
        raise error(f"extra_headers must be a mapping of strings, not {type(value).__name__}")
    given = cast("Mapping[Any, Any]", value).items()
    return dict(_checked("extra_headers", name, text, error) for name, text in given)


def with_extra(headers: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a request, those of `extra` in the place of others of the same name."""
    replaced = {name.lower() for name in extra}
    return {name: value for name, value in headers.items() if name.lower() not in replaced} | dict(extra)


def redact_also(redact: Redact, values: Iterable[str]) -> Redact:
    """Return a function that also takes `values` out; short ones would take parts of words with them."""
    needles = [value.encode("ascii") for value in values if len(value) >= 8]

    def redact_all(body: bytes) -> bytes:
        body = redact(body)
        for needle in needles:
            body = body.replace(needle, b"***")
        return body

    return redact_all if needles else redact


class RequestHeaders(MutableMapping[str, str]):
    """The headers of one request, for hooks to add to; names are found in any case.

    `Authorization` is not among them. What only the client sets cannot be changed: `x-account-id`, `Host` and those
    about the form of bodies. `Accept` and `User-Agent` can be replaced. The repr shows added values as `***`.

    Raises:
        InvalidArgumentError: On setting or deleting: the header belongs to the client, or cannot be sent.
    """

    __slots__ = ("_held", "added")

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._held = {name.lower(): (name, value) for name, value in headers.items()}
        self._held.pop("authorization", None)
        self.added: dict[str, str | None] = {}
        """What was set since, by its name in lower case; None for what was deleted."""

    def __getitem__(self, name: str) -> str:
        return self._held[name.lower()][1]

    def __setitem__(self, name: str, value: str) -> None:
        name, value = _checked("request.headers", name, value, InvalidArgumentError)
        self._held[name.lower()] = name, value
        self.added[name.lower()] = value

    def __delitem__(self, name: str) -> None:
        if name.lower() in _KEPT:
            raise InvalidArgumentError(f"request.headers: {name} is set by the client and cannot be deleted")
        del self._held[name.lower()]
        self.added[name.lower()] = None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._held

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._held.values())

    def __len__(self) -> int:
        return len(self._held)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self)})"

    def onto(self, sent: Mapping[str, str]) -> Mapping[str, str]:
        """Return the headers that these were made of, with the changes; the very same if there are none."""
        if not self.added:
            return sent
        left = {name: value for name, value in sent.items() if name.lower() not in self.added}
        return left | {name: value for lower, (name, value) in self._held.items() if lower in self.added}
