"""A list of several accounts as an Arrow stream: the rows of an export, for everything that reads Arrow."""

from __future__ import annotations

import asyncio
import gc
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from stackone_lms import AsyncClient, SyncClient
from stackone_lms.arrow import Scan, scan
from stackone_lms.batches import Connect, Failure, schema
from stackone_lms.errors import ExportError, InvalidArgumentError, PreconditionFailedError
from stackone_lms.export import export_sync
from stackone_lms.export.lists import resources
from stackone_lms.sandbox import Sandbox

from ..export.datasets import STAMPS, table_of
from ..export.test_export import Canned

LISTS = sorted(resources())
POLARS: Any = pl


@pytest.mark.parametrize("resource", LISTS)
def test_the_rows_are_those_of_an_export(resource: str, client: SyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """Row for row, in order, with the same columns and types, but for those that tell which run brought a row."""
    accounts = sandbox.account_ids
    assert export_sync(client, resource, tmp_path, accounts=accounts).ok
    files = [table_of(path) for path in tmp_path.glob(f"resource={resource}/*/*.parquet")]
    written = {file.column("account_id")[0].as_py(): file.drop_columns(STAMPS) for file in files}
    table = scan(resource, accounts, client=client).read_all()
    assert table.num_rows
    compute = import_module("pyarrow.compute")
    assert set(written) == set(accounts)
    for account, theirs in written.items():
        assert table.schema.equals(theirs.schema)
        assert table.filter(compute.field("account_id") == account).equals(theirs)
    assert table.num_rows == sum(theirs.num_rows for theirs in written.values())


ODD: list[Any] = [
    {"id": "1", "name": "x", "updated_at": "", "unknown": {"deep": [1]}},
    None,
    {"id": "2", "name": ["x"], "email": "a@x", "updated_at": 1767225600},
    {"id": "1e400", "updated_at": "2026-01-01T00:00:00.000Z"},
    "text",
    [],
    {"id": "4", "name": "line\nbreak \U0001f600 \x00", "active": "true"},
]


async def test_what_does_not_decode_is_the_row_that_an_export_has(tmp_path: Path) -> None:
    """Also where its JSON is spread over lines."""
    pages: dict[Any, tuple[str | None, list[Any]]] = {None: ("2", ODD), "2": ("3", []), "3": (None, [{"id": "5"}])}
    async with Canned(pages) as url:

        def both() -> tuple[pa.Table, pa.Table]:
            with SyncClient("key", base_url=url) as client:
                export_sync(client, "users", tmp_path, accounts=["a"])
                return scan("users", ["a"], client=client, batch_rows=1).read_all(), table_of(
                    next(tmp_path.rglob("*.parquet"))
                )

        ours, theirs = await asyncio.to_thread(both)
    assert ours.num_rows == len(ODD) + 1
    assert ours.equals(theirs.drop_columns(STAMPS))


@pytest.fixture
def completions(client: SyncClient, sandbox: Sandbox) -> Scan:
    return scan("completions", sandbox.account_ids, client=client, page_size=20)


def test_each_reading_fetches_anew(completions: Scan, sandbox: Sandbox) -> None:
    """The object is not used up, whoever reads it."""
    before = sandbox.request_count
    assert repr(completions) == "<Scan of completions: 29 columns>"
    assert completions.schema == schema("completions")
    assert sandbox.request_count == before
    first = pa.table(completions)
    used = sandbox.request_count - before
    assert first.num_rows == 150
    assert pa.table(completions).num_rows == POLARS.DataFrame(completions).height == 150
    assert completions.reader().read_all().num_rows == sum(len(batch.data) for batch in completions) == 150
    assert sandbox.request_count - before == 5 * used


def test_duckdb_reads_it_as_a_table(completions: Scan, sandbox: Sandbox) -> None:
    """By its name in a query, twice."""
    query = "select account_id, count(*), max(updated_at) from completions group by 1 order by 1"
    with duckdb.connect() as connection:
        first = connection.sql(query).fetchall()
        assert [row[:2] for row in first] == [(id, 75) for id in sorted(sandbox.account_ids)]
        assert connection.sql(query).fetchall() == first


def test_a_reader_that_is_given_up_fetches_no_more(client: SyncClient, sandbox: Sandbox) -> None:
    for give_up in ("close", "delete"):
        reader = scan("completions", sandbox.account_ids, client=client, page_size=1, batch_rows=1).reader()
        reader.read_next_batch()
        if give_up == "close":
            reader.close()
        del reader
        gc.collect()
        assert client.stats().in_flight == 0
        before = client.stats().requests  # the server may still see one that was given up
        client.with_options(account_id=sandbox.account_ids[0]).users.list(page_size=1).first_page()
        assert client.stats().requests == before + 1


def test_the_first_error_ends_it_or_is_handed_over(client: SyncClient, sandbox: Sandbox) -> None:
    """Where the stream is read by others, they tell its message."""
    accounts = [*sandbox.account_ids, sandbox.expired_account_id]
    with pytest.raises(PreconditionFailedError):
        scan("users", accounts, client=client).read_all()
    with pytest.raises(Exception, match="412"):
        POLARS.DataFrame(scan("users", accounts, client=client))
    failed: list[Failure] = []
    table = scan("users", accounts, client=client, on_failure=failed.append).read_all()
    assert table.num_rows == 24
    assert [(one.slice.account_id, type(one.error)) for one in failed] == [(accounts[-1], PreconditionFailedError)]


def test_all_accounts_are_the_active_ones(client: SyncClient, sandbox: Sandbox) -> None:
    """Looked up at each reading; so are those of a pager."""
    before = sandbox.request_count
    every, pager = scan("users", all_accounts=True, client=client), client.accounts.list(status="active")
    listed = scan("users", pager, client=client)
    assert sandbox.request_count == before
    for one in (every, listed, every):
        assert set(one.read_all().column("account_id").to_pylist()) == set(sandbox.account_ids)


def test_accounts_as_exports_take_them(client: SyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """One id, accounts, a file; without any that of the client."""
    (one, other), file = sandbox.account_ids, tmp_path / "accounts.txt"
    file.write_text(f"{one}\n{other}\n")
    linked = [account for account in client.accounts.list() if account.id in sandbox.account_ids]
    for given in (linked, file):
        assert set(scan("users", given, client=client).read_all().column("account_id").to_pylist()) == {one, other}
    for mine in (scan("users", one, client=client), scan("users", client=client.with_options(account_id=one))):
        assert set(mine.read_all().column("account_id").to_pylist()) == {one}


def test_a_process_reads_with_its_own_client(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made when it is read first; without `connect=` as the environment says."""
    monkeypatch.setenv("A_KEY", sandbox.api_key)
    connect = Connect(key_env="A_KEY", base_url=sandbox.url)
    assert scan("users", sandbox.account_ids, connect=connect, columns=["id"]).read_all().num_rows == 24
    connect.client().close()
    monkeypatch.setenv("STACKONE_API_KEY", sandbox.api_key)
    monkeypatch.setenv("STACKONE_BASE_URL", sandbox.url)
    monkeypatch.setenv("STACKONE_ACCOUNT_ID", sandbox.account_ids[1])
    assert scan("users").read_all().num_rows == 12
    Connect().client().close()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"resource": "nothing"}, "nothing"),
        ({"columns": ["nope"]}, "'nope'"),
        ({"filters": {"status": "x"}}, "no filter 'status'"),
        ({"accounts": ["a", "b", "a"]}, "the account 'a' is given twice"),
        ({"accounts": []}, "at least one account"),
        ({"accounts": ["a b"]}, "one of the accounts"),
        ({"accounts": None}, "all_accounts=True"),
        ({"all_accounts": True}, "accounts or all_accounts=True, not both"),
        ({"accounts": None, "all_accounts": True, "users": ["u"]}, "lists of users"),
        ({"connect": Connect()}, "client= or connect=, not both"),
        ({"at_once": 0}, "at_once"),
        ({"batch_rows": 0}, "batch_rows"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_sent(
    given: dict[str, Any], named: str, client: SyncClient, sandbox: Sandbox
) -> None:
    before = sandbox.request_count
    call: dict[str, Any] = {"resource": "users", "accounts": ["a"], "client": client, **given}
    with pytest.raises(InvalidArgumentError, match=named):
        scan(**call)
    assert sandbox.request_count == before


def test_an_async_client_is_refused_with_the_way_out() -> None:
    client: Any = AsyncClient("key")
    with pytest.raises(InvalidArgumentError, match="gather"):
        scan("users", ["a"], client=client)


def test_a_missing_pyarrow_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExportError, match=r"pip install 'stackone-lms\[arrow\]'"):
        scan("users", ["a"])
