"""How a read is narrowed: the keywords of every operation, and their one encoder.

Sources: the API document for the keys; brackets on every operation (`filter[...]`, `proxy[...]`), as the guides
write them and as the document itself declares for most.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Literal, TypeAlias, TypedDict, cast, get_args
from urllib.parse import quote

from ..checks import levels_to_the_caller, whole_number
from ..errors import InvalidArgumentError, printable
from ..models.base import to_wire
from ..models.values import AssignmentStatusValue

Moment: TypeAlias = datetime | str
"""An aware datetime, or the API's own text form of one."""


class GetQuery(TypedDict, total=False):
    """Keywords of a read."""

    raw: bool
    """Add the provider calls behind the answer (`.raw`). Default false."""
    fields: str | Iterable[str]
    """Names of the fields to return, as a list or comma-separated. Default: all."""
    proxy: Mapping[str, Any]
    """Parameters passed on to the provider, nested as deep as needed."""


class ListQuery(GetQuery, total=False):
    """Keywords of a list."""

    filter: Mapping[str, Any]
    """Filters by name; the same names are accepted as keywords. Names and values that the API document does not have
    are sent as given, with a warning: nested mappings become `filter[a][b]`, lists repeat the key."""
    updated_after: Moment
    """Only records changed after this moment."""
    page_size: int
    """Records a page; the same for the whole walk. Default: 100 for a walk over the pages; for a first page alone and
    for at most 25 items the API's own, 25."""
    next: str
    """Cursor to start from."""
    max_items: int
    """Stop after so many items."""
    max_empty_pages: int
    """Give up after so many empty pages in a row. Default 10,000."""
    prefetch: int
    """1: fetch the next page while the present one is worked on. Default 0."""


class CourseQuery(ListQuery, total=False):
    """Keywords of the list of courses."""

    external_reference: str
    """Only the course with this reference of yours."""
    active: Literal[True]
    """Only active records; the API has no filter for inactive ones."""


class ContentQuery(ListQuery, total=False):
    """Keywords of the list of content."""

    active: Literal[True]
    """Only active records; the API has no filter for inactive ones."""


class UserQuery(ListQuery, total=False):
    """Keywords of the list of users."""

    email: str
    """Only the user with this address."""
    external_reference: str
    """Only the user with this reference of yours."""


class AssignmentQuery(ListQuery, total=False):
    """Keywords of the lists of assignments."""

    status: AssignmentStatusValue
    """Only assignments of this status."""
    user_id: str
    """Only those of the user with this StackOne id."""
    remote_user_id: str
    """Only those of the user with this provider id."""


PLAIN = frozenset({"raw", "fields", "proxy", "filter", "page_size", "next", "user_id", "remote_user_id"})
"""Keywords that are query parameters of that very name."""
STATUSES: tuple[str, ...] = get_args(AssignmentStatusValue)
"""What a filter by `status` may be."""
CLIENT = frozenset({"max_items", "max_empty_pages", "prefetch"})
"""Keywords that only this side uses."""


def keywords(query: type) -> frozenset[str]:
    """Return the keywords that a query type allows."""
    return query.__optional_keys__ | query.__required_keys__  # type: ignore[attr-defined,no-any-return]


def filters(query: type) -> frozenset[str]:
    """Return the keys of `filter[...]` that a query type allows."""
    return keywords(query) - PLAIN - CLIENT


def encode_query(query: Mapping[str, Any], allowed_filters: frozenset[str] = frozenset()) -> str:
    """Encode keywords as the query string of a request.

    Brackets are percent-encoded; nested mappings become `proxy[a][b]=1`, lists repeat the key, booleans are
    `true` and `false`, date-times UTC with milliseconds, None is left out. A key that has brackets of its
    own is kept: `{"filter[eq][age]": 25}` gives `proxy[filter[eq][age]]=25`.

    Args:
        query: Keywords of the call, names already checked.
        allowed_filters: What the API document has in `filter[...]`; `filter` may hold others, with a warning.

    Returns:
        The query string without `?`, empty if there is nothing to send.

    Raises:
        InvalidArgumentError: A value cannot be sent, or a keyword is no filter of the operation.
    """
    pairs: list[str] = []
    filtered: dict[str, Any] = {}
    if "filter" in query:
        _warn_of_filters(query["filter"], allowed_filters)
    for key, value in query.items():
        if value is None:
            continue
        encode = _PLAIN_ENCODERS.get(key)
        if encode is not None:
            encode(key, value, pairs)
        elif key not in CLIENT:
            filtered[key] = value
    if filtered:
        unknown = filtered.keys() - allowed_filters
        if unknown:
            known = ", ".join(sorted(allowed_filters)) or "none"
            raise InvalidArgumentError(f"filter {min(unknown)!r:.60} is unknown here; allowed: {known}")
        twice = filtered.keys() & set(query.get("filter") or ())
        if twice:
            raise InvalidArgumentError(f"{min(twice)} is given both in filter= and as a keyword")
        _filter("filter", filtered, pairs, strict=True)
    return "&".join(pairs)


