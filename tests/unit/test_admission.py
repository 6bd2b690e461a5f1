"""Who may send a request now: slots, pauses and the rate limit, in virtual time."""

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
from stackone_lms.errors import Phase
from stackone_lms.options import RateLimit
from tests.fake.fakes import VirtualLoop, now, virtual

FOREVER = float("inf")


class Noting(Deadline):
    """A Deadline that notes what was waited for."""

    waits: list[tuple[str, float]]

    def wait(self, phase: Phase, due: float) -> None:
        self.waits.append((phase, due))
        super().wait(phase, due)


class Gate:
    """An Admission and what passed through it."""

    def __init__(self, most: int = 2, limit: RateLimit | None = None) -> None:
        self.waits: list[tuple[str, float]] = []
        self.timer = DeadlineTimer(now)
        self.limiter = Limiter(limit, clock=now, sleep=asyncio.sleep)
        self.admission = Admission(
            self.limiter,
            max_concurrency=most,
            clock=now,
            sleep=asyncio.sleep,
        )
        self.passed: list[tuple[Any, float]] = []
        self.inside = self.most_inside = 0
        self.start = now()

    async def call(self, name: Any, account: str = "a", stay: float = 1.0) -> None:
        watch = Noting(cast("asyncio.Task[Any]", asyncio.current_task()), self.timer, FOREVER)
        watch.waits = self.waits
        concurrency = await self.admission.acquire(account, watch, 99.0)
        self.passed.append((name, round(now() - self.start, 6)))
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            await asyncio.sleep(stay)
        finally:
            self.inside -= 1
            self.admission.release(concurrency, (1, 1, 1), None)

    def calls(self, number: int, account: str = "a", stay: float = 1.0) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.call(n, account, stay)) for n in range(number)]

    @property
    def order(self) -> list[Any]:
        return [name for name, _ in self.passed]


@virtual
async def test_no_more_than_max_concurrency_are_under_way_and_all_get_their_turn() -> None:
    gate = Gate(3)
    await asyncio.gather(*gate.calls(10))
    assert gate.most_inside == 3
    assert gate.order == list(range(10))
    assert [at for _, at in gate.passed] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]
    assert (gate.admission.slots_used, gate.admission.waiting) == (0, 0)


@virtual
async def test_whoever_waits_is_counted_and_tells_what_it_waits_for() -> None:
    gate = Gate(1, RateLimit(1, per=10.0))
    tasks = gate.calls(3, stay=1.0)
    await asyncio.sleep(0.5)
    assert gate.admission.waiting == 2
    assert gate.waits == [("pool", 99.0), ("pool", 99.0)]
    await asyncio.sleep(1)
    assert gate.admission.waiting == 2  # one for the rate limit, with the slot in hand
    assert gate.waits[2:] == [("rate_limit", 99.0)]
    await asyncio.gather(*tasks)
    assert gate.admission.waiting == 0


@virtual
async def test_a_newcomer_does_not_overtake_those_who_wait() -> None:
    gate = Gate(1)
    tasks = gate.calls(2)
    await asyncio.sleep(1.0)  # the slot has just been handed on
    await asyncio.gather(*tasks, gate.call("new"))
    assert gate.order == [0, 1, "new"]


@pytest.mark.parametrize("position", [1, 2, 3])
@virtual
async def test_who_is_cancelled_while_waiting_costs_the_others_nothing(position: int) -> None:
    gate = Gate(1)
    tasks = gate.calls(4)
    await asyncio.sleep(0.5)
    tasks[position].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert gate.passed == [(n, at) for at, n in enumerate(n for n in range(4) if n != position)]
    assert gate.admission.slots_used == 0


@virtual
async def test_who_is_cancelled_as_the_slot_is_handed_over_hands_it_on() -> None:
    gate = Gate(1)
    watch = Deadline(cast("asyncio.Task[Any]", asyncio.current_task()), DeadlineTimer(now), FOREVER)
    concurrency = await gate.admission.acquire("a", watch, 99.0)
    first, second = gate.calls(2)
    await asyncio.sleep(1)
    gate.admission.release(concurrency, (1, 1, 1), None)
    first.cancel()  # it has the slot now, and has not run since
    await asyncio.gather(first, second, return_exceptions=True)
    assert first.cancelled()
    assert gate.passed == [(1, 1)]
    assert gate.admission.slots_used == 0


@virtual
async def test_who_is_cancelled_while_waiting_for_the_rate_limit_gives_the_slot_back() -> None:
    gate = Gate(1, RateLimit(1, per=10.0))
    tasks = gate.calls(3, stay=1.0)
    await asyncio.sleep(5)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert gate.order == [0, 2]
    assert gate.passed[1][1] == pytest.approx(10.0, rel=1e-4)
    assert (gate.admission.slots_used, gate.admission.waiting) == (0, 0)


@virtual
async def test_who_is_cancelled_in_a_pause_holds_nothing() -> None:
    gate = Gate(1)
    gate.admission.pause("a", 60.0, key_wide=False)
    task = asyncio.create_task(gate.call("x"))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (gate.admission.slots_used, gate.admission.waiting, gate.passed) == (0, 0, [])


