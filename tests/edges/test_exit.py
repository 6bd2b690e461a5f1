"""The end of a process that uses SyncClient, and of the client: whatever happens then, neither hangs."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any

import pytest

from stackone_lms import SyncClient
from stackone_lms.errors import ClientClosedError
from stackone_lms.sync import PortalThread
from stackone_lms.transport.base import Response
from tests.fake.fakes import FakeTransport, record
from tests.faults.children import REFUSES_THREADS, run
from tests.faults.server import FaultServer

from ..soak import further

pytestmark = pytest.mark.loop

AT_EXIT = """
import atexit, sys
from stackone_lms.errors import StackOneError
from tests.faults.sdk import blocking_client_for

client = blocking_client_for("lean", sys.argv[1])
if sys.argv[2] == "used":
    print(client.completions.get("first").data.id)

def late():
    try:
        print(client.completions.get("late").data.id)
    except StackOneError as error:
        print(type(error).__name__, error)

atexit.register(late)
"""


@pytest.mark.parametrize("before", ["used", *further("unused")])
async def test_a_handler_at_the_end_may_use_a_client(before: str) -> None:
    """The process ends afterwards; so far a client first used there kept it from ending."""
    async with FaultServer() as server:
        finished = await run(AT_EXIT, server.base_url("ok"), before, within=60)
    expected = ["late"]
    if before == "used":
        expected = ["first", "late"]
    elif REFUSES_THREADS:
        expected = ["ClientClosedError the interpreter is ending: it starts no thread for this client"]
    assert (finished.code, finished.out.splitlines(), finished.err) == (0, expected, "")


FINALIZED = """
import sys
from stackone_lms.errors import StackOneError
from tests.faults.sdk import blocking_client_for

class Late:
    # Held by a module, so that it is collected when the modules are, after all threads have been stopped.
    def __init__(self, client):
        self.client, self.errors, self.print = client, StackOneError, print

    def __del__(self):
        try:
            self.client.completions.get("late")
        except self.errors as error:
            self.print(type(error).__name__)
        self.client.close()

client = blocking_client_for("lean", sys.argv[1])
if sys.argv[2] == "used":
    client.completions.get("first")
sys.late = Late(client)
"""


@pytest.mark.parametrize("before", ["used", *further("unused")])
async def test_an_object_collected_last_does_not_hang(before: str) -> None:
    """When threads do not run any more, calls are refused and closing does nothing."""
    async with FaultServer() as server:
        finished = await run(FINALIZED, server.base_url("ok"), before, within=60)
    assert finished.code == 0
    assert finished.out in {"ClientClosedError\n", ""}  # some Pythons do not collect it at all


BLOCKED = """
import sys, threading
from stackone_lms import SyncClient
from stackone_lms.transport.base import Transport

entered = threading.Event()

class Blocking(Transport):
    async def send(self, request, *_):
        entered.set()
        threading.Event().wait()

client = SyncClient("key", "account", transport=Blocking())
threading.Thread(target=client.completions.get, args=("x",), daemon=True).start()
entered.wait()
if sys.argv[1] == "close":
    client.close()
    print("closed")
"""


@pytest.mark.parametrize("how", ["exit", *further("close")])
async def test_a_blocked_loop_does_not_hold_up_the_end(how: str) -> None:
    """Code on the loop that blocks for ever: closing gives up after two seconds, in all."""
    finished = await run(BLOCKED, how, within=60)
    assert (finished.code, finished.out) == (0, "closed\n" if how == "close" else "")


def test_closing_is_bounded_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the steps may take is one sum, counted in the time that they ask to wait."""
    monkeypatch.setattr("stackone_lms.sync._CLOSING_TIME", 0.2)
    go, entered = threading.Event(), threading.Event()

    async def block(*_: Any) -> Response:
        entered.set()
        go.wait(60)
        return record()

    client = SyncClient("key", "account", transport=FakeTransport(block))
    caller = threading.Thread(target=lambda: _ignore(client.completions.get, "x"))
    caller.start()
    assert entered.wait(60)
    begun = time.monotonic()
    client.close()
    took = time.monotonic() - begun
    go.set()
    caller.join(60)
    assert took < 30  # the loop is blocked for a minute
    assert not caller.is_alive()


def _ignore(call: Any, *args: Any) -> None:
    with suppress(ClientClosedError):
        call(*args)


def test_what_the_loop_is_given_while_it_ends_is_cancelled() -> None:
    """A call that comes at that moment ends, too."""
    thread = PortalThread()
    going, go = threading.Event(), threading.Event()

    async def ends_slowly() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            going.set()
            go.wait(60)

    async def for_ever() -> None:
        await asyncio.sleep(3600)

    thread.submit(ends_slowly)
    thread.stop(0)
    assert going.wait(60)
    late = thread.submit(for_ever)
    go.set()
    with pytest.raises(CancelledError):
        late.result(60)
    while thread.usable:
        time.sleep(0.001)
    with pytest.raises(ClientClosedError):
        thread.submit(for_ever)


@pytest.mark.parametrize("error", [RecursionError("too deep"), RuntimeError("something else"), MemoryError()])
def test_only_an_ended_loop_means_that_the_client_is_closed(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other errors while a call is handed over are what they are."""

    def fail(*_: Any) -> None:
        raise error

    with SyncClient("key", "account", transport=FakeTransport(record(), record())) as client:
        client.completions.get("c1")
        with monkeypatch.context() as patch:
            patch.setattr(asyncio, "run_coroutine_threadsafe", fail)
            with pytest.raises(type(error)) as caught:
                client.completions.get("c1")
        assert caught.value is error
        assert client.completions.get("c1").data.id == "c1"
