"""`with_options`: cheap views of one client, which differ in their options and share all else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from inspect import isawaitable
from typing import Any, cast

import pytest

from stackone_lms import AsyncClient, RateLimit, RetryPolicy, SyncClient, Timeout
from stackone_lms.errors import (
    APITimeoutError,
    ClientClosedError,
    IdMismatchError,
    InternalServerError,
    InvalidArgumentError,
)
from stackone_lms.transport.base import Response
from tests.fake.fakes import (
    ACCOUNT,
    KEY,
    FakeTransport,
    client_of,
    created,
    engine_of,
    error,
    hang,
    now,
    page,
    record,
    reply,
    slowly,
    virtual,
)

from ..conftest import OwnLog
from ..counting import FunctionCalls


@virtual
async def test_a_view_sends_its_own_account_and_the_client_keeps_its_own() -> None:
    transport = FakeTransport(record())
    client = client_of(transport)
    view = client.with_options(account_id="acct-other")
    for one in (view, client, view.with_options(heartbeat=True), client.with_options()):
        await one.completions.get("c1")
    assert [sent.headers["x-account-id"] for sent in transport.sent] == ["acct-other", ACCOUNT, "acct-other", ACCOUNT]
    assert [sent.headers.get("Prefer") for sent in transport.sent] == [None, None, "heartbeat", None]
    assert len({sent.headers["Authorization"] for sent in transport.sent}) == 1


@virtual
async def test_options_add_up_and_can_be_taken_back() -> None:
    transport = FakeTransport(error(500))
    view = client_of(transport).with_options(retry=RetryPolicy(attempts=1)).with_options(heartbeat=True)
    with pytest.raises(InternalServerError):
        await view.completions.get("c1")
    assert len(transport.sent) == 1
    with pytest.raises(InternalServerError):
        await view.with_options(retry=RetryPolicy(attempts=2), heartbeat=False).completions.get("c1")
    assert [sent.headers.get("Prefer") for sent in transport.sent] == ["heartbeat", None, None]


@virtual
async def test_a_view_has_its_own_time_limits() -> None:
    transport, start = FakeTransport(hang), now()
    client = client_of(transport, retry=RetryPolicy(attempts=1))
    with pytest.raises(APITimeoutError):
        await client.with_options(timeout=Timeout(total=2)).completions.get("c1")
    assert now() - start == 2


@virtual
async def test_a_view_keeps_unknown_fields_if_told_to() -> None:
    client = client_of(FakeTransport(record(odd_field=[1])))
    answer = await client.completions.get("c1")
    assert answer.data.extra == {}
    answer = await client.with_options(keep_unknown=True).completions.get("c1")
    assert answer.data.extra == {"odd_field": [1]}


@virtual
async def test_all_views_share_one_session_one_rate_limit_and_one_set_of_slots() -> None:
    transport, start = FakeTransport(slowly(1, record())), now()
    client = client_of(transport, rate_limit=RateLimit(2, per=60, burst=2), max_concurrency=1)
    views = [client.with_options(account_id=f"acct-{n}") for n in range(3)]
    await asyncio.gather(*(view.completions.get("c1") for view in views))
    assert transport.opened == transport.most_under_way == 1
    assert [at - start for at in transport.times] == pytest.approx([0, 1, 60], rel=0.02)


@virtual
async def test_all_views_share_one_retry_budget() -> None:
    transport = FakeTransport(error(500))
    client = client_of(transport, retry=RetryPolicy(attempts=3, budget=28))
    for n in range(10):
        view = client.with_options(account_id=f"acct-{n}", retry=RetryPolicy(attempts=3, budget=500))
        with pytest.raises(InternalServerError):
            await view.completions.get("c1")
    assert len(transport.sent) == 12


@virtual
async def test_closing_a_view_closes_them_all() -> None:
    transport = FakeTransport(record())
    client = client_of(transport)
    view = client.with_options(heartbeat=True)
    await client.completions.get("c1")
    assert not client.closed
    async with view:
        pass
    assert client.closed
    assert view.closed
    assert transport.closed == 1
    for one in (client, view, client.with_options(heartbeat=True)):
        with pytest.raises(ClientClosedError):
            await one.completions.get("c1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"account_id": ""},
        {"account_id": "a b"},
        {"account_id": 5},
        {"timeout": "5"},
        {"timeout": None},
        {"retry": "5"},
        {"retry": None},
        {"heartbeat": 1},
        {"heartbeat": None},
        {"keep_unknown": "yes"},
    ],
    ids=str,
)
@virtual
async def test_a_value_that_cannot_be_is_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        client_of(FakeTransport()).with_options(**wrong)


@pytest.mark.parametrize("wrong", ["api_key", "base_url", "accountid", "rate_limit", "transport"])
@virtual
async def test_an_option_that_is_none_is_a_type_error(wrong: str) -> None:
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{wrong}'; allowed: account_id, "):
        client_of(FakeTransport()).with_options(**{wrong: "x"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]


@virtual
async def test_a_view_is_of_the_same_kind_and_looks_like_it() -> None:
    class Mine(AsyncClient):
        """A subclass with an attribute of its own."""

        tag = "none"

    client = Mine("key", "acct-x", transport=FakeTransport(record()))
    client.tag = "mine"
    view = client.with_options(account_id="acct-y")
    assert (type(view), view.tag, view.base_url) == (Mine, "mine", client.base_url)
    assert view.completions is not client.completions
    assert view.users.completions is not client.users.completions


async def functions_called(work: Callable[[], Any]) -> int:
    with FunctionCalls() as calls:
        result = work()
        if isawaitable(result):
            await result
    return calls.count


@virtual
async def test_a_view_costs_next_to_nothing() -> None:
    """Counted in functions called, which is what it costs on any machine: none for each of what the client has."""
    client = client_of(FakeTransport())
    client.with_options(account_id="first")
    costs = [await functions_called(partial(client.with_options, account_id=f"acct-{n}")) for n in range(200)]
    assert max(costs) < 150
    assert len(engine_of(client).admission.limits) == 0


FIRST_CALLS: dict[str, tuple[Callable[[AsyncClient], Any], Response]] = {
    "read": (lambda client: client.completions.get("c1"), record()),
    "nested-read": (lambda client: client.users.completions.get("u", "c1"), record()),
    "list": (lambda client: client.completions.list().first_page(), page([])),
    "write": (lambda client: client.users.completions.create("u", learning_object_external_reference="x"), created()),
    "bulk": (lambda client: client.completions.get_many([]), record()),
}


@pytest.mark.parametrize("name", FIRST_CALLS)
@virtual
async def test_the_first_call_on_a_fresh_view_costs_hardly_more_than_one_on_a_kept_view(name: str) -> None:
    """A resource, a method bound, and the limit of the account: signatures and docstrings are not made anew."""
    call, answer = FIRST_CALLS[name]
    client = client_of(FakeTransport(answer))
    kept = client.with_options(account_id="kept")
    for _ in range(3):
        await functions_called(partial(call, kept))
    fresh = client.with_options(account_id="fresh")
    of_fresh, of_kept = [await functions_called(partial(call, view)) for view in (fresh, kept)]
    assert of_fresh - of_kept < 40


@virtual
async def test_errors_of_a_view_show_the_account_and_not_the_key() -> None:
    client = client_of(FakeTransport(reply(400, {"message": f"acct-view-7 and {KEY}"}), error(400, "acct-view-7")))
    with pytest.raises(Exception, match=r"^completions.get: 400 acct-view-7 and \*\*\*"):
        await client.with_options(account_id="acct-view-7").completions.get("c1")


@virtual
async def test_ids_are_compared_unless_the_client_or_a_view_says_no() -> None:
    transport = FakeTransport(record("other"))
    client = client_of(transport, verify_ids=False)
    assert (await client.completions.get("c1")).data.id == "other"
    assert len(transport.sent) == 1
    careful = client.with_options(verify_ids=True)
    with pytest.raises(IdMismatchError) as caught:
        await careful.completions.get("c1")
    assert (len(transport.sent), caught.value.body, caught.value.result.data.id) == (3, record("other").body, "other")
    assert (await careful.with_options(verify_ids=False).completions.get("c1")).data.id == "other"
    assert client.stats().doubtful_ids == 0
    with pytest.raises(InvalidArgumentError, match="verify_ids must be True or False"):
        client.with_options(verify_ids=cast("Any", 0))


@virtual
async def test_an_answer_that_may_be_of_another_record_is_counted_each_time_and_logged_once(
    own_log: OwnLog,
) -> None:
    """Whoever asks for an e-mail address gets StackOne's id of the user, which holds another one."""
    transport = FakeTransport(record("c28xIQaWQ6MQ"))
    client = client_of(transport)
    for n in range(3):
        view = client.with_options(account_id=f"account-{n}")
        assert (await view.users.get("ann@example.com")).data.id == "c28xIQaWQ6MQ"
    assert (client.stats().doubtful_ids, len(transport.sent)) == (3, 3)
    (noted,) = [record for record in own_log() if record.levelname == "WARNING"]
    assert noted.getMessage() == (
        "users.get asked for 'ann@example.com' and got 'c28xIQaWQ6MQ', which may be another record; "
        "stats() counts such answers"
    )
    await client.with_options(verify_ids=False).users.get("ann@example.com")
    assert client.stats().doubtful_ids == 3


def test_the_blocking_client_compares_ids_too() -> None:
    with SyncClient(KEY, ACCOUNT, transport=FakeTransport(record("other")), verify_ids=False) as client:
        assert client.completions.get("c1").data.id == "other"
        with pytest.raises(IdMismatchError):
            client.with_options(verify_ids=True).completions.get("c1")
