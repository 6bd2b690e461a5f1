"""Incremental runs: only what changed is fetched, and the target is what a full export would make of it."""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from stackone_lms import AsyncClient
from stackone_lms.errors import ExportError
from stackone_lms.export import export, verify
from stackone_lms.export.formats.base import Table
from stackone_lms.export.formats.registry import formats
from stackone_lms.models import User
from stackone_lms.sandbox import Sandbox

from ..soak import further
from .datasets import records, rows_in, sent, table_of
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


@pytest.mark.parametrize("format", ["parquet", *further("jsonl", "csv")])
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
        found[path.relative_to(folder).as_posix()] = sorted(rows_in(path))
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


ODD: list[Any] = [
    {"id": None, "name": "x", "updated_at": "2026-01-01T00:00:00.000Z"},
    {"id": None, "name": "x", "updated_at": "2026-01-01T00:00:00.000Z"},
    {"name": "y", "updated_at": "2026-01-01T00:00:00.123456Z", "unified_custom_fields": {"a": [1, 2.5]}},
    [1],
    {"id": "u", "updated_at": "2026-01-01T00:00:00.000Z", "ratio": "1e400"},
]


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet"])
async def test_records_without_an_id_are_known_again(format: str, tmp_path: Path) -> None:
    """By their content: they are not added again, and neither is one with a number that nothing can hold."""
    async with Canned({None: (None, ODD)}) as url, AsyncClient("key", base_url=url) as client:
        for incremental in (False, True, True):
            result = await export(client, "users", tmp_path, accounts=["a"], format=format, incremental=incremental)
            assert result.records == len(ODD)
        assert manifest(tmp_path)["lists"][0]["new"] == 0
        assert manifest(tmp_path)["lists"][0]["changed"] == 0
    async with Canned({None: (None, [*ODD[1:], ODD[0], ODD[0]])}) as url, AsyncClient("key", base_url=url) as client:
        result = await export(client, "users", tmp_path, accounts=["a"], format=format, incremental=True)
    assert result.records == len(ODD) + 1
    assert verify(tmp_path).ok


