"""Parquet: a stable schema, every value in its column, and the readers that people use read it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pytest

from stackone_lms import AsyncClient
from stackone_lms.export import export, verify
from stackone_lms.export.formats.base import DamagedError, Table
from stackone_lms.export.formats.parquet import Parquet
from stackone_lms.export.lists import resources
from stackone_lms.export.records.arrow import schema_of
from stackone_lms.export.targets.base import CALLS
from stackone_lms.models import RawResponse, User
from stackone_lms.sandbox import Sandbox

from .datasets import compact, part_of, table_of

GOLDEN = Path(__file__).parent / "golden"


def schemas() -> Iterator[tuple[str, str]]:
    """Yield the schema of every resource as text."""
    models: dict[str, Any] = {name: found.row_model for name, found in resources().items()}
    for name, model in {**models, f"any{CALLS}": RawResponse}.items():
        schema = schema_of(Table(model, "").columns)
        yield name, "".join(f"{column}: {kind}\n" for column, kind in zip(schema.names, schema.types, strict=True))


@pytest.mark.parametrize(("name", "schema"), list(schemas()), ids=lambda value: value if "\n" not in value else "")
def test_the_schema_is_the_one_that_data_sets_out_there_have(name: str, schema: str) -> None:
    """Columns may be added: a column that changes its type makes everybody fetch everything, so it has to be meant."""
    assert schema == (GOLDEN / f"{name}.txt").read_text()


def test_no_golden_schema_is_left_over() -> None:
    """Each file in the folder is compared with something."""
    assert {path.stem for path in GOLDEN.iterdir()} == {name for name, _ in schemas()}


@pytest.fixture
async def exported(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> Path:
    names = ["assignments", "completions", "content", "courses", "skills", "users", "users.completions"]
    result = await export(client, names, tmp_path / "data", accounts=sandbox.account_ids)
    assert result.ok
    return tmp_path / "data"


def value_of(record: dict[str, Any], column: str) -> Any:
    """Return what a column should hold, read off the record as it was sent."""
    for name in ("result", "learning_object_type", "status", "score", "level", "content_type"):
        if column.startswith(f"{name}_") and column not in record:
            value = part_of(record, name, column.removeprefix(f"{name}_"))
            return value if value is None or isinstance(value, str) or name == "score" else compact(value).decode()
    return record.get(column)


async def test_every_value_is_in_its_column(exported: Path, sandbox: Sandbox) -> None:
    """Timestamps are timestamps, enums two columns, custom and undeclared fields JSON; nothing else is changed."""
    columns = {
        "completions": ["result_value", "result_source_value", "score_percentage", "score_raw_value", "user_id"],
        "assignments": ["progress", "status_value", "learning_object_type_value"],
        "content": ["order", "tags", "course_ids", "content_type_source_value"],
        "users": ["name", "email"],
        "skills": ["level_value"],
    }
    for resource, names in columns.items():
        table = table_of(exported / f"resource={resource}")
        rows = {(row["account_id"], row["id"]): row for row in table.to_pylist()}
        assert len(rows) == table.num_rows
        for account in sandbox.account_ids:
            for id in sandbox.ids(resource, account):
                record, row = sandbox.record(resource, id, account), rows.pop((account, id))
                assert {name: row[name] for name in names} == {name: value_of(record, name) for name in names}
                for name in ("updated_at", "created_at", "completed_at"):
                    if record.get(name):
                        assert row[name] == datetime.fromisoformat(record[name])
                custom = record.get("unified_custom_fields")
                assert (json.loads(row["unified_custom_fields"]) if custom else None) == custom or resource == "skills"
                undeclared = {n: record[n] for n in ("proctored", "preferred_name", "average_rating") if n in record}
                assert (json.loads(row["extra"]) if row["extra"] else {}) == undeclared
        assert not rows


async def test_duckdb_reads_it_as_it_is(exported: Path, sandbox: Sandbox) -> None:
    """One resource, or all of them at once, with the partitions as columns."""
    accounts = set(sandbox.account_ids)
    with duckdb.connect() as db:
        one = db.execute(
            f"SELECT account, account_id, count(*), count(DISTINCT id), max(updated_at)::VARCHAR, "
            f"count(*) FILTER (result_value = 'Pass') FROM '{exported}/resource=completions/**/*.parquet' GROUP BY ALL"
        ).fetchall()
        assert {(row[0], row[1]) for row in one} == {(account, account) for account in accounts}
        assert {row[2:4] for row in one} == {(330, 330)}
        every = db.execute(
            f"SELECT resource, count(*) FROM read_parquet('{exported}/**/*.parquet', union_by_name = true) GROUP BY ALL"
        ).fetchall()
    assert dict(every)["users"] == 40
    assert dict(every)["users.completions"] == 660


async def test_polars_reads_it_as_it_is(exported: Path, sandbox: Sandbox) -> None:
    """A folder of a resource is a data set."""
    frame = pl.read_parquet(exported / "resource=completions")
    assert frame.height == 660
    assert set(frame["account"]) == set(frame["account_id"]) == set(sandbox.account_ids)
    assert frame.schema["updated_at"] == pl.Datetime("us", "UTC")
    content = pl.scan_parquet(exported / "resource=content").select("tags", "order").collect()
    assert content.schema == {"tags": pl.List(pl.String), "order": pl.Float64}


async def test_pandas_reads_it_as_it_is(exported: Path, sandbox: Sandbox) -> None:
    """With the account as a category, and moments in UTC."""
    frame = pd.read_parquet(exported / "resource=users")
    assert sorted(frame["id"]) == sorted(id for account in sandbox.account_ids for id in sandbox.ids("users", account))
    assert str(frame["updated_at"].dtype) == "datetime64[us, UTC]"
    assert set(frame["account"].astype(str)) == set(sandbox.account_ids)


async def test_it_is_compressed_and_in_row_groups(
    client: AsyncClient, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """zstd, and groups of the size that was set, all records in them."""
    monkeypatch.setattr("stackone_lms.export.formats.parquet.ROW_GROUP", 100)
    monkeypatch.setattr("stackone_lms.export.records.lines.CHUNK", 20_000)
    await export(client, "completions", tmp_path, accounts=sandbox.account_ids[:1])
    (path,) = tmp_path.glob("resource=completions/*/*.parquet")
    found = import_module("pyarrow.parquet").read_metadata(path)
    *groups, last = [found.row_group(n).num_rows for n in range(found.num_row_groups)]
    assert sum(groups) + last == 330
    assert groups
    assert all(100 <= rows < 200 for rows in groups)
    assert found.row_group(0).column(1).compression == "ZSTD"


async def test_an_account_with_awkward_characters(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """The folder's name is encoded, readers decode it, and the column has it as it is."""
    from .test_export import Canned

    account = "a/b=c%41"
    pages = {None: (None, [{"id": "u", "updated_at": "2026-01-01T00:00:00.000Z"}])}
    async with Canned(pages) as url, AsyncClient("key", base_url=url) as other:
        await export(other, "users", tmp_path, accounts=[account])
    frame = pl.read_parquet(tmp_path / "resource=users")
    assert (frame["account_id"][0], frame["account"][0]) == (account, account)
    table = table_of(tmp_path / "resource=users").to_pylist()
    assert (table[0]["account_id"], table[0]["account"]) == (account, account)


