"""The endpoints beside the LMS operations: accounts, connectors, connect sessions, request logs."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stackone_lms.sandbox.platform import ENDPOINTS

from ..contract.platform import OPERATIONS, check
from .client import Client, Response
from .conftest import Start

NOW = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


async def get(api: Client, path: str, query: str = "") -> Response:
    """Ask without an account, as these endpoints have none, and check the answer against the document."""
    reply = await api("GET", path, query, headers={"x-account-id": None})
    check(operation("GET", path), reply.status, reply.body)
    return reply


async def post(api: Client, path: str, body: object) -> Response:
    reply = await api("POST", path, json=body, headers={"x-account-id": None})
    check(operation("POST", path), reply.status, reply.body)
    return reply


def operation(method: str, path: str) -> str:
    """Return the operation of a path; the more literal one comes first."""
    for id, (its_method, its_path, _) in sorted(OPERATIONS.items(), key=lambda item: item[1][1].count("{")):
        if its_method == method and re.fullmatch(re.sub(r"{\w+}", "[^/]+", its_path), path):
            return id
    raise AssertionError(path)


def test_endpoints_are_those_of_the_document() -> None:
    ours = {(e.name, e.method, f"/{e.path}") for e in ENDPOINTS}
    theirs = {(id, method, re.sub(r"{\w+}", "{}", path)) for id, (method, path, _) in OPERATIONS.items()}
    assert ours == theirs


async def test_they_need_the_key_and_no_account(api: Client) -> None:
    assert (await get(api, "/accounts")).status == 200
    for path in ("/accounts", "/requests/logs", "/connectors/meta"):
        reply = await api("GET", path, headers={"Authorization": None})
        assert reply.status == 401
    reply = await api("DELETE", "/accounts")
    assert (reply.status, reply.headers["Allow"]) == (405, "GET")


async def test_limits_and_faults_hold_here_too(start: Start) -> None:
    api = await start(rate_limit=(2, 60.0))
    api.sandbox.fail_next(503, path_contains="/accounts")
    assert (await get(api, "/accounts")).status == 503
    assert (await get(api, "/accounts")).status == 200
    assert (await get(api, "/accounts")).status == 429


# Accounts


async def test_accounts_are_the_active_ones_then_an_inactive_and_an_expired_one(api: Client) -> None:
    accounts = (await get(api, "/accounts")).json
    sandbox = api.sandbox
    assert [a["id"] for a in accounts] == [
        *sandbox.account_ids,
        sandbox.inactive_account_id,
        sandbox.expired_account_id,
    ]
    assert [a["status"] for a in accounts] == ["active"] * 3 + ["inactive", "expired"]
    assert [bool(a["status_reasons"]) for a in accounts] == [False] * 3 + [True] * 2
    assert len({a["origin_owner_id"] for a in accounts}) == 5
    assert all(a["credentials"]["client_secret"] for a in accounts)


async def test_what_an_account_is_said_to_be_agrees_with_its_data(api: Client) -> None:
    for number, account in enumerate((await get(api, "/accounts")).json[:3]):
        course = (await api.get("courses", "page_size=1", account=number)).data[0]
        assert course["provider"] == account["provider_name"]
    expired = await api("GET", "users", headers={"x-account-id": api.sandbox.expired_account_id})
    assert (expired.status, expired.json["errorCode"]) == (412, "AccountIntegrationInactiveError")


async def test_accounts_come_wrapped_where_asked(start: Start) -> None:
    plain, wrapped = await start(), await start(wrapped_accounts=True)
    assert (await get(wrapped, "/accounts")).json == {"data": (await get(plain, "/accounts")).json}


@pytest.mark.parametrize(
    ("query", "chosen"),
    [
        ("providers=kestrel&providers=northlight", [0, 1, 3, 4]),
        ("provider=quillwork", [2]),
        ("origin_owner_ids=customer-1&origin_owner_ids=customer-3", [0, 2]),
        ("origin_owner_id=customer-2", [1]),
        ("status=inactive&status=expired", [3, 4]),
        ("status=active&providers=kestrel", [0]),
        ("providers=nobody", []),
        ("status=", [0, 1, 2, 3, 4]),
    ],
)
async def test_accounts_are_filtered(api: Client, query: str, chosen: list[int]) -> None:
    every = (await get(api, "/accounts")).json
    assert (await get(api, "/accounts", query)).json == [every[n] for n in chosen]


async def test_accounts_are_filtered_by_id(api: Client) -> None:
    ids = api.sandbox.account_ids
    found = await get(api, "/accounts", f"account_ids={ids[2]}&account_ids={ids[0]}")
    assert [a["id"] for a in found.json] == [ids[0], ids[2]]


async def test_accounts_page_by_number(start: Start) -> None:
    api = await start(accounts=28)
    sizes = [len((await get(api, "/accounts", query)).json) for query in ("", "page=2", "page=3", "page_size=7&page=5")]
    assert sizes == [25, 5, 0, 2]
    pages = [(await get(api, "/accounts", f"page_size=8&page={n}")).json for n in range(1, 5)]
    assert [a["id"] for page in pages for a in page][:28] == api.sandbox.account_ids
    for wrong in ("page=0", "page=x", "page_size=0", "status[a]=b"):
        assert (await get(api, "/accounts", wrong)).status == 400


async def test_one_account_and_its_meta(api: Client) -> None:
    id = api.sandbox.expired_account_id
    account = (await get(api, f"/accounts/{id}")).json
    assert (account["id"], account["status_reasons"][0]["code"]) == (id, "credentials_expired")
    meta = (await get(api, f"/accounts/{id}/meta")).json
    assert (meta["provider"], meta["category"]) == (account["provider"], "lms")
    assert meta["models"]["content"].keys() == {"list", "get", "upsert", "batch_upsert", "update"}
    assert meta["models"]["completions"].keys() == {"list", "get", "create", "delete"}
    for path in ("/accounts/nobody", "/accounts/nobody/meta"):
        assert (await get(api, path)).status == 404


async def test_connectors(api: Client) -> None:
    connectors = (await get(api, "/connectors/meta")).json
    assert [c["provider"] for c in connectors] == ["kestrel", "northlight", "quillwork"]
    for path in ("/connectors/meta/kestrel", "/meta/connectors/kestrel"):
        assert (await get(api, path)).json == connectors[0]
    assert (await get(api, "/connectors/meta/nobody")).status == 404
    assert connectors[0]["models"]["users"]["get"]["apiPath"] == "/unified/lms/users/:id"


# Connect sessions

OWNER = {"origin_owner_id": "customer-9", "origin_owner_name": "Nine"}


async def test_a_connect_session_is_known_by_its_token_until_it_ends(start: Start) -> None:
    clock = Clock()
    api = await start(clock=clock)
    made = await post(api, "/connect_sessions", {**OWNER, "categories": ["lms"], "expires_in": 60})
    assert made.status == 201
    assert made.json["token"] in made.json["auth_link_url"]
    seen = await post(api, "/connect_sessions/authenticate", {"token": made.json["token"]})
    assert seen.status == 201
    assert seen.json == {k: v for k, v in made.json.items() if k not in ("token", "auth_link_url")}
    clock.now += timedelta(seconds=61)
    assert (await post(api, "/connect_sessions/authenticate", {"token": made.json["token"]})).status == 404


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "Missing field: origin_owner_id"),
        ({"origin_owner_id": "x"}, "Missing field: origin_owner_name"),
        ({**OWNER, "categories": ["nonsense"]}, "categories.0 must be one of"),
        ({**OWNER, "type": "other"}, "type must be one of"),
        ({**OWNER, "expires_in": "soon"}, "expires_in must be a number"),
    ],
)
async def test_bodies_of_connect_sessions_are_checked(api: Client, body: object, error: str) -> None:
    reply = await post(api, "/connect_sessions", body)
    assert reply.status == 400
    assert any(error in line for line in reply.json["errors"])


async def test_a_session_to_edit_an_account_needs_one(api: Client) -> None:
    made = await post(api, "/connect_sessions", {**OWNER, "account_id": api.sandbox.inactive_account_id})
    assert made.json["account_id"] == api.sandbox.inactive_account_id
    assert (await post(api, "/connect_sessions", {**OWNER, "account_id": "nobody"})).status == 404
    assert (await post(api, "/connect_sessions/authenticate", {"token": "nobody"})).status == 404
    assert (await post(api, "/connect_sessions/authenticate", {})).status == 400


# Request logs


async def log_of(api: Client, reply: Response, include: str = "") -> Any:
    query = f"include={include}" if include else ""
    return (await get(api, f"/requests/logs/{reply.headers['x-request-id']}", query)).json["data"]


async def test_a_request_is_found_by_the_id_of_its_answer(start: Start) -> None:
    clock = Clock()
    api = await start(clock=clock)
    user = api.sandbox.ids("users")[0]
    reply = await api.get(f"users/{user}/completions", "page_size=2")
    entry = await log_of(api, reply)
    assert {k: entry[k] for k in ("account_id", "http_method", "status", "success", "action")} == {
        "account_id": api.sandbox.account_ids[0],
        "http_method": "GET",
        "status": 200,
        "success": True,
        "action": "list",
    }
    assert (entry["resource"], entry["sub_resource"]) == ("users", "completions")
    assert entry["url"] == f"{api.sandbox.url}/unified/lms/users/{user}/completions?page_size=2"
    assert (entry["event_datetime"], entry["duration"]) == ("2031-02-03T04:05:06.000Z", 20)
    assert "step_requests" not in entry
    assert "request" not in entry
    assert (await get(api, "/requests/logs/nothing")).status == 404


async def test_steps_are_the_calls_to_the_provider(api: Client) -> None:
    reply = await api.get(f"users/{api.sandbox.ids('users')[0]}")
    entry = await log_of(api, reply, "step_logs")
    (step,) = entry["step_requests"]
    assert step["url"].startswith("https://api.kestrel.example/v1/users/")
    assert "request" not in step
    entry = await log_of(api, reply, "advanced_logs")
    assert entry["step_requests"][0]["request"]["url"]["url"] == step["url"]
    assert entry["request"]["headers"]["authorization"] == "[hidden]"
    assert api.sandbox.api_key not in json.dumps(entry)
    assert (await get(api, "/requests/logs/x", "include=all")).status == 404
    assert (await get(api, f"/requests/logs/{entry['request_id']}", "include=all")).status == 400


async def test_failures_are_logged_with_what_the_provider_said(api: Client) -> None:
    missing = await log_of(api, await api.get("users/none"), "advanced_logs")
    assert (missing["status"], missing["success"], missing["step_requests"][0]["status"]) == (404, False, 404)
    assert missing["response"]["body"]["message"].startswith("Not Found")
    assert missing["response"]["provider_errors"][0]["raw"] == {"error": "no such record"}
    api.sandbox.fail_next(503)
    planned = await log_of(api, await api.get("users"), "step_logs")
    assert (planned["status"], planned["step_requests"]) == (503, [])
    refused = await api("GET", "users", headers={"x-account-id": "nobody"})
    assert (await get(api, f"/requests/logs/{refused.headers['x-request-id']}")).status == 404


async def test_the_log_keeps_as_many_as_the_history(start: Start) -> None:
    api = await start(history=2)
    replies = [await api.get("users") for _ in range(3)]
    found = [(await get(api, f"/requests/logs/{r.headers['x-request-id']}")).status for r in replies]
    assert found == [404, 200, 200]


async def test_logs_are_listed_newest_first_and_filtered(start: Start) -> None:
    clock = Clock()
    api = await start(clock=clock)
    for path in ("users", "users/none", "courses", "skills"):
        await api.get(path, account=1 if path == "courses" else 0)
        clock.now += timedelta(minutes=1)

    async def listed(query: str) -> list[str]:
        return [entry["path"].removeprefix("/unified/lms/") for entry in (await get(api, "/requests/logs", query)).data]

    assert await listed("") == ["skills", "courses", "users/none", "users"]
    assert await listed("order_direction=asc") == ["users", "users/none", "courses", "skills"]
    assert await listed("order_by=status&order_direction=desc") == ["users/none", "skills", "courses", "users"]
    assert await listed("order_by=status&order_direction=asc") == ["users", "courses", "skills", "users/none"]
    assert await listed(f"filter[account_ids]={api.sandbox.account_ids[1]}") == ["courses"]
    assert await listed("filter[status_codes]=404,500") == ["users/none"]
    assert await listed("filter[success]=false") == ["users/none"]
    assert await listed("filter[resources]=users,skills&filter[actions]=list") == ["skills", "users"]
    assert await listed("filter[start_date]=2031-02-03T04:06:00Z&filter[end_date]=2031-02-03T04:07:30Z") == [
        "courses",
        "users/none",
    ]
    for wrong in (
        "filter[nonsense]=1",
        "order_by=nonsense",
        "order_direction=up",
        "next=nonsense",
        "include=advanced_logs",
    ):
        assert (await get(api, "/requests/logs", wrong)).status == 400
    steps = (await get(api, "/requests/logs", "include=step_logs&page_size=1")).data
    assert len(steps[0]["step_requests"]) == 1


async def test_pages_of_logs_neither_repeat_nor_lose_while_requests_come(api: Client) -> None:
    for _ in range(5):
        await api.get("users")
    ids: list[str] = []
    query = "page_size=2"
    while True:
        page = (await get(api, "/requests/logs", query)).json
        ids += [entry["request_id"] for entry in page["data"]]
        if page["next"] is None:
            break
        await api.get("courses")
        query = f"page_size=2&next={page['next']}"
    assert len(ids) == len(set(ids)) == 5


# Batches


def content(*references: str) -> Mapping[str, Any]:
    return {"items": [{"external_reference": reference, "title": reference} for reference in references]}


async def test_outcomes_of_a_batch_come_one_after_the_other(start: Start) -> None:
    clock = Clock()
    api = await start(clock=clock, batch_delay=3.0)
    reply = await api("POST", "content/batch", json=content("A", "B", "C"))
    assert (reply.status, reply.json["errors"]) == (202, [[], [], []])

    async def seen() -> tuple[list[str], Any, bool]:
        entry = await log_of(api, reply, "advanced_logs")
        steps = entry["step_requests"]
        return [s["request"]["body"]["external_reference"] for s in steps], entry["success"], entry["end_time"] is None

    assert await seen() == ([], None, True)
    clock.now += timedelta(seconds=1)
    assert await seen() == (["A"], None, True)
    clock.now += timedelta(seconds=1.5)
    assert await seen() == (["A", "B"], None, True)
    clock.now += timedelta(seconds=0.5)
    assert await seen() == (["A", "B", "C"], True, False)


async def test_what_the_provider_refuses_is_accepted_first_and_fails_later(start: Start) -> None:
    api = await start(batch_delay=0.0)
    api.sandbox.refuse("B", "title is taken", 409)
    reply = await api("POST", "content/batch", json=content("A", "B", "C"))
    assert reply.json["errors"] == [[], [], []]
    entry = await log_of(api, reply, "advanced_logs")
    assert entry["success"] is False
    assert [s["status"] for s in entry["step_requests"]] == [200, 409, 200]
    assert entry["step_requests"][1]["response"]["provider_errors"][0]["raw"] == {"error": "title is taken"}
    there = {item["external_reference"] for item in await api.all("content")}
    assert there & {"A", "B", "C"} == {"A", "C"}


async def test_a_provider_with_batches_of_its_own_gets_ten_at_a_time(start: Start) -> None:
    api = await start(batch_delay=0.0)
    references = [f"N{n}" for n in range(12)]
    api.sandbox.refuse("N11")
    reply = await api("POST", "content/batch", json=content(*references), account=1)
    steps = (await log_of(api, reply, "advanced_logs"))["step_requests"]
    bodies = [[item["external_reference"] for item in step["request"]["body"]] for step in steps]
    assert bodies == [references[:10], references[10:]]
    assert [s["success"] for s in steps] == [True, False]


async def test_items_that_do_not_validate_never_reach_the_provider(start: Start) -> None:
    api = await start(batch_delay=0.0)
    reply = await api("POST", "content/batch", json={"items": [{"title": "x"}, {"external_reference": "A"}]})
    assert [bool(e) for e in reply.json["errors"]] == [True, False]
    assert len((await log_of(api, reply, "step_logs"))["step_requests"]) == 1


async def test_course_batches_have_outcomes_too(start: Start) -> None:
    api = await start(batch_delay=0.0)
    reply = await api("POST", "courses/batch", json=content("C1"))
    entry = await log_of(api, reply, "step_logs")
    assert (entry["action"], entry["resource"], entry["is_worker"]) == ("batch_upsert", "courses", True)


def test_a_refusal_is_a_failure(api: Client) -> None:
    with pytest.raises(ValueError, match="400 to 599"):
        api.sandbox.refuse("A", status=200)


async def test_reset_forgets_refusals_logs_and_sessions(start: Start) -> None:
    api = await start(batch_delay=0.0)
    api.sandbox.refuse("A")
    session = await post(api, "/connect_sessions", OWNER)
    reply = await api.get("users")
    api.sandbox.reset()
    assert (await get(api, f"/requests/logs/{reply.headers['x-request-id']}")).status == 404
    assert (await post(api, "/connect_sessions/authenticate", {"token": session.json["token"]})).status == 404
    await api("POST", "content/batch", json=content("A"))
    assert api.sandbox.record("content", api.sandbox.ids("content")[-1])["external_reference"] == "A"


# Parameters that are ignored

IGNORED: list[tuple[str, str, str, tuple[str, ...]]] = [
    ("GET", "assignments", "status=pending&page_size=2", ("status",)),
    ("GET", "assignments", "user_id=x&filter[status]=pending", ()),
    ("GET", "users", "user_id=x&sort=name", ("user_id", "sort")),
    ("GET", "users/none", "filter[a]=b&raw=true", ("filter",)),
    ("PUT", "content", "raw=true", ("raw",)),
]


@pytest.mark.parametrize(("method", "path", "query", "ignored"), IGNORED)
async def test_parameters_that_an_operation_lacks_are_noted(
    api: Client, caplog: pytest.LogCaptureFixture, method: str, path: str, query: str, ignored: tuple[str, ...]
) -> None:
    caplog.set_level(logging.INFO, "stackone_lms.sandbox")
    await api(method, path, query, json={"external_reference": "x"} if method == "PUT" else None)
    assert api.sandbox.requests[-1].ignored == ignored
    told = [record.getMessage() for record in caplog.records if record.name == "stackone_lms.sandbox"]
    assert [line.rpartition(": ")[2] for line in told] == ([", ".join(ignored)] if ignored else [])
