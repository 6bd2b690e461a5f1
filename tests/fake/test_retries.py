"""What is sent again, how often, and after how long."""

from __future__ import annotations

import asyncio
import logging
import random
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import stackone_lms
from stackone_lms import AsyncClient, RetryPolicy, Timeout
from stackone_lms.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    BadGatewayError,
    ConnectionLostError,
    DecodeError,
    IdMismatchError,
    InternalServerError,
    ProtocolError,
    RateLimitError,
    StackOneError,
    TLSError,
    UnexpectedResponseError,
)
from stackone_lms.transport import Response, TransportError
from tests.fake.fakes import (
    ACCOUNT,
    KEY,
    FakeTransport,
    Step,
    client_of,
    created,
    error,
    lost,
    now,
    page,
    record,
    refused,
    reply,
    virtual,
)

from ..conftest import OwnLog

Call = Callable[[AsyncClient], Coroutine[Any, Any, Any]]

pytestmark = pytest.mark.filterwarnings("ignore:.*left the StackOne API:DeprecationWarning")

CALLS: dict[str, tuple[Call, Response]] = {
    "GET": (lambda c: c.completions.get("c1"), record()),
    "list": (lambda c: c.completions.list().first_page(), page(["a"])),
    "PUT": (lambda c: c.content.upsert(external_reference="x"), created()),
    "DELETE": (lambda c: c.users.completions.delete("u", "c"), reply(204)),
    "POST batch": (lambda c: c.content.batch_upsert([{"external_reference": "x"}]), created()),
    "POST": (lambda c: c.users.completions.create("u", learning_object_external_reference="x"), created()),
    "PATCH": (lambda c: c.content.update("c", external_reference="x"), created()),
}
PACKAGE = Path(stackone_lms.__file__).parent
ONCE = ["POST", "PATCH"]

EXECUTED: dict[str, Step] = {
    **{str(status): error(status) for status in (408, 500, 502, 503, 504, 520, 524, 530)},
    "lost": lost(),
    "read timeout": APITimeoutError("slow", phase="read"),
}
"""After these the server may have done what it was asked for."""
NOT_EXECUTED: dict[str, Step] = {
    "429": error(429),
    "refused": refused(),
    "connect timeout": TransportError(APITimeoutError("slow", phase="connect"), request_sent=False),
}
FINAL: dict[str, Step] = {
    **{str(status): error(status) for status in (400, 401, 403, 404, 405, 409, 410, 412, 415, 422, 501, 505, 519, 531)},
    "302": reply(302, b"", Location="https://evil.example"),
    "304": reply(304),
    "TLS": TransportError(TLSError("unknown CA"), request_sent=False, max_retries=0),
    "protocol": TransportError(ProtocolError("not HTTP"), request_sent=True, max_retries=0),
    "login page": reply(200, b"<html>"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("failure", [*EXECUTED, *NOT_EXECUTED, *FINAL])
@virtual
async def test_which_failures_are_retried_for_which_methods(failure: str, call: str) -> None:
    perform, good = CALLS[call]
    step = {**EXECUTED, **NOT_EXECUTED, **FINAL}[failure]
    expected = 1 if failure in FINAL or (failure in EXECUTED and call in ONCE) else 3
    transport = FakeTransport(step)
    with pytest.raises(StackOneError) as caught:
        await perform(client_of(transport))
    assert len(transport.sent) == expected
    assert caught.value.attempts == expected
    assert len({(sent.method, sent.path, sent.query, sent.body) for sent in transport.sent}) == 1
    if expected == 3:
        assert caught.value.retryable
        recovering = FakeTransport(step, step, good)
        await perform(client_of(recovering))
        assert len(recovering.sent) == 3


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(200, b""), UnexpectedResponseError),
        (reply(200, b'{"data":{"id":"c1"'), DecodeError),
        (record("other"), IdMismatchError),
        (TransportError(ProtocolError("bad gzip"), request_sent=True, max_retries=1), ProtocolError),
    ],
)
@virtual
async def test_what_may_have_been_garbled_is_asked_for_once_more(answer: Step, kind: type[StackOneError]) -> None:
    transport = FakeTransport(answer)
    with pytest.raises(kind) as caught:
        await client_of(transport).completions.get("c1")
    assert (len(transport.sent), caught.value.attempts) == (2, 2)
    recovering = FakeTransport(answer, record())
    answered = await client_of(recovering).completions.get("c1")
    assert (answered.data.id, answered.attempts) == ("c1", 2)


@pytest.mark.parametrize("attempts", [1, 2, 7])
@virtual
async def test_attempts_counts_the_first_request_too(attempts: int) -> None:
    transport = FakeTransport(lost())
    with pytest.raises(ConnectionLostError) as caught:
        await client_of(transport, retry=RetryPolicy(attempts=attempts)).completions.get("c1")
    assert (len(transport.sent), caught.value.attempts) == (attempts, attempts)


