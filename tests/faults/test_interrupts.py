"""Ctrl-C, and programs that end without closing their client: with real signals and sockets."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from typing import Any

import pytest

from ..soak import further
from . import Connection, Fault, FaultServer, Request
from .children import ended, program, run
from .scripts import ok
from .sdk import LEAN_FIRST, Carrier

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a process cannot be sent Ctrl-C alone there")

_BLOCKING = """
import sys
from stackone_lms.options import RetryPolicy
from tests.faults.sdk import blocking_client_for, engine_of

client = blocking_client_for(sys.argv[1], sys.argv[2], retry=RetryPolicy(base=30, cap=30))
try:
    print("calling", flush=True)
    client.completions.get("x")
except KeyboardInterrupt:
    print("interrupted", flush=True)
if sys.argv[3] == "works on":
    print(client.completions.get("x").data.id, engine_of(client).admission.slots_used, flush=True)
client.close()
"""

_ASYNC = """
import asyncio, sys
from stackone_lms.options import RetryPolicy
from tests.faults.sdk import client_for

async def main():
    async with client_for(sys.argv[1], sys.argv[2], retry=RetryPolicy(base=30, cap=30)) as client:
        await client.completions.get("x")

try:
    print("calling", flush=True)
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""

_PHASES: dict[str, dict[str, Any]] = {
    "connect": {"accept": "hang"},
    "tls": {"accept": "stall", "scheme": "https"},
    "never-answers@1": {},
    "stall-body@1": {},
    "status-500@1": {},
}


@LEAN_FIRST
@pytest.mark.parametrize(
    ("source", "phase"),
    [*((_BLOCKING, phase) for phase in _PHASES), (_ASYNC, "tls"), (_ASYNC, "stall-body@1")],
    ids=[*(f"blocking-{phase}" for phase in _PHASES), "async-tls", "async-stall-body"],
)
async def test_ctrl_c_ends_a_call_at_once(carrier: Carrier, source: str, phase: str) -> None:
    """`KeyboardInterrupt` comes out within a second, the server sees the hang-up, and a blocking client works on."""
    options = _PHASES[phase]
    works_on = source is _BLOCKING and not options
    async with (
        FaultServer(stall=120, **options) as server,
        program(source, carrier, server.base_url(phase), "works on" if works_on else "ends") as process,
    ):
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 60) == b"calling\n"
        async with asyncio.timeout(60):
            if phase == "connect":
                await asyncio.sleep(0.2)  # nothing is seen of it
            while phase != "connect" and not server.total.connections:
                await asyncio.sleep(0.01)
            while not options and not server.total.requests:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        code, out, err = await ended(process, 15)
        assert time.monotonic() - started < 10
        assert (code, err) == (0, "")
        assert out.split() == (["interrupted", "x", "0"] if works_on else ["interrupted"])
        if phase in {"never-answers@1", "stall-body@1"}:
            assert server.total.hangups == 1
        await server.idle()


_LEFT_OPEN = """
import asyncio, os, sys, threading
from tests.faults.sdk import blocking_client_for, client_for

carrier, url, how = sys.argv[1:]
if how.startswith("async"):
    client = client_for(carrier, url)
    async def main():
        await client.completions.get("x")
        if how == "async in flight":
            call = asyncio.create_task(client.completions.get("slow"))
            await asyncio.sleep(0.2)
    asyncio.run(main())
else:
    client = blocking_client_for(carrier, url)
    client.completions.get("x")
    if how == "in flight":
        threading.Thread(target=lambda: client.completions.get("slow"), daemon=True).start()
        import time
        time.sleep(0.2)
    if how == "two clients":
        other = blocking_client_for(carrier, url)
        other.completions.get("x")
    if how == "deleted":
        del client
print("end", flush=True)
if how == "sys.exit":
    sys.exit(3)
if how == "error":
    raise ZeroDivisionError
"""


def _slow(seconds: float) -> Fault:
    """Return a fault that answers well, but one id only after so many seconds."""

    async def script(connection: Connection, request: Request) -> None:
        if request.id == "slow":
            await connection.wait(seconds)
        await ok(connection, request)

    return Fault("subject", "-", "slow for one id", "ok", None, script)


_ENDS = {
    "falls off": 0,
    "sys.exit": 3,
    "error": 1,
    "two clients": 0,
    "deleted": 0,
    "in flight": 0,
    "async": 0,
    "async in flight": 0,
}