def encode_parameters(keyword: str, query: Any) -> str:
    """Encode parameters of any name: nested mappings become `a[b]=1`, lists repeat the key, None is left out.

    Args:
        keyword: What they were given as, for messages.
        query: The parameters.

    Raises:
        InvalidArgumentError: A value cannot be sent.
    """
    if not isinstance(query, Mapping):
        raise InvalidArgumentError(f"{keyword} must be a mapping, not {type(query).__name__}")
    pairs: list[str] = []
    for name, value in cast("Mapping[Any, Any]", query).items():
        if not isinstance(name, str) or not name:
            raise InvalidArgumentError(f"{keyword} must have non-empty strings as keys, not {name!r:.60}")
        _deep(name, value, pairs, 0)
    return "&".join(pairs)


def _warn_of_filters(given: Any, allowed: frozenset[str]) -> None:
    """Warn, once a call, of filters and values that the API document does not have; they are sent nevertheless."""
    if not isinstance(given, Mapping):
        return
    odd: list[str] = []
    for name, value in cast("Mapping[Any, Any]", given).items():
        if not isinstance(name, str) or not name:
            raise InvalidArgumentError(f"filter must have non-empty strings as keys, not {name!r:.60}")
        if value is None:
            continue
        if name not in allowed:
            odd.append(name)
        elif (
            isinstance(value, _LISTS + _MAPPINGS)
            or (name == "active" and value not in (True, "true"))
            or (name == "status" and value not in STATUSES)
        ):
            odd.append(f"{name}={value}")
    if odd:
        known = ", ".join(sorted(allowed)) or "none"
        warnings.warn(
            f"not in the API document, and sent as given: filter {', '.join(odd):.200}; the document has {known}",
            UserWarning,
            stacklevel=levels_to_the_caller(),
        )


def _raw(key: str, value: Any, pairs: list[str]) -> None:
    if value is not True and value is not False:
        raise InvalidArgumentError(f"{key} must be True or False, not {type(value).__name__}")
    pairs.append("raw=true" if value else "raw=false")


def _fields(key: str, value: Any, pairs: list[str]) -> None:
    if isinstance(value, str):
        names = value
    else:
        if isinstance(value, Mapping | bytes) or not isinstance(value, Iterable):
            raise InvalidArgumentError(f"fields must be a string or strings, not {type(cast('Any', value)).__name__}")
        parts = list(cast("Iterable[Any]", value))
        for part in parts:
            if not isinstance(part, str) or not part or "," in part:
                raise InvalidArgumentError(f"fields must hold names without commas, not {part!r:.60}")
        names = ",".join(parts)
    if names:
        pairs.append(f"fields={_percent_name(names, key)}")


def _text(key: str, value: Any, pairs: list[str]) -> None:
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{key} must be a string, not {type(value).__name__}")
    pairs.append(f"{key}={_percent(value, key)}")


def _page_size(key: str, value: Any, pairs: list[str]) -> None:
    pairs.append(f"{key}={whole_number(key, value, at_least=1)}")


def _proxy(key: str, value: Any, pairs: list[str]) -> None:
    if not isinstance(value, _MAPPINGS):
        raise InvalidArgumentError(f"proxy must be a mapping, not {type(value).__name__}")
    _deep(key, value, pairs, 0)  # pyright: ignore[reportUnknownArgumentType]


def _filter(key: str, value: Any, pairs: list[str], *, strict: bool = False) -> None:
    if not isinstance(value, Mapping):
        raise InvalidArgumentError(f"filter must be a mapping, not {type(value).__name__}")
    for name, item in value.items():  # pyright: ignore[reportUnknownVariableType]
        if not strict and isinstance(item, _LISTS + _MAPPINGS):
            _deep(f"{key}[{name}]", item, pairs, 0)  # pyright: ignore[reportUnknownArgumentType]
        elif item is not None:
            text = _filter_value(str(name), item, strict=strict)  # pyright: ignore[reportUnknownArgumentType]
            pairs.append(f"{key}%5B{_percent_name(str(name), key)}%5D={_percent(text, key)}")  # pyright: ignore[reportUnknownArgumentType]


