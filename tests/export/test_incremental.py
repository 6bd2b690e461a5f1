"""Incremental runs: only what changed is fetched, and the target is what a full export would make of it."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from stackone_lms import AsyncClient
from stackone_lms.errors import ExportError
from stackone_lms.export import export, verify
from stackone_lms.sandbox import Sandbox

from .datasets import records, sent, table_of
from .test_export import Canned, manifest


async def change(client: AsyncClient, sandbox: Sandbox) -> None:
    """Add two completions and change a content of the first account."""
    view = client.with_options(account_id=sandbox.account_ids[0])
    content = sandbox.record("content", sandbox.ids("content")[0])
    for user in sandbox.ids("users")[:2]:
        await view.users.completions.create(
            user, learning_object_external_reference=content["external_reference"], result="Pass"
        )
    with pytest.warns(DeprecationWarning, match="left the StackOne API"):
        await view.content.update(content["id"], external_reference=content["external_reference"], title="A new title")


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet"])
async def test_changes_are_merged_in(format: str, client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """New and changed records, and those in the overlap, end up once; all else stays as it is, bit by bit."""
    options: dict[str, Any] = {"accounts": sandbox.account_ids, "format": format}
    resources = ["completions", "content", "users", "users.completions"]
    await export(client, resources, tmp_path / "data", **options)
    await change(client, sandbox)
    before = sandbox.request_count
    result = await export(client, resources, tmp_path / "data", incremental=True, **options)
    assert sandbox.request_count - before < 70
    fetched = {(one.resource, one.account_id): one.fetched for one in result.lists}
    first = sandbox.account_ids[0]
    assert 2 <= fetched["completions", first] < 30
    assert 2 <= fetched["users.completions", first] < 30
    assert verify(tmp_path / "data").ok
    await export(client, resources, tmp_path / "fresh", **options)
    assert content_of(tmp_path / "data") == content_of(tmp_path / "fresh")
    assert {entry["incremental"] for entry in manifest(tmp_path / "data")["lists"]} == {True}


def content_of(folder: Path) -> dict[str, Any]:
    """Return the records of every file, in an order of their own."""
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("resource=*/account=*/part-0.*")):
        if path.suffix == ".parquet":
            rows = [repr(row) for row in table_of(path).to_pylist()]
        else:
            rows = path.read_text().splitlines()
        found[path.relative_to(folder).as_posix()] = sorted(rows)
    return found


async def test_the_overlap_reaches_back_behind_the_newest_change(
    client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """`updated_after` is the newest change known less the overlap, for each account by itself."""
    options: dict[str, Any] = {"accounts": sandbox.account_ids, "format": "jsonl"}
    await export(client, "users", tmp_path, **options)
    newest = {entry["account_id"]: entry["newest_update"] for entry in manifest(tmp_path)["lists"]}
    sandbox.requests.clear()
    await export(client, "users", tmp_path, incremental=True, overlap=timedelta(0), **options)
    asked = {one.headers["x-account-id"]: unquote(one.query) for one in sandbox.requests}
    assert all(f"filter[updated_after]={newest[account]}" in query for account, query in asked.items())
    sandbox.requests.clear()
    await export(client, "users", tmp_path, incremental=True, overlap=timedelta(days=1), **options)
    asked = {one.headers["x-account-id"]: unquote(one.query) for one in sandbox.requests}
    assert not any(newest[account] in query for account, query in asked.items())
    assert all("filter[updated_after]=" in query for query in asked.values())


async def test_a_deletion_cannot_be_seen(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """The API does not tell what was deleted: an incremental run keeps it, a full one drops it."""
    account = sandbox.account_ids[0]
    options: dict[str, Any] = {"accounts": [account], "format": "jsonl"}
    await export(client, "completions", tmp_path, **options)
    gone = sandbox.record("completions", sandbox.ids("completions")[5])
    await client.with_options(account_id=account).users.completions.delete(gone["user_id"], gone["id"])
    await export(client, "completions", tmp_path, incremental=True, **options)
    kept = [json.loads(line)["id"] for line in records(tmp_path)["completions", account]]
    assert gone["id"] in kept
    await export(client, "completions", tmp_path, **options)
    assert records(tmp_path)["completions", account] == sent(sandbox, "completions")["completions", account]


async def test_lists_without_moments_are_fetched_whole(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """Skills and categories have no `updated_at`: there is nothing to ask for changes by."""
    options: dict[str, Any] = {"accounts": sandbox.account_ids, "format": "jsonl"}
    for incremental in (False, True):
        await export(client, ["skills", "categories"], tmp_path, incremental=incremental, **options)
    assert records(tmp_path) == sent(sandbox, "skills", "categories")


async def test_what_is_new_is_fetched_whole(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """An incremental run into an empty target, or with another account or resource, is a full export of that."""
    first, second = sandbox.account_ids
    await export(client, "users", tmp_path, accounts=[first], format="jsonl", incremental=True)
    options: dict[str, Any] = {"accounts": [first, second], "format": "jsonl"}
    await export(client, ["users", "courses"], tmp_path, incremental=True, **options)
    assert records(tmp_path) == sent(sandbox, "users", "courses")


@pytest.mark.parametrize("changed", [{"fields": "name"}, {"raw": True}])
async def test_changes_have_to_fit_to_what_is_there(
    changed: dict[str, Any], client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Changes with other fields would make a file of two kinds of records: the list is fetched whole, and says why."""
    options: dict[str, Any] = {"accounts": sandbox.account_ids, "format": "jsonl"}
    await export(client, "users", tmp_path / "data", **options)
    result = await export(client, "users", tmp_path / "data", incremental=True, **options, **changed)
    assert result.ok
    for one in result.lists:
        assert "exported with other options" in (one.whole_because or "")
        assert next(iter(changed)) in (one.whole_because or "")
    await export(client, "users", tmp_path / "fresh", **options, **changed)
    assert records(tmp_path / "data") == records(tmp_path / "fresh")