@virtual
async def test_pauses_double_up_to_the_cap_with_full_jitter() -> None:
    transport = FakeTransport(lost())
    policy = RetryPolicy(attempts=7, base=0.1, cap=1.0)
    with pytest.raises(ConnectionLostError):
        await client_of(transport, retry=policy, random=lambda: 1.0).completions.get("c1")
    assert transport.pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


@pytest.mark.parametrize("status", [429, 503])
@virtual
async def test_a_throttled_call_waits_longer(status: int) -> None:
    transport = FakeTransport(error(status))
    policy = RetryPolicy(attempts=7, throttle_base=1.0, throttle_cap=5.0)
    with pytest.raises(APIStatusError):
        await client_of(transport, retry=policy, random=lambda: 1.0).completions.get("c1")
    assert transport.pauses == pytest.approx([1.0, 2.0, 4.0, 5.0, 5.0, 5.0])


@virtual
async def test_no_two_calls_wait_alike() -> None:
    transport = FakeTransport(*[error(500)] * 20, *[error(500)] * 20, reply(200, b"x"))
    client = client_of(transport, random=random.Random(5).random)
    await asyncio.gather(*(client.completions.get(f"c{n}") for n in range(20)), return_exceptions=True)
    again = transport.times[20:40]
    assert len(set(again)) == 20


@pytest.mark.parametrize("status", [408, 429, 500, 503])
@pytest.mark.parametrize(("asked", "seconds"), [("60", 60.0), ("2", 2.0), ("0.5", 0.5)])
@virtual
async def test_retry_after_is_waited_for_whole_and_a_little_longer(asked: str, seconds: float, status: int) -> None:
    for dice in (0.0, 0.999):
        transport = FakeTransport(error(status, Retry_After=asked), record())
        await client_of(transport, random=lambda dice=dice: dice, retry=RetryPolicy(throttle_base=0)).completions.get(
            "c1"
        )
        (pause,) = transport.pauses
        assert seconds <= pause <= seconds * 1.1
        assert pause <= seconds + 0.1


@virtual
async def test_a_retry_after_of_zero_leaves_the_backoff() -> None:
    transport = FakeTransport(error(429, Retry_After="0"), record())
    await client_of(transport, random=lambda: 0.5).completions.get("c1")
    assert transport.pauses == [0.5]


@pytest.mark.parametrize("asked", ["soon", "-5", "inf", "nan", "1e3", "", "1_0"])
@virtual
async def test_a_retry_after_that_means_nothing_leaves_the_backoff(asked: str) -> None:
    transport = FakeTransport(error(429, Retry_After=asked), record())
    await client_of(transport, random=lambda: 0.5).completions.get("c1")
    assert transport.pauses == [0.5]


@pytest.mark.parametrize("asked", ["61", "120", "315360000", "9" * 5000, "Fri, 31 Dec 9999 23:59:59 GMT"])
@virtual
async def test_a_longer_retry_after_than_allowed_is_raised_at_once(asked: str) -> None:
    transport = FakeTransport(error(429, Retry_After=asked))
    start = now()
    client = client_of(transport)
    with pytest.raises(RateLimitError) as caught:
        await client.completions.get("c1")
    assert (len(transport.sent), now()) == (1, start)
    assert caught.value.retry_after is not None
    assert caught.value.retry_after > 60
    transport.script = (record(),)
    await client.completions.get("c1")
    assert now() == start  # and holds nobody else


@virtual
async def test_max_retry_after_can_be_set() -> None:
    transport = FakeTransport(error(429, Retry_After="5"), record())
    with pytest.raises(RateLimitError):
        await client_of(transport, retry=RetryPolicy(max_retry_after=4.9)).completions.get("c1")
    transport = FakeTransport(error(429, Retry_After="120"), record())
    await client_of(transport, retry=RetryPolicy(max_retry_after=120)).completions.get("c1")
    assert transport.pauses[0] >= 120


@pytest.mark.parametrize(
    ("step", "kind"),
    [(error(429, Retry_After="10"), RateLimitError), (error(502), BadGatewayError), (lost(), APIConnectionError)],
)
@virtual
async def test_a_deadline_before_the_end_of_the_pause_raises_the_last_error_at_once(
    step: Step, kind: type[StackOneError]
) -> None:
    transport = FakeTransport(step)
    start = now()
    options: dict[str, Any] = {
        "timeout": Timeout(total=9.0),
        "retry": RetryPolicy(base=100, cap=100),
        "random": lambda: 0.5,
    }
    with pytest.raises(kind) as caught:
        await client_of(transport, **options).completions.get("c1")
    assert (len(transport.sent), now(), caught.value.attempts) == (1, start, 1)


@virtual
async def test_retries_stop_when_the_budget_is_empty_and_first_tries_go_on() -> None:
    transport = FakeTransport(error(500))
    client = client_of(transport, retry=RetryPolicy(attempts=3, budget=100))
    for _ in range(50):
        with pytest.raises(InternalServerError):
            await client.completions.get("c1")
    assert len(transport.sent) == 50 + 100 // 14


