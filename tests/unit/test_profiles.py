"""Profiles: the file, what goes before it, and what is wrong with it."""

from __future__ import annotations

import inspect
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any, assert_type

import pytest

from stackone_lms import AsyncClient, ConfigurationError, RateLimit, RetryPolicy, SyncClient, Timeout
from stackone_lms.base_client import bound_executor_of
from stackone_lms.profiles import KEYS, config_path, find_profile

VARIABLES = (
    *("STACKONE_API_KEY", "STACKONE_ACCOUNT_ID", "STACKONE_BASE_URL", "STACKONE_PROFILE", "STACKONE_TIMEOUT"),
    *("STACKONE_MAX_RETRIES", "STACKONE_REQUESTS_PER_MINUTE", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "NO_PROXY"),
)
SECRET = "v1.prod.secret-of-the-profile"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the file has another place")


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the file is, and nothing in the environment."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "stackone-lms"
    folder.mkdir()
    assert config_path() == folder / "config.toml"
    return folder / "config.toml"


def write(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o600)


def settings(client: Any) -> Any:
    return bound_executor_of(client).settings


def key_of(client: Any) -> str:
    return str.__str__(settings(client).headers["Authorization"])


def test_a_profile_gives_everything(file: Path) -> None:
    write(
        file,
        f"""
        [default]
        api_key = "other"

        [profile.prod]
        api_key = "{SECRET}"
        account_id = "4711"
        base_url = "https://eu.example.com"
        proxy = "http://user:password@proxy.example.com:3128"
        requests_per_minute = 300
        max_concurrency = 7
        timeout = 12.5
        max_retries = 4
        """,
    )
    client = AsyncClient.from_profile("prod")
    assert_type(client, AsyncClient)
    assert_type(SyncClient.from_profile("prod", heartbeat=True), SyncClient)
    assert (settings(client).account_id, client.base_url) == ("4711", "https://eu.example.com")
    assert settings(client).timeout == Timeout(total=12.5)
    assert settings(client).retry.attempts == 5
    stats = client.stats()
    assert (stats.limit, stats.per) == (300, 60.0)
    shown = repr(find_profile("prod")) + repr(client) + str(vars(client))
    assert SECRET not in shown
    assert "password" not in shown


def test_nothing_is_taken_from_another_profile(file: Path) -> None:
    write(file, '[default]\napi_key = "key"\naccount_id = "1"\n[profile.prod]\napi_key = "key-2"\n')
    assert settings(SyncClient.from_profile("prod")).account_id is None
    assert settings(SyncClient.from_profile()).account_id == "1"


