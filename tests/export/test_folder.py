"""A folder as a target: names of folders, runs that are given up, and what `verify` finds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from stackone_lms import AsyncClient, SyncClient
from stackone_lms.errors import ExportError, InvalidArgumentError
from stackone_lms.export import ExportProgress, export, export_sync, verify
from stackone_lms.export.state.store import partition
from stackone_lms.sandbox import Sandbox

from .datasets import records, sent, table_of
from .test_export import Canned, manifest


def test_accounts_that_differ_have_folders_that_differ_on_any_disk() -> None:
    """Also on one that does not tell capitals from small letters, or drops a dot at the end."""
    accounts = ["ab", "aB", "Ab", "AB", "%41b", "a", "a.", ".", "..", "A" * 300, "a" * 300, "a" * 299 + "A", "/" * 300]
    names = [partition("users", account).name.lower().rstrip(". ") for account in accounts]
    assert len(set(names)) == len(accounts)
    assert all(name.isascii() for name in names)


async def test_readers_decode_the_names_of_the_folders(tmp_path: Path) -> None:
    """The column `account` of the data set is the account, however its folder had to be named."""
    accounts = ["00123", "45355976281015164504", "aB", "Ab", "..", "a.", "a/b=c%41"]
    page = {None: (None, [{"id": "1", "updated_at": "2026-01-01T00:00:00.000Z"}])}
    async with Canned(page) as url, AsyncClient("key", base_url=url) as client:
        assert (await export(client, "users", tmp_path, accounts=[*accounts, "/" * 300])).ok
    with duckdb.connect() as db:
        rows = db.execute(f"SELECT account_id, account FROM '{tmp_path}/**/*.parquet'").fetchall()
    assert len(rows) == len(accounts) + 1
    assert {pair for pair in rows if len(pair[0]) < 300} == {(account, account) for account in accounts}
    frame = pl.read_parquet(tmp_path / "**" / "*.parquet", hive_partitioning=True)
    assert set(frame["account_id"]) == {*accounts, "/" * 300}
    assert set(table_of(tmp_path).column("account_id").to_pylist()) == {*accounts, "/" * 300}


@pytest.mark.parametrize("accounts", [[""], ["a b"], ["a\n"], ["\ud800"], ["é"], [5]])
async def test_accounts_that_cannot_be_sent_are_refused_at_once(
    accounts: Any, client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Before anything is written, without showing them."""
    with pytest.raises(InvalidArgumentError, match="accounts"):
        await export(client, "users", tmp_path / "data", accounts=[*sandbox.account_ids, *accounts])
    assert not (tmp_path / "data").exists()
    assert sandbox.request_count == 0