@pytest.mark.parametrize("format", ["csv", "parquet"])
async def test_rows_of_files_tell_which_run_changed_them_last(format: str, tmp_path: Path) -> None:
    """A row that did not change keeps its run, in a full run and in an incremental one; the manifest counts."""
    one, two = ({"id": n, "name": "x, y", "updated_at": "2026-01-01T00:00:00.000Z"} for n in "12")
    none = {"name": "without", "updated_at": "2026-01-01T00:00:00.000Z"}
    runs: list[dict[Any, Any]] = []
    moments: list[dict[Any, Any]] = []
    counts: list[tuple[int, int]] = []
    for sent_now, incremental in (
        ([one, two, none], False),
        ([none, {**two, "name": "y"}, one], False),
        ([one, {**two, "name": "z"}, {"id": "3"}, none], True),
        ([{"id": "3"}, one, {**two, "name": "z"}, none, {**two, "name": "old", "updated_at": None}], False),
    ):
        async with Canned({None: (None, sent_now)}) as url, AsyncClient("key", base_url=url) as client:
            await export(client, "users", tmp_path, accounts=["a"], format=format, incremental=incremental)
        (path,) = tmp_path.glob("resource=*/*/part-0.*")
        rows: list[dict[str, Any]] = []
        for columns in formats()[format].columns(path, Table(User, "a"), ["id", "_run", "_exported_at"]):
            rows += [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        runs.append({row["id"]: row["_run"] for row in rows})
        moments.append({row["id"]: row["_exported_at"] for row in rows})
        (entry,) = manifest(tmp_path)["lists"]
        counts.append((entry["new"], entry["changed"]))
    assert counts[:3] == [(3, 0), (0, 1), (1, 1)]
    first, second, third = runs[0]["1"], runs[1]["2"], runs[2]["3"]
    assert len({first, second, third}) == 3
    assert runs[:3] == [
        {"1": first, "2": first, None: first},
        {"1": first, "2": second, None: first},
        {"1": first, "2": third, "3": third, None: first},
    ]
    assert {id: runs[3][id] for id in ("1", "3", None)} == {"1": first, "3": third, None: first}
    assert moments[2]["1"] == moments[0]["1"] < moments[1]["2"] < moments[2]["3"]


async def test_json_lines_are_counted_and_carry_no_run(tmp_path: Path) -> None:
    """They stay as they were sent; the manifest tells what was new and what changed."""
    one, two = ({"id": n, "updated_at": "2026-01-01T00:00:00.000Z"} for n in "12")
    counts: list[tuple[int, int]] = []
    for sent_now, incremental in (
        ([one, two], False),
        ([one, {**two, "name": "y"}], False),
        ([one, {**two, "name": "z"}, {"id": "3"}], True),
        ([one, one, {**two, "name": "z"}], False),
    ):
        async with Canned({None: (None, sent_now)}) as url, AsyncClient("key", base_url=url) as client:
            await export(client, "users", tmp_path, accounts=["a"], format="jsonl", incremental=incremental)
        (entry,) = manifest(tmp_path)["lists"]
        counts.append((entry["new"], entry["changed"]))
    assert counts == [(2, 0), (0, 1), (1, 1), (0, 0)]
    (body,) = tmp_path.glob("resource=*/*/part-0.jsonl")
    assert "_run" not in body.read_text()


@pytest.mark.parametrize("format", ["csv", "parquet"])
async def test_files_with_fewer_columns_grow(format: str, tmp_path: Path) -> None:
    """An older version wrote them, before a model had a field, and rows told their run: what is missing is null."""
    one, two = ({"id": n, "email": f"{n}@x", "updated_at": "2026-01-01T00:00:00.000Z"} for n in "12")
    async with Canned({None: (None, [one, two])}) as url, AsyncClient("key", base_url=url) as client:
        await export(client, "users", tmp_path, accounts=["a"], format=format)
    forget_columns(tmp_path, "email", "_exported_at", "_run")
    async with Canned({None: (None, [two])}) as url, AsyncClient("key", base_url=url) as client:
        await export(client, "users", tmp_path, accounts=["a"], format=format, incremental=True)
    (path,) = tmp_path.glob("resource=*/*/part-0.*")
    names = ["id", "email", "_run"]
    ((found),) = formats()[format].columns(path, Table(User, "a"), names)
    assert (found["id"], found["email"]) == (["1", "2"], [None, "2@x"])
    assert found["_run"][0] is None
    assert found["_run"][1] is not None


def forget_columns(folder: Path, *names: str) -> None:
    """Take columns out of the file of a list, as if it had been written before there were any."""
    (path,) = folder.glob("resource=*/*/part-0.*")
    if path.suffix == ".parquet":
        parquet = import_module("pyarrow.parquet")
        parquet.write_table(table_of(path).drop_columns(list(names)), path)
    else:
        head, *rows = (line.split(",") for line in path.read_text().splitlines())
        kept = [place for place, name in enumerate(head) if name not in names]
        path.write_text("".join(",".join(row[place] for place in kept) + "\n" for row in (head, *rows)))
    about = manifest(folder)
    about["lists"][0]["files"][0] |= {
        "bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }  # fmt: skip
    (folder / "_manifest.json").write_text(json.dumps(about))


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("harm", ["cut", "changed", "gone"])
async def test_a_full_run_does_not_care_for_damaged_files(harm: str, format: str, tmp_path: Path) -> None:
    """It replaces them; what they held is not known, so all records are new."""
    users = [{"id": str(n), "updated_at": "2026-01-01T00:00:00.000Z"} for n in range(50)]
    async with Canned({None: (None, users)}) as url, AsyncClient("key", base_url=url) as client:
        await export(client, "users", tmp_path, accounts=["a"], format=format)
        damage(tmp_path, harm)
        assert (await export(client, "users", tmp_path, accounts=["a"], format=format)).ok
    assert verify(tmp_path).ok
    assert manifest(tmp_path)["lists"][0]["new"] == 50


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("harm", ["cut", "changed", "gone"])
async def test_nothing_is_merged_with_a_damaged_file(harm: str, format: str, tmp_path: Path) -> None:
    """That list is fetched whole, and told; also if the size is right and a single bit is not."""
    users = [{"id": str(n), "updated_at": "2026-01-01T00:00:00.000Z"} for n in range(50)]
    async with Canned({None: (None, users)}) as url, AsyncClient("key", base_url=url) as client:
        await export(client, "users", tmp_path, accounts=["a"], format=format)
        damage(tmp_path, harm)
        result = await export(client, "users", tmp_path, accounts=["a"], format=format, incremental=True)
    assert result.ok
    assert ("gone" if harm == "gone" else "not as it was written") in str(result.lists[0].whole_because)
    assert manifest(tmp_path)["lists"][0]["incremental"] is False
    assert verify(tmp_path).records == 50
    assert verify(tmp_path).ok


def damage(folder: Path, harm: str) -> None:
    """Do something to the file of a list that a disk, or somebody, may do."""
    (path,) = folder.glob("resource=*/*/part-0.*")
    body = path.read_bytes()
    if harm == "gone":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(body[: body.rindex(b"\n", 0, len(body) // 2) + 1] if b"\n" in body else body[: len(body) // 2])
    else:
        middle = len(body) // 2
        path.write_bytes(body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :])
