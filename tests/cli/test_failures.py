"""How failures end: one or two lines on stderr, the right exit code, and never a secret."""

from __future__ import annotations

import base64
import socket

import pytest

from stackone_lms import errors
from stackone_lms.cli.failures import exit_code, report
from stackone_lms.sandbox import Sandbox

from .canned import canned
from .program import Environment, Run, environment, program

CANARY = "canary-5f1d3c-of-the-api-key"
ENCODED = base64.b64encode(f"{CANARY}:".encode()).decode()


def test_without_a_key_the_program_says_how_to_give_one(run_alone: Run) -> None:
    ended = run_alone("get", "courses", "1")
    assert (ended.code, ended.out) == (2, "")
    assert "no API key" in ended.err
    assert "set STACKONE_API_KEY" in ended.err
    assert "stackone-lms demo" in ended.err


def test_without_an_account_the_program_says_how_to_give_one(run: Run) -> None:
    ended = run("list", "courses", STACKONE_ACCOUNT_ID="")
    assert (ended.code, ended.out) == (2, "")
    assert "--account" in ended.err


def test_an_error_status_is_told_with_class_status_request_id_and_a_hint(sandbox: Sandbox, env: Environment) -> None:
    ended = program("get", "courses", "nowhere", env=env)
    assert (ended.code, ended.out) == (1, "")
    error, hint = ended.err.splitlines()
    assert error.startswith("error: NotFoundError: courses.get: 404 ")
    assert "(request id " in error
    assert hint.startswith("hint: check the id")


def test_a_missing_list_is_no_matter_of_an_id(sandbox: Sandbox, run: Run) -> None:
    ended = run("list", "courses", STACKONE_ACCOUNT_ID="nobody")
    assert ended.code == 1
    assert "check the account" in ended.err
    assert "check the id" not in ended.err


def test_a_page_of_a_gateway_is_told_as_text(run: Run) -> None:
    page = (
        b"<html><head><title>x</title><style>a{}</style></head><body><h1>Access &amp; more</h1>\n<p>denied</p></body>"
    )
    with canned(page, status=403) as url:
        ended = run("list", "courses", "--base-url", url)
    assert ended.code == 1
    assert "what answered says: Access & more denied" in ended.err
    assert "something in between refuses" in ended.err


def test_https_to_a_port_of_http_is_told(run: Run) -> None:
    with canned(b"{}") as url:
        ended = run("list", "courses", "--base-url", url.replace("http://", "https://"))
    assert ended.code == 1
    assert "speaks plain http, not https" in ended.err


def test_retry_after_is_told(sandbox: Sandbox, run: Run) -> None:
    sandbox.fail_next(429, retry_after=3600)
    ended = run("get", "courses", "1")
    assert ended.code == 1
    assert "RateLimitError: courses.get: 429" in ended.err
    assert "the server asks to wait 3600 s" in ended.err


def test_attempts_are_told(sandbox: Sandbox, run: Run) -> None:
    sandbox.fail_next(500, times=3)
    ended = run("get", "courses", "1")
    assert ended.code == 1
    assert "InternalServerError: courses.get: 500" in ended.err
    assert "3 attempts" in ended.err
    assert "try again" in ended.err


