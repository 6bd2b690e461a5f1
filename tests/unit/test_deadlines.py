"""One timer for all calls, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from stackone_lms.engine.deadlines import Deadline, DeadlineTimer
from tests.fake.fakes import now, virtual


async def limited(timer: DeadlineTimer, seconds: float, *, work: float = 1000.0) -> tuple[float, Deadline, bool]:
    """Work under a deadline that ends it after so many seconds.

    Returns:
        When it ended, its deadline, and whether it was cancelled.
    """
    deadline = Deadline(cast("asyncio.Task[Any]", asyncio.current_task()), timer, now() + seconds)
    timer.add(deadline)
    deadline.wait("total", deadline.due)
    cancelled = False
    try:
        await asyncio.sleep(work)
    except asyncio.CancelledError:
        cancelled = True
        assert deadline.uncancel()
    finally:
        timer.discard(deadline)
    return now(), deadline, cancelled


@virtual
async def test_each_call_ends_when_its_own_time_is_over() -> None:
    timer, start = DeadlineTimer(now), now()
    ends = await asyncio.gather(*(limited(timer, seconds) for seconds in (5, 1, 3, 1, 0)))
    assert [round(at - start, 6) for at, _, _ in ends] == [5, 1, 3, 1, 0]
    assert all(cancelled for _, _, cancelled in ends)
    assert len(timer) == 0


@virtual
async def test_who_is_done_in_time_is_left_alone() -> None:
    timer, start = DeadlineTimer(now), now()
    (early, deadline, cancelled), (late, _, _) = await asyncio.gather(limited(timer, 5, work=2), limited(timer, 9))
    assert (early - start, cancelled, deadline.fired) == (2, False, False)
    assert late - start == 9


@virtual
async def test_a_limit_that_moves_away_is_obeyed() -> None:
    timer, start = DeadlineTimer(now), now()

    async def call() -> float:
        deadline = Deadline(cast("asyncio.Task[Any]", asyncio.current_task()), timer, now() + 1)
        timer.add(deadline)
        deadline.wait("total", deadline.due)
        await asyncio.sleep(0.5)
        deadline.wait("read", now() + 10)
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            deadline.uncancel()
        timer.discard(deadline)
        return now() - start

    assert await call() == 10.5


@virtual
async def test_a_limit_that_moves_closer_is_obeyed() -> None:
    timer, start = DeadlineTimer(now), now()

    async def call() -> float:
        deadline = Deadline(cast("asyncio.Task[Any]", asyncio.current_task()), timer, now() + 100)
        timer.add(deadline)
        deadline.wait("total", deadline.due)
        deadline.wait("read", now() + 2)
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            deadline.uncancel()
        timer.discard(deadline)
        return now() - start

    assert await call() == 2


@virtual
async def test_a_call_is_ended_again_when_it_goes_on_after_the_first_time() -> None:
    """As a retry does after an attempt timed out."""
    timer, start = DeadlineTimer(now), now()
    deadline = Deadline(cast("asyncio.Task[Any]", asyncio.current_task()), timer, now() + 1)
    timer.add(deadline)
    deadline.wait("total", deadline.due)
    ends: list[float] = []
    for seconds in (1, 2):
        deadline.wait("read", now() + seconds)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(50)
        assert deadline.fired
        assert deadline.uncancel()
        assert not deadline.fired
        ends.append(now() - start)
    timer.discard(deadline)
    assert ends == [1, 3]


@virtual
async def test_closing_ends_all_at_once_and_says_so() -> None:
    timer, start = DeadlineTimer(now), now()
    calls = [asyncio.create_task(limited(timer, 50)) for _ in range(3)]
    await asyncio.sleep(1)
    timer.close_all()
    for at, deadline, cancelled in await asyncio.gather(*calls):
        assert (at - start, deadline.closing, cancelled) == (1, True, True)
    timer.stop()
    await asyncio.sleep(100)  # the timer that was set is gone: nothing is cancelled


@virtual
async def test_a_cancellation_from_outside_is_told_apart() -> None:
    timer = DeadlineTimer(now)

    async def call() -> tuple[bool, bool]:
        deadline = Deadline(cast("asyncio.Task[Any]", asyncio.current_task()), timer, now() + 1)
        timer.add(deadline)
        deadline.wait("total", deadline.due)
        try:
            await asyncio.sleep(50)
        except asyncio.CancelledError:
            return deadline.fired, deadline.uncancel()
        finally:
            timer.discard(deadline)
        raise AssertionError

    task = asyncio.create_task(call())
    await asyncio.sleep(1)  # both at the same moment: the timer of the deadline came first
    task.cancel()
    assert await task == (True, False)
    task = asyncio.create_task(call())
    await asyncio.sleep(0.5)
    task.cancel()
    fired, _ = await task
    assert not fired


@virtual
async def test_a_deadline_knows_the_phase_that_ends_first() -> None:
    timer = DeadlineTimer(now)
    deadline = Deadline(cast("asyncio.Task[Any]", asyncio.current_task()), timer, now() + 300)
    begin = now()
    deadline.attempt(begin, begin + 75, "attempt", connect=5.0, read=65.0)
    assert (deadline.phase, deadline.due - begin, deadline.request_sent) == ("read", 65, True)
    deadline.connecting()
    assert (deadline.phase, deadline.due - begin, deadline.request_sent) == ("connect", 5, False)
    assert timer.next - begin == 5
    await asyncio.sleep(1)
    deadline.progress()
    assert (deadline.phase, deadline.due - begin, deadline.request_sent) == ("read", 66, True)
    await asyncio.sleep(20)
    deadline.progress()
    assert (deadline.phase, deadline.due - begin) == ("attempt", 75)
    begin = now()
    deadline.attempt(begin, begin + 3, "total", connect=5.0, read=65.0)
    deadline.connecting()
    assert (deadline.phase, deadline.due - begin, deadline.request_sent) == ("total", 3, False)
    deadline.attempt(begin, begin + 75, "attempt", connect=None, read=None)
    assert (deadline.phase, deadline.due - begin) == ("attempt", 75)
    deadline.connecting()
    assert (deadline.phase, deadline.due - begin) == ("attempt", 75)
    deadline.progress()
    assert (deadline.phase, deadline.due - begin) == ("attempt", 75)
    timer.stop()


@virtual
async def test_a_call_whose_time_is_over_is_cancelled_once() -> None:
    """Whoever clears up for a while is not cancelled again whenever another call's time is over."""
    timer = DeadlineTimer(now)
    counts: list[int] = []

    async def clearing_up() -> None:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        deadline = Deadline(task, timer, now() + 1)
        timer.add(deadline)
        deadline.wait("total", deadline.due)
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            await asyncio.sleep(10)
        counts.append(task.cancelling())
        timer.discard(deadline)

    await asyncio.gather(clearing_up(), *(limited(timer, seconds) for seconds in (2, 3, 4)))
    assert counts == [1]


async def test_a_loop_that_is_always_late_puts_no_limit_off_for_ever() -> None:
    """What a timer is late by is added to the limit, three times in a row at most."""
    time, looks = 100.0, 0

    def clock() -> float:
        return time

    timer = DeadlineTimer(clock)
    task = asyncio.create_task(asyncio.sleep(1000))
    deadline = Deadline(task, timer, 101.0)
    timer.add(deadline)
    deadline.wait("read", 101.0)
    while not deadline.fired:
        looks += 1
        time = deadline.due + 0.5
        timer._look()  # pyright: ignore[reportPrivateUsage]
    timer.stop()
    assert looks == 4
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


@virtual
async def test_a_limit_that_is_looked_at_late_is_put_off_by_as_much() -> None:
    """One turn of the loop is not enough to read what came while it was held up."""
    start, blocked = now(), [0.0]
    timer = DeadlineTimer(lambda: now() + blocked[0])
    call = asyncio.create_task(limited(timer, 1))
    await asyncio.sleep(0.5)
    blocked[0] = 5
    at, _, cancelled = await call
    assert (at - start, cancelled) == (6, True)
