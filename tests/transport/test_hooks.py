"""Hooks see what goes over the wire, and add headers to it: with both clients, over both transports."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator, Mapping
from typing import Any

import aiohttp
import pytest

from stackone_lms import AsyncClient, HookRequest, HookResponse, HookRetry, SyncClient
from stackone_lms.export import export
from stackone_lms.sandbox import Sandbox

from ..fake.fakes import KEY


@pytest.fixture(scope="module")
def sandbox() -> Generator[Sandbox]:
    with Sandbox.in_thread(users=3, api_key=KEY) as running:
        yield running


class Noted:
    """Hooks that note what they see, and add headers in both ways."""

    def __init__(self) -> None:
        self.requests: list[HookRequest] = []
        self.responses: list[HookResponse] = []
        self.retries: list[HookRetry] = []
        self.threads: set[int] = set()

    def plain(self, request: HookRequest) -> Mapping[str, str]:
        self.threads.add(threading.get_ident())
        self.requests.append(request)
        request.headers["x-one"] = f"plain {request.attempt}"
        return {"x-two": "returned"}

    async def later(self, request: HookRequest) -> None:
        await asyncio.sleep(0)
        assert request.headers["X-ONE"].startswith("plain")
        request.headers["X-Two"] = "replaced"

    async def answered(self, response: HookResponse) -> None:
        await asyncio.sleep(0)
        self.responses.append(response)

    def options(self, sandbox: Sandbox, **more: Any) -> dict[str, Any]:
        return {
            "api_key": sandbox.api_key,
            "account_id": sandbox.account_ids[0],
            "base_url": sandbox.url,
            "on_request": [self.plain, self.later],
            "on_response": self.answered,
            "on_retry": self.retries.append,
            **more,
        }


OVER = pytest.mark.parametrize("over", ["lean", "aiohttp", "session"])


def transport(over: str) -> dict[str, Any]:
    return {"session_factory": aiohttp.ClientSession} if over == "session" else {"transport": over}


def check(noted: Noted, sandbox: Sandbox) -> None:
    """A get that was answered 503 first, and then a page."""
    assert [(r.operation, r.attempt, r.method) for r in noted.requests] == [
        ("users.get", 1, "GET"),
        ("users.get", 2, "GET"),
        ("users.list", 1, "GET"),
    ]
    assert {request.account_id for request in noted.requests} == {sandbox.account_ids[0]}
    assert [response.status for response in noted.responses] == [503, 200, 200]
    assert [response.request for response in noted.responses] == noted.requests
    assert noted.responses[1].headers["content-type"].startswith("application/json")
    assert noted.responses[1].request_id == noted.responses[1].headers["x-request-id"]
    assert b'"data"' in noted.responses[1].body
    (retry,) = noted.retries
    assert (retry.request, retry.error.status, retry.error.operation) == (noted.requests[0], 503, "users.get")
    assert 0 <= retry.pause <= 20
    received = list(sandbox.requests)[-3:]
    assert [request.headers["x-one"] for request in received] == ["plain 1", "plain 2", "plain 1"]
    assert [request.headers["x-two"] for request in received] == ["replaced"] * 3
    assert [f"{r.path}?{r.query}" for r in noted.requests[:2]] == [f"/unified/lms/users/{sandbox.ids('users')[0]}?"] * 2


@OVER
async def test_they_see_every_request_of_the_async_client(sandbox: Sandbox, over: str) -> None:
    noted = Noted()
    async with AsyncClient(**noted.options(sandbox, **transport(over))) as client:
        sandbox.fail_next(503)
        await client.users.get(sandbox.ids("users")[0])
        await client.users.list()
    check(noted, sandbox)
    assert noted.threads == {threading.get_ident()}


@OVER
def test_and_of_the_blocking_one_in_its_thread(sandbox: Sandbox, over: str) -> None:
    noted = Noted()
    with SyncClient(**noted.options(sandbox, **transport(over))) as client:
        sandbox.fail_next(503)
        client.users.get(sandbox.ids("users")[0])
        client.users.list().first_page()
    check(noted, sandbox)
    assert noted.threads.isdisjoint({threading.get_ident()})


def test_whatever_makes_requests_is_seen(sandbox: Sandbox) -> None:
    """Views, writes, bulk fetches, several accounts, requests of one's own, and what belongs to no account."""
    noted = Noted()
    first, second = sandbox.account_ids[:2]
    with SyncClient(**noted.options(sandbox)) as client:
        client.with_options(account_id=second, timeout=9).users.list().first_page()
        client.content.upsert(external_reference="e", title="t", content_type="video")
        assert all(outcome.ok for outcome in client.users.get_many(sandbox.ids("users")))
        assert all(outcome.ok for outcome in client.for_accounts([first, second]).users.list())
        client.request("GET", "/accounts", account_id=None)
        client.accounts.list().first_page()
        log = client.logs.list(page_size=1).first_page()
        client.connect_sessions.create(origin_owner_id="o", origin_owner_name="n")
    seen = [(r.operation, r.account_id) for r in noted.requests]
    assert seen[:5] == [("users.list", second), ("content.upsert", first), *[("users.get", first)] * 3]
    assert sorted(seen[5:7], key=str) == sorted([("users.list", first), ("users.list", second)], key=str)
    assert seen[7:] == [
        ("GET /accounts", None),
        ("accounts.list", None),
        ("logs.list", None),
        ("connect_sessions.create", None),
    ]
    assert len(log.data) == 1
    written = noted.requests[1]
    assert written.body is not None
    assert b'"title":"t"' in written.body
    assert written.headers["content-type"] == "application/json"
    assert all(r.headers["x-two"] == "replaced" for r in list(sandbox.requests)[-len(seen) :])


