"""Accounts are taken out of a target: for good, for a request for deletion; or since nobody asks for them any more."""

from __future__ import annotations

import sqlite3
import stat
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import duckdb
import pytest
from aiohttp import web

from stackone_lms import AsyncClient, RetryPolicy
from stackone_lms.errors import ExportError, InvalidArgumentError
from stackone_lms.export import ExportProgress, export, forget, verify
from stackone_lms.export.state import storage
from stackone_lms.export.state.storage import locked
from stackone_lms.export.targets.duckdb import DuckDB
from stackone_lms.export.targets.sqlite import SQLite

from ..soak import further

GOOD, GONE, MARK = "good-account", "gone-account", "mark-of-"
TWO_KINDS_FIRST = pytest.mark.parametrize("kind", ["parquet", "sqlite", *further("jsonl", "csv", "duckdb", "delta")])
RESOURCES = ["completions", "courses"]


class Server:
    """Every record of an account, and its provider calls, carry a mark of it."""

    def __init__(self) -> None:
        self.version, self.pages = 0, 2
        self.broken: set[tuple[str, str]] = set()
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        account, resource = request.headers["x-account-id"], request.match_info["resource"]
        page, mark = int(request.query.get("next", "0")), f"{MARK}{account}"
        if page and (account, resource) in self.broken:
            return web.json_response({"message": mark}, status=403)
        day = f"2026-01-0{self.version + 1}T00:00:00.000Z"
        some = [
            {"id": f"{mark}-{page}-{n}", "name": f"{mark}-{self.version}" * 20, "title": mark, "updated_at": day,
             "unknown": mark, "content": {"title": mark}}
            for n in range(50)
        ]  # fmt: skip
        following = str(page + 1) if page + 1 < self.pages else None
        return web.json_response({"next": following, "data": some, "raw": [{"url": mark}]})


@asynccontextmanager
async def served() -> AsyncGenerator[tuple[Server, AsyncClient]]:
    server, app = Server(), web.Application()
    app.router.add_get("/unified/lms/{resource}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    client = AsyncClient("key", base_url=server.url, rate_limit=None, retry=RetryPolicy(attempts=1))
    try:
        async with client:
            yield server, client
    finally:
        await runner.cleanup()


def target_of(kind: str, folder: Path) -> tuple[str, dict[str, Any]]:
    options: dict[str, Any] = {"raw": True, "commit_interval": 0.0}
    if kind in ("sqlite", "duckdb"):
        return f"{kind}:{folder / 'lms.db'}", options
    if kind == "delta":
        return f"delta:{folder / 'lms'}", options
    return str(folder / "lms"), {**options, "format": kind}


def files_with(folder: Path, account: str) -> list[str]:
    """Return the files that hold a byte of an account, or are named after it."""
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if account in path.name or (path.is_file() and account.encode() in path.read_bytes())
    ]


class CrashError(Exception):
    pass


async def fill(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, Any]]:
    """Leave an account in every place that there is: rows, freed rows, journals, drafts, log, manifest, failures."""
    target, options = target_of(kind, folder)
    both: dict[str, Any] = {**options, "accounts": [GOOD, GONE]}
    async with served() as (server, client):
        await export(client, RESOURCES, target, **both)
        server.version = 1
        server.broken = {(GONE, "courses")}
        await export(client, RESOURCES, target, **both, incremental=True)  # rows are replaced; a list fails half-way
        server.version = 2

        def crash(draft: Path, final: Path) -> None:
            if final.name == "_manifest.json":
                raise CrashError
            replace(draft, final)

        with monkeypatch.context() as patch:
            replace = storage.replace
            patch.setattr(storage, "replace", crash)
            with pytest.raises(CrashError):
                await export(client, RESOURCES, target, **both, incremental=True)
    return target, options


