"""Batch queries without Spark: who reads what, and what is asked for."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from stackone_lms import SyncClient
from stackone_lms.arrow import scan
from stackone_lms.errors import InvalidArgumentError, PreconditionFailedError
from stackone_lms.export.lists import resources
from stackone_lms.sandbox import Sandbox
from stackone_lms.spark.columns import fields_of
from stackone_lms.spark.options import KeyedConnect, read_options
from stackone_lms.spark.reading import BatchQuery

from .accounts import Accounts


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox.in_thread(
        accounts=3, odd_values=True, users=12, courses=8, contents=6, assignments=30, completions=75
    ) as running:
        yield running


def query(sandbox: Sandbox, resource: str, names: tuple[str, ...] | None = None, **given: str) -> BatchQuery:
    several = {
        "path": resource,
        "apiKey": sandbox.api_key,
        "baseUrl": sandbox.url,
        "requestsPerMinute": "999999",
        **given,
    }
    if not {"allAccounts", "accounts"} & several.keys():
        several["accounts"] = ",".join(sandbox.account_ids)
    options = read_options({name.lower(): value for name, value in several.items()}).for_batch()
    every = tuple(field.name for field in fields_of(resource, failures=options.on_error == "row"))
    return pickle.loads(pickle.dumps(BatchQuery(options, names or every)))  # type: ignore[no-any-return]


def read(one: BatchQuery) -> list[dict[str, Any]]:
    tasks = one.plan()
    return [row for slices in tasks for batch in one.read(slices, len(tasks)) for row in batch.to_pylist()]


@pytest.mark.parametrize("resource", resources())
def test_every_list_has_the_rows_of_a_scan(resource: str, sandbox: Sandbox) -> None:
    with SyncClient(sandbox.api_key, base_url=sandbox.url, rate_limit=None) as client:
        expected = scan(resource, sandbox.account_ids, client=client).read_all().to_pylist()

    def order(row: dict[str, Any]) -> str:
        return json.dumps(row, default=str, sort_keys=True)

    assert sorted(read(query(sandbox, resource)), key=order) == sorted(expected, key=order)


def test_columns_become_fields(sandbox: Sandbox) -> None:
    rows = read(query(sandbox, "completions", ("result_value", "account_id")))
    assert len(rows) == 225
    assert list(rows[0]) == ["result_value", "account_id"]
    assert "fields=result&" in sandbox.requests[-1].query + "&"


def test_accounts_are_dealt_out_to_the_tasks(sandbox: Sandbox) -> None:
    a, b, c = sandbox.account_ids
    tasks = query(sandbox, "users", partitions="2").plan()
    assert [[one.account_id for one in task] for task in tasks] == [[a, c], [b]]
    assert len(query(sandbox, "users", partitions="8").plan()) == 3
    found = query(sandbox, "users", allAccounts="true").plan()
    assert sorted(one.account_id for task in found for one in task) == sorted(sandbox.account_ids)


@dataclass
class EqualTo:
    attribute: tuple[str, ...]
    value: Any


class GreaterThan(EqualTo):
    pass


class LessThan(EqualTo):
    pass


class In(EqualTo):
    pass


class GreaterThanOrEqual(EqualTo):
    pass


class EqualNullSafe(EqualTo):
    pass


class StringStartsWith(EqualTo):
    pass


@dataclass
class IsNull:
    attribute: tuple[str, ...]


class IsNotNull(IsNull):
    pass


@dataclass
class Not:
    child: Any


def holds(filter: Any, row: dict[str, Any]) -> bool | None:
    """Return what Spark finds of a row; None: it is not known, since a value is null."""
    if isinstance(filter, Not):
        inside = holds(filter.child, row)
        return None if inside is None else not inside
    kind = type(filter).__name__
    value = row[filter.attribute[0]]
    if kind in {"IsNull", "IsNotNull"}:
        return (value is None) == (kind == "IsNull")
    if kind == "EqualNullSafe":
        return bool(value == filter.value)
    if value is None:
        return None
    if kind == "In":
        return value in filter.value
    if kind == "StringStartsWith":
        return bool(value.startswith(filter.value))
    compared = {
        "EqualTo": value == filter.value,
        "GreaterThan": value > filter.value,
        "GreaterThanOrEqual": value >= filter.value,
        "LessThan": value < filter.value,
    }
    return bool(compared[kind])


def some_filters(row: dict[str, Any]) -> Iterator[Any]:
    """Yield filters of every kind by the values of a row."""
    for name, value in row.items():
        where = (name,)
        yield from (IsNull(where), IsNotNull(where), Not(IsNull(where)))
        if isinstance(value, bool | str):
            for made in (EqualTo(where, value), In(where, (value, None)), EqualNullSafe(where, value)):
                yield from (made, Not(made))
        if isinstance(value, bool):
            yield EqualTo(where, not value)
        if isinstance(value, str):
            yield from (StringStartsWith(where, value[:3]), EqualTo(where, value.upper()), LessThan(where, value))
            yield from (GreaterThan(where, value), GreaterThanOrEqual(where, value))
        if isinstance(value, datetime):
            for kind in (EqualTo, GreaterThan, GreaterThanOrEqual, LessThan):
                yield from (kind(where, value), Not(kind(where, value)))


@pytest.mark.parametrize(
    "resource", ["assignments", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("users", "courses"))]
)
def test_rows_are_the_same_with_every_filter_pushed(resource: str, sandbox: Sandbox) -> None:
    accounts = ",".join(sandbox.account_ids[:2])
    whole = read(query(sandbox, resource, accounts=accounts))
    plain = repr(query(sandbox, resource, accounts=accounts).plan())
    narrowed: dict[str, list[dict[str, Any]]] = {}
    tried = 0
    for filter in some_filters(whole[-1]):
        pushed = query(sandbox, resource, accounts=accounts)
        pushed.push([filter])
        plan = repr(pushed.plan())
        if plan == plain:
            continue  # it narrows nothing
        if plan not in narrowed:
            narrowed[plan] = read(pushed)
        tried += 1
        assert [row for row in narrowed[plan] if holds(filter, row)] == [row for row in whole if holds(filter, row)]
    assert tried >= 5
    assert len(narrowed) >= 3


def test_filters_narrow_what_is_asked_for(sandbox: Sandbox) -> None:
    a, b, _ = sandbox.account_ids
    one = query(sandbox, "assignments")
    moment = datetime(2026, 1, 31, 12, 30, 15, 500, tzinfo=UTC)
    one.push(
        [
            In(("account_id",), (a, b)),
            EqualTo(("account_id",), b),
            GreaterThan(("updated_at",), moment),
            LessThan(("updated_at",), moment),
            EqualTo(("status_value",), "pending"),
            EqualTo(("progress",), 5.0),
            EqualTo(("account_id", "x"), "no column"),
        ]
    )
    ((slice_,),) = one.plan()
    assert (slice_.account_id, slice_.updated_after) == (b, "2026-01-31T12:30:14.000Z")
    assert dict(slice_.filters) == {"status": "pending"}
    one.push([EqualTo(("account_id",), a)])
    assert one.plan() == []


@pytest.mark.parametrize(
    "filter",
    [
        EqualTo(("status_value",), "a status that nobody knows"),
        GreaterThan(("updated_at",), datetime(2026, 1, 31)),  # noqa: DTZ001 (nobody knows in which zone)
        GreaterThan(("updated_at",), datetime.min.replace(tzinfo=UTC)),
        GreaterThan(("updated_at",), None),
        EqualTo(("status_source_value",), "pending"),
        EqualTo(("updated_after",), "2026-01-31"),
    ],
)
def test_filters_that_narrow_nothing(filter: Any, sandbox: Sandbox) -> None:
    one, before = query(sandbox, "assignments"), query(sandbox, "assignments").plan()
    one.push([filter])
    assert one.plan() == before


def test_a_key_without_active_accounts_is_told(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    with Accounts().client() as nobody:

        def client(_: KeyedConnect) -> SyncClient:
            return nobody

        monkeypatch.setattr(KeyedConnect, "client", client)
        with pytest.raises(InvalidArgumentError, match="the key has no active account"):
            query(sandbox, "users", allAccounts="true").plan()


def test_a_moment_that_was_asked_for_stays_if_it_is_later(sandbox: Sandbox) -> None:
    one = query(sandbox, "users", updatedAfter="2026-02-01")
    one.push([GreaterThan(("updated_at",), datetime(2026, 1, 31, tzinfo=UTC))])
    assert one.plan()[0][0].updated_after == "2026-02-01T00:00:00.000Z"


def test_a_dead_account_fails_the_query_or_is_passed_over_or_is_a_row(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    dead = sandbox.inactive_account_id
    accounts = ",".join([dead, *sandbox.account_ids])
    with pytest.raises(PreconditionFailedError):
        read(query(sandbox, "users", accounts=accounts))
    rows = read(query(sandbox, "users", accounts=accounts, onError="skip"))
    assert {row["account_id"] for row in rows} == set(sandbox.account_ids)
    assert f"users of account {dead} cannot be read and are passed over: PreconditionFailedError" in caplog.text
    rows = read(query(sandbox, "users", accounts=accounts, onError="row"))
    ((account, failure),) = [(row["account_id"], row["_failure"]) for row in rows if row["_failure"] is not None]
    assert account == dead
    told = json.loads(failure)
    assert (told["resource"], told["error"], told["status"]) == ("users", "PreconditionFailedError", 412)
    assert len(rows) == 37
    assert sandbox.api_key not in caplog.text + failure
