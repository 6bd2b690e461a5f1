"""The limiter that uses departures from a queue, in virtual time, with a queue in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackone_lms.errors import ClientClosedError, SharedLimitError
from stackone_lms.shared_limit.reservations import LEAST_LEASE, Demand, Lease, ReservationLimiter, Terms, terms_of
from tests.fake.fakes import now, virtual

from ..conftest import OwnLog
from .windows import most_in_any

REQUESTS, PER = 100, 10.0
TERMS = terms_of(REQUESTS, PER)
STEP = TERMS.step / 1e6


class Queue:
    """Gives departures away like Redis, to as many limiters as there are.

    Attributes:
        asked: What it was asked for.
        fails: What it fails with, instead of an answer.
        delay: Seconds before it looks, and as many before its answer is there.
        answers: Set when it may answer.
    """

    def __init__(self, delay: float = 0.0, terms: Terms = TERMS) -> None:
        self.terms = terms
        self.asked: list[Demand] = []
        self.given: list[int] = []
        self.fails: SharedLimitError | None = None
        self.delay, self.free, self.resumes, self.closed = delay, 0, 0, 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def reserve(self, demand: Demand) -> Lease:
        sent = now()
        self.asked.append(demand)
        await asyncio.sleep(self.delay)
        if self.fails is not None:
            raise self.fails
        at = round(now() * 1e6)
        if demand.pause:
            self.resumes = at + demand.pause
        self.free = first = max(self.free, at - self.terms.slack, self.resumes)
        size = max(demand.need, min(demand.spare, (at - first) // self.terms.step + 1))
        self.free += size * self.terms.step
        self.given += [first + n * self.terms.step for n in range(size)]
        await asyncio.sleep(self.delay)
        await self.answers.wait()
        return Lease(at, first, size, max(0, self.resumes - at), sent + self.delay, now() - self.delay)

    def close(self) -> None:
        self.closed += 1


def limiter_of(queue: Queue, sleep: Callable[[float], Any] = asyncio.sleep) -> ReservationLimiter:
    return ReservationLimiter(queue, requests=REQUESTS, per=PER, clock=now, sleep=sleep)


async def passing(limiter: ReservationLimiter, callers: int, times: list[float]) -> None:
    async def call() -> None:
        await limiter.acquire()
        times.append(now())

    await asyncio.gather(*(call() for _ in range(callers)))


@given(st.integers(1, 100_000), st.floats(0.05, 86_400))
def test_the_numbers_hold_the_limit_and_leave_most_of_it(requests: int, per: float) -> None:
    """However late each departure is used: those of a window have their times within the window and that lateness."""
    terms = terms_of(requests, per)
    assert (per * 1e6 + terms.late) / terms.step <= requests
    assert terms.late > terms.slack
    if per >= 1:
        assert requests * terms.step <= per * 1e6 * 1.15 + requests  # microseconds are whole
    if per >= 60:
        assert requests * terms.step <= per * 1e6 * 1.042 + requests


@virtual
async def test_several_limiters_keep_the_limit_and_share_it() -> None:
    queue, times = Queue(), [list[float]() for _ in range(4)]
    async with asyncio.timeout(35):
        await asyncio.gather(*(passing(limiter_of(queue), 70, each) for each in times))
    every = [moment for each in times for moment in each]
    assert most_in_any(every, PER) <= REQUESTS
    assert max(every) - min(every) == pytest.approx(280 * STEP, rel=0.05)
    ends = sorted(max(each) for each in times)
    assert ends[0] > 0.8 * ends[-1]  # none was done long before the others


@virtual
async def test_who_asks_from_afar_gets_nearly_as_much() -> None:
    queues = Queue(), Queue(delay=0.3)
    times = [list[float]() for _ in range(4)]
    near = [limiter_of(queues[0]) for _ in range(3)]
    far = limiter_of(queues[1])
    queues[1].reserve = _as_one(queues[1], queues[0])  # type: ignore[method-assign]
    tasks = [
        asyncio.create_task(passing(limiter, 1000, each)) for limiter, each in zip([*near, far], times, strict=True)
    ]
    await asyncio.sleep(40)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    mean = sum(map(len, times)) / 4
    assert [len(each) for each in times] == pytest.approx([mean] * 4, rel=0.3)
    assert most_in_any([moment for each in times for moment in each], PER) <= REQUESTS


def _as_one(far: Queue, near: Queue) -> Any:
    async def reserve(demand: Demand) -> Lease:
        sent = now()
        await asyncio.sleep(far.delay)
        lease = await near.reserve(demand)
        await asyncio.sleep(far.delay)
        return lease._replace(earliest=sent + far.delay, latest=now() - far.delay)

    return reserve


@virtual
async def test_many_who_wait_are_served_with_few_questions() -> None:
    queue, times = Queue(), list[float]()
    await passing(limiter_of(queue), 80, times)
    assert len(queue.asked) <= 80 // LEAST_LEASE + 1
    assert len(queue.given) == 80


@virtual
async def test_of_a_fast_limit_a_tenth_of_a_second_is_taken_at_a_time() -> None:
    queue, times = Queue(terms=terms_of(1000, 1.0)), list[float]()
    limiter = ReservationLimiter(queue, requests=1000, per=1.0, clock=now, sleep=asyncio.sleep)
    await passing(limiter, 900, times)
    assert len(queue.given) == 900
    assert len(queue.asked) <= 12


@virtual
async def test_who_is_far_away_asks_before_it_has_nothing_left() -> None:
    queue, times = Queue(delay=0.3), list[float]()
    await passing(limiter_of(queue), 80, times)
    assert times[-1] - times[0] == pytest.approx(80 * STEP, rel=0.05)


@virtual
async def test_while_the_limit_is_not_used_up_more_is_taken_than_waits() -> None:
    queue = Queue(terms=terms_of(100_000, PER))
    limiter = ReservationLimiter(queue, requests=100_000, per=PER, clock=now, sleep=asyncio.sleep)
    for _ in range(200):
        await limiter.acquire()
    assert len(queue.asked) < 12


@virtual
async def test_a_departure_that_was_not_used_in_time_is_lost() -> None:
    """As when the process was stopped: when it goes on, it does not make up for it."""
    queue, times = Queue(), list[float]()
    limiter = limiter_of(queue)
    await passing(limiter, 50, times)
    await asyncio.sleep(100)
    others = list[float]()
    held = asyncio.create_task(passing(limiter, 20, times))
    await asyncio.sleep(0.01)
    assert limiter._departures  # pyright: ignore[reportPrivateUsage]
    loop: Any = asyncio.get_running_loop()
    loop._instant.now += 50  # nothing runs for so long
    await passing(limiter_of(queue), 20, others)
    await held
    assert most_in_any([*times, *others], PER) <= REQUESTS
    woken = [moment for moment in [*times, *others] if moment >= 150]
    assert most_in_any(woken, STEP * 0.9) <= TERMS.slack // TERMS.step + 2


@virtual
async def test_an_answer_that_took_long_may_be_about_the_past() -> None:
    """What it gives is not used when it can be older than it may be."""
    queue, times = Queue(), list[float]()
    limiter = limiter_of(queue)
    queue.answers.clear()
    task = asyncio.create_task(passing(limiter, 1, times))
    await asyncio.sleep(30)
    queue.answers.set()
    await task
    assert len(queue.asked) == 2
    assert times[0] >= queue.given[-1] / 1e6


@virtual
async def test_who_is_cancelled_leaves_what_comes_to_the_next() -> None:
    queue, times = Queue(), list[float]()
    limiter = limiter_of(queue)
    queue.answers.clear()
    first, second = (asyncio.create_task(passing(limiter, 1, times)) for _ in range(2))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    queue.answers.set()
    await second
    assert first.cancelled()
    assert (len(queue.asked), limiter.waiting) == (1, 0)


@virtual
async def test_what_was_not_sent_is_given_back() -> None:
    queue = Queue()
    limiter = limiter_of(queue)
    await limiter.acquire()
    limiter.give_back()
    limiter.give_back()  # once is enough
    assert limiter.try_acquire()
    assert not limiter.try_acquire()
    assert len(queue.given) == 1


@virtual
async def test_a_pause_holds_up_all_and_not_for_ever() -> None:
    queue, times = Queue(), list[float]()
    limiter, other = limiter_of(queue), limiter_of(queue)
    await passing(other, 1, times)
    limiter.pause(5.0)
    begun = now()
    await asyncio.sleep(0.01)
    assert queue.asked[-1].pause == pytest.approx(5e6, abs=1000)
    task = asyncio.create_task(passing(other, 1, times))
    await asyncio.sleep(0.01)
    assert other.paused_for == pytest.approx(4.98, abs=0.02)  # what it may hold has to wait, too
    await task
    assert times[-1] - begun == pytest.approx(5.0, abs=0.02)
    assert other.paused_for == 0
    await passing(limiter, 1, times)
    assert queue.asked[-1].pause == 0  # it is told once


@virtual
async def test_a_pause_that_begins_while_it_asks_is_told_too() -> None:
    queue, times = Queue(delay=0.1), list[float]()
    limiter = limiter_of(queue)
    task = asyncio.create_task(passing(limiter, 1, times))
    await asyncio.sleep(0.05)
    limiter.pause(3.0)
    await task
    assert [demand.pause > 0 for demand in queue.asked[:2]] == [False, True]
    assert queue.asked[1].need == 0


@virtual
async def test_an_outage_is_waited_for() -> None:
    queue, times = Queue(), list[float]()
    limiter = limiter_of(queue)
    queue.fails = SharedLimitError("it is not there", retryable=True)
    task = asyncio.create_task(passing(limiter, 3, times))
    await asyncio.sleep(20)
    assert limiter.outage == "it is not there"
    assert 20 <= len(queue.asked) <= 40  # it was asked again and again, once a second in the end
    queue.fails = None
    async with asyncio.timeout(2):
        await task
    assert limiter.outage is None
    assert queue.asked[-1].need == 3  # for all who wait by then


@virtual
async def test_a_single_failure_is_not_worth_telling(own_log: OwnLog) -> None:
    queue, times = Queue(), list[float]()
    limiter = limiter_of(queue)
    queue.fails = SharedLimitError("it is not there", retryable=True)
    task = asyncio.create_task(passing(limiter, 1, times))
    await asyncio.sleep(0.01)
    queue.fails = None
    await task
    assert (len(queue.asked), own_log()) == (2, [])


def test_what_was_asked_on_a_loop_that_is_closed_is_forgotten() -> None:
    asked = 0

    class Hanging:
        async def reserve(self, demand: Demand) -> Lease:
            nonlocal asked
            asked += 1
            if asked == 1:
                await asyncio.get_running_loop().create_future()
            return Lease(0, 0, 1, 0, time.monotonic(), time.monotonic())

        def close(self) -> None:
            pass

    limiter = ReservationLimiter(Hanging(), requests=REQUESTS, per=PER, clock=time.monotonic, sleep=asyncio.sleep)

    async def ask(seconds: float) -> None:
        async with asyncio.timeout(seconds):
            await limiter.acquire()

    first = asyncio.new_event_loop()
    with pytest.raises(TimeoutError):
        first.run_until_complete(ask(0.01))
    for task in asyncio.all_tasks(first):
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    first.close()  # as some do, without ending what runs there
    limiter.leave_behind()
    asyncio.run(ask(20))
    assert asked == 2


@virtual
async def test_what_cannot_pass_is_raised_at_once() -> None:
    queue = Queue()
    limiter = limiter_of(queue)
    queue.fails = SharedLimitError("it is no Redis")
    for _ in range(2):
        with pytest.raises(SharedLimitError, match="no Redis"):
            await limiter.acquire()
    assert (len(queue.asked), limiter.waiting, limiter.outage) == (2, 0, None)


@virtual
async def test_closing_ends_what_is_being_asked() -> None:
    queue, times = Queue(), list[float]()
    limiter = limiter_of(queue)
    queue.answers.clear()
    task = asyncio.create_task(passing(limiter, 1, times))
    await asyncio.sleep(0.01)
    limiter.close()
    with pytest.raises(ClientClosedError):
        await task
    limiter.pause(1.0)
    assert queue.closed == 1


@virtual
async def test_it_tells_what_it_has_seen_given_away() -> None:
    """So that a queue that has lost its memory does not give it away again."""
    queue = Queue()
    limiter = limiter_of(queue)
    await limiter.acquire()
    await asyncio.sleep(60)
    await limiter.acquire()
    first, second = queue.asked
    assert (first.known, first.ahead) == (0, 0)
    assert second.known == queue.given[0] + TERMS.step
    assert second.ahead == TERMS.step - TERMS.slack
