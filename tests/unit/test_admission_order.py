"""Who goes first, and who is still there: queues and pauses of accounts, in virtual time."""

from __future__ import annotations

import asyncio
import random
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackone_lms.engine.admission import Admission
from stackone_lms.engine.deadlines import Deadline, DeadlineTimer
from stackone_lms.engine.rate_limit import Limiter
from stackone_lms.options import RateLimit
from tests.fake.fakes import VirtualLoop, give_up, now, virtual

from .test_admission import FOREVER, Gate


def watch() -> Deadline:
    return Deadline(cast("asyncio.Task[Any]", asyncio.current_task()), DeadlineTimer(now), FOREVER)


@pytest.mark.parametrize("everyone", [False, True])
@pytest.mark.parametrize("limit", [None, RateLimit(200, per=2.0, burst=10)], ids=str)
@virtual
async def test_after_a_pause_they_go_on_in_the_order_they_came(everyone: bool, limit: RateLimit | None) -> None:
    """Those who waited for a slot, or for the rate limit with a slot in hand, and those who came during the pause."""
    gate = Gate(20, limit)
    tasks = gate.calls(60, stay=0.01)
    await asyncio.sleep(0.005)
    assert 10 <= len(gate.passed) <= 20
    gate.admission.pause("a", 0.3, key_wide=everyone)
    await asyncio.sleep(0.2)
    tasks.extend(asyncio.create_task(gate.call(n, stay=0.01)) for n in range(60, 80))
    assert len(gate.passed) <= 20
    await asyncio.gather(*tasks)
    assert gate.order == list(range(80))


@virtual
async def test_they_keep_their_order_in_a_pause_on_their_own() -> None:
    """The first to come is the first to go, though others came when the pause was nearly over, or is just over."""
    gate = Gate(3)
    gate.admission.pause("a", 0.5, key_wide=False)
    tasks: list[asyncio.Task[None]] = []
    for n in range(40):
        tasks.append(asyncio.create_task(gate.call(n, stay=0.1)))
        await asyncio.sleep(0.0125 if n < 39 else 0)
    await asyncio.gather(*tasks)
    assert gate.order == list(range(40))
    assert gate.passed[0][1] == 0.5


@virtual
async def test_pause_after_pause_nobody_is_forgotten() -> None:
    """With a pause after every few requests, and ever new callers: all wait equally long."""
    gate = Gate(5)
    tasks = gate.calls(100, stay=0.01)
    for n in range(100, 300):
        tasks.append(asyncio.create_task(gate.call(n, stay=0.01)))
        await asyncio.sleep(0.1)
        if n % 7 == 0:
            gate.admission.pause("a", 0.5, key_wide=False)
    await asyncio.gather(*tasks)
    assert gate.order == list(range(300))


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_in_any_storm_of_pauses_and_cancellations_each_account_keeps_its_order(seed: int) -> None:
    async def main() -> None:
        dice = random.Random(seed)
        gate = Gate(dice.randint(1, 4))
        tasks: list[asyncio.Task[None]] = []
        for n in range(80):
            await asyncio.sleep(dice.choice([0, 0, 0.05, 0.3]))
            account = dice.choice("ab")
            tasks.append(asyncio.create_task(gate.call((account, n), account, dice.choice([0.0, 0.1, 1.0]))))
            if dice.random() < 0.3:
                dice.choice(tasks).cancel()
            if dice.random() < 0.2:
                # Not in the moment in which somebody is handed a slot: one who comes just then may go before him.
                await asyncio.sleep(0.001)
                gate.admission.pause(dice.choice("ab"), dice.choice([0.0, 0.2, 2.0]), key_wide=False)
        await asyncio.gather(*tasks, return_exceptions=True)
        for account in "ab":
            passed = [(at, n) for (name, n), at in gate.passed if name == account]
            passed.sort()  # at one and the same moment, they may run in any order
            assert [n for _, n in passed] == sorted(n for _, n in passed)
        assert (gate.admission.slots_used, gate.admission.waiting) == (0, 0)
        assert not any(concurrency.pause_timer or concurrency.queue for concurrency in gate.admission.limits.values())

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(asyncio.wait_for(main(), 10_000))


@virtual
async def test_a_pause_that_is_over_costs_nobody_his_turn() -> None:
    """Whoever waits for the rate limit, and whose account had a pause meanwhile, goes when his turn has come."""
    gate = Gate(100, RateLimit(60, per=60.0, burst=1))
    await gate.call("first", "b", 0.0)
    tasks = [asyncio.create_task(gate.call("a", "a")), *gate.calls(10, "b")]
    await asyncio.sleep(0.1)
    gate.admission.pause("a", 0.1, key_wide=False)
    await asyncio.gather(*tasks)
    assert gate.order == ["first", "a", *range(10)]


@virtual
async def test_a_pause_that_is_over_costs_nobody_his_slot() -> None:
    """The same for a pause that came and went while he waited for a slot."""
    gate = Gate(1)
    tasks = [asyncio.create_task(gate.call(name, "a")) for name in ("first", "second")]
    tasks.extend(gate.calls(3, "b"))
    await asyncio.sleep(0.1)
    gate.admission.pause("a", 0.1, key_wide=False)
    await asyncio.gather(*tasks)
    assert gate.passed[:2] == [("first", 0), ("second", 1)]


@virtual
async def test_who_waits_for_the_end_of_a_pause_is_counted() -> None:
    gate = Gate(2)
    gate.admission.pause("a", 5.0, key_wide=False)
    tasks = [*gate.calls(7, "a"), *gate.calls(1, "b")]
    await asyncio.sleep(1.0)
    assert gate.admission.waiting == 7
    for task in tasks[:3]:
        task.cancel()
    await asyncio.sleep(1.0)
    assert gate.admission.waiting == 4
    await asyncio.gather(*tasks, return_exceptions=True)
    assert gate.passed[1:] == [(3, 5), (4, 5), (5, 6), (6, 6)]
    assert gate.admission.waiting == 0


