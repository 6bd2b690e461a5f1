"""The window of the client-side rate limit: all of it is used, what it says is left, and clocks of any size."""

from __future__ import annotations

import asyncio
import random
from collections import deque

import pytest

from stackone_lms.engine.rate_limit import Limiter
from stackone_lms.options import RateLimit
from tests.fake.fakes import VirtualLoop, give_up, now, virtual

from .test_rate_limit import crowded, limiter_of


def passing(limiter: Limiter) -> int:
    """Take all that can be had at once, and say how many that were."""
    count = 0
    while limiter.try_acquire():
        count += 1
    return count


@pytest.mark.parametrize("requests", [1, 2, 1000, 10_500])
@virtual
async def test_all_of_the_limit_can_be_used(requests: int) -> None:
    limiter = limiter_of(RateLimit(requests, per=10.0, burst=requests))
    for _ in range(3):
        assert passing(limiter) == requests
        for _ in range(min(5, requests)):
            limiter.give_back()
        assert passing(limiter) == min(5, requests)
        await asyncio.sleep(10.0)


@pytest.mark.parametrize("seed", range(5))
def test_no_window_holds_more_than_the_limit_whatever_is_given_back(seed: int) -> None:
    dice = random.Random(seed)

    async def main() -> None:
        requests = dice.randint(1, 40)
        limit = RateLimit(requests, per=7.3, burst=requests)
        limiter = limiter_of(limit)
        times: list[float] = []
        for _ in range(10 * requests):
            await limiter.acquire()
            if dice.random() < 0.3:
                limiter.give_back()
            else:
                times.append(now())
            if dice.random() < 0.1:
                await asyncio.sleep(dice.random())
        assert crowded(times, limit) == []

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())


@pytest.mark.parametrize("requests", [10, 1000])
@virtual
async def test_its_tokens_are_what_can_pass_at_once(requests: int) -> None:
    """However much of the window is used."""
    dice = random.Random(requests)
    limiter = limiter_of(RateLimit(requests, per=10.0, burst=requests))
    low = requests
    for _ in range(40):
        for _ in range(dice.randint(0, requests // 4)):
            await limiter.acquire()
        await asyncio.sleep(dice.random() * 4)
        said = limiter.tokens
        assert said is not None
        could = passing(limiter)
        assert could == int(said + 1e-9)
        low = min(low, could)
        for _ in range(could):
            limiter.give_back()
    assert low < requests // 2


@virtual
async def test_in_a_pause_it_has_no_tokens() -> None:
    limiter = limiter_of(RateLimit(100, per=10.0))
    assert limiter.tokens == 5
    limiter.pause(3.0)
    assert limiter.tokens == 0
    await asyncio.sleep(3.0)
    assert limiter.tokens == 5


@virtual
async def test_another_thread_may_ask_for_the_tokens_at_any_moment() -> None:
    """Also when the window empties between two looks at it."""

    class Emptied(deque[float]):
        def __len__(self) -> int:
            length = super().__len__()
            self.clear()
            return length

        def copy(self) -> deque[float]:  # type: ignore[override]
            return deque(self)

    limiter = limiter_of(RateLimit(1, per=10.0))
    await limiter.acquire()
    limiter._history = Emptied([now()])  # pyright: ignore[reportPrivateUsage]
    assert limiter.tokens == 0


@pytest.mark.parametrize("begin", [0.0, 1e6, 3.2e7, 1.79e9, 1e12])
async def test_the_size_of_the_clock_does_not_matter(begin: float) -> None:
    """As of a clock that counts from the epoch: there is no sleep that is too short to move it."""
    time = begin

    async def sleep(seconds: float) -> None:
        nonlocal time
        before, time = time, time + seconds
        assert time > before
        await asyncio.sleep(0)

    limiter = Limiter(RateLimit(1000), clock=lambda: time, sleep=sleep, slack=0.02)
    for _ in range(3000):
        await limiter.acquire()
    # 2950 behind the burst; each wait may be longer by what the clock cannot tell.
    assert time - begin == pytest.approx(2950 / 1000 * 60.6, rel=0.01)


async def test_giving_up_costs_the_same_however_many_wait() -> None:
    """Nobody is looked for among the others."""
    limiter = Limiter(RateLimit(1, per=1e6), clock=lambda: 0.0, sleep=asyncio.sleep)
    await limiter.acquire()
    assert await give_up(limiter.acquire, 1000) < 1000
    assert limiter.waiting == 0
