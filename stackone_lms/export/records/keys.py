"""Which records are the same one, and which version of it counts: the one changed last.

Memory stays flat: eight bytes a record, until some hash comes twice; only those records are looked at by their ids.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import msgspec

from ...errors import DecodeError
from ...models.base import DateTime, Model
from ...safe_json import FAILURES, check_depth
from .lines import Reader, array_of, chunks

OF_USER = "of_user_id"
"""The field added to records out of a user's list: whose list it was."""


class _Key(Model, kw_only=True, frozen=True):
    id: str | None = None
    of_user_id: str | None = None
    updated_at: DateTime | None = None


class Keys(NamedTuple):
    """The keys of some records that follow each other."""

    ids: Sequence[Any]
    """What tells a record from all others: its id, else `bytes` that depend on its content; None: nothing does."""
    updated: Sequence[datetime | None]
    """When it was changed last."""


Source: TypeAlias = Callable[[], Iterable[Keys]]
"""Yields the keys of a file, from its beginning every time."""

_decode = msgspec.json.Decoder(list[_Key]).decode
_reader = Reader(_Key)


def pair(id: str | None, user: str | None) -> Any:
    """Return what tells a record from all others: its id, in a user's list together with the user."""
    return id if user is None or id is None else (user, id)


def unknown_keys(count: int) -> Keys:
    """Return the keys of records that have none."""
    return Keys([None] * count, [None] * count)


Contents: TypeAlias = Callable[[Sequence[bytes]], Sequence[bytes]]
"""Returns for each of some lines what depends on the content of its record only."""


def digest(text: bytes) -> bytes:
    """Return what tells a text from all others."""
    return hashlib.blake2b(text, digest_size=16).digest()


def keys_of_lines(path: Path, *, of_users: bool, contents: Contents | None = None) -> Iterator[Keys]:
    """Yield the keys of a file with one JSON record a line.

    Args:
        path: The file.
        of_users: Whether its records come from lists of users.
        contents: Gives records without an id their keys; without it they have none.
    """
    for chunk in chunks(path):
        keys = keys_of_chunk(chunk, of_users=of_users)
        yield keys if contents is None else Keys(_filled(keys.ids, chunk.split(b"\n"), contents), keys.updated)


def keys_of_chunk(chunk: bytes, *, of_users: bool) -> Keys:
    """Return the keys of some lines; records without an id have none."""
    try:
        check_depth(chunk)
        found: list[_Key] = list(_decode(array_of(chunk)))
    except (DecodeError, *FAILURES):
        found = [key if isinstance(key, _Key) else _Key() for key in _reader.read(chunk.split(b"\n")[:-1]).values]
    ids = [pair(key.id, key.of_user_id) for key in found] if of_users else [key.id for key in found]
    return Keys(ids, [key.updated_at for key in found])


def _filled(known: Sequence[Any], lines: Sequence[bytes], contents: Contents) -> Sequence[Any]:
    if None not in known:
        return known
    ids = list(known)
    rows = [row for row, id in enumerate(ids) if id is None]
    for row, content in zip(rows, contents([lines[row] for row in rows]), strict=True):
        ids[row] = content
    return ids


class DuplicateScan(NamedTuple):
    """What was found in files that are read one after the other."""

    total: int
    """Records in them."""
    superseded: frozenset[int]
    """Which of them, counted from 0 over all files, are not to be kept."""
    oldest: datetime | None
    """The first change of the records kept."""
    newest: datetime | None
    """The last one."""
    undated: int = 0
    """How many of those kept do not tell when they were changed."""


_BUCKETS = 64


class KeyIndex:
    """Notes the keys of records as they pass."""

    def __init__(self) -> None:
        self._buckets = [array("q") for _ in range(_BUCKETS)]
        self._add = [bucket.append for bucket in self._buckets]
        self._total = 0
        self._span = Span()

    def note(self, keys: Keys) -> None:
        """Note the next records."""
        self._total += len(keys.ids)
        self._span.add(keys.updated)
        add = self._add
        for number in map(hash, keys.ids):
            add[number % _BUCKETS](number)

    def find_duplicates(self, sources: Sequence[Source]) -> DuplicateScan:
        """Find the records that come more than once; of equally old ones the last counts.

        Args:
            sources: Where all that was noted comes from; read again only if something comes more than once.
        """
        repeated = set[int]().union(*map(_repeated, self._buckets)) - {hash(None)}
        if not repeated:
            return DuplicateScan(self._total, frozenset(), self._span.oldest, self._span.newest, self._span.undated)
        superseded = frozenset(_superseded(sources, repeated))
        span, position = Span(), 0
        for keys in _all(sources):
            span.add([moment for at, moment in enumerate(keys.updated, position) if at not in superseded])
            position += len(keys.updated)
        return DuplicateScan(self._total, superseded, span.oldest, span.newest, span.undated)


def find_duplicates(sources: Sequence[Source]) -> DuplicateScan:
    """Read files, and find the records that come more than once; of equally old ones the last counts."""
    key_index = KeyIndex()
    for keys in _all(sources):
        key_index.note(keys)
    return key_index.find_duplicates(sources)


class Span:
    """The first and the last of many moments, and how many are not known."""

    oldest: datetime | None = None
    newest: datetime | None = None
    undated = 0

    def add(self, moments: Sequence[datetime | None]) -> None:
        """Take some into account."""
        known = [moment for moment in moments if moment is not None]
        self.undated += len(moments) - len(known)
        if known:
            first, last = min(known), max(known)
            self.oldest = first if self.oldest is None else min(self.oldest, first)
            self.newest = last if self.newest is None else max(self.newest, last)


def _all(sources: Sequence[Source]) -> Iterator[Keys]:
    for source in sources:
        yield from source()


def _repeated(numbers: array[int]) -> set[int]:
    seen = set(numbers)
    if len(seen) == len(numbers):
        return set()
    again: set[int] = set()
    for number in numbers:
        if number in seen:
            seen.discard(number)
        else:
            again.add(number)
    return again


def _superseded(sources: Sequence[Source], repeated: set[int]) -> Iterator[int]:
    best: dict[Any, tuple[int, datetime | None]] = {}
    most: Counter[bytes] = Counter()
    position = -1
    for source in sources:
        here: Counter[bytes] = Counter()
        for keys in source():
            for id, updated in zip(keys.ids, keys.updated, strict=True):
                position += 1
                if id is None or hash(id) not in repeated:
                    continue
                if isinstance(id, bytes):
                    # Two equal records of one list are two; the same two in the next source are these.
                    here[id] += 1
                    if here[id] <= most[id]:
                        yield position
                    continue
                before = best.get(id)
                if before is None:
                    best[id] = position, updated
                elif before[1] is None or updated is None or updated >= before[1]:
                    yield before[0]
                    best[id] = position, updated
                else:
                    yield position
        most |= here
