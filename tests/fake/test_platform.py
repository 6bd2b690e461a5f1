"""Accounts, request logs, connect sessions: both clients against the sandbox, and against answers it never gives."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stackone_lms import (
    APITimeoutError,
    AsyncClient,
    BatchResult,
    ConfigurationError,
    DecodeError,
    InvalidArgumentError,
    LinkedAccount,
    NotFoundError,
    SyncClient,
)
from stackone_lms.api.platform import ConnectSessions, LinkedAccounts, RequestLogs
from stackone_lms.sandbox import Sandbox
from stackone_lms.testing import InMemoryTransport, SkippingClock

from ..contract.platform import OPERATIONS

SMALL: dict[str, Any] = {"users": 4, "courses": 2, "contents": 4, "assignments": 0, "completions": 8}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox.in_thread(**SMALL) as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[SyncClient]:
    """A client with a key alone."""
    with SyncClient(sandbox.api_key, base_url=sandbox.url) as client:
        yield client


def test_accounts_are_found_with_a_key_alone(sandbox: Sandbox, client: SyncClient) -> None:
    accounts = client.accounts.list().collect()
    ids = [*sandbox.account_ids, sandbox.inactive_account_id, sandbox.expired_account_id]
    assert [account.id for account in accounts] == ids
    assert (accounts[0].status, accounts[0].name) == ("active", "Aldermoor Rail · Kestrel")
    assert accounts[1].name == "Bexhill Foods · Pilot · Northlight"
    reasons = accounts[-1].status_reasons
    assert reasons is not None
    assert reasons[0].code == "credentials_expired"
    one = client.accounts.get(sandbox.expired_account_id)
    assert (one.data, one.request_id is not None) == (accounts[-1], True)
    meta = client.accounts.meta(sandbox.account_ids[0])
    assert (meta.provider, meta.category) == ("kestrel", "lms")
    with pytest.raises(NotFoundError):
        client.accounts.get("nobody")
    with pytest.raises(ConfigurationError, match="no account id"):
        client.users.list().first_page()


def test_no_account_is_named_even_where_there_is_one(sandbox: Sandbox) -> None:
    with SyncClient(sandbox.api_key, sandbox.account_ids[0], base_url=sandbox.url) as client:
        view = client.with_options(account_id=sandbox.account_ids[1])
        view.accounts.list().first_page()
        client.accounts.get(sandbox.account_ids[0])
        list(client.logs.list())
        client.connect_sessions.create(origin_owner_id="x", origin_owner_name="y")
        client.users.list().first_page()
    named = ["x-account-id" in request.headers for request in sandbox.requests]
    assert named == [False, False, False, False, True]


async def test_the_async_client_has_the_same(sandbox: Sandbox) -> None:
    async with AsyncClient(sandbox.api_key, base_url=sandbox.url) as client:
        active = [str(account.id) async for account in client.accounts.list(status="active")]
        assert active == sandbox.account_ids
        assert (await client.accounts.get(active[0])).data.id == active[0]
        assert (await client.accounts.meta(active[0])).provider == "kestrel"
        session = await client.connect_sessions.create(origin_owner_id="x", origin_owner_name="y")
        assert session.token is not None
        assert (await client.connect_sessions.authenticate(session.token)).id == session.id
        page = await client.with_options(account_id=active[0]).users.list().first_page()
        log = await client.logs.get(str(page.request_id), include="step_logs")
        assert [step.http_method for step in log.data.step_requests or ()] == ["GET"]


@pytest.mark.parametrize("name", ["accounts", "logs", "connect_sessions"])
def test_paths_and_methods_are_those_of_the_document(name: str, client: SyncClient) -> None:
    resources = {"accounts": LinkedAccounts, "logs": RequestLogs, "connect_sessions": ConnectSessions}
    assert type(getattr(client, name)) is resources[name]
    for member in vars(resources[name]).values():
        operation: Any = getattr(member, "operation", None)
        if operation is not None:
            method, path, described = OPERATIONS[operation.id]
            assert (operation.method, operation.path) == (method, path)
            known = {p["name"] for p in described["parameters"] if p["in"] == "query"}
            filters = [p["schema"]["properties"] for p in described["parameters"] if p["name"] == "filter"]
            allowed = known | {key for one in filters for key in one}
            assert operation.keywords - {"max_items", "next"} <= allowed


# Pages by number


def numbered(*pages: object) -> tuple[SyncClient, InMemoryTransport]:
    transport = InMemoryTransport()
    for page in pages:
        transport.reply("GET", "/accounts", page)
    return SyncClient("key", transport=transport, base_url="https://api.stackone.com"), transport


def account(*ids: str) -> list[dict[str, str]]:
    return [{"id": id, "provider": "p", "status": "active"} for id in ids]


WALKS: list[tuple[list[Any], str, int]] = [
    ([account("1", "2"), account("3", "4"), account("5")], "12345", 3),
    ([account("1", "2"), account("3", "4"), []], "1234", 3),
    ([account("1", "2"), account("1", "2")], "12", 2),
    ([account("1", "2"), account("2", "3"), account("1", "3")], "123", 3),
    ([{"data": account("1", "2")}, {"data": account("3")}], "123", 2),
    ([[]], "", 1),
]


@pytest.mark.parametrize(
    ("pages", "found", "requests"),
    WALKS,
    ids=["shorter", "empty", "the same again", "overlapping", "wrapped", "none"],
)
def test_pages_are_walked_until_one_is_shorter_or_brings_nothing_new(
    pages: list[Any], found: str, requests: int
) -> None:
    client, transport = numbered(*pages)
    with client:
        assert "".join(str(one.id) for one in client.accounts.list()) == found
    asked = [request.query for request in transport.requests]
    assert [query["page_size"] for query in asked] == ["100"] * requests
    assert [query.get("page") for query in asked] == [None, *(str(n) for n in range(2, requests + 1))]


def test_a_walk_can_be_resumed_at_a_page() -> None:
    with Sandbox.in_thread(**SMALL, accounts=7) as many, SyncClient(many.api_key, base_url=many.url) as client:
        pager = client.accounts.list(page_size=3)
        first = next(iter(pager.pages()))
        assert (pager.cursor, first.next) == ("2", "2")
        rest = client.accounts.list(page_size=3, next="2").collect()
        assert [a.id for a in (*first.data, *rest)][:7] == many.account_ids
        assert len(client.accounts.list(max_items=4).collect()) == 4


@pytest.mark.parametrize("answer", [{"accounts": []}, {"data": None}, "text", {"statusCode": 500, "message": "x"}, 5])
def test_an_answer_of_another_shape_is_an_error(answer: object) -> None:
    client, _ = numbered(answer)
    with client, pytest.raises((DecodeError, Exception)) as raised:
        client.accounts.list().collect()
    assert type(raised.value).__module__ == "stackone_lms.errors"


def test_an_account_without_an_id_is_none() -> None:
    transport = InMemoryTransport()
    transport.reply("GET", "/accounts/1", {"message": "hello"})
    with SyncClient("key", transport=transport) as client, pytest.raises(DecodeError, match="no id"):
        client.accounts.get("1")


# Secrets


def test_credentials_and_tokens_are_shown_nowhere(
    sandbox: Sandbox, client: SyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    listed, got = client.accounts.list().collect(), client.accounts.get(sandbox.account_ids[0])
    page = client.accounts.list().first_page()
    session = client.connect_sessions.create(origin_owner_id="x", origin_owner_name="y")
    token, link, trigger = session.token, session.auth_link_url, session.external_trigger_token
    assert token is not None
    assert link is not None
    assert trigger is not None
    again = client.connect_sessions.authenticate(token)
    secrets = ["sandbox-account-secret", token, link, trigger]
    assert listed[0].credentials == {"client_id": "sandbox-1", "client_secret": "sandbox-account-secret-1"}
    for thing in (listed, got, page, session, again):
        shown = repr(thing) + str(thing) + caplog.text + pickle.dumps(thing).decode("latin-1")
        assert not [secret for secret in secrets if secret in shown]
    assert pickle.loads(pickle.dumps(listed[0])).id == listed[0].id
    assert pickle.loads(pickle.dumps(session)).origin_owner_id == "x"


@pytest.mark.parametrize("body", [b'[{"id": "1", "credentials": "canary"', b'{"id": 5.5e999, "credentials": "canary"}'])
def test_a_body_that_does_not_decode_is_in_no_error(body: bytes) -> None:
    for path in ("/accounts", "/accounts/1"):
        transport = InMemoryTransport()
        transport.reply("GET", path, body)
        with SyncClient("key", transport=transport) as client, pytest.raises(DecodeError) as raised:
            client.accounts.list().collect() if path == "/accounts" else client.accounts.get("1")
        assert "canary" not in f"{raised.value!s}{raised.value!r}{vars(raised.value)!r}"


# What is refused


@pytest.mark.parametrize(
    ("keywords", "told"),
    [
        ({"status": "actve"}, "allowed: active, inactive, suspended, archived, expired, error"),
        ({"providers": [""]}, "providers must hold strings"),
        ({"providers": " a"}, "without white space"),
        ({"account_ids": 5}, "account_ids must hold strings"),
        ({"account_ids": ["1", "a b"]}, "account_ids must hold ids without white space, not 'a b'"),
        ({"account_ids": []}, "account_ids is empty: leave it out to list all"),
        ({"status": ()}, "status is empty"),
        ({"origin_owner_ids": {"a": 1}}, "must be a string or strings"),
        ({"next": "abc"}, "number of a page"),
        ({"page_size": 0}, "page_size"),
    ],
)
def test_what_cannot_be_asked_of_accounts_is_told_at_once(
    sandbox: Sandbox, client: SyncClient, keywords: dict[str, Any], told: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=told):
        client.accounts.list(**keywords)
    assert sandbox.request_count == 0


@pytest.mark.parametrize(
    ("keywords", "told"),
    [
        ({"include": "advanced"}, "allowed: step_logs, advanced_logs"),
        ({"order_by": "time"}, "allowed: provider, service"),
        ({"start_date": "yesterday"}, "ISO 8601"),
        ({"success": "yes"}, "True or False"),
        ({"request_ids": ["a,b"]}, "without commas"),
        ({"request_ids": "a b"}, "request_ids must hold ids without white space"),
        ({"status_codes": []}, "status_codes is empty"),
        ({"page_size": 101}, "page_size must be 100 or less, not 101"),
    ],
)
def test_what_cannot_be_asked_of_logs_is_told_at_once(
    sandbox: Sandbox, client: SyncClient, keywords: dict[str, Any], told: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=told):
        client.logs.list(**keywords)
    assert sandbox.request_count == 0


@pytest.mark.parametrize("token", ["", " x", 5, None])
def test_what_is_no_token_is_told_at_once(sandbox: Sandbox, client: SyncClient, token: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="token"):
        client.connect_sessions.authenticate(token)
    with pytest.raises(InvalidArgumentError):
        client.connect_sessions.create({"origin_owner_id": "x"})
    assert sandbox.request_count == 0


# Logs


def test_logs_are_listed_with_filters(sandbox: Sandbox, client: SyncClient) -> None:
    first, second = (client.with_options(account_id=id) for id in sandbox.account_ids[:2])
    first.users.list().first_page()
    second.courses.list().first_page()
    with pytest.raises(NotFoundError):
        second.users.get("nobody")
    logs = client.logs.list(account_ids=sandbox.account_ids[1], order_direction="asc", include="step_logs").collect()
    assert [(log.resource, log.status, log.success) for log in logs] == [("courses", 200, True), ("users", 404, False)]
    assert len(client.logs.list(status_codes=[404, 500]).collect()) == 1
    assert len(client.logs.list(success=True, page_size=1).collect()) == 2
    since = datetime.now(UTC) - timedelta(hours=1)
    assert len(client.logs.list(start_date=since, end_date=since + timedelta(hours=2)).collect()) == 3
    assert client.logs.list(end_date=since).collect() == []


# Outcomes of batches


class VirtualTime:
    """A clock for the sandbox that goes with the client's pauses."""

    def __init__(self, clock: SkippingClock) -> None:
        self._clock, self._begun = clock, clock()

    def __call__(self) -> datetime:
        return datetime(2031, 1, 1, tzinfo=UTC) + timedelta(seconds=self._clock() - self._begun)