def _filter_value(name: str, value: Any, *, strict: bool) -> str:
    if name == "updated_after":
        return encode_moment(name, value)
    if not strict:
        return _single(value, name)
    if name == "active":
        if value is not True and value != "true":
            raise InvalidArgumentError(
                "active accepts only True: the API has no filter for inactive records (filter={...} sends anything)"
            )
        return "true"
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{name} must be a string, not {type(value).__name__}")
    if name == "status" and value not in STATUSES:
        raise InvalidArgumentError(
            f"status {value!r:.60} is unknown; allowed: {', '.join(STATUSES)} (filter={{...}} sends anything)"
        )
    return value


def encode_moment(name: str, value: Any) -> str:
    """Return a moment as text: a datetime in UTC, a date as its first moment, ISO 8601 text as it is.

    Raises:
        InvalidArgumentError: It is none of these.
    """
    if isinstance(value, str):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            raise InvalidArgumentError(f"{name} must be an ISO 8601 date-time, not {value!r:.60}") from None
        return value
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if not isinstance(value, datetime):
        raise InvalidArgumentError(f"{name} must be a datetime or a string, not {type(value).__name__}")
    return _single(value, name)


_PLAIN_ENCODERS = {
    "raw": _raw,
    "fields": _fields,
    "proxy": _proxy,
    "filter": _filter,
    "page_size": _page_size,
    "next": _text,
    "user_id": _text,
    "remote_user_id": _text,
}

_DEEPEST = 32
_MAPPINGS = (dict, Mapping)
_LISTS = (list, tuple, set, frozenset)
_MOST_BITS = 4096  # Python writes ints of up to 4300 digits


def _deep(prefix: str, value: Any, pairs: list[str], depth: int) -> None:
    if depth > _DEEPEST:
        raise InvalidArgumentError(f"{printable(prefix, 60)} nests deeper than {_DEEPEST} levels")
    if isinstance(value, _MAPPINGS):
        for name, item in value.items():  # pyright: ignore[reportUnknownVariableType]
            if not isinstance(name, str) or not name:
                raise InvalidArgumentError(
                    f"{printable(prefix, 60)} must have non-empty strings as keys, not {name!r:.60}"
                )
            key = f"{prefix}[{name}]"
            if type(item) is str:  # pyright: ignore[reportUnknownArgumentType]
                pairs.append(f"{_percent_name(key, key)}={_percent(item, key)}")
            else:
                _deep(key, item, pairs, depth + 1)
    elif isinstance(value, _LISTS):
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            if isinstance(item, (*_LISTS, *_MAPPINGS)):
                raise InvalidArgumentError(f"{printable(prefix, 60)}: a list can hold single values only")
            _deep(prefix, item, pairs, depth + 1)
    elif value is not None:
        pairs.append(f"{_percent_name(prefix, prefix)}={_percent(_single(value, prefix), prefix)}")


def _single(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if value.bit_length() > _MOST_BITS:
            raise InvalidArgumentError(f"{printable(where, 60)} is too large a number")
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidArgumentError(f"{printable(where, 60)} must be finite, not {value}")
        return repr(value)
    if isinstance(value, datetime):
        try:
            return to_wire(value)
        except (ValueError, OverflowError) as error:
            raise InvalidArgumentError(f"{printable(where, 60)}: {error}") from None
    if isinstance(value, date):
        return value.isoformat()
    raise InvalidArgumentError(f"{printable(where, 60)} cannot be sent as {type(value).__name__}")


_UNRESERVED = re.compile(r"[A-Za-z0-9_.~-]*", re.ASCII)


def _percent(text: str, where: str) -> str:
    plain = _UNRESERVED.fullmatch(text)
    if plain:
        return plain[0]  # of a str enum the text
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise InvalidArgumentError(f"{where[:60]!r} holds half of a surrogate pair") from None


@lru_cache(maxsize=1024)
def _percent_name(text: str, where: str) -> str:
    """Encode a key or names of fields, which come again with every call. Values may be personal and are not kept."""
    return _percent(text, where)
