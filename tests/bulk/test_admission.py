"""How many requests may be under way, with servers in virtual time: by account, under the limits that all share."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from stackone_lms import RateLimit, RetryPolicy
from stackone_lms.base_client import bound_executor_of
from stackone_lms.transport.base import Response
from tests.fake.fakes import now, virtual

from .server import QUICK, Server, client, ids, refuse


async def _measure(server: Server, count: int, warm_up: int, **options: Any) -> tuple[float, int, int]:
    """Return the requests a second after the warm-up, and the answers 503 before and after it."""
    retry = RetryPolicy(attempts=6, budget=10**6)
    async with client(server, retry=retry, clock=now) as of:
        done, begun, early = 0, 0.0, 0
        async for outcome in of.completions.get_many((f"id-{n}" for n in range(count)), **options):
            assert outcome.ok
            done += 1
            if done == warm_up:
                begun, early = now(), server.answered[503]
    return (count - warm_up) / (now() - begun), early, server.answered[503] - early


@pytest.mark.parametrize("capacity", [1, 3, 8, 30])
@virtual
async def test_it_converges_on_what_a_narrow_server_can_take(capacity: int) -> None:
    """With 503 beyond so many requests at a time: more than 90 % of what it can do, and soon hardly a 503."""
    random = Random(capacity)
    server = Server(latency=lambda _a, _b: random.uniform(0.1, 0.3), capacity=capacity)
    rate, early, late = await _measure(server, 4000, 500)
    assert rate >= 0.9 * capacity / 0.2
    assert early < 100
    assert late <= 0.02 * 3500


@pytest.mark.parametrize(("refusal", "share"), [(0.2, 0.9), (1.0, 0.8)])
@virtual
async def test_it_converges_too_where_refusing_takes_as_long_as_answering(refusal: float, share: float) -> None:
    """Or longer: by then the limit has grown and others have been served; what counts is how it was before."""
    random = Random(8)
    server = Server(latency=lambda _a, _b: random.uniform(0.1, 0.3), capacity=8, refusal=refusal)
    rate, _, _ = await _measure(server, 4000, 500)
    assert rate >= share * 8 / 0.2


@pytest.mark.parametrize("status", [503, 408])
@virtual
async def test_a_blip_in_a_quiet_time_does_not_slow_down_what_comes_later(status: int) -> None:
    """One failure while a single request was under way, and then many calls at once: all of them leave at once."""
    server = Server(lambda one, n: refuse(status) if (one, n) == ("blip", 1) else None, latency=1.0)
    async with client(server, clock=now) as of:
        await of.completions.get("blip")
        begun = now()
        await asyncio.gather(*(of.completions.get(one) for one in ids(90)))
        assert now() - begun == pytest.approx(1.0)
        (account,) = of.stats().accounts.values()
        assert account.throttled == 1


@virtual
async def test_random_503s_do_not_starve_it() -> None:
    """A server that fails 5 % of all requests with 503, however many there are, still gets several at a time."""
    random = Random(5)
    server = Server(lambda _a, _b: refuse(503) if random.random() < 0.05 else None, latency=0.1)
    rate, _, _ = await _measure(server, 3000, 500)
    assert rate >= 4 / 0.1


@virtual
async def test_it_grows_where_the_server_is_wide() -> None:
    """With a server that takes all, the concurrency grows beyond its start, up to max_concurrency."""
    server = Server(latency=0.01)
    async with client(server, max_concurrency=24, clock=now) as of:
        count = 0
        async for _ in of.completions.get_many(ids(1500)):
            count += 1
            if count == 16:
                assert server.peak <= 18
        assert server.peak == 24
        (account,) = of.stats().accounts.values()
        assert account.limit == 24


@virtual
async def test_it_doubles_each_round_trip_until_the_server_says_no() -> None:
    """With answers that take a second, 16, 32, 64, 128 requests leave in the first four seconds."""
    left: Counter[int] = Counter()

    def latency(_account: str, _id: str) -> float:
        left[round(now() - begun)] += 1
        return 1.0

    async with client(Server(latency=latency), max_concurrency=1000, clock=now) as of:
        begun = now()
        async for _ in of.completions.get_many(ids(400)):
            pass
    assert [left[second] for second in range(4)] == [16, 32, 64, 128]


@virtual
async def test_a_fixed_concurrency_is_kept() -> None:
    """`concurrency=N` is N from the first moment to the last, also after 503s, and max_concurrency caps it."""
    wide = Server(latency=0.005)
    async with client(wide, clock=now) as of:
        async for _ in of.completions.get_many(ids(300), concurrency=40):
            pass
    assert wide.peak == 40
    random = Random(3)
    grumpy = Server(lambda _a, _b: refuse(503) if random.random() < 0.2 else None, latency=0.005)
    async with client(grumpy, retry=RetryPolicy(attempts=50, throttle_base=0.0, budget=10**6), clock=now) as of:
        count = 0
        async for _ in of.completions.get_many(ids(600), concurrency=20):
            count += 1
            if count == 400:
                grumpy.peak = 0
        assert of.stats().accounts["account-of-the-test"].limit < 14
    assert grumpy.peak == 20
    capped = Server(latency=0.005)
    async with client(capped, max_concurrency=6, clock=now) as of:
        async for _ in of.completions.get_many(ids(100), concurrency=40):
            pass
    assert capped.peak == 6


@virtual
async def test_single_calls_are_held_back_too_once_the_server_has_said_no() -> None:
    """Hundreds of `get` at once all succeed on a narrow server."""
    server = Server(latency=0.1, capacity=8)
    async with client(server, retry=RetryPolicy(attempts=6, budget=10**6), clock=now) as of:
        answers = await asyncio.gather(*(of.completions.get(one) for one in ids(600)))
        assert [answer.data.id for answer in answers] == ids(600)
        assert of.stats().accounts["account-of-the-test"].limit <= 10
    assert server.answered[503] < 300


class Limited(Server):
    """Allows so many requests in any window, counted as they arrive, and answers 429 to more."""

    def __init__(self, requests: int, per: float, retry_after: str) -> None:
        random = Random(1)
        super().__init__(latency=lambda _a, _b: random.uniform(0.05, 0.2))
        self._requests, self._per, self._retry_after = requests, per, retry_after
        self._log: deque[float] = deque()

    async def _answer(self, account: str, id: str, query: str) -> Response:
        # The first requests have to connect, so they arrive later than those after them.
        await asyncio.sleep(0.4 if sum(self.by_account.values()) <= 20 else 0.05)
        while self._log and self._log[0] <= now() - self._per:
            self._log.popleft()
        if len(self._log) >= self._requests:
            return refuse(429, headers={"Retry-After": self._retry_after})
        self._log.append(now())
        return await super()._answer(account, id, query)


@pytest.mark.thorough
@virtual
async def test_the_client_side_limit_reaches_the_rate_of_the_server() -> None:
    """At the documented 1000 a minute on both sides: within 5 % of it, and less than one 429 in a thousand requests."""
    server = Limited(1000, 60.0, "60")
    async with client(server, rate_limit=RateLimit(1000, per=60.0), clock=now) as of:
        begun = now()
        count = 0
        async for outcome in of.completions.get_many(ids(5000)):
            assert outcome.ok
            count += 1
        seconds = now() - begun
    assert count == 5000
    assert 5000 / seconds >= 0.95 * 1000 / 60
    assert server.answered[429] == 0


@pytest.mark.thorough
@virtual
async def test_without_a_client_side_limit_retry_after_paces_the_fetch() -> None:
    """A rate-limited server is obeyed: nearly all that it allows, few 429s, nothing lost."""
    server = Limited(1000, 60.0, "60")
    async with client(server, clock=now) as of:
        begun = now()
        outcomes = [o async for o in of.completions.get_many(ids(5000))]
        seconds = now() - begun
    assert all(o.ok for o in outcomes)
    # Five windows' worth; the first needs no waiting.
    assert seconds <= (4 * 60 + 60) * 1.1
    assert server.answered[429] < 0.02 * 5000


@virtual
async def test_a_key_wide_pause_stops_everybody_and_a_providers_only_its_account() -> None:
    """A 429 of StackOne's holds all accounts for its Retry-After, one with provider_errors only the account."""
    times: dict[str, list[float]] = {"a": [], "b": []}
    provider: dict[str, Any] = {}

    class Throttling(Server):
        async def send(self, request: Any, limits: Any) -> Response:
            account = str(request.headers["x-account-id"])
            times[account].append(now())
            if account == "a" and len(times["a"]) == 5:
                return refuse(429, headers={"Retry-After": "30"}, **provider)
            return await super().send(request, limits)

    async def run() -> tuple[float, float]:
        for some in times.values():
            some.clear()
        async with client(Throttling(latency=0.5), clock=now) as of:

            async def fetch(account: str) -> None:
                view = of.with_options(account_id=account)
                async for outcome in view.completions.get_many(ids(300), concurrency=4):
                    assert outcome.ok

            await asyncio.gather(fetch("a"), fetch("b"))
        gaps = [max(later - sooner for sooner, later in pairwise(some)) for some in times.values()]
        return gaps[0], gaps[1]

    for_a, for_b = await run()
    assert for_a >= 30
    assert for_b >= 29
    provider["provider_errors"] = [{"status": 429}]
    for_a, for_b = await run()
    assert for_a >= 30
    assert for_b < 1