@virtual
async def test_an_account_is_not_forgotten_while_somebody_waits_for_the_end_of_its_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or the requests of one account would be counted apart."""
    monkeypatch.setattr("stackone_lms.engine.admission._KEPT_LIMITS", 1)
    gate = Gate(2)
    admission = gate.admission
    admission.pause("a", 1.0, key_wide=False)
    # In the very moment in which the pause is over, and nobody who waits has run yet.
    asyncio.get_running_loop().call_at(admission.limits["a"].paused_until, admission.limit_of, "b")
    concurrency = await admission.acquire("a", watch(), FOREVER)
    assert admission.limits["a"] is concurrency
    assert admission.in_flight == 1
    admission.release(concurrency, (1, 1, 1), None)


@virtual
async def test_a_crowd_in_a_pause_sleeps_once() -> None:
    """There is no timer a caller: they would all wake at once."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(seconds)

    gate = Gate(10)
    admission = Admission(gate.limiter, max_concurrency=10, clock=now, sleep=sleep)
    gate.admission = admission
    tasks = gate.calls(200, stay=0.1)
    await asyncio.sleep(0.05)
    admission.pause("a", 10.0, key_wide=False)
    admission.pause("a", 15.0, key_wide=False)
    await asyncio.gather(*tasks)
    assert gate.order == list(range(200))
    assert len(slept) <= 3  # rounding may leave some of it


@virtual
async def test_a_sleep_that_fails_fails_the_calls_that_wait_for_it() -> None:
    """And the next call sleeps anew."""
    failing = True

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds / 2)
        if failing:
            raise LookupError("no sleep")

    gate = Gate(1)
    gate.admission = Admission(gate.limiter, max_concurrency=1, clock=now, sleep=sleep)
    gate.admission.pause("a", 10.0, key_wide=False)
    assert [str(error) for error in await asyncio.gather(*gate.calls(3), return_exceptions=True)] == ["no sleep"] * 3
    assert (gate.admission.slots_used, gate.admission.waiting) == (0, 0)
    failing = False
    await gate.call("next")
    assert gate.passed == [("next", 10)]


@virtual
async def test_what_it_waited_for_is_told_as_it_is_when_it_gives_up() -> None:
    """A pause may begin, or be over, while a call waits for a slot."""
    gate = Gate(1)
    first = gate.calls(1, stay=10.0)
    await asyncio.sleep(0)
    watches: list[Deadline] = []

    async def wait() -> None:
        watches.append(watch())
        await gate.admission.acquire("a", watches[-1], FOREVER)

    early, late = asyncio.create_task(wait()), asyncio.create_task(wait())
    await asyncio.sleep(1)
    assert [each.phase for each in watches] == ["pool", "pool"]
    gate.admission.pause("a", 2.0, key_wide=False)
    early.cancel()
    await asyncio.sleep(1)
    assert watches[0].phase == "rate_limit"
    await asyncio.sleep(2)
    late.cancel()
    await asyncio.gather(*first, early, late, return_exceptions=True)
    assert watches[1].phase == "pool"


@virtual
async def test_who_gives_up_makes_way_for_one_who_does_not_wait_for_the_accounts_limit() -> None:
    """A slot is free, but the first in the queue waits for the account's own limit; who is behind him does not."""
    gate = Gate(2)
    first = gate.calls(1, stay=50.0)
    await asyncio.sleep(0)
    gate.admission.limits["a"].enforced = 1
    adaptive = asyncio.create_task(gate.call("adaptive"))
    await asyncio.sleep(0)
    unpaced = asyncio.create_task(gate.admission.acquire("a", watch(), FOREVER, adaptive=False))
    await asyncio.sleep(1)
    assert not unpaced.done()
    adaptive.cancel()
    await asyncio.sleep(1)
    assert unpaced.done()
    gate.admission.release(unpaced.result(), (1, 1, 1), None)
    await asyncio.gather(*first, adaptive, return_exceptions=True)
    assert gate.admission.slots_used == 0


async def test_giving_up_costs_the_same_however_many_wait() -> None:
    """Nobody is looked for among the others."""
    limiter = Limiter(None, clock=lambda: 1.0, sleep=asyncio.sleep)
    admission = Admission(limiter, max_concurrency=1, clock=lambda: 1.0, sleep=asyncio.sleep)
    concurrency = await admission.acquire("a", watch(), FOREVER)
    assert await give_up(lambda: admission.acquire("a", watch(), FOREVER), 1000) < 1000
    assert admission.waiting == 0
    admission.release(concurrency, (1, 1, 1), None)


@virtual
async def test_busy_accounts_are_not_looked_through_for_each_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none can be forgotten, the next search comes when there are twice as many."""
    monkeypatch.setattr("stackone_lms.engine.admission._KEPT_LIMITS", 50)
    searches = 0

    def clock() -> float:
        nonlocal searches
        searches += 1
        return 1.0

    limiter = Limiter(None, clock=now, sleep=asyncio.sleep)
    admission = Admission(limiter, max_concurrency=9, clock=clock, sleep=asyncio.sleep)
    for n in range(1000):
        admission.limit_of(str(n)).users = 1
    assert 1 <= searches <= 6
    for concurrency in admission.limits.values():
        concurrency.users = 0
    for n in range(1000, 3000):
        admission.limit_of(str(n))
        assert len(admission.limits) <= 1600
    assert len(admission.limits) <= 50
