"""`stackone-lms operations`, and the table behind it."""

from __future__ import annotations

import json
from operator import attrgetter
from typing import Any

import pytest

from stackone_lms import AsyncClient, SyncClient
from stackone_lms.api.operations import operations

from .program import Run, environment
from .terminal import on_terminal, plain


def test_there_are_all_28_operations_each_once() -> None:
    assert len({known.operation.id for known in operations()}) == len(operations()) == 28


@pytest.mark.parametrize("kind", [AsyncClient, SyncClient])
def test_every_operation_is_where_the_table_says(kind: type[AsyncClient | SyncClient]) -> None:
    client = kind("k", "a", base_url="http://localhost")
    for resource, verb, operation in operations():
        owner: Any = attrgetter(resource)(client)
        assert callable(getattr(owner, verb))
        kind_of_owner: Any = owner.__class__
        assert getattr(kind_of_owner, verb).operation is operation


@pytest.mark.parametrize("arguments", [[], ["--output", "jsonl"], ["--output", "json"]])
def test_prints_them_as_json(run_alone: Run, arguments: list[str]) -> None:
    ended = run_alone("operations", *arguments)
    assert (ended.code, ended.err) == (0, "")
    listed = json.loads(ended.out) if "json" in arguments else [json.loads(line) for line in ended.out.splitlines()]
    assert len(listed) == 28
    assert {
        "call": "users.completions.delete",
        "method": "DELETE",
        "path": "/unified/lms/users/{id}/completions/{subResourceId}",
        "operation": "lms_delete_user_completion",
        "removed": None,
    } in listed
    assert [entry["call"] for entry in listed if entry["removed"]] == [
        "collections.create",
        "collections.update",
        "content.update",
        "courses.upsert",
        "courses.batch_upsert",
    ]


@pytest.mark.parametrize("wide", [False, True])
def test_a_table_fits_the_terminal_unless_it_is_to_be_wide(wide: bool) -> None:
    ended = on_terminal("operations", *(["--wide"] if wide else []), env=environment(), piped=False, columns=80)
    lines = plain(ended.out).splitlines()
    assert ended.code == 0
    assert any(line.startswith("users.completions.delete ") for line in lines)
    assert (max(map(len, lines)) <= 80) == (not wide)
    assert ("(--wide)" in ended.out + ended.err) == (not wide)


def test_prints_them_as_a_table(run_alone: Run) -> None:
    ended = run_alone("operations", "--output", "table")
    head, *rows = ended.out.splitlines()
    assert head.split() == ["call", "method", "path", "operation", "removed"]
    assert [row.split()[0] for row in rows] == [f"{known.resource}.{known.verb}" for known in operations()]
    assert all(known.operation.path in row for known, row in zip(operations(), rows, strict=True))
