"""`stackone-lms doctor` and `stackone-lms configure`."""

from __future__ import annotations

import json
import stat
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from stackone_lms.cli import connection
from stackone_lms.cli.configure import write_profile
from stackone_lms.errors import ConfigurationError
from stackone_lms.sandbox import Sandbox

from ..faults.certificates import ca_pem
from .program import Ended, Run, environment, program


def test_it_tells_what_is_ok(sandbox: Sandbox, run: Run) -> None:
    ended = run("doctor")
    assert (ended.code, ended.err) == (0, "")
    assert [line.split()[0] for line in ended.out.splitlines()] == ["ok"] * 10
    assert sandbox.account_ids[0] in ended.out
    assert sandbox.api_key not in ended.out
    assert "(from STACKONE_API_KEY)" in ended.out


def test_options_are_called_options(sandbox: Sandbox, run: Run) -> None:
    ended = run("doctor", "--account", sandbox.account_ids[1], "--timeout", "5")
    assert f"account {sandbox.account_ids[1]} (from option)" in ended.out
    assert "5 s a call (from option)" in ended.out


def test_a_failure_exits_1_and_says_what_to_do(run: Run) -> None:
    ended = run("doctor", STACKONE_API_KEY="wrong-key-of-mine")
    assert ended.code == 1
    assert "failure API key: AuthenticationError" in ended.out
    assert "        check the key: it is not accepted" in ended.out
    assert "wrong-key-of-mine" not in ended.out + ended.err


@pytest.mark.parametrize("form", ["text", "json"])
def test_nothing_is_configured(run_alone: Run, form: str) -> None:
    ended = run_alone("doctor", "--output", form)
    assert ended.code == 1
    assert "no API key" in ended.out
    assert "stackone-lms configure" in ended.out


def test_json_is_for_tickets(sandbox: Sandbox, run: Run) -> None:
    ended = run("doctor", "-o", "json", STACKONE_ACCOUNT_ID=sandbox.expired_account_id)
    assert ended.code == 1
    report = json.loads(ended.out)
    assert report["ok"] is False
    (failure,) = [check for check in report["checks"] if check["status"] == "failure"]
    assert failure["name"] == "account"
    assert sandbox.api_key not in ended.out


def test_a_profile_that_is_wrong_is_a_line_too(run_alone: Run) -> None:
    ended = run_alone("doctor", "--profile", "prod")
    assert ended.code == 1
    assert "failure configuration: there is no profile 'prod'" in ended.out


# configure


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(connection, "_noted", set[str]())
    return tmp_path


def configure(home: Path, *arguments: str, key: str = "", **variables: str) -> Ended:
    env = environment(XDG_CONFIG_HOME=str(home), **variables)
    return program("configure", *arguments, env=env, given=key.encode())


def written(home: Path) -> dict[str, Any]:
    return tomllib.loads((home / "stackone-lms" / "config.toml").read_text())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the file has another place")
def test_a_profile_is_written_and_tried(sandbox: Sandbox, home: Path) -> None:
    ended = configure(home, "--base-url", sandbox.url, "--account", sandbox.account_ids[0], key=f"{sandbox.api_key}\n")
    assert ended.code == 0, ended.err
    path = home / "stackone-lms" / "config.toml"
    assert ended.err == f"written: {path}\n"
    assert "ok      users: a first page" in ended.out
    assert "(from profile default)" in ended.out
    assert sandbox.api_key not in ended.out + ended.err
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert written(home) == {
        "default": {"api_key": sandbox.api_key, "base_url": sandbox.url, "account_id": sandbox.account_ids[0]}
    }


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the file has another place")
def test_the_profile_is_tried_and_not_the_environment(sandbox: Sandbox, home: Path) -> None:
    """The sandbox's variables are still set in the shell where somebody configures a real key."""
    others = {"STACKONE_API_KEY": sandbox.api_key, "STACKONE_ACCOUNT_ID": sandbox.account_ids[0]}
    ended = configure(home, "--base-url", sandbox.url, "--account", "1", key="wrong", **others)
    assert (ended.code, "failure API key" in ended.out) == (1, True), ended
    said = "STACKONE_API_KEY, STACKONE_ACCOUNT_ID in the environment override this profile; the test ignored them\n"
    assert ended.err.endswith(said)
    ended = configure(
        home, "--api-key-env", "STACKONE_API_KEY", "--account", "1", STACKONE_BASE_URL="http://127.0.0.1:1",
        **others,
    )  # fmt: skip
    assert "ok      API key" in ended.out, ended
    assert "STACKONE_API_KEY" not in ended.err


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the file has another place")
def test_the_only_active_account_is_taken(home: Path) -> None:
    with Sandbox.in_thread(accounts=1, users=1, courses=1, contents=1, assignments=1, completions=1) as sandbox:
        ended = configure(home, "--base-url", sandbox.url, "--api-key-env", "MY_KEY", MY_KEY=sandbox.api_key)
        assert ended.code == 0, ended
        assert written(home)["default"] == {
            "api_key_env": "MY_KEY",
            "base_url": sandbox.url,
            "account_id": sandbox.account_ids[0],
        }


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the file has another place")
def test_a_trial_that_fails_exits_1_and_other_profiles_stay(sandbox: Sandbox, home: Path) -> None:
    path = home / "stackone-lms" / "config.toml"
    path.parent.mkdir()
    path.write_text(
        "# mine\n[default]\naccount_id = '1' # one\n\n[profile.prod]\ntimeout = 5\napi_key = 'old'\n[profile.z]\n"
    )
    ended = configure(home, "--profile", "prod", "--base-url", sandbox.url, key="wrong")
    assert ended.code == 1
    assert "failure API key" in ended.out
    assert path.read_text() == (
        "# mine\n[default]\naccount_id = '1' # one\n\n"
        f'[profile.prod]\ntimeout = 5\napi_key = "wrong"\nbase_url = "{sandbox.url}"\n\n[profile.z]\n'
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "give the key on stdin"),
        (["--api-key-env", "A", "--api-key-command", "b"], "exclude each other"),
        (["--api-key-env", "A", "--profile", "a.b"], "letters, digits"),
    ],
)
def test_wrong_usage(home: Path, arguments: list[str], told: str) -> None:
    ended = configure(home, *arguments)
    assert ended.code == 2
    assert told in ended.err
    assert not (home / "stackone-lms").exists()


