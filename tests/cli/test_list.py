"""`stackone-lms list`."""

from __future__ import annotations

import csv
import json
import re
from typing import Any
from urllib.parse import unquote

import pytest

from stackone_lms.sandbox import Sandbox

from .canned import canned
from .program import MODULE, Environment, Run, environment, program, settings
from .terminal import on_terminal, plain


def ids_of(out: str) -> list[str]:
    return [json.loads(line)["id"] for line in out.splitlines()]


def cursor_in(err: str) -> str:
    found = re.search(r"--next (\S+)", err)
    assert found, err
    return found[1].strip("'")


def test_prints_one_page_a_line_an_item_and_tells_how_to_go_on(sandbox: Sandbox, env: Environment) -> None:
    ended = program("list", "completions", "--page-size", "5", env=env)
    assert ended.code == 0
    items = [json.loads(line) for line in ended.out.splitlines()]
    assert items == [sandbox.record("completions", id) for id in sandbox.ids("completions")[:5]]
    assert "5 items; more follow: --next " in ended.err
    further = program("list", "completions", "--page-size", "5", "--all", "--next", cursor_in(ended.err), env=env)
    assert ids_of(further.out) == sandbox.ids("completions")[5:]
    assert further.err == ""


def test_all_goes_to_the_end_over_empty_pages(sandbox: Sandbox, run: Run) -> None:
    ended = run("list", "completions", "--all", "--page-size", "4")
    assert ended.code == 0
    assert ids_of(ended.out) == sandbox.ids("completions")
    assert sandbox.request_count > 15


def test_one_page_means_one_with_items(run: Run) -> None:
    """The API sends empty pages with a cursor; they are not what was asked for."""
    with canned(b'{"data":[],"next":"a"}', b'{"data":[{"id":"1"}],"next":"b"}', b'{"data":[{"id":"2"}]}') as url:
        ended = run("list", "courses", "--base-url", url)
    assert ended.out == '{"id":"1"}\n'
    assert "--next b" in ended.err


@pytest.mark.parametrize(
    "command", ["list courses", "list courses --raw", "get courses 1", "get courses 1 1", "request GET /x"]
)
def test_half_a_character_is_replaced(command: str, run: Run) -> None:
    r"""As JavaScript cuts texts: `\ud83d` alone is no JSON."""
    record = rb'{"id":"1","title":"x\ud83d"}'
    body = rb'{"data":%b}' % (b"[%b]" % record if command.startswith("list") else record)
    with canned(body) as url:
        ended = run(*command.split(), "--base-url", url)
    assert ended.code == 0, ended.err
    assert rb'"title":"x\ufffd"'.decode() in ended.out


@pytest.mark.parametrize(("most", "size"), [(1, 3), (7, 5), (10, 5), (1000, 25)])
def test_max_items_is_exact(sandbox: Sandbox, run: Run, most: int, size: int) -> None:
    ended = run("list", "completions", "--max-items", str(most), "--page-size", str(size))
    assert ids_of(ended.out) == sandbox.ids("completions")[:most]


def test_max_items_within_a_page_resumes_at_that_page(sandbox: Sandbox, run: Run) -> None:
    """No item is missed by going on from the cursor that stderr tells; some come again."""
    ended = run("list", "completions", "--max-items", "7", "--page-size", "5")
    assert "from the start of the last page" in ended.err
    further = run("list", "completions", "--page-size", "5", "--all", "--next", cursor_in(ended.err))
    assert set(ids_of(ended.out)) | set(ids_of(further.out)) == set(sandbox.ids("completions"))


@pytest.mark.parametrize(
    "arguments", [["--all"], ["--max-items", "3"], ["--filter", "updated_after=2999-01-01"], ["--since", "2999-01-01"]]
)
def test_json_is_one_array(run: Run, arguments: list[str]) -> None:
    ended = run("list", "courses", "--output", "json", *arguments)
    assert ended.code == 0
    listed = json.loads(ended.out)
    assert isinstance(listed, list)
    expected = {"--all": 8, "--max-items": 3, "--filter": 0, "--since": 0}[arguments[0]]
    assert len(listed) == expected  # pyright: ignore[reportUnknownArgumentType]


def test_items_are_exactly_as_sent(run: Run) -> None:
    item = b'{"id":"1","undeclared":{"n":1.10,"big":123456789012345678901234567890},"e":"\\u00e9"}'
    with canned(b'{"data":[\n ' + item.replace(b":", b" : ") + b"\n]}") as url:
        ended = run("list", "courses", "--base-url", url)
    assert ended.out == item.decode() + "\n"