def items(*references: str) -> list[dict[str, str]]:
    return [{"external_reference": reference, "title": reference} for reference in references]


@pytest.mark.parametrize("number", [0, 1], ids=["one by one", "ten at a time"])
async def test_outcomes_are_joined_to_the_items(number: int) -> None:
    clock = SkippingClock()
    async with Sandbox(**SMALL, clock=VirtualTime(clock), batch_delay=60.0) as sandbox:
        sandbox.refuse("N11", "title is taken")
        options: dict[str, Any] = {"base_url": sandbox.url, "clock": clock, "sleep": clock.sleep}
        async with AsyncClient(sandbox.api_key, sandbox.account_ids[number], **options) as client:
            given = items(*(f"N{n}" for n in range(12)))
            batch = await client.content.batch_upsert(given)
            with pytest.raises(APITimeoutError) as raised:
                await client.logs.wait(batch, timeout=20)
            early = raised.value.result
            assert 0 <= len(early.succeeded) < 12
            assert early.pending
            outcome = await client.logs.wait(batch)
    assert [one.item for one in outcome.items] == given
    failed = [one.item["external_reference"] for one in outcome.failed]
    assert failed == (["N11"] if number == 0 else ["N10", "N11"])
    assert {tuple(one.errors) for one in outcome.failed} == {("title is taken",)}
    assert len(outcome.succeeded) == 12 - len(failed)
    assert not outcome.pending
    assert max(clock.pauses) <= 10.0


