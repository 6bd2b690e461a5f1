"""`stackone-lms export --all-accounts`: the accounts are looked up at each run."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ..cli.program import Run, runner
from .datasets import lines


class Platform:
    """A server with accounts that come and go, and a course in each."""

    def __init__(self) -> None:
        self.accounts: list[dict[str, Any]] = []
        self.categories: dict[str, str] = {}
        self.asked: list[str] = []
        self.url = ""

    def link(self, id: str, name: str, provider: str = "kestrel", status: str = "active", **more: Any) -> None:
        self.accounts.append({"id": id, "origin_owner_name": name, "provider": provider, "status": status, **more})

    def answer(self, path: str) -> tuple[int, Any]:
        self.asked.append(path)
        parts = path.partition("?")[0].strip("/").split("/")
        if parts == ["accounts"]:
            return 200, self.accounts
        if parts[0] == "accounts":
            provider = next(one["provider"] for one in self.accounts if one["id"] == parts[1])
            if provider not in self.categories:
                return 404, {"message": "no meta"}
            return 200, {"provider": provider, "category": self.categories[provider], "models": {}}
        return 200, {"data": [{"id": "c-1", "title": "One"}], "next": None}


@pytest.fixture
def platform() -> Iterator[Platform]:
    made = Platform()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, value = made.answer(self.path)
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        made.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def run(platform: Platform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(monkeypatch, capsys, {"STACKONE_BASE_URL": platform.url, "STACKONE_API_KEY": "key", "COLUMNS": "120"})


def exported(target: Path) -> set[str]:
    return {account for _, account in lines(target)}


def test_customers_come_and_go(platform: Platform, run: Run, tmp_path: Path) -> None:
    """New ones come, gone ones are named, and of those that serve nobody it is told why."""
    reasons = [{"code": "off", "description": "It was switched off.", "timestamp": "2026-01-01T00:00:00Z"}]
    platform.link("1", "Acme")
    platform.link("2", "Beta", status="inactive", status_reasons=reasons)
    command = ["export", "courses", "--all-accounts", "--out", str(tmp_path), "--format", "jsonl"]
    ended = run(*command)
    assert ended.code == 0
    assert "passed over: Beta · kestrel (2): inactive, It was switched off." in ended.err
    assert "Acme · kestrel (1)" in ended.err
    assert exported(tmp_path) == {"1"}

    platform.accounts.pop(0)
    platform.link("3", "Castle")
    ended = run(*command)
    assert ended.code == 0
    assert "no longer linked, what was exported of it stays: Acme · kestrel (1)" in ended.err
    assert exported(tmp_path) == {"1", "3"}


def test_a_provider_and_a_status_choose(platform: Platform, run: Run, tmp_path: Path) -> None:
    platform.link("1", "Acme")
    platform.link("2", "Beta", provider="docebo", status="error")
    platform.link("3", "Castle", provider="docebo")
    command = ["export", "courses", "--all-accounts", "--format", "jsonl", "--out"]
    ended = run(*command, str(tmp_path / "a"), "--provider", "Docebo")
    assert exported(tmp_path / "a") == {"3"}
    assert "passed over: Beta" in ended.err
    ended = run(*command, str(tmp_path / "b"), "--status", "active", "--status", "error", "--provider", "docebo")
    assert exported(tmp_path / "b") == {"2", "3"}
    assert "passed over" not in ended.err


def test_a_category_is_asked_once_a_provider(platform: Platform, run: Run, tmp_path: Path) -> None:
    """Where it is not known the account is taken, and that is told: better one failure than a customer forgotten."""
    platform.categories = {"kestrel": "lms", "payday": "hris"}
    for number, provider in enumerate(["kestrel", "payday", "kestrel", "new"]):
        platform.link(str(number), "Acme", provider=provider)
    command = ["export", "courses", "--all-accounts", "--category", "lms", "--format", "jsonl", "--out", str(tmp_path)]
    ended = run(*command)
    assert exported(tmp_path) == {"0", "2", "3"}
    assert "the category of new is not known" in ended.err
    assert [path for path in platform.asked if path.endswith("/meta")] == [f"/accounts/{n}/meta" for n in (0, 1, 3)]


def test_no_account_is_a_failure(platform: Platform, run: Run, tmp_path: Path) -> None:
    ended = run("export", "courses", "--all-accounts", "--out", str(tmp_path))
    assert ended.code == 1
    assert "no such account" in ended.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--all-accounts", "--account", "1"], "excludes --account"),
        (["--all-accounts", "--accounts-file", "x"], "excludes --account"),
        (["--all-accounts", "--provider", ""], "--provider: a provider is empty"),
        (["--provider", "kestrel", "--account", "1"], "goes with --all-accounts"),
        (["--all-accounts", "--status", "gone"], "allowed: active, inactive"),
        (["--all-accounts", "--category", "lmx"], "allowed: ats"),
    ],
)
def test_wrong_usage_is_told_before_any_request(
    platform: Platform, run: Run, tmp_path: Path, arguments: list[str], told: str
) -> None:
    ended = run("export", "courses", "--out", str(tmp_path), *arguments)
    assert ended.code == 2
    assert told in ended.err
    assert not platform.asked
