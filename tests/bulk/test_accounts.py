"""Reads over several accounts at once."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from stackone_lms.bulk import merge
from stackone_lms.bulk.progress import Progress
from stackone_lms.calls.outcomes import AccountOutcome
from stackone_lms.errors import ClientClosedError, DecodeError, InvalidArgumentError, StackOneError
from stackone_lms.transport.base import Response
from tests.fake.fakes import now, virtual

from .server import ONCE, Server, blocking, client, ids, refuse

NAMES = ["acc-a", "acc-b", "acc-c"]


async def gather(iterator: AsyncIterator[AccountOutcome[Any]]) -> list[AccountOutcome[Any]]:
    return [outcome async for outcome in iterator]


def pairs(outcomes: list[AccountOutcome[Any]]) -> Counter[tuple[str, str | None]]:
    return Counter((o.account_id, o.id) for o in outcomes)


EVERY = Counter((name, id) for name in NAMES for id in ids(250))


class ByAccount(Server):
    """Answers `script(account, id or page)` if that says something."""

    def __init__(self, rule: Callable[[str, str], Response | None], **options: Any) -> None:
        super().__init__(**options)
        self._rule = rule

    async def _answer(self, account: str, id: str, query: str) -> Response:
        return self._rule(account, id) or await super()._answer(account, id, query)


async def test_get_asks_every_account() -> None:
    """`get` yields an outcome an account; those without the record say so."""
    server = ByAccount(lambda account, _: refuse(404) if account == "acc-b" else None)
    async with client(server) as of:
        outcomes = await gather(of.for_accounts(NAMES).completions.get("x"))
    assert sorted((o.account_id, o.ok) for o in outcomes) == [("acc-a", True), ("acc-b", False), ("acc-c", True)]
    assert {o.unwrap().data.id for o in outcomes if o.ok} == {"x"}
    assert server.by_account == dict.fromkeys(NAMES, 1)


async def test_list_walks_every_account() -> None:
    """All items of all accounts come, each with its account."""
    server = Server(records=ids(250))
    async with client(server) as of:
        outcomes = await gather(of.for_accounts(NAMES).completions.list(page_size=40))
    assert pairs(outcomes) == EVERY
    assert all(o.unwrap().id == o.id for o in outcomes)
    assert server.pages == 3 * 7


async def test_get_many_takes_the_ids_of_each_account() -> None:
    """A mapping gives each account its own ids, from lists, generators, files or asynchronous iterables."""
    server = Server()

    async def some() -> AsyncIterator[str]:
        for id in ids(20):
            yield id

    async with client(server) as of:
        fan = of.for_accounts(NAMES)
        outcomes = await gather(
            fan.completions.get_many({"acc-a": ["x", "y", "x"], "acc-b": iter(ids(30)), "acc-c": some()})
        )
    assert Counter(o.account_id for o in outcomes) == {"acc-a": 3, "acc-b": 30, "acc-c": 20}
    assert server.by_account == {"acc-a": 2, "acc-b": 30, "acc-c": 20}


async def test_get_many_takes_ids_for_every_account(tmp_path: Path) -> None:
    """A collection, or the path of a file, is fetched from each account."""
    path = tmp_path / "ids"
    path.write_text("a\nb\n")
    async with client(Server()) as of:
        fan = of.for_accounts(NAMES)
        for some in (["a", "b"], ("a", "b"), {"a", "b"}, path):
            outcomes = await gather(fan.completions.get_many(some))
            assert pairs(outcomes) == Counter((name, id) for name in NAMES for id in "ab")
        ordered = await gather(fan.completions.get_many(ids(100), ordered=True))
    for name in NAMES:
        assert [o.id for o in ordered if o.account_id == name] == ids(100)


async def test_what_cannot_be_done_is_refused_at_once() -> None:
    """Bad accounts, bad ids and bad arguments, before any request."""
    server = Server()
    async with client(server) as of:
        for bad in ([], ["a b"], "acc-a", [""], [3]):
            with pytest.raises(InvalidArgumentError):
                of.for_accounts(bad)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        fan = of.for_accounts(NAMES)
        with pytest.raises(InvalidArgumentError, match="for_accounts"):
            fan.completions.get_many({"other": ["a"]})
        with pytest.raises(InvalidArgumentError, match="mapping"):
            fan.completions.get_many(iter(["a"]))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        with pytest.raises(InvalidArgumentError, match="several"):
            fan.completions.get_many("abc")
        with pytest.raises(InvalidArgumentError, match="several"):
            fan.completions.get_many({"acc-a": "abc"})
        with pytest.raises(InvalidArgumentError):
            fan.completions.list(page_size=0)
        with pytest.raises(TypeError):
            fan.completions.list(colour="red")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
        with pytest.raises(TypeError):
            fan.completions.get()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    assert not server.by_account


async def test_writes_are_for_one_account() -> None:
    """Deleting in several accounts at once is refused."""
    async with client(Server()) as of:
        with pytest.raises(TypeError, match="with_options"):
            of.for_accounts(NAMES).users.completions.delete("u", "c")


async def test_the_errors_of_an_account_are_kept_to_it() -> None:
    """A disabled account yields one error, with the ids that it left; the others are complete."""
    server = ByAccount(lambda account, _: refuse(412) if account == "acc-b" else None, records=ids(250))
    async with client(server) as of:
        fan = of.for_accounts(NAMES)
        listed = await gather(fan.completions.list(page_size=100))
        fetched = await gather(fan.completions.get_many(ids(250)))
    for outcomes in (listed, fetched):
        errors = [o for o in outcomes if o.error]
        assert [(o.account_id, o.id, o.error.status) for o in errors if o.error] == [("acc-b", None, 412)]
        assert pairs([o for o in outcomes if o.ok]) == Counter({pair: 1 for pair in EVERY if pair[0] != "acc-b"})
    (error,) = (o.error for o in fetched if o.error)
    assert error.pending


async def test_a_broken_list_tells_where_to_resume() -> None:
    """The error of a list that broke off has the cursor of the page that failed."""
    broken = True

    def rule(account: str, _: str) -> Response | None:
        return refuse(404) if broken and account == "acc-a" and server.pages == 1 else None

    server = ByAccount(rule, records=ids(250))
    async with client(server) as of:
        fan = of.for_accounts(["acc-a"])
        first = await gather(fan.completions.list(page_size=100))
        broken = False
        assert [o.id for o in first] == [*ids(100), None]
        cursor = first[-1].cursor
        assert cursor == "100"
        view = of.with_options(account_id="acc-a")
        rest = await view.completions.list(page_size=100, next=cursor).collect()
    assert [*ids(100), *(item.id for item in rest)] == ids(250)


async def test_a_bad_item_is_an_error_among_the_items() -> None:
    """An item that does not decode is not lost silently, and does not end the list."""

    class Odd(Server):
        def _page(self, account: str, query: str) -> Response:
            return Response(200, {}, b'{"data":[{"id":"a"},{"id":"b","score":{"percentage":{}}},{"id":"c"}]}')

    async with client(Odd()) as of:
        outcomes = await gather(of.for_accounts(["acc-a"]).completions.list())
    assert [o.id for o in outcomes if o.ok] == ["a", "c"]
    assert [type(o.error) for o in outcomes if not o.ok] == [DecodeError]


@virtual
async def test_accounts_take_turns() -> None:
    """Where all are equally fast, no account gets far ahead."""
    server = Server(latency=0.002)
    async with client(server, max_concurrency=12, clock=now) as of:
        seen: Counter[str] = Counter()
        async for outcome in of.for_accounts(NAMES).completions.get_many(ids(300)):
            seen[outcome.account_id] += 1
            if seen.total() % 90 == 0 and seen.total() <= 800:
                assert max(seen.values()) - min(seen.values()) <= 30
    assert set(seen.values()) == {300}


@virtual
async def test_what_waits_is_taken_from_each_account_in_turn() -> None:
    """Where all have items ready, they come one of each account after the other."""
    async with client(Server(records=ids(1000)), clock=now) as of:
        items = of.for_accounts(NAMES).completions.list(page_size=100)
        await anext(items)
        await asyncio.sleep(0.05)
        names = [(await anext(items)).account_id for _ in range(90)]
        await items.aclose()
    assert all(set(names[n : n + 3]) == set(NAMES) for n in range(0, 90, 3))


@virtual
async def test_a_slow_account_does_not_hold_up_the_others() -> None:
    """Fast accounts are done long before one whose answers take their time."""
    server = Server(latency=lambda account, _: 0.3 if account == "acc-b" else 0.001)
    done: dict[str, float] = {}
    async with client(server, max_concurrency=9, clock=now) as of:
        begun = now()
        async for outcome in of.for_accounts(NAMES).completions.get_many(
            {"acc-a": ids(300), "acc-b": ids(9), "acc-c": ids(300)}
        ):
            done[outcome.account_id] = now() - begun
    assert done["acc-b"] >= 0.55
    assert max(done["acc-a"], done["acc-c"]) < 0.45


@virtual
async def test_a_throttled_account_does_not_hold_up_the_others() -> None:
    """While a provider's Retry-After holds one account, the others go on."""
    throttled = False

    def rule(account: str, _: str) -> Response | None:
        nonlocal throttled
        if account == "acc-b" and not throttled:
            throttled = True
            return refuse(429, headers={"Retry-After": "0.6"}, provider_errors=[{"status": 429}])
        return None

    done: dict[str, float] = {}
    async with client(ByAccount(rule, latency=0.001), clock=now) as of:
        begun = now()
        async for outcome in of.for_accounts(NAMES).completions.get_many(ids(100)):
            assert outcome.ok
            done[outcome.account_id] = now() - begun
            if throttled and len(done) == 2:
                assert of.stats().accounts["acc-a"].paused_for == 0
    assert done["acc-b"] >= 0.6
    assert max(done["acc-a"], done["acc-c"]) < 0.5


