"""The accounts that were seen last: offered by the shell, and names in exports; never a request for them."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from stackone_lms.sandbox import Sandbox

from .program import Environment, Run, environment, runner, settings
from .test_completion import offered

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the file has another place")


@pytest.fixture
def variables(sandbox: Sandbox, tmp_path: Path) -> Environment:
    return {**settings(sandbox), "XDG_CACHE_HOME": str(tmp_path / "cache")}


@pytest.fixture
def run(variables: Environment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(monkeypatch, capsys, variables)


def test_completion_offers_what_was_seen(sandbox: Sandbox, run: Run, variables: Environment, tmp_path: Path) -> None:
    env = environment(**variables)
    assert offered("list", "users", "--account", "", env=env) == []
    assert run("accounts").code == 0
    asked = sandbox.request_count
    every = [*sandbox.account_ids, sandbox.inactive_account_id, sandbox.expired_account_id]
    for command in (["list", "users"], ["export", "users"], ["request", "GET", "/x"]):
        assert offered(*command, "--account", "", env=env) == every
    begun = every[0][:3]
    assert offered("list", "users", "--account", begun, env=env) == [id for id in every if id.startswith(begun)]
    assert offered("list", "users", "--profile", "other", "--account", "", env=env) == []
    assert sandbox.request_count == asked
    (file,) = (tmp_path / "cache" / "stackone-lms").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    assert sandbox.api_key not in text
    assert "secret" not in text


def test_accounts_that_are_gone_are_forgotten(sandbox: Sandbox, run: Run, variables: Environment) -> None:
    env = environment(**variables)
    run("accounts", "--status", "active")
    assert len(offered("list", "users", "--account", "", env=env)) == 3
    run("accounts", "--status", "inactive")
    assert len(offered("list", "users", "--account", "", env=env)) == 4
    run("accounts")
    assert len(offered("list", "users", "--account", "", env=env)) == 5


def test_an_export_calls_accounts_by_the_names_that_were_seen(sandbox: Sandbox, run: Run, tmp_path: Path) -> None:
    export = ("export", "courses", "--format", "jsonl", "--out", str(tmp_path / "out"))
    assert "Aldermoor Rail" not in run(*export).err
    run("accounts")
    assert f"Aldermoor Rail · Kestrel ({sandbox.account_ids[0]})" in run(*export).err


def test_a_cache_that_cannot_be_written_or_read_is_no_matter(run: Run, variables: Environment, tmp_path: Path) -> None:
    assert run("accounts", XDG_CACHE_HOME="/dev/null").code == 0
    assert run("accounts", XDG_CACHE_HOME=str(tmp_path / "cache")).code == 0
    (file,) = (tmp_path / "cache" / "stackone-lms").iterdir()
    file.write_text("broken")
    assert offered("list", "users", "--account", "", env=environment(**variables)) == []
    assert run("accounts", XDG_CACHE_HOME=str(tmp_path / "cache")).code == 0