def test_the_sync_client_waits_too() -> None:
    with (
        Sandbox.in_thread(**SMALL, batch_delay=0.0) as quick,
        SyncClient(quick.api_key, quick.account_ids[0], base_url=quick.url) as client,
    ):
        outcome = client.logs.wait(client.content.batch_upsert(items("A", "B")), timeout=60)
    assert [one.status for one in outcome.items] == ["succeeded", "succeeded"]
    assert outcome.logs[0].action == "batch_upsert"


async def wait_for(*logs: object, answer: object = None, given: list[Any] | None = None, timeout: float = 5) -> Any:
    """Wait for a batch whose log comes in these forms, the last for ever."""
    clock, transport = SkippingClock(), InMemoryTransport()
    sent = {"statusCode": 202, "errors": None} if answer is None else answer
    transport.reply("POST", "/unified/lms/content/batch", sent, headers={"x-request-id": "r1"})
    for log in logs:
        if log is None:
            transport.reply("GET", "/requests/logs/r1", {"message": "not yet"}, status=404)
        else:
            transport.reply("GET", "/requests/logs/r1", {"data": log})
    async with AsyncClient("key", "account", transport=transport, clock=clock, sleep=clock.sleep) as client:
        batch = await client.content.batch_upsert(given or items("A", "B"))
        return await client.logs.wait(batch, timeout=timeout)


