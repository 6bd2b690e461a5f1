"""What hooks may do to a request, what they may not, and what becomes of a call whose hook fails or takes long."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from stackone_lms import (
    APITimeoutError,
    AsyncClient,
    BadRequestError,
    ConfigurationError,
    ConnectError,
    HookRequest,
    HookResponse,
    HookRetry,
    InvalidArgumentError,
    RetryPolicy,
    SyncClient,
    Timeout,
)
from stackone_lms.base_client import bound_executor_of
from stackone_lms.engine.headers import RequestHeaders

from .fakes import ACCOUNT, KEY, FakeTransport, client_of, created, error, hang, now, record, refused, virtual


@virtual
async def test_each_attempt_begins_with_the_headers_of_the_view() -> None:
    def sign(request: HookRequest) -> None:
        assert "x-signature" not in request.headers
        request.headers["x-signature"] = f"{request.attempt} at {now():.0f}"

    transport = FakeTransport(refused(), refused(), created())
    client = client_of(transport, on_request=sign, extra_headers={"x-extra": "1"}, retry=RetryPolicy(base=20, cap=20))
    await client.users.completions.create("u", learning_object_external_reference="c")
    signatures = [sent.headers["x-signature"] for sent in transport.sent]
    assert signatures == [f"{n} at {sent.at:.0f}" for n, sent in enumerate(transport.sent, 1)]
    assert len(set(signatures)) == 3
    for sent in transport.sent:
        assert (sent.headers["x-extra"], sent.headers["x-account-id"]) == ("1", ACCOUNT)
        assert sent.headers["Content-Type"] == "application/json"
        assert sent.headers["Authorization"].startswith("Basic ")


def ignore(request: HookRequest) -> None:
    pass


@virtual
async def test_nothing_is_copied_for_hooks_that_add_nothing() -> None:
    """So that a transport goes on using what it made of the headers of a view."""
    seen: list[Any] = []

    class Looking(FakeTransport):
        async def send(self, request: Any, limits: Any) -> Any:
            seen.append(request.headers)
            return await super().send(request, limits)

    client = client_of(Looking(record()), on_request=ignore)
    await client.completions.get("c1")
    await client.completions.get("c1")
    assert seen[0] is seen[1]


@virtual
async def test_a_client_without_hooks_looks_for_none() -> None:
    assert bound_executor_of(client_of(FakeTransport(record()), on_request=[], observer=())).settings.hooks is None
    assert bound_executor_of(client_of(FakeTransport(record()), on_response=print)).settings.hooks is not None


def replace(request: HookRequest) -> dict[str, str]:
    request.headers["USER-AGENT"] = "mine"
    del request.headers["X-Extra"]
    request.headers.update({"x-a": "1"}, accept="application/json;q=1")
    assert request.headers.pop("x-a") == "1"
    return {"X-B": ""}


@virtual
async def test_headers_are_replaced_and_deleted_in_any_case() -> None:
    transport = FakeTransport(record())
    await client_of(transport, on_request=replace, extra_headers={"x-extra": "1"}).completions.get("c1")
    headers = {name.lower(): value for name, value in transport.sent[0].headers.items()}
    assert len(headers) == len(transport.sent[0].headers)
    assert (headers["user-agent"], headers["accept"], headers["x-b"]) == ("mine", "application/json;q=1", "")
    assert headers.keys().isdisjoint({"x-extra", "x-a"})


def deletes(name: str) -> Callable[[HookRequest], None]:
    return lambda request: request.headers.__delitem__(name)


WRONG: list[tuple[Callable[[HookRequest], Any], str]] = [
    (lambda request: {"Authorization": "secret-value"}, "Authorization is set by the client; not to be given are"),
    (lambda request: request.headers.update({"X-Account-Id": "secret-value"}), "X-Account-Id is set by the client"),
    (lambda request: request.headers.update(host="secret-value"), "host is set by the client"),
    (lambda request: {"content-length": "secret-value"}, "content-length is set by the client"),
    (lambda request: {"x-a": "secret-value\r\nx-b: 1"}, "x-a holds control characters"),
    (lambda request: {"x-a": b"secret-value"}, "x-a must be a string, not bytes"),
    (lambda request: {"x a": "secret-value"}, "'x a' cannot be the name of a header"),
    (lambda request: {5: "secret-value"}, "5 cannot be the name of a header"),
    (lambda request: "secret-value", "on_request must return a mapping of headers or None, not str"),
    (lambda request: [("x-a", "secret-value")], "mapping of headers or None, not list"),
    (deletes("Accept"), "Accept is set by the client and cannot be deleted"),
    (deletes("x-account-id"), "cannot be deleted"),
    (deletes("Authorization"), "cannot be deleted"),
]


@pytest.mark.parametrize(("hook", "message"), WRONG)
@virtual
async def test_what_cannot_be_sent_ends_the_call_before_it_is_sent(hook: Any, message: str) -> None:
    transport = FakeTransport(record())
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        await client_of(transport, on_request=hook).completions.get("c1")
    assert transport.sent == []
    assert "secret-value" not in str(caught.value)
    assert caught.value.operation == "completions.get"


class Takes:
    async def __call__(self, response: HookResponse) -> None:
        raise NotImplementedError


def yields(request: object) -> Any:
    yield


async def yields_later(request: object) -> Any:
    yield


@pytest.mark.parametrize("kind", [AsyncClient, SyncClient])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"on_request": 5}, "on_request must be a function of one argument, the HookRequest, or a list .*, not int"),
        ({"on_response": "x"}, "the HookResponse, or a list of such functions, not str"),
        ({"on_retry": {"a": print}}, "the HookRetry, or a list of such functions, not dict"),
        ({"on_retry": [print, None]}, "not NoneType"),
        ({"on_request": now}, "too many positional arguments"),
        ({"on_request": divmod}, "missing a required argument: 'y'"),
        ({"on_request": yields}, "not a generator function"),
        ({"on_response": [yields_later]}, "not a generator function"),
    ],
)
def test_what_is_no_hook_is_refused_at_once(kind: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        kind(KEY, ACCOUNT, **given)


def test_whatever_takes_one_argument_is_a_hook() -> None:
    AsyncClient(KEY, ACCOUNT, on_request=print, on_response=[Takes(), print], on_retry=print)


@virtual
async def test_a_hook_that_never_ends_costs_the_time_of_the_call() -> None:
    async def never(_: object) -> None:
        await asyncio.get_running_loop().create_future()

    timeout = Timeout(connect=1, read=2, attempt=3, total=40)
    for name in ("on_request", "on_response", "on_retry"):
        transport = FakeTransport(refused() if name == "on_retry" else record())
        client = client_of(transport, timeout=timeout, **{name: never})
        began = now()
        with pytest.raises(APITimeoutError, match="the call took too long") as caught:
            await client.completions.get("c1")
        assert caught.value.phase == "total"
        assert now() - began == pytest.approx(40, abs=0.1)
        assert len(transport.sent) == (name != "on_request")
        assert client.stats().in_flight == 0


@virtual
async def test_a_hook_takes_nothing_from_the_time_of_the_attempt() -> None:
    async def slow(_: object) -> None:
        await asyncio.sleep(10)

    client = client_of(FakeTransport(record()), timeout=Timeout(1, 2, 3, 40), on_request=slow, on_response=slow)
    assert (await client.completions.get("c1")).attempts == 1


@virtual
async def test_closing_the_client_ends_a_hook() -> None:
    entered = asyncio.Event()

    async def never(_: object) -> None:
        entered.set()
        await asyncio.get_running_loop().create_future()

    client = client_of(FakeTransport(record()), on_request=never)
    call = asyncio.ensure_future(client.completions.get("c1"))
    await entered.wait()
    await client.aclose()
    with pytest.raises(Exception, match="the client was closed during the call"):
        await call


def add_token(request: HookRequest) -> dict[str, str]:
    return {"x-token": "added-token-1"}


@virtual
async def test_the_values_that_were_added_are_taken_out_of_what_the_server_echoes() -> None:
    seen: list[HookResponse] = []
    transport = FakeTransport(error(400, f"who is added-token-1 with {KEY}", X_Echo="added-token-1"))
    client = client_of(transport, on_request=add_token, on_response=seen.append)
    with pytest.raises(BadRequestError, match=r"who is \*\*\* with \*\*\*") as caught:
        await client.completions.get("c1")
    assert caught.value.headers["x-echo"] == "***"
    assert seen[0].headers["x-echo"] == "***"
    assert b"added-token-1" not in seen[0].body
    assert KEY.encode() not in seen[0].body


@virtual
async def test_what_is_received_is_neither_pickled_nor_changed() -> None:
    seen: list[Any] = []
    transport = FakeTransport(refused(), record())
    client = client_of(transport, on_request=seen.append, on_response=seen.append, on_retry=seen.append)
    await client.completions.get("c1", raw=True)
    assert [type(one) for one in seen] == [HookRequest, HookRetry, HookRequest, HookResponse]
    for one in seen:
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(one)
        with pytest.raises(AttributeError):
            one.headers = {}
    assert (seen[0].query, seen[0].body) == ("raw=true", None)
    assert isinstance(seen[1].error, ConnectError)
    assert str(seen[1].error).startswith("completions.get: ")


@virtual
async def test_a_retry_may_be_refused_by_raising_its_error() -> None:
    def refuse(retry: HookRetry) -> None:
        raise retry.error

    transport = FakeTransport(error(503), record())
    with pytest.raises(Exception, match="503") as caught:
        await client_of(transport, on_retry=refuse).completions.get("c1")
    assert (caught.value.attempts, len(transport.sent)) == (1, 1)  # type: ignore[attr-defined]


@virtual
async def test_cancelling_the_call_cancels_the_hook() -> None:
    async def ask(request: HookRequest) -> None:
        await asyncio.get_running_loop().create_future()

    client = client_of(FakeTransport(hang), on_request=ask)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.completions.get("c1"), 5)
    assert client.stats().in_flight == 0


def test_the_headers_are_a_mapping_without_the_key() -> None:
    headers = RequestHeaders({"Authorization": "Basic x", "Accept": "a", "x-account-id": "b"})
    assert dict(headers) == {"Accept": "a", "x-account-id": "b"}
    number: object = 5
    assert (len(headers), "ACCEPT" in headers, "authorization" in headers, number in headers) == (2, True, False, False)
    with pytest.raises(KeyError):
        headers["authorization"]
    headers.setdefault("x-new", "secret")
    assert repr(headers) == "RequestHeaders({'Accept': 'a', 'x-account-id': 'b', 'x-new': '***'})"