@virtual
async def test_the_shared_limits_hold_over_all_accounts() -> None:
    """max_concurrency is that of the client, however many accounts there are."""
    server = Server(latency=0.002)
    async with client(server, max_concurrency=5, clock=now) as of:
        names = [f"acc-{n}" for n in range(20)]
        outcomes = await gather(of.for_accounts(names).completions.get_many(ids(10)))
    assert len(outcomes) == 200
    assert server.peak == 5


async def test_accounts_beyond_the_most_at_once_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many accounts are read from at once; the others begin as those end."""
    monkeypatch.setattr(merge, "MAX_CONCURRENT_ACCOUNTS", 4)
    names = [f"acc-{n}" for n in range(30)]
    server = Server(records=ids(5), latency=0.001)
    async with client(server) as of:
        outcomes = await gather(of.for_accounts(names).completions.list(page_size=2))
        assert server.peak == 4
        fetched = await gather(of.for_accounts(names).completions.get_many(ids(5)))
    assert pairs(outcomes) == pairs(fetched) == Counter((name, id) for name in names for id in ids(5))


@virtual
async def test_a_slow_consumer_stops_every_account() -> None:
    """What waits to be taken is bounded for each account."""
    server = Server(records=ids(100_000))
    async with client(server, clock=now) as of:
        fan = of.for_accounts(NAMES)
        async with aclosing(fan.completions.list(page_size=100)) as items:
            await anext(items)
            await asyncio.sleep(0.1)
            assert server.pages <= 3 * 4
        async with aclosing(fan.completions.get_many(ids(100_000))) as outcomes:
            await anext(outcomes)
            await asyncio.sleep(0.2)
            assert server.gets <= 3 * (512 + 256 + 2)


@pytest.mark.parametrize("verb", ["list", "get_many", "get"])
async def test_breaking_off_cancels_every_account(verb: str) -> None:
    """Leaving the loop early ends all requests under way."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    server = Server(records=ids(1000), latency=lambda account, _: 0.0 if account == "acc-a" else 30.0)
    async with client(server) as of:
        resource = of.for_accounts(NAMES).completions
        call: Any = {"list": resource.list, "get": lambda: resource.get("x"), "get_many": None}[verb]
        iterator: Any = resource.get_many(ids(1000)) if call is None else call()
        async with aclosing(iterator) as outcomes:
            async for _ in outcomes:
                break
        assert server.in_flight == 0
        assert of.stats().in_flight == 0
    gc.collect()
    await asyncio.sleep(0)
    assert not complaints
    assert len(asyncio.all_tasks()) == 1


