"""OpenTelemetry: traces and metrics of a client, with the extra `otel` (`pip install "stackone-lms[otel]"`).

    from stackone_lms.otel import OpenTelemetry

    client = AsyncClient(observer=OpenTelemetry())

Under `opentelemetry-instrument` every client has one, without a change of the program.

Spans: `stackone completions.get`, internal, for each call, in it `GET /unified/lms/completions/{id}`, client, for each
request; `stackone completions.get_many` for a bulk fetch, whose requests make none; `stackone export`, in it
`stackone export completions` for each list. The guide has the table of spans, attributes and metrics. They are bounded:
no ids of records, no queries, no headers, no bodies, no messages of errors, and account ids only if asked for.
"""

from __future__ import annotations

import functools
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from ._version import __version__
from .engine.observers import (
    AttemptEnd,
    BulkEnd,
    BulkObserver,
    BulkStart,
    CallEnd,
    CallObserver,
    CallStart,
    ExportEnd,
    ExportObserver,
    ExportStart,
    Observer,
    RetryScheduled,
    WaitEnd,
    default_observers,
)
from .engine.stats import Stats
from .errors import APITimeoutError, ConfigurationError

try:
    from opentelemetry import context, metrics, propagate, trace
except ImportError:
    raise ImportError('stackone_lms.otel needs: pip install "stackone-lms[otel]"') from None

Attempts: TypeAlias = Literal["calls", "calls+failed", "none"]
"""Which requests have spans."""
_Attributes: TypeAlias = dict[str, str | int | float]

_SCHEMA: Final = "https://opentelemetry.io/schemas/1.37.0"
_REQUEST_BOUNDARIES = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Those of the semantic conventions for `http.client.request.duration`."""
_CALL_BOUNDARIES = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)
"""With waits and retries; 300 seconds is the default limit of a call."""

_SUPPRESS: Final = getattr(context, "_SUPPRESS_HTTP_INSTRUMENTATION_KEY", "suppress_http_instrumentation")
"""Where instrumentations of HTTP clients, such as aiohttp's, look whether a request is told already."""

_RESOURCES = {
    "Contents": "content",
    "UserAssignments": "users.assignments",
    "UserCompletions": "users.completions",
    "LinkedAccounts": "accounts",
    "RequestLogs": "logs",
}
"""Where attributes of clients are not named as their classes are."""


@functools.lru_cache(maxsize=256)
def _dotted(operation: str) -> str:
    """Return `completions.get` for `Completions.get`: as it is written on a client."""
    resource, _, verb = operation.partition(".")
    name = _RESOURCES.get(resource) or re.sub(r"(?<=.)(?=[A-Z])", "_", resource).lower()
    return f"{name}.{verb}"


class _Described(NamedTuple):
    """What is the same for all calls of an operation."""

    name: str
    span: str
    request_span: str
    request: _Attributes


@functools.lru_cache(maxsize=256)
def _describe(operation: str, method: str, template: str | None, base_url: str) -> _Described:
    url = urlsplit(base_url)
    request: _Attributes = {
        "http.request.method": method,
        "server.address": url.hostname or "",
        "server.port": url.port or (443 if url.scheme == "https" else 80),
    }
    if template is None:
        return _Described("request", "stackone request", method, request)
    name = _dotted(operation)
    return _Described(name, f"stackone {name}", f"{method} {template}", {**request, "url.template": template})


def _described(call: CallStart) -> _Described:
    # The operation of a request of the caller's own is its path, which may hold ids: it would make too many of these.
    operation = call.operation if call.path_template is not None else ""
    return _describe(operation, call.method, call.path_template, call.base_url)


def _error_type(error: BaseException) -> str:
    return type(error).__name__


def _fail(span: trace.Span, error: BaseException) -> None:
    """Mark a span as failed. Messages of errors stay out of it: they may name records and accounts."""
    span.set_status(trace.StatusCode.ERROR)
    span.set_attribute("error.type", _error_type(error))
    if isinstance(error, APITimeoutError):
        span.set_attribute("stackone.timeout.phase", error.phase)