@virtual
async def test_successes_fill_the_budget_again() -> None:
    transport = FakeTransport(*[error(500)] * 3, *[record()] * 20, error(500), record())
    client = client_of(transport, retry=RetryPolicy(budget=14))
    with pytest.raises(InternalServerError):
        await client.completions.get("c1")  # one retry, and the bucket is empty
    with pytest.raises(InternalServerError):
        await client.completions.get("c1")
    for _ in range(20):
        await client.completions.get("c1")
    assert (await client.completions.get("c1")).attempts == 2


@virtual
async def test_a_retry_that_helped_gives_back_what_it_took() -> None:
    transport = FakeTransport(*[error(500), record()] * 100)
    client = client_of(transport, retry=RetryPolicy(budget=14))
    for _ in range(100):
        assert (await client.completions.get("c1")).attempts == 2


@virtual
async def test_after_a_429_of_the_provider_the_account_waits_and_others_do_not() -> None:
    limited = error(429, Retry_After="30", provider_errors=[{"status": 429}])
    transport = FakeTransport(limited, record())
    client = client_of(transport)
    start = now()
    first = asyncio.create_task(client.completions.get("c1"))
    await asyncio.sleep(1)
    second = asyncio.create_task(client.completions.get("c1"))
    await client.with_options(account_id="acct-other").completions.get("c1")
    assert now() - start == 1
    await asyncio.gather(first, second)
    assert [at - start for at in transport.times] == pytest.approx([0, 1, 30, 30.05])


@virtual
async def test_after_a_429_of_stackone_everybody_waits() -> None:
    transport = FakeTransport(error(429, Retry_After="30"), record())
    client = client_of(transport)
    start = now()
    first = asyncio.create_task(client.completions.get("c1"))
    await asyncio.sleep(1)
    await client.with_options(account_id="acct-other").completions.get("c1")
    await first
    assert min(transport.times[1:]) - start == pytest.approx(30)


@virtual
async def test_after_a_lost_connection_and_an_answer_out_of_step_the_next_one_is_fresh() -> None:
    steps: list[tuple[Step, bool]] = [
        (lost(), True),
        (record("other"), True),
        (error(500), False),
        (refused(), False),
    ]
    for step, fresh in steps:
        transport = FakeTransport(step, record())
        await client_of(transport).completions.get("c1")
        assert [sent.new_connection for sent in transport.sent] == [False, fresh]


@virtual
async def test_an_answer_out_of_step_closes_its_connection() -> None:
    discarded: list[str] = []
    wrong = record("other")
    wrong.close_connection = lambda: discarded.append("wrong")
    transport = FakeTransport(wrong, record())
    await client_of(transport).completions.get("c1")
    assert discarded == ["wrong"]


@virtual
async def test_the_answer_tells_what_it_took() -> None:
    transport = FakeTransport(lost(), error(503, Retry_After="2"), record())
    answer = await client_of(transport).completions.get("c1")
    assert (answer.attempts, answer.status, answer.request_id) == (3, 200, "req-c1")
    assert answer.elapsed == pytest.approx(0.05 + 2.05)
    assert answer.json() == {"data": {"id": "c1"}}
    assert answer.response.headers["X-REQUEST-ID"] == "req-c1"


@virtual
async def test_neither_logs_nor_tracebacks_show_secrets(caplog: pytest.LogCaptureFixture, own_log: OwnLog) -> None:
    """Not even with the local variables of every frame, as error reporters collect them."""
    caplog.set_level(logging.DEBUG)
    echo = error(500, f"{KEY} of {ACCOUNT}\nERROR forged")
    client = client_of(FakeTransport(echo, lost(), echo))
    pausing = client_of(FakeTransport(error(429, Retry_After="60"))).with_options(account_id="acct-secret-2")
    tasks = [asyncio.create_task(pausing.completions.get("c1"))]
    await asyncio.sleep(1)
    tasks.append(asyncio.create_task(pausing.completions.get("c1")))  # waits for the other's pause
    for task in tasks:
        asyncio.get_running_loop().call_later(1, task.cancel)
    texts: list[str] = []
    for call in (client.completions.get("c1"), client.completions.list().collect(), *tasks):
        try:
            await call
        except (StackOneError, asyncio.CancelledError) as problem:
            shown = traceback.TracebackException.from_exception(problem, capture_locals=True)
            # Above the client stand the locals of this test, which has the secrets in clear.
            texts += [frame for frame in shown.format() if str(PACKAGE) in frame.partition("\n")[0]]
    texts += [record.getMessage() for record in caplog.records]
    assert len(texts) > 10
    assert any("in acquire" in text for text in texts)
    assert any("retrying completions.get" in text for text in texts)
    assert not [text for text in texts if KEY in text]
    assert not [record for record in caplog.records if "\n" in record.getMessage()]
    assert not [record for record in own_log() if record.levelno > logging.INFO]
