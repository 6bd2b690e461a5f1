"""What an export holds, and what happens when the API does not play along."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest

from stackone_lms import AsyncClient, SyncClient
from stackone_lms.errors import (
    ConnectError,
    ExportError,
    InvalidArgumentError,
    PreconditionFailedError,
    RequestTimeoutError,
)
from stackone_lms.export import ExportProgress, export, export_sync, verify
from stackone_lms.export.state.store import partition
from stackone_lms.sandbox import Sandbox

from .datasets import compact, lines, records, sent

ALL = ("assignments", "categories", "completions", "content", "courses", "skills", "users")


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "_manifest.json").read_bytes())
    return found


async def test_jsonl_holds_every_record_byte_by_byte(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """All resources of all accounts, each record once and exactly as the server sent it, in the server's order."""
    result = await export(client, ALL, tmp_path / "data", accounts=sandbox.account_ids, format="jsonl")
    assert result.ok
    assert records(tmp_path / "data") == sent(sandbox, *ALL)
    assert result.records == sum(sum(some.values()) for some in sent(sandbox, *ALL).values())
    for (resource, account), some in lines(tmp_path / "data").items():
        assert [json.loads(line)["id"] for line in some] == sandbox.ids(resource, account)


async def test_the_lists_of_users_name_the_user(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """Every user's list is read, and its records tell whose it was, whether or not they do so themselves."""
    target = tmp_path / "data"
    await export(client, "users.completions", target, accounts=sandbox.account_ids, format="jsonl", page_size=3)
    for account in sandbox.account_ids:
        found = [json.loads(line) for line in lines(target)["users.completions", account]]
        assert Counter(one["id"] for one in found) == Counter(sandbox.ids("completions", account))
        assert all(one.pop("of_user_id") == one["user_id"] for one in found)
        assert {compact(one) for one in found} == set(sent(sandbox, "completions")["completions", account])


async def test_the_lists_of_chosen_users_only(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """`users` narrows the lists of users; one that is not there is counted and stops nothing."""
    account = sandbox.account_ids[0]
    chosen = sandbox.ids("users")[3:5]
    target = tmp_path / "data"
    users = [chosen[0], "not-there", chosen[1]]
    result = await export(client, "users.assignments", target, accounts=[account], format="jsonl", users=users)
    found = [json.loads(line) for line in lines(target)["users.assignments", account]]
    expected = [sandbox.record("assignments", id) for id in sandbox.ids("assignments")]
    assert {one["id"] for one in found} == {one["id"] for one in expected if one["user_id"] in chosen}
    assert manifest(target)["lists"][0]["missing_users"] == result.lists[0].missing_users == 1


async def test_fields_and_since_narrow_what_is_asked_for(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """`fields` brings id and updated_at along, `since` takes a date or a moment."""
    account = sandbox.account_ids[0]
    target, since = tmp_path / "data", "2025-06-01"
    await export(client, "users", target, accounts=[account], format="jsonl", fields=["name"], since=since)
    found = [json.loads(line) for line in lines(target)["users", account]]
    everybody = [sandbox.record("users", id) for id in sandbox.ids("users")]
    expected = [one for one in everybody if one["updated_at"] > since]
    assert 0 < len(expected) < len(everybody)
    assert found == [{name: one[name] for name in ("id", "remote_id", "name", "updated_at") if name in found[0]}
                     for one in expected]  # fmt: skip
    assert set(found[0]) == {"id", "name", "updated_at"}


async def test_raw_keeps_the_provider_calls(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """With `raw` the calls behind the pages are a resource of their own, one a page."""
    account = sandbox.account_ids[0]
    result = await export(client, "users", tmp_path / "data", accounts=[account], format="jsonl", raw=True, page_size=5)
    assert result.ok
    calls = [json.loads(line) for line in lines(tmp_path / "data")["users.calls", account]]
    assert all(set(call) == {"method", "url", "body", "response"} for call in calls)
    assert sum(len(call["response"]["items"]) for call in calls) == len(sandbox.ids("users"))
    assert verify(tmp_path / "data").ok


async def test_a_failing_account_does_not_stop_the_others(
    client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The others are complete; the failure tells its reason and the id of the request."""
    accounts = [*sandbox.account_ids, sandbox.inactive_account_id]
    result = await export(client, ["users", "courses"], tmp_path / "data", accounts=accounts, format="jsonl")
    assert not result.ok
    assert {one.account_id for one in result.failures} == {sandbox.inactive_account_id}
    error = result.failures[0].error
    assert isinstance(error, PreconditionFailedError)
    assert error.request_id
    assert records(tmp_path / "data") == sent(sandbox, "users", "courses")
    found = manifest(tmp_path / "data")
    assert found["complete"] is False
    reasons = {entry["account_id"]: entry["error"] for entry in found["lists"]}
    assert reasons[sandbox.inactive_account_id]["request_id"]
    assert reasons[sandbox.inactive_account_id]["status"] == 412
    assert reasons[sandbox.account_ids[0]] is None
    before = sandbox.request_count
    options: dict[str, Any] = {"accounts": accounts, "format": "jsonl"}
    await export(client, ["users", "courses"], tmp_path / "data", retry_failed=True, **options)
    assert sandbox.request_count - before == 2, "only the two lists that failed are asked for again"
    await export(client, ["users", "courses"], tmp_path / "data", **options)
    assert sandbox.request_count - before == 8, "the run was over: another one asks for everything"


async def test_an_outage_is_survived(sandbox: Sandbox, tmp_path: Path) -> None:
    """The server goes away in the middle; when it is back, `retry_failed` goes on at the page that failed."""
    account, target = sandbox.account_ids[0], tmp_path / "data"
    pages = 0

    def stop_after_three(progress: ExportProgress) -> None:
        nonlocal pages
        pages += progress.state == "fetching"
        if pages == 4:
            sandbox.fail_next(503, times=100)

    async with AsyncClient(sandbox.api_key, base_url=sandbox.url, rate_limit=None) as client:
        options: dict[str, Any] = {"accounts": [account], "format": "jsonl", "page_size": 25}
        failed = await export(client, "completions", target, progress=stop_after_three, **options)
        assert not failed.ok
        assert 0 < failed.failures[0].fetched < 330
    sandbox.reset()
    async with AsyncClient(sandbox.api_key, base_url=sandbox.url, rate_limit=None) as client:
        again = await export(client, "completions", target, retry_failed=True, **options)
    assert again.ok
    assert records(target)["completions", account] == sent(sandbox, "completions")["completions", account]
    assert sandbox.request_count < 330 / 25 + 8, "the pages that were there are not fetched again"


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    """Every list tells so, and the manifest says that nothing is complete."""
    async with AsyncClient("key", base_url="http://127.0.0.1:1") as client:
        result = await export(client, "users", tmp_path, accounts=["a"], format="jsonl")
    assert isinstance(result.failures[0].error, ConnectError)
    assert manifest(tmp_path)["complete"] is False
    assert verify(tmp_path).records == 0


async def test_an_expired_cursor_starts_its_list_again(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """A cursor that the server does not know any more costs a restart of that list, and doubles nothing."""
    account, target = sandbox.account_ids[0], tmp_path / "data"
    options: dict[str, Any] = {"accounts": [account], "format": "jsonl", "page_size": 25, "raw": True}
    seen: list[int] = []

    def expire(progress: ExportProgress) -> None:
        seen.append(progress.records)
        if len(seen) == 6:
            sandbox.fail_next(400, times=1)

    result = await export(client, "completions", target, progress=expire, **options)
    assert result.ok
    assert records(target)["completions", account] == sent(sandbox, "completions")["completions", account]
    calls = lines(target)["completions.calls", account]
    assert sum(len(json.loads(call)["response"]["items"]) for call in calls) == 330
    assert seen != sorted(seen), "it did start again"


async def test_an_error_that_is_no_expired_cursor_keeps_what_is_there(
    client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """An account that refuses the first page too fails as such, and goes on later at its cursor."""
    account, target = sandbox.account_ids[0], tmp_path / "data"
    options: dict[str, Any] = {"accounts": [account], "format": "jsonl", "page_size": 25}
    pages = 0

    def refuse(progress: ExportProgress) -> None:
        nonlocal pages
        pages += 1
        if pages == 6:
            sandbox.fail_next(400, times=3)

    failed = await export(client, "completions", target, progress=refuse, **options)
    assert failed.failures[0].fetched > 0
    sandbox.reset()
    assert (await export(client, "completions", target, retry_failed=True, **options)).ok
    assert sandbox.request_count < 20, "a whole list takes 22 requests"


@pytest.mark.parametrize("status", [503, 400])
async def test_the_lists_of_users_go_on_in_the_middle_of_one(
    status: int, client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """An outage, or a cursor that expired: the users that were read are not read again, and nothing comes twice."""
    account, target = sandbox.account_ids[0], tmp_path / "data"
    options: dict[str, Any] = {"accounts": [account], "format": "jsonl", "page_size": 4, "raw": True}
    told: list[int] = []

    def fail(progress: ExportProgress) -> None:
        told.append(progress.records)
        if len(told) == 25:
            sandbox.fail_next(status, times=1 if status == 400 else 30, path_contains="completions")

    first = await export(client, "users.completions", target, progress=fail, **options)
    assert first.ok == (status == 400)
    if status == 503:
        sandbox.reset()
        assert (await export(client, "users.completions", target, retry_failed=True, **options)).ok
        going_on = sandbox.request_count
        await export(client, "users.completions", tmp_path / "whole", **options)
        assert 0 < going_on < sandbox.request_count - going_on - 20
    found = [json.loads(line) for line in lines(target)["users.completions", account]]
    assert Counter(one["id"] for one in found) == Counter(sandbox.ids("completions", account))
    calls = [json.loads(line) for line in lines(target)["users.completions.calls", account]]
    assert sum(len(call["response"]["items"]) for call in calls) == 330


async def test_a_file_system_without_hard_links(
    client: AsyncClient, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the lines are copied."""

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError

    monkeypatch.setattr("os.link", refuse)
    await export(client, "users", tmp_path, accounts=sandbox.account_ids, format="jsonl")
    assert records(tmp_path) == sent(sandbox, "users")
    assert verify(tmp_path).ok


async def test_a_damaged_note_of_an_unfinished_run(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """It is not guessed how far the run was: everything is fetched."""
    options: dict[str, Any] = {"accounts": sandbox.account_ids, "format": "jsonl"}
    (tmp_path / ".export").mkdir()
    (tmp_path / ".export" / "run.json").write_bytes(b"{")
    assert (await export(client, "users", tmp_path, **options)).ok
    assert records(tmp_path) == sent(sandbox, "users")


@pytest.mark.parametrize(
    ("since", "asked"),
    [
        ("2026-01-31", "2026-01-31T00:00:00.000Z"),
        ("2026-01-31T10:00:00+02:00", "2026-01-31T08:00:00.000Z"),
        (date(2026, 1, 31), "2026-01-31T00:00:00.000Z"),
        (datetime(2026, 1, 31, 10, tzinfo=UTC), "2026-01-31T10:00:00.000Z"),
    ],
)
async def test_since_in_every_form(
    since: Any, asked: str, client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """What has no zone counts in UTC."""
    await export(client, "users", tmp_path, accounts=sandbox.account_ids[:1], format="jsonl", since=since)
    assert {unquote(one.query).partition("filter[updated_after]=")[2] for one in sandbox.requests} == {asked}


async def test_two_exports_to_one_target(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """The second one refuses, and does not disturb the first."""
    target = tmp_path / "data"

    async def one() -> bool:
        return (await export(client, ALL, target, accounts=sandbox.account_ids, format="jsonl")).ok

    both = await asyncio.gather(one(), one(), return_exceptions=True)
    assert sorted(type(each).__name__ for each in both) == ["ExportError", "bool"]
    assert "another export is writing" in str(next(each for each in both if isinstance(each, ExportError)))
    assert records(target) == sent(sandbox, *ALL)


@pytest.mark.skipif(sys.platform == "win32", reason="holds the lock with flock")
async def test_the_lock_holds_between_processes(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """An exporter of another process is seen too, and its end frees the target."""
    (tmp_path / ".export").mkdir()
    hold = "import fcntl, os, sys; f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"  # noqa: E501
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path / ".export" / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(ExportError, match="another export is writing"):
            await export(client, "users", tmp_path, accounts=sandbox.account_ids, format="jsonl")
        other.kill()
    assert (await export(client, "users", tmp_path, accounts=sandbox.account_ids, format="jsonl")).ok


async def test_a_finished_target_takes_more_resources(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """What was there stays in the manifest; what is exported again is replaced."""
    for resources in (["users"], ["users", "courses"], ["skills"]):
        await export(client, resources, tmp_path, accounts=sandbox.account_ids, format="jsonl")
    assert records(tmp_path) == sent(sandbox, "users", "courses", "skills")
    assert verify(tmp_path) == msgspec.structs.replace(verify(tmp_path), files=6, problems=[])


async def test_one_folder_has_one_format(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """Files of two formats in one data set would be read by nobody."""
    await export(client, "users", tmp_path, accounts=sandbox.account_ids, format="jsonl")
    with pytest.raises(ExportError, match="the target holds jsonl, not csv"):
        await export(client, "users", tmp_path, accounts=sandbox.account_ids, format="csv")


@pytest.mark.parametrize(
    "options",
    [
        {"resources": "people"},
        {"resources": []},
        {"accounts": []},
        {"accounts": "abc"},
        {"format": "xlsx"},
        {"since": "yesterday"},
        {"since": "2026-01-01", "incremental": True},
        {"page_size": 0},
        {"users": ["u"]},
        {"target": ""},
        {"target": "sqlite:"},
    ],
)
async def test_what_cannot_be_done_is_refused_before_any_request(
    options: dict[str, Any], client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A mistake in the options is an InvalidArgumentError, and nothing is sent or written."""
    given: dict[str, Any] = {
        "resources": "users",
        "target": tmp_path / "data",
        "accounts": sandbox.account_ids,
        **options,
    }
    with pytest.raises(InvalidArgumentError):
        await export(client, given.pop("resources"), given.pop("target"), **given)
    assert sandbox.request_count == 0
    assert not (tmp_path / "data").exists()


async def test_an_unknown_option_is_a_type_error(client: AsyncClient, tmp_path: Path) -> None:
    """As with any function."""
    odd: dict[str, Any] = {"accounts": ["a"], "colour": "red"}
    with pytest.raises(TypeError, match="colour"):
        await export(client, "users", tmp_path, **odd)


async def test_former_names_are_taken_for_one_release_more(
    client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Options and outcomes answer to what they were called before; both names at once are refused."""
    former: dict[str, Any] = {"accounts_at_once": 1, "commit_seconds": 0.5}
    result = await export(client, "users", tmp_path, accounts=sandbox.account_ids, format="jsonl", **former)
    (one, _) = result.lists
    assert (one.dropped, one.gone_users) == (one.superseded, one.missing_users)
    with pytest.raises(TypeError, match="both of its names"):
        await export(client, "users", tmp_path, accounts=["a"], commit_interval=1.0, **former)


async def test_a_shifting_list_gives_every_record_once_in_its_last_version(
    client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Records that come twice, since others were added in front meanwhile, stand in the file once: the newest, or
    of two with the same moment the one that came last."""
    account = sandbox.account_ids[0]
    old = [{"id": f"u{n}", "updated_at": "2026-01-01T00:00:00.000Z", "n": "old"} for n in range(6)]
    new = [{**old[2], "updated_at": "2026-01-02T00:00:00.000Z", "n": "new"}, {**old[1], "n": "again"}]
    stale = {**old[0], "updated_at": "2025-12-31T00:00:00.000Z", "n": "stale"}
    pages = {None: ("c1", old[:3]), "c1": ("c2", [*new, stale]), "c2": (None, old[3:4])}

    async with Canned(pages) as url, AsyncClient("key", base_url=url) as other:
        result = await export(other, "users", tmp_path, accounts=[account], format="jsonl")
    found = {one["id"]: one["n"] for one in map(json.loads, lines(tmp_path)["users", account])}
    assert found == {"u0": "old", "u1": "again", "u2": "new", "u3": "old"}
    assert (result.lists[0].records, result.lists[0].fetched, result.lists[0].superseded) == (4, 7, 3)


class Canned:
    """A server of one list; it writes the text `1e400` as a number."""

    def __init__(self, pages: Mapping[Any, tuple[str | None, list[Any]]], resource: str = "users") -> None:
        self._pages, self._resource = pages, resource

    async def __aenter__(self) -> str:
        from aiohttp import web

        async def answer(request: web.Request) -> web.Response:
            following, data = self._pages[request.query.get("next")]
            text = json.dumps({"next": following, "data": data}).replace('"1e400"', "1e400")
            return web.json_response(text=text)

        app = web.Application()
        app.router.add_get(f"/unified/lms/{self._resource}", answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


def test_the_same_from_code_without_asyncio(sandbox: Sandbox, tmp_path: Path) -> None:
    """`export_sync` takes a SyncClient and returns the result."""
    with SyncClient(sandbox.api_key, base_url=sandbox.url, rate_limit=None) as client:
        result = export_sync(client, "users", tmp_path, accounts=sandbox.account_ids, format="jsonl")
    assert result.ok
    assert records(tmp_path) == sent(sandbox, "users")


async def test_progress_is_told_page_by_page(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """Every list says that it is being fetched, how far it is, that it is written, and that it is done."""
    told: list[ExportProgress] = []
    account = sandbox.account_ids[0]
    await export(client, "courses", tmp_path, accounts=[account], format="jsonl", page_size=3, progress=told.append)
    assert [one.state for one in told][-2:] == ["writing", "done"]
    assert [one.records for one in told] == sorted(one.records for one in told)
    assert {one.total for one in told if one.state == "fetching" and one.records} == {8}
    assert account in repr(told)


def test_account_ids_become_safe_folder_names() -> None:
    """Whatever an account id holds, its folder stands where it should, and has a name of allowed length."""
    for account in ("../../etc", "a/b", "a=b c%", "\u00e9\u4e2d", ".", "..", "x" * 5000, "y" * 5000):
        folder = partition("users", account)
        assert folder.parts[0] == "resource=users"
        assert len(folder.parts) == 2
        assert len(folder.name) < 250
    assert partition("users", "x" * 5000) != partition("users", "x" * 4999 + "y")


async def test_the_manifest_tells_what_there_is(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """Counts, the span of the changes, parameters, version and checksums; `verify` finds every difference."""
    account = sandbox.account_ids[0]
    await export(client, "users", tmp_path, accounts=[account], format="jsonl")
    found = manifest(tmp_path)
    (entry,) = found["lists"]
    updates = sorted(sandbox.record("users", id)["updated_at"] for id in sandbox.ids("users"))
    assert (entry["records"], entry["oldest_update"], entry["newest_update"]) == (20, updates[0], updates[-1])
    assert found["parameters"]["resources"] == ["users"]
    assert found["sdk"]
    path = tmp_path / entry["files"][0]["path"]
    whole = path.read_bytes()
    for damage, told in (
        (lambda: path.write_bytes(whole[:-1] + b" "), "not as it was written"),
        (lambda: path.write_bytes(whole + b"{}\n"), "not as it was written"),
        (path.unlink, "missing"),
    ):
        damage()
        assert [problem for problem in verify(tmp_path).problems if told in problem], told
        path.write_bytes(whole)
    path.with_name("part-1.jsonl").write_bytes(b"")
    assert "not part of the export" in verify(tmp_path).problems[0]


def test_a_folder_without_a_manifest_cannot_be_verified(tmp_path: Path) -> None:
    """It is said so; and a file of the same name that is something else is no manifest."""
    with pytest.raises(ExportError, match=r"no _manifest\.json"):
        verify(tmp_path)
    for other in (b"[]", b"\xff", b'{"version": 99, "sdk": "", "format": "csv"}'):
        (tmp_path / "_manifest.json").write_bytes(other)
        with pytest.raises(ExportError, match="_manifest"):
            verify(tmp_path)


async def test_a_page_that_takes_too_long_is_told(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """A 408 on a big page fails that list as what it is."""
    sandbox.fail_next(408, times=2)
    result = await export(client, "users", tmp_path, accounts=sandbox.account_ids[:1], format="jsonl")
    assert isinstance(result.failures[0].error, RequestTimeoutError)
