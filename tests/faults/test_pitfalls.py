"""What is known to bite in aiohttp, msgspec and anyio, as far as no other file of this folder has it."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from typing import Any

import pytest

from stackone_lms.engine.deadlines import Deadline, DeadlineTimer
from stackone_lms.errors import (
    APITimeoutError,
    BadRequestError,
    DecodeError,
    IdMismatchError,
    ProtocolError,
    StackOneError,
    TLSError,
)
from stackone_lms.models import Completion, CompletionResult
from stackone_lms.models.base import Page
from stackone_lms.models.decode import Decoder
from stackone_lms.options import RetryPolicy, Timeout

from . import Fault, FaultServer
from .messages import dumps, item
from .scripts import respond
from .sdk import LEAN_FIRST, Carrier, assert_idle, client_for

# aiohttp


@pytest.mark.parametrize(
    "name", ["status-line-garbage", "length-letters", "headers-100k", "header-nul", "header-no-colon"]
)
async def test_what_the_parser_rejects_is_not_a_bad_request(carrier: Carrier, name: str) -> None:
    """aiohttp gives its own parser errors the status 400, which is the server's fault here, not the caller's."""
    async with FaultServer() as server, client_for(carrier, server.base_url(name)) as client:
        with pytest.raises(ProtocolError) as caught:
            await client.completions.get("x")
        assert not isinstance(caught.value, BadRequestError)
        assert caught.value.status is None


def test_a_tls_error_is_no_value_error() -> None:
    """That of aiohttp is, and an OSError too: an `except ValueError` around a call would swallow it."""
    assert not issubclass(TLSError, ValueError | OSError)


@pytest.mark.parametrize("seconds", [0.1, 4.9, 5.1, 65.0, 300.0])
async def test_time_limits_are_not_rounded_up(seconds: float) -> None:
    """aiohttp rounds those above five seconds up to the next whole second of the loop."""
    loop = asyncio.get_running_loop()
    deadlines = DeadlineTimer(time.monotonic)
    task = asyncio.current_task()
    assert task is not None
    deadline = Deadline(task, deadlines, float("inf"))
    deadlines.add(deadline)
    began = loop.time()
    deadline.wait("total", time.monotonic() + seconds)
    ended = loop.time()
    timer = deadlines._timer  # pyright: ignore[reportPrivateUsage]
    assert timer is not None
    assert began + seconds - 0.001 <= timer.when() <= ended + seconds + 0.001
    deadlines.stop()


@pytest.mark.parametrize("name", ["trickle-body", "trickle-head", "continue-for-ever", "trickle-chunks"])
async def test_a_trickle_cannot_outlast_the_limit_of_an_attempt(carrier: Carrier, name: str) -> None:
    """Bytes that come in time renew the limit of the read, never that of the attempt."""
    async with (
        FaultServer(tick=0.1, stall=120) as server,
        client_for(
            carrier,
            server.base_url(name),
            timeout=Timeout(read=5, attempt=0.3, total=20),
            retry=RetryPolicy(attempts=1),
        ) as client,
    ):
        started = time.monotonic()
        with pytest.raises(StackOneError) as caught:
            await client.completions.get("x")
        assert time.monotonic() - started > 0.25
        assert getattr(caught.value, "phase", None) == "attempt"


@pytest.mark.parametrize("name", ["never-answers", "stall-headers", "stall-body"])
async def test_a_silence_in_an_answer_ends_with_the_limit_of_the_read(carrier: Carrier, name: str) -> None:
    """Long before the attempt is over."""
    async with (
        FaultServer(stall=120) as server,
        client_for(
            carrier,
            server.base_url(name),
            timeout=Timeout(read=0.2, attempt=60, total=60),
            retry=RetryPolicy(attempts=1),
        ) as client,
    ):
        with pytest.raises(APITimeoutError) as caught:
            await asyncio.wait_for(client.completions.get("x"), 20)
        assert caught.value.phase == "read"


async def test_a_slow_answer_with_bytes_in_time_is_no_timeout(carrier: Carrier) -> None:
    """The other way round: heartbeats keep a read alive that takes longer than its limit as a whole."""
    async with (
        FaultServer(tick=0.1) as server,
        client_for(carrier, server.base_url("heartbeats"), timeout=Timeout(read=0.3, attempt=20, total=20)) as client,
    ):
        answer = await client.completions.get("x")
        assert answer.elapsed > 0.3
        assert answer.attempts == 1


async def test_no_other_compression_than_gzip_is_asked_for(carrier: Carrier) -> None:
    """Whatever the installed packages could decompress: less to attack."""
    async with FaultServer() as server, client_for(carrier, server.base_url("gzip")) as client:
        assert (await client.completions.get("x")).data.id == "x"
        (head,) = server.total.heads
        assert b"\r\naccept-encoding: gzip\r\n" in head.lower()


@pytest.mark.parametrize("name", ["stall-body", "never-answers", "stall-headers"])
async def test_a_connection_that_was_cancelled_on_is_never_used_again(carrier: Carrier, name: str) -> None:
    """Its answer may still come, and would be the next request's."""
    async with FaultServer(stall=0.2) as server, client_for(carrier, server.base_url(name, 1)) as client:
        for number in range(5):
            call = asyncio.create_task(client.completions.get(f"id-{number}"))
            while server.stats(f"{name}@1", f"id-{number}").requests == 0:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.01)
            call.cancel()
            await asyncio.wait([call])
            assert (await client.completions.get(f"id-{number}")).attempts == 1
        assert_idle(client)
        assert server.total.connections >= 6


