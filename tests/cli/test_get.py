"""`stackone-lms get`."""

from __future__ import annotations

import csv
import json
from pathlib import Path
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
    with canned(b'{"data":{"id":{"1":"2"},"completed_at":"yesterday"}}') as url:
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
        (["users.completions", "--ids-file", "x"], "takes USER_ID before the ids"),
        (["courses", "1", "--proxy", "age"], "'age' is not a pair"),
        (["courses", "1", "--output", "xml"], "--output"),
        (["courses", "1", "--output", "table", "--raw"], "a table cannot show --raw"),
        (["courses", "1", "--rate-limit", "fast"], "'fast' is not a limit such as 1000/60"),
        (["courses", "1", "--timeout", "0"], "--timeout: '0' is not a number above 0"),
        (["courses", ".."], "cannot be an id"),
        (["courses", "1", "--colour"], "No such option"),
        (["courses"], "takes ID, and 0 given"),
        (["courses", "--ids-file", "/nowhere"], "No such file"),
        (["courses", "1", "--output", "csv", "--raw"], "a csv cannot show --raw"),
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


# Several ids


def test_several_ids_are_a_line_each_in_their_order(sandbox: Sandbox, run: Run, tmp_path: Path) -> None:
    ids = sandbox.ids("completions")[:5]
    file = tmp_path / "ids"
    file.write_text("\n".join(ids[2:]) + "\n\n")
    ended = run("get", "completions", ids[1], ids[0], "--ids-file", str(file), "--field", "id")
    assert (ended.code, ended.err) == (0, "")
    assert [json.loads(line) for line in ended.out.splitlines()] == [{"id": id} for id in (ids[1], ids[0], *ids[2:])]


def test_ids_come_from_stdin(sandbox: Sandbox, env: Environment) -> None:
    ids = sandbox.ids("users")[:3]
    ended = program("get", "users", "--ids-file", "-", env=env, given="\n".join(ids).encode())
    assert ended.code == 0, ended.err
    assert [json.loads(line) for line in ended.out.splitlines()] == [sandbox.record("users", id) for id in ids]


def test_ids_that_fail_are_told_and_the_others_printed(sandbox: Sandbox, run: Run) -> None:
    good = sandbox.ids("users")[0]
    ended = run("get", "users", "nobody", good)
    assert ended.code == 1
    assert [json.loads(line)["id"] for line in ended.out.splitlines()] == [good]
    assert "nobody:\nerror: NotFoundError: users.get: 404" in ended.err
    assert "1 of 2 ids failed" in ended.err


def test_several_records_of_a_user(sandbox: Sandbox, run: Run) -> None:
    by_user: dict[str, list[str]] = {}
    for id in sandbox.ids("completions"):
        by_user.setdefault(sandbox.record("completions", id)["user_id"], []).append(id)
    user, ids = next((user, ids) for user, ids in by_user.items() if len(ids) > 1)
    ended = run("get", "users.completions", user, *ids)
    assert [json.loads(line)["id"] for line in ended.out.splitlines()] == ids


def test_several_records_as_csv_have_all_known_columns(sandbox: Sandbox, run: Run) -> None:
    ids = sandbox.ids("courses")[:3]
    rows = list(csv.DictReader(run("get", "courses", *ids, "--output", "csv").out.splitlines()))
    assert [row["id"] for row in rows] == ids
    assert {"title", "duration", "content_ids"} <= rows[0].keys()
    one = list(csv.reader(run("get", "courses", ids[0], "--output", "csv", "--field", "id,title").out.splitlines()))
    assert one == [["id", "title"], [ids[0], sandbox.record("courses", ids[0])["title"]]]


def test_a_bar_runs_on_stderr_while_data_go_elsewhere(sandbox: Sandbox, env: Environment) -> None:
    ids = sandbox.ids("completions")
    ended = on_terminal("get", "completions", *ids, env=env, piped=True)
    assert len(ended.out.splitlines()) == len(ids)
    assert f"of {len(ids)}" in plain(ended.err)


def test_a_field_that_no_record_has_is_told(run: Run, sandbox: Sandbox) -> None:
    id = sandbox.ids("courses")[0]
    ended = run("get", "courses", id, "--field", "titel")
    assert ended.code == 0
    assert "--field titel: not known here, and the API passes over it; did you mean title?" in ended.err
    assert run("get", "courses", id, "--field", "title").err == ""
