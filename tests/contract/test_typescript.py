"""StackOne's own TypeScript client and the sandbox understand each other, and it writes what this package writes."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stackone_lms import SyncClient, UpsertContent
from stackone_lms.sandbox import Sandbox

FOLDER = Path(__file__).parent / "typescript"

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed"),
    pytest.mark.skipif(
        not (FOLDER / "node_modules").exists(),
        reason="StackOne's client is not installed: npm install in tests/contract/typescript",
    ),
]


def run(script: str, *arguments: str) -> Any:
    """Run a script with the official client, and return what it wrote as JSON."""
    done = subprocess.run(
        ["node", str(FOLDER / script), *arguments], capture_output=True, text=True, timeout=110, check=False, cwd=FOLDER
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def contents(sandbox: Sandbox) -> dict[str, Any]:
    """Return what can be written of all content of a sandbox, by its id."""
    with SyncClient(sandbox.api_key, sandbox.account_ids[0], base_url=sandbox.url, rate_limit=None) as client:
        found = {str(record.id): UpsertContent.of(record).to_dict() for record in client.content.list()}
    for record in found.values():
        del record["updated_at"]
    return found


def write_back(sandbox: Sandbox, *, whole: bool) -> list[int]:
    """Change the title of each record, write it back whole, and return the statuses."""
    statuses: list[int] = []
    with SyncClient(sandbox.api_key, sandbox.account_ids[0], base_url=sandbox.url, rate_limit=None) as client:
        for record in client.content.list().collect():
            title = f"{record.title} (edited)"
            changed = UpsertContent.of(record, title=title) if whole else record.to_dict() | {"title": title}
            statuses.append(client.content.upsert(changed).status)
    return statuses


SIZES: dict[str, Any] = {"users": 2, "courses": 10, "contents": 120, "assignments": 0, "completions": 0}


@pytest.mark.parametrize("whole", [True, False], ids=["as-bodies", "as-mappings"])
def test_both_clients_write_back_all_that_they_read(whole: bool) -> None:
    """120 records of the same data, each with another title, in two sandboxes: what is there afterwards is the same.

    But for what the official client loses: additional data whose value is a list.
    """
    with Sandbox.in_thread(seed=4, **SIZES) as theirs, Sandbox.in_thread(seed=4, **SIZES) as ours:
        before = contents(ours)
        assert contents(theirs) == before
        arguments = (theirs.url, theirs.api_key, theirs.account_ids[0])
        assert run("write_back.cjs", *arguments) == {"read": 120, "statuses": {"201": 120}}
        assert write_back(ours, whole=whole) == [201] * 120
        edited = {id: {**record, "title": f"{record['title']} (edited)"} for id, record in before.items()}
        assert contents(ours) == edited
        for id, record in contents(theirs).items():
            lost = edited[id].keys() - record.keys()
            assert lost <= {"additional_data"}
            assert record == {name: value for name, value in edited[id].items() if name not in lost}


def test_the_official_client_fails_where_a_replacement_is_answered_200() -> None:
    """So that the answer 201 is tested where it matters."""
    with Sandbox.in_thread(upsert_status=200, **SIZES) as sandbox, pytest.raises(AssertionError, match="200"):
        run("write_back.cjs", sandbox.url, sandbox.api_key, sandbox.account_ids[0])


def test_the_official_client_understands_every_answer() -> None:
    with Sandbox.in_thread(users=3, courses=2, contents=2, assignments=0, completions=0) as sandbox:
        with SyncClient(sandbox.api_key, sandbox.account_ids[0], base_url=sandbox.url) as client:
            client.users.get(sandbox.ids("users")[0])
        seen = run("accounts.cjs", sandbox.url, sandbox.api_key)
    assert seen["listed"] == sandbox.account_ids[:2]
    assert seen["second"] == [["inactive", "disabled_by_user"], ["expired", "credentials_expired"]]
    assert (seen["one"]["id"], seen["one"]["originOwnerName"]) == (sandbox.account_ids[0], "Aldermoor Rail")
    assert (seen["meta"]["provider"], seen["meta"]["category"]) == ("kestrel", "lms")
    assert seen["session"] == ["customer-9", True, "Nine"]
    assert seen["log"] == ["users", 1, 200]
