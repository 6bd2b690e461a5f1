"""What `get_many` yields: one outcome an id, whatever happens to it."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from stackone_lms import AsyncClient
from stackone_lms.calls.outcomes import AccountOutcome, Outcome
from stackone_lms.errors import (
    ConnectionLostError,
    InvalidArgumentError,
    NotFoundError,
    StackOneError,
)
from stackone_lms.models import CompletionResult
from stackone_lms.transport.base import Response, TransportError

from .server import ONCE, Server, client, ids, instantly, refuse


async def collect(of: AsyncClient, some: Any, **options: Any) -> list[Outcome[CompletionResult]]:
    return [outcome async for outcome in of.completions.get_many(some, **options)]


async def test_each_id_gets_one_outcome_with_the_answer_of_get() -> None:
    """Every id is fetched once, and its outcome holds what `get` returns."""
    server = Server(latency=lambda _, one: 0.001 * (hash(one) % 3))
    async with client(server) as of:
        outcomes = await collect(of, ids(300))
    assert Counter(outcome.id for outcome in outcomes) == Counter(ids(300))
    assert set(server.fetched.values()) == {1}
    for outcome in outcomes:
        result = outcome.unwrap()
        assert isinstance(result, CompletionResult)
        assert outcome.ok
        assert outcome.error is None
        assert result.data.id == outcome.id
        assert result.request_id == f"r-{outcome.id}"
        assert result.attempts == 1


async def test_a_failed_id_is_an_outcome_and_costs_no_other() -> None:
    """An id that does not exist, and one that cannot be sent, become outcomes with errors."""
    server = Server(lambda one, _: refuse(404) if one == "gone" else None)
    async with client(server) as of:
        outcomes = await collect(of, ["a", "gone", "..", "", "b", 7, None, ["x"]])
    by_kind: dict[str, list[Any]] = {}
    for outcome in outcomes:
        by_kind.setdefault(type(outcome.error).__name__, []).append(outcome.id)
    assert sorted(by_kind["NoneType"]) == ["a", "b"]
    assert by_kind["NotFoundError"] == ["gone"]
    assert sorted(by_kind["InvalidArgumentError"], key=repr) == sorted(["..", "", 7, None, ["x"]], key=repr)
    assert server.fetched == {"a": 1, "b": 1, "gone": 1}


async def test_unwrap_raises_the_error() -> None:
    """`unwrap` returns the result or raises the very error."""
    async with client(Server(lambda _one, _n: refuse(404))) as of:
        (outcome,) = await collect(of, ["gone"])
    assert not outcome.ok
    assert outcome.result is None
    with pytest.raises(NotFoundError) as caught:
        outcome.unwrap()
    assert caught.value is outcome.error


@pytest.mark.parametrize("ordered", [False, True])
async def test_with_random_faults_every_id_has_exactly_one_outcome(ordered: bool) -> None:
    """5 % of all requests fail in many ways, and still each id is answered exactly once."""
    random = Random(7)

    def script(_id: str, _n: int) -> Response | Exception | None:
        if random.random() > 0.05:
            return None
        faults: list[Response | Exception] = [
            refuse(500),
            refuse(503),
            refuse(429),
            refuse(404),
            refuse(422),
            Response(200, {}, b'{"data":{"id":'),
            Response(200, {}, b'{"data":{"id":"other"}}'),
            TransportError(ConnectionLostError("lost"), request_sent=True),
        ]
        return faults[random.randrange(len(faults))]

    server = Server(script, latency=0.0005)
    async with client(server, sleep=instantly) as of:
        outcomes = await collect(of, ids(3000), ordered=ordered)
    assert Counter(outcome.id for outcome in outcomes) == Counter(ids(3000))
    assert all((outcome.result is None) != (outcome.error is None) for outcome in outcomes)
    assert all(o.result.data.id == o.id for o in outcomes if o.result)
    assert server.peak <= 100
    if ordered:
        assert [outcome.id for outcome in outcomes] == ids(3000)


async def test_ordered_yields_in_the_order_of_the_ids() -> None:
    """With `ordered=True` the order is that of the ids, also where the first is the slowest."""
    server = Server(latency=lambda _, one: 0.05 if one in {"id-0", "id-40"} else 0.0)
    async with client(server) as of:
        outcomes = await collect(of, ids(100), ordered=True)
        unordered = await collect(of, ids(100))
    assert [outcome.id for outcome in outcomes] == ids(100)
    assert [outcome.id for outcome in unordered] != ids(100)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("some", [["a", "a", "b", "a"], ["a"] * 700, [*ids(400), *ids(400)], ids(50) * 20])
async def test_duplicates_are_answered_each_and_fetched_once(some: Sequence[str], ordered: bool) -> None:
    """Ids that come again soon are answered once for each time, without another request."""
    server = Server(latency=0.001)
    async with client(server) as of:
        outcomes = await collect(of, some, ordered=ordered)
    assert Counter(outcome.id for outcome in outcomes) == Counter(some)
    assert set(server.fetched.values()) == {1}
    if ordered:
        assert [outcome.id for outcome in outcomes] == list(some)


async def test_far_duplicates_are_fetched_again() -> None:
    """What is remembered is bounded: an id that comes 2,000 ids later is fetched again."""
    server = Server()
    async with client(server) as of:
        await collect(of, ["same", *ids(2000), "same"])
    assert server.fetched["same"] == 2


async def test_large_answers_are_remembered_for_less_long() -> None:
    """What is remembered is bounded in bytes, too: about 8 MiB of answers."""

    class Large(Server):
        def record(self, id: str) -> Response:
            return Response(200, {}, b'{"data":{"id":"%s"}}%s' % (id.encode(), b" " * 65536))

    server = Large()
    async with client(server) as of:
        await collect(of, ["far", *ids(400), "near", *ids(20), "near", "far"], concurrency=1)
    assert (server.fetched["far"], server.fetched["near"]) == (2, 1)


async def test_a_duplicate_of_an_id_that_waits_for_its_second_try_is_answered_too() -> None:
    """Copies of an id that failed for now share its second try."""
    server = Server(lambda one, n: refuse(500) if one == "weak" and n == 1 else None)
    async with client(server, retry=ONCE, sleep=instantly) as of:
        outcomes = await collect(of, ["weak", *ids(100), "weak", "weak"], concurrency=1)
    assert Counter(o.id for o in outcomes) == Counter(["weak", *ids(100), "weak", "weak"])
    assert all(o.ok for o in outcomes)
    assert server.fetched["weak"] == 2


@pytest.mark.parametrize("ordered", [False, True])
async def test_transient_failures_have_a_second_try_after_the_others(ordered: bool) -> None:
    """An id whose call failed for now is tried again after the others, once."""
    seen: list[str] = []

    def script(id: str, n: int) -> Response | None:
        seen.append(id)
        return refuse(500) if (id == "weak" and n == 1) or id == "dead" else None

    server = Server(script)
    async with client(server, retry=ONCE, sleep=instantly) as of:
        outcomes = await collect(of, ["weak", "dead", *ids(20)], ordered=ordered)
    errors = {o.id: type(o.error).__name__ for o in outcomes if o.error}
    assert len(outcomes) == 22
    assert errors == {"dead": "InternalServerError"}
    assert server.fetched["weak"] == server.fetched["dead"] == 2
    if ordered:
        assert [o.id for o in outcomes] == ["weak", "dead", *ids(20)]
    else:
        assert set(seen[-2:]) == {"weak", "dead"}


async def test_a_second_try_comes_a_second_later_at_the_earliest() -> None:
    """Between the two tries of an id lies a second of the client's clock."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    server = Server(lambda one, n: refuse(500) if n == 1 else None)
    async with client(server, retry=ONCE, sleep=sleep) as of:
        await collect(of, ["weak"])
    assert len(slept) == 1
    assert 0.9 < slept[0] <= 1.0


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422])
async def test_final_failures_have_no_second_try(status: int) -> None:
    """What the server refuses for good is asked once."""
    server = Server(lambda _one, _n: refuse(status))
    async with client(server) as of:
        outcomes = await collect(of, ["a", "b"])
    assert [o.error.status for o in outcomes if o.error] == [status, status]
    assert server.fetched == {"a": 1, "b": 1}


