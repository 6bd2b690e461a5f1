"""Errors and the log say where something happened."""

from __future__ import annotations

import asyncio
import logging
import pickle
import subprocess
import sys
from typing import Any

import pytest

from stackone_lms import RetryPolicy, SyncClient, Timeout
from stackone_lms.errors import (
    APITimeoutError,
    Attempt,
    ClientClosedError,
    ConnectionLostError,
    DecodeError,
    IdMismatchError,
    InternalServerError,
    RateLimitError,
    RedirectError,
    StackOneError,
)
from tests.fake.fakes import ACCOUNT, KEY, FakeTransport, client_of, error, hang, lost, record, reply, virtual

from ..soak import further

PATH = "/unified/lms/completions/c%2F1"


def check_place(error: StackOneError) -> None:
    """Everything that every error has whose request was described, also once pickled."""
    for one in (error, pickle.loads(pickle.dumps(error))):
        assert (one.operation, one.account_id, one.method) == ("completions.get", ACCOUNT, "GET")
        assert one.request_path == PATH
        assert one.path == ("$" if isinstance(one, DecodeError) else PATH)
        assert one.attempts == len(one.attempt_log)
        assert str(one).startswith("completions.get: ")
        assert "\n" not in str(one)


@pytest.mark.parametrize(
    ("step", "kind", "log"),
    [
        (error(500), InternalServerError, [(500, 0.05), (500, 0.1), (500, None)]),
        (lost(), ConnectionLostError, [(None, 0.05), (None, 0.1), (None, None)]),
        (error(404), StackOneError, [(404, None)]),
        (record("other"), IdMismatchError, [(200, 0.05), (200, None)]),
        (reply(200, b"<html>"), DecodeError, [(200, None)]),
        (reply(302, b"", Location="/x"), RedirectError, [(302, None)]),
        (hang, APITimeoutError, [(None, 0.05), (None, 0.1), (None, None)]),
    ],
)
@virtual
async def test_every_error_says_where_and_what_became_of_each_request(
    step: Any, kind: type[StackOneError], log: list[tuple[int | None, float | None]]
) -> None:
    client = client_of(FakeTransport(step), timeout=Timeout(read=2.0))
    with pytest.raises(kind) as caught:
        await client.completions.get("c/1")
    found = caught.value
    check_place(found)
    name = type(found).__name__
    assert [one.pause for one in found.attempt_log] == pytest.approx([pause for _, pause in log])
    assert [one[:2] for one in found.attempt_log] == [(status, name) for status, _ in log]
    waited = sum(pause or 0 for _, pause in log) + (2.0 * len(log) if step is hang else 0)
    assert found.elapsed == pytest.approx(waited)


@virtual
async def test_a_call_that_fails_each_time_in_another_way_tells_all_of_them() -> None:
    client = client_of(FakeTransport(lost(), error(503), error(429, Retry_After="70")))
    with pytest.raises(RateLimitError) as caught:
        await client.completions.get("c/1")
    check_place(caught.value)
    assert caught.value.attempt_log == (
        Attempt(None, "ConnectionLostError", 0.05),
        Attempt(503, "InternalServerError", 1.0),
        Attempt(429, "RateLimitError", None),
    )


@virtual
async def test_calls_that_are_ended_from_outside_say_where_too() -> None:
    """By their deadline while they wait for a slot or for the next attempt, and as the client is closed."""
    client = client_of(FakeTransport(hang), max_concurrency=1)
    first = asyncio.create_task(client.completions.get("c/1"))
    await asyncio.sleep(1)
    with pytest.raises(APITimeoutError) as late:
        await client.with_options(timeout=Timeout(total=3.0)).completions.get("c/1")
    check_place(late.value)
    assert (late.value.phase, late.value.attempt_log, late.value.elapsed) == ("pool", (), 3.0)
    await client.aclose()
    with pytest.raises(ClientClosedError) as closed:
        await first
    check_place(closed.value)
    assert closed.value.attempt_log == (Attempt(None, "ClientClosedError", None),)