@virtual
async def test_closing_the_client_ends_all() -> None:
    """ClientClosedError is about all accounts: it is raised."""
    of = client(Server(latency=0.01), clock=now)

    async def consume() -> None:
        async for _ in of.for_accounts(NAMES).completions.get_many(ids(5000)):
            pass

    task = asyncio.create_task(consume())
    await asyncio.sleep(0.03)
    await of.aclose()
    with pytest.raises(ClientClosedError):
        await asyncio.wait_for(task, 2)


async def test_progress_counts_all_accounts() -> None:
    """`progress` sums up the accounts."""
    reports: list[Progress] = []
    async with client(Server(lambda one, _: refuse(404) if one == "id-3" else None)) as of:
        fan = of.for_accounts(NAMES)
        await gather(fan.completions.get_many(ids(50), progress=reports.append))
    assert (reports[-1].done, reports[-1].failed, reports[-1].total) == (150, 3, 150)


def test_the_blocking_client_does_the_same() -> None:
    """get, list and get_many, with generators that run in the calling thread."""
    server = ByAccount(
        lambda account, one: refuse(404) if (account, one) == ("acc-b", "x") else None, records=ids(250), latency=0.0005
    )
    reports: list[Progress] = []
    with blocking(server) as of:
        fan = of.for_accounts(NAMES)
        assert (len(fan), repr(fan)) == (3, "<Accounts: 3>")
        got = list(fan.completions.get("x"))
        assert sorted((o.account_id, o.ok) for o in got) == [("acc-a", True), ("acc-b", False), ("acc-c", True)]
        assert pairs(list(fan.completions.list(page_size=40))) == EVERY

        def some(name: str) -> Iterator[str]:
            for id in ids(400):
                yield of.with_options(account_id=name).completions.get(id).data.id or ""

        outcomes = list(fan.completions.get_many({"acc-a": some("acc-a"), "acc-b": ids(700)}, progress=reports.append))
        assert pairs(outcomes) == Counter(
            {**{("acc-a", id): 1 for id in ids(400)}, **{("acc-b", id): 1 for id in ids(700)}}
        )
        assert reports[-1].done == 1100
        assert len(list(fan.completions.get_many(ids(5)))) == 15
        with pytest.raises(TypeError, match="with_options"):
            fan.users.completions.delete("u", "c")


