"""Deep nesting on a small stack: msgspec alone would end the process there."""

from __future__ import annotations

import pytest

from ..soak import further
from .children import run
from .sdk import LEAN_FIRST, Carrier

_IN_A_SMALL_THREAD = """
import asyncio, sys, threading
from tests.faults import FaultServer, Fault
from tests.faults.scripts import added, respond
from tests.faults.sdk import blocking_client_for, client_for
from stackone_lms.errors import DecodeError

def levels(n):
    return b"[" * n + b"]" * n

deep = [
    Fault("deep-data", "-", "", "ok", None, respond(b'{"data":' + levels(100_000) + b"}")),
    Fault("deep-raw", "-", "", "ok", None, added("other", levels(100_000))),
    Fault("deep-500", "-", "", "ok", None, added("other", levels(500))),
    Fault("flat", "-", "", "ok", None, added("other", b"[" + b"[]," * 100_000 + b"[]]")),
    Fault("text", "-", "", "ok", None, added("other", b'"' + b"[" * 100_000 + b'"')),
]

async def main(carrier):
    async with FaultServer(more=deep) as server:
        for name in ("deep", "deep-unknown", "deep-unclosed", *(fault.name for fault in deep)):
            for keep in (False, True):
                async with client_for(carrier, server.base_url(name), keep_unknown=keep) as client:
                    try:
                        answer = await client.completions.get("x")
                        answer.json()
                        print(name, keep, "ok")
                    except DecodeError:
                        print(name, keep, "DecodeError")
        async with client_for(carrier, server.base_url("error-deep")) as client:
            try:
                await client.completions.get("x")
            except Exception as error:
                print(type(error).__name__)

size = int(sys.argv[2])
threading.stack_size(size)
thread = threading.Thread(target=lambda: asyncio.run(main(sys.argv[1])))
thread.start()
thread.join()
"""


@pytest.mark.parametrize(("carrier", "kib"), [("lean", 256), *further(("aiohttp", 256), ("aiohttp", 2048))])
async def test_deep_nesting_is_an_error_and_nothing_worse(carrier: Carrier, kib: int) -> None:
    """In known and unknown fields, closed or not; what only looks deep passes."""
    finished = await run(_IN_A_SMALL_THREAD, carrier, str(kib * 1024))
    assert (finished.code, finished.err) == (0, "")
    seen = dict(line.rsplit(" ", 1) for line in finished.out.splitlines() if " " in line)
    refused = ("deep", "deep-unknown", "deep-unclosed", "deep-data", "deep-raw", "deep-500")
    assert seen == {
        f"{name} {keep}": "DecodeError" if name in refused else "ok"
        for name in (*refused, "flat", "text")
        for keep in (False, True)
    }
    assert finished.out.splitlines()[-1] == "BadRequestError"


_AFTERWARDS = """
import asyncio, sys, threading
from tests.faults import FaultServer, Fault
from tests.faults.scripts import added
from tests.faults.sdk import blocking_client_for
from tests.faults.threads import serving
from stackone_lms.errors import DecodeError

fault = Fault("deep-500", "-", "", "ok", None, added("other", b"[" * 500 + b"]" * 500))
with (
    serving(FaultServer(more=[fault])) as server,
    blocking_client_for(sys.argv[1], server.base_url("deep-500")) as client,
):
    answer = client.completions.get("x")
    print(answer.data.id)

def look():
    try:
        answer.json()
    except DecodeError as error:
        print(error.message)

threading.stack_size(256 * 1024)
thread = threading.Thread(target=look)
thread.start()
thread.join()
"""


_BLOCKING = """
import sys, threading
from tests.faults import FaultServer, Fault
from tests.faults.scripts import added
from tests.faults.sdk import blocking_client_for
from tests.faults.threads import serving
from stackone_lms.errors import DecodeError

fault = Fault("deep-raw", "-", "", "ok", None, added("other", b"[" * 100_000 + b"]" * 100_000))
with serving(FaultServer(more=[fault])) as server:
    threading.stack_size(256 * 1024)
    with blocking_client_for(sys.argv[1], server.base_url("deep-raw")) as client:
        try:
            client.completions.get("x")
        except DecodeError as error:
            print(error.message.partition(";")[0])
    print(threading.stack_size())
"""


@LEAN_FIRST
async def test_the_blocking_client_lives_with_the_stack_that_threads_have(carrier: Carrier) -> None:
    """Its thread has no stack of its own, since that is a setting of the whole process."""
    finished = await run(_BLOCKING, carrier)
    assert (finished.out, finished.err) == ("the body nests deeper than 128 levels\n262144\n", "")


@LEAN_FIRST
async def test_an_answer_is_decoded_again_with_the_same_care(carrier: Carrier) -> None:
    """What the blocking client's roomy thread could decode, a small thread refuses to."""
    finished = await run(_AFTERWARDS, carrier)
    assert (finished.out, finished.err) == ("x\nthe body nests deeper than 128 levels\n", "")