def test_argument_then_environment_then_profile(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(file, '[default]\napi_key = "key"\naccount_id = "profile"\ntimeout = 1\nmax_retries = 1\n')
    assert settings(AsyncClient.from_profile()).account_id == "profile"
    for name, value in {"ACCOUNT_ID": "environment", "TIMEOUT": "2", "MAX_RETRIES": "0"}.items():
        monkeypatch.setenv(f"STACKONE_{name}", value)
    client = AsyncClient.from_profile()
    assert (settings(client).account_id, settings(client).timeout.total) == ("environment", 2)
    assert settings(client).retry.attempts == 1
    client = AsyncClient.from_profile(None, account_id="argument", timeout=3, retry=RetryPolicy(7))
    assert (settings(client).account_id, settings(client).timeout.total) == ("argument", 3)
    assert settings(client).retry.attempts == 7
    assert settings(AsyncClient.from_profile(None, "key", "position")).account_id == "position"


def test_the_profile_of_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(file, '[default]\napi_key = "key"\n[profile.prod]\napi_key = "key"\naccount_id = "1"\n')
    monkeypatch.setenv("STACKONE_PROFILE", "prod")
    assert settings(AsyncClient.from_profile()).account_id == "1"
    assert settings(AsyncClient.from_profile("default")).account_id is None


def test_the_library_reads_no_profile_unasked(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(file, '[default]\napi_key = "key"\n')
    monkeypatch.setenv("STACKONE_PROFILE", "default")
    with pytest.raises(ConfigurationError, match="no API key"):
        AsyncClient()


def test_a_key_from_the_environment_or_a_command(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MY_KEY", "from-my-variable")
    script = tmp_path / "give key.py"
    script.write_text("print('from-a-command')\nprint('a second line')")
    command = [sys.executable, str(script)]
    write(
        file,
        f"""
        [default]
        api_key_env = "MY_KEY"
        [profile.list]
        api_key_command = {command}
        [profile.text]
        api_key_command = "{sys.executable} '{script}'"
        """,
    )
    given = AsyncClient("from-my-variable"), AsyncClient("from-a-command")
    assert key_of(AsyncClient.from_profile()) == key_of(given[0])
    assert key_of(AsyncClient.from_profile("list")) == key_of(AsyncClient.from_profile("text")) == key_of(given[1])


def test_a_command_is_not_run_where_a_key_is_given(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(file, f'[default]\napi_key_command = "touch {tmp_path}/ran"\n')
    AsyncClient.from_profile(None, api_key="key")
    monkeypatch.setenv("STACKONE_API_KEY", "key")
    AsyncClient.from_profile()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("no-such-program-here", "cannot be run"),
        ("false", "ended with 1"),
        ("true", "printed nothing"),
        ("'unclosed", "cannot be run"),
    ],
)
def test_a_command_that_fails(file: Path, command: str, told: str) -> None:
    write(file, f'[default]\napi_key_command = "{command}"\n')
    with pytest.raises(ConfigurationError, match=told):
        AsyncClient.from_profile()


def test_what_a_failing_command_prints_is_not_shown(file: Path) -> None:
    write(file, f"""[default]\napi_key_command = ["sh", "-c", "echo {SECRET}; exit 3"]\n""")
    with pytest.raises(ConfigurationError, match="ended with 3") as caught:
        AsyncClient.from_profile()
    frames: list[str] = []
    trace = caught.value.__traceback__
    while trace is not None:
        frames.append(repr({k: v for k, v in trace.tb_frame.f_locals.items() if k not in {"command", "words", "self"}}))
        trace = trace.tb_next
    assert not any(f"{SECRET}\\n" in frame for frame in frames)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[default]\napi_kye = 'x'", "api_kye is unknown; did you mean api_key"),
        ("[default]\nfoo = 1", ", ".join(KEYS)),
        ("api_key = 'x'", "'api_key' stands in no table"),
        ("[prod]\napi_key = 'x'", r"write \[profile.prod\]"),
        ("[profile]\nprod = 1", r"write \[profile.NAME\]"),
        ("[default]\napi_key = 1", "api_key must be a text"),
        ("[default]\napi_key = ''", "api_key must be a text"),
        ("[default]\napi_key = 'a'\napi_key_env = 'B'", "api_key and api_key_env exclude each other"),
        ("[default]\napi_key_command = []", "api_key_command must be a command"),
        ("[default]\napi_key_command = [1]", "api_key_command must be a command"),
        ("[default]\nmax_retries = -1", "max_retries must be a whole number, 0 or more"),
        ("[default]\nmax_retries = 1.5", "max_retries must be a whole number"),
        ("[default]\nrequests_per_minute = 0", "requests_per_minute must be a whole number, 1 or more"),
        ("[default]\nmax_concurrency = true", "max_concurrency must be a whole number"),
        ("[default]\ntimeout = 0", "timeout must be seconds, more than 0"),
        ("[default]\napi_key_env = 'NOT_SET_ANYWHERE'", "names NOT_SET_ANYWHERE, which is not set"),
        ("[default", "is no TOML"),
    ],
)
def test_what_cannot_be_is_told(file: Path, text: str, told: str) -> None:
    write(file, text)
    with pytest.raises(ConfigurationError, match=told) as caught:
        AsyncClient.from_profile()
    assert str(file) in str(caught.value)


def test_profiles_that_are_not_there(file: Path) -> None:
    with pytest.raises(ConfigurationError, match="stackone-lms configure"):
        AsyncClient.from_profile()
    with pytest.raises(ConfigurationError, match="no profile 'prod'"):
        AsyncClient.from_profile("prod")
    write(file, "[profile.a]\n[profile.b]\n")
    with pytest.raises(ConfigurationError, match="it has: a, b"):
        AsyncClient.from_profile("prod")
    assert find_profile() is None


