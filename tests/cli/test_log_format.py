"""`--log-format json`: all of stderr is an object a line, whatever happens."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from stackone_lms.logs import KEYS, JsonFormatter

from .program import Environment, Run, program


def lines(text: str) -> list[dict[str, Any]]:
    """Return the objects, whose keys all lines have."""
    found = [json.loads(line) for line in text.splitlines()]
    for one in found:
        assert list(one)[:4] == ["time", "level", "logger", "message"]
        assert one["time"].endswith("Z")
    return found


@pytest.mark.parametrize("option", [("--log-format", "json"), ("--log-format=json",)])
def test_an_error_is_a_line_with_its_hint(run: Run, option: tuple[str, ...]) -> None:
    ended = run("get", "courses", "nowhere", *option)
    assert (ended.code, ended.out) == (1, "")
    (error,) = lines(ended.err)
    assert (error["level"], error["logger"]) == ("ERROR", "stackone_lms.cli")
    assert error["message"].startswith("NotFoundError: ")
    assert error["hint"].startswith("check the id")


def test_wrong_usage_and_tracebacks_are_lines_too(run: Run) -> None:
    for wrong in (("get", "--log-format", "json"), ("list", "courses", "--log-format", "json", "--nonsense")):
        ended = run(*wrong)
        assert ended.code == 2
        assert lines(ended.err)[0]["level"] == "ERROR"
    ended = run("get", "courses", "nowhere", "--log-format", "json", "--debug")
    assert "Traceback (most recent call last)" in lines(ended.err)[0]["exception"]


def test_it_may_come_before_any_command(run: Run, tmp_path: Path) -> None:
    for command in (["report", str(tmp_path)], ["export", "verify", str(tmp_path)], ["operations", "--nonsense"]):
        ended = run("--log-format", "json", *command)
        assert ended.code != 0
        assert lines(ended.err)[0]["level"] == "ERROR"


def test_the_last_of_several_options_counts(run: Run) -> None:
    json_last = ("--log-format", "text", "--log-format=json")
    assert lines(run("get", "courses", "nowhere", *json_last).err)
    assert lines(run("get", "courses", "nowhere", *json_last, "--nonsense").err)
    text_last = ("--log-format=json", "--log-format", "text")
    assert run("get", "courses", "nowhere", *text_last).err.startswith("error: ")


def test_the_next_command_is_text_again(run: Run) -> None:
    run("get", "courses", "nowhere", "--log-format", "json")
    assert run("get", "courses", "nowhere").err.startswith("error: ")


def test_the_log_has_the_keys_of_its_records(env: Environment) -> None:
    ended = program(
        "list", "courses", "--log-format", "json", "-v", "--max-items", "1", env={**env, "STACKONE_LOG": "debug"}
    )
    assert ended.code == 0, ended.err
    (attempt,) = [one for one in lines(ended.err) if one["logger"] == "stackone_lms"]
    assert attempt["level"] == "DEBUG"
    assert {name: attempt[name] for name in ("operation", "method", "path", "attempt", "status")} == {
        "operation": "courses.list",
        "method": "GET",
        "path": "/unified/lms/courses",
        "attempt": 1,
        "status": 200,
    }
    assert attempt["account_id"] == env["STACKONE_ACCOUNT_ID"]


def test_an_export_is_lines_for_lists_and_sums(run: Run, tmp_path: Path) -> None:
    ended = run("export", "skills", "--out", str(tmp_path / "out"), "--format", "jsonl", "--log-format", "json")
    assert ended.code == 0, ended.err
    (one,) = [line for line in lines(ended.err) if "resource" in line]
    assert (one["resource"], one["state"], one["failure"]) == ("skills", "complete", None)


@pytest.mark.thorough
def test_warnings_are_lines_too(env: Environment) -> None:
    command = (sys.executable, "-W", "always", "-m", "stackone_lms.cli")
    ended = program("create", "collections", "title=All of it", "--log-format", "json", env=env, command=command)
    assert ended.code == 0, ended.err
    (warning,) = [one for one in lines(ended.err) if one["logger"] == "py.warnings"]
    assert (warning["level"], "DeprecationWarning" in warning["message"]) == ("WARNING", True)


@pytest.mark.thorough
def test_what_other_libraries_log_are_lines_too(env: Environment) -> None:
    script = """
import logging, sys
from stackone_lms import SyncClient
from stackone_lms.cli.app import run

def close(client):
    logging.getLogger("asyncio").error("left behind: %s", "a task")

SyncClient.close = close
sys.exit(run(["get", "courses", "nowhere", "--log-format", "json"]))
"""
    ended = program(env=env, command=(sys.executable, "-c", script))
    line, error = lines(ended.err)
    assert (line["level"], line["logger"], line["message"]) == ("ERROR", "asyncio", "left behind: a task")
    assert error["message"].startswith("NotFoundError: ")


def test_a_record_within_a_span_has_its_ids() -> None:
    log = logging.getLogger("stackone_lms.of_a_test")
    record = log.makeRecord(log.name, logging.INFO, __file__, 1, "said %s", ("\ud800",), None, extra={"status": 503})
    plain = json.loads(JsonFormatter().format(record))
    assert plain["message"] == "said \ud800"
    assert plain["status"] == 503
    assert "trace_id" not in plain
    with TracerProvider().get_tracer("test").start_as_current_span("night") as span:
        told = json.loads(JsonFormatter().format(record))
    context = span.get_span_context()
    assert (told["trace_id"], told["span_id"]) == (f"{context.trace_id:032x}", f"{context.span_id:016x}")


def test_the_keys_are_those_of_the_guide() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guide" / "observability.md").read_text("utf-8")
    for key in (*KEYS, "trace_id", "span_id", "exception"):
        assert f"`{key}`" in guide