@virtual
async def test_the_headers_of_an_answer_are_on_the_error_and_hold_no_key() -> None:
    limits = {"X_RateLimit_Remaining": "0", "X_Echo": f"Bearer {KEY}", "x_request_id": "r1"}
    client = client_of(FakeTransport(error(429, "slow down", **limits)), retry=RetryPolicy(attempts=1))
    with pytest.raises(RateLimitError) as caught:
        await client.completions.get("c/1")
    assert caught.value.headers == {"x-ratelimit-remaining": "0", "x-echo": "Bearer ***", "x-request-id": "r1"}
    assert str(caught.value) == "completions.get: 429 slow down (request id r1)"


@virtual
async def test_the_line_of_an_answer_that_is_none_has_its_status() -> None:
    client = client_of(FakeTransport(record("other")))
    with pytest.raises(IdMismatchError) as caught:
        await client.completions.get("c1")
    assert str(caught.value) == ("completions.get: asked for 'c1' and got 'other' (status 200, request id req-other)")


def test_errors_of_the_blocking_client_say_where() -> None:
    with (
        SyncClient(KEY, ACCOUNT, transport=FakeTransport(error(404))) as client,
        pytest.raises(StackOneError) as caught,
    ):
        client.completions.get("c/1")
    check_place(caught.value)


@virtual
async def test_records_of_the_log_have_what_errors_have(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "stackone_lms")
    client = client_of(FakeTransport(lost(), error(503, KEY), record()))
    await client.completions.get("c1")
    records: list[Any] = [one for one in caplog.records if one.name == "stackone_lms"]
    about = {
        "operation": "completions.get",
        "account_id": ACCOUNT,
        "method": "GET",
        "path": "/unified/lms/completions/c1",
    }
    assert all({name: getattr(one, name) for name in about} == about for one in records)
    assert [(one.levelname, one.attempt, one.status, getattr(one, "error", None)) for one in records] == [
        ("DEBUG", 1, None, "ConnectionLostError"),
        ("INFO", 1, None, "ConnectionLostError"),
        ("DEBUG", 2, 503, "InternalServerError"),
        ("INFO", 2, 503, "InternalServerError"),
        ("DEBUG", 3, 200, None),
    ]
    assert [one.pause for one in records if one.levelname == "INFO"] == [0.05, 1.0]
    assert records[1].getMessage() == (
        f"retrying completions.get of account {ACCOUNT} in 0.05 s after ConnectionLostError"
    )
    assert KEY not in repr([one.__dict__ for one in caplog.records])


PROGRAM = """
from stackone_lms import SyncClient, RetryPolicy
from tests.fake.fakes import FakeTransport, lost, record
for _ in range(2):
    transport = FakeTransport(lost(), record())
    with SyncClient("the-key", "account-1", transport=transport, retry=RetryPolicy(base=0)) as client:
        client.completions.get("c1")
"""


@pytest.mark.parametrize(("value", "lines"), [("debug", 6), *further(("INFO", 2), ("", 0), (None, 0)), ("loud", None)])
def test_the_environment_asks_for_a_readable_log(
    monkeypatch: pytest.MonkeyPatch, value: str | None, lines: int | None
) -> None:
    """Once, however many clients there are."""
    monkeypatch.delenv("STACKONE_LOG", raising=False)
    if value is not None:
        monkeypatch.setenv("STACKONE_LOG", value)
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False)
    if lines is None:
        assert done.returncode == 1
        assert "STACKONE_LOG must be debug or info, not 'loud'" in done.stderr
        return
    assert (done.returncode, done.stdout) == (0, "")
    written = done.stderr.splitlines()
    assert len(written) == lines
    assert "the-key" not in done.stderr
    retries = [
        line for line in written if " INFO    stackone_lms: retrying completions.get of account account-1 in " in line
    ]
    assert len(retries) == (2 if lines else 0)