@pytest.mark.parametrize(
    ("carrier", "how"),
    [
        *(("lean", how) for how in ("error", "in flight", "async")),
        *further(*(("lean", how) for how in _ENDS if how not in {"error", "in flight", "async"})),
        *further(*(("aiohttp", how) for how in _ENDS)),
    ],
)
async def test_a_client_that_is_never_closed_does_not_hold_up_the_exit(carrier: Carrier, how: str) -> None:
    """The process ends within two seconds of its last line, with its own exit code."""
    async with FaultServer(more=[_slow(20)]) as server:
        async with program(_LEFT_OPEN, carrier, server.base_url("subject"), how) as process:
            assert process.stdout is not None
            assert await asyncio.wait_for(process.stdout.readline(), 20) == b"end\n"
            started = time.monotonic()
            found, _, err = await ended(process, 15)
            assert time.monotonic() - started < 10
            assert found == _ENDS[how]
            assert ("ZeroDivisionError" in err) is (how == "error")
            if how in {"falls off", "sys.exit", "deleted", "two clients"}:
                assert err == ""
        await server.idle()
        assert server.total.hangups == ("in flight" in how)


_FORKS = """
import asyncio, os, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from stackone_lms.errors import ForkedError
from tests.faults.sdk import blocking_client_for, client_for

carrier, url, how = sys.argv[1:]
in_flight = how == "blocking, in flight"

def child(use):
    pid = os.fork()
    if pid:
        started = time.monotonic()
        _, status = os.waitpid(pid, 0)
        assert time.monotonic() - started < 10, "the child hangs"
        return os.waitstatus_to_exitcode(status)
    if use is not None:
        use()
    sys.stdout.flush()
    if how != "async":
        sys.exit(7)
    os._exit(7)  # asyncio's own cleanup would harm the parent

def use_blocking():
    try:
        client.completions.get("x")
    except ForkedError:
        print("forked", flush=True)
    fresh = blocking_client_for(carrier, url)
    print(fresh.completions.get("fresh").data.id, flush=True)

if how != "async":
    client = blocking_client_for(carrier, url)
    print(client.completions.get("x").data.id, flush=True)
    answers = []
    slow = threading.Thread(target=lambda: answers.append(client.completions.get("slow")))
    if in_flight:
        slow.start()
        time.sleep(0.3)
    print(child(use_blocking), child(None), flush=True)
    print(client.completions.get("y").attempts, flush=True)
    if in_flight:
        slow.join()
        print(answers[0].attempts)
else:
    client = client_for(carrier, url)

    def use():
        async def again():
            try:
                await client.completions.get("x")
            except ForkedError:
                print("forked", flush=True)
            await client.aclose()
            async with client_for(carrier, url) as fresh:
                print((await fresh.completions.get("fresh")).data.id, flush=True)
        asyncio._set_running_loop(None)
        asyncio.run(again())

    async def main():
        print((await client.completions.get("x")).data.id, flush=True)
        print(child(use), child(None), flush=True)
        print((await client.completions.get("y")).attempts, flush=True)
        await client.aclose()
    asyncio.run(main())
"""


@LEAN_FIRST
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("how", ["blocking", "blocking, in flight", "async"])
async def test_a_fork_after_the_first_use(carrier: Carrier, how: str) -> None:
    """The child is told to make its own client, which works; both end in time, and the parent's calls go on."""
    async with FaultServer(more=[_slow(2)]) as server:
        finished = await run(_FORKS, carrier, server.base_url("subject"), how, within=20)
        expected = ["x", "forked", "fresh", "7", "7", "1"]
        if how == "blocking, in flight":
            expected.append("1")
        assert finished.out.split() == expected
        assert finished.err == ""
        assert finished.code == 0
        assert server.stats("subject", "slow").requests == (how == "blocking, in flight")
        assert server.total.suspicious == []


_FORKS_UNUSED = """
import asyncio, os, sys
from tests.faults.sdk import blocking_client_for, client_for

carrier, url, how = sys.argv[1:]
client = (blocking_client_for if how == "blocking" else client_for)(carrier, url)

async def use():
    async with client:
        return (await client.completions.get("x")).data.id

for _ in range(2):
    pid = os.fork()
    if not pid:
        print(client.completions.get("x").data.id if how == "blocking" else asyncio.run(use()), flush=True)
        sys.exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
print(client.completions.get("x").data.id if how == "blocking" else asyncio.run(use()), flush=True)
"""


@LEAN_FIRST
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("how", ["blocking", "async"])
async def test_a_fork_before_the_first_use(carrier: Carrier, how: str) -> None:
    """A client that nobody has used holds nothing yet: it works in the children and in the parent."""
    async with FaultServer() as server:
        finished = await run(_FORKS_UNUSED, carrier, server.base_url("ok"), how, within=20)
        assert (finished.code, finished.err) == (0, "")
        assert finished.out.split() == ["x", "7", "x", "7", "x"]
        assert server.total.connections == 3