@TWO_KINDS_FIRST
async def test_afterwards_the_bytes_of_an_account_are_nowhere(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In no file below the target, and under no name; the other account has lost nothing, and can be gone on with."""
    target, options = await fill(kind, tmp_path, monkeypatch)
    before = files_with(tmp_path, GONE)
    root = "lms" if kind not in ("sqlite", "duckdb") else "lms.db.export"
    assert {f"{root}/_manifest.json", f"{root}/_manifest.json.partial", f"{root}/.export/log" if root == "lms" else
            f"{root}/log"} <= {*before}  # fmt: skip
    assert any("courses" in name and name.endswith("/rows") for name in before), "a list that failed half-way"
    kept = files_with(tmp_path, GOOD)
    (gone,) = forget(target, GONE)
    assert (gone.account_id, gone.lists, gone.records) == (GONE, 2, 200)
    assert files_with(tmp_path, GONE) == []
    if kind != "delta":  # there its files are new ones
        assert {*files_with(tmp_path, GOOD)} >= {name for name in kept if "partial" not in name}
    assert verify(target).problems == ["the last export is not finished: the same command goes on"]
    async with served() as (server, client):
        server.version = 2
        told: list[ExportProgress] = []
        result = await export(
            client, RESOURCES, target, accounts=[GOOD], incremental=True, progress=told.append, **options
        )
        assert result.ok
        assert {one.state for one in told} == {"done"}, "its lists had been completed before the crash"
    found = verify(target)
    assert found.ok, found
    assert [(one.lists, one.records) for one in forget(target, [GONE, GOOD])] == [(0, 0), (2, 200)]
    assert files_with(tmp_path, GOOD) == []


async def test_what_an_interrupted_first_export_left_goes_too(tmp_path: Path) -> None:
    """There is no manifest yet, only a journal."""
    target, options = target_of("jsonl", tmp_path)
    async with served() as (server, client):
        server.broken = {(GONE, "users")}

        def stop(told: ExportProgress) -> None:
            if told.state == "failed":
                raise CrashError

        with pytest.raises(CrashError):
            await export(client, "users", target, accounts=[GONE], progress=stop, **options)
    assert files_with(tmp_path, GONE)
    forget(target, GONE)
    assert files_with(tmp_path, GONE) == []


@pytest.mark.parametrize("mode", ["WAL", "PERSIST"])
async def test_journals_of_sqlite_are_emptied(mode: str, tmp_path: Path) -> None:
    """Those that other programs have asked for; while one of them reads an old state it says that bytes are left."""
    target, options = target_of("sqlite", tmp_path)
    file = tmp_path / "lms.db"
    with closing(sqlite3.connect(file)) as other:
        other.execute(f"PRAGMA journal_mode = {mode}")
        async with served() as (_, client):
            await export(client, "users", target, accounts=[GOOD, GONE], **options)
        if mode == "PERSIST":
            other.execute(f"UPDATE users SET email = name WHERE account_id = '{GONE}'")
            other.commit()
            assert GONE.encode() in file.with_name("lms.db-journal").read_bytes()
        else:
            other.execute("BEGIN")
            other.execute("SELECT count(*) FROM users").fetchall()
            with pytest.raises(ExportError, match="bytes may stand in the file still"):
                forget(target, GONE, lock_timeout=0.01)
            other.rollback()
        (gone,) = forget(target, GONE, lock_timeout=0.01)
        assert gone.lists == 1
        assert files_with(tmp_path, GONE) == []


@pytest.mark.parametrize(("kind", "rewriting"), [("sqlite", SQLite), ("duckdb", DuckDB)])
async def test_after_a_crash_the_same_call_goes_on(
    kind: str, rewriting: type[SQLite | DuckDB], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are gone, but not yet rewritten."""
    target, options = target_of(kind, tmp_path)
    async with served() as (server, client):
        await export(client, RESOURCES, target, accounts=[GOOD, GONE], **options)
        server.pages = 1
        await export(client, RESOURCES, target, accounts=[GOOD, GONE], **options)
    if kind == "sqlite":  # as a version of SQLite does that does not overwrite what it frees by itself
        with closing(sqlite3.connect(tmp_path / "lms.db")) as other:
            other.execute("PRAGMA secure_delete = OFF")
            other.execute("DELETE FROM completions WHERE account_id = ?", [GONE])
            other.commit()

    def crash(_: Any) -> None:
        raise CrashError

    with monkeypatch.context() as patch:
        patch.setattr(rewriting, "_rewrite", crash)
        with pytest.raises(CrashError):
            forget(target, GONE)
    assert "lms.db" in files_with(tmp_path, GONE), "free space holds what was there"
    forget(target, GONE)
    assert files_with(tmp_path, GONE) == []


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform == "win32", reason="links and modes")
async def test_a_rewritten_duckdb_file_is_what_it_was(tmp_path: Path) -> None:
    """Through a link, with its mode, form, tables of others, views and keys; what a killed process spilled is gone."""
    real = tmp_path / "elsewhere" / "it's.db"
    real.parent.mkdir()
    (tmp_path / "lms.db").symlink_to(real)
    with closing(duckdb.connect()) as other:
        other.execute(f"ATTACH '{str(real).replace(chr(39), chr(39) * 2)}' AS lms (STORAGE_VERSION 'v1.2.0')")
        other.execute("CREATE SCHEMA lms.mine; CREATE TABLE lms.mine.notes (id INTEGER PRIMARY KEY, note VARCHAR)")
        other.execute("INSERT INTO lms.mine.notes VALUES (1, 'kept')")
    real.chmod(0o640)
    target, options = target_of("duckdb", tmp_path)
    async with served() as (_, client):
        await export(client, RESOURCES, target, accounts=[GOOD, GONE], **options)
        spilled = real.with_name(f"{real.name}.tmp")
        spilled.mkdir()
        (spilled / "duckdb_temp_block-1.block").write_bytes(GONE.encode())
        forget(target, GONE)
        assert files_with(tmp_path, GONE) == []
        assert (tmp_path / "lms.db").is_symlink()
        assert {path.name for path in real.parent.iterdir()} == {real.name}
        assert stat.S_IMODE(real.stat().st_mode) == 0o640
        with closing(duckdb.connect(str(real))) as found:
            assert found.execute("SELECT note FROM mine.notes").fetchall() == [("kept",)]
            assert found.execute("SELECT count(*) FROM completion_details").fetchall() == [(100,)]
            assert found.execute("SELECT tags['storage_version'] FROM duckdb_databases()").fetchall()[0] == ("v1.2.0+",)
            with pytest.raises(duckdb.ConstraintException):
                found.execute("INSERT INTO mine.notes VALUES (1, 'again')")
        assert (await export(client, RESOURCES, target, accounts=[GOOD], incremental=True, **options)).ok