def test_breaking_off_in_the_blocking_client() -> None:
    """Leaving the loop early ends all requests under way there, too."""
    server = Server(latency=lambda account, _: 0.0 if account == "acc-a" else 30.0)
    with blocking(server) as of:
        iterator = of.for_accounts(NAMES).completions.get_many(ids(1000))
        next(iterator)
        iterator.close()
        assert server.in_flight == 0


class _BrokenError(Exception):
    pass


class _Broken:
    """Ids that raise: as soon as they are iterated, at the first id, or after some."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __len__(self) -> int:
        if self._where == "size":
            raise _BrokenError("broken")
        return 40

    def __iter__(self) -> Iterator[str]:
        if self._where == "iter":
            raise _BrokenError("broken")
        return self._ids()

    def _ids(self) -> Iterator[str]:
        if self._where != "first":
            yield from ids(20)
        raise _BrokenError("broken")


class _AsyncBroken:
    def __init__(self, where: str) -> None:
        self._where = where

    def __aiter__(self) -> AsyncIterator[str]:
        if self._where == "iter":
            raise _BrokenError("broken")
        return self._ids()

    async def _ids(self) -> AsyncIterator[str]:
        if self._where != "first":
            for id in ids(20):
                yield id
        if self._where == "cancelled":
            raise asyncio.CancelledError("broken")
        raise _BrokenError("broken")


def _missing_file(_: str) -> Path:
    return Path(__file__).with_suffix(".missing")


SOURCES: list[tuple[Callable[[str], Any], str]] = [
    *((_Broken, where) for where in ("size", "iter", "first", "middle")),
    *((_AsyncBroken, where) for where in ("iter", "first", "middle", "cancelled")),
    (_missing_file, "first"),
]


def _check(outcomes: list[AccountOutcome[Any]], where: str) -> None:
    """All ids of three accounts came, of the fourth those before the error, and the error."""
    (error,) = (o for o in outcomes if not o.ok)
    assert (error.account_id, error.id) == ("acc-b", None)
    assert isinstance(error.error, InvalidArgumentError)
    cause = error.error.__cause__
    assert isinstance(cause, _BrokenError | asyncio.CancelledError | FileNotFoundError)
    assert f"the ids cannot be read: {type(cause).__name__}" in error.error.message
    expected = Counter((name, id) for name in ("acc-a", "acc-c", "acc-d") for id in ids(100))
    expected.update(("acc-b", id) for id in ids(0 if where in {"first", "iter"} else 20))
    assert pairs([o for o in outcomes if o.ok]) == expected


@pytest.mark.parametrize("at_once", [2, 256])
@pytest.mark.parametrize(("broken", "where"), SOURCES)
async def test_ids_that_raise_are_an_error_of_their_account(
    broken: Callable[[str], Any], where: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are complete, and so is what came before it; also of an account that begins late."""
    monkeypatch.setattr(merge, "MAX_CONCURRENT_ACCOUNTS", at_once)
    async with client(Server()) as of:
        fan = of.for_accounts([*NAMES, "acc-d"])
        some = {"acc-a": ids(100), "acc-c": ids(100), "acc-b": broken(where), "acc-d": ids(100)}
        outcomes = await asyncio.wait_for(gather(fan.completions.get_many(some)), 20)
    _check(outcomes, where)


