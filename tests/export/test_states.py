"""Every list has a state of its own: what one account or one option does leaves the other lists alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import sys
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import duckdb
import pytest
from aiohttp import web

from stackone_lms import AsyncClient, RateLimit, RetryPolicy
from stackone_lms.errors import AuthenticationError, ExportError, InvalidArgumentError
from stackone_lms.export import ExportProgress, export, export_sync, verify
from stackone_lms.export.accounts import parse_accounts, read_accounts
from stackone_lms.export.options import make_plan
from stackone_lms.export.run import Run
from stackone_lms.export.state.files import Files
from stackone_lms.export.state.manifest import ListEntry
from stackone_lms.export.state.storage import locked
from stackone_lms.export.state.store import RunNote, StateStore
from stackone_lms.sandbox import Sandbox
from stackone_lms.sync import SyncClient

from .datasets import delta_rows, lines, records, sent
from .test_export import manifest
from .test_month import Api

QUICK = RetryPolicy(attempts=1)


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api(1)
    for account in ("good", "broken"):
        made.come(account)
        made.add(account, "completions")
    with made.served() as made.url:
        yield made


@asynccontextmanager
async def client_of(api: Api, **options: Any) -> AsyncGenerator[AsyncClient]:
    async with AsyncClient("key", base_url=api.url, rate_limit=None, retry=QUICK, **options) as client:
        yield client


def held(target: Path, resource: str, account: str) -> dict[str, str]:
    found = [json.loads(line) for line in lines(target).get((resource, account), [])]
    return {one["id"]: one["name"] for one in found}


async def test_a_broken_account_does_not_freeze_the_others(api: Api, tmp_path: Path) -> None:
    """One answers 403 for ever; the other is current every day, and the failure is named every day."""
    options: dict[str, Any] = {"accounts": ["good", "broken"], "format": "jsonl", "incremental": True}
    api.failing = {"broken": (403, 0)}
    async with client_of(api) as client:
        for _ in range(4):
            api.night += 1
            api.add("good", "completions")
            result = await export(client, "completions", tmp_path, **options)
            assert [one.account_id for one in result.failures] == ["broken"]
            assert held(tmp_path, "completions", "good") == api.versions("good", "completions")
            assert verify(tmp_path).ok, "that an account failed is nothing about files"
    entries = {entry["account_id"]: entry for entry in manifest(tmp_path)["lists"]}
    assert entries["good"]["error"] is None
    assert entries["good"]["incremental"] is True
    assert entries["broken"]["error"]["status"] == 403


async def test_the_file_of_failed_accounts_is_a_file_of_accounts(api: Api, tmp_path: Path) -> None:
    """Whatever their ids hold."""
    odd = ["plain", "a,b", '"q"', "#x", "x#y", '",']
    async with client_of(api) as client:
        api.failing = dict.fromkeys(odd, (403, 0))
        result = await export(client, "completions", tmp_path, accounts=[*odd, "good"], format="jsonl")
    assert {one.account_id for one in result.failures} == {*odd}
    assert sorted(read_accounts(tmp_path / "_failed-accounts.txt")) == sorted(odd)


@pytest.mark.parametrize("after", [0, 1])
async def test_one_bad_gateway_costs_one_night(after: int, api: Api, tmp_path: Path) -> None:
    """At the first page or in the middle of a list: the next night fetches both accounts as they are then."""
    for _ in range(30):
        api.add("broken", "completions")
    options: dict[str, Any] = {"accounts": ["good", "broken"], "format": "jsonl", "page_size": 10}
    api.failing = {"broken": (502, after)}
    async with client_of(api) as client:
        assert not (await export(client, "completions", tmp_path, **options)).ok
        api.failing = {}
        api.pass_a_day()
        assert (await export(client, "completions", tmp_path, **options)).ok
    for account in ("good", "broken"):
        assert held(tmp_path, "completions", account) == api.versions(account, "completions")


async def test_accounts_come_and_go(api: Api, tmp_path: Path) -> None:
    """An account that is left out keeps what is there of it; one that comes is fetched whole."""
    options: dict[str, Any] = {"format": "jsonl", "incremental": True}
    async with client_of(api) as client:
        await export(client, "completions", tmp_path, accounts=["good"], **options)
        before = held(tmp_path, "completions", "good")
        api.pass_a_day()
        await export(client, "completions", tmp_path, accounts=["broken"], **options)
    assert held(tmp_path, "completions", "good") == before
    assert held(tmp_path, "completions", "broken") == api.versions("broken", "completions")


async def interrupted(client: AsyncClient, target: Path, accounts: list[str], **options: Any) -> None:
    """Export two accounts, and end after the first."""

    def stop(progress: ExportProgress) -> None:
        if progress.account_id == accounts[1] and progress.state == "writing":
            raise ExportError("the end")

    with pytest.raises(ExportError, match="the end"):
        await export(client, "users", target, accounts=accounts, max_concurrent_accounts=1, progress=stop, **options)


@pytest.mark.parametrize(
    ("change", "asked_again"),
    [
        ({}, False),
        ({"page_size": 50}, False),
        ({"fields": "name"}, True),
        ({"raw": True}, True),
        ({"incremental": True}, True),
        ({"restart": True}, True),
        ({"resume_within": timedelta(0)}, True),
    ],
    ids=str,
)
async def test_after_an_interruption_completed_lists_are_passed_over(
    change: dict[str, Any], asked_again: bool, client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """By the same command only, and not if the interruption is too long ago; any other command just runs."""
    accounts = list(sandbox.account_ids)
    await interrupted(client, tmp_path, accounts, format="jsonl")
    sandbox.requests.clear()
    assert (await export(client, "users", tmp_path, accounts=accounts, format="jsonl", **change)).ok
    asked = {one.headers["x-account-id"] for one in sandbox.requests}
    assert accounts[1] in asked
    assert (accounts[0] in asked) == asked_again
    assert verify(tmp_path).ok
    sandbox.requests.clear()
    await export(client, "users", tmp_path, accounts=accounts, format="jsonl")
    assert {one.headers["x-account-id"] for one in sandbox.requests} == set(accounts), "that run is over"


async def test_since_by_the_name_of_lists(api: Api, tmp_path: Path) -> None:
    """`updated_after`; both at once are too many."""
    options: dict[str, Any] = {"accounts": ["good"], "format": "jsonl", "updated_after": "2999-01-01"}
    async with client_of(api) as client:
        result = await export(client, "completions", tmp_path, **options)
        assert (result.ok, result.records) == (True, 0)
        with pytest.raises(TypeError, match="both of its names"):
            await export(client, "completions", tmp_path, **options, since="2999-01-01")


async def test_since_merges_and_drops_nothing(api: Api, tmp_path: Path) -> None:
    """Ten records, then two that changed: ten. And what lies between is still fetched by the next incremental run."""
    options: dict[str, Any] = {"accounts": ["good"], "format": "jsonl"}
    async with client_of(api) as client:
        await export(client, "completions", tmp_path, **options)
        api.night += 1
        api.add("good", "completions")
        missed = api.made
        api.night += 1
        api.add("good", "completions")
        await export(client, "completions", tmp_path, since=api.now(), **options)
        before = held(tmp_path, "completions", "good")
        await export(client, "completions", tmp_path, since="2026-01-02T12:00:00Z", **options)
        now = held(tmp_path, "completions", "good")
        assert before.keys() < now.keys()
        assert f"c{missed}" not in now
        await export(client, "completions", tmp_path, incremental=True, **options)
    assert held(tmp_path, "completions", "good") == api.versions("good", "completions")


async def test_lists_with_undated_records_are_fetched_whole_now_and_then(api: Api, tmp_path: Path) -> None:
    """They are counted; an incremental run sees their changes when `full_every` is over, and says why."""
    some = api.records["good"]["completions"]
    api.add("good", "completions")
    undated = some[f"c{api.made}"]
    del undated["updated_at"]
    options: dict[str, Any] = {"accounts": ["good"], "format": "jsonl", "incremental": True}
    async with client_of(api) as client:
        (one,) = (await export(client, "completions", tmp_path, **options)).lists
        assert one.undated == 1
        (one,) = (await export(client, "completions", tmp_path, **options)).lists
        assert one.whole_because is None
        entry = manifest(tmp_path)
        entry["lists"][0]["full"] = "2020-01-01T00:00:00.000Z"
        (tmp_path / "_manifest.json").write_text(json.dumps(entry))
        undated["name"] = "changed"
        (one,) = (await export(client, "completions", tmp_path, **options)).lists
        assert one.whole_because == "that was not done for 7 days"
        assert held(tmp_path, "completions", "good")[undated["id"]] == "changed"
        (one,) = (await export(client, "completions", tmp_path, full_every="0s", **options)).lists
        assert one.whole_because is not None


async def test_the_mark_is_capped_by_the_clock_of_the_server(tmp_path: Path) -> None:
    """A record that is changed during a long walk is not lost, whatever the local clock says."""

    async def answer(_: web.Request) -> web.Response:
        data = [{"id": "a", "updated_at": "2026-01-01T12:00:00.000Z"}]
        return web.json_response({"data": data}, headers={"Date": "Thu, 01 Jan 2026 10:00:00 GMT"})

    app = web.Application()
    app.router.add_get("/unified/lms/users", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with AsyncClient("key", base_url=url) as client:
        await export(client, "users", tmp_path, accounts=["a"], format="jsonl")
    await runner.cleanup()
    assert manifest(tmp_path)["lists"][0]["high_water"] == "2026-01-01T10:00:00.000Z"


class Users:
    """An account with users, some of whom cannot be read."""

    def __init__(self, count: int, refused: dict[str, int], odd: tuple[str, ...] = ()) -> None:
        self.ids = [*odd, *(f"u{number}" for number in range(count))]
        self.refused = refused
        self.asked: list[tuple[str, str]] = []

    async def _users(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": id} for id in self.ids]})

    async def _completions(self, request: web.Request) -> web.Response:
        user = request.match_info["user"]
        self.asked.append((user, request.query.get("filter[updated_after]", "")))
        if status := self.refused.get(user):
            return web.json_response({"statusCode": status, "message": "no"}, status=status)
        return web.json_response({"data": [{"id": f"c-{user}", "updated_at": "2026-01-01T00:00:00.000Z"}]})

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[AsyncClient]:
        app = web.Application()
        app.router.add_get("/unified/lms/users", self._users)
        app.router.add_get("/unified/lms/users/{user}/completions", self._completions)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with AsyncClient("key", base_url=url, retry=QUICK) as client:
            yield client
        await runner.cleanup()


async def test_users_that_cannot_be_read_are_passed_over(tmp_path: Path) -> None:
    """They are counted and named, the list of the others is written; once they can be read they come whole."""
    users = Users(8, {"u1": 403, "u3": 410, "u5": 500, "u6": 501, "u7": 404}, odd=("..", "a\nb"))
    options: dict[str, Any] = {"accounts": ["a"], "format": "jsonl", "incremental": True}
    async with users.client() as client:
        (one,) = (await export(client, "users.completions", tmp_path, **options)).lists
        assert not one.ok
        assert [skipped.user for skipped in one.skipped_users] == ["..", "a\nb", "u1", "u3", "u5", "u6"]
        assert (one.records, one.missing_users) == (3, 1)
        assert manifest(tmp_path)["lists"][0]["skipped_users"][2]["status"] == 403
        users.refused.pop("u3")
        users.asked.clear()
        (one,) = (await export(client, "users.completions", tmp_path, **options)).lists
    assert one.records == 4
    assert dict(users.asked)["u3"] == "", "never read, it is asked for everything"
    assert dict(users.asked)["u0"] != ""


async def test_an_account_that_refuses_all_users_fails(tmp_path: Path) -> None:
    """Then it is not about users, and what is there stays."""
    users = Users(60, {})
    async with users.client() as client:
        await export(client, "users.completions", tmp_path, accounts=["a"], format="jsonl")
        users.refused = dict.fromkeys(users.ids, 403)
        users.asked.clear()
        (one,) = (await export(client, "users.completions", tmp_path, accounts=["a"], format="jsonl")).lists
    assert one.error is not None
    assert one.error.status == 403
    assert one.records == 60
    assert len(users.asked) < 30


async def test_a_dead_key_is_not_tried_on_all_accounts(sandbox: Sandbox, tmp_path: Path) -> None:
    """No request starts after the first 401 of the key; what is done stays done, and the same command goes on."""
    accounts = [*sandbox.account_ids, *(f"other-{number}" for number in range(300))]
    async with AsyncClient("wrong", base_url=sandbox.url, rate_limit=RateLimit(1000)) as client:
        result = await export(client, ["users", "courses"], tmp_path, accounts=accounts, format="jsonl")
    assert result.interrupted
    assert len(result.failures) == 604
    assert all(isinstance(one.error, AuthenticationError) for one in result.failures)
    assert sandbox.request_count <= 16, "those that were under way"
    async with AsyncClient(sandbox.api_key, base_url=sandbox.url, rate_limit=None) as client:
        assert (await export(client, "users", tmp_path, accounts=sandbox.account_ids, format="jsonl")).ok
    assert records(tmp_path) == sent(sandbox, "users")


@pytest.mark.parametrize("target", ["folder", "sqlite:x.db", "delta:x"])
async def test_what_was_fetched_before_the_key_was_refused_is_kept(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists that wait for their turn to be written when the refusal comes need no request any more."""
    write = Run._write  # pyright: ignore[reportPrivateUsage]
    asked: list[str] = []
    fetched: set[str] = set()
    good = False
    both = asyncio.Event()

    def slowly(self: Run, *args: Any) -> Any:
        end = time.monotonic() + 20
        while self._refused is None and not good and time.monotonic() < end:  # pyright: ignore[reportPrivateUsage]
            time.sleep(0.005)
        return write(self, *args)

    async def answer(request: web.Request) -> web.Response:
        account = request.headers["x-account-id"]
        asked.append(account)
        if account == "last" and not good:
            await asyncio.wait_for(both.wait(), 20)
            return web.json_response({"message": "Unauthorized"}, status=401)
        return web.json_response({"data": [{"id": account}]})

    def progress(told: ExportProgress) -> None:
        if told.records:
            fetched.add(told.account_id)
        if len(fetched) == 2:
            both.set()

    monkeypatch.setattr(Run, "_write", slowly)
    monkeypatch.chdir(tmp_path)
    options: dict[str, Any] = {"accounts": ["first", "second", "last"], "progress": progress, "commit_interval": 1000}
    async with answered_by(answer) as client:
        result = await export(client, "users", target, **options)
        assert [(one.account_id, one.ok) for one in result.lists] == [
            ("first", True),
            ("second", True),
            ("last", False),
        ]
        assert result.interrupted
        asked.clear()
        good = True
        assert (await export(client, "users", target, **options)).ok
    assert asked == ["last"]
    assert verify(target).ok


