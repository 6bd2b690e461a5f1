"""Records as Arrow tables and data frames, without an export."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from stackone_lms import AsyncClient, SyncClient
from stackone_lms.calls.outcomes import Outcome
from stackone_lms.errors import DecodeError, ExportError, InvalidArgumentError, NotFoundError
from stackone_lms.export import export
from stackone_lms.export.records.arrow import to_arrow
from stackone_lms.models import Completion, User
from stackone_lms.sandbox import Sandbox

from .datasets import STAMPS, table_of
from .test_export import Canned


@pytest.fixture
def view(client: AsyncClient, sandbox: Sandbox) -> AsyncClient:
    return client.with_options(account_id=sandbox.account_ids[0])


async def test_a_pager_becomes_a_table(view: AsyncClient, sandbox: Sandbox) -> None:
    """With typed columns, and through it a data frame of Polars or pandas."""
    table = await to_arrow(view.completions.list(page_size=100))
    assert table.column("id").to_pylist() == sandbox.ids("completions")
    types: dict[str, Any] = dict(zip(table.schema.names, table.schema.types, strict=True))
    assert types["completed_at"] == pa.timestamp("us", tz="UTC")
    library: Any = pl
    assert library.from_arrow(table).height == 330
    untyped: Any = table
    assert untyped.to_pandas()["score_percentage"].max() <= 100


async def test_undeclared_fields_stand_in_extra_if_they_are_kept(view: AsyncClient, sandbox: Sandbox) -> None:
    """With keep_unknown the column has them, without it is empty."""
    kept = await to_arrow(view.with_options(keep_unknown=True).completions.list(page_size=100))
    odd = [sandbox.record("completions", id).get("proctored") is not None for id in sandbox.ids("completions")]
    assert any(odd)
    assert [text is not None for text in kept.column("extra").to_pylist()] == odd
    plain = await to_arrow(view.completions.list(page_size=100))
    assert plain.column("extra").null_count == 330
    assert plain.drop_columns(["extra"]) == kept.drop_columns(["extra"])


async def test_bulk_results_become_a_table(view: AsyncClient, sandbox: Sandbox) -> None:
    """Outcomes of get_many, in which an error is raised, or skipped if that is asked for."""
    ids = sandbox.ids("users")
    table = await to_arrow(view.users.get_many(ids, ordered=True))
    assert table.column("id").to_pylist() == ids
    with pytest.raises(NotFoundError):
        await to_arrow(view.users.get_many([*ids, "not-there"]))
    skipped = await to_arrow(view.users.get_many([*ids, "not-there"]), errors="skip")
    assert skipped.num_rows == len(ids)


async def test_an_error_is_raised_at_once_and_what_gives_the_records_is_closed(view: AsyncClient) -> None:
    """Not when the next thousands have been fetched."""
    given: list[str] = []

    async def outcomes() -> AsyncIterator[Any]:
        try:
            for id in ("1", "2", "3"):
                given.append(id)
                error = NotFoundError("gone") if id == "2" else None
                yield Outcome(id=id, result=None if error else Completion(id=id), error=error)
        finally:
            given.append("closed")

    with pytest.raises(NotFoundError):
        await to_arrow(outcomes())
    assert given == ["1", "2", "closed"]


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_tables_in_many_batches(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost where one ends; fields that some records have and others do not are null where missing."""
    monkeypatch.setattr("stackone_lms.export.records.arrow.BATCH", 2)
    records = [Completion(id=str(n), user_id="u" if n % 2 else None) for n in range(count)]
    table = to_arrow(records)
    assert table.column("id").to_pylist() == [str(n) for n in range(count)]
    assert table.column("user_id").to_pylist() == ["u" if n % 2 else None for n in range(count)]


def test_blocking_pagers_and_plain_records(sandbox: Sandbox) -> None:
    """A SyncPager, a list of records, or whole answers."""
    with SyncClient(sandbox.api_key, sandbox.account_ids[0], base_url=sandbox.url, rate_limit=None) as client:
        assert to_arrow(client.users.list(page_size=100)).num_rows == 20
        answers = [client.users.get(id) for id in sandbox.ids("users")[:2]]
    assert to_arrow(answers).column("id").to_pylist() == sandbox.ids("users")[:2]
    assert to_arrow([answer.data for answer in answers]) == to_arrow(answers)


