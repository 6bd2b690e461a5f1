"""`client.request`: any endpoint, under the same rules as all calls."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, assert_type, cast

import pytest

from stackone_lms import AsyncClient, RequestResult, RetryPolicy, SyncClient
from stackone_lms.errors import (
    ConfigurationError,
    DecodeError,
    InternalServerError,
    InvalidArgumentError,
    NotFoundError,
    UnexpectedResponseError,
)
from stackone_lms.models import User
from stackone_lms.transport import Response
from tests.fake.fakes import ACCOUNT, KEY, FakeTransport, client_of, engine_of, error, reply, virtual


@virtual
async def test_any_json_comes_with_its_answer() -> None:
    transport = FakeTransport(reply(200, {"a": [1, None]}), reply(200, [1, 2]), reply(202, b""), reply(200, b'"x"'))
    client = client_of(transport)
    found = await client.request("GET", "/unified/lms/odd%2Fid", query={"a": {"b": 1}, "c": [1, True], "d": None})
    assert (found.data, found.status, found.attempts) == ({"a": [1, None]}, 200, 1)
    assert found.json() == {"a": [1, None]}
    rest = [
        await client.request("POST", "/x", body={"n": 1}),
        await client.request("PUT", "/x", body={"n": 1}),
        await client.request("DELETE", "/x", body={"n": 1}),
    ]
    assert [one.data for one in rest] == [[1, 2], None, "x"]
    first, *others = transport.sent
    assert (first.method, first.path, first.query, first.body) == (
        "GET",
        "/unified/lms/odd%2Fid",
        "a%5Bb%5D=1&c=1&c=true",
        None,
    )
    assert [(sent.method, sent.body) for sent in others] == [(m, b'{"n":1}') for m in ("POST", "PUT", "DELETE")]
    assert first.headers["x-account-id"] == ACCOUNT


@virtual
async def test_an_answer_can_have_a_type() -> None:
    transport = FakeTransport(reply(200, [{"id": "u", "active": True, "new": 1}]))
    client = client_of(transport, keep_unknown=True)
    found = await client.request("GET", "/users", answer=list[User])
    assert_type(found, RequestResult[list[User]])
    assert (found.data[0].id, found.data[0].active, found.data[0].extra) == ("u", True, {"new": 1})
    with pytest.raises(DecodeError):
        await client.request("GET", "/users", answer=dict[str, int])
    assert_type(await client.request("GET", "/users"), RequestResult[Any])


@virtual
async def test_the_account_and_the_headers_of_one_request() -> None:
    transport = FakeTransport(reply(200, {}))
    client = client_of(transport, extra_headers={"x-a": "1"})
    await client.request("GET", "/x", account_id=None, headers={"x-b": "2"})
    await client.request("GET", "/x", account_id="other", headers={"x-a": "3"})
    await client.request("GET", "/x")
    names = ("x-account-id", "x-a", "x-b")
    assert [[sent.headers.get(name) for name in names] for sent in transport.sent] == [
        [None, "1", "2"],
        ["other", "3", None],
        [ACCOUNT, "1", None],
    ]


@virtual
async def test_without_an_account_it_is_asked_for_unless_none_is_meant() -> None:
    client = AsyncClient(KEY, transport=FakeTransport(reply(200, {})))
    with pytest.raises(ConfigurationError, match="no account id"):
        await client.request("GET", "/x")
    assert (await client.request("GET", "/accounts", account_id=None)).data == {}


@virtual
async def test_the_rules_are_those_of_all_calls() -> None:
    transport = FakeTransport(error(503), reply(200, {"ok": True}), error(503), error(404))
    client = client_of(transport)
    assert (await client.request("PUT", "/x", body={})).attempts == 2
    with pytest.raises(InternalServerError):
        await client.request("POST", "/x", body={})
    with pytest.raises(NotFoundError) as caught:
        await client.request("GET", "/missing")
    assert (caught.value.status, len(transport.sent)) == (404, 4)
    assert engine_of(client).counts.requests == 4


@virtual
async def test_an_error_that_comes_as_a_success_is_one() -> None:
    body = {"statusCode": 404, "message": "none", "timestamp": "2024-01-01T00:00:00Z"}
    late = Response(200, {"Preference-Applied": "heartbeat"}, b"\n\n" + reply(200, body).body)
    client = client_of(FakeTransport(late, reply(200, body)), retry=RetryPolicy(attempts=1))
    with pytest.raises(NotFoundError):
        await client.request("GET", "/x")
    with pytest.raises(UnexpectedResponseError):
        await client.request("GET", "/x")


@virtual
async def test_bodies_are_sent_in_the_forms_of_the_api() -> None:
    transport = FakeTransport(reply(201, {}))
    when = datetime(2024, 1, 31, 9, tzinfo=UTC)
    await client_of(transport).request("POST", "/x", body={"at": when, "user": User(id="u")})
    assert transport.sent[0].body == b'{"at":"2024-01-31T09:00:00.000Z","user":{"id":"u"}}'


@pytest.mark.parametrize(
    ("method", "path", "keywords", "message"),
    [
        ("get", "/x", {}, "method must be one of GET, POST, PUT, PATCH, DELETE"),
        ("HEAD", "/x", {}, "method must be"),
        (None, "/x", {}, "method must be"),
        ("GET", "x", {}, "path must begin with /"),
        ("GET", "https://evil.example/x", {}, "path must begin with /"),
        ("GET", "//evil.example/x", {}, "begin with //"),
        ("GET", "/x?y=1", {}, "path must"),
        ("GET", "/x y", {}, "path must"),
        ("GET", "/é", {}, "path must"),
        ("GET", "/x\r\nHost: y", {}, "path must"),
        ("GET", "/a/../b", {}, "dot segments"),
        ("GET", "/a/%2e%2e/b", {}, "dot segments"),
        ("GET", "/{id}", {}, "path must"),
        ("GET", 5, {}, "path must"),
        ("GET", "/x", {"body": {}}, "a GET takes no body"),
        ("POST", "/x", {"body": object()}, "the body cannot be sent"),
        ("POST", "/x", {"body": {"a": [float("nan")]}}, r"\$\.a\[0\]: must be a finite number"),
        ("POST", "/x", {"body": User(id="u", unified_custom_fields={"a": float("inf")})}, "must be a finite number"),
        ("POST", "/x", {"body": {"a": "\ud800"}}, "half a surrogate pair"),
        ("POST", "/x", {"body": {1: 2}}, "keys must be strings, not int"),
        ("POST", "/x", {"body": b'{"a":1}'}, "bytes has no JSON form"),
        ("POST", "/x", {"body": {"a": [bytearray(b"x")]}}, r"\$\.a\[0\]: bytearray has no JSON form"),
        ("POST", "/x", {"body": datetime(2024, 1, 1)}, "the body cannot be sent"),  # noqa: DTZ001
        ("GET", "/x", {"query": "a=1"}, "query must be a mapping"),
        ("GET", "/x", {"headers": {"Host": "y"}}, "Host is set by the client"),
        ("GET", "/x", {"headers": "x"}, "must be a mapping"),
        ("GET", "/x", {"account_id": 5}, "account id must be a string"),
        ("GET", "/x", {"answer": 5}, "answer must be a type"),
    ],
)
@virtual
async def test_what_cannot_be_sent_is_refused(method: Any, path: Any, keywords: dict[str, Any], message: str) -> None:
    transport = FakeTransport(reply(200, {}))
    with pytest.raises(InvalidArgumentError, match=message):
        await client_of(transport).request(method, path, **keywords)
    assert transport.sent == []


@virtual
async def test_a_full_stack_is_not_blamed_on_the_type(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise RecursionError

    monkeypatch.setattr("stackone_lms.calls.request.RequestOperation", full)
    with pytest.raises(RecursionError):
        await client_of(FakeTransport(reply(200, {}))).request("GET", "/x", answer=User)


def test_the_blocking_client_has_it_too() -> None:
    with SyncClient(KEY, ACCOUNT, transport=FakeTransport(reply(200, [{"id": "u"}]))) as client:
        found = client.request("GET", "/users", answer=list[User])
        assert_type(found, RequestResult[list[User]])
        assert [user.id for user in found.data] == ["u"]
        with pytest.raises(InvalidArgumentError):
            client.request("GET", "users")


@virtual
async def test_options_of_a_view_are_told_their_place() -> None:
    transport = FakeTransport(reply(200, {}))
    client: Any = client_of(transport)
    with pytest.raises(TypeError, match=r"request\(\) .*'timeout'; write client\.with_options\(timeout=\.\.\.\)"):
        await client.request("GET", "/x", timeout=3)
    with pytest.raises(TypeError, match=r"'params'; allowed: account_id, answer, body, headers, query"):
        await client.request("GET", "/x", params={})
    with SyncClient(KEY, ACCOUNT) as blocking, pytest.raises(TypeError, match=r"with_options\(retry="):
        cast("Any", blocking).request("GET", "/x", retry=3)
    assert not transport.sent
