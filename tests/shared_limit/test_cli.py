"""`--shared-limit`: a limit that the program keeps with others."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stackone_lms.cli.connection import Connection
from stackone_lms.sandbox import Sandbox
from stackone_lms.shared_limit.redis_store import SHA
from tests.cli.program import environment, program, settings

from .test_redis import connection_to

ARGUMENTS = ("list", "users", "--max-items", "1", "--output", "jsonl")


@pytest.fixture
def sandbox() -> Any:
    with Sandbox.in_thread() as running:
        yield running


def passed(file: Path) -> int:
    with closing(sqlite3.connect(file)) as log:
        return int(log.execute("SELECT count(*) FROM stackone_lms").fetchone()[0])


def test_the_limit_of_a_url_is_kept(sandbox: Sandbox, tmp_path: Path, start_redis: Any) -> None:
    file = tmp_path / "limit"
    env = environment(**settings(sandbox))
    given = program(*ARGUMENTS, "--shared-limit", file.as_uri(), "--rate-limit", "50/10", env=env)
    assert (given.code, given.out.count("\n"), passed(file)) == (0, 1, 1), given.err
    redis = start_redis("--save", "")
    of_environment = program(*ARGUMENTS, env={**env, "STACKONE_SHARED_LIMIT": redis.url})
    assert of_environment.code == 0, of_environment.err
    connection = connection_to(redis.url)
    assert connection.script_exists(SHA) == [True]
    connection.close()


def test_an_export_keeps_it_too(sandbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "limit"
    env = environment(**settings(sandbox))
    options = ["--format", "jsonl", "--out", str(tmp_path / "lms"), "--shared-limit", file.as_uri()]
    done = program("export", "skills", *options, "--rate-limit", "500/60", env=env)
    assert done.code == 0, done.err
    assert passed(file) >= 1


def test_a_dry_run_asks_nobody(sandbox: Sandbox) -> None:
    env = environment(**settings(sandbox), STACKONE_SHARED_LIMIT="redis://127.0.0.1:1")
    done = program("upsert", "content", "external_reference=x", "--dry-run", env=env)
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("url", "more", "code", "said"),
    [
        ("nonsense", (), 2, "--shared-limit: the URL of a shared limit must look like redis://host:6379/0#key"),
        ("file:///tmp/x", ("--rate-limit", "off"), 2, "there is none to share with --rate-limit off"),
        ("redis://:pw@127.0.0.1:1", ("--timeout", "0.3"), 1, "cannot be reached"),
    ],
)
def test_what_cannot_work_is_told(sandbox: Sandbox, url: str, more: tuple[str, ...], code: int, said: str) -> None:
    done = program(*ARGUMENTS, "--shared-limit", url, *more, env=environment(**settings(sandbox), COLUMNS="200"))
    assert done.code == code
    assert said in done.err
    assert "pw@" not in done.err + done.out
    assert done.out == ""


def test_an_export_to_a_wrong_redis_stops_at_once(sandbox: Sandbox, tmp_path: Path) -> None:
    """One error, before data moves; not one for each account."""
    http = sandbox.url.replace("http://", "redis://")
    accounts = [word for id in sandbox.account_ids for word in ("--account", id)]
    options = [*accounts, "--format", "jsonl", "--out", str(tmp_path / "lms"), "--shared-limit", http]
    done = program("export", "skills", "users", *options, env=environment(**settings(sandbox)))
    assert done.code == 1
    assert "is no Redis" in done.err
    assert "not every list was tried" in done.err


@pytest.mark.parametrize(
    ("given", "variables", "limit"),
    [
        (None, {}, (1000, 60.0)),
        ("50/10", {"STACKONE_REQUESTS_PER_MINUTE": "7"}, (50, 10.0)),
        (None, {"STACKONE_REQUESTS_PER_MINUTE": "7"}, (7, 60.0)),
    ],
)
def test_its_numbers_are_those_of_the_client(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: str | None,
    variables: dict[str, str],
    limit: tuple[Any, ...],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    connection = Connection(api_key="k", rate_limit=given, shared_limit=(tmp_path / "limit").as_uri())
    with connection.client() as client:
        stats = client.stats()
        assert (stats.limit, stats.per) == limit


def test_the_doctor_tells_where_it_is_kept(sandbox: Sandbox, tmp_path: Path) -> None:
    env = environment(**settings(sandbox))
    done = program("doctor", "--shared-limit", (tmp_path / "limit").as_uri(), env=env)
    assert f"1000 requests in 60 s, shared at {tmp_path / 'limit'} (from option)" in done.out
    bad = program("doctor", "--shared-limit", "redis://:pw@127.0.0.1:1", "--timeout", "0.3", env=env)
    assert bad.code == 1
    assert "the shared limit at redis://127.0.0.1:1 cannot be reached" in bad.out
    assert "pw@" not in bad.out + bad.err