def test_nobody_there_is_a_failure_of_the_network(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        ended = run("get", "courses", "1", "--base-url", f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert ended.code == 1
    assert "ConnectError" in ended.err
    assert "--base-url" in ended.err


def test_the_timeout_is_that_of_the_whole_call(run: Run) -> None:
    with canned(stall=True) as url:
        ended = run("list", "courses", "--timeout", "0.3", "--base-url", url)
    assert ended.code == 1
    assert "APITimeoutError" in ended.err
    assert "--timeout" in ended.err


def test_the_rate_limit_is_kept(sandbox: Sandbox, run: Run) -> None:
    """Two requests in 40 seconds, and one second of patience: the third request is not sent."""
    ended = run("list", "completions", "--all", "--page-size", "1", "--rate-limit", "2/40", "--timeout", "1")
    assert ended.code == 1
    assert "rate limit" in ended.err
    assert sandbox.request_count < 3


@pytest.mark.parametrize("limit", ["off", "6000", "100/1"])
def test_other_rate_limits_are_accepted(run: Run, limit: str) -> None:
    assert run("list", "courses", "--all", "--rate-limit", limit).code == 0


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.ConfigurationError, 2),
        (errors.InvalidArgumentError, 2),
        (errors.APIStatusError, 1),
        (errors.ConnectError, 1),
        (errors.DecodeError, 1),
        (errors.PaginationError, 1),
    ],
)
def test_wrong_usage_is_told_from_failure(kind: type[errors.StackOneError], code: int) -> None:
    assert exit_code(kind("no")) == code


def test_every_error_of_the_package_can_be_told(capsys: pytest.CaptureFixture[str]) -> None:
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, errors.StackOneError)]
    assert len(kinds) > 25
    for kind in kinds:
        report(kind("something happened"))
        first, *hint = capsys.readouterr().err.splitlines()
        assert first.startswith(f"error: {kind.__name__}: ")
        assert "something happened" in first
        assert len(hint) <= 1


def test_what_a_server_says_cannot_forge_lines_or_control_the_terminal(run: Run) -> None:
    with canned(b'{"statusCode":400,"message":"a\\nerror: b\\u001b[2J"}', status=400) as url:
        ended = run("get", "courses", "1", "--base-url", url)
    assert ended.code == 1
    assert "a\\nerror: b\\x1b[2J" in ended.err
    assert len(ended.err.splitlines()) == 2


@pytest.mark.parametrize("debug", [[], ["--debug"]], ids=["plain", "debug"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["get", "courses", "1"],
        ["list", "courses", "--verbose"],
        ["get", "courses", "1", "--base-url", "http://127.0.0.1:1"],
        ["get", "courses", "1", "--base-url", "ftp://x"],
        ["get", "courses", "1", "--account", f"{CANARY} "],
        ["get", "courses", "1", "--api-key", f"{CANARY}\u00e9"],
    ],
    ids=["401", "verbose", "nobody", "url", "account", "key"],
)
def test_the_api_key_is_never_shown(sandbox: Sandbox, run: Run, arguments: list[str], debug: list[str]) -> None:
    ended = run(*arguments, *debug, STACKONE_API_KEY=CANARY)
    assert ended.code in {1, 2}
    assert "error: " in ended.err
    assert ("Traceback" in ended.err) == bool(debug)
    for secret in (CANARY, ENCODED, sandbox.account_ids[0]):
        assert secret not in ended.out + ended.err


def test_a_server_that_echoes_the_key_does_not_show_it(run: Run) -> None:
    with canned(f'{{"statusCode":400,"message":"bad {CANARY} {ENCODED}"}}'.encode(), status=400) as url:
        ended = run("get", "courses", "1", "--base-url", url, "--debug", STACKONE_API_KEY=CANARY)
    assert ended.code == 1
    assert "bad ***" in ended.err
    assert CANARY not in ended.err
    assert ENCODED not in ended.err


def test_debug_may_stand_before_the_command(run: Run) -> None:
    ended = run("--debug", "get", "courses", "nowhere")
    assert ended.code == 1
    assert "Traceback" in ended.err


def test_a_bug_is_no_traceback_either(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from stackone_lms.sync import SyncClient

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(SyncClient, "__init__", broken)
    ended = run("get", "courses", "1")
    assert ended.code == 1
    assert ended.err.startswith("error: RuntimeError: broken")
    assert "--debug shows where" in ended.err


def test_the_environment_of_tests_has_no_key_of_ours() -> None:
    """The other tests rely on it."""
    assert not [name for name in environment() if name.startswith("STACKONE_")]