@virtual
async def test_a_slow_account_cannot_take_all_slots() -> None:
    """Freed slots go to accounts below their share, so that a fast account gets on beside a slow one."""
    server = Server(latency=lambda account, _: 10.0 if account == "slow" else 0.1)
    async with client(server, max_concurrency=8, retry=QUICK, clock=now) as of:
        slow, fast = (of.with_options(account_id=name) for name in ("slow", "fast"))

        async def flood() -> None:
            async for _ in slow.completions.get_many(ids(10_000), concurrency=8):
                pass

        task = asyncio.create_task(flood())
        await asyncio.sleep(15)
        begun = now()
        async for _ in fast.completions.get_many(ids(400), concurrency=8):
            pass
        seconds = now() - begun
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    # Once slots come free, with half of them that is ten seconds; in turns with the slow account it would be 500.
    assert seconds < 25


@virtual
async def test_timeouts_lower_the_limit_and_slowness_does_not() -> None:
    """Answers that do not come in time are a sign of trouble, answers that take long are not."""
    slow = Server(latency=50.0)
    async with client(slow, clock=now) as of:
        async for _ in of.completions.get_many(ids(200)):
            pass
        assert of.stats().accounts["account-of-the-test"].limit > 16
    dead = Server(latency=lambda _, one: 300.0 if int(one[3:]) % 4 == 0 else 0.1)
    async with client(dead, retry=RetryPolicy(attempts=1), clock=now) as of:
        async for _ in of.completions.get_many(ids(40)):
            pass
        account = of.stats().accounts["account-of-the-test"]
        assert account.limit < 16
        assert account.throttled >= 10


