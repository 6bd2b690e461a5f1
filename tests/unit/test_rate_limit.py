"""The client-side rate limit, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackone_lms.engine.rate_limit import Limiter
from stackone_lms.options import RateLimit
from tests.fake.fakes import VirtualLoop, now, virtual


def limiter_of(limit: RateLimit | None) -> Limiter:
    return Limiter(limit, clock=now, sleep=asyncio.sleep)


def crowded(times: list[float], limit: RateLimit) -> list[tuple[float, float]]:
    """Return the windows in which more than `limit.requests` passed; rounding of the clock apart."""
    times = sorted(times)
    return [
        (first, last)
        for first, last in zip(times, times[limit.requests :], strict=False)
        if last - first < limit.per * (1 - 1e-9)
    ]


async def storm(limiter: Limiter, arrivals: list[tuple[float, float | None]]) -> list[tuple[int, float]]:
    """Let callers arrive after the first number of seconds, and give up after the second.

    Returns:
        Who passed and when, in the order of passing.
    """
    passed: list[tuple[int, float]] = []

    async def caller(number: int, arrives: float, patience: float | None) -> None:
        await asyncio.sleep(arrives)
        try:
            async with asyncio.timeout(patience):
                await limiter.acquire()
                passed.append((number, now()))
        except TimeoutError:
            pass

    async with asyncio.TaskGroup() as group:
        for number, (arrives, patience) in enumerate(arrivals):
            group.create_task(caller(number, arrives, patience))
    return passed


LIMITS = st.integers(1, 40).flatmap(
    lambda requests: st.builds(
        RateLimit,
        st.just(requests),
        per=st.sampled_from([0.1, 1.0, 7.3, 60.0, 86400.0]),
        burst=st.none() | st.integers(1, requests),
    )
)
ARRIVALS = st.lists(
    st.tuples(st.floats(0, 3, width=32), st.none() | st.floats(0, 2, width=32)), min_size=1, max_size=120
)


@settings(max_examples=60)
@given(LIMITS, ARRIVALS)
def test_no_window_ever_holds_more_than_the_limit(limit: RateLimit, arrivals: list[tuple[float, float | None]]) -> None:
    """Whoever comes and gives up, whenever: arrival times are in units of the window."""

    async def main() -> None:
        limiter = limiter_of(limit)
        scaled = [(a * limit.per, None if p is None else p * limit.per) for a, p in arrivals]
        passed = await storm(limiter, scaled)
        assert crowded([at for _, at in passed], limit) == []
        assert limiter.waiting == 0
        patient = {number for number, (_, patience) in enumerate(scaled) if patience is None}
        assert patient <= {number for number, _ in passed}

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())


@pytest.mark.parametrize(
    "limit",
    [
        RateLimit(1, per=1.0),
        RateLimit(1, per=300.0),
        RateLimit(2, per=1.0),
        RateLimit(3, per=1.0, burst=3),
        RateLimit(10, per=1.0, burst=9),
        RateLimit(49, per=1.0),
        RateLimit(1000, per=60.0),
        RateLimit(1000, per=60.0, burst=1),
        RateLimit(1000, per=60.0, burst=1000),
        RateLimit(100_000, per=1.0),
    ],
    ids=str,
)
@virtual
async def test_a_crowd_passes_at_the_steady_rate_and_not_faster(limit: RateLimit) -> None:
    limiter = limiter_of(limit)
    crowd = min(3 * limit.requests, 3000)
    passed = await storm(limiter, [(0.0, None)] * crowd)
    times = [at for _, at in passed]
    assert crowded(times, limit) == []
    assert [number for number, _ in passed] == list(range(crowd))
    burst = limit.burst or max(1, limit.requests // 20)
    assert times.count(times[0]) == min(burst, crowd)
    rate = limit.requests / limit.per
    assert times[-1] - times[0] == pytest.approx(max(0, crowd - burst) / rate, rel=1e-3)


@pytest.mark.parametrize("processes", [1, 3, 4, 7])
@virtual
async def test_processes_that_each_keep_to_a_share_keep_the_limit_together(processes: int) -> None:
    whole = RateLimit(20, per=10.0)
    shares = [limiter_of(RateLimit(20, per=10.0, share=1 / processes)) for _ in range(processes)]
    passed = await asyncio.gather(*(storm(limiter, [(0.0, None)] * 30) for limiter in shares))
    times = [at for each in passed for _, at in each]
    assert crowded(times, whole) == []
    assert shares[0].requests == 20 // processes
    assert times[-1] - times[0] == pytest.approx((30 - 1) * 10 / (20 // processes), rel=1e-3)  # as fast as that allows
    assert shares[0].rate == pytest.approx(20 // processes / 10)


@virtual
async def test_after_a_quiet_time_only_the_burst_goes_at_once() -> None:
    limiter = limiter_of(RateLimit(100, per=60.0, burst=5))
    await asyncio.sleep(100_000)
    times = [at for _, at in await storm(limiter, [(0.0, None)] * 10)]
    assert times.count(times[0]) == 5


@virtual
async def test_callers_pass_in_the_order_they_came() -> None:
    limiter = limiter_of(RateLimit(5, per=1.0))
    passed = await storm(limiter, [(number / 1000, None) for number in range(40)])
    assert [number for number, _ in passed] == list(range(40))


@virtual
async def test_a_newcomer_does_not_overtake_those_who_wait() -> None:
    time = 100.0
    alarm = asyncio.Event()

    async def oversleep(seconds: float) -> None:
        await alarm.wait()

    limiter = Limiter(RateLimit(1, per=10.0), clock=lambda: time, sleep=oversleep)
    await limiter.acquire()
    waiting = asyncio.create_task(limiter.acquire())
    await asyncio.sleep(0)
    time = 200.0  # the token has long been there, and belongs to who waits for it
    assert not limiter.try_acquire()
    alarm.set()
    await waiting
    assert not limiter.try_acquire()


@virtual
async def test_callers_who_give_up_cost_nobody_anything() -> None:
    limiter = limiter_of(RateLimit(1, per=10.0))
    start = now()
    await limiter.acquire()
    tasks = [asyncio.create_task(limiter.acquire()) for _ in range(50)]
    await asyncio.sleep(3)
    assert limiter.waiting == 50
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert limiter.waiting == 0
    await limiter.acquire()
    assert now() - start == pytest.approx(10.0, rel=1e-4)


@pytest.mark.parametrize("position", [0, 1, 2])
@virtual
async def test_when_one_who_waits_is_cancelled_the_others_move_up(position: int) -> None:
    limiter = limiter_of(RateLimit(1, per=1.0))
    await limiter.acquire()
    passed: list[tuple[int, float]] = []

    async def wait(number: int) -> None:
        await limiter.acquire()
        passed.append((number, now()))

    tasks = [asyncio.create_task(wait(number)) for number in range(3)]
    start = now()
    await asyncio.sleep(0.5)
    tasks[position].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [number for number, _ in passed] == [number for number in range(3) if number != position]
    assert [round(at - start, 3) for _, at in passed] == [1.0, 2.0]


@virtual
async def test_one_cancelled_at_the_very_moment_of_its_turn_passes_the_turn_on() -> None:
    limiter = limiter_of(RateLimit(1, per=1.0))
    await limiter.acquire()

    async def pass_and_cancel() -> None:
        await limiter.acquire()
        second.cancel()  # it has been told that it is first now, and has not run since

    first = asyncio.create_task(pass_and_cancel())
    second, third = (asyncio.create_task(limiter.acquire()) for _ in range(2))
    await first
    with pytest.raises(asyncio.CancelledError):
        await second
    await asyncio.wait_for(third, 1.5)


@virtual
async def test_a_pause_stops_everybody_and_then_they_go_on() -> None:
    limiter = limiter_of(RateLimit(100, per=1.0, burst=10))
    start = now()
    limiter.pause(5.0)
    assert limiter.paused_for == 5.0
    assert not limiter.try_acquire()
    await limiter.acquire()
    assert now() - start == 5.0
    assert limiter.paused_for == 0.0


@virtual
async def test_a_pause_reaches_those_who_wait_already() -> None:
    limiter = limiter_of(RateLimit(1, per=1.0))
    await limiter.acquire()
    start = now()
    waiting = asyncio.create_task(limiter.acquire())
    await asyncio.sleep(0.5)
    limiter.pause(30.0)
    await waiting
    assert now() - start == pytest.approx(30.5)


@virtual
async def test_a_shorter_pause_does_not_shorten_a_longer_one() -> None:
    limiter = limiter_of(None)
    limiter.pause(60.0)
    limiter.pause(1.0)
    limiter.pause(0.0)
    assert limiter.paused_for == 60.0


@virtual
async def test_without_a_limit_only_pauses_count() -> None:
    limiter = limiter_of(None)
    start = now()
    assert all(limiter.try_acquire() for _ in range(10_000))
    await limiter.acquire()
    assert now() == start
    limiter.pause(2.0)
    await asyncio.gather(*(limiter.acquire() for _ in range(100)))
    assert now() - start == 2.0


@virtual
async def test_a_refused_try_costs_nothing() -> None:
    limiter = limiter_of(RateLimit(1, per=1.0))
    assert limiter.try_acquire()
    for _ in range(1000):
        assert not limiter.try_acquire()
    await asyncio.sleep(1.001)
    assert limiter.try_acquire()


@virtual
async def test_a_clock_that_stands_still_or_goes_back_gives_no_tokens() -> None:
    times = [100.0, 100.0, 50.0, 50.0, 100.0]
    limiter = Limiter(RateLimit(1, per=1.0), clock=lambda: times.pop(0) if times else 100.5, sleep=asyncio.sleep)
    assert limiter.try_acquire()
    assert not limiter.try_acquire()
    assert not limiter.try_acquire()
    assert not limiter.try_acquire()


@virtual
async def test_a_sleep_that_ends_early_lets_nobody_pass_early() -> None:
    """As a real clock's may, by its resolution."""

    async def short(seconds: float) -> Any:
        await asyncio.sleep(seconds / 2)

    limiter = Limiter(RateLimit(1, per=8.0), clock=now, sleep=short)
    start = now()
    await limiter.acquire()
    await limiter.acquire()
    assert now() - start >= 8.0


