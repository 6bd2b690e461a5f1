"""What observers are told of calls, requests, waits, bulk fetches and exports, and what they cannot break."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stackone_lms import (
    APITimeoutError,
    AsyncClient,
    CallObserver,
    CallStart,
    ConfigurationError,
    HookRequest,
    InternalServerError,
    InvalidArgumentError,
    NotFoundError,
    Observer,
    RateLimit,
    RetryPolicy,
    SyncClient,
    Timeout,
)
from stackone_lms.engine.concurrency import NO_PAUSE
from stackone_lms.export import export
from stackone_lms.sandbox import Sandbox
from stackone_lms.shared_limit import SharedLimit
from tests.bulk.server import Server, blocking, refuse
from tests.bulk.server import client as bulk_client
from tests.fake.fakes import (
    ACCOUNT,
    KEY,
    FakeTransport,
    client_of,
    error,
    hang,
    lost,
    page,
    record,
    reply,
    slowly,
    virtual,
)

from ..conftest import OwnLog
from .recorder import Recorder


@virtual
async def test_a_call_with_a_retry_is_told_from_beginning_to_end() -> None:
    seen = Recorder()
    answers = slowly(0.5, error(503, x_request_id="first")), slowly(0.25, record())
    client = client_of(FakeTransport(*answers), observer=seen, retry=RetryPolicy(throttle_base=4))
    await client.completions.get("c1")
    assert seen.kinds == [
        *("call started", "attempt started", "attempt ended", "retrying", "waited"),
        *("attempt started", "attempt ended", "call ended"),
    ]
    (start,) = seen.of("call started")
    assert (start.operation, start.method, start.account_id) == ("completions.get", "GET", ACCOUNT)
    assert (start.path_template, start.base_url) == ("/unified/lms/completions/{id}", "https://api.stackone.com")
    first, second = seen.of("attempt ended")
    assert (first.number, first.status, first.request_id, first.error) == (1, 503, "first", None)
    assert (second.number, second.status, second.request_id) == (2, 200, "req-c1")
    assert [round(one.seconds, 6) for one in (first, second)] == [0.5, 0.25]
    (retry,) = seen.of("retrying")
    assert (retry.number, retry.pause, type(retry.error)) == (1, 2.0, InternalServerError)
    (wait,) = seen.of("waited")
    assert (wait.reason, round(wait.seconds, 6)) == ("retry_pause", 2.0)
    (end,) = seen.of("call ended")
    assert (end.attempts, round(end.seconds, 6), end.error) == (2, 2.75, None)
    assert client.stats().waited["retry_pause"] == pytest.approx(2.0)


@virtual
async def test_a_request_without_an_answer_tells_why() -> None:
    seen = Recorder()
    client = client_of(FakeTransport(lost(), hang), observer=seen, timeout=Timeout(attempt=5, total=9), retry=5)
    with pytest.raises(APITimeoutError) as caught:
        await client.completions.get("c1")
    first, second, *_, last = seen.of("attempt ended")
    assert (first.status, first.error.__class__.__name__) == (None, "ConnectionLostError")
    assert (second.status, type(second.error), second.error.phase) == (None, APITimeoutError, "attempt")
    assert last.error.phase == "total"
    assert seen.of("call ended")[0].error is caught.value


@virtual
async def test_a_cancelled_call_ends_as_cancelled() -> None:
    seen = Recorder()
    client = client_of(FakeTransport(hang), observer=seen)
    task = asyncio.create_task(client.completions.get("c1"))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen.kinds == ["call started", "attempt started", "attempt ended", "call ended"]
    assert isinstance(seen.of("attempt ended")[0].error, asyncio.CancelledError)
    assert isinstance(seen.of("call ended")[0].error, asyncio.CancelledError)


@virtual
async def test_what_is_refused_before_any_io_is_a_call_without_attempts() -> None:
    seen = Recorder()
    with pytest.raises(InvalidArgumentError):
        await client_of(FakeTransport(record()), observer=seen).completions.get("..")
    assert seen.kinds == ["call started", "call ended"]
    assert seen.of("call ended")[0].attempts == 0


@virtual
async def test_a_request_of_the_callers_own_has_no_template() -> None:
    """Its path may hold ids."""
    seen = Recorder()
    await client_of(FakeTransport(reply(200, {})), observer=seen).request("GET", "/unified/lms/things/secret-7")
    assert seen.of("call started")[0].path_template is None


# Waits


@virtual
async def test_waiting_for_the_rate_limit_is_told() -> None:
    seen = Recorder()
    client = client_of(FakeTransport(record()), observer=seen, rate_limit=RateLimit(60, per=60, burst=1))
    await client.completions.get("c1")
    await client.completions.get("c1")
    (wait,) = seen.of("waited")
    assert wait.reason == "rate_limit"
    assert 0.9 < wait.seconds < 1.1
    assert client.stats().waited["rate_limit"] == wait.seconds
    assert client.stats().used == 2


@virtual
async def test_waiting_for_a_slot_is_told() -> None:
    seen = Recorder()
    client = client_of(FakeTransport(slowly(3, record())), observer=seen, max_concurrency=1)
    await asyncio.gather(client.completions.get("c1"), client.completions.get("c1"))
    assert [(wait.reason, wait.seconds) for wait in seen.of("waited")] == [("concurrency_limit", 3.0)]


@pytest.mark.parametrize(
    ("body", "reason"),
    [({}, "key_pause"), ({"provider_errors": [{"status": 429}]}, "account_pause")],
)
def test_waiting_for_a_pause_is_told_with_whose_it_is(body: dict[str, Any], reason: str) -> None:
    @virtual
    async def test() -> None:
        seen = Recorder()
        answers = slowly(2, error(429, Retry_After="20", **body)), slowly(2, record())
        transport = FakeTransport(*answers)
        client = client_of(transport, observer=seen, retry=1, max_concurrency=1)
        first, second = (asyncio.create_task(client.completions.get("c1")) for _ in range(2))
        await asyncio.wait([first, second])
        assert first.exception() is not None
        # It waited 2 seconds for the slot, and then 20 for the end of the pause: what took most counts.
        waits = [(wait.reason, round(wait.seconds)) for wait in seen.of("waited")]
        assert sum(seconds for _, seconds in waits) == 22
        assert (reason, max(seconds for _, seconds in waits)) in waits
        other = client.with_options(account_id="other")
        before = len(seen.of("waited"))
        await other.completions.get("c1")
        assert len(seen.of("waited")) == before  # all pauses are over

    test()


@pytest.mark.parametrize(
    ("began", "ended", "most"),
    [(0, 100, False), (0, 15, False), (5, 15, True), (12, 13, True), (10, 30, True), (15, 26, False), (20, 30, False)],
)
def test_a_wait_belongs_to_a_pause_that_filled_at_least_half_of_it(began: float, ended: float, most: bool) -> None:
    pause = NO_PAUSE.extended(10.0, 20.0, "key_pause")
    assert pause.fills_most_of(began, ended) is most
    assert not NO_PAUSE.fills_most_of(began, ended)


def test_a_pause_that_is_prolonged_is_one_pause() -> None:
    pause = NO_PAUSE.extended(10.0, 20.0, "account_pause").extended(15.0, 18.0, "key_pause")
    assert pause == (10.0, 20.0, "key_pause")
    assert pause.extended(20.0, 30.0, "key_pause") == (20.0, 30.0, "key_pause")


@virtual
async def test_another_account_waits_for_the_pause_of_the_key() -> None:
    seen = Recorder()
    client = client_of(FakeTransport(error(429, Retry_After="20"), record()), observer=seen, retry=1)
    await asyncio.gather(client.completions.get("c1"), return_exceptions=True)
    await client.with_options(account_id="other").completions.get("c1")
    (wait,) = seen.of("waited")
    assert (wait.reason, round(wait.seconds)) == ("key_pause", 20)


async def test_waiting_for_a_shared_limit_is_told(tmp_path: Path) -> None:
    seen = Recorder()
    limit = SharedLimit.sqlite(tmp_path / "limit", requests=1000)
    async with AsyncClient(KEY, ACCOUNT, transport=FakeTransport(record()), rate_limit=limit, observer=seen) as client:
        await client.completions.get("c1")
        assert client.stats().used is None
    assert [wait.reason for wait in seen.of("waited")] == ["shared_limit"]


@virtual
async def test_a_wait_that_is_cancelled_is_told() -> None:
    seen = Recorder()
    client = client_of(FakeTransport(slowly(60, record())), observer=seen, max_concurrency=1, timeout=Timeout(total=10))
    await asyncio.gather(*[client.completions.get("c1") for _ in range(2)], return_exceptions=True)
    assert [(wait.reason, wait.seconds) for wait in seen.of("waited")] == [("concurrency_limit", 10.0)]


# Headers


@virtual
async def test_an_observer_adds_headers_to_each_request() -> None:
    transport = FakeTransport(lost(), record())
    await client_of(transport, observer=Recorder(headers={"traceparent": "00-1"})).completions.get("c1")
    assert [sent.headers["traceparent"] for sent in transport.sent] == ["00-1", "00-1"]
    assert all(sent.headers["Authorization"].startswith("Basic ") for sent in transport.sent)


@virtual
async def test_headers_of_one_request_are_not_those_of_the_next() -> None:
    class First(CallObserver):
        def attempt_started(self, number: int, /) -> Mapping[str, str] | None:
            return {"x-first": "1"} if number == 1 else None

    class Firsts(Observer):
        def call_started(self, call: CallStart, /) -> CallObserver:
            return First()

    transport = FakeTransport(lost(), record())
    await client_of(transport, observer=Firsts()).completions.get("c1")
    assert ["x-first" in sent.headers for sent in transport.sent] == [True, False]


@pytest.mark.parametrize("headers", [{"Authorization": "x"}, {"x-account-id": "x"}, {"a b": "x"}, {"a": 1}, 7])
def test_what_cannot_be_added_is_logged_and_left_out(
    headers: Any, caplog: pytest.LogCaptureFixture, own_log: OwnLog
) -> None:
    @virtual
    async def test() -> None:
        transport = FakeTransport(record())
        await client_of(transport, observer=Recorder(headers=headers)).completions.get("c1")
        assert transport.sent[0].headers["Authorization"].startswith("Basic ")
        assert transport.sent[0].headers["x-account-id"] == ACCOUNT

    with caplog.at_level(logging.ERROR, "stackone_lms"):
        test()
    assert [one.levelname for one in own_log()] == ["ERROR"]


# Who sees what


@virtual
async def test_several_observers_and_views_and_hooks() -> None:
    one, two, hooked = Recorder(), Recorder(), list[str]()

    def hook(request: HookRequest) -> None:
        hooked.append(request.operation)

    client = client_of(FakeTransport(record()), observer=[one, two], on_request=hook)
    await client.completions.get("c1")
    await client.with_options(account_id="b", timeout=3).completions.get("c1")
    await client.with_options(extra_query={"a": 1}).users.get("c1")
    for seen in (one, two):
        starts = [(start.operation, start.account_id) for start in seen.of("call started")]
        assert starts == [("completions.get", ACCOUNT), ("completions.get", "b"), ("users.get", ACCOUNT)]
    assert hooked == ["completions.get", "completions.get", "users.get"]


def test_both_clients_and_what_belongs_to_no_account() -> None:
    seen = Recorder()
    with SyncClient(KEY, ACCOUNT, transport=FakeTransport(page([])), observer=seen) as client:
        client.completions.list().first_page()
        client.accounts.list().first_page()
    assert [start.account_id for start in seen.of("call started")] == [ACCOUNT, None]


async def test_the_accounts_of_for_accounts() -> None:
    seen = Recorder()
    async with AsyncClient(KEY, transport=FakeTransport(page(["1"])), observer=seen) as client:
        items = [one async for one in client.for_accounts(["a", "b"]).completions.list()]
    assert len(items) == 2
    assert {start.account_id for start in seen.of("call started")} == {"a", "b"}


@virtual
async def test_contextvars_set_in_one_method_are_there_in_the_next() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    values: list[str] = []

    class Setting(Observer, CallObserver):
        def call_started(self, call: CallStart, /) -> CallObserver:
            variable.set(call.operation)
            return self

        def attempt_started(self, number: int, /) -> None:
            values.append(variable.get())

        def ended(self, call: Any, /) -> None:
            values.append(variable.get())

    await client_of(FakeTransport(record()), observer=Setting()).completions.get("c1")
    assert values == ["completions.get", "completions.get"]


@virtual
async def test_an_observer_asks_for_the_statistics_as_long_as_the_client_lives() -> None:
    seen = Recorder()
    client = client_of(FakeTransport(record()), observer=seen)
    await client.completions.get("c1")
    (stats,) = seen.stats
    found = stats()
    assert found is not None
    assert found.requests == 1
    await client.aclose()
    del client
    gc.collect()
    assert stats() is None


# What they cannot break


class Raising(Observer):
    """Raises in everything."""

    def __init__(self, problem: BaseException) -> None:
        self.problem = problem

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__") or name == "problem":
            return super().__getattribute__(name)

        def fail(*_: Any) -> Any:
            raise self.problem

        return fail


class RaisingLater(Recorder):
    """Raises in all that it is told of a call."""

    def call_started(self, call: CallStart, /) -> Any:
        return Raising(ZeroDivisionError("later"))


@pytest.mark.parametrize(
    "observer",
    [Raising(ZeroDivisionError("no")), Raising(asyncio.CancelledError()), RaisingLater(), RaisingLater(bulk=False)],
)
async def test_an_observer_that_raises_is_logged_once_and_breaks_nothing(
    observer: Any, caplog: pytest.LogCaptureFixture, own_log: OwnLog, tmp_path: Path
) -> None:
    healthy = Recorder()
    async with Sandbox(accounts=2) as sandbox:
        options: dict[str, Any] = {"observer": [observer, healthy], "rate_limit": None, "base_url": sandbox.url}
        with caplog.at_level(logging.ERROR, "stackone_lms"):
            async with AsyncClient(sandbox.api_key, sandbox.account_ids[0], **options) as client:
                ids = [user.id or "" async for user in client.users.list(max_items=30)]
                assert len([one async for one in client.users.get_many(ids)]) == len(ids)
                with pytest.raises(NotFoundError):
                    await client.users.get("nobody")
                assert (await export(client, ["skills"], tmp_path / "out")).ok
    (told,) = own_log()
    assert "the observer Raising" in told.getMessage()
    assert healthy.kinds.count("bulk ended") == 2
    assert healthy.kinds.count("export ended") == 1


def test_what_is_no_observer_is_refused() -> None:
    class Coroutine(Observer):
        async def call_started(self, call: CallStart, /) -> Any: ...  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]

    class Partial:
        def call_started(self, call: CallStart, /) -> None: ...

    for wrong in (print, 7, Coroutine(), Partial(), Recorder, [Recorder(), None]):
        with pytest.raises(ConfigurationError, match="observer must be"):
            AsyncClient(KEY, ACCOUNT, observer=wrong)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


class Coroutines(Observer, CallObserver):
    """Has async methods where plain ones are wanted."""

    def call_started(self, call: CallStart, /) -> Any:
        return self

    async def attempt_started(self, number: int, /) -> Any: ...  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]

    async def ended(self, call: Any, /) -> None: ...  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]


@virtual
async def test_methods_that_nobody_would_await_are_told_of_once(
    caplog: pytest.LogCaptureFixture, own_log: OwnLog
) -> None:
    client = client_of(FakeTransport(record()), observer=Coroutines())
    with caplog.at_level(logging.ERROR, "stackone_lms"):
        for _ in range(2):
            await client.completions.get("c1")
    (told,) = own_log()
    assert told.exc_info is not None
    assert str(told.exc_info[1]) == "attempt_started must be a plain function, not async"


@virtual
async def test_an_observer_may_leave_out_what_it_does_not_want() -> None:
    class Quiet(Observer):
        pass

    class Ends(Observer, CallObserver):
        def call_started(self, call: CallStart, /) -> CallObserver:
            return self

    for observer in (Quiet(), Ends()):
        client = client_of(FakeTransport(lost(), record()), observer=[observer])
        assert (await client.completions.get("c1")).data.id == "c1"
        (outcome,) = [one async for one in client.completions.get_many(["c1"])]
        assert outcome.ok


# Bulk fetches


async def test_a_bulk_fetch_is_told_as_a_whole_with_its_calls() -> None:
    seen = Recorder()

    def script(id: str, n: int) -> Any:
        return refuse(404) if id == "2" else None

    async with bulk_client(Server(script), observer=seen) as client:
        outcomes = [one async for one in client.completions.get_many(["1", "2", "3"])]
    assert len(outcomes) == 3
    (start,) = seen.of("bulk started")
    assert (start.operation, start.account_id, start.accounts, start.total) == (
        "completions.get_many",
        "account-of-the-test",
        1,
        3,
    )
    (end,) = seen.of("bulk ended")
    assert (end.done, end.failed, end.total, end.error) == (3, 1, 3, None)
    assert {name for name, kind, _ in seen.events if kind == "call started"} == {
        "completions.get_many > completions.get"
    }
    assert seen.kinds[-1] == "bulk ended"


async def test_the_pages_that_a_bulk_fetch_reads_are_a_part_of_it() -> None:
    seen = Recorder()
    ids = [str(n) for n in range(150)]
    async with bulk_client(Server(records=ids, total=True), observer=seen) as client:
        assert len([one async for one in client.completions.get_many(ids, strategy="list")]) == 150
    names = {name for name, kind, _ in seen.events if kind == "call started"}
    assert names == {"completions.get_many > completions.list"}


async def test_who_does_not_look_at_a_bulk_fetch_sees_its_calls() -> None:
    seen, other = Recorder(bulk=False), Recorder()
    async with bulk_client(Server(), observer=[seen, other]) as client:
        assert len([one async for one in client.completions.get_many(["1", "2"])]) == 2
    assert [name for name, kind, _ in seen.events if kind == "call started"] == ["completions.get"] * 2
    assert len(other.of("bulk started")) == 1


async def test_a_bulk_fetch_over_two_accounts_is_one() -> None:
    seen = Recorder()
    async with bulk_client(Server(), observer=seen) as client:
        accounts = client.for_accounts(["a", "b"])
        assert len([one async for one in accounts.completions.get_many({"a": ["1", "2"], "b": ["3"]})]) == 3
    (start,) = seen.of("bulk started")
    assert (start.account_id, start.accounts, start.total) == (None, 2, 3)
    assert sorted(call.account_id for call in seen.of("call started")) == ["a", "a", "b"]
    assert [end.done for end in seen.of("bulk ended")] == [3]


def test_a_blocking_bulk_fetch_is_told_too() -> None:
    seen = Recorder()
    with blocking(Server(), observer=seen) as client:
        assert len(list(client.completions.get_many(["1", "2"]))) == 2
        assert len(list(client.for_accounts(["a", "b"]).completions.get_many(["1"]))) == 2
    assert [end.done for end in seen.of("bulk ended")] == [2, 2]


async def test_a_bulk_fetch_that_is_broken_off_or_stopped_says_so() -> None:
    seen = Recorder()
    async with bulk_client(Server(), observer=seen) as client:
        outcomes = client.completions.get_many([str(n) for n in range(100)])
        async for _ in outcomes:
            break
        await outcomes.aclose()
    (end,) = seen.of("bulk ended")
    assert end.done == 1
    assert isinstance(end.error, asyncio.CancelledError)
    stopped = Recorder()
    async with bulk_client(Server(lambda _, n: refuse(401)), observer=stopped) as client:
        with pytest.raises(Exception, match="401"):
            assert [one async for one in client.completions.get_many(["1"])]
    assert type(stopped.of("bulk ended")[0].error).__name__ == "AuthenticationError"


@virtual
async def test_progress_is_told_ten_times_a_second_at_most() -> None:
    seen = Recorder()
    client = client_of(FakeTransport(slowly(0.03, record())), observer=seen, rate_limit=None)
    assert len([one async for one in client.completions.get_many(["c1"] * 30, concurrency=1)]) == 30
    client = client_of(FakeTransport(slowly(0.03, record("c"))), observer=seen, rate_limit=None, verify_ids=False)
    ids = [str(n) for n in range(30)]
    assert len([one async for one in client.completions.get_many(ids, concurrency=1)]) == 30
    progress = seen.of("progressed")
    assert 5 <= len(progress) <= 10  # of 0.9 seconds
    assert [one.done for one in progress] == sorted(one.done for one in progress)
    assert progress[-1].total == 30


# Exports


async def test_an_export_is_told_list_by_list(tmp_path: Path) -> None:
    seen = Recorder()
    async with Sandbox(accounts=2) as sandbox:
        options: Mapping[str, Any] = {"base_url": sandbox.url, "rate_limit": None, "observer": seen}
        async with AsyncClient(sandbox.api_key, **options) as client:
            result = await export(client, ["users", "skills"], tmp_path, accounts=[*sandbox.account_ids, "nobody"])
    assert result.failed_accounts == ("nobody",)
    (start,) = seen.of("export started")
    assert (start.accounts, start.lists) == (3, 6)
    (end,) = seen.of("export ended")
    assert (end.lists, end.failed, end.error) == (6, 2, None)
    assert end.records == result.records
    starts, ends = seen.of("bulk started"), seen.of("bulk ended")
    assert sorted((one.operation, one.account_id) for one in starts) == sorted(
        (operation, account)
        for operation in ("users.list", "skills.list")
        for account in [*sandbox.account_ids, "nobody"]
    )
    assert sorted(one.done for one in ends) == sorted(one.fetched for one in result.lists)
    assert sum(one.error is not None for one in ends) == 2
    calls = {name for name, kind, _ in seen.events if kind == "call started"}
    assert calls == {"users.list > users.list", "skills.list > skills.list"}
    assert seen.of("progressed")


async def test_an_export_that_is_cancelled_says_so(tmp_path: Path) -> None:
    seen = Recorder()
    async with AsyncClient(KEY, ACCOUNT, transport=FakeTransport(hang), observer=seen) as client:
        task = asyncio.create_task(export(client, ["skills"], tmp_path))
        while not seen.of("attempt started"):
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert isinstance(seen.of("bulk ended")[0].error, asyncio.CancelledError)
    assert isinstance(seen.of("export ended")[0].error, asyncio.CancelledError)