@pytest.mark.parametrize(
    "text",
    [
        "default.api_key = 'x'\n",
        '[profile."prod"]\na = 1\n',
        "profile = {prod = {}}\n",
        "x = '''\n[profile.prod]\n'''\n",
    ],
)
def test_what_cannot_be_changed_safely_stays(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    for name in ("default", "prod"):
        told = ""
        try:
            write_profile(path, name, {"api_key": "new"})
        except ConfigurationError as error:
            told = error.message
        if told:
            assert "by hand" in told
            continue
        tables = tomllib.loads(path.read_text())
        assert (tables if name == "default" else tables["profile"])[name] == {"api_key": "new"}
        path.write_text(text)
    assert path.read_text() == text


def test_texts_are_written_so_that_they_are_read_again(tmp_path: Path) -> None:
    settings = {"api_key": 'q"\\\t\x7f\u00e9\U0001f600', "api_key_command": ["a", "b c"], "timeout": 1.5}
    write_profile(tmp_path / "config.toml", "prod", settings)
    assert tomllib.loads((tmp_path / "config.toml").read_text()) == {"profile": {"prod": settings}}


def test_a_link_to_the_file_stays_a_link(tmp_path: Path) -> None:
    link, real = tmp_path / "config.toml", tmp_path / "dotfiles.toml"
    real.write_text("")
    link.symlink_to(real)
    write_profile(link, "default", {"api_key": "k"})
    assert link.is_symlink()
    assert 'api_key = "k"' in real.read_text()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the file has another place")
def test_all_options_of_a_connection_are_written(sandbox: Sandbox, home: Path) -> None:
    pem = home / "ca.pem"
    pem.write_text(ca_pem())
    given = [
        "--timeout",
        "7",
        "--rate-limit",
        "500/60",
        "--ca-bundle",
        str(pem),
        "--https-proxy",
        "http://u:p@127.0.0.1:9",
    ]
    configure(home, "--base-url", sandbox.url, "--account", "1", *given, key=sandbox.api_key)
    assert written(home)["default"] == {
        "api_key": sandbox.api_key,
        "base_url": sandbox.url,
        "account_id": "1",
        "timeout": 7.0,
        "requests_per_minute": 500,
        "ca_bundle": str(pem),
        "proxy": "http://u:p@127.0.0.1:9",
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--timeout", "-1"], "--timeout: '-1' is not a number above 0"),
        (["--rate-limit", "off"], "requests a minute"),
        (["--rate-limit", "10/1"], "requests a minute"),
        (["--account", "a b"], "account id"),
        (["--base-url", "ftp://x"], "--base-url must look like https://api.stackone.com, not 'ftp://x'"),
        (["--ca-bundle", "/nowhere.pem"], "--ca-bundle: there is no file '/nowhere.pem'"),
        (["--https-proxy", "socks://x"], "proxy"),
    ],
)
def test_what_cannot_work_is_not_written(home: Path, arguments: list[str], told: str) -> None:
    ended = configure(home, *arguments, key="key")
    assert ended.code == 2
    assert told in " ".join(ended.err.split())
    assert not (home / "stackone-lms").exists()