@pytest.mark.parametrize("requests", [10, 500])
@virtual
async def test_what_is_given_back_can_be_taken_again(requests: int) -> None:
    """Whoever passed and sent nothing leaves the window as full as it was, and no fuller."""
    limiter = limiter_of(RateLimit(requests, per=1.0, burst=requests))
    start = now()
    for turn in range(3 * requests - 2):
        await limiter.acquire()
        if turn % 3:
            limiter.give_back()
    assert now() - start == 0
    assert limiter.tokens == 0
    for _ in range(requests):
        await limiter.acquire()
    assert now() - start == pytest.approx(1.0)


@virtual
async def test_those_who_were_held_up_catch_up() -> None:
    """A twentieth of the limit may be late, and the window is used up all the same."""
    limiter = limiter_of(RateLimit(100, per=1.0))
    start = now()
    for number in range(1000):
        await limiter.acquire()
        if number % 50 == 25:
            await asyncio.sleep(0.04)
    assert now() - start <= 10


@pytest.mark.parametrize("seconds", [0.0, 0.5, 11.0])
@virtual
async def test_a_server_that_refuses_all_the_same_is_given_more_time(seconds: float) -> None:
    """A pause makes the window a hundredth longer, up to a twentieth; those in one, or in that window, do not count."""
    limiter = limiter_of(RateLimit(100, per=10.0))
    assert limiter.rate == pytest.approx(10.0)
    for window in (10.1, 10.2, 10.3, 10.4, 10.5, 10.5):
        for _ in range(5):
            limiter.pause(seconds)
            await asyncio.sleep(1.0)
        assert limiter.rate == pytest.approx(100 / window)
        await asyncio.sleep(12.0)
    times = [at for _, at in await storm(limiter, [(0.0, None)] * 300)]
    assert times[-1] - times[0] == pytest.approx((300 - 5) / 100 * 10.5, rel=1e-3)