@pytest.mark.parametrize("content", [b"\xff", None])
def test_a_file_that_cannot_be_read(file: Path, content: bytes | None) -> None:
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"cannot be read|no UTF-8"):
        AsyncClient.from_profile()


def test_a_file_that_others_can_read_gives_a_warning(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(file, f'[default]\napi_key = "{SECRET}"\n')
    with caplog.at_level(logging.WARNING, "stackone_lms"):
        AsyncClient.from_profile()
        assert not caplog.messages
        file.chmod(0o640)
        AsyncClient.from_profile()
    assert caplog.messages == [f"{file} can be read by others on this machine: chmod 600 {file}"]


def test_the_proxy_of_the_environment_goes_before(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(file, '[default]\nproxy = "http://profile:1"\nbase_url = "https://api.example.com"\n')
    profile = find_profile()
    assert profile is not None
    assert "proxy" in profile.options()
    for name, value in {"HTTPS_PROXY": "http://environment:1", "NO_PROXY": "example.com"}.items():
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert "proxy" not in profile.options()
    assert "proxy" not in profile.options({"session"})


def test_a_bundle_is_found_from_the_file_on(file: Path) -> None:
    write(file, '[default]\napi_key = "key"\nca_bundle = "no-such.pem"\n')
    with pytest.raises(ConfigurationError, match=str(file.parent / "no-such.pem")):
        AsyncClient.from_profile()


def test_without_the_extra_only_profiles_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    monkeypatch.setattr("stackone_lms.profiles.find_spec", {"platformdirs": None}.get)
    assert find_profile() is None
    with pytest.raises(ConfigurationError, match=r"pip install 'stackone-lms\[profiles\]'"):
        AsyncClient.from_profile("prod")


@pytest.mark.parametrize(
    ("variable", "value", "wanted"),
    [
        ("STACKONE_TIMEOUT", "soon", "seconds, more than 0"),
        ("STACKONE_TIMEOUT", "0", "seconds, more than 0"),
        ("STACKONE_TIMEOUT", "inf", "seconds, more than 0"),
        ("STACKONE_MAX_RETRIES", "-1", "a whole number, 0 or more"),
        ("STACKONE_MAX_RETRIES", "1.5", "a whole number, 0 or more"),
        ("STACKONE_REQUESTS_PER_MINUTE", "0", "a whole number, 1 or more"),
    ],
)
def test_variables_that_are_no_numbers(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, wanted: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=f"{variable} must be {wanted}"):
        AsyncClient("key")


def test_the_numbers_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TIMEOUT": "30", "MAX_RETRIES": "4", "REQUESTS_PER_MINUTE": "120"}.items():
        monkeypatch.setenv(f"STACKONE_{name}", value)
    client = AsyncClient("key")
    assert (settings(client).timeout, settings(client).retry) == (Timeout(total=30), RetryPolicy(5))
    assert client.stats().limit == 120
    client = AsyncClient("key", timeout=Timeout(), retry=3, rate_limit=RateLimit(1000))
    assert (settings(client).timeout, settings(client).retry) == (Timeout(), RetryPolicy(3))
    assert client.stats().limit == 1000
    assert AsyncClient("key", rate_limit=None).stats().limit is None
    monkeypatch.setenv("STACKONE_TIMEOUT", "")
    assert settings(AsyncClient("key")).timeout == Timeout()


def test_a_client_loads_no_platformdirs() -> None:
    names = ["platformdirs", "tomllib", "stackone_lms.profiles"]
    code = f"import stackone_lms, sys; stackone_lms.AsyncClient('key'); print({names} & sys.modules.keys())"
    code = code.replace("[", "{").replace("]", "}")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("kind", [AsyncClient, SyncClient])
def test_documentation_sees_the_name_of_the_profile(kind: type[Any]) -> None:
    """Of a plain function of a class it leaves out the first argument."""
    assert inspect.ismethod(kind.from_profile)
    assert kind.from_profile.__self__ is kind
    assert list(inspect.signature(kind.from_profile).parameters) == ["name", "args", "options"]
