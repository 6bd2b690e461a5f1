"""What a caller adds to requests: headers, query parameters, filters that the API document does not have."""

from __future__ import annotations

import asyncio
import json
import pickle
import warnings
from operator import attrgetter
from typing import Any
from urllib.parse import parse_qsl

import pytest

from stackone_lms import AsyncClient, SyncClient
from stackone_lms.base_client import bound_executor_of
from stackone_lms.errors import BadRequestError, ConfigurationError, InvalidArgumentError
from tests.fake.fakes import ACCOUNT, KEY, FakeTransport, client_of, page, record, reply, virtual

TOKEN = "gateway-token-1234"


@virtual
async def test_extra_headers_go_with_every_request() -> None:
    transport = FakeTransport(record(), page([]), reply(201, {"statusCode": 201, "data": {"id": "n"}}))
    client = client_of(transport, extra_headers={"x-gateway": TOKEN, "USER-AGENT": "mine"})
    await client.completions.get("c1")
    await client.completions.list()
    await client.users.completions.create("u", learning_object_external_reference="c")
    for sent in transport.sent:
        assert sent.headers["x-gateway"] == TOKEN
        assert sent.headers["USER-AGENT"] == "mine"
        assert "User-Agent" not in sent.headers
        assert sent.headers["x-account-id"] == ACCOUNT
    assert transport.sent[-1].headers["Content-Type"] == "application/json"


@virtual
async def test_a_view_keeps_them_or_has_others() -> None:
    transport = FakeTransport(record())
    client = client_of(transport, extra_headers={"x-a": "1"}, extra_query={"a": 1})
    view = client.with_options(account_id="other")
    replaced = view.with_options(extra_headers={"x-b": "2"}, extra_query={"b": {"c": [True, None, "é"]}})
    for one in (client, view, replaced, replaced.with_options(extra_headers={}, extra_query={})):
        await one.completions.get("c1", raw=True)
    assert [(s.headers.get("x-a"), s.headers.get("x-b")) for s in transport.sent] == [
        ("1", None),
        ("1", None),
        (None, "2"),
        (None, None),
    ]
    assert [parse_qsl(sent.query) for sent in transport.sent] == [
        [("raw", "true"), ("a", "1")],
        [("raw", "true"), ("a", "1")],
        [("raw", "true"), ("b[c]", "true"), ("b[c]", "é")],
        [("raw", "true")],
    ]


@virtual
async def test_an_extra_query_is_on_every_page_and_alone_where_there_is_no_other() -> None:
    transport = FakeTransport(page(["1"], "A"), page(["2"]), record())
    client = client_of(transport, extra_query={"unified": "v2"})
    await client.completions.list().collect()
    await client.completions.get("c1")
    assert [parse_qsl(sent.query)[-1] for sent in transport.sent] == [("unified", "v2")] * 3
    assert transport.sent[-1].query == "unified=v2"


@pytest.mark.parametrize("kind", [AsyncClient, SyncClient])
@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("extra_headers", {"Authorization": "secret-value"}, "Authorization is set by the client"),
        ("extra_headers", {"X-Account-ID": "secret-value"}, "set by the client"),
        ("extra_headers", {"host": "secret-value"}, "set by the client"),
        ("extra_headers", {"content-length": "secret-value"}, "set by the client"),
        ("extra_headers", {"x y": "secret-value"}, "cannot be the name of a header"),
        ("extra_headers", {"": "secret-value"}, "cannot be the name of a header"),
        ("extra_headers", {5: "secret-value"}, "cannot be the name of a header"),
        ("extra_headers", {"x-a": "secret-value\r\nx-b: 1"}, "x-a holds control characters"),
        ("extra_headers", {"x-a": " secret-value"}, "white space around it"),
        ("extra_headers", {"x-a": 5}, "x-a must be a string, not int"),
        ("extra_headers", ["x-a"], "must be a mapping of strings, not list"),
        ("extra_query", "secret-value", "must be a mapping, not str"),
        ("extra_query", {"": 1}, "non-empty strings as keys"),
        ("extra_query", {"a": object()}, "a cannot be sent as object"),
        ("extra_query", {"a": float("nan")}, "finite"),
    ],
)
def test_what_cannot_be_sent_is_refused_at_once(kind: Any, option: str, value: object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        kind(KEY, ACCOUNT, **{option: value})
    assert "secret-value" not in str(caught.value)
    with pytest.raises(InvalidArgumentError, match=message):
        kind(KEY, ACCOUNT).with_options(**{option: value})


@virtual
async def test_the_values_of_extra_headers_are_shown_nowhere() -> None:
    transport = FakeTransport(reply(400, {"statusCode": 400, "message": f"no {TOKEN} here, no {KEY}"}))
    client = client_of(transport, extra_headers={"x-gateway": TOKEN})
    with pytest.raises(BadRequestError) as caught:
        await client.completions.get("c1")
    settings = bound_executor_of(client).settings
    shown = [str(caught.value), repr(caught.value.body), repr(client), repr(settings), repr(dict(settings.headers))]
    shown += [repr(settings.extra_headers), repr(dict(settings.body_headers))]
    assert [text for text in shown if TOKEN in text or KEY in text] == []
    assert "no *** here, no ***" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "sent", "told"),
    [
        ({"title": "Safety"}, [("filter[title]", "Safety")], "filter title"),
        ({"status": "archived"}, [("filter[status]", "archived")], "filter status=archived"),
        ({"tag": ["a", "b"]}, [("filter[tag]", "a"), ("filter[tag]", "b")], "filter tag"),
        ({"status": ["pending"]}, [("filter[status]", "pending")], r"filter status=\['pending'\]|filter status"),
        ({"age": {"eq": 25}}, [("filter[age][eq]", "25")], "filter age"),
        ({"flag": True, "n": 5}, [("filter[flag]", "true"), ("filter[n]", "5")], "filter flag, n"),
    ],
)
@virtual
async def test_filters_that_the_document_lacks_are_sent_with_one_warning(
    given: dict[str, Any], sent: list[tuple[str, str]], told: str
) -> None:
    transport = FakeTransport(page(["1"], "A"), page(["2"]))
    with pytest.warns(UserWarning, match=told) as warned:
        pager = client_of(transport).assignments.list(filter=given)
    assert [one.filename for one in warned] == [__file__]
    assert len(await pager.collect()) == 2
    assert [parse_qsl(one.query)[: len(sent)] for one in transport.sent] == [sent, sent]


