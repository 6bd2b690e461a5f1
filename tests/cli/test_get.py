"""`stackone-lms get`."""

from __future__ import annotations

import json
from urllib.parse import unquote

import pytest

from stackone_lms.sandbox import Sandbox

from .canned import canned
from .program import Environment, Run, environment, program, settings
from .terminal import on_terminal, plain


def test_prints_the_answer_as_one_line_of_json_and_nothing_else(sandbox: Sandbox, env: Environment) -> None:
    id = sandbox.ids("completions")[0]
    ended = program("get", "completions", id, env=env)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.count("\n") == 1
    assert json.loads(ended.out)["data"] == sandbox.record("completions", id)


def test_sends_raw_fields_and_proxy(sandbox: Sandbox, run: Run) -> None:
    """`--field` is repeated or separated by commas, `--proxy` keys may have brackets, and a repeated key is a list."""
    id = sandbox.ids("completions")[0]
    options = ["--raw", "--field", "id,result", "--field", "time_spent"]
    options += ["--proxy", "filter[eq][age]=25", "--proxy", "a=b=c", "--proxy", "x=1", "--proxy", "x=2"]
    ended = run("get", "completions", id, *options)
    assert ended.code == 0
    assert unquote(sandbox.requests[-1].query).split("&") == [
        "raw=true",
        "fields=id,result,time_spent",
        "proxy[filter[eq][age]]=25",
        "proxy[a]=b=c",
        "proxy[x]=1",
        "proxy[x]=2",
    ]
    answer = json.loads(ended.out)
    assert set(answer["data"]) == {"id", "result", "time_spent"}
    assert "filter[eq][age]=25" in answer["raw"][0]["url"]


def test_gets_records_of_a_user(sandbox: Sandbox, run: Run) -> None:
    completion = sandbox.record("completions", sandbox.ids("completions")[0])
    ended = run("get", "users.completions", completion["user_id"], completion["id"])
    assert ended.code == 0
    assert json.loads(ended.out)["data"]["id"] == completion["id"]
    assert sandbox.requests[-1].path.split("/")[3::2] == ["users", "completions"]


EXACT = (
    b'{"zeta": 1.10, "data": {"id": "1", "big": 123456789012345678901234567890, "big_float": 1e400, "u": "\\u00e9\\/"}}'
)


def test_changes_no_number_no_escape_and_no_order(run: Run) -> None:
    with canned(EXACT) as url:
        ended = run("get", "courses", "1", "--base-url", url)
    assert ended.code == 0
    assert ended.out == EXACT.decode().replace(": ", ":").replace(", ", ",") + "\n"


def test_a_terminal_gets_indented_json_that_cannot_control_it(sandbox: Sandbox) -> None:
    """What a terminal would act on is shown as JSON escapes; the JSON means the same."""
    evil = '{"data":{"id":"1","title":"\u009b31m \u202e [bold]x[/bold]","description":"caf\u00e9 \U000e0001"}}'
    with canned(evil.encode()) as url:
        env = environment(**{**settings(sandbox), "STACKONE_BASE_URL": url})
        ended = on_terminal("get", "courses", "1", env=env)
    assert ended.code == 0
    shown = plain(ended.out)
    assert shown.startswith('{\n  "data": {\n    "id": "1",\n')
    assert json.loads(shown) == json.loads(evil)
    assert "\u009b" not in shown
    assert "\\u009b31m \\u202e [bold]x[/bold]" in shown
    assert "café \\udb40\\udc01" in shown


def test_no_color_leaves_a_terminal_plain(sandbox: Sandbox, env: Environment) -> None:
    arguments = ("get", "courses", sandbox.ids("courses")[0])
    assert "\x1b[" in on_terminal(*arguments, env=env).out
    assert "\x1b[" not in on_terminal(*arguments, env={**env, "NO_COLOR": "1"}).out


def test_color_that_is_forced_does_not_spoil_json(sandbox: Sandbox, env: Environment) -> None:
    ended = program("get", "courses", sandbox.ids("courses")[0], env={**env, "FORCE_COLOR": "1"})
    assert json.loads(ended.out)


def test_a_table_has_a_line_for_each_field(sandbox: Sandbox, run: Run) -> None:
    id = sandbox.ids("courses")[0]
    course = sandbox.record("courses", id)
    ended = run("get", "courses", id, "--output", "table")
    lines = {line.split()[0]: line for line in ended.out.splitlines()}
    assert list(lines) == ["field", *course]
    assert lines["title"].endswith(course["title"])
    assert lines["id"].endswith(id)


def test_verbose_tells_about_the_request_on_stderr(sandbox: Sandbox, run: Run) -> None:
    id = sandbox.ids("courses")[0]
    ended = run("get", "courses", id, "--verbose")
    assert json.loads(ended.out)
    assert f"GET /unified/lms/courses/{id} attempt 1: 200" in ended.err
    assert "request id" in ended.err


def test_json_that_fits_no_model_is_printed_and_is_a_failure(run: Run) -> None:
    with canned(b'{"data":{"id":"1","completed_at":"yesterday"}}') as url:
        ended = run("get", "completions", "1", "--base-url", url)
    assert ended.code == 1
    assert json.loads(ended.out)["data"]["completed_at"] == "yesterday"
    assert "DecodeError" in ended.err


@pytest.mark.parametrize("form", ["json", "table"])
def test_what_is_no_json_is_not_printed(run: Run, form: str) -> None:
    with canned(b"<html>Please log in</html>") as url:
        ended = run("get", "completions", "1", "--base-url", url, "--output", form)
    assert (ended.code, ended.out) == (1, "")
    assert "DecodeError" in ended.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["people", "1"], "there is no resource 'people'; allowed: assignments, categories, completions, content"),
        (["course", "1"], "did you mean courses?"),
        (["collections", "1"], "collections has no get"),
        (["users.completions", "1"], "takes USER_ID ID, and 1 given"),
        (["courses", "1", "2"], "takes ID, and 2 given"),
        (["courses", "1", "--proxy", "age"], "'age' is no pair"),
        (["courses", "1", "--output", "xml"], "--output"),
        (["courses", "1", "--output", "table", "--raw"], "a table cannot show --raw"),
        (["courses", "1", "--rate-limit", "fast"], "'fast' is no limit such as 1000/60"),
        (["courses", "1", "--timeout", "0"], "Timeout"),
        (["courses", ".."], "cannot be an id"),
        (["courses", "1", "--colour"], "No such option"),
        (["courses"], "Missing argument"),
    ],
)
def test_wrong_usage_is_told_in_two_lines_and_exits_2(
    sandbox: Sandbox, run: Run, arguments: list[str], told: str
) -> None:
    ended = run("get", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err
    assert ended.err.startswith("error: ")
    assert len(ended.err.splitlines()) <= 2
    assert sandbox.request_count == 0