@pytest.mark.parametrize(
    "target",
    ["s3://bucket/x", "gs://b/x", "abfss://c@a/x", "S3://b", "duckdb:md:x", "sqlite::memory:", "duckdb::memory:",
     "sqlite:file:x", "file://host/x", "file:///", "  ", 7],
)  # fmt: skip
async def test_targets_that_are_not_there_are_refused(
    target: Any, client: AsyncClient, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any I/O: nothing is asked for, and no folder of that name is made."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArgumentError):
        await export(client, "users", target, accounts=sandbox.account_ids)
    assert sandbox.request_count == 0
    assert list(tmp_path.iterdir()) == []


async def test_home_and_file_urls(
    client: AsyncClient, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`~` is the home folder, and `file://` a folder of this machine."""
    monkeypatch.setenv("HOME", str(tmp_path))
    options: dict[str, Any] = {"accounts": sandbox.account_ids, "format": "jsonl"}
    await export(client, "users", "~/one", **options)
    await export(client, "users", f"file://{tmp_path}/two%20words", **options)
    await export(client, "users", "sqlite:~/three.db", accounts=sandbox.account_ids)
    assert records(tmp_path / "one") == records(tmp_path / "two words") == sent(sandbox, "users")
    assert (tmp_path / "three.db").is_file()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"page_size": True}, "page_size"),
        ({"page_size": 1.5}, "page_size"),
        ({"page_size": "9"}, "page_size"),
        ({"commit_interval": float("nan")}, "commit_interval"),
        ({"commit_interval": -1}, "commit_interval"),
        ({"overlap": 10}, "overlap"),
        ({"overlap": timedelta(-1)}, "overlap"),
        ({"overlap": "10"}, "overlap"),
        ({"resume_within": None}, "resume_within"),
        ({"full_every": "sometimes", "incremental": True}, "full_every"),
        ({"full_every": "7d"}, "full_every"),
        ({"max_concurrent_accounts": 0}, "max_concurrent_accounts"),
        ({"lock_timeout": float("inf")}, "lock_timeout"),
        ({"incremental": 1}, "incremental"),
        ({"raw": "yes"}, "raw"),
        ({"restart": None}, "restart"),
        ({"fields": [1]}, "fields"),
        ({"fields": 5}, "fields"),
        ({"users": "u"}, "users"),
        ({"since": 5}, "since"),
        ({"format": None}, "format"),
        ({"progress": 5}, "progress"),
        ({"accounts": [1]}, "accounts"),
        ({"accounts": 1}, "accounts"),
    ],
    ids=str,
)
def test_options_are_checked_completely(options: dict[str, Any], told: str) -> None:
    """Each with its name and what it may be, before anything is done."""
    with pytest.raises(InvalidArgumentError, match=told):
        make_plan("users", "somewhere", {"accounts": ["a"], **options})


def test_all_stands_for_every_list_of_an_account() -> None:
    """The lists of each user have to be named."""
    names = [resource.name for resource in make_plan("all", "somewhere", {"accounts": ["a"]}).resources]
    assert names == ["assignments", "categories", "completions", "content", "courses", "skills", "users"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"a\nb\n", ["a", "b"]),
        (b"\xef\xbb\xbfa\r\n\r\nb", ["a", "b"]),
        ("a\nb".encode("utf-16"), ["a", "b"]),
        (b"\xff\xfea\0\n\0b\0", ["a", "b"]),
        (b"# all of them\na # the first\n\n  b  \na\n", ["a", "b"]),
        (b'name,account_id\n"Acme, Inc.",a\nOther,b\n', ["a", "b"]),
        (b"account_id\na\n", ["a"]),
        (b"Account_ID\na\n", ["a"]),
        (b"name;account_id;x\nAcme, Inc.;a;1\n", ["a"]),
        (b"name\taccount_id\nAcme, Inc.\ta\n\tb\n \t\n", ["a", "b"]),
        (b"a\t\n\t\nb # c\n", ["a", "b"]),
        (b"", []),
    ],
)
def test_files_of_accounts(text: bytes, found: list[str]) -> None:
    """One id a line, or a CSV with a header; UTF-8 or UTF-16."""
    assert parse_accounts(text, "accounts.txt") == found


@pytest.mark.parametrize(
    ("text", "line"),
    [(b"a\nb c\n", 2), (b"a\n\n\xff\n", 3), (b"a\nb,c\n", 2), (b"name,account_id\nx\n", 2), (b"a\n\xc3\xa9\n", 2)],
)
def test_a_bad_line_of_accounts_is_named(text: bytes, line: int) -> None:
    """By its number."""
    with pytest.raises(InvalidArgumentError, match=f"accounts.txt, line {line}:"):
        parse_accounts(text, "accounts.txt")


def test_accounts_from_a_file_or_of_the_client(sandbox: Sandbox, tmp_path: Path) -> None:
    """`accounts=` takes a path; a client with an account needs none."""
    first, second = sandbox.account_ids
    (tmp_path / "accounts.txt").write_text(second)
    with SyncClient(sandbox.api_key, first, base_url=sandbox.url, rate_limit=None) as client:
        result = export_sync(client, "users", tmp_path / "own", format="jsonl")
        assert [one.account_id for one in result.lists] == [first]
        result = export_sync(client, "users", tmp_path / "file", format="jsonl", accounts=tmp_path / "accounts.txt")
        assert [one.account_id for one in result.lists] == [second]
    with (
        SyncClient(sandbox.api_key, base_url=sandbox.url) as client,
        pytest.raises(InvalidArgumentError, match="name at least one account"),
    ):
        export_sync(client, "users", tmp_path / "none")


async def test_as_many_accounts_as_the_limit_has_room_for(sandbox: Sandbox, tmp_path: Path) -> None:
    """Slow answers and a limit with room: accounts start until the limit is used; the option caps them."""
    most = now = 0
    wanted, so_many = 17, asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        nonlocal most, now
        now += 1
        most = max(most, now)
        if most >= wanted:
            so_many.set()
        with contextlib.suppress(TimeoutError):  # all fail then, by what is asserted below
            await asyncio.wait_for(so_many.wait(), 30)
        so_many.set()
        await asyncio.sleep(0.3)  # for more to come than may
        now -= 1
        return web.json_response({"data": []})

    app = web.Application()
    app.router.add_get("/unified/lms/users", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    accounts = [f"a{number}" for number in range(60)]
    async with AsyncClient("key", base_url=url, rate_limit=RateLimit(6000)) as client:
        await export(client, "users", tmp_path / "free", accounts=accounts, format="jsonl")
        free, most, wanted = most, 0, 3
        so_many.clear()
        await export(
            client, "users", tmp_path / "cap", accounts=accounts[:9], format="jsonl", max_concurrent_accounts=3
        )
    await runner.cleanup()
    assert free > 16
    assert most == 3


async def test_a_finished_list_leaves_no_spool_and_costs_four_fsyncs(
    client: AsyncClient, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the run goes on there is nothing left of the lists that are in their places; none waits on the loop."""
    loop_thread = threading.get_ident()
    calls: dict[str, int] = dict.fromkeys(("fsync", "unlink", "rmdir"), 0)
    on_loop: list[str] = []
    left: list[int] = []

    def counted(name: str) -> Any:
        original = getattr(os, name)

        def call(*arguments: Any, **named: Any) -> Any:
            calls[name] += 1
            if threading.get_ident() == loop_thread:
                on_loop.append(name)
            return original(*arguments, **named)

        return call

    def look(progress: ExportProgress) -> None:
        if progress.state == "done":
            left.append(len(list((tmp_path / "data" / ".export" / "lists").iterdir())))

    resources = ["assignments", "content", "courses", "users", "skills", "categories"]
    for name in calls:
        monkeypatch.setattr(os, name, counted(name))
    options: dict[str, Any] = {"accounts": sandbox.account_ids, "max_concurrent_accounts": 1, "commit_interval": 30.0}
    await export(client, resources, tmp_path / "data", format="jsonl", progress=look, **options)
    first = calls["fsync"]
    assert set(left) == {0}
    assert on_loop == []
    await export(client, resources, tmp_path / "data", format="jsonl", **options)
    assert calls["fsync"] - first <= 4 * len(left) + 14
    assert first <= 4 * len(left) + 14 + len(resources), "and once for every resource, and for the run"


def test_the_states_are_kept_in_linear_time(tmp_path: Path) -> None:
    """Twice the lists cost twice the steps: none of them is looked through for another."""

    def steps(count: int) -> int:
        folder = tmp_path / str(count)
        folder.mkdir()
        store = StateStore(Files(folder), folder, format="jsonl", sdk="1")
        store.begin(RunNote("run", "2026-01-01T00:00:00.000Z"), keep_log=False)
        taken = 0

        def step(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal taken
            frame.f_trace_opcodes = True
            taken += event == "opcode"
            return step

        before = sys.gettrace()
        sys.settrace(step)
        try:
            for number in range(count):
                store.put(ListEntry(resource="users", account_id=f"{number}"))
        finally:
            sys.settrace(before)
        store.finish(complete=True, parameters={}, started="", finished="", sdk="1")
        return taken

    assert steps(80) < 2.2 * steps(40)


async def test_there_is_nothing_to_retry_where_nothing_was_exported(api: Api, tmp_path: Path) -> None:
    """It says so before any request, and makes no folder."""
    async with client_of(api) as client:
        for target in (tmp_path / "lms", f"sqlite:{tmp_path / 'lms.db'}"):
            with pytest.raises(ExportError, match="nothing was exported there yet"):
                await export(client, "users", target, retry_failed=True)
    assert not api.asked
    assert not [*await asyncio.to_thread(tmp_path.glob, "*")]


async def test_what_became_of_it_for_programs(api: Api, tmp_path: Path) -> None:
    """`summary`, `max_failures` and `retry_failed` of the function are those of the command."""
    api.failing = {"broken": (403, 0)}
    target, file = tmp_path / "lms", tmp_path / "told" / "summary.json"
    options: dict[str, Any] = {"format": "jsonl", "summary": file}
    both = ["good", "broken"]
    async with client_of(api) as client:
        result = await export(client, "completions", target, accounts=both, **options)
        assert (result.ok, result.acceptable) == (False, False)
        assert json.loads(file.read_text()) == json.loads(json.dumps(result.to_dict()))
        failure = result.to_dict()["lists"][1]["failure"]
        assert (failure["type"], failure["status"], failure["account_id"]) == ("PermissionDeniedError", 403, "broken")
        limits: dict[int | str, bool] = {0: False, 1: True, "1": True, "49.9%": False, "50%": True}
        for limit, acceptable in limits.items():
            result = await export(client, "completions", target, accounts=both, max_failures=limit, **options)
            assert result.acceptable == acceptable, limit
        api.asked.clear()
        result = await export(client, "completions", target, retry_failed=True, max_failures="100%", **options)
        assert ({*api.asked}, result.acceptable) == ({"broken"}, True)
        with pytest.raises(ExportError, match="another export"), locked(target / ".export" / "lock"):
            await export(client, "completions", target, accounts=both, **options)
        assert file.exists()
        await asyncio.to_thread((tmp_path / "file").touch)
        api.asked.clear()
        with pytest.raises(ExportError, match=r"making the folder .* failed"):
            await export(client, "completions", target, accounts=both, format="jsonl", summary=tmp_path / "file" / "x")
        assert not api.asked
        stop = asyncio.create_task(export(client, "completions", target, accounts=both, **options,
                                          progress=lambda _: stop.cancel()))  # fmt: skip
        with pytest.raises(asyncio.CancelledError):
            await stop
        assert not file.exists(), "it would be taken for what became of this one"


async def test_a_summary_tells_what_a_dead_key_cut_off(sandbox: Sandbox, tmp_path: Path) -> None:
    """What failed before for reasons of its own did fail; what was not tried was interrupted."""
    good, bad = sandbox.account_ids[0], sandbox.inactive_account_id
    options: dict[str, Any] = {"accounts": [bad, good], "format": "jsonl", "max_concurrent_accounts": 1}
    async with AsyncClient(sandbox.api_key, base_url=sandbox.url, rate_limit=None, retry=QUICK) as client:

        def die(told: ExportProgress) -> None:
            if told.state == "failed" and told.account_id == bad:
                sandbox.fail_next(401)

        result = await export(client, "users", tmp_path, progress=die, max_failures=2, **options)
    assert (result.interrupted, result.acceptable) == (True, False)
    states = {one["account_id"]: one["state"] for one in result.to_dict()["lists"]}
    assert states == {bad: "failed", good: "interrupted"}


@asynccontextmanager
async def answering(body: Callable[[], bytes]) -> AsyncGenerator[AsyncClient]:
    """Give a client of a server that answers every list of users with the same bytes."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body(), content_type="application/json")

    async with answered_by(answer) as client:
        yield client


@asynccontextmanager
async def answered_by(answer: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncGenerator[AsyncClient]:
    """Give a client of a server that answers lists of users that way."""
    app = web.Application()
    app.router.add_get("/unified/lms/users", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with AsyncClient("key", base_url=url, rate_limit=None, retry=QUICK) as client:
            yield client
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet", "sqlite", "duckdb", "delta"])
async def test_ids_that_differ_in_half_a_character_are_two(format: str, tmp_path: Path) -> None:
    r"""They keep what was sent for that half as text, by which each is known again when it changes."""
    users = [
        rb"""{"id": "x\ud83d", "name": "\ud83d", "updated_at": "2026-01-01T00:00:00Z"}""",
        rb"""{"id" : "x\uD83E", "name": "b", "updated_at": "2026-01-01T00:00:00Z"}""",
        rb"""{"id": "y\\ud83d\ud83d\ude00", "name": "c", "remote_id": "\"id\": \ud83d"}""",
    ]
    files = format in ("jsonl", "csv", "parquet")
    target = tmp_path / "out" if files else f"{format}:{tmp_path / 'lms.db'}"
    options: dict[str, Any] = {"accounts": ["a"], "incremental": True, **({"format": format} if files else {})}
    async with answering(lambda: b'{"next": null, "data": [%s]}' % b", ".join(users)) as client:
        (first,) = (await export(client, "users", target, **options)).lists
        users[1] = users[1].replace(b'"b"', b'"changed"').replace(b"2026-01", b"2026-02")
        (second,) = (await export(client, "users", target, **options)).lists
    assert (first.records, first.new, first.replaced) == (3, 3, 3)
    assert (second.records, second.new, second.changed) == (3, 0, 1)
    found = rows_of(target, "users", format)
    assert found == {"x\\ud83d": "\ufffd", "x\\uD83E": "changed", "y\\ud83d\U0001f600": "c"}


def rows_of(target: Path | str, resource: str, format: str) -> dict[str, str]:
    """Return the names of records by their ids."""
    if format == "jsonl":
        return {r["id"]: r["name"] for r in map(json.loads, lines(Path(target))[resource, "a"])}
    if format == "sqlite":
        with closing(sqlite3.connect(str(target).partition(":")[2])) as database:
            return dict(database.execute(f"SELECT id, name FROM {resource}").fetchall())
    if format == "duckdb":
        with closing(duckdb.connect(str(target).partition(":")[2])) as other:
            return dict(other.execute(f"SELECT id, name FROM {resource}").fetchall())
    if format == "delta":
        return {one["id"]: one["name"] for one in delta_rows(str(target).partition(":")[2], resource)}
    (path,) = Path(target).rglob(f"*.{format}")
    return dict(duckdb.execute(f"SELECT id, name FROM '{path}'").fetchall())


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet"])
async def test_half_a_character_is_replaced_and_counted(format: str, tmp_path: Path) -> None:
    r"""Readers of JSON refuse `\ud83d` alone; no page, and no other record, is the worse for it."""
    body = rb"""{"next": null, "data": [{"id": "1", "name": "Ann \ud83d"}, {"id": "2", "name": "\ud83d\ude00"},
        {"id": "3", "name": "n"}, {"id": "x\ud83d", "name": "\ud83e"}]}"""

    async with answering(lambda: body) as client:
        result = await export(client, "users", tmp_path, accounts=["a"], format=format)
    (one,) = result.lists
    assert (one.records, one.replaced, one.to_dict()["replaced"]) == (4, 2, 2)
    assert manifest(tmp_path)["lists"][0]["replaced"] == 2
    if format == "jsonl":
        first, second, *_ = lines(tmp_path)["users", "a"]
        assert (json.loads(first)["name"], json.loads(second)["name"]) == ("Ann \ufffd", "\U0001f600")
        assert b"ud83d\\ude00" in second, "a whole pair is as it was sent"