@pytest.mark.parametrize("alone", ["id-1", b"id-1", bytearray(b"x")])
async def test_a_single_string_is_refused(alone: Any) -> None:
    """One string is not several ids: InvalidArgumentError at once, before iterating."""
    async with client(Server()) as of:
        with pytest.raises(InvalidArgumentError, match="several ids"):
            of.completions.get_many(alone)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": True}, "concurrency"),
        ({"concurrency": "8"}, "concurrency"),
        ({"ordered": 1}, "ordered"),
        ({"strategy": "best"}, "strategy"),
        ({"strategy": "list", "ordered": True}, "ordered"),
        ({"strategy": "list", "raw": True}, "raw"),
        ({"progress": 3}, "progress"),
        ({"raw": "yes"}, "raw"),
        ({"proxy": 5}, "proxy"),
    ],
)
async def test_arguments_are_checked_at_once(options: dict[str, Any], message: str) -> None:
    """What cannot be used is refused when `get_many` is called, not when it is iterated."""
    async with client(Server()) as of:
        with pytest.raises(InvalidArgumentError, match=message):
            of.completions.get_many(["a"], **options)
        with pytest.raises(InvalidArgumentError, match="iterable"):
            of.completions.get_many(5)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


async def test_unknown_keywords_and_wrong_positions_are_type_errors() -> None:
    """As with a plain function."""
    async with client(Server()) as of:
        with pytest.raises(TypeError, match=r"completions\.get_many\(\) got an unexpected keyword argument 'fi"):
            of.completions.get_many(["a"], filed=["id"])  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
        with pytest.raises(TypeError, match="takes 1"):
            of.completions.get_many(["a"], ["b"])  # type: ignore[call-arg, arg-type] # pyright: ignore[reportCallIssue]
        with pytest.raises(TypeError, match="takes 2"):
            of.users.completions.get_many(["a"])  # type: ignore[call-arg, arg-type] # pyright: ignore[reportCallIssue, reportArgumentType]