async def test_a_table_is_what_an_export_writes(view: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """The same columns with the same values, but for the account."""
    await export(view, "completions", tmp_path, accounts=sandbox.account_ids[:1])
    (path,) = tmp_path.glob("resource=completions/*/*.parquet")
    written = table_of(path)
    table = await to_arrow(view.with_options(keep_unknown=True).completions.list(page_size=100))
    assert written.drop_columns(["account_id", *STAMPS]) == table


def test_no_records_need_a_model() -> None:
    """An empty table has columns all the same; what its records would be has to be said."""
    assert to_arrow([], User).num_rows == 0
    assert "email" in to_arrow([], User).column_names
    with pytest.raises(InvalidArgumentError, match="model="):
        to_arrow([])


def test_what_is_no_record_is_refused() -> None:
    """A mistake is told, not turned into an empty row."""
    with pytest.raises(InvalidArgumentError, match="dict"):
        to_arrow([{"id": "1"}])


def test_accounts_are_a_column() -> None:
    """What comes from several accounts tells from which."""
    from stackone_lms.calls.outcomes import AccountOutcome

    several: list[Any] = [AccountOutcome(account_id=a, id="1", result=Completion(id="1")) for a in ("x", "y")]
    table = to_arrow(several)
    assert table.select(["account_id", "id"]).to_pylist() == [
        {"account_id": "x", "id": "1"},
        {"account_id": "y", "id": "1"},
    ]


@pytest.mark.parametrize(
    ("module", "target", "extra"), [("pyarrow", "data", "arrow"), ("duckdb", "duckdb:data.db", "duckdb")]
)
async def test_a_missing_package_is_told_before_anything_is_fetched(
    module: str,
    target: str,
    extra: str,
    client: AsyncClient,
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the extra that brings it."""
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExportError, match=rf"pip install 'stackone-lms\[{extra}\]'"):
        await export(client, "users", target, accounts=sandbox.account_ids)
    assert sandbox.request_count == 0


ODD: list[Any] = [
    {"id": "1", "name": "x", "updated_at": ""},
    None,
    {"id": "2", "name": ["x"], "email": "a@x", "updated_at": 1767225600},
    {"id": "3", "updated_at": "2026-01-01T00:00:00.000Z"},
    "text",
]


async def test_what_does_not_decode_is_a_row_in_its_place() -> None:
    """What fits in its columns, the rest in `extra`; so do exports. An empty text is no date."""
    async with Canned({None: ("2", ODD), "2": (None, [{"id": "4"}])}) as url:
        async with AsyncClient("key", "a", base_url=url) as client:
            table = await to_arrow(client.users.list())
        async with AsyncClient("key", base_url=url) as client:
            with SyncClient("key", "a", base_url=url) as blocking:
                assert await asyncio.to_thread(lambda: to_arrow(blocking.users.list())) == table
    assert table.column("id").to_pylist() == ["1", None, "2", "3", None, "4"]
    assert table.column("extra").to_pylist() == [None, "null", '{"name":["x"]}', None, '"text"', None]
    assert table.column("email").to_pylist()[2] == "a@x"
    moments = table.column("updated_at").to_pylist()
    assert moments == [None, None, *[datetime(2026, 1, 1, tzinfo=UTC)] * 2, None, None]


async def test_what_does_not_decode_is_raised_or_skipped_if_that_is_asked_for() -> None:
    """As `errors` says; no other word is taken."""
    async with Canned({None: (None, ODD)}) as url, AsyncClient("key", "a", base_url=url) as client:
        with pytest.raises(DecodeError):
            await to_arrow(client.users.list(), errors="raise")
        skipped = await to_arrow(client.users.list(), errors="skip")
    assert skipped.column("id").to_pylist() == ["1", "3"]
    wrong: Any = "ignore"
    with pytest.raises(InvalidArgumentError, match="extra, raise or skip"):
        to_arrow([], User, errors=wrong)


async def test_a_list_of_which_nothing_decodes_needs_a_model() -> None:
    """Nothing tells what it should be."""
    async with Canned({None: (None, [None])}) as url, AsyncClient("key", "a", base_url=url) as client:
        with pytest.raises(InvalidArgumentError, match="model="):
            await to_arrow(client.users.list())
        table = await to_arrow(client.users.list(), User)
    assert table.column("extra").to_pylist() == ["null"]


def test_an_answer_that_does_not_decode_is_a_row() -> None:
    """Of `get_many`: what the answer is about stands in `extra`; other errors are raised."""
    odd = DecodeError("odd", path="$.data.name", body=b'{"data":{"id":"7","name":[1]}}')
    table = to_arrow([Outcome(id="7", result=None, error=odd)], User)
    assert table.select(["id", "extra"]).to_pylist() == [{"id": "7", "extra": '{"name":[1]}'}]
    with pytest.raises(NotFoundError):
        to_arrow([Outcome(id="7", result=None, error=NotFoundError("gone"))], User)
    with pytest.raises(DecodeError):
        to_arrow([Outcome(id="7", result=None, error=DecodeError("odd", body=b"<html>"))], User)
