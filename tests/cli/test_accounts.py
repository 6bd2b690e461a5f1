"""`stackone-lms accounts`, and `get accounts`."""

from __future__ import annotations

import csv
import json

import pytest

from stackone_lms.sandbox import Sandbox

from .canned import canned
from .program import Environment, Run
from .terminal import on_terminal, plain

SECRET = "sandbox-account-secret"


@pytest.fixture
def run_with_key(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The program with a key alone, as a new user has it."""
    monkeypatch.delenv("STACKONE_ACCOUNT_ID")
    return run


def every_id(sandbox: Sandbox) -> list[str]:
    return [*sandbox.account_ids, sandbox.inactive_account_id, sandbox.expired_account_id]


def test_a_key_alone_finds_the_accounts(sandbox: Sandbox, run_with_key: Run) -> None:
    ended = run_with_key("accounts")
    assert (ended.code, ended.err) == (0, "")
    assert [json.loads(line)["id"] for line in ended.out.splitlines()] == every_id(sandbox)
    assert all("x-account-id" not in request.headers for request in sandbox.requests)


@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "table"])
def test_credentials_are_in_no_form(sandbox: Sandbox, run_with_key: Run, form: str) -> None:
    for arguments in (
        ["accounts"],
        ["get", "accounts", *every_id(sandbox)[:2]],
        ["get", "accounts", every_id(sandbox)[0]],
    ):
        hidden = run_with_key(*arguments, "--output", form)
        assert hidden.code == 0
        assert every_id(sandbox)[0] in hidden.out
        assert SECRET not in hidden.out + hidden.err
        assert SECRET in run_with_key(*arguments, "--output", form, "--show-credentials").out


def test_they_are_narrowed_and_come_as_ids(sandbox: Sandbox, run_with_key: Run) -> None:
    assert run_with_key("accounts", "--status", "active", "--output", "ids").out.split() == list(sandbox.account_ids)
    two = run_with_key("accounts", "--status", "inactive", "--status", "expired", "-o", "ids").out.split()
    assert two == every_id(sandbox)[-2:]
    kestrels = run_with_key("accounts", "--provider", "kestrel", "--status", "active", "-o", "ids").out.split()
    assert kestrels == [sandbox.account_ids[0]]


def test_none_is_told(run_with_key: Run) -> None:
    assert run_with_key("accounts", "--provider", "nobody") == (0, "", "no such account\n")
    with canned(b"[]") as url:
        assert run_with_key("accounts", "--base-url", url).err == "the API key has no linked account yet\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["accounts", "--status", "gone"], "allowed: active, inactive, suspended, archived, expired, error"),
        (["accounts", "--account", "1"], "No such option: --account"),
        (["get", "accounts"], "get accounts takes ID"),
        (["get", "accounts", "1", "--raw"], "no --raw, --field or --proxy"),
        (["get", "users", "1", "--show-credentials"], "only accounts have credentials"),
        (["get", "accounts", "a b"], "white space"),
        (["list", "accounts"], "stackone-lms accounts"),
    ],
)
def test_wrong_usage_exits_2_before_any_request(
    sandbox: Sandbox, run_with_key: Run, arguments: list[str], told: str
) -> None:
    ended = run_with_key(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert told in " ".join(ended.err.split())
    assert sandbox.request_count == 0


def test_an_account_that_is_not_there(run_with_key: Run) -> None:
    ended = run_with_key("get", "accounts", "4711")
    assert ended.code == 1
    assert ended.err.splitlines()[1] == "hint: stackone-lms accounts lists the accounts that the key has"


def test_of_several_those_that_fail_are_told_and_the_others_printed(sandbox: Sandbox, run_with_key: Run) -> None:
    first, second, *_ = sandbox.account_ids
    ended = run_with_key("get", "accounts", first, "4711", "a b", second)
    assert ended.code == 1
    assert [json.loads(line)["id"] for line in ended.out.splitlines()] == [first, second]
    assert "4711:\nerror: NotFoundError: accounts.get: 404" in ended.err
    assert "a b:\nerror: InvalidArgumentError" in ended.err
    assert "2 of 4 ids failed" in ended.err


def test_a_key_that_is_refused_is_told_once(sandbox: Sandbox, run_with_key: Run) -> None:
    ended = run_with_key("get", "accounts", *sandbox.account_ids, "--api-key", "wrong")
    assert (ended.code, ended.out, sandbox.request_count) == (1, "", 1)


EXACT = b'{"data":[{"id":"1","n":1e400,"a":{"credentials":{"x":1}},"credentials":null,"u":"\\u00e9"}]}'


def test_all_else_stays_as_it_was_sent(run_with_key: Run) -> None:
    """Also where plain values could not hold it, and however deep credentials stand, or their name is spelt."""
    with canned(EXACT) as url:
        shown = run_with_key("accounts", "--base-url", url).out
    assert shown == '{"id":"1","n":1e400,"a":{"credentials":"***"},"credentials":null,"u":"\\u00e9"}\n'
    with canned(b'[{"id":"1","c\\u0072edentials":"secret"}]') as url:
        assert run_with_key("accounts", "--base-url", url).out == '{"id":"1","credentials":"***"}\n'


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_table_has_names_first_and_whole_ids(sandbox: Sandbox, env: Environment, columns: int) -> None:
    del env["STACKONE_ACCOUNT_ID"]
    shown = [line.rstrip() for line in plain(on_terminal("accounts", env=env, columns=columns).out).splitlines()]
    assert all(len(line) <= columns for line in shown)
    assert shown[0].endswith("(--wide)")
    assert shown[1].split()[:3] == ["origin_owner_name", "id", "status"]
    assert [line.split()[2] for line in shown[2:7]] == every_id(sandbox)


def test_csv_has_a_line_each(sandbox: Sandbox, run_with_key: Run) -> None:
    rows = list(csv.DictReader(run_with_key("accounts", "--output", "csv").out.splitlines()))
    assert [row["id"] for row in rows] == every_id(sandbox)
    assert {row["credentials"] for row in rows} == {"***"}


def test_an_empty_provider_is_named_as_it_was_given(sandbox: Sandbox, run_with_key: Run) -> None:
    ended = run_with_key("accounts", "--provider", "")
    assert (ended.code, ended.out, sandbox.request_count) == (2, "", 0)
    assert "--provider: a provider is empty" in ended.err