def step(status: int, *references: str, **more: Any) -> dict[str, Any]:
    body = [{"reference": reference} for reference in references]
    return {"http_method": "PUT", "status": status, "request": {"body": body if len(body) > 1 else body[0]}, **more}


async def test_a_log_that_comes_late_is_waited_for() -> None:
    outcome = await wait_for(None, None, {"step_requests": [step(200, "A"), step(200, "B")]})
    assert len(outcome.succeeded) == 2


async def test_the_last_call_for_an_item_counts() -> None:
    """A provider's 429, and the same item again."""
    outcome = await wait_for({"step_requests": [step(429, "A"), step(200, "B"), step(200, "A")]})
    assert len(outcome.succeeded) == 2


async def test_calls_without_bodies_are_counted() -> None:
    bare = [{"http_method": "POST", "status": 200}, {"http_method": "POST", "status": 422}]
    outcome = await wait_for({"step_requests": [{"http_method": "GET", "status": 200}, *bare]})
    assert [one.status for one in outcome.items] == ["succeeded", "failed"]
    assert outcome.items[1].errors == ["the call failed (422)"]
    with pytest.raises(APITimeoutError) as raised:
        await wait_for({"step_requests": bare[:1]})
    assert len(raised.value.result.pending) == 2


async def test_bodies_that_were_logged_as_text_are_read() -> None:
    text = json.dumps({"items": [{"ref": "A"}, {"ref": "B"}]})
    outcome = await wait_for({"step_requests": [{"http_method": "POST", "status": 200, "request": {"body": text}}]})
    assert len(outcome.succeeded) == 2


