"""`stackone-lms logs`, and `batch-upsert --wait`."""

from __future__ import annotations

import json
from pathlib import Path

from stackone_lms.sandbox import Sandbox

from .canned import canned
from .program import Run


def batch(tmp_path: Path, *references: str) -> str:
    file = tmp_path / "items.jsonl"
    file.write_text("".join(json.dumps({"external_reference": one, "title": one}) + "\n" for one in references))
    return str(file)


def test_the_log_of_a_request_with_its_calls(sandbox: Sandbox, run: Run, tmp_path: Path) -> None:
    answer = json.loads(run("batch-upsert", "content", "--body", batch(tmp_path, "A-1"), "--wait").out)
    for include, present in (("none", False), ("step_logs", True), ("advanced_logs", True)):
        log = json.loads(run("logs", answer["request_id"], "--include", include).out)["data"]
        assert log["request_id"] == answer["request_id"]
        assert bool(log.get("step_requests")) == present
    assert "x-account-id" not in sandbox.requests[-1].headers


def test_a_log_that_is_not_there(run: Run) -> None:
    ended = run("logs", "nope")
    assert ended.code == 1
    assert ended.err.splitlines()[1] == "hint: check the request id; a log comes some seconds after the answer"


def test_a_log_shows_no_credentials(run: Run) -> None:
    body = b'{"data":{"request_id":"1","response":{"body":{"credentials":{"key":"secret"}}}}}'
    with canned(body) as url:
        ended = run("logs", "1", "--include", "advanced_logs", "--base-url", url)
    assert ended.code == 0
    assert "secret" not in ended.out
    assert '"credentials":"***"' in ended.out


def test_a_batch_can_be_waited_for(sandbox: Sandbox, run: Run, tmp_path: Path) -> None:
    ended = run("batch-upsert", "content", "--body", batch(tmp_path, "A-1", "A-2"), "--wait")
    assert ended.code == 0
    rows = [json.loads(line) for line in ended.out.splitlines()]
    assert [(row["external_reference"], row["status"], row["errors"]) for row in rows] == [
        ("A-1", "succeeded", []),
        ("A-2", "succeeded", []),
    ]
    assert rows[0]["request_id"] in ended.err
    assert ended.err.splitlines()[-1] == "2 succeeded"


def test_at_the_end_of_the_time_items_are_pending_and_the_exit_code_is_1(run: Run, tmp_path: Path) -> None:
    ended = run("batch-upsert", "content", "--body", batch(tmp_path, "A-1"), "--wait", "--wait-timeout", "0")
    assert ended.code == 1
    assert json.loads(ended.out)["status"] == "pending"
    assert "stackone-lms logs REQUEST_ID" in ended.err


def test_items_that_the_provider_refused_are_told_and_exit_1(run: Run, tmp_path: Path) -> None:
    call = {"http_method": "POST", "success": False, "status": 400, "response": {"body": {"message": "title is taken"}}}
    log = {"data": {"request_id": "r-1", "success": True, "step_requests": [call]}}
    with canned(b'{"statusCode":202}', json.dumps(log).encode(), request_id="r-1") as url:
        arguments = ["batch-upsert", "content", "--body", batch(tmp_path, "A-1"), "--wait", "--base-url", url]
        ended = run(*arguments)
    assert ended.code == 1, ended.err
    row = json.loads(ended.out)
    assert (row["status"], row["errors"]) == ("failed", ["title is taken"])


def test_outcomes_that_cannot_be_asked_for_leave_what_is_known(run: Run, tmp_path: Path) -> None:
    file = batch(tmp_path, "A-1")
    with canned(b'{"statusCode":202}') as url:
        ended = run("batch-upsert", "content", "--body", file, "--wait", "--base-url", url)
    assert (ended.code, json.loads(ended.out)["status"]) == (1, "accepted")
    assert "without a request id" in ended.err
    with canned(b'{"statusCode":202}', b"no log", request_id="r-1") as url:
        ended = run("batch-upsert", "content", "--body", file, "--wait", "--base-url", url)
    assert (ended.code, json.loads(ended.out)["status"]) == (1, "accepted")
    assert "DecodeError" in ended.err


def test_how_long_to_wait_goes_with_waiting(sandbox: Sandbox, run: Run, tmp_path: Path) -> None:
    ended = run("batch-upsert", "content", "--body", batch(tmp_path, "A-1"), "--wait-timeout", "5")
    assert ended.code == 2
    assert sandbox.request_count == 0