async def test_the_time_between_two_requests_is_not_read_time(carrier: Carrier) -> None:
    """A connection that rests longer than the limit of a read is as good as new."""
    async with (
        FaultServer() as server,
        client_for(carrier, server.base_url("ok"), timeout=Timeout(read=0.1, attempt=5, total=5)) as client,
    ):
        for id in "abc":
            assert (await client.completions.get(id)).attempts == 1
            await asyncio.sleep(0.25)
        assert server.total.connections == 1


async def test_an_answer_in_two_halves_is_one_answer(carrier: Carrier) -> None:
    """Cut anywhere, with a pause between: the parsers of aiohttp keep their place."""

    async def halves(connection: Any, request: Any) -> None:
        whole = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b"
        body = dumps({"data": item(request.id)})
        whole %= len(body), body
        place = int(request.id)
        await connection.send(whole[:place])
        await connection.wait(0.001)
        await connection.send(whole[place:])

    async with (
        FaultServer(more=[Fault("halves", "-", "", "ok", None, halves)]) as server,
        client_for(carrier, server.base_url("halves")) as client,
    ):
        found = await asyncio.gather(*(client.completions.get(str(place)) for place in range(1, 120)))
        assert [answer.data.id for answer in found] == [str(place) for place in range(1, 120)]
        assert {answer.attempts for answer in found} == {1}


# msgspec


@pytest.mark.parametrize(
    "body",
    [
        b'{"data":{"id":"\xff"}}',
        b'{"data":{"id":"x","unknown":NaN}}',
        b'{"data":{"id":"x"},"raw":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"",
        b"\x00",
        b"nul",
    ],
    ids=range(6),
)
def test_every_kind_of_failure_of_msgspec_is_a_decode_error(body: bytes) -> None:
    """UnicodeDecodeError and RecursionError are not msgspec's own, and must not get out."""
    with pytest.raises(DecodeError) as caught:
        Decoder(CompletionResult)(body)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("unknown", [b'"\xff"', b"9" * 100_000, b"1e999", b'{"a":[1,{"b":null}]}'])
def test_what_nobody_asked_about_does_not_matter(unknown: bytes) -> None:
    """Values of fields that no model has are skipped, not judged."""
    assert Decoder(CompletionResult)(b'{"data":{"id":"x","unknown":%b}}' % unknown).data.id == "x"


async def test_of_two_ids_in_one_object_the_last_one_counts_and_is_checked(carrier: Carrier) -> None:
    async with FaultServer() as server, client_for(carrier, server.base_url("id-twice")) as client:
        with pytest.raises(IdMismatchError):
            await client.completions.get("x")


@pytest.mark.parametrize(
    "text", ["2021-07-21T14:00:00", "2021-07-21", "2021-07-21T14:00:00Z", "2021-07-21T16:00:00+02:00"]
)
def test_every_datetime_is_aware(text: str) -> None:
    """A naive one could not be compared with the others."""
    decoded = Decoder(CompletionResult)(b'{"data":{"id":"x","updated_at":"%b"}}' % text.encode())
    moment = decoded.data.updated_at
    assert moment is not None
    assert moment.tzinfo is not None


def test_the_word_null_is_not_nothing() -> None:
    """A lenient decoder would make None of it."""
    assert Decoder(CompletionResult)(b'{"data":{"id":"x","remote_id":"null"}}').data.remote_id == "null"
    with pytest.raises(DecodeError) as caught:
        Decoder(CompletionResult)(b'{"data":{"id":"x","score":{"percentage":"null"}}}')
    assert caught.value.path == "$.data.score.percentage"


async def test_half_of_a_surrogate_pair_is_replaced_and_told_once(
    carrier: Carrier, caplog: pytest.LogCaptureFixture
) -> None:
    """msgspec calls it truncated; asking again would not help."""
    fault = Fault("subject", "-", "", "ok", None, respond(b'{"data":{"id":"x","remote_id":"\\ud800"}}'))
    async with FaultServer(more=[fault]) as server, client_for(carrier, server.base_url("subject")) as client:
        answer = await client.completions.get("x")
        assert answer.data.remote_id == "\ufffd"
        assert answer.problems == ("half of a surrogate pair was replaced by U+FFFD",)
        assert server.total.requests == 1
    told = [record.getMessage() for record in caplog.records if "surrogate" in record.getMessage()]
    assert told == ["completions.get: half of a surrogate pair was replaced by U+FFFD"]


@pytest.mark.parametrize("bad", [False, True])
def test_an_item_does_not_keep_its_page_alive(bad: bool) -> None:
    """One record of a page of 8 MiB costs what the record costs, whether it decoded or is an error."""
    filler = dumps(item("other", unified_custom_fields={"text": "x" * 8000}))
    first = dumps(item("x", score={"percentage": "?"} if bad else None))
    body = b'{"next":null,"data":[' + b",".join([first, *[filler] * 1000]) + b"]}"
    decoder: Decoder[Page[Completion]] = Decoder(Page[Completion])
    decoder(body)
    tracemalloc.start()
    try:
        page = decoder(bytes(bytearray(body)))
        kept = page.errors[0] if bad else page.data[0]
        del page
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept.body == first if isinstance(kept, DecodeError) else kept.id == "x"
    assert size < 512 * 1024


@LEAN_FIRST
async def test_a_huge_answer_of_bare_errors_is_read_in_linear_time(carrier: Carrier) -> None:
    """8 MiB of brackets, quotes and backslashes: what looks for nesting and cuts must not be quadratic."""
    for piece in (b"[", b'"', b"\\", b'[\\"', b'{"a":', b"[]"):
        fault = Fault("heavy", "-", "", "ok", None, respond(b'{"data":' + piece * (2**22 // len(piece))))
        async with FaultServer(more=[fault]) as server, client_for(carrier, server.base_url("heavy")) as client:
            started = time.process_time()
            with pytest.raises(StackOneError):
                await client.completions.get("x")
            assert time.process_time() - started < 3
