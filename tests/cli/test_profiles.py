"""Profiles on the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from stackone_lms.cli import connection
from stackone_lms.sandbox import Sandbox

from .program import Ended, Run, environment, runner
from .test_completion import offered

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the file has another place")


@pytest.fixture
def file(sandbox: Sandbox, tmp_path: Path) -> Path:
    """A file with the sandbox as `default`, and another account as `other`."""
    path = tmp_path / "stackone-lms" / "config.toml"
    path.parent.mkdir()
    common = f'api_key = "{sandbox.api_key}"\nbase_url = "{sandbox.url}"\n'
    first, second = sandbox.account_ids[:2]
    path.write_text(f'[default]\n{common}account_id = "{first}"\n[profile.other]\n{common}account_id = "{second}"\n')
    path.chmod(0o600)
    return path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], file: Path) -> Run:
    """The program with nothing in the environment but where the file is."""
    monkeypatch.setattr(connection, "_noted", set[str]())
    return runner(monkeypatch, capsys, {"XDG_CONFIG_HOME": str(file.parents[1])})


def account(sandbox: Sandbox, ended: Ended) -> str:
    assert (ended.code, ended.err) == (0, ""), ended
    return sandbox.requests[-1].headers["x-account-id"]


def test_the_default_one_is_taken_by_itself(sandbox: Sandbox, run: Run) -> None:
    get = ("get", "users", sandbox.ids("users")[0])
    assert account(sandbox, run(*get)) == sandbox.account_ids[0]


def test_another_one_by_its_name(sandbox: Sandbox, run: Run) -> None:
    second = sandbox.account_ids[1]
    get = ("get", "users", sandbox.ids("users", second)[0])
    assert account(sandbox, run(*get, "--profile", "other")) == second
    assert account(sandbox, run(*get, STACKONE_PROFILE="other")) == second


def test_options_and_the_environment_go_before(sandbox: Sandbox, run: Run) -> None:
    third = sandbox.account_ids[2]
    get = ("get", "users", sandbox.ids("users", third)[0], "--profile", "other")
    assert account(sandbox, run(*get, "--account", third)) == third
    ended = run(*get, STACKONE_ACCOUNT_ID=third)
    assert sandbox.requests[-1].headers["x-account-id"] == third
    assert ended.err == "STACKONE_ACCOUNT_ID in the environment override the profile\n"


def test_exports_take_its_account_and_key(sandbox: Sandbox, run: Run, tmp_path: Path) -> None:
    ended = run("export", "courses", "--out", str(tmp_path / "out"), "--format", "jsonl", "--profile", "other")
    assert ended.code == 0
    assert sandbox.requests[-1].headers["x-account-id"] == sandbox.account_ids[1]
    assert run("export", "courses", "--all-accounts", "--out", str(tmp_path / "all"), "--format", "jsonl").code == 0


def test_a_dry_run_runs_no_command_for_a_key(run: Run, file: Path) -> None:
    file.write_text(f'[default]\napi_key_command = "touch {file}.ran"\naccount_id = "7"\n')
    file.chmod(0o600)
    ended = run("upsert", "content", "external_reference=1", "--dry-run")
    assert json.loads(ended.out)["account_id"] == "7"
    assert not Path(f"{file}.ran").exists()


def test_what_is_wrong_is_told(run: Run, file: Path) -> None:
    ended = run("accounts", "--profile", "prod")
    assert ended.code == 2
    assert f"{file} has no profile 'prod'; it has: default, other" in ended.err
    file.chmod(0o644)
    ended = run("accounts", "--output", "ids")
    assert ended.err == f"{file} can be read by others on this machine: chmod 600 {file}\n"
    file.write_text("[default]\nkey = 1\n")
    ended = run("accounts")
    assert ended.code == 2
    assert "key is unknown; " in ended.err
    assert "allowed: api_key, api_key_command" in ended.err


def test_names_are_completed(run: Run, file: Path) -> None:
    env = {"XDG_CONFIG_HOME": str(file.parents[1])}
    assert offered("accounts", "--profile", "", env=environment(**env)) == ["default", "other"]
    file.write_text("broken")
    assert offered("accounts", "--profile", "", env=environment(**env)) == []
