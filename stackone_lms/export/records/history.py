"""Which records are new or changed, and since which run each is as it is."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

_BUCKETS = 64


class Stamp(NamedTuple):
    """The run that changed a record last."""

    exported_at: datetime | None
    """When it began; None if that was not noted yet."""
    run: str | None
    """What tells it from others."""


class History:
    """Compares the records of a list with those that a target holds.

    Memory stays flat: 20 bytes a record held.

    Args:
        stamp: The present run.

    Attributes:
        new: Records compared that are not held.
        changed: Records compared that are held with other values.
    """

    def __init__(self, stamp: Stamp) -> None:
        self.stamp = stamp
        self.new = self.changed = 0
        self._stamps: dict[Stamp, int] = {}
        self._held = [(array("q"), array("q"), array("L")) for _ in range(_BUCKETS)]
        self._sorted = True

    @property
    def empty(self) -> bool:
        """Whether nothing is held."""
        return not self._stamps

    def hold(self, ids: Iterable[Any], contents: Iterable[int], stamps: Iterable[Stamp]) -> None:
        """Note records that the target holds.

        Args:
            ids: What tells each from all others; None if its content does.
            contents: Hashes of all their values.
            stamps: The runs that changed them last.
        """
        self._sorted = False
        known = self._stamps
        for id, content, stamp in zip(ids, contents, stamps, strict=True):
            key = hash(content if id is None else id)
            keys, values, numbers = self._held[key % _BUCKETS]
            keys.append(key)
            values.append(content)
            numbers.append(known.setdefault(stamp, len(known)))

    def compare(self, ids: Iterable[Any], contents: Iterable[int]) -> list[Stamp]:
        """Count the records that are new or changed; return the run that changed each last."""
        self._sort()
        stamps, found = [*self._stamps], list[Stamp]()
        for id, content in zip(ids, contents, strict=True):
            key = hash(content if id is None else id)
            keys, values, numbers = self._held[key % _BUCKETS]
            place = bisect_left(keys, key)
            if place == len(keys) or keys[place] != key:
                self.new += 1
                found.append(self.stamp)
            elif values[place] != content:
                self.changed += 1
                found.append(self.stamp)
            else:
                found.append(stamps[numbers[place]])
        return found

    def add(self, count: int) -> list[Stamp]:
        """Count records of which none is held; return the present run for each."""
        self.new += count
        return [self.stamp] * count

    def _sort(self) -> None:
        if self._sorted:
            return
        for number, (keys, values, numbers) in enumerate(self._held):
            order = sorted(range(len(keys)), key=keys.__getitem__)
            self._held[number] = (
                array("q", map(keys.__getitem__, order)),
                array("q", map(values.__getitem__, order)),
                array("L", map(numbers.__getitem__, order)),
            )
        self._sorted = True