@virtual
async def test_filters_of_the_document_and_keywords_are_as_strict_as_ever() -> None:
    client = client_of(FakeTransport(page([])))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await client.assignments.list(filter={"status": "pending", "updated_after": None})
        with pytest.raises(InvalidArgumentError, match="status 'archived' is unknown"):
            client.assignments.list(status="archived")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        with pytest.raises(TypeError, match="unexpected keyword argument 'title'"):
            client.assignments.list(title="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        with pytest.raises(InvalidArgumentError, match="active accepts only True"):
            client.courses.list(active=False)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.warns(UserWarning, match="active=False"):
        client.courses.list(filter={"active": False})
    with pytest.warns(UserWarning, match="filter x"), pytest.raises(InvalidArgumentError, match="x cannot be sent"):
        client.courses.list(filter={"x": object()})


def test_the_blocking_client_has_them_too() -> None:
    transport = FakeTransport(record())
    with SyncClient(KEY, ACCOUNT, transport=transport, extra_headers={"x-a": "1"}) as client:
        client.with_options(extra_query={"b": 2}).completions.get("c1")
    assert (transport.sent[0].headers["x-a"], transport.sent[0].query) == ("1", "b=2")


REFERENCED = {"external_reference": "e"}
LEARNED = {"learning_object_external_reference": "e"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "ids", "body"),
    [
        ("content.upsert", (), REFERENCED),
        ("content.update", ("1",), REFERENCED),
        ("courses.upsert", (), REFERENCED),
        ("collections.create", (), {**REFERENCED, "title": "t"}),
        ("collections.update", ("1",), {**REFERENCED, "title": "t"}),
        ("users.assignments.create", ("u",), LEARNED),
        ("users.completions.create", ("u",), LEARNED),
        ("connect_sessions.create", (), {"origin_owner_id": "o", "origin_owner_name": "n"}),
        ("content.batch_upsert", (), REFERENCED),
        ("courses.batch_upsert", (), REFERENCED),
    ],
)
def test_every_write_takes_keys_that_the_document_lacks(name: str, ids: tuple[str, ...], body: dict[str, str]) -> None:
    extra = {"vendor": [1]}
    transport = FakeTransport(reply(201, {"statusCode": 201, "message": "ok", "data": {"id": "1"}, "id": 1}))

    def give(client: AsyncClient | SyncClient, extra: object, **more: object) -> Any:
        write, whole = attrgetter(name)(client), {**body, "extra": extra, **more}
        return write([whole]) if name.endswith("batch_upsert") else write(*ids, whole)

    async def on_loop() -> None:
        client = client_of(transport)
        await give(client, extra)
        with pytest.raises(InvalidArgumentError, match=r"extra\.\w+: is a key of"):
            await give(client, body)

    asyncio.run(on_loop())
    with SyncClient(KEY, ACCOUNT, transport=transport) as client:
        give(client, extra)
        with pytest.raises(InvalidArgumentError, match=r"vendor: is no key of .* go into extra="):
            give(client, extra, vendor=[1])
        if not name.endswith("batch_upsert"):
            attrgetter(name)(client)(*ids, **body, extra=extra)
    sent = [json.loads(request.body or b"") for request in transport.sent]
    assert len(sent) == 2 + (not name.endswith("batch_upsert"))
    for one in sent:
        assert (one["items"][0] if "items" in one else one) == {**body, **extra}


@virtual
@pytest.mark.parametrize("items", [1, 10_001])
@pytest.mark.parametrize("keep_unknown", [False, True])
async def test_the_result_of_a_batch_is_plain_data(items: int, keep_unknown: bool) -> None:
    answer = reply(202, {"statusCode": 202, "message": "accepted", "errors": [], "new": 1})
    client = client_of(FakeTransport(answer), keep_unknown=keep_unknown)
    result = await client.content.batch_upsert([{"external_reference": str(n)} for n in range(items)])
    assert repr(result).startswith("BatchResult(status_code=202, message='accepted'")
    assert json.loads(result.to_json()) == result.to_dict()
    for part in result.parts:
        assert (part.extra, part.problems) == ({"new": 1} if keep_unknown else {}, ())
    copy = pickle.loads(pickle.dumps(result))
    assert (copy, copy.items, len(copy.items)) == (result, result.items, items)
