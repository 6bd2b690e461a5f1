"""The sandbox's own decoder of query strings, brackets included."""

import re
from collections.abc import Iterator
from urllib.parse import quote, unquote_plus

from .problems import Problem

Value = str | list[str] | dict[str, "Value"]
"""A parameter: a text, several of them (the key was repeated), or an object (the key had brackets)."""

Query = dict[str, Value]

_BRACKETED = re.compile(r"[^\[\]]+(\[[^\]]*.*\])?", re.DOTALL)
_MAX_PARAMETERS = 1000
_MAX_DEPTH = 20
_DEFAULT_PAGE = 25
_LARGEST_PAGE = 100


def decode(raw: str) -> Query:
    """Decode a raw query string to nested objects.

    `proxy[filter][eq][age]=25` and `proxy[filter[eq][age]]=25` give the same object. A repeated key gives a
    list, with or without `[]`.

    Raises:
        Problem: 400 for bad UTF-8, for keys that contradict each other, and for too many or too deep ones.
    """
    query: Query = {}
    if not raw:
        return query
    pairs = [pair for pair in raw.split("&") if pair]
    if len(pairs) > _MAX_PARAMETERS:
        raise Problem.invalid(f"more than {_MAX_PARAMETERS} query parameters")
    for pair in pairs:
        key, _, value = pair.partition("=")
        try:
            name, text = unquote_plus(key, errors="strict"), unquote_plus(value, errors="strict")
        except UnicodeDecodeError:
            raise Problem.invalid("the query is not valid UTF-8") from None
        _put(query, _path(name), text)
    return query


def _path(name: str) -> list[str]:
    if "[" not in name or name.count("[") != name.count("]") or not _BRACKETED.fullmatch(name):
        return [name]
    return [part for part in re.split(r"[\[\]]+", name) if part]


def _put(query: Query, path: list[str], text: str) -> None:
    if len(path) > _MAX_DEPTH:
        raise Problem.invalid(f"query parameters nest deeper than {_MAX_DEPTH} levels")
    holder = query
    for part in path[:-1]:
        inner = holder.setdefault(part, {})
        if not isinstance(inner, dict):
            raise Problem.invalid(f"{path[0]} is given both as a value and as an object")
        holder = inner
    last = path[-1]
    present = holder.get(last)
    if present is None:
        holder[last] = text
    elif isinstance(present, str):
        holder[last] = [present, text]
    elif isinstance(present, list):
        present.append(text)
    else:
        raise Problem.invalid(f"{path[0]} is given both as a value and as an object")


def encode(query: Query) -> str:
    """Write a query the way the sandbox's providers get it: `filter[eq][age]=25`, brackets left readable."""
    return "&".join(f"{key}={quote(value, safe='')}" for key, value in _flat(query, ""))


def _flat(query: Query, prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in query.items():
        part = quote(name, safe="")
        key = f"{prefix}[{part}]" if prefix else part
        if isinstance(value, dict):
            yield from _flat(value, key)
        else:
            for text in [value] if isinstance(value, str) else value:
                yield key, text


def single(name: str, value: Value) -> str:
    """Return a parameter that has one value, or raise the 400."""
    if not isinstance(value, str):
        raise Problem.invalid(f"{name} must be a single value")
    return value


def read_text(query: Query, name: str) -> str | None:
    """Return the text of a parameter, None if it is missing or empty."""
    value = query.get(name)
    return None if value is None or value == "" else single(name, value)


def read_whole(name: str, text: str) -> int:
    """Read a whole number above 0, or raise the 400."""
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}", text):
        raise Problem.invalid(f"{name} must be a whole number above 0")
    return int(text)


def read_page_size(query: Query) -> int:
    """Return the records of a page: 25 unless said otherwise, 100 at most."""
    text = read_text(query, "page_size")
    return _DEFAULT_PAGE if text is None else min(read_whole("page_size", text), _LARGEST_PAGE)
