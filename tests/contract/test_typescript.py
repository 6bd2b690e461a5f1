"""StackOne's own TypeScript client understands the sandbox's accounts, connect sessions and request logs."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from stackone_lms import SyncClient
from stackone_lms.sandbox import Sandbox

FOLDER = Path(__file__).parent / "typescript"

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed"),
    pytest.mark.skipif(
        not (FOLDER / "node_modules").exists(),
        reason="StackOne's client is not installed: npm install in tests/contract/typescript",
    ),
]


def test_the_official_client_understands_every_answer() -> None:
    with Sandbox.in_thread(users=3, courses=2, contents=2, assignments=0, completions=0) as sandbox:
        with SyncClient(sandbox.api_key, sandbox.account_ids[0], base_url=sandbox.url) as client:
            client.users.get(sandbox.ids("users")[0])
        done = subprocess.run(
            ["node", str(FOLDER / "accounts.cjs"), sandbox.url, sandbox.api_key],
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
            cwd=FOLDER,
        )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["listed"] == sandbox.account_ids[:2]
    assert seen["second"] == [["inactive", "disabled_by_user"], ["expired", "credentials_expired"]]
    assert (seen["one"]["id"], seen["one"]["originOwnerName"]) == (sandbox.account_ids[0], "Aldermoor Rail")
    assert (seen["meta"]["provider"], seen["meta"]["category"]) == ("kestrel", "lms")
    assert seen["session"] == ["customer-9", True, "Nine"]
    assert seen["log"] == ["users", 1, 200]
