"""How a process with a `SyncClient` ends: interrupted, forked, or without a word."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

import stackone_lms

from ..soak import further

ROOT = Path(stackone_lms.__file__).parents[1]

PRELUDE = """
import asyncio, contextlib, logging, os, signal, sys, threading, time
from stackone_lms import SyncClient
from stackone_lms.calls.operation import executor_of
logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of every step that was slow
from stackone_lms.errors import ClientClosedError, ForkedError
from tests.fake.fakes import ACCOUNT, KEY, FakeTransport, engine_of, hang, record

def make(*script, **options):
    return SyncClient(KEY, ACCOUNT, transport=FakeTransport(*script), rate_limit=None, **options)
"""


def run(script: str) -> tuple[int, str, str, float]:
    """Run a program; give its exit code, what it wrote, and the seconds from its last word to its end."""
    child = subprocess.Popen(
        [sys.executable, "-X", "dev", "-c", PRELUDE + textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert child.stdout is not None
    limit = threading.Timer(30, child.kill)
    limit.start()
    lines: list[str] = []
    spoken = time.monotonic()
    for line in child.stdout:
        lines.append(line.strip())
        spoken = time.monotonic()
    _, err = child.communicate()
    limit.cancel()
    return child.returncode, " ".join(lines), err, time.monotonic() - spoken


ENDS = {
    "falling off the end": ("", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "an unhandled error": ("raise KeyError('mine')", 1),
    "an exit in a thread": ("threading.Thread(target=sys.exit).start()", 0),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("busy", [True, *further(False)])
def test_a_client_that_is_never_closed_does_not_hold_up_the_exit(end: str, busy: bool) -> None:
    """Even with calls under way in daemon threads."""
    statement, code = ENDS[end]
    status, out, err, seconds = run(f"""
        client = make(record())
        print(client.completions.get("c1").data.id, flush=True)
        def work():
            with contextlib.suppress(ClientClosedError):
                make(hang).completions.get("c1")
        if {busy}:
            threading.Thread(target=work, daemon=True).start()
            time.sleep(0.2)
        print("end", flush=True)
        {statement}
    """)
    assert (status, out) == (code, "c1 end")
    assert seconds < 30  # without it, never
    assert err.count("Traceback") == (end == "an unhandled error")
    assert "never retrieved" not in err
    assert "ResourceWarning" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot be sent Ctrl-C alone there")
@pytest.mark.parametrize("call", ["get", "list"])
def test_ctrl_c_ends_a_call_at_once_and_the_client_works_on(call: str) -> None:
    status, out, err, _ = run(f"""
        transport = FakeTransport(hang)
        client = SyncClient(KEY, ACCOUNT, transport=transport, rate_limit=None)
        calls = {{
            "get": lambda: client.completions.get("c1"),
            "list": lambda: client.completions.list(prefetch=1).collect(),
        }}
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        started = time.monotonic()
        try:
            calls[{call!r}]()
        except KeyboardInterrupt:
            print("interrupted", time.monotonic() - started < 20, flush=True)
        executor_of(client).run(asyncio.sleep, 0.05)
        print(transport.under_way, engine_of(client).admission.slots_used, flush=True)
        transport.script = (record(),)
        print(client.completions.get("c1").data.id, flush=True)
        client.close()
    """)
    assert (status, out, err) == (0, "interrupted True 0 0 c1", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_is_told_and_both_end() -> None:
    status, out, err, seconds = run("""
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of forks where threads run
        client = make(record())
        client.completions.get("c1")
        print("forking", flush=True)
        child = os.fork()
        if child == 0:
            try:
                client.completions.get("c1")
            except ForkedError as error:
                print("child:", error, flush=True)
            with client:
                pass
            with make(record()) as fresh:
                print(fresh.completions.get("c1").data.id, flush=True)
            sys.exit(7)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), client.completions.get("c1").data.id, flush=True)
    """)
    assert (status, err) == (0, "")
    assert out.startswith("forking child: this client was used before a fork")
    assert out.endswith("c1 7 c1")
    assert seconds < 30


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_child_that_does_nothing_with_the_client_ends_too() -> None:
    status, out, err, seconds = run("""
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of forks where threads run
        client = make(record())
        client.completions.get("c1")
        child = os.fork()
        if child == 0:
            sys.exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    """)
    assert (status, out, err) == (0, "7", "")
    assert seconds < 30


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot be sent Ctrl-C alone there")
def test_ctrl_c_among_busy_threads_interrupts_the_main_thread_only() -> None:
    status, out, err, _ = run("""
        client = make(hang)
        seen = []
        def work():
            try:
                client.completions.get("c1")
            except BaseException as error:
                seen.append(type(error).__name__)
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            client.completions.get("c1")
        except KeyboardInterrupt:
            print("interrupted", seen, engine_of(client).admission.slots_used >= 3, flush=True)
        client.close()
        for thread in threads:
            thread.join()
        print(seen, flush=True)
    """)
    names = ["ClientClosedError"] * 3
    assert (status, out, err) == (0, f"interrupted [] True {names}", "")
