"""DuckDB and SQLite as targets: upserts by account and id, whole lists or nothing."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest

from stackone_lms import AsyncClient
from stackone_lms.errors import ExportError
from stackone_lms.export import export, verify
from stackone_lms.export.run import Run
from stackone_lms.export.targets.base import Written
from stackone_lms.export.targets.choose import database
from stackone_lms.export.targets.database import Database
from stackone_lms.export.targets.tables import view_of
from stackone_lms.sandbox import Sandbox

from ..soak import further
from .datasets import part_of
from .test_export import Canned, manifest
from .test_incremental import change

KINDS = pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
SQLITE_FIRST = pytest.mark.parametrize("kind", ["sqlite", *further("duckdb")])
ALL = ["assignments", "completions", "content", "courses", "skills", "users", "users.completions"]


class Target:
    """A database that is being exported to."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.file = kind, folder / "lms.db"
        self.name = f"{kind}:{self.file}"

    def rows(self, sql: str) -> list[Any]:
        is_sqlite = self.kind == "sqlite"
        connection: Any = (
            sqlite3.connect(self.file, isolation_level=None) if is_sqlite else duckdb.connect(str(self.file))
        )
        try:
            rows: list[Any] = connection.execute(sql).fetchall()
            return rows
        finally:
            connection.close()

    def ids(self, table: str) -> list[tuple[str, str]]:
        return sorted(self.rows(f"SELECT account_id, id FROM {table}"))

    async def export(self, client: AsyncClient, resources: Any, accounts: list[str], **options: Any) -> None:
        result = await export(client, resources, self.name, accounts=accounts, **options)
        assert result.ok, result


def ids_of(sandbox: Sandbox, resource: str) -> list[tuple[str, str]]:
    return sorted((account, id) for account in sandbox.account_ids for id in sandbox.ids(resource, account))