@virtual
async def test_who_is_paused_while_waiting_for_the_rate_limit_leaves_his_turn_to_others() -> None:
    """A call whose account gets a pause when its turn has nearly come takes neither slot nor token."""
    times: dict[str, float] = {}
    server = Server(lambda one, _: times.update({one: now()}))
    async with client(server, rate_limit=RateLimit(1, per=10.0), max_concurrency=2, clock=now) as of:
        other = of.with_options(account_id="other")
        await of.completions.get("first")
        begun = now()
        tasks = [asyncio.create_task(_get(of, "paused")), asyncio.create_task(_get(other, "other"))]
        await asyncio.sleep(5)
        bound_executor_of(of).engine.admission.pause("account-of-the-test", 60.0, key_wide=False)
        await asyncio.gather(*tasks)
    assert 9 < times["other"] - begun < 12
    assert 65 <= times["paused"] - begun < 77


async def test_waiting_calls_pass_in_order_and_cancelled_ones_take_no_slot() -> None:
    """First come, first served within an account; a cancelled waiter costs nobody a slot."""
    seen: list[str] = []
    server = Server(lambda one, _: seen.append(one), latency=0.01)
    async with client(server, max_concurrency=1) as of:
        tasks = [asyncio.create_task(_get(of, id)) for id in ids(6)]
        await asyncio.sleep(0.005)
        tasks[2].cancel()
        tasks[4].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert of.stats().in_flight == of.stats().waiting == 0
        await of.completions.get("last")
    assert seen == ["id-0", "id-1", "id-3", "id-5", "last"]


async def _get(of: Any, id: str) -> None:
    await of.completions.get(id)