@pytest.mark.parametrize("at_once", [2, 256])
@pytest.mark.parametrize(("broken", "where"), [one for one in SOURCES if one[0] is not _AsyncBroken])
def test_ids_that_raise_are_an_error_of_their_account_in_the_blocking_client(
    broken: Callable[[str], Any], where: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same there."""
    monkeypatch.setattr(merge, "MAX_CONCURRENT_ACCOUNTS", at_once)
    with blocking(Server()) as of:
        fan = of.for_accounts([*NAMES, "acc-d"])
        some = {"acc-a": ids(100), "acc-c": ids(100), "acc-b": broken(where), "acc-d": ids(100)}
        outcomes = list(fan.completions.get_many(some))
    _check(outcomes, where)


async def test_an_error_of_another_client_that_ids_raise_is_one_of_their_account() -> None:
    """What is the matter with a client that the ids come from does not end the whole."""

    def from_elsewhere() -> Iterator[str]:
        yield "a"
        raise ClientClosedError("another client is closed")

    async with client(Server()) as of:
        some = {"acc-a": ids(100), "acc-b": from_elsewhere()}
        outcomes = await gather(of.for_accounts(NAMES).completions.get_many(some))
    assert pairs([o for o in outcomes if o.ok]) == Counter([*(("acc-a", id) for id in ids(100)), ("acc-b", "a")])
    (error,) = (o.error for o in outcomes if o.error)
    assert type(error) is InvalidArgumentError


def test_ids_for_every_account_that_raise_concern_everybody() -> None:
    """A missing file that all accounts were to share is raised once."""
    with blocking(Server()) as of, pytest.raises(FileNotFoundError):
        list(of.for_accounts(NAMES).completions.get_many(_missing_file("")))


def test_ids_read_while_their_account_is_refused_are_pending() -> None:
    """What was read from the caller's iterator and came too late for its account is in the error, too."""
    go = threading.Event()

    class Late(Server):
        async def _answer(self, account: str, id: str, query: str) -> Response:
            if account == "acc-b" and id == "id-200":
                while not go.is_set():
                    await asyncio.sleep(0.001)
                return refuse(412)
            return await super()._answer(account, id, query)

    read: list[str] = []
    with blocking(Late()) as of:
        view = of.with_options(account_id="acc-c")

        def source() -> Iterator[str]:
            for id in ids(400):
                if len(read) == 300:  # the first 256 are on the other side
                    go.set()
                    deadline = time.monotonic() + 20
                    while not of.stats().failures and time.monotonic() < deadline:
                        view.completions.get("x")
                    for _ in range(5):  # turns of the loop in which the fetch of the account ends, too
                        view.completions.get("x")
                read.append(id)
                yield id

        outcomes = list(of.for_accounts(NAMES).completions.get_many({"acc-a": ids(2000), "acc-b": source()}))
    (error,) = (o.error for o in outcomes if o.error)
    done = [str(o.id) for o in outcomes if o.ok and o.account_id == "acc-b"]
    assert len([o for o in outcomes if o.account_id == "acc-a"]) == 2000
    assert len(read) > 300
    assert sorted([*done, *error.pending]) == sorted(read)


async def test_an_outage_of_one_account_is_its_own() -> None:
    """Two hundred failures in a row end the fetch of that account; its ids are in the error."""
    server = ByAccount(lambda account, _: refuse(500) if account == "acc-c" else None)
    async with client(server, retry=ONCE) as of:
        outcomes = await gather(of.for_accounts(NAMES).completions.get_many(ids(1000)))
    (stop,) = (o for o in outcomes if o.error)
    assert (stop.account_id, stop.id) == ("acc-c", None)
    assert isinstance(stop.error, StackOneError)
    assert len(stop.error.pending) >= 200
    assert sum(o.ok for o in outcomes) == 2000