@KINDS
async def test_tables_hold_every_record(kind: str, client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """A table a resource, with the columns of its model; a second run changes nothing."""
    target = Target(kind, tmp_path)
    for _ in range(2):
        await target.export(client, ALL, sandbox.account_ids)
        for resource in ALL[:-1]:
            assert target.ids(resource) == ids_of(sandbox, resource)
        assert target.ids("user_completions") == ids_of(sandbox, "completions")
    id = sandbox.ids("completions")[0]
    record = sandbox.record("completions", id)
    sql = f"SELECT result_value, score_percentage, user_id, unified_custom_fields FROM completions WHERE id = '{id}'"
    ((result, score, user, custom),) = target.rows(sql)
    assert result == part_of(record, "result", "value")
    assert score == part_of(record, "score", "percentage")
    assert user == record["user_id"]
    assert (json.loads(custom) if custom else None) == record["unified_custom_fields"]
    newest = max(sandbox.record("users", id)["updated_at"] for id in sandbox.ids("users"))
    mine = f"FROM users WHERE account_id = '{sandbox.account_ids[0]}'"
    shown = {
        "sqlite": "substr(max(updated_at), 1, 23) || 'Z'",
        "duckdb": "strftime(max(updated_at) AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%gZ')",
    }
    assert target.rows(f"SELECT {shown[kind]} {mine}") == [(newest,)]


@SQLITE_FIRST
async def test_views_join_completions_to_users_and_courses(
    kind: str, client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """One row a completion, with names; also before users and courses have been exported."""
    target = Target(kind, tmp_path)
    await target.export(client, "completions", sandbox.account_ids)
    assert target.rows("SELECT count(*), count(user_name), count(course_title) FROM completion_details") == [
        (660, 0, 0)
    ]
    await target.export(client, ["users", "courses", "users.completions"], sandbox.account_ids)
    rows = target.rows("SELECT account_id, id, user_name, user_email, course_title FROM completion_details")
    assert len(rows) == 660
    for account, id, name, email, title in rows:
        record = sandbox.record("completions", id, account)
        user = sandbox.record("users", record["user_id"], account)
        course = sandbox.record("courses", record["course_id"], account) if record["course_id"] else {"title": None}
        assert (name, email, title) == (user["name"], user["email"], course["title"])
    assert target.rows("SELECT count(*), count(user_name) FROM user_completion_details") == [(660, 660)]


@KINDS
async def test_changes_are_upserted_and_full_runs_drop_what_is_gone(
    kind: str, client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """An incremental run keeps what it does not see; a full one makes the table what the API has."""
    target = Target(kind, tmp_path)
    await target.export(client, ["completions", "content"], sandbox.account_ids)
    await change(client, sandbox)
    first = sandbox.account_ids[0]
    gone = sandbox.record("completions", sandbox.ids("completions")[3])
    await client.with_options(account_id=first).users.completions.delete(gone["user_id"], gone["id"])
    await target.export(client, ["completions", "content"], sandbox.account_ids, incremental=True)
    assert target.ids("completions") == sorted([*ids_of(sandbox, "completions"), (first, gone["id"])])
    assert target.rows("SELECT count(*) FROM content WHERE title = 'A new title'") == [(1,)]
    await target.export(client, ["completions", "content"], sandbox.account_ids)
    assert target.ids("completions") == ids_of(sandbox, "completions")


@SQLITE_FIRST
async def test_since_adds_and_updates_only(kind: str, client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """What is older stays."""
    target = Target(kind, tmp_path)
    await target.export(client, "users", sandbox.account_ids)
    await target.export(client, "users", sandbox.account_ids, since="2026-01-01")
    assert target.ids("users") == ids_of(sandbox, "users")


@KINDS
async def test_an_older_version_does_not_replace_a_newer_one(kind: str, tmp_path: Path) -> None:
    """The last updated_at wins, whatever comes later."""
    target = Target(kind, tmp_path)
    for moment, name in (("2026-02-02", "new"), ("2026-02-01", "old")):
        record = {"id": "u", "name": name, "updated_at": f"{moment}T00:00:00.000Z"}
        async with Canned({None: (None, [record])}) as url, AsyncClient("key", base_url=url) as client:
            await target.export(client, "users", ["a"], since="2025-01-01", restart=True)
    assert target.rows("SELECT name FROM users") == [("new",)]


@KINDS
async def test_a_full_run_is_what_there_is_now(kind: str, tmp_path: Path) -> None:
    """A record that was set back to an older version replaces the newer one."""
    target = Target(kind, tmp_path)
    for moment, name in (("2026-02-02", "new"), ("2026-02-01", "old")):
        record = {"id": "u", "name": name, "updated_at": f"{moment}T00:00:00.000Z"}
        async with Canned({None: (None, [record])}) as url, AsyncClient("key", base_url=url) as client:
            await target.export(client, "users", ["a"])
    assert target.rows("SELECT name FROM users") == [("old",)]


async def test_moments_in_sqlite_are_in_the_order_of_their_texts(tmp_path: Path) -> None:
    """Six digits, in UTC, also in a database that was written before."""
    target = Target("sqlite", tmp_path)
    moments = ["2026-01-01T00:00:00.123Z", "2026-01-01T00:00:00.1239Z", "2026-01-01T02:00:00+02:00",
               "9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+05:00"]  # fmt: skip
    records = [{"id": str(n), "updated_at": moment} for n, moment in enumerate(moments)]
    expected = [
        ("2026-01-01T00:00:00.123000Z",), ("2026-01-01T00:00:00.123900Z",), ("2026-01-01T00:00:00.000000Z",),
        ("9999-12-31T23:59:59.999999Z",), ("0001-01-01T00:00:00.000000Z",),
    ]  # fmt: skip
    async with Canned({None: (None, records)}) as url, AsyncClient("key", base_url=url) as client:
        await target.export(client, "users", ["a"])
        assert target.rows("SELECT updated_at FROM users ORDER BY id") == expected
        # As an older version wrote them, in a table that the next run does not touch.
        old = ["2026-01-01T00:00:00.123Z", "2026-01-01T00:00:00.123900Z", "2026-01-01T00:00:00.000Z",
               "9999-12-31T23:59:59.000-05:00", "0001-01-01T00:00:00.000+05:00"]  # fmt: skip
        with closing(sqlite3.connect(target.file, isolation_level=None)) as db:
            for n, moment in enumerate(old):
                db.execute("UPDATE users SET updated_at = ? WHERE id = ?", (moment, str(n)))
            db.execute("ALTER TABLE stackone_exports DROP COLUMN entry")
    async with Canned({None: (None, [])}, "skills") as url, AsyncClient("key", base_url=url) as client:
        await target.export(client, "skills", ["a"])
    assert target.rows("SELECT updated_at FROM users ORDER BY id") == expected


@SQLITE_FIRST
async def test_rows_tell_which_run_changed_them_last(kind: str, tmp_path: Path) -> None:
    """A row that did not change keeps its run, in a full run and in an incremental one."""
    target = Target(kind, tmp_path)
    one, two = ({"id": n, "name": "x", "updated_at": "2026-01-01T00:00:00.000Z"} for n in "12")
    runs: list[dict[str, Any]] = []
    counts: list[tuple[int, int]] = []
    for records, incremental in (
        ([one, two], False),
        ([one, {**two, "name": "y"}], False),
        ([one, {**two, "name": "z"}, {"id": "3"}], True),
        ([one, {**two, "name": "z"}, {"id": "3"}], False),
    ):
        async with Canned({None: (None, records)}) as url, AsyncClient("key", base_url=url) as client:
            await target.export(client, "users", ["a"], incremental=incremental)
        runs.append(dict(target.rows("SELECT id, _run FROM users")))
        (entry,) = database(kind, target.file).entries()
        counts.append((entry.new, entry.changed))
    assert counts == [(2, 0), (0, 1), (1, 1), (0, 0)]
    first, second, third = runs[0]["1"], runs[1]["2"], runs[2]["3"]
    assert len({first, second, third}) == 3
    assert runs == [
        {"1": first, "2": first},
        {"1": first, "2": second},
        {"1": first, "2": third, "3": third},
        {"1": first, "2": third, "3": third},
    ]
    assert len(target.rows("SELECT DISTINCT _run, _exported_at FROM users")) == 2
    assert target.rows("SELECT count(*) FROM users WHERE _exported_at IS NULL") == [(0,)]


@KINDS
async def test_records_without_an_id_are_kept_apart(kind: str, tmp_path: Path) -> None:
    """Equal or not, each is a row; and running again does not add them again."""
    target = Target(kind, tmp_path)
    records: list[Any] = [{"name": "x"}, {"name": "x"}, {"name": "y"}, [1], {"id": "u"}]
    for _ in range(2):
        async with Canned({None: (None, records)}) as url, AsyncClient("key", base_url=url) as client:
            await target.export(client, "users", ["a"], since="2020-01-01")
        names = target.rows("SELECT name FROM users")
        assert sorted(str(name) for (name,) in names) == ["None", "None", "x", "x", "y"]
    assert target.rows("SELECT count(*) FROM users WHERE id LIKE 'missing-%'") == [(4,)]


@SQLITE_FIRST
async def test_provider_calls_have_a_table(kind: str, client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """A full run replaces them, an incremental one adds its own."""
    target = Target(kind, tmp_path)
    for incremental, expected in ((False, 1), (True, 2), (False, 1)):
        await target.export(client, "users", sandbox.account_ids[:1], raw=True, incremental=incremental)
        assert target.rows("SELECT count(*) FROM users_calls WHERE response IS NOT NULL") == [(expected,)]


@KINDS
@pytest.mark.parametrize("moment", ["before the commit", "after the commit"])
async def test_a_crash_around_the_commit(
    kind: str, moment: str, client: AsyncClient, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of a list is there or nothing of it, and the same call ends exact: provider calls too, which have no key."""
    target = Target(kind, tmp_path)
    accounts = sandbox.account_ids[:1]
    await target.export(client, "users", accounts, raw=True)
    before = target.rows("SELECT count(*) FROM users_calls")

    class CrashError(Exception):
        pass

    def crash(*_: Any) -> None:
        raise CrashError

    method: Callable[..., Any] = Database._merge  # pyright: ignore[reportPrivateUsage]

    def merge(self: Any, *arguments: Any, **named: Any) -> None:
        method(self, *arguments, **named)
        raise CrashError

    with monkeypatch.context() as patch:
        if moment == "before the commit":
            patch.setattr(Database, "_merge", merge)
        else:
            patch.setattr("stackone_lms.export.state.store.StateStore.put", crash)
        with pytest.raises(CrashError):
            await target.export(client, "users", accounts, raw=True, incremental=True)
    there = 1 if moment == "before the commit" else 2
    assert target.rows("SELECT count(*) FROM users_calls") == [(there,)]
    await target.export(client, "users", accounts, raw=True, incremental=True)
    assert target.rows("SELECT count(*) FROM users_calls") == [(before[0][0] + 1,)]
    assert target.ids("users") == sorted((accounts[0], id) for id in sandbox.ids("users"))


@SQLITE_FIRST
async def test_a_table_of_an_older_version_gets_its_new_columns(
    kind: str, client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Models grow; tables grow with them, and so do the views."""
    target = Target(kind, tmp_path)
    await target.export(client, "completions", sandbox.account_ids)
    target.rows("DROP VIEW completion_details")
    target.rows("ALTER TABLE completions DROP COLUMN certificate_url")
    await target.export(client, "completions", sandbox.account_ids)
    assert target.rows("SELECT count(certificate_url) FROM completion_details")[0][0] > 0


@KINDS
async def test_a_database_that_cannot_be_written(
    kind: str, client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """It is an ExportError before the first request; once it can be, the same call runs."""
    target = Target(kind, tmp_path)
    target.file.write_bytes(b"this is no database, and long enough not to be taken for an empty one" * 100)
    with pytest.raises(ExportError, match="nothing was asked for: name another file, or move this one away"):
        await target.export(client, "users", sandbox.account_ids)
    assert sandbox.request_count == 0
    target.file.unlink()
    await target.export(client, "users", sandbox.account_ids)
    assert target.ids("users") == ids_of(sandbox, "users")


def problems_of(target: str) -> list[str]:
    try:
        return verify(target).problems
    except ExportError as error:  # so damaged that it cannot be looked at
        return [error.message]


@SQLITE_FIRST
async def test_a_database_is_verified(kind: str, client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """The number of records of each list, tables and rows that are lost or strange, blocks that cannot be read."""
    target, (first, second) = Target(kind, tmp_path), sandbox.account_ids
    await target.export(client, ["users", "courses"], sandbox.account_ids, raw=True)
    found = verify(target.name)
    assert (found.files, found.records, found.problems) == (1, 56, [])
    with pytest.raises(ExportError, match=f"this stands beside a database: name that, as {kind}:FILE"):
        verify(target.file.with_name("lms.db.export"))
    old = target.file.read_bytes()
    await target.export(client, ["users", "courses"], [first], incremental=True)
    new = target.file.read_bytes()
    target.file.write_bytes(old)
    assert [text.partition(": as of")[0] for text in verify(target.name).problems] == [
        f"courses, account {first}", f"users, account {first}",
    ]  # fmt: skip
    target.file.write_bytes(new)
    target.rows(f"DELETE FROM users WHERE account_id = '{first}' AND id IN (SELECT min(id) FROM users)")
    target.rows(f"UPDATE courses SET account_id = 'strange' WHERE account_id = '{second}'")
    target.rows("DROP VIEW completion_details")
    assert verify(target.name).problems == [
        f"courses, account {second}: 0 records, 8 expected",
        f"users, account {first}: 19 records, 20 expected",
        "courses, account strange: 8 records that are not part of the export",
    ]
    assert verify(target.name, accounts=[second]).problems == [f"courses, account {second}: 0 records, 8 expected"]
    target.rows("DROP TABLE users")
    assert f"users, account {second}: not there any more" in verify(target.name).problems
    damaged = bytearray(new)
    for place in range(len(new) // 4, len(new), 500):
        damaged[place] ^= 0xFF
    target.file.write_bytes(damaged)
    assert problems_of(target.name)
    target.file.unlink()
    assert verify(target.name).problems == ["lms.db: missing"]


@SQLITE_FIRST
async def test_an_incremental_run_without_changes_forgets_nothing(kind: str, tmp_path: Path) -> None:
    """The mark up to which changes are known stays, and so does the span of the moments."""
    target = Target(kind, tmp_path)
    moments = ["2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z"]
    everything = [{"id": str(n), "updated_at": moment} for n, moment in enumerate(moments)]
    seen: list[dict[str, Any]] = []
    for records, incremental in ((everything, False), ([], True), ([], True)):
        async with Canned({None: (None, records)}) as url, AsyncClient("key", base_url=url) as client:
            await target.export(client, "users", ["a"], incremental=incremental)
        seen += manifest(target.file.with_name("lms.db.export"))["lists"]
    assert [(e["oldest_update"], e["newest_update"], e["high_water"]) for e in seen] == [(*moments, moments[1])] * 3
    assert [e["incremental"] for e in seen] == [False, True, True]
    assert {e["records"] for e in seen} == {2}


@KINDS
@pytest.mark.skipif(sys.platform == "win32", reason="has no such modes")
async def test_a_new_database_is_its_owners_and_one_that_is_there_stays_as_it_is(kind: str, tmp_path: Path) -> None:
    """Whoever made a database has said who may read it."""
    target = Target(kind, tmp_path)
    async with Canned({None: (None, [{"id": "1"}])}) as url, AsyncClient("key", base_url=url) as client:
        await target.export(client, "users", ["a"])
        assert target.file.stat().st_mode & 0o777 == 0o600
        target.file.chmod(0o640)
        await target.export(client, "users", ["a"])
    assert target.file.stat().st_mode & 0o777 == 0o640


async def test_a_commit_of_sqlite_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With less than EXTRA (3), https://sqlite.org/pragma.html#pragma_synchronous, the power may take it back, after
    the journal has noted it."""
    seen: list[Any] = []
    merge: Callable[..., Any] = Database._merge  # pyright: ignore[reportPrivateUsage]

    def spy(self: Any, execute: Any, *arguments: Any, **named: Any) -> None:
        seen.extend(execute("PRAGMA synchronous"))
        merge(self, execute, *arguments, **named)

    monkeypatch.setattr(Database, "_merge", spy)
    async with Canned({None: (None, [{"id": "1"}])}) as url, AsyncClient("key", base_url=url) as client:
        await Target("sqlite", tmp_path).export(client, "users", ["a"])
    assert seen == [(3,)]


@KINDS
async def test_texts_with_anything_in_them(kind: str, tmp_path: Path) -> None:
    """A zero character, line breaks, quotes, other scripts: in keys too."""
    texts = ["a\0b", "a\r\nb", 'it\'s "so"; DROP TABLE users --', "\u4e2d\U0001f600\u2028", ""]
    records: list[Any] = [{"id": text, "name": text, "unified_custom_fields": {text: text}} for text in texts]
    target = Target(kind, tmp_path)
    async with Canned({None: (None, records)}) as url, AsyncClient("key", base_url=url) as client:
        for _ in range(2):
            await target.export(client, "users", ["a"], restart=True)
    assert sorted(target.rows("SELECT id, name FROM users")) == sorted((text, text) for text in texts)


@SQLITE_FIRST
async def test_a_database_says_itself_how_far_each_list_is(
    kind: str, client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """What is remembered stands in it, written together with the rows: it goes where they go."""
    target = Target(kind, tmp_path)
    itself = database(kind, target.file)
    first, second = sandbox.account_ids
    assert itself.entries() == []
    await target.export(client, ["users", "courses"], [first])
    copy = target.file.read_bytes()
    remembered = {(one.resource, one.account_id): one for one in itself.entries()}
    assert remembered.keys() == {("users", first), ("courses", first)}
    listed = manifest(target.file.with_name("lms.db.export"))["lists"]
    assert {e["high_water"] for e in listed} == {one.high_water for one in remembered.values()} != {None}
    await target.export(client, ["users"], [second])
    assert {(one.resource, one.account_id) for one in itself.entries()} == {*remembered, ("users", second)}
    target.file.write_bytes(copy)  # restored from a copy
    assert {(one.resource, one.account_id): one for one in itself.entries()} == remembered
    target.rows("DROP VIEW completion_details")
    target.rows("DROP TABLE users")
    assert [one.resource for one in itself.entries()] == ["courses"]
    # The view of completions needs a table of users: that it is made again, empty, does not bring the memory back.
    await target.export(client, ["completions"], [first])
    assert sorted(one.resource for one in itself.entries()) == ["completions", "courses"]
    target.file.unlink()
    assert itself.entries() == []
    assert not target.file.exists()


@SQLITE_FIRST
async def test_the_memory_of_a_list_is_written_with_its_rows(
    kind: str, client: AsyncClient, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the transaction does not commit, neither is there."""
    target = Target(kind, tmp_path)
    await target.export(client, "users", sandbox.account_ids)
    before = database(kind, target.file).entries()

    def crash(*_: Any) -> Any:
        raise RuntimeError("the end")

    monkeypatch.setattr("stackone_lms.export.entries._high_water", crash)
    with pytest.raises(RuntimeError, match="the end"):
        await target.export(client, ["users", "skills"], sandbox.account_ids, restart=True)
    monkeypatch.undo()
    assert database(kind, target.file).entries() == before
    assert target.ids("users") == ids_of(sandbox, "users")


@SQLITE_FIRST
async def test_a_database_of_an_older_version_remembers_nothing(
    kind: str, client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """It noted runs only: its lists are as if they had never been exported, and the next run writes them anew."""
    target = Target(kind, tmp_path)
    await target.export(client, "users", sandbox.account_ids)
    target.rows("ALTER TABLE stackone_exports DROP COLUMN entry")
    assert database(kind, target.file).entries() == []
    await target.export(client, "users", sandbox.account_ids)
    assert len(database(kind, target.file).entries()) == 2
    assert target.ids("users") == ids_of(sandbox, "users")


async def test_a_database_that_this_process_has_open_is_exported_to(
    client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A notebook may have connected to it: DuckDB refuses a second connection with other settings."""
    target = Target("duckdb", tmp_path)
    with closing(duckdb.connect(str(target.file))) as open_already:
        account = sandbox.account_ids[0]
        await target.export(client, "users", [account])
        ((count,),) = open_already.execute("SELECT count(*) FROM users").fetchall()
    assert count == len(sandbox.ids("users", account)) > 0


FOREIGN = [
    ("CREATE TABLE users (id TEXT PRIMARY KEY, name TEXT)", "users"),
    ("CREATE TABLE users (account_id TEXT, id TEXT, name TEXT)", "users"),
    ("CREATE TABLE courses (id TEXT)", "courses"),
    ("CREATE VIEW completions AS SELECT 1 AS id", "completions"),
    ("CREATE TABLE users_calls (url TEXT)", "users_calls"),
    ("CREATE TABLE completion_details (id TEXT)", "completion_details"),
    ("CREATE TABLE stackone_exports (resource TEXT)", "stackone_exports"),
]


@SQLITE_FIRST
@pytest.mark.parametrize(("sql", "name"), FOREIGN)
async def test_tables_of_somebody_else_are_told_before_the_first_request(
    sql: str, name: str, kind: str, client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """And left as they are; what exports need besides is not made either."""
    target = Target(kind, tmp_path)
    connection: Any = sqlite3.connect(target.file) if kind == "sqlite" else duckdb.connect(str(target.file))
    with closing(connection):
        connection.execute(sql)
        connection.execute("CREATE TABLE notes (id TEXT)")
    with pytest.raises(ExportError, match=f"the database has a table '{name}'"):
        await target.export(client, "users", sandbox.account_ids)
    assert sandbox.request_count == 0
    assert [*tmp_path.iterdir()] == [target.file]
    tables = "sqlite_master" if kind == "sqlite" else "duckdb_tables()"
    there = target.rows(f"SELECT {'name' if kind == 'sqlite' else 'table_name'} FROM {tables}")
    assert {row[0] for row in there if row[0].startswith("stack")} == ({name} & {"stackone_exports"})
    target.rows(f"DROP {sql.split()[1]} {name}")
    await target.export(client, "users", sandbox.account_ids)


OURS = view_of("completions")
VIEWS = [
    ("completion_details", "SELECT id, name FROM notes"),
    ("completion_details", f"{OURS} WHERE c.user_id IS NOT NULL"),
    ("completion_details", OURS.replace("u.name AS user_name", "u.email AS user_name")),
    ("user_completion_details", OURS),
]


@SQLITE_FIRST
@pytest.mark.parametrize(("name", "select"), VIEWS)
async def test_views_of_somebody_else_are_told_before_the_first_request(
    name: str, select: str, kind: str, client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """They are left as they are, also where they look much like ours; under another name they are in nobody's way."""
    target = Target(kind, tmp_path)
    await target.export(client, ["completions", "users"], sandbox.account_ids)
    await target.export(client, ["completions", "users"], sandbox.account_ids)
    before = sandbox.request_count
    target.rows("CREATE TABLE notes (id TEXT, name TEXT)")
    target.rows(f"DROP VIEW IF EXISTS {name}")
    target.rows(f"CREATE VIEW {name} AS {select}")
    with pytest.raises(ExportError, match=f"the database has a view '{name}'.*give yours another name"):
        await target.export(client, "users", sandbox.account_ids)
    assert sandbox.request_count == before
    catalogue = "sqlite_master WHERE name" if kind == "sqlite" else "duckdb_views() WHERE view_name"
    ((text,),) = target.rows(f"SELECT sql FROM {catalogue} = '{name}'")
    assert "completion_details" in text
    target.rows(f"DROP VIEW {name}")
    target.rows(f"CREATE VIEW mine AS {select}")
    await target.export(client, "users", sandbox.account_ids)
    assert target.rows("SELECT count(*) FROM mine") == target.rows(f"SELECT count(*) FROM ({select})")


HOLD = """
import sqlite3, sys
kind, file = sys.argv[1:]
if kind == "duckdb":
    import duckdb
    connection = duckdb.connect(file)
else:
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.readline()
"""


@KINDS
async def test_a_database_in_use_is_waited_for(
    kind: str, client: AsyncClient, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to `lock_timeout`, before the first request; then the export runs."""
    target, accounts = Target(kind, tmp_path), sandbox.account_ids
    await target.export(client, "skills", accounts)
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLD, kind, str(target.file), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert await holder.stdout.readline() == b"held\n"
        before = sandbox.request_count
        with pytest.raises(ExportError, match=r"(?s)lock.*nothing was asked for: try again when no other program"):
            await target.export(client, "users", accounts, lock_timeout=0.01)
        trying = asyncio.Event()
        loop, opened = asyncio.get_running_loop(), Database.open

        def opening(database: Database, resources: Any) -> None:
            loop.call_soon_threadsafe(trying.set)
            opened(database, resources)

        monkeypatch.setattr(Database, "open", opening)
        waiting = asyncio.create_task(target.export(client, "users", accounts, lock_timeout=60))
        await trying.wait()
        assert sandbox.request_count == before
        holder.stdin.write(b"\n")
        await waiting
    finally:
        if holder.returncode is None:
            holder.terminate()
        await holder.communicate()
    assert target.ids("users") == ids_of(sandbox, "users")


@pytest.mark.parametrize("waiting", [True, *further(False)])
async def test_duckdb_is_opened_once_for_the_lists_that_wait(
    waiting: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening and closing the file takes longer than a small list; where nothing waits, it is free for others."""
    target = Target("duckdb", tmp_path)
    fetched = opened = 0
    all_fetched = threading.Event()
    place, write, connect = Run._place, Database.write, duckdb.connect  # pyright: ignore[reportPrivateUsage]

    async def placing(run: Run, *args: Any) -> Written:
        nonlocal fetched
        fetched += 1
        if fetched == len(ALL):
            all_fetched.set()
        return await place(run, *args)

    def writing(database: Database, *args: Any) -> Written:
        if waiting:
            assert all_fetched.wait(60)
        else:
            assert not vars(database).get("_is_open")
        return write(database, *args)

    def connecting(*args: Any, **options: Any) -> Any:
        nonlocal opened
        opened += not options.get("read_only")
        return connect(*args, **options)

    monkeypatch.setattr(Run, "_place", placing)
    monkeypatch.setattr(Database, "write", writing)
    monkeypatch.setattr(duckdb, "connect", connecting)
    resources = ["users"] if waiting else ALL
    with Sandbox.in_thread(accounts=len(ALL), users=4, completions=4) as many:
        async with AsyncClient(many.api_key, base_url=many.url, rate_limit=None) as client:
            accounts = many.account_ids if waiting else many.account_ids[:1]
            await target.export(client, resources, list(accounts))
    assert target.rows("SELECT count(*) FROM users") == [(4 * len(accounts),)]
    assert opened == (2 if waiting else 1 + len(ALL)) + 1  # once before the first request, and just now
