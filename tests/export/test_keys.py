"""Which records are the same, and which of them counts."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackone_lms.export.records.history import History, Stamp
from stackone_lms.export.records.keys import (
    KeyIndex,
    Keys,
    find_duplicates,
    keys_of_lines,
)

DAY = datetime(2026, 1, 1, tzinfo=UTC)
moments = st.one_of(st.none(), st.integers(0, 3).map(lambda days: DAY + timedelta(days=days)))
ids = st.one_of(st.none(), st.sampled_from("abc"), st.tuples(st.sampled_from("ab"), st.sampled_from("ab")))
files = st.lists(st.lists(st.tuples(ids, moments), max_size=8), max_size=3)


def expected(rows: list[tuple[Any, Any]]) -> set[int]:
    """Return what is superseded, in the plainest way."""
    gone: set[int] = set()
    best: dict[Any, int] = {}
    for position, (id, updated) in enumerate(rows):
        if id is None:
            continue
        if id not in best:
            best[id] = position
            continue
        before = rows[best[id]][1]
        if before is None or updated is None or updated >= before:
            gone.add(best[id])
            best[id] = position
        else:
            gone.add(position)
    return gone


@given(files)
def test_of_equal_ids_the_last_change_counts(given_files: list[list[tuple[Any, Any]]]) -> None:
    """Over all files, in their order; records without an id are never the same."""
    sources = [partial(iter, [Keys([id for id, _ in rows], [updated for _, updated in rows])]) for rows in given_files]
    rows = [row for some in given_files for row in some]
    found = find_duplicates(sources)
    assert found.superseded == expected(rows)
    assert found.total == len(rows)
    kept = [updated for n, (_, updated) in enumerate(rows) if n not in found.superseded and updated is not None]
    assert (found.oldest, found.newest) == (min(kept, default=None), max(kept, default=None))


def test_equal_hashes_are_not_equal_ids() -> None:
    """-1 and -2 have one hash in Python: still two records."""
    assert hash(-1) == hash(-2)
    keys = Keys([-1, -2, -1], [None, None, None])
    assert find_duplicates([lambda: [keys]]).superseded == {0}


def test_nothing_is_read_again_unless_something_comes_twice() -> None:
    """That is what makes one reading enough."""
    key_index = KeyIndex()
    key_index.note(Keys(["a", "b", None, None], [DAY, None, None, None]))

    def never() -> list[Keys]:
        raise AssertionError("read again")

    assert key_index.find_duplicates([never]).superseded == frozenset()


def test_keys_of_lines_that_hold_anything(tmp_path: Path) -> None:
    """Odd lines have no key, and do not hide those of the others."""
    path = tmp_path / "rows"
    path.write_bytes(
        b'{"id":"a","updated_at":"2026-01-01T00:00:00.000Z","x":{"id":"no"}}\n'
        b'{"id":7,"updated_at":"2026-01-01"}\n[1]\n{"id":["b"]}\n{"id":"c","updated_at":"later","of_user_id":"u"}\n'
    )
    (keys,) = keys_of_lines(path, of_users=False)
    assert keys == Keys(["a", "7", None, None, "c"], [DAY, DAY, None, None, None])
    (keys,) = keys_of_lines(path, of_users=True)
    assert keys.ids == ["a", "7", None, None, ("u", "c")]


def test_memory_is_a_few_bytes_a_record() -> None:
    """Eight, and a little while repeated ones are looked for, bucket by bucket: a set of all ids would be a hundred."""
    count = 200_000
    moments = [None] * 1000
    tracemalloc.start()
    try:
        index = KeyIndex()
        for start in range(0, count, 1000):
            index.note(Keys([f"record-{n}" for n in range(start, start + 1000)], moments))
        held, _ = tracemalloc.get_traced_memory()
        assert index.find_duplicates([]).total == count
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 12 * count
    assert peak < 20 * count


def test_memory_is_no_more_where_a_record_comes_twice() -> None:
    """Only what comes twice is looked at by its id: a dict of all of them would take a hundred bytes a record."""
    count = 20_000

    def keys() -> Iterator[Keys]:
        for start in range(0, count, 100):
            yield Keys([f"record-{n % (count - 1)}" for n in range(start, start + 100)], [None] * 100)

    tracemalloc.start()
    try:
        found = find_duplicates([keys])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (found.total, found.superseded) == (count, frozenset({0}))
    assert peak < 20 * count


@pytest.mark.thorough
def test_memory_of_what_is_replaced_is_a_few_bytes_a_record() -> None:
    """Twenty or so, however many runs they came in."""
    count = 200_000
    stamp = Stamp(DAY, "run")
    tracemalloc.start()
    try:
        history = History(stamp)
        for start in range(0, count, 1000):
            ids = [f"record-{n}" for n in range(start, start + 1000)]
            history.hold(ids, map(hash, ids), [Stamp(DAY, f"run {start % 7}")] * 1000)
        held, _ = tracemalloc.get_traced_memory()
        found = history.compare(["record-5", "new", "record-6"], [hash("record-5"), 0, 0])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == [Stamp(DAY, "run 0"), stamp, stamp]
    assert (history.new, history.changed) == (1, 1)
    assert held < 30 * count
    assert peak < 40 * count
