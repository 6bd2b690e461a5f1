"""What OpenTelemetry gets to see: by the SDK's own exporters in memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from opentelemetry import propagate, trace
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from stackone_lms import (
    APITimeoutError,
    AsyncClient,
    BadRequestError,
    ConfigurationError,
    HookRequest,
    RateLimit,
    RetryPolicy,
    SyncClient,
    Timeout,
)
from stackone_lms.api.operations import operations
from stackone_lms.calls.signatures import place_of
from stackone_lms.export import export
from stackone_lms.otel import OpenTelemetry, StackOneInstrumentor
from stackone_lms.sandbox import Sandbox
from tests.bulk.server import Server, refuse
from tests.bulk.server import client as bulk_client
from tests.fake.fakes import (
    ACCOUNT,
    KEY,
    FakeTransport,
    client_of,
    error,
    hang,
    lost,
    page,
    record,
    reply,
    slowly,
    virtual,
)


class Collected:
    """A tracer and a meter that keep all in memory.

    Args:
        sampled: Whether there are spans.
        options: Those of `OpenTelemetry`.
    """

    def __init__(self, *, sampled: bool = True, **options: Any) -> None:
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider() if sampled else TracerProvider(sampler=ALWAYS_OFF)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader])
        self.observer = OpenTelemetry(tracer_provider=self.tracers, meter_provider=self.meters, **options)

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that have ended, in the order of their beginning."""
        return sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.spans]

    def span(self, name: str) -> ReadableSpan:
        """Return the only span of a name."""
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def metrics(self) -> dict[str, list[tuple[dict[str, Any], Any]]]:
        """Return the points of all metrics: attributes and data."""
        data: Any = self.reader.get_metrics_data()
        return {
            metric.name: [(dict(point.attributes), point) for point in metric.data.data_points]
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def everything(self) -> str:
        """Return all that would leave the process, as text."""
        spans = [span.to_json() for span in self.spans]
        return "\n".join([*spans, *(repr(points) for points in self.metrics().values())])


def id_of(span: ReadableSpan) -> int:
    context: Any = span.context
    return int(context.span_id)


def inside(span: ReadableSpan, parent: ReadableSpan) -> bool:
    return span.parent is not None and span.parent.span_id == id_of(parent)


def about(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}


REQUEST = {
    "http.request.method": "GET",
    "server.address": "api.stackone.com",
    "server.port": 443,
    "url.template": "/unified/lms/completions/{id}",
}


@virtual
async def test_a_call_that_is_retried() -> None:
    seen = Collected()
    transport = FakeTransport(error(503, x_request_id="first"), record())
    client = client_of(transport, observer=seen.observer, retry=RetryPolicy(throttle_base=4))
    await client.completions.get("c1")
    assert seen.names == ["stackone completions.get", *["GET /unified/lms/completions/{id}"] * 2]
    call, first, second = seen.spans
    assert (call.kind, call.status.status_code) == (SpanKind.INTERNAL, StatusCode.UNSET)
    assert about(call) == {"stackone.operation": "completions.get", "stackone.attempts": 2}
    assert inside(first, call)
    assert inside(second, call)
    assert (first.kind, first.status.status_code) == (SpanKind.CLIENT, StatusCode.ERROR)
    failed = {"http.response.status_code": 503, "error.type": "503", "stackone.request_id": "first"}
    assert about(first) == {**REQUEST, **failed}
    assert second.status.status_code is StatusCode.UNSET
    fine = {"http.response.status_code": 200, "http.request.resend_count": 1, "stackone.request_id": "req-c1"}
    assert about(second) == {**REQUEST, **fine}
    events = [(event.name, dict(event.attributes or {})) for event in call.events]
    assert events == [
        ("stackone.retry", {"error.type": "InternalServerError", "stackone.retry.delay": 2.0}),
        ("stackone.wait", {"stackone.wait.reason": "retry_pause", "stackone.wait.duration": pytest.approx(2.0)}),
    ]
    metrics = seen.metrics()
    assert [(labels, point.count) for labels, point in metrics["http.client.request.duration"]] == [
        ({**REQUEST, "http.response.status_code": 503, "error.type": "503"}, 1),
        ({**REQUEST, "http.response.status_code": 200}, 1),
    ]
    ((labels, point),) = metrics["stackone.client.call.duration"]
    assert (labels, round(point.sum, 6)) == ({"stackone.operation": "completions.get"}, 2.0)
    ((labels, point),) = metrics["stackone.client.wait.duration"]
    assert labels == {"stackone.operation": "completions.get", "stackone.wait.reason": "retry_pause"}
    assert round(point.sum, 6) == 2.0
    assert "stackone.client.throttled" not in metrics


@virtual
async def test_exemplars_of_metrics_lead_to_the_spans_that_were_measured() -> None:
    seen = Collected()
    await client_of(FakeTransport(record()), observer=seen.observer).completions.get("c1")
    call, request = seen.spans
    metrics = seen.metrics()
    for name, span in (("http.client.request.duration", request), ("stackone.client.call.duration", call)):
        ((_, point),) = metrics[name]
        assert [exemplar.span_id for exemplar in point.exemplars] == [id_of(span)]


@virtual
async def test_a_timeout_and_a_lost_connection() -> None:
    seen = Collected()
    client = client_of(FakeTransport(lost(), hang), observer=seen.observer, timeout=Timeout(attempt=5, total=7))
    with pytest.raises(APITimeoutError):
        await client.completions.get("c1")
    call, first, second, *_ = seen.spans
    assert about(first)["error.type"] == "ConnectionLostError"
    assert "http.response.status_code" not in about(first)
    assert (about(second)["error.type"], about(second)["stackone.timeout.phase"]) == ("APITimeoutError", "attempt")
    assert (about(call)["error.type"], about(call)["stackone.timeout.phase"]) == ("APITimeoutError", "total")
    assert {span.status.status_code for span in seen.spans} == {StatusCode.ERROR}
    assert {span.status.description for span in seen.spans} == {None}


@virtual
async def test_a_cancelled_call() -> None:
    seen = Collected()
    client = client_of(FakeTransport(hang), observer=seen.observer)
    task = asyncio.create_task(client.completions.get("c1"))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    assert [about(span)["error.type"] for span in seen.spans] == ["CancelledError", "CancelledError"]
    assert {labels["error.type"] for labels, _ in seen.metrics()["stackone.client.call.duration"]} == {"CancelledError"}


@virtual
async def test_waiting_for_the_rate_limit_and_how_much_of_it_is_used() -> None:
    seen = Collected()
    client = client_of(FakeTransport(error(429), record()), observer=seen.observer, rate_limit=RateLimit(4, burst=1))
    await client.completions.get("c1")
    metrics = seen.metrics()
    waits = {labels["stackone.wait.reason"]: point.sum for labels, point in metrics["stackone.client.wait.duration"]}
    assert waits.keys() == {"retry_pause", "rate_limit"}
    assert [(labels, point.value) for labels, point in metrics["stackone.client.throttled"]] == [
        ({"stackone.operation": "completions.get"}, 1)
    ]
    assert [point.value for _, point in metrics["stackone.client.rate_limit.utilization"]] == [0.5]
    await client.aclose()
    del client
    assert "stackone.client.rate_limit.utilization" not in seen.metrics()


@virtual
async def test_the_rate_limits_of_all_observers_of_a_provider_are_looked_at() -> None:
    seen = Collected()
    clients: list[AsyncClient] = []
    for requests in (10, 2, 5):
        observer = OpenTelemetry(tracer_provider=seen.tracers, meter_provider=seen.meters)
        clients.append(client_of(FakeTransport(record()), observer=observer, rate_limit=RateLimit(requests)))
        await clients[-1].completions.get("c1")
    assert [point.value for _, point in seen.metrics()["stackone.client.rate_limit.utilization"]] == [0.5]


def test_clients_that_are_gone_are_forgotten_though_nobody_collects_metrics() -> None:
    observer = OpenTelemetry(meter_provider=NoOpMeterProvider())
    for _ in range(1000):
        observer.client_created(lambda: None)
    assert len(observer.instruments.clients._stats) < 100  # pyright: ignore[reportPrivateUsage]


@virtual
async def test_a_request_of_the_callers_own_keeps_its_path_to_itself() -> None:
    seen = Collected()
    await client_of(FakeTransport(record()), observer=seen.observer).request("GET", "/unified/lms/things/secret-7")
    assert seen.names == ["stackone request", "GET"]
    assert "secret-7" not in seen.everything()


def test_every_operation_is_named_as_on_a_client() -> None:
    for resource, verb, operation in operations():
        assert operation.name == f"{resource}.{verb}"
    client: Any = SyncClient(KEY, ACCOUNT, transport=FakeTransport(record()))
    for name in ("accounts", "logs", "connect_sessions"):
        found: object = getattr(client, name)
        assert place_of(type(found)) == name


# Where the context goes


@virtual
async def test_the_spans_of_the_caller_and_of_the_call_are_one_trace() -> None:
    seen = Collected(propagate=True)
    tracer = seen.tracers.get_tracer("caller")
    transport = FakeTransport(error(500), record())
    logged: list[str] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append(trace.get_current_span().get_span_context().span_id.to_bytes(8).hex())

    handler, log = Keeping(), logging.getLogger("stackone_lms")
    log.addHandler(handler)
    level = log.level
    log.setLevel(logging.INFO)
    try:
        with tracer.start_as_current_span("night") as night:
            await client_of(transport, observer=seen.observer).completions.get("c1")
            assert trace.get_current_span() is night
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    outer, call, first, second = seen.spans
    assert inside(call, outer)
    assert logged == [f"{id_of(call):016x}"]
    sent = [propagate.extract(one.headers) for one in transport.sent]
    spans = [trace.get_current_span(context).get_span_context().span_id for context in sent]
    assert spans == [id_of(one) for one in (first, second)]


@virtual
async def test_the_context_is_sent_only_if_that_is_asked_for() -> None:
    transport = FakeTransport(record())
    await client_of(transport, observer=Collected().observer).completions.get("c1")
    assert "traceparent" not in transport.sent[0].headers


@virtual
async def test_what_is_not_sampled_is_measured_and_makes_no_spans() -> None:
    seen = Collected(sampled=False, propagate=True)
    transport = FakeTransport(record())
    await client_of(transport, observer=seen.observer).completions.get("c1")
    assert seen.spans == []
    sent = trace.get_current_span(propagate.extract(transport.sent[0].headers)).get_span_context()
    assert sent.is_valid
    assert not sent.trace_flags.sampled
    assert len(seen.metrics()["http.client.request.duration"]) == 1


@virtual
async def test_a_call_without_spans_for_requests() -> None:
    seen = Collected(attempts="none")
    await client_of(FakeTransport(error(500), record()), observer=seen.observer).completions.get("c1")
    assert seen.names == ["stackone completions.get"]
    assert len(seen.metrics()["http.client.request.duration"]) == 2


@virtual
async def test_a_coroutine_that_is_thrown_away_leaves_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    seen = Collected()
    client = client_of(FakeTransport(hang), observer=seen.observer)
    coroutine: Any = client.completions.get("c1")

    async def begin() -> None:
        coroutine.send(None)

    await asyncio.create_task(begin())
    coroutine.close()
    assert [about(span)["error.type"] for span in seen.spans] == ["GeneratorExit", "GeneratorExit"]
    assert caplog.records == []


@pytest.fixture
def watched_aiohttp() -> Iterator[Collected]:
    """aiohttp's own instrumentation, on the side."""
    seen = Collected()
    instrumentor = AioHttpClientInstrumentor()
    instrumentor.instrument(tracer_provider=seen.tracers, meter_provider=seen.meters)
    yield seen
    instrumentor.uninstrument()


async def test_requests_are_not_told_a_second_time_by_aiohttp(watched_aiohttp: Collected) -> None:
    seen = Collected()

    async def own_request(_: HookRequest) -> None:
        async with aiohttp.ClientSession() as session, session.get(f"{sandbox.url}/elsewhere") as answer:
            assert answer.status >= 400

    async with Sandbox() as sandbox:
        options: Any = {"base_url": sandbox.url, "transport": "aiohttp", "observer": seen.observer}
        async with AsyncClient(sandbox.api_key, sandbox.account_ids[0], **options) as client:
            await client.users.list().first_page()
            assert watched_aiohttp.spans == []
            assert "http.client.duration" not in watched_aiohttp.metrics()
        async with AsyncClient(
            sandbox.api_key, sandbox.account_ids[0], **options, on_request=own_request
        ) as client:  # what hooks send is theirs
            await client.users.list().first_page()
    assert [span.name for span in watched_aiohttp.spans] == ["GET"]
    assert seen.names.count("GET /unified/lms/users") == 2


# Bulk fetches and exports


def script(id: str, n: int) -> Any:
    """Throttle one id once, and refuse another."""
    if id == "2" and n == 1:
        return refuse(429)
    return refuse(404) if id == "3" else None


@pytest.mark.parametrize("attempts", ["calls", "calls+failed"])
async def test_a_bulk_fetch_over_two_accounts_is_one_span(attempts: str) -> None:
    seen = Collected(attempts=attempts)
    async with bulk_client(Server(script), observer=seen.observer) as client:
        fetch = client.for_accounts(["a", "b"]).completions.get_many({"a": ["1", "2", "3"], "b": ["4", "5"]})
        assert len([one async for one in fetch]) == 5
    span = seen.span("stackone completions.get_many")
    assert (span.kind, span.status.status_code) == (SpanKind.INTERNAL, StatusCode.UNSET)
    counted = {name.removeprefix("stackone."): value for name, value in about(span).items()}
    assert counted.pop("waited.retry_pause") >= 0
    assert counted == {
        "operation": "completions.get_many",
        "accounts": 2,
        "done": 5,
        "failed": 1,
        "total": 5,
        "requests": 6,
        "retries": 1,
        "throttled": 1,
    }
    failed = [one for one in seen.spans if one is not span]
    assert sorted(about(one)["error.type"] for one in failed) == ([] if attempts == "calls" else ["404", "429"])
    assert all(inside(one, span) and one.name == "GET /unified/lms/completions/{id}" for one in failed)
    counts = [point.count for _, point in seen.metrics()["http.client.request.duration"]]
    assert sum(counts) == 6
    assert {labels["stackone.operation"] for labels, _ in seen.metrics()["stackone.client.call.duration"]} == {
        "completions.get",
        "completions.get_many",
    }


class SpanIds(logging.Handler):
    """Keeps the id of the span in which each record of the log was made."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[int] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.add(trace.get_current_span().get_span_context().span_id)


@pytest.fixture
def logged() -> Iterator[SpanIds]:
    """What the package logs, from DEBUG on."""
    handler, log = SpanIds(), logging.getLogger("stackone_lms")
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    yield handler
    log.removeHandler(handler)
    log.setLevel(level)


async def test_what_calls_of_a_bulk_fetch_log_belongs_to_its_span(logged: SpanIds) -> None:
    seen = Collected()
    night_of = seen.tracers.get_tracer("caller").start_as_current_span
    async with bulk_client(Server(script), observer=seen.observer) as client:
        with night_of("night") as night:
            assert len([one async for one in client.completions.get_many(["1", "2", "3"])]) == 3
            assert trace.get_current_span() is night
    assert logged.seen == {id_of(seen.span("stackone completions.get_many"))}


async def test_what_an_export_logs_belongs_to_the_spans_of_its_lists(logged: SpanIds, tmp_path: Path) -> None:
    seen = Collected()
    async with (
        Sandbox(accounts=1) as sandbox,
        AsyncClient(sandbox.api_key, base_url=sandbox.url, rate_limit=None, observer=seen.observer) as client,
    ):
        await export(client, ["skills"], tmp_path, accounts=sandbox.account_ids)
    assert logged.seen == {id_of(seen.span("stackone export skills"))}


async def test_a_bulk_fetch_that_breaks_off_is_a_failed_span() -> None:
    seen = Collected()
    async with bulk_client(Server(lambda _, n: refuse(401)), observer=seen.observer) as client:
        with pytest.raises(Exception, match="401"):
            assert [one async for one in client.completions.get_many(["1"])]
    (span,) = seen.spans
    assert (span.status.status_code, about(span)["error.type"]) == (StatusCode.ERROR, "AuthenticationError")


def test_a_blocking_bulk_fetch_belongs_to_the_span_of_the_thread_that_iterates() -> None:
    seen = Collected()
    transport = Server()
    night_of = seen.tracers.get_tracer("caller").start_as_current_span
    with SyncClient(KEY, ACCOUNT, transport=transport, observer=seen.observer) as client, night_of("night"):
        assert len(list(client.completions.get_many(["1", "2"]))) == 2
        client.completions.get("1")
    night, bulk, call, *_ = seen.spans
    assert inside(bulk, night)
    assert inside(call, night)


@pytest.mark.thorough
async def test_an_export_is_a_span_with_one_for_each_list(tmp_path: Path) -> None:
    seen = Collected(attempts="calls+failed")
    async with (
        Sandbox(accounts=2) as sandbox,
        AsyncClient(sandbox.api_key, base_url=sandbox.url, rate_limit=None, observer=seen.observer) as client,
    ):
        accounts = [*sandbox.account_ids, "nobody"]
        result = await export(client, ["users", "skills"], tmp_path, accounts=accounts)
    whole = seen.span("stackone export")
    assert about(whole) == {
        "stackone.accounts": 3,
        "stackone.lists": 6,
        "stackone.done": 6,
        "stackone.failed": 2,
        "stackone.records": result.records,
    }
    lists = [span for span in seen.spans if span.name in {"stackone export users", "stackone export skills"}]
    assert len(lists) == 6
    assert all(inside(span, whole) for span in lists)
    assert sum(about(span)["stackone.done"] for span in lists) == result.records
    assert [span.status.status_code for span in lists].count(StatusCode.ERROR) == 2
    failed = [span for span in seen.spans if span.kind is SpanKind.CLIENT]
    assert failed
    assert all(any(inside(span, one) for one in lists) for span in failed)
    metrics = seen.metrics()
    ended = {
        (labels["stackone.resource"], labels["stackone.export.state"]): point.value
        for labels, point in metrics["stackone.export.lists"]
    }
    assert ended == {(name, state): n for name in ("users", "skills") for state, n in (("complete", 2), ("failed", 1))}
    assert sum(point.value for _, point in metrics["stackone.export.records"]) == result.records


# What must not get out

SECRETS = (KEY, "djEuZXUxLmEtc2VjcmV0LWtleT", "canary")
"""The key, its base64, and what stands in ids, queries, headers, bodies and messages here."""


@pytest.mark.parametrize("accounts", [False, True])
async def test_nothing_gets_out_that_should_not(accounts: bool, tmp_path: Path) -> None:
    seen = Collected(accounts=accounts, attempts="calls+failed", propagate=True)
    body = {"canary": "canary", "provider_errors": [{"status": 400, "raw": "canary"}]}
    transport = FakeTransport(
        reply(200, {"data": {"id": "canary", "canary": "canary"}}),
        error(400, f"canary {KEY}", x_request_id=f"echo {KEY}", **body),
        error(429, "canary", Retry_After="0"),
        lost(),
        page(["canary"]),
    )
    client = AsyncClient(KEY, ACCOUNT, transport=transport, observer=seen.observer, extra_headers={"x-own": "canary"})
    async with client:
        await client.completions.get("canary", fields="canary", proxy={"canary": "canary"})
        with pytest.raises(BadRequestError):
            await client.users.completions.create("canary", learning_object_external_reference="canary")
        await client.completions.list(filter={"updated_after": "2026-01-01T00:00:00.000Z"}, fields="canary").collect()
        await client.request("GET", "/unified/lms/canary/canary", query={"canary": 1})
        assert [one async for one in client.completions.get_many(["canary", "canary2"])]
        await export(client, ["users"], tmp_path / "canary")
    everything = seen.everything()
    assert "stackone.request_id" in everything
    for secret in SECRETS:
        assert secret not in everything
    assert (ACCOUNT in everything) is accounts


async def test_account_ids_are_in_spans_and_metrics_if_asked_for() -> None:
    seen = Collected(accounts=True)
    async with bulk_client(Server(script), observer=seen.observer) as client:
        await client.with_options(account_id="x").completions.get("1")
        assert [one async for one in client.for_accounts(["y", "z"]).completions.get_many(["1", "2"])]
    assert [about(span).get("stackone.account_id") for span in seen.spans] == ["x", "x", None]
    for name in ("http.client.request.duration", "stackone.client.throttled"):
        assert {labels["stackone.account_id"] for labels, _ in seen.metrics()[name]} <= {"x", "y", "z"}
    assert {labels["stackone.account_id"] for labels, _ in seen.metrics()["http.client.request.duration"]} == {
        *("x", "y", "z")
    }


# On and off


def test_options_are_checked() -> None:
    wrongs: list[dict[str, Any]] = [{"attempts": "all"}, {"accounts": "yes"}, {"propagate": 1}]
    for wrong in wrongs:
        with pytest.raises(ConfigurationError):
            OpenTelemetry(**wrong)


@virtual
async def test_without_an_sdk_nothing_is_told() -> None:
    observer = OpenTelemetry()
    assert not observer.instruments.listens()
    started: list[Any] = []
    observer.instruments.tracer = started  # type: ignore[assignment] # pyright: ignore[reportAttributeAccessIssue]
    await client_of(FakeTransport(record()), observer=observer).completions.get("c1")
    assert [one async for one in client_of(FakeTransport(record()), observer=observer).completions.get_many(["c1"])]


async def test_whoever_suppresses_instrumentation_is_told_nothing(tmp_path: Path) -> None:
    seen = Collected()
    calls = client_of(FakeTransport(record()), observer=seen.observer)
    with suppress_instrumentation():
        await calls.completions.get("c1")
        assert [one async for one in calls.completions.get_many(["c1"])]
        async with client_of(FakeTransport(page([])), observer=seen.observer) as client:
            await export(client, ["users"], tmp_path)
    assert seen.names == []
    assert set(seen.metrics()) == {"stackone.client.rate_limit.utilization"}  # that of the client, not of a call
    await calls.completions.get("c1")
    assert len(seen.names) == 2


async def test_a_list_of_a_cancelled_export_is_cancelled_and_not_failed(tmp_path: Path) -> None:
    seen, asked = Collected(), asyncio.Event()

    async def never(*about: Any) -> Any:
        asked.set()
        return await hang(*about)

    async with client_of(FakeTransport(never), observer=seen.observer) as client:
        running = asyncio.create_task(export(client, ["users"], tmp_path))
        await asked.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    ((lists, _),) = seen.metrics()["stackone.export.lists"]
    assert lists == {"stackone.resource": "users", "stackone.export.state": "cancelled"}


@virtual
async def test_an_instrumentor_observes_every_client_that_has_no_observer_of_the_kind() -> None:
    by_itself, own = Collected(), Collected()

    class Derived(OpenTelemetry):
        """One of the caller's own."""

    derived = Derived(tracer_provider=own.tracers, meter_provider=own.meters)
    instrumentor = StackOneInstrumentor()
    instrumentor.instrument(
        tracer_provider=by_itself.tracers, meter_provider=by_itself.meters, skip_dep_check=True, attempts="none"
    )
    try:
        await client_of(FakeTransport(record())).completions.get("c1")
        await client_of(FakeTransport(record()), observer=own.observer).completions.get("c1")
        await client_of(FakeTransport(record()), observer=derived).completions.get("c1")
    finally:
        instrumentor.uninstrument()
    await client_of(FakeTransport(record())).completions.get("c1")
    assert by_itself.names == ["stackone completions.get"]
    assert len(own.names) == 4


async def test_slow_answers_are_measured_from_the_request_on() -> None:
    seen = Collected()
    async with AsyncClient(
        KEY, ACCOUNT, transport=FakeTransport(slowly(0.02, record())), observer=seen.observer
    ) as client:
        await client.completions.get("c1")
    ((_, point),) = seen.metrics()["http.client.request.duration"]
    assert point.sum >= 0.02
    assert tuple(point.explicit_bounds)[:3] == (0.005, 0.01, 0.025)