@virtual
async def test_the_pause_of_an_account_holds_its_calls_and_no_others() -> None:
    gate = Gate(5)
    gate.admission.pause("a", 30.0, key_wide=False)
    await asyncio.gather(gate.call("a1", "a"), gate.call("a2", "a"), gate.call("b", "b"))
    assert dict(gate.passed) == {"b": 0, "a1": 30, "a2": 30}
    assert gate.waits[0] == ("rate_limit", 99.0)


@virtual
async def test_the_pause_of_the_key_holds_every_account() -> None:
    gate = Gate(5)
    gate.admission.pause("a", 30.0, key_wide=True)
    await asyncio.gather(gate.call("a", "a"), gate.call("b", "b"))
    assert dict(gate.passed) == {"b": 30, "a": 30}


@virtual
async def test_a_shorter_pause_does_not_shorten_a_longer_one() -> None:
    gate = Gate(5)
    gate.admission.pause("a", 30.0, key_wide=False)
    gate.admission.pause("a", 1.0, key_wide=False)
    await gate.call("a", "a")
    assert gate.passed == [("a", 30)]


@virtual
async def test_a_pause_reaches_calls_that_wait_for_a_slot() -> None:
    gate = Gate(1)
    tasks = [*gate.calls(2, "a"), asyncio.create_task(gate.call("b", "b"))]
    await asyncio.sleep(0.5)
    gate.admission.pause("a", 20.0, key_wide=False)
    await asyncio.gather(*tasks)
    assert gate.passed == [(0, 0), ("b", 1), (1, 20.5)]


@virtual
async def test_a_pause_reaches_calls_that_wait_for_the_rate_limit() -> None:
    """Nobody of a paused account may go, and the tokens that they do not use go to the others."""
    gate = Gate(9, RateLimit(1, per=10.0))
    await gate.call("first", "a")
    tasks = [*gate.calls(2, "a"), asyncio.create_task(gate.call("b", "b"))]
    await asyncio.sleep(1)
    gate.admission.pause("a", 100.0, key_wide=False)
    await asyncio.gather(*tasks)
    times = dict(gate.passed)
    assert times["b"] == pytest.approx(10.0, rel=1e-4)
    assert min(times[0], times[1]) >= 102.0


@pytest.mark.parametrize("limit", [None, RateLimit(100, per=1.0)], ids=str)
@virtual
async def test_a_pause_of_the_account_begins_while_a_call_waits_for_the_end_of_one_of_the_key(
    limit: RateLimit | None,
) -> None:
    """It had its turn, sends nothing, and gives that back, also where there is no limit to give it back to."""
    gate = Gate(5, limit)
    gate.admission.pause("b", 10.0, key_wide=True)
    tasks = [*gate.calls(3, "a"), asyncio.create_task(gate.call("c", "c"))]
    await asyncio.sleep(5.0)
    gate.admission.pause("a", 20.0, key_wide=False)
    await asyncio.gather(*tasks)
    assert gate.passed == [("c", 10), (0, 25), (1, 25), (2, 25)]
    assert (gate.admission.slots_used, gate.admission.waiting) == (0, 0)


@virtual
async def test_a_pause_that_is_over_leaves_no_trace() -> None:
    gate = Gate(1)
    gate.admission.pause("a", 1.0, key_wide=False)
    await asyncio.sleep(5)
    await gate.call("x")
    assert gate.passed == [("x", 5)]
    assert gate.waits == []


@virtual
async def test_one_account_cannot_take_all_slots_from_another() -> None:
    gate = Gate(4)
    many = gate.calls(12, "greedy", stay=1.0)
    await asyncio.sleep(0.5)
    await asyncio.gather(*many, *(gate.call(f"b{n}", "modest") for n in range(2)))
    times = dict(gate.passed)
    assert times["b0"] == 1
    assert times["b1"] == 1


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_after_any_storm_of_arrivals_cancellations_and_pauses_every_slot_is_free(seed: int) -> None:
    async def main() -> None:
        dice = random.Random(seed)
        gate = Gate(dice.randint(1, 4), dice.choice([None, RateLimit(3, per=1.0), RateLimit(20, per=1.0)]))
        tasks: list[asyncio.Task[None]] = []
        for n in range(60):
            await asyncio.sleep(dice.choice([0, 0, 0.05, 0.3]))
            tasks.append(asyncio.create_task(gate.call(n, dice.choice("ab"), dice.choice([0.0, 0.1, 1.0]))))
            if dice.random() < 0.3:
                dice.choice(tasks).cancel()
            if dice.random() < 0.1:
                gate.admission.pause(dice.choice("ab"), dice.choice([0.0, 0.2, 2.0]), key_wide=dice.random() < 0.3)
        survivors = await asyncio.gather(*tasks, return_exceptions=True)
        assert gate.most_inside <= gate.admission.max_concurrency
        assert (gate.admission.slots_used, gate.admission.waiting, gate.admission.in_flight) == (0, 0, 0)
        finished = {n for n, outcome in enumerate(survivors) if outcome is None}
        assert finished <= set(gate.order)
        assert len(gate.order) == len(set(gate.order))

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(asyncio.wait_for(main(), 10_000))