async def export_users(target: Path, *users: Any, incremental: bool = False) -> list[dict[str, Any]]:
    """Export users that a server of one page sends; return the rows."""
    from .test_export import Canned

    async with Canned({None: (None, list(users))}) as url, AsyncClient("key", base_url=url) as other:
        result = await export(other, "users", target, accounts=["a"], incremental=incremental)
    assert result.ok
    (path,) = target.glob("resource=users/*/*.parquet")
    table = table_of(path).drop_columns(["updated_at"])
    assert verify(target).ok
    return list(table.to_pylist())


async def test_moments_at_the_ends_of_the_calendar_are_merged(tmp_path: Path) -> None:
    """In UTC they are of the years 0 and 10000, which no reader expects: the first and last of UTC stand there."""
    ends = ("0001-01-01T00:00:00+02:00", "9999-12-31T23:59:59-05:00")
    users = [{"id": moment, "updated_at": moment} for moment in ends]
    await export_users(tmp_path, *users, {"id": "x", "updated_at": "2026-01-01T00:00:00Z", "name": "old"}, {"id": "y"})
    changed = {"id": "x", "updated_at": "2026-01-02T00:00:00Z", "name": "new"}
    late = {"id": ends[0], "updated_at": "2026-01-02T00:00:00Z", "name": "new"}
    early = {"id": ends[1], "updated_at": "2026-01-02T00:00:00Z", "name": "new"}
    (path,) = tmp_path.glob("resource=users/*/*.parquet")
    moments = set(table_of(path)["updated_at"].to_pylist())
    assert {datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)} < moments
    rows = await export_users(tmp_path, changed, late, early, incremental=True)
    assert {row["id"]: row["name"] for row in rows} == {ends[0]: "new", ends[1]: None, "x": "new", "y": None}
    assert len(rows) == 4