async def test_a_reader_of_every_folder_sees_no_file_before_it_is_whole(
    client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """DuckDB's `**` looks into hidden folders too: files that are being made have another ending."""
    seen: list[str] = []

    def look(progress: ExportProgress) -> None:
        if progress.state in ("writing", "done"):
            seen.extend(path.name for path in tmp_path.rglob("*") if path.is_file())
            assert not [path for path in (tmp_path / ".export").rglob("*.parquet") if path.is_file()]

    def crash(*_: Any) -> None:
        raise OSError(5, "no")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", crash)
        patch.setattr(Path, "replace", crash)
        with pytest.raises(ExportError):
            await export(client, "users", tmp_path, accounts=sandbox.account_ids, progress=look)
    await export(client, "users", tmp_path, accounts=sandbox.account_ids, progress=look)
    assert "part-0.parquet" in seen
    assert verify(tmp_path).ok


async def failed_run(client: AsyncClient, sandbox: Sandbox, target: Path, **options: Any) -> None:
    """Leave a run unfinished in which the list of the first account is complete, and the manifest is not written."""

    def fail(progress: ExportProgress) -> None:
        if progress.account_id == sandbox.account_ids[1] and progress.state == "writing":
            raise ExportError("the end")

    with pytest.raises(ExportError, match="the end"):
        await export(
            client, "users", target, accounts=sandbox.account_ids, max_concurrent_accounts=1, progress=fail, **options
        )


async def test_a_run_that_is_given_up_leaves_no_file_that_the_manifest_does_not_know(
    client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """What it had finished stays, and is in the manifest; the data set and the manifest never differ."""
    first, second = sandbox.account_ids
    await failed_run(client, sandbox, tmp_path, format="jsonl")
    assert set(records(tmp_path)) == {("users", first)}
    result = await export(client, "courses", tmp_path, accounts=[second], format="jsonl", restart=True)
    assert result.ok
    assert verify(tmp_path).ok, verify(tmp_path).problems
    assert {(e["resource"], e["account_id"]) for e in manifest(tmp_path)["lists"]} == {
        ("users", first),
        ("courses", second),
    }


async def test_a_second_run_that_is_not_finished_is_told(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """The manifest of the first says that all is complete, yet files are being replaced."""
    await export(client, "users", tmp_path, accounts=sandbox.account_ids, format="jsonl")
    assert verify(tmp_path).ok
    await failed_run(client, sandbox, tmp_path, format="jsonl")
    assert "not finished" in verify(tmp_path).problems[0]
    await export(client, "users", tmp_path, accounts=sandbox.account_ids, format="jsonl")
    assert verify(tmp_path).ok
    assert records(tmp_path) == sent(sandbox, "users")


async def test_a_finished_file_that_is_gone_is_fetched_again(
    client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """If somebody takes away a file of an interrupted run, the next one does not pass over that list, and says so."""
    await failed_run(client, sandbox, tmp_path, format="csv")
    (path,) = tmp_path.glob("resource=users/*/part-0.csv")
    path.unlink()
    result = await export(client, "users", tmp_path, accounts=sandbox.account_ids, format="csv")
    assert result.ok
    assert "is gone" in (result.lists[0].whole_because or "")
    assert verify(tmp_path).ok


@pytest.mark.parametrize(
    "stray",
    ["more.parquet", "other/more.parquet", "resource=users/more.parquet", "resource=users/account=zz/part-0.csv"],
)
async def test_verify_finds_what_a_reader_would_take_for_data(
    stray: str, client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Wherever it is; a report beside the data is none."""
    await export(client, "users", tmp_path, accounts=sandbox.account_ids)
    (tmp_path / "report.html").write_text("<p>")
    assert verify(tmp_path).ok
    (tmp_path / stray).parent.mkdir(exist_ok=True)
    (tmp_path / stray).write_bytes(b"")
    assert verify(tmp_path).problems == [f"{stray}: not part of the export"]


async def test_a_file_that_cannot_be_read_is_an_export_error(
    client: AsyncClient, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`verify` raises nothing else."""
    await export(client, "users", tmp_path, accounts=sandbox.account_ids, format="jsonl")

    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied", "/secret")

    monkeypatch.setattr("hashlib.file_digest", refuse)
    with pytest.raises(ExportError, match="Permission denied"):
        verify(tmp_path)


@pytest.mark.parametrize("target", ["file/data", "file", "sqlite:file/lms.db"])
async def test_a_target_that_cannot_be(
    target: str, client: AsyncClient, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file where a folder should be; nothing is asked for."""
    monkeypatch.chdir(tmp_path)
    Path("file").write_bytes(b"")
    with pytest.raises(ExportError, match=r"making the folder .* failed"):
        await export(client, "users", target, accounts=sandbox.account_ids)
    assert sandbox.request_count == 0


async def test_a_target_that_may_not_be_written(
    client: AsyncClient, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only folder is told as such, before anything is asked for."""
    opened = os.open

    def refuse(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(30, "Read-only file system", str(path))
        return opened(path, flags, *arguments, **named)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ExportError, match="Read-only file system") as caught:
        await export(client, "users", tmp_path, accounts=sandbox.account_ids)
    assert str(tmp_path) not in str(caught.value)
    assert sandbox.request_count == 0


async def test_moments_at_the_ends_of_time(tmp_path: Path) -> None:
    """The first moment that there is stands for none with some providers: nothing is before it, not even an overlap."""
    moments = ["0001-01-01T00:00:00.000Z", "0001-01-01T00:00:00.000+02:00", "9999-12-31T23:59:59.000-05:00"]
    for number, moment in enumerate(moments):
        page = {None: (None, [{"id": "1", "updated_at": moment}])}
        async with Canned(page) as url, AsyncClient("key", base_url=url) as client:
            for incremental in (False, True, True):
                target = tmp_path / str(number)
                result = await export(client, "users", target, accounts=["a"], format="jsonl", incremental=incremental)
                assert result.ok
                assert result.records == 1


def test_an_export_leaves_no_thread_and_no_open_file(sandbox: Sandbox, tmp_path: Path) -> None:
    """Whether it ends well, by an account that fails, or by a disk that does."""

    def threads() -> set[str]:
        return {thread.name for thread in threading.enumerate()}

    def opened() -> list[str]:
        links: list[str] = []
        for one in Path("/proc/self/fd").iterdir() if Path("/proc/self/fd").exists() else ():
            with contextlib.suppress(OSError):  # that of this listing is gone by now
                links.append(str(one.readlink()))
        return links

    def sockets() -> int:
        return sum(link.startswith("socket:") for link in opened())

    def refuse(progress: ExportProgress) -> None:
        if progress.state == "writing":
            raise ExportError("the end")

    def export_thrice(target: Path) -> None:
        for number, accounts in enumerate((sandbox.account_ids, [sandbox.inactive_account_id], sandbox.account_ids)):
            with SyncClient(sandbox.api_key, base_url=sandbox.url, rate_limit=None) as client:
                options: dict[str, Any] = {"progress": refuse} if number == 2 else {}
                try:
                    export_sync(client, ["users", "courses"], target / str(number), accounts=accounts, **options)
                except ExportError:
                    assert number == 2

    export_thrice(tmp_path / "first")  # a process keeps its helper threads, once it has some
    before, sockets_before = threads(), sockets()
    export_thrice(tmp_path / "second")
    assert threads() <= before
    assert [link for link in opened() if link.startswith(str(tmp_path))] == []
    end = time.monotonic() + 30
    while sockets() > sockets_before and time.monotonic() < end:
        time.sleep(0.01)  # the server, in a thread of this process, closes its ends when it sees that ours are
    assert sockets() <= sockets_before


async def test_a_watcher_that_fails_ends_the_export_as_it_fails(
    client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Its own error, not a group of them; the lock is free, and the same call goes on."""

    def fail(progress: ExportProgress) -> None:
        if progress.records:
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await export(client, "users", tmp_path, accounts=sandbox.account_ids, format="jsonl", progress=fail)
    await asyncio.sleep(0)
    assert (await export(client, "users", tmp_path, accounts=sandbox.account_ids, format="jsonl")).ok
    assert records(tmp_path) == sent(sandbox, "users")