def test_sends_filters_fields_and_proxy_on_every_page(sandbox: Sandbox, run: Run) -> None:
    options = ["--filter", "updated_after=2020-01-01", "--field", "id,updated_at", "--proxy", "a[b]=c"]
    ended = run("list", "courses", "--all", "--page-size", "3", *options)
    assert ended.code == 0
    queries = [unquote(request.query) for request in sandbox.requests]
    assert len(queries) > 2
    for query in queries:
        assert query.startswith("fields=id,updated_at&proxy[a[b]]=c&filter[updated_after]=2020-01-01&page_size=3") or (
            {"fields=id,updated_at", "proxy[a[b]]=c", "filter[updated_after]=2020-01-01", "page_size=3"}
            <= set(query.split("&"))
        )
    assert all(set(json.loads(line)) == {"id", "updated_at"} for line in ended.out.splitlines())


def test_assignments_are_narrowed_by_user_too(sandbox: Sandbox, run: Run) -> None:
    user = sandbox.record("assignments", sandbox.ids("assignments")[0])["user_id"]
    ended = run("list", "assignments", "--all", "--filter", f"user_id={user}")
    found = [json.loads(line) for line in ended.out.splitlines()]
    assert {item["user_id"] for item in found} == {user}
    assert f"user_id={user}" in unquote(sandbox.requests[-1].query).split("&")


def test_lists_records_of_a_user(sandbox: Sandbox, run: Run) -> None:
    user = sandbox.record("completions", sandbox.ids("completions")[0])["user_id"]
    ended = run("list", "users.completions", user, "--all")
    assert ended.out
    assert {json.loads(line)["user_id"] for line in ended.out.splitlines()} == {user}


def test_raw_prints_whole_pages(run: Run) -> None:
    """The calls to the provider belong to a page, not to an item."""
    ended = run("list", "courses", "--all", "--page-size", "4", "--raw")
    pages = [json.loads(line) for line in ended.out.splitlines()]
    assert all(page["raw"] for page in pages)
    assert sum(len(page["data"]) for page in pages) == 8


ODD = b'{"data":[{"id":"1"},{"id":{"2":"3"},"completed_at":"yesterday"},null,{"id":"4"}]}'


def test_items_that_fit_no_model_are_printed_and_told_and_exit_1(run: Run) -> None:
    with canned(ODD) as url:
        ended = run("list", "completions", "--base-url", url)
    assert ended.code == 1
    assert [json.loads(line) for line in ended.out.splitlines()] == json.loads(ODD)["data"]
    assert "$.data[1].id" in ended.err
    assert "$.data[2]" in ended.err
    assert "2 items not as the API documents them" in ended.err


def test_a_failure_on_the_way_tells_where_to_go_on_and_leaves_the_array_open(run: Run) -> None:
    """Half an array must not pass for a whole one."""
    pages = [b'{"data":[{"id":"1"}],"next":"a"}', b'{"data":[{"id":"2"}],"next":"b"}', b"<html>Sorry</html>"]
    with canned(*pages) as url:
        ended = run("list", "courses", "--all", "--output", "json", "--base-url", url)
    assert ended.code == 1
    assert "DecodeError" in ended.err
    assert "2 items so far: --next b\n" in ended.err
    with pytest.raises(json.JSONDecodeError):
        json.loads(ended.out)
    assert json.loads(ended.out + "]") == [{"id": "1"}, {"id": "2"}]