@TWO_KINDS_FIRST
async def test_prune_removes_accounts_that_are_not_asked_for(kind: str, tmp_path: Path) -> None:
    """Rows or files, memory and journals; those that fail are asked for, and stay."""
    target, options = target_of(kind, tmp_path)
    async with served() as (server, client):
        await export(client, RESOURCES, target, accounts=[GOOD, GONE, "fails"], **options)
        server.broken = {("fails", "courses")}
        result = await export(client, RESOURCES, target, accounts=[GOOD, "fails"], **options)
        assert result.pruned_accounts == ()
        with pytest.raises(ExportError, match="nothing of these accounts"):
            verify(target, accounts=[GONE, "other"])
        assert verify(target, accounts=GONE).records >= 200
        result = await export(client, "courses", target, accounts=[GOOD, "fails"], prune=True, **options)
        assert result.pruned_accounts == (GONE,)
        assert result.failed_accounts == ("fails",)
    assert verify(target).ok
    assert verify(target, accounts="fails").records >= 200, "lists not asked for this time too"
    with pytest.raises(ExportError, match=f"nothing of these accounts was exported there: {GONE}"):
        verify(target, accounts=GONE)
    if kind not in ("sqlite", "duckdb", "delta"):
        assert files_with(tmp_path, GONE) == []


async def test_what_cannot_be_forgotten(tmp_path: Path) -> None:
    """Nothing is written where there is no export, or while one is under way."""
    target, options = target_of("sqlite", tmp_path)
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE users (account_id TEXT)")
        connection.execute("INSERT INTO users VALUES ('a')")
        connection.commit()
    before = sorted(tmp_path.iterdir()), other.read_bytes()
    for missing in (f"sqlite:{other}", target, f"duckdb:{tmp_path / 'x'}", tmp_path, tmp_path / "not-there"):
        with pytest.raises(ExportError, match="there is no export"):
            forget(missing, "a")
    for wrong in ("", [], [1]):
        with pytest.raises(InvalidArgumentError):
            forget(target, wrong)  # type: ignore[arg-type]
    assert (sorted(tmp_path.iterdir()), other.read_bytes()) == before
    async with served() as (_, client):
        await export(client, "users", target, accounts=[GONE], **options)
    with locked(tmp_path / "lms.db.export" / "lock"), pytest.raises(ExportError, match="another export is writing"):
        forget(target, GONE)
    assert verify(target).records == 100