def test_a_file_with_a_column_of_another_type_is_not_read(tmp_path: Path) -> None:
    """Another version wrote it; so it is if it is no Parquet file any more."""
    parquet = import_module("pyarrow.parquet")
    path = tmp_path / "part-0.parquet"
    parquet.write_table(import_module("pyarrow").table({"id": [1]}), path)
    with pytest.raises(DamagedError, match="another version"):
        list(Parquet().keys(path, Table(User, "a")))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DamagedError, match="no Parquet file"):
        list(Parquet().keys(path, Table(User, "a")))


async def test_provider_calls_of_odd_shape_are_kept(tmp_path: Path) -> None:
    """Whatever `raw` is, it does not stop the export."""
    from aiohttp import web

    shapes: dict[str | None, tuple[str | None, Any]] = {
        None: ("1", {"url": "u"}),
        "1": ("2", None),
        "2": ("3", []),
        "3": (None, [{"url": "v"}, 5]),
    }

    async def answer(request: web.Request) -> web.Response:
        following, raw = shapes[request.query.get("next")]
        return web.json_response({"next": following, "data": [{"id": str(following)}], "raw": raw})

    async with serving("/unified/lms/users", answer) as url, AsyncClient("key", base_url=url) as other:
        assert (await export(other, "users", tmp_path, accounts=["a"], raw=True)).ok
    calls = table_of(next(tmp_path.glob("resource=users.calls/*/*.parquet"))).to_pylist()
    assert [(call["url"], call["extra"]) for call in calls] == [("u", None), ("v", None), (None, "5")]


async def test_odd_users_do_not_stop_the_lists_of_users(tmp_path: Path) -> None:
    """Whoever cannot be asked for is passed over, and named."""
    from aiohttp import web

    async def users(request: web.Request) -> web.Response:
        data: list[Any] = [None, [1], {"id": ["b"]}, {"id": ""}, {}, {"id": 7}, {"remote_id": "r"}, {"id": "u"}]
        return web.json_response({"next": None, "data": data})

    async def completions(request: web.Request) -> web.Response:
        return web.json_response({"next": None, "data": [{"id": "c"}]})

    async with (
        serving("/unified/lms/users", users, ("/unified/lms/users/{id}/completions", completions)) as url,
        AsyncClient("key", base_url=url) as other,
    ):
        result = await export(other, "users.completions", tmp_path, accounts=["a"])
    (of_users,) = result.lists
    told = [(one.user, one.type, one.message) for one in of_users.skipped_users]
    assert told == [("", "InvalidArgumentError", "'' cannot be an id")]
    assert result.failed_accounts == ("a",)
    rows = table_of(next(tmp_path.glob("resource=users.completions/*/*.parquet"))).to_pylist()
    assert [(row["of_user_id"], row["id"]) for row in rows] == [("7", "c"), ("r", "c"), ("u", "c")]


@asynccontextmanager
async def serving(path: str, handler: Any, *more: tuple[str, Any]) -> AsyncGenerator[str]:
    """Serve GET requests; yield the address."""
    from aiohttp import web

    app = web.Application()
    for at, handle in ((path, handler), *more):
        app.router.add_get(at, handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_the_folder_of_all_resources_is_a_data_set(exported: Path) -> None:
    """Each reader takes the folder itself, with `resource` and `account` as columns, whatever else stands there."""
    dataset: Any = import_module("pyarrow.dataset").dataset(exported, partitioning="hive")
    assert dataset.filter(import_module("pyarrow.compute").field("resource") == "users").count_rows() == 40
    assert sum(pd.read_parquet(exported, columns=["resource", "id"])["resource"] == "users") == 40
    with duckdb.connect() as db:
        sql = (
            f"SELECT count(*) FROM read_parquet('{exported}/**/*.parquet', union_by_name=true) WHERE resource = 'users'"
        )
        assert db.execute(sql).fetchall() == [(40,)]
    frame = pl.scan_parquet(f"{exported}/**/*.parquet", hive_partitioning=True, missing_columns="insert",
                            extra_columns="ignore")  # fmt: skip
    assert frame.filter(pl.col("resource") == "users").select("id").collect().height == 40


async def test_an_empty_list_is_an_empty_file_with_columns(tmp_path: Path) -> None:
    """So that a query on it is no error."""
    from .test_export import Canned

    async with Canned({None: (None, [])}) as url, AsyncClient("key", base_url=url) as other:
        await export(other, "users", tmp_path, accounts=["a"])
    table = table_of(tmp_path / "resource=users")
    assert table.num_rows == 0
    assert "email" in table.column_names
