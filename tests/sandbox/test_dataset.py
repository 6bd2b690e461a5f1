"""The made-up data: stable, varied, and consistent in itself."""

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from stackone_lms.sandbox import Sandbox
from stackone_lms.sandbox.store import TABLES

from .client import Client
from .conftest import SMALL, Start
from .test_reads import READABLE

_DIGEST = """
import hashlib
from stackone_lms.sandbox import Sandbox
sandbox = Sandbox(seed={seed}, users=20, courses=8, contents=30, assignments=60, completions=120)
digest = hashlib.sha256(repr(sandbox.account_ids).encode())
for account_id in sandbox.account_ids:
    for table in ("assignments", "categories", "completions", "content", "courses", "skills", "users"):
        for id in sandbox.ids(table, account_id):
            digest.update(repr(sandbox.record(table, id, account_id)).encode())
print(digest.hexdigest())
"""


def digest(seed: int, hash_seed: int) -> str:
    script = _DIGEST.format(seed=seed)
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


@pytest.mark.thorough
def test_same_seed_gives_the_same_data_in_any_process() -> None:
    assert digest(7, hash_seed=1) == digest(7, hash_seed=2)
    assert digest(7, hash_seed=1) != digest(8, hash_seed=1)


async def test_same_seed_gives_the_same_bytes(start: Start) -> None:
    first, second, other = [await start(seed=seed) for seed in (5, 5, 6)]
    for path in (*READABLE, f"completions/{first.sandbox.ids('completions')[0]}"):
        body = (await first.get(path, "raw=true")).body
        assert (await second.get(path, "raw=true")).body == body
        assert (await other.get(path, "raw=true")).body != body


async def test_what_is_written_to_one_sandbox_stays_there(start: Start) -> None:
    """They are made from the same copy."""
    first, second = [await start(seed=5) for _ in range(2)]
    ids = first.sandbox.ids("completions")
    user, course = [(await first.all(table))[0] for table in ("users", "courses")]
    body = {"learning_object_external_reference": course["external_reference"]}
    made = await first("POST", f"users/{user['id']}/completions", json=body)
    assert made.status == 201, made.body
    assert len(first.sandbox.ids("completions")) == len(ids) + 1
    for other in (second, await start(seed=5)):
        assert other.sandbox.ids("completions") == ids


def test_account_ids_depend_on_the_seed_only() -> None:
    few, many = Sandbox(seed=3, accounts=2, users=5, completions=10), Sandbox(seed=3, accounts=5)
    assert many.account_ids[:2] == few.account_ids
    assert many.inactive_account_id == few.inactive_account_id
    assert Sandbox(seed=4).account_ids != many.account_ids[:3]


def test_sizes_are_as_asked() -> None:
    sandbox = Sandbox(users=3, courses=4, contents=5, assignments=6, completions=7)
    sizes = {table: len(sandbox.ids(table)) for table in ("users", "courses", "content", "assignments", "completions")}
    assert sizes == {"users": 3, "courses": 4, "content": 5, "assignments": 6, "completions": 7}
    assert len(Sandbox().ids("completions")) == 5000


@pytest.mark.parametrize(
    "options",
    [{"users": 0}, {"courses": 0, "contents": 0}, {"users": -1, "assignments": 0, "completions": 0}, {"accounts": 0}],
)
def test_sizes_that_make_no_sense_are_refused(options: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"sizes|need|at least"):
        Sandbox(**options)


def test_empty_sandbox_is_possible() -> None:
    sandbox = Sandbox(users=0, courses=0, contents=0, assignments=0, completions=0)
    assert sandbox.ids("completions") == []


async def test_records_refer_to_each_other(start: Start) -> None:
    api = await start()
    for account in range(3):
        tables = {table: {item["id"]: item for item in await api.all(table, account=account)} for table in READABLE}
        for item in [*tables["assignments"].values(), *tables["completions"].values()]:
            assert item["remote_user_id"] == tables["users"][item["user_id"]]["remote_id"]
            kind = {"content": "content", "course": "courses"}[item["learning_object_type"]["value"]]
            learned = tables[kind][item["learning_object_id"]]
            assert item["remote_learning_object_id"] == learned["remote_id"]
            assert item["learning_object_external_reference"] == learned["external_reference"]
            if item["course_id"] is not None:
                assert item["remote_course_id"] == tables["courses"][item["course_id"]]["remote_id"]
            if item.get("content_id") is not None:
                assert item["content_id"] == item["learning_object_id"]
        for content in tables["content"].values():
            assert content["remote_course_ids"] == [tables["courses"][id]["remote_id"] for id in content["course_ids"]]
            for id in content["course_ids"]:
                assert content["id"] in tables["courses"][id]["content_ids"]
        for item in [*tables["content"].values(), *tables["courses"].values()]:
            for name in ("categories", "skills"):
                links: list[Any] = item[name] or []
                for link in links:
                    assert tables[name][link["id"]]["name"] == link["name"]


async def test_data_are_varied(api: Client) -> None:
    completions = await api.all("completions")
    results = {item["result"] and item["result"]["value"] for item in completions}
    assert results == {"Pass", "Fail", "unmapped_value", None}
    sources = {type(item["result"]["source_value"]).__name__ for item in completions if item["result"]}
    assert {"str", "int", "bool"} <= sources
    for name in ("score", "time_spent", "certificate_url", "unified_custom_fields", "content_id", "course_id"):
        assert len({item[name] is None for item in completions}) == 2, name
    assert any("proctored" in item for item in completions)
    users = await api.all("users", account=1) + await api.all("users", account=2)
    assert {item["active"] for item in users + await api.all("content")} == {True, False, "true", None}


async def test_moments_are_in_order_and_fixed(api: Client) -> None:
    for item in await api.all("completions"):
        moments = [item["created_at"], item["completed_at"], item["updated_at"], "2026-07-01T00:00:00.000Z"]
        assert moments == sorted(moments)
    changed = sorted(item["updated_at"] for item in await api.all("completions"))
    assert changed[0] < "2024-06"
    assert changed[-1] > "2025-12"


async def test_odd_values_come_only_if_asked_for(start: Start) -> None:
    plain, odd = await start(), await start(odd_values=True)
    assert {type(item["progress"]) for item in await plain.all("assignments")} <= {int, float}
    assert str in {type(item["progress"]) for item in await odd.all("assignments")}
    assert any("languages" in item["localizations"][0] for item in await odd.all("content"))


def test_records_are_copies() -> None:
    sandbox = Sandbox(**SMALL)
    id = sandbox.ids("users")[0]
    record = sandbox.record("users", id)
    record["name"] = "changed"
    assert sandbox.record("users", record["remote_id"])["name"] != "changed"


def test_unknown_resources_accounts_and_records_are_refused() -> None:
    sandbox = Sandbox(**SMALL)
    for arguments in (("nothing",), ("users", "acct_nobody"), ("users", sandbox.inactive_account_id)):
        with pytest.raises(ValueError, match="no such account, or no"):
            sandbox.ids(*arguments)
    with pytest.raises(KeyError):
        sandbox.record("users", "none")
    assert all(sandbox.ids(table) or table == "collections" for table in TABLES)
