"""Threads of the package's own."""

from __future__ import annotations

import asyncio
import threading

import pytest

from stackone_lms import threads
from stackone_lms.sync import PortalThread
from stackone_lms.threads import run_in_kept_thread, run_in_thread, start_thread


async def test_what_a_function_returns_or_raises_comes_back() -> None:
    assert await run_in_thread(lambda: 6 * 7, "x") == 42
    with pytest.raises(ZeroDivisionError):
        await run_in_thread(lambda: 1 // 0, "x")
    with pytest.raises(SystemExit):
        await run_in_thread(lambda: exit(1), "x")  # noqa: PLR1722 (a function that raises it)


async def test_it_needs_no_thread_of_the_loops_executor() -> None:
    """An application may have filled that with work of its own."""
    go = threading.Event()
    filling = [asyncio.create_task(asyncio.to_thread(go.wait)) for _ in range(100)]
    try:
        name = await asyncio.wait_for(run_in_thread(lambda: threading.current_thread().name, "mine"), 20)
    finally:
        go.set()
        await asyncio.gather(*filling)
    assert name == "mine"


def test_the_interpreter_does_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a daemon; and no setting of the process changes for its sake."""
    monkeypatch.setattr(threading, "stack_size", None)
    seen: list[bool] = []
    thread = start_thread(lambda: seen.append(threading.current_thread().daemon), "x")
    thread.join()
    assert seen == [True]


def test_a_loops_helper_is_there_before_threads_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some interpreters start none once the main thread has ended, which may be right after a client's first use."""
    monkeypatch.setattr(threads, "_kept", threads._KeptThreads())  # pyright: ignore[reportPrivateUsage]
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if loops:
            raise RuntimeError("can't create new thread at interpreter shutdown")
        start(thread)
        loops.extend([thread] if thread.name == "stackone_lms" else [])

    async def work() -> str:
        return await run_in_kept_thread(lambda: threading.current_thread().name)

    loops: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "start", refuse)
    thread = PortalThread()
    try:
        assert [thread.submit(work).result(60) for _ in range(3)] == ["stackone_lms-helper"] * 3
    finally:
        thread.stop()