def test_cursors_that_go_in_circles_end_the_list(run: Run) -> None:
    """The cursor that is told is that of the last good page, not the one that leads round again."""
    pages = [f'{{"data":[{{"id":"1"}}],"next":"{following}"}}'.encode() for following in "aba"]
    with canned(*pages) as url:
        ended = run("list", "courses", "--all", "--base-url", url)
    assert ended.code == 1
    assert "PaginationError" in ended.err
    assert "so far: --next b\n" in ended.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["assignments", "--filter", "colour=red"],
            "no 'colour'; it has: remote_user_id, status, updated_after, user_id",
        ),
        (["assignments", "--filter", "status=late"], "allowed: pending, in_progress, completed"),
        (["assignments", "--filter", "status=pending", "--filter", "status=completed"], "status is given 2 times"),
        (["courses", "--filter", "active=false"], "active accepts only True"),
        (["courses", "--filter", "updated_after=yesterday"], "ISO 8601"),
        (["courses", "--since", "yesterday"], "'yesterday' is not a day such as 2026-01-31, or a moment"),
        (["courses", "--since", "2026-01-01", "--filter", "updated_after=2026-01-01"], "give one of them"),
        (["courses", "--max-items", "0"], "--max-items"),
        (["courses", "1"], "takes no id, and 1 given"),
        (["users.completions"], "takes USER_ID, and 0 given"),
        (["collections"], "collections has no list"),
        (["courses", "--raw", "--max-items", "3"], "--raw prints whole pages"),
        (["courses", "--raw", "--output", "table"], "a table cannot show --raw"),
        (["courses", "--raw", "--output", "csv"], "a csv cannot show --raw"),
    ],
)
def test_wrong_usage_exits_2_before_any_request(sandbox: Sandbox, run: Run, arguments: list[str], told: str) -> None:
    ended = run("list", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err
    assert sandbox.request_count == 0


# Tables


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("resource", ["users", "courses", "completions", "assignments", "content"])
def test_a_terminal_gets_a_table_that_fits(sandbox: Sandbox, env: Environment, columns: int, resource: str) -> None:
    """A name stands first, ids are their ends, one line names what is left out, the header comes once for all pages."""
    ended = on_terminal("list", resource, "--all", "--page-size", "5", env=env, columns=columns)
    told, head, *rows = plain(ended.out).splitlines()
    assert ended.code == 0
    assert told.startswith("not shown: ")
    assert told.endswith(" (--wide, --field NAME)")
    assert head.split()[0] == {"users": "name", "courses": "title", "content": "title"}.get(resource, "id")
    assert len(rows) == len(sandbox.ids(resource))
    assert max(map(len, [told, head, *rows])) <= columns
    for row, id in zip(rows, sandbox.ids(resource), strict=True):
        assert f"…{id[-8:]}" in row


def test_a_wide_table_has_everything(sandbox: Sandbox, env: Environment) -> None:
    head, first, *_ = plain(on_terminal("list", "users", "--wide", env=env, columns=60).out).splitlines()
    user = sandbox.record("users", sandbox.ids("users")[0])
    assert set(head.split()) >= {name for name, value in user.items() if value}
    assert user["id"] in first


def test_a_table_elsewhere_is_whole(sandbox: Sandbox, run: Run) -> None:
    ended = run("list", "users", "--all", "--output", "table")
    assert ended.err == ""
    head, *rows = ended.out.splitlines()
    assert set(head.split()) == {
        name for id in sandbox.ids("users") for name, v in sandbox.record("users", id).items() if v
    }
    assert len(rows) == 12


def test_fields_are_the_columns_in_their_order(sandbox: Sandbox, run: Run) -> None:
    ended = run("list", "completions", "--output", "table", "--field", "result,id", "--page-size", "2")
    head, first, _ = ended.out.splitlines()
    record: dict[str, Any] = sandbox.record("completions", sandbox.ids("completions")[0])
    assert head.split() == ["result", "id"]
    assert first.split() == [record["result"]["value"], record["id"]]


def test_a_table_shows_data_as_text_only(sandbox: Sandbox) -> None:
    """Neither rich's markup nor a terminal's control characters in the data do anything."""
    page = '{"data":[{"id":"[red]1[/red]","name":"a\u009b31m\\u001b[2J\\nb"},"odd",{"id":"2","name":1e400}]}'
    with canned(page.encode()) as url:
        env = environment(**{**settings(sandbox), "STACKONE_BASE_URL": url})
        ended = on_terminal("list", "courses", "--wide", env=env)
    shown = plain(ended.out)
    assert "[red]1[/red]" in shown
    assert "a\\x9b31m\\x1b[2J\\nb" in shown
    assert "odd" in shown
    assert "1e400" in shown


def test_a_count_runs_on_stderr_while_data_go_elsewhere(sandbox: Sandbox, env: Environment) -> None:
    ended = on_terminal("list", "completions", "--all", "--page-size", "2", env=env, piped=True)
    assert ids_of(ended.out) == sandbox.ids("completions")
    assert "items" in plain(ended.err)


# CSV


def test_csv_has_one_header_and_all_known_fields(sandbox: Sandbox, run: Run) -> None:
    rows = list(
        csv.DictReader(run("list", "completions", "--all", "--page-size", "7", "--output", "csv").out.splitlines())
    )
    assert [row["id"] for row in rows] == sandbox.ids("completions")
    first: dict[str, Any] = sandbox.record("completions", rows[0]["id"])
    assert rows[0]["result"] == (first["result"] or {"value": ""})["value"]
    assert json.loads(rows[0]["unified_custom_fields"] or "null") == first["unified_custom_fields"]
    assert None not in rows[0]


def test_csv_without_items_has_its_header(run: Run) -> None:
    ended = run("list", "users", "--filter", "updated_after=2999-01-01", "--output", "csv", "--field", "id,name")
    assert ended.out == "id,name\n"


# Without stderr


@pytest.mark.thorough
def test_a_closed_stderr_loses_no_data(sandbox: Sandbox, env: Environment) -> None:
    command = ["bash", "-c", '"$@" list completions --all 2>&-', "bash", *MODULE]
    ended = program(env=env, command=command)
    assert ended.code == 0
    assert ids_of(ended.out) == sandbox.ids("completions")
