"""What stands in a checkpoint, and what it may not be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest

from stackone_lms.errors import InvalidArgumentError
from stackone_lms.spark.offsets import Offset, ReadRequest

from .accounts import Accounts, Make, moment, user

ODD: list[Any] = [None, True, -1, 0, 1, 7, 2.5, "", "x", "2026-01-01", moment(1), [], ["a"], ["a", "a"], {}, {"a": {}}]


def three() -> Accounts:
    accounts = Accounts()
    accounts.records.update((id, [user(str(n), n) for n in range(9)]) for id in "abc")
    accounts.breaks = {("a", 4): 503}
    return accounts


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each value of an offset."""
    if path:
        yield path
    kind = type(value).__name__
    if kind == "list":
        for number in range(len(value)):
            yield from places(value[number], (*path, number))
    if kind == "dict":
        for key in value:
            yield from places(value[key], (*path, key))


def changed(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    found = deepcopy(value)
    here = found
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = odd
    return found


def test_an_offset_that_was_changed_by_somebody_is_refused_or_read(stream: Make) -> None:
    """In whatever place and to whatever value: never an error that speaks of the inside of this source."""
    accounts = three()
    a = stream(accounts, accountsAtOnce="1", batchRows="3")
    for _ in range(3):
        a.batch()
    offset = a.start
    assert offset["open"]
    assert offset["behind"]
    accounts.breaks = {}
    refused = 0
    for path in places(offset):
        for odd in ODD:
            strange = changed(offset, path, odd)
            a.kill()
            try:
                a.query.read(strange)
                a.query.read_again(offset, strange)
            except InvalidArgumentError as error:
                assert "checkpoint" in str(error)  # noqa: PT017 (it may also be read)
                refused += 1
    assert refused > 100


def test_an_older_offset_reads_from_there_on_again(stream: Make) -> None:
    accounts = three()
    accounts.breaks = {}
    a = stream(accounts, accountsAtOnce="1")
    older, first = a.start, a.batch()
    a.round()
    a.kill()
    a.start = older
    assert a.batch() == first
    assert len(a.round()) == 27 - len(first)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pageSize": "50"}, "with pageSize 100, not 50"),
        ({"path": "assignments", "status": "pending"}, "of a stream of users, not of assignments"),
    ],
)
def test_lists_that_are_under_way_go_on_as_they_began(given: dict[str, str], message: str, stream: Make) -> None:
    """A page of another size is another page: a micro-batch that is read again would lose or double records."""
    a = stream(three())
    a.batch()
    under_way = a.start
    a.batch(killed=True)
    a.given |= given
    a.kill()
    for read in (lambda: a.query.read(under_way), a.batch):
        with pytest.raises(InvalidArgumentError) as caught:
            read()
        assert message in str(caught.value)


def test_between_two_rounds_other_options_take_over(stream: Make) -> None:
    """Only a list that broke off is begun anew, since its cursor belongs to pages of another size."""
    accounts = three()
    a = stream(accounts)
    a.round()
    a.given["pageSize"] = "50"
    a.kill()
    accounts.breaks = {}
    accounts.asked.clear()
    assert sorted(id for account, id, _ in a.round() if account == "a") == [str(n) for n in range(9)]
    assert min(accounts.asked) == ("a", 0, None)
    assert a.start["request"]["page_size"] == 50


def test_an_offset_keeps_its_size(stream: Make) -> None:
    """Spark writes one for each micro-batch."""
    accounts = Accounts()
    accounts.records.update((f"account-{number:013}", [user("1", 1)]) for number in range(200))
    a = stream(accounts, batchRows="1000")
    a.round()
    assert len(json.dumps(a.start)) < 26 * 200 + 600


def test_what_a_list_is_asked_for_with_does_not_depend_on_the_order_of_columns() -> None:
    assert ReadRequest.of(100, {}, ("id", "name")) == ReadRequest.of(100, {}, ("name", "id"))
    assert Offset.first("users", ReadRequest.of(100, {}, None)).request == ReadRequest(100)