async def test_read_options_go_with_every_request() -> None:
    """raw, fields and proxy are sent as with `get`, and `fields` without `id` is no mismatch."""
    queries: list[str] = []

    class Listening(Server):
        async def send(self, request: Any, limits: Any) -> Response:
            queries.append(request.query)
            await super().send(request, limits)
            return Response(200, {}, b'{"data":{"result":{"value":"Pass"}}}')

    async with client(Listening()) as of:
        outcomes = await collect(of, ["c28xIQa", "c28xIQb"], raw=True, fields=["result"], proxy={"a": {"b": 1}})
    assert all(o.ok for o in outcomes)
    assert queries == ["raw=true&fields=result&proxy%5Ba%5D%5Bb%5D=1"] * 2


async def test_records_of_a_user_are_fetched_below_the_user() -> None:
    """`users.completions.get_many(user_id, ids)` puts the user into the path."""
    paths: list[str] = []

    class Listening(Server):
        async def send(self, request: Any, limits: Any) -> Response:
            paths.append(request.path)
            return await super().send(request, limits)

    async with client(Listening()) as of:
        outcomes = [o async for o in of.users.completions.get_many("u/1", ["a", "b"])]
        with pytest.raises(InvalidArgumentError):
            of.users.completions.get_many("..", ["a"])
    assert [o.id for o in outcomes] == ["a", "b"]
    assert paths == [f"/unified/lms/users/u%2F1/completions/{id}" for id in "ab"]


async def test_no_ids_no_outcomes() -> None:
    """An empty input is an empty output, without a request."""
    server = Server()
    async with client(server) as of:
        assert await collect(of, []) == []
        assert await collect(of, iter(()), ordered=True) == []
    assert not server.by_account


def test_outcomes_pickle_and_compare() -> None:
    """Outcomes are plain values, errors included."""
    outcome: Outcome[str] = Outcome("a", error=NotFoundError("gone", status=404))
    again: Outcome[str] = pickle.loads(pickle.dumps(outcome))
    assert again.id == "a"
    assert isinstance(again.error, StackOneError)
    assert again.error.status == 404
    assert Outcome("a", 1) == Outcome("a", 1)


def test_the_repr_of_an_account_outcome_names_the_account() -> None:
    """Account ids are identifiers: with many accounts, one wants to see which it was."""
    outcome = AccountOutcome(account_id="acc-1", id="a", result=1)
    assert repr(outcome) == "AccountOutcome(account_id='acc-1', id='a', result=1, error=None, cursor=None)"
    assert outcome.unwrap() == 1
    failed: AccountOutcome[int] = AccountOutcome(account_id="acc-1", error=NotFoundError("gone"))
    with pytest.raises(NotFoundError):
        failed.unwrap()
