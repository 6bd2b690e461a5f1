"""`create`, `upsert`, `update`, `delete`, `batch-upsert`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stackone_lms.sandbox import Sandbox

from .program import Environment, Run, program


def reference(sandbox: Sandbox) -> str:
    text: str = sandbox.record("content", sandbox.ids("content")[0])["external_reference"]
    return text


def lines(out: str) -> list[Any]:
    return [json.loads(line) for line in out.splitlines()]


def sent(sandbox: Sandbox) -> Any:
    return json.loads(sandbox.requests[-1].body)


def test_create_takes_fields_and_prints_the_answer(sandbox: Sandbox, run: Run) -> None:
    user = sandbox.ids("users")[0]
    fields = [f"learning_object_external_reference={reference(sandbox)}", "result=Pass", "score.percentage=90"]
    ended = run("create", "users.completions", user, *fields)
    assert (ended.code, ended.err) == (0, "")
    made = sandbox.record("completions", json.loads(ended.out)["data"]["id"])
    assert (made["user_id"], made["result"]["value"], made["score"]) == (user, "Pass", {"percentage": 90})


def test_values_are_text_or_json_as_the_field_takes_them(sandbox: Sandbox, run: Run) -> None:
    """`external_reference` is text, whatever it looks like; `order` is a number, `active` a flag, `tags` a list."""
    fields = ["external_reference=42", "title=true", "order=3", "active=false", 'tags=["a"]', "duration=PT1H"]
    assert run("upsert", "content", *fields).code == 0
    assert sent(sandbox) == {
        "external_reference": "42",
        "title": "true",
        "order": 3,
        "active": False,
        "tags": ["a"],
        "duration": "PT1H",
    }


def test_a_body_comes_from_a_file_and_fields_win(sandbox: Sandbox, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "content.json"
    file.write_text(json.dumps({"external_reference": "NEW", "title": "from the file", "order": 1}))
    assert run("upsert", "content", "--body", str(file), "title=given").code == 0
    assert sent(sandbox) == {"external_reference": "NEW", "title": "given", "order": 1}


def test_a_body_comes_from_stdin(sandbox: Sandbox, env: Environment) -> None:
    ended = program("upsert", "content", "--body", "-", env=env, given=b'{"external_reference": "PIPED"}')
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["data"]["external_reference"] == "PIPED"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_update_and_the_operations_that_left_the_api(sandbox: Sandbox, run: Run) -> None:
    id = sandbox.ids("content")[0]
    ended = run("update", "content", id, f"external_reference={reference(sandbox)}", "title=Changed")
    assert ended.code == 0
    assert sandbox.record("content", id)["title"] == "Changed"
    assert run("create", "collections", "title=All of it").code == 0
    assert run("upsert", "courses", "external_reference=C", "title=Course").code == 0


def test_delete_asks_nobody_and_so_needs_yes(sandbox: Sandbox, run: Run) -> None:
    completion = sandbox.record("completions", sandbox.ids("completions")[0])
    ids = completion["user_id"], completion["id"]
    refused = run("delete", "users.completions", *ids)
    assert (refused.code, sandbox.request_count) == (2, 0)
    assert "--yes" in refused.err
    ended = run("delete", "users.completions", *ids, "--yes")
    assert (ended.code, json.loads(ended.out)["statusCode"]) == (0, 204)
    assert completion["id"] not in sandbox.ids("completions")


def test_dry_run_shows_the_request_and_sends_nothing(sandbox: Sandbox, run: Run) -> None:
    ended = run("upsert", "content", "external_reference=C-1", "content_type=video", "--dry-run")
    assert (ended.code, sandbox.request_count) == (0, 0)
    assert json.loads(ended.out) == {
        "method": "PUT",
        "path": "/unified/lms/content",
        "account_id": sandbox.account_ids[0],
        "body": {"external_reference": "C-1", "content_type": {"value": "video"}},
    }
    ended = run("delete", "users.completions", "U 1", "C/2", "--dry-run")
    assert json.loads(ended.out)["path"] == "/unified/lms/users/U%201/completions/C%2F2"


def test_dry_run_needs_no_key_and_shows_none(run_alone: Run) -> None:
    ended = run_alone("upsert", "content", "external_reference=C-1", "--dry-run", "--account", "a")
    assert ended.code == 0
    ended = run_alone(
        "upsert", "content", "external_reference=C-1", "--dry-run", "--account", "a", STACKONE_API_KEY="canary"
    )
    assert "canary" not in ended.out + ended.err


@pytest.mark.parametrize("form", ["array", "lines"])
def test_a_batch_prints_what_was_said_of_each_item(sandbox: Sandbox, run: Run, tmp_path: Path, form: str) -> None:
    items = [{"external_reference": "B-1"}, {"external_reference": "B-2", "title": "two"}]
    file = tmp_path / "items"
    file.write_text(json.dumps(items) if form == "array" else "\n\n".join(map(json.dumps, items)))
    ended = run("batch-upsert", "content", "--body", str(file))
    assert ended.code == 0
    rows = lines(ended.out)
    assert [(r["index"], r["external_reference"], r["status"], r["errors"]) for r in rows] == [
        (0, "B-1", "accepted", []),
        (1, "B-2", "accepted", []),
    ]
    assert len({r["request_id"] for r in rows}) == 1
    assert "2 accepted" in ended.err


def test_items_that_the_server_refuses_are_told_and_exit_1(run: Run, tmp_path: Path) -> None:
    from .canned import canned

    file = tmp_path / "items.jsonl"
    file.write_text('{"external_reference": "A"}\n{"external_reference": "B"}\n')
    with canned(b'{"statusCode":202,"errors":[[],["Missing field: name"]]}', status=202) as url:
        ended = run("batch-upsert", "content", "--body", str(file), "--base-url", url)
    assert ended.code == 1
    assert [(r["status"], r["errors"]) for r in lines(ended.out)] == [
        ("accepted", []),
        ("failed", ["Missing field: name"]),
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["create", "users.completions"], "takes USER_ID first"),
        (["create", "courses", "a=b"], "courses has no create; allowed: collections, users.assignments"),
        (["upsert", "content"], "nothing to send"),
        (["upsert", "content", "title"], "'title' is not a pair such as title=Text"),
        (["upsert", "content", "title=x"], "external_reference"),
        (["upsert", "content", "external_reference=x", "colour=red"], "colour"),
        (["upsert", "content", "external_reference=x", "order=many"], "order"),
        (["upsert", "content", "a=1", "a.b=2"], "both as a value and as an object"),
        (["upsert", "content", "--body", "/nowhere"], "No such file"),
        (["batch-upsert", "content"], "--body"),
        (["delete", "users.completions", "1", "--yes"], "takes USER_ID ID, and 1 given"),
        (["update", "content"], "takes ID first"),
    ],
)
def test_wrong_usage_exits_2_before_any_request(sandbox: Sandbox, run: Run, arguments: list[str], told: str) -> None:
    ended = run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err
    assert sandbox.request_count == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no items"),
        ("[", "is no JSON array"),
        ('{"external_reference": "A"}\n{', "line 2 is no JSON"),
        ("[1]", "item 1 is no JSON object"),
        ('[{"title": "x"}]', "$.items[0]"),
        ("[" * 100_000, "nests too deep"),
        ('{"a":' * 100_000, "line 1 is no JSON: it nests too deep"),
    ],
)
def test_bad_batches_are_told_before_any_request(
    sandbox: Sandbox, run: Run, tmp_path: Path, text: str, told: str
) -> None:
    file = tmp_path / "items"
    file.write_text(text)
    ended = run("batch-upsert", "content", "--body", str(file))
    assert (ended.code, sandbox.request_count) == (2, 0)
    assert told in ended.err


@pytest.mark.parametrize("command", [["upsert", "content"], ["request", "PUT", "/unified/lms/content"]])
def test_a_body_that_nests_too_deep_is_no_fault_of_the_program(
    sandbox: Sandbox, run: Run, tmp_path: Path, command: list[str]
) -> None:
    file = tmp_path / "body.json"
    file.write_text("[" * 100_000)
    ended = run(*command, "--body", str(file))
    assert (ended.code, sandbox.request_count) == (2, 0)
    assert "is no JSON: it nests too deep" in " ".join(ended.err.split())
