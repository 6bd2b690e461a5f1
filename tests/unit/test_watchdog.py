"""One timer for all calls, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from stackone_lms.engine.deadlines import Deadline, DeadlineTimer
from tests.fake.fakes import now, virtual


async def watched(dog: DeadlineTimer, seconds: float, *, work: float = 1000.0) -> tuple[float, Deadline, bool]:
    """Work under a watch that ends it after so many seconds.

    Returns:
        When it ended, its watch, and whether it was cancelled.
    """
    watch = Deadline(cast("asyncio.Task[Any]", asyncio.current_task()), dog, now() + seconds)
    dog.add(watch)
    watch.wait("total", watch.due)
    cancelled = False
    try:
        await asyncio.sleep(work)
    except asyncio.CancelledError:
        cancelled = True
        assert watch.uncancel()
    finally:
        dog.discard(watch)
    return now(), watch, cancelled


@virtual
async def test_each_call_ends_when_its_own_time_is_over() -> None:
    dog, start = DeadlineTimer(now), now()
    ends = await asyncio.gather(*(watched(dog, seconds) for seconds in (5, 1, 3, 1, 0)))
    assert [round(at - start, 6) for at, _, _ in ends] == [5, 1, 3, 1, 0]
    assert all(cancelled for _, _, cancelled in ends)
    assert len(dog) == 0


@virtual
async def test_who_is_done_in_time_is_left_alone() -> None:
    dog, start = DeadlineTimer(now), now()
    (early, watch, cancelled), (late, _, _) = await asyncio.gather(watched(dog, 5, work=2), watched(dog, 9))
    assert (early - start, cancelled, watch.fired) == (2, False, False)
    assert late - start == 9


@virtual
async def test_a_limit_that_moves_away_is_obeyed() -> None:
    dog, start = DeadlineTimer(now), now()

    async def call() -> float:
        watch = Deadline(cast("asyncio.Task[Any]", asyncio.current_task()), dog, now() + 1)
        dog.add(watch)
        watch.wait("total", watch.due)
        await asyncio.sleep(0.5)
        watch.wait("read", now() + 10)
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            watch.uncancel()
        dog.discard(watch)
        return now() - start

    assert await call() == 10.5


@virtual
async def test_a_limit_that_moves_closer_is_obeyed() -> None:
    dog, start = DeadlineTimer(now), now()

    async def call() -> float:
        watch = Deadline(cast("asyncio.Task[Any]", asyncio.current_task()), dog, now() + 100)
        dog.add(watch)
        watch.wait("total", watch.due)
        watch.wait("read", now() + 2)
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            watch.uncancel()
        dog.discard(watch)
        return now() - start

    assert await call() == 2


@virtual
async def test_a_call_is_ended_again_when_it_goes_on_after_the_first_time() -> None:
    """As a retry does after an attempt timed out."""
    dog, start = DeadlineTimer(now), now()
    watch = Deadline(cast("asyncio.Task[Any]", asyncio.current_task()), dog, now() + 1)
    dog.add(watch)
    watch.wait("total", watch.due)
    ends: list[float] = []
    for seconds in (1, 2):
        watch.wait("read", now() + seconds)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(50)
        assert watch.fired
        assert watch.uncancel()
        assert not watch.fired
        ends.append(now() - start)
    dog.discard(watch)
    assert ends == [1, 3]


@virtual
async def test_closing_ends_all_at_once_and_says_so() -> None:
    dog, start = DeadlineTimer(now), now()
    calls = [asyncio.create_task(watched(dog, 50)) for _ in range(3)]
    await asyncio.sleep(1)
    dog.close_all()
    for at, watch, cancelled in await asyncio.gather(*calls):
        assert (at - start, watch.closing, cancelled) == (1, True, True)
    dog.stop()
    await asyncio.sleep(100)  # the timer that was set is gone: nothing is cancelled


@virtual
async def test_a_cancellation_from_outside_is_told_apart() -> None:
    dog = DeadlineTimer(now)

    async def call() -> tuple[bool, bool]:
        watch = Deadline(cast("asyncio.Task[Any]", asyncio.current_task()), dog, now() + 1)
        dog.add(watch)
        watch.wait("total", watch.due)
        try:
            await asyncio.sleep(50)
        except asyncio.CancelledError:
            return watch.fired, watch.uncancel()
        finally:
            dog.discard(watch)
        raise AssertionError

    task = asyncio.create_task(call())
    await asyncio.sleep(1)  # both at the same moment: the timer of the watch came first
    task.cancel()
    assert await task == (True, False)
    task = asyncio.create_task(call())
    await asyncio.sleep(0.5)
    task.cancel()
    fired, _ = await task
    assert not fired


@virtual
async def test_a_watch_knows_the_phase_that_ends_first() -> None:
    dog = DeadlineTimer(now)
    watch = Deadline(cast("asyncio.Task[Any]", asyncio.current_task()), dog, now() + 300)
    begin = now()
    watch.attempt(begin, begin + 75, "attempt", connect=5.0, read=65.0)
    assert (watch.phase, watch.due - begin, watch.request_sent) == ("read", 65, True)
    watch.connecting()
    assert (watch.phase, watch.due - begin, watch.request_sent) == ("connect", 5, False)
    assert dog.next - begin == 5
    await asyncio.sleep(1)
    watch.progress()
    assert (watch.phase, watch.due - begin, watch.request_sent) == ("read", 66, True)
    await asyncio.sleep(20)
    watch.progress()
    assert (watch.phase, watch.due - begin) == ("attempt", 75)
    begin = now()
    watch.attempt(begin, begin + 3, "total", connect=5.0, read=65.0)
    watch.connecting()
    assert (watch.phase, watch.due - begin, watch.request_sent) == ("total", 3, False)
    watch.attempt(begin, begin + 75, "attempt", connect=None, read=None)
    assert (watch.phase, watch.due - begin) == ("attempt", 75)
    watch.connecting()
    assert (watch.phase, watch.due - begin) == ("attempt", 75)
    watch.progress()
    assert (watch.phase, watch.due - begin) == ("attempt", 75)
    dog.stop()


@virtual
async def test_a_call_whose_time_is_over_is_cancelled_once() -> None:
    """Whoever clears up for a while is not cancelled again whenever another call's time is over."""
    dog = DeadlineTimer(now)
    counts: list[int] = []

    async def clearing_up() -> None:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        watch = Deadline(task, dog, now() + 1)
        dog.add(watch)
        watch.wait("total", watch.due)
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            await asyncio.sleep(10)
        counts.append(task.cancelling())
        dog.discard(watch)

    await asyncio.gather(clearing_up(), *(watched(dog, seconds) for seconds in (2, 3, 4)))
    assert counts == [1]


async def test_a_loop_that_is_always_late_puts_no_limit_off_for_ever() -> None:
    """What a timer is late by is added to the limit, three times in a row at most."""
    time, looks = 100.0, 0

    def clock() -> float:
        return time

    dog = DeadlineTimer(clock)
    task = asyncio.create_task(asyncio.sleep(1000))
    watch = Deadline(task, dog, 101.0)
    dog.add(watch)
    watch.wait("read", 101.0)
    while not watch.fired:
        looks += 1
        time = watch.due + 0.5
        dog._look()  # pyright: ignore[reportPrivateUsage]
    dog.stop()
    assert looks == 4
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


@virtual
async def test_a_limit_that_is_looked_at_late_is_put_off_by_as_much() -> None:
    """One turn of the loop is not enough to read what came while it was held up."""
    start, blocked = now(), [0.0]
    dog = DeadlineTimer(lambda: now() + blocked[0])
    call = asyncio.create_task(watched(dog, 1))
    await asyncio.sleep(0.5)
    blocked[0] = 5
    at, _, cancelled = await call
    assert (at - start, cancelled) == (6, True)
