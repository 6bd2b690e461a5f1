"""Settings of the whole test suite."""

from __future__ import annotations

import asyncio
import gc
import locale
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings

from stackone_lms.engine.observers import default_observers

from .surroundings import leave_aside, looked_at

# How long an example takes depends on what else the machine does; pytest-timeout bounds the whole test.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

OwnLog = Callable[[], list[logging.LogRecord]]

leave_aside()

# Whoever imports it is warned at each later fork, and error reporters import it to ask whether it is in use.
sys.modules.setdefault("eventlet", cast("Any", None))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Have half as many workers again as processors: a third of the time of a test is waiting."""
    return -(-(os.cpu_count() or 1) * 3 // 2)


def pytest_configure() -> None:
    """Let Ctrl-C reach child processes where it is ignored: a shell starts so what runs in the background."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Leave all that is imported by now out of later garbage collections: tests collect often, and it stays anyway."""
    gc.collect()
    gc.freeze()


def _process_wide() -> dict[str, Any]:
    """Return what a test may change for those that run after it in the same process."""
    log = logging.getLogger("stackone_lms")
    return {
        "folder": Path.cwd(),
        "environment": looked_at(),
        "log": (list(log.handlers), list(log.filters), log.level, log.propagate, log.disabled),
        "observers": list(default_observers),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "search path": list(sys.path),
        "interpreter": (
            *(gc.isenabled(), gc.get_threshold(), sys.getrecursionlimit(), sys.getswitchinterval()),
            *(sys.gettrace() is None, threading.stack_size(), locale.setlocale(locale.LC_ALL)),
        ),
    }


def _abandoned() -> list[str]:
    """Return the tasks that no loop will end any more: asyncio logs each when it is collected, whoever runs then."""
    known: Any = getattr(asyncio.tasks, "_scheduled_tasks", None) or getattr(asyncio.tasks, "_all_tasks", ())
    return [
        repr(task)
        for task in list(known)
        if not task.done() and task.get_loop().is_closed() and task._log_destroy_pending
    ]


@pytest.fixture
def own_log(caplog: pytest.LogCaptureFixture) -> OwnLog:
    """Return what the package has logged, not what asyncio says of a slow machine."""
    return lambda: [record for record in caplog.records if record.name.startswith("stackone_lms")]


@pytest.fixture(autouse=True)
def leaves_the_process_alone() -> Iterator[None]:
    """Name the test that leaves something behind, not one that runs later, in another order each time."""
    before, abandoned = _process_wide(), _abandoned()
    yield
    after = _process_wide()
    if left := [task for task in _abandoned() if task not in abandoned]:
        pytest.fail(f"left pending on a loop that is closed: {left}")
    if after == before:
        return
    os.chdir(before["folder"])
    for name in after["environment"]:
        del os.environ[name]
    os.environ.update(before["environment"])
    log = logging.getLogger("stackone_lms")
    log.handlers[:], log.filters[:], level, log.propagate, log.disabled = before["log"]
    log.setLevel(level)
    default_observers[:] = before["observers"]
    changed = {what: (before[what], after[what]) for what in before if before[what] != after[what]}
    pytest.fail(f"changed for all that run later in this process: {changed}")


if os.environ.get("STACKONE_LMS_TEST_LOOP") == "uvloop":

    def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
        """Run the tests on uvloop."""
        import uvloop

        return {"uvloop": uvloop.new_event_loop}