async def test_a_batch_that_failed_as_a_whole_failed_for_each_item() -> None:
    whole: dict[str, Any] = {"success": False, "status": 502, "end_time": "2031-01-01T00:00:00Z", "step_requests": []}
    outcome = await wait_for(whole)
    assert [one.errors for one in outcome.failed] == [["the call failed (502)"]] * 2


async def test_what_was_refused_at_once_is_waited_for_by_nobody() -> None:
    outcome = await wait_for(
        {"step_requests": [step(200, "B")]}, answer={"statusCode": 202, "errors": [["Missing field: name"], []]}
    )
    assert [(one.status, one.errors) for one in outcome.items] == [
        ("failed", ["Missing field: name"]),
        ("succeeded", []),
    ]


@pytest.mark.parametrize("batch", [None, BatchResult(), {"a": 1}])
async def test_what_is_no_result_of_a_batch_is_refused(batch: Any) -> None:
    async with AsyncClient("key", transport=InMemoryTransport()) as client:
        with pytest.raises(InvalidArgumentError):
            await client.logs.wait(batch)


async def test_a_time_limit_is_a_number() -> None:
    with pytest.raises(InvalidArgumentError, match="timeout must be seconds"):
        await wait_for({}, timeout=-1)


# Accounts where ids are taken


async def test_reads_of_several_accounts_take_accounts_and_pagers(sandbox: Sandbox) -> None:
    async with AsyncClient(sandbox.api_key, base_url=sandbox.url) as client:
        listed = await client.accounts.list(status="active").collect()
        user = client.for_accounts(listed[:2])
        assert len(user) == 2
        paged = client.for_accounts(client.accounts.list(status="active"))
        assert repr(paged) == "<Accounts: listed by each read>"
        with pytest.raises(TypeError, match="listed"):
            len(paged)
        found = {outcome.account_id async for outcome in paged.users.list()}
        assert found == set(sandbox.account_ids)
        got = [outcome async for outcome in paged.users.get(sandbox.ids("users")[0])]
        assert sum(outcome.error is None for outcome in got) == 1
        ids = {id: sandbox.ids("users", id) for id in sandbox.account_ids}
        many = [outcome async for outcome in paged.users.get_many(ids)]
        assert len(many) == sum(map(len, ids.values()))
        none = client.for_accounts(client.accounts.list(providers="nobody"))
        with pytest.raises(InvalidArgumentError, match="no account ids"):
            [outcome async for outcome in none.users.list()]


def test_the_sync_client_takes_them_too(sandbox: Sandbox, client: SyncClient) -> None:
    fan = client.for_accounts(client.accounts.list(status="active"))
    assert len(fan) == 3
    assert {outcome.account_id for outcome in fan.users.list()} == set(sandbox.account_ids)
    wrong: list[Any] = [[LinkedAccount(id=None)], [5], []]
    for accounts in wrong:
        with pytest.raises(InvalidArgumentError):
            client.for_accounts(accounts)


async def test_exports_take_accounts_and_pagers(sandbox: Sandbox, tmp_path: Any) -> None:
    from stackone_lms.export import export

    async with AsyncClient(sandbox.api_key, base_url=sandbox.url) as client:
        pager = client.accounts.list(status="active")
        result = await export(client, "users", tmp_path / "a", accounts=pager, format="jsonl")
        assert {one.account_id for one in result.lists} == set(sandbox.account_ids)


def test_exports_without_asyncio_take_them_too(sandbox: Sandbox, client: SyncClient, tmp_path: Any) -> None:
    from stackone_lms.export import export_sync

    accounts = client.accounts.list(max_items=2)
    exported = export_sync(client, "users", tmp_path, accounts=accounts, format="jsonl")
    assert {one.account_id for one in exported.lists} == set(sandbox.account_ids[:2])