class _Clients:
    """The clients whose rate limit one gauge looks at.

    They are those of all observers that share a meter provider: of gauges with the same name the SDK asks the first.
    """

    def __init__(self) -> None:
        self._stats: list[Callable[[], Stats | None]] = []
        self._sweep_at = 64
        self._lock = threading.Lock()

    def add(self, stats: Callable[[], Stats | None]) -> None:
        """Look at one more."""
        with self._lock:
            self._stats.append(stats)
            if len(self._stats) >= self._sweep_at:  # where nobody collects metrics, nothing else forgets those gone
                self._look()
                self._sweep_at = max(64, 2 * len(self._stats))

    def _look(self) -> list[Stats]:
        found = [(stats, stats()) for stats in self._stats]
        self._stats = [stats for stats, now in found if now is not None]
        return [now for _, now in found if now is not None]

    def utilization(self, _: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        """Return how much of its limit the busiest one used; nothing if none has a limit."""
        with self._lock:
            found = self._look()
        used = [now.used / now.limit for now in found if now.limit and now.used is not None]
        return [metrics.Observation(max(used))] if used else []


_of_global_provider = _Clients()
_of_providers: WeakKeyDictionary[metrics.MeterProvider, _Clients] = WeakKeyDictionary()


def _clients_of(provider: metrics.MeterProvider | None) -> _Clients:
    if provider is None or provider is metrics.get_meter_provider():
        return _of_global_provider
    return _of_providers.setdefault(provider, _Clients())


class OpenTelemetry(Observer):
    """Reports to OpenTelemetry what clients do. One may serve several clients.

    Args:
        accounts: Put the ids of linked accounts into spans and metrics (`stackone.account_id`). Each account then makes
            time series of its own.
        attempts: Which requests have spans. `calls`: those of single calls. `calls+failed`: also those of bulk fetches
            and exports that fail. `none`: none. Metrics count them all.
        propagate: Send the trace context in the headers of requests (`traceparent`, as far as the propagators of
            OpenTelemetry are set so).
        tracer_provider: Default: the global one, also if it is set later.
        meter_provider: Default: the global one, also if it is set later.

    Raises:
        ConfigurationError: An option is none of those.
    """

    def __init__(
        self,
        *,
        accounts: bool = False,
        attempts: Attempts = "calls",
        propagate: bool = False,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        if attempts not in get_args(Attempts):
            raise ConfigurationError(f"attempts must be one of {', '.join(get_args(Attempts))}, not {attempts!r:.60}")
        for name, value in {"accounts": accounts, "propagate": propagate}.items():
            if not isinstance(value, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ConfigurationError(f"{name} must be True or False, not {value!r:.60}")
        self.accounts, self.attempts, self.propagate = accounts, attempts, propagate
        self.active = tracer_provider is not None or meter_provider is not None
        self.tracer = trace.get_tracer("stackone_lms", __version__, tracer_provider, _SCHEMA)
        meter = metrics.get_meter("stackone_lms", __version__, meter_provider, _SCHEMA)
        self.request_duration = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_REQUEST_BOUNDARIES,
        )
        self.call_duration = meter.create_histogram(
            "stackone.client.call.duration",
            "s",
            "Duration of calls, waits and retries included.",
            explicit_bucket_boundaries_advisory=_CALL_BOUNDARIES,
        )
        self.wait_duration = meter.create_histogram(
            "stackone.client.wait.duration",
            "s",
            "How long calls waited, by what for.",
            explicit_bucket_boundaries_advisory=_CALL_BOUNDARIES,
        )
        self.throttled = meter.create_counter("stackone.client.throttled", "{response}", "Answers 429.")
        self.lists = meter.create_counter("stackone.export.lists", "{list}", "Lists exported, by how they ended.")
        self.records = meter.create_counter("stackone.export.records", "{record}", "Records fetched by exports.")
        self._clients = _clients_of(meter_provider)
        meter.create_observable_gauge(
            "stackone.client.rate_limit.utilization",
            [self._clients.utilization],
            "1",
            "Part of the client-side rate limit that was used in its last window, by the busiest client.",
        )
        self._look_at = 0.0

    def client_created(self, stats: Callable[[], Stats | None], /) -> None:
        """Look at the rate limit of another client from now on."""
        self._clients.add(stats)

    def listens(self) -> bool:
        """Tell whether anybody takes spans or metrics: without an SDK nobody does."""
        if not self.active and (now := time.monotonic()) >= self._look_at:
            self._look_at = now + _LOOK_EVERY
            # Providers of the API itself do nothing, or stand for one that is not there yet.
            providers = (trace.get_tracer_provider(), metrics.get_meter_provider())
            self.active = not all(type(provider).__module__.startswith(_OWN) for provider in providers)
        return self.active

    def call_started(self, call: CallStart, /) -> CallObserver | None:
        """Begin the span of a call."""
        if not self.propagate and not self.listens():
            return None
        return _Call(self, call, _described(call))

    def bulk_started(self, bulk: BulkStart, /) -> BulkObserver | None:
        """Begin the span of a bulk fetch."""
        name = _dotted(bulk.operation)
        return _Bulk(self, bulk, f"stackone {name}", {"stackone.operation": name}, context.get_current())

    def export_started(self, export: ExportStart, /) -> ExportObserver | None:
        """Begin the span of an export."""
        return _Export(self, export)

    def of_account(self, account_id: str | None) -> _Attributes:
        """Return what is said of an account."""
        return {"stackone.account_id": account_id} if self.accounts and account_id is not None else {}

    def observe_request(
        self, described: _Described, attempt: AttemptEnd, account: _Attributes, inside: context.Context | None
    ) -> _Attributes:
        """Count a request, in whose span `inside` is, and return what its span says of its end."""
        ended: _Attributes = {}
        if attempt.status is not None:
            ended["http.response.status_code"] = attempt.status
            if attempt.status >= 400:
                ended["error.type"] = str(attempt.status)
        elif attempt.error is not None:
            ended["error.type"] = _error_type(attempt.error)
        self.request_duration.record(attempt.seconds, {**described.request, **ended, **account}, inside)
        if attempt.status == 429:
            self.throttled.add(1, {"stackone.operation": described.name, **account}, inside)
        return ended


_OWN = ("opentelemetry.trace", "opentelemetry.metrics")
_LOOK_EVERY = 0.1
"""Seconds between two looks for an SDK, as long as there is none: each costs as much as a whole call may."""


class _Observed(CallObserver):
    """What single calls and those of bulk fetches share."""

    def __init__(self, otel: OpenTelemetry, call: CallStart, described: _Described) -> None:
        self._otel, self._described = otel, described
        self._account = otel.of_account(call.account_id)
        self._token: Any = None
        self._call_token: Any = None
        # The contexts of the call and of its request are kept: whoever is handed none looks for the current one, often.
        self._inside: context.Context | None = None
        self._sent_in: context.Context | None = None
        self._current: trace.Span | None = None
        """The span that the call belongs to, if it is the current one anyway."""

    def _belong_to(self, span: trace.Span, inside: context.Context | None = None) -> None:
        """Make a span the current one, so that what is logged meanwhile belongs to it.

        Args:
            span: That of the call, or of the bulk fetch that it is a part of.
            inside: The context in which it is the current one; None: it has to be made.
        """
        if span.is_recording():
            self._inside = inside or trace.set_span_in_context(span)
            self._call_token = context.attach(self._inside)
            self._current = span
        elif not self._otel.propagate:
            self._current = span  # there is nothing of it to be found in a context

    def _enter(self, span: trace.Span) -> Mapping[str, str] | None:
        """Let the request be told once: not again by who watches the HTTP client below. Return headers for it."""
        inside = context.set_value(_SUPPRESS, True)
        if span is not self._current:
            inside = trace.set_span_in_context(span, inside)
        self._sent_in, self._token = inside, context.attach(inside)
        if not self._otel.propagate:
            return None
        headers: dict[str, str] = {}
        propagate.inject(headers, inside)
        return headers

    def _leave(self, error: BaseException | None) -> None:
        token, self._token = self._token, None
        # A coroutine that is thrown away may be closed anywhere, where there is nothing to go back to.
        if token is not None and not isinstance(error, GeneratorExit):
            context.detach(token)

    def waited(self, wait: WaitEnd, /) -> None:
        about = {"stackone.operation": self._described.name, "stackone.wait.reason": wait.reason, **self._account}
        self._otel.wait_duration.record(wait.seconds, about, self._inside)

    def ended(self, call: CallEnd, /) -> None:
        about: _Attributes = {"stackone.operation": self._described.name, **self._account}
        if call.error is not None:
            about["error.type"] = _error_type(call.error)
        self._otel.call_duration.record(call.seconds, about, self._inside)
        if self._call_token is not None and not isinstance(call.error, GeneratorExit):
            context.detach(self._call_token)


class _Call(_Observed):
    """A single call."""

    def __init__(self, otel: OpenTelemetry, call: CallStart, described: _Described) -> None:
        super().__init__(otel, call, described)
        about: _Attributes = {"stackone.operation": described.name, **self._account}
        self._span = self._attempt = otel.tracer.start_span(described.span, attributes=about)
        self._recording = self._span.is_recording()
        self._belong_to(self._span)

    def waited(self, wait: WaitEnd, /) -> None:
        """Note a wait."""
        super().waited(wait)
        if self._recording:
            about: _Attributes = {"stackone.wait.reason": wait.reason, "stackone.wait.duration": wait.seconds}
            self._span.add_event("stackone.wait", about)

    def attempt_started(self, number: int, /) -> Mapping[str, str] | None:
        """Begin the span of a request."""
        self._attempt = self._span
        if self._recording and self._otel.attempts != "none":
            about = self._described.request
            if number > 1:
                about = {**about, "http.request.resend_count": number - 1}
            self._attempt = self._otel.tracer.start_span(
                self._described.request_span, self._inside, trace.SpanKind.CLIENT, {**about, **self._account}
            )
        return self._enter(self._attempt)

    def attempt_ended(self, attempt: AttemptEnd, /) -> None:
        """End the span of a request."""
        self._leave(attempt.error)
        ended = self._otel.observe_request(self._described, attempt, self._account, self._sent_in)
        span = self._attempt
        if span is not self._span:
            _end_request(span, attempt, ended)

    def retrying(self, retry: RetryScheduled, /) -> None:
        """Note that there will be another request."""
        if self._recording:
            about: _Attributes = {"error.type": _error_type(retry.error), "stackone.retry.delay": retry.pause}
            self._span.add_event("stackone.retry", about)

    def ended(self, call: CallEnd, /) -> None:
        """End the span of the call."""
        super().ended(call)
        if self._recording:
            self._span.set_attribute("stackone.attempts", call.attempts)
            if call.error is not None:
                _fail(self._span, call.error)
        self._span.end()


def _end_request(span: trace.Span, attempt: AttemptEnd, ended: _Attributes, end: int | None = None) -> None:
    if attempt.request_id is not None:
        ended["stackone.request_id"] = attempt.request_id
    if "error.type" in ended:
        span.set_status(trace.StatusCode.ERROR)
    if isinstance(attempt.error, APITimeoutError):
        ended["stackone.timeout.phase"] = attempt.error.phase
    span.set_attributes(ended)
    span.end(end)


class _Bulk(BulkObserver):
    """A bulk fetch, or a list of an export."""

    def __init__(
        self, otel: OpenTelemetry, bulk: BulkStart, span: str, about: _Attributes, parent: context.Context
    ) -> None:
        self.otel, self.about = otel, {**about, **otel.of_account(bulk.account_id)}
        self.span = otel.tracer.start_span(span, parent, attributes=self.about)
        self.recording = self.span.is_recording()
        self.inside = trace.set_span_in_context(self.span, parent)
        self.counts: Counter[str] = Counter()
        self.waited: defaultdict[str, float] = defaultdict(float)
        self._accounts, self._total = bulk.accounts, bulk.total

    def call_started(self, call: CallStart, /) -> CallObserver | None:
        """Look at a call of it: it has no span."""
        if not self.otel.propagate and not self.otel.listens():
            return None
        return _BulkCall(self, call)

    def ended(self, end: BulkEnd, /) -> None:
        """End its span."""
        about = self.about
        if end.error is not None:
            about = {**about, "error.type": _error_type(end.error)}
        self.record(end, about)
        if self.recording:
            numbers: _Attributes = {
                "stackone.accounts": self._accounts,
                "stackone.done": end.done,
                "stackone.failed": end.failed,
                **{f"stackone.{name}": number for name, number in self.counts.items()},
                **{f"stackone.waited.{reason}": round(seconds, 6) for reason, seconds in self.waited.items()},
            }
            if end.total is not None:
                numbers["stackone.total"] = end.total
            self.span.set_attributes(numbers)
            if end.error is not None:
                _fail(self.span, end.error)
        self.span.end()

    def record(self, end: BulkEnd, about: _Attributes) -> None:
        """Record how long it took."""
        self.otel.call_duration.record(end.seconds, about)


class _BulkCall(_Observed):
    """A call of a bulk fetch."""

    def __init__(self, bulk: _Bulk, call: CallStart) -> None:
        super().__init__(bulk.otel, call, _described(call))
        self._bulk = bulk
        self._sent_at = 0
        self._belong_to(bulk.span, bulk.inside)

    def waited(self, wait: WaitEnd, /) -> None:
        """Count a wait."""
        super().waited(wait)
        self._bulk.waited[wait.reason] += wait.seconds

    def attempt_started(self, number: int, /) -> Mapping[str, str] | None:
        """Note when a request begins."""
        self._sent_at = time.time_ns()
        return self._enter(self._bulk.span)

    def attempt_ended(self, attempt: AttemptEnd, /) -> None:
        """Count a request; make a span of one that failed, if that is asked for."""
        self._leave(attempt.error)
        counts = self._bulk.counts
        counts["requests"] += 1
        counts["retries"] += attempt.number > 1
        counts["throttled"] += attempt.status == 429
        ended = self._otel.observe_request(self._described, attempt, self._account, self._sent_in)
        if self._otel.attempts == "calls+failed" and self._bulk.recording and "error.type" in ended:
            about = {**self._described.request, **self._account}
            if attempt.number > 1:
                about["http.request.resend_count"] = attempt.number - 1
            span = self._otel.tracer.start_span(
                self._described.request_span,
                self._bulk.inside,
                trace.SpanKind.CLIENT,
                about,
                start_time=self._sent_at,
            )
            _end_request(span, attempt, ended, self._sent_at + int(attempt.seconds * 1e9))


class _Export(ExportObserver):
    """An export."""

    def __init__(self, otel: OpenTelemetry, export: ExportStart) -> None:
        self._otel = otel
        about = {"stackone.accounts": export.accounts, "stackone.lists": export.lists}
        self._span = otel.tracer.start_span("stackone export", attributes=about)
        self._inside = trace.set_span_in_context(self._span)

    def list_started(self, list: BulkStart, /) -> BulkObserver | None:
        """Begin the span of a list."""
        return _List(self._otel, list, self._inside)

    def ended(self, end: ExportEnd, /) -> None:
        """End its span."""
        self._span.set_attributes(
            {"stackone.done": end.lists, "stackone.failed": end.failed, "stackone.records": end.records}
        )
        if end.error is not None:
            _fail(self._span, end.error)
        self._span.end()


class _List(_Bulk):
    """A list of an export."""

    def __init__(self, otel: OpenTelemetry, list: BulkStart, parent: context.Context) -> None:
        resource = _dotted(list.operation).removesuffix(".list")
        super().__init__(otel, list, f"stackone export {resource}", {"stackone.resource": resource}, parent)

    def record(self, end: BulkEnd, about: _Attributes) -> None:
        """Count it, and its records."""
        state = "failed" if end.error is not None else "partial" if end.failed else "complete"
        self.otel.lists.add(1, {**self.about, "stackone.export.state": state})
        self.otel.records.add(end.done, self.about)


class StackOneInstrumentor:
    """What `opentelemetry-instrument` loads; a program may call it itself.

    Clients made from then on have an `OpenTelemetry` observer, unless they are given one.
    """

    def instrument(self, **options: Any) -> None:
        """Begin.

        Args:
            **options: Those of `OpenTelemetry`; others are not looked at.
        """
        default_observers[:] = [OpenTelemetry(**{name: options[name] for name in _OPTIONS if name in options})]

    def uninstrument(self, **_: Any) -> None:
        """End: clients made from now on have none."""
        default_observers.clear()


_OPTIONS = ("accounts", "attempts", "propagate", "tracer_provider", "meter_provider")