async def test_a_clock_that_runs_ahead_hides_nothing(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """A record changed in the future, by a provider's clock, does not move the mark beyond the run."""
    pages = {None: (None, [{"id": "u", "updated_at": "2999-01-01T00:00:00.000Z"}])}
    async with Canned(pages) as url, AsyncClient("key", base_url=url) as other:
        await export(other, "users", tmp_path, accounts=["a"], format="jsonl")
    (entry,) = manifest(tmp_path)["lists"]
    assert entry["newest_update"].startswith("2999")
    assert entry["high_water"] <= entry["finished"]


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet"])
async def test_provider_calls_add_up(format: str, client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """They have no id: those of every run stay, once, until a run without them drops them."""
    options: dict[str, Any] = {"accounts": sandbox.account_ids[:1], "format": format}
    counts: list[int] = []
    for incremental in (False, True, True):
        await export(client, "users", tmp_path, incremental=incremental, raw=True, **options)
        assert verify(tmp_path).ok
        counts.append(manifest(tmp_path)["lists"][0]["files"][1]["records"])
    assert counts == [counts[0], counts[0] + 1, counts[0] + 2]
    await export(client, "users", tmp_path, **options)
    assert verify(tmp_path).ok
    assert not list(tmp_path.glob("resource=users.calls/*/*"))


async def test_a_lost_manifest_is_not_guessed(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """If the manifest goes away in the middle of an incremental run, the changes are not taken for everything."""
    options: dict[str, Any] = {"accounts": sandbox.account_ids, "format": "jsonl"}
    await export(client, "users", tmp_path, **options)

    def fail(progress: Any) -> None:
        if progress.state == "writing":
            shutil.move(tmp_path / "_manifest.json", tmp_path / ".export" / "moved")
            raise ExportError("the end")

    with pytest.raises(ExportError, match="the end"):
        await export(client, "users", tmp_path, incremental=True, progress=fail, **options)
    await export(client, "users", tmp_path, incremental=True, **options)
    assert records(tmp_path) == sent(sandbox, "users")
