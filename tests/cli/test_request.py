"""`stackone-lms request`: any endpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stackone_lms.sandbox import Sandbox

from .program import Run


def test_an_endpoint_with_a_query_and_the_account(sandbox: Sandbox, run: Run) -> None:
    ended = run("request", "get", "/unified/lms/users", "--query", "page_size=2", "--query", "filter[email]=x")
    assert (ended.code, ended.err) == (0, "")
    assert "data" in json.loads(ended.out)
    request = sandbox.requests[-1]
    assert (request.method, request.path) == ("GET", "/unified/lms/users")
    assert request.query == "page_size=2&filter%5Bemail%5D=x"
    assert request.headers["x-account-id"] == sandbox.account_ids[0]


def test_without_an_account_and_without_credentials(sandbox: Sandbox, run: Run) -> None:
    path = f"/accounts/{sandbox.account_ids[0]}"
    ended = run("request", "GET", path, "--no-account")
    assert json.loads(ended.out)["credentials"] == "***"
    assert "x-account-id" not in sandbox.requests[-1].headers
    shown = run("request", "GET", path, "--no-account", "--show-credentials")
    assert json.loads(shown.out)["credentials"]["client_secret"]


def test_a_body_and_a_dry_run(sandbox: Sandbox, run: Run, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text('{"external_reference": "A", "title": "T"}')
    arguments = ["request", "PUT", "/unified/lms/content", "--body", str(body), "--query", "a=1"]
    ended = run(*arguments, "--dry-run")
    assert json.loads(ended.out) == {
        "method": "PUT",
        "path": "/unified/lms/content",
        "query": "a=1",
        "account_id": sandbox.account_ids[0],
        "body": {"external_reference": "A", "title": "T"},
    }
    assert sandbox.request_count == 0


def test_a_delete_asks(sandbox: Sandbox, run: Run) -> None:
    path = f"/unified/lms/users/{sandbox.ids('users')[0]}/completions/1"
    ended = run("request", "DELETE", path)
    assert ended.code == 2
    assert "add --yes" in ended.err
    assert sandbox.request_count == 0
    assert run("request", "DELETE", path, "--yes").code == 1
    assert sandbox.requests[-1].method == "DELETE"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["FETCH", "/x"], "GET, POST, PUT, PATCH, DELETE"),
        (["GET", "https://other.example/x"], "path must begin with /"),
        (["GET", "/x?y=1"], "no query"),
        (["GET", "/x", "--query", "y"], "'y' is not a pair such as key=value"),
        (["POST", "/x", "--body", "/no/such/file"], "No such file"),
        (["GET", "/x", "--no-account", "--account", "1"], "excludes --account"),
    ],
)
def test_wrong_usage_exits_2_before_any_request(sandbox: Sandbox, run: Run, arguments: list[str], told: str) -> None:
    ended = run("request", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert told in " ".join(ended.err.split())
    assert sandbox.request_count == 0