def test_what_belongs_to_no_account_carries_what_every_request_carries(sandbox: Sandbox) -> None:
    """Extra headers and parameters of the client, and those of a view in their place."""
    noted = Noted()
    sandbox.requests.clear()
    with SyncClient(**noted.options(sandbox, extra_headers={"x-a": "1"}, extra_query={"a": 1})) as client:
        for one in (client, client.with_options(extra_headers={"x-b": "2"}, extra_query={"b": 2})):
            one.accounts.list().first_page()
            one.accounts.get(sandbox.account_ids[0])
            one.logs.list(page_size=1).first_page()
            one.connect_sessions.create(origin_owner_id="o", origin_owner_name="n")
    received = [(r.headers.get("x-a"), r.headers.get("x-b"), r.headers.get("x-two")) for r in sandbox.requests]
    assert received == [("1", None, "replaced")] * 4 + [(None, "2", "replaced")] * 4
    assert [request.query.rpartition("&")[2] for request in noted.requests] == ["a=1"] * 4 + ["b=2"] * 4


def test_no_secret_is_shown_of_what_they_receive(sandbox: Sandbox) -> None:
    noted = Noted()
    with SyncClient(**noted.options(sandbox, extra_headers={"x-token": "a-secret-token"})) as client:
        session = client.connect_sessions.create(origin_owner_id="o", origin_owner_name="n")
        sandbox.fail_next(503)
        client.users.list(proxy={"token": "a-secret-token"}).first_page()
    shown = repr([noted.requests, noted.responses, noted.retries])
    shown += repr([(r.headers, dict(r.headers), list(r.headers.items())) for r in noted.requests])
    shown += repr([(r.headers, r.body) for r in noted.responses])
    assert "Authorization" not in shown
    for secret in (KEY, "a-secret-token", "plain 1", str(session.token), str(session.auth_link_url)):
        assert secret not in shown
    assert "x-token': '***'" in shown
    assert "HookRequest(operation='users.list'" in shown


class Wrong(Exception):
    pass


def raise_it(_: object) -> None:
    raise Wrong


@OVER
def test_what_a_hook_raises_is_raised_from_the_call(sandbox: Sandbox, over: str) -> None:
    noted = Noted()
    before = len(sandbox.requests)
    with SyncClient(**noted.options(sandbox, on_request=raise_it, **transport(over))) as client:
        with pytest.raises(Wrong):
            client.users.list().first_page()
        assert client.stats().requests == 0
        assert client.stats().in_flight == 0
    assert len(sandbox.requests) == before
    with SyncClient(**noted.options(sandbox, on_response=raise_it, **transport(over))) as client:
        for _ in range(2):
            with pytest.raises(Wrong):
                client.users.list().first_page()
        assert (client.stats().requests, client.stats().retries, client.stats().in_flight) == (2, 0, 0)
    with SyncClient(**noted.options(sandbox, on_retry=raise_it, **transport(over))) as client:
        sandbox.fail_next(503)
        with pytest.raises(Wrong):
            client.users.list().first_page()
        assert (client.stats().requests, client.stats().in_flight) == (1, 0)


def test_it_ends_what_consists_of_many_calls(sandbox: Sandbox, tmp_path: Any) -> None:
    options = Noted().options(sandbox, on_request=raise_it)
    with SyncClient(**options) as client:
        with pytest.raises(Wrong):
            list(client.users.get_many(sandbox.ids("users")))
        with pytest.raises(Wrong):
            list(client.for_accounts(sandbox.account_ids[:2]).users.list())
        with pytest.raises(Wrong):
            client.users.list().collect()

    async def run() -> None:
        async with AsyncClient(**options) as client:
            with pytest.raises(Wrong):
                await export(client, "users", tmp_path / "out")

    asyncio.run(run())
