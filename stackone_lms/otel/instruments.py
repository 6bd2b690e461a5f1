"""The instruments that metrics go to, and the tracer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final
from weakref import WeakKeyDictionary

from opentelemetry import context, metrics, trace

from .._version import __version__
from ..engine.observers import AttemptEnd
from ..engine.stats import Stats
from .attributes import Attempts, Attributes, Described, attributes_of

_OWN: Final = ("opentelemetry.trace", "opentelemetry.metrics")
_LOOK_EVERY: Final = 0.1
"""Seconds between two looks for an SDK, as long as there is none: each costs as much as a whole call may."""

_NOTHING: Final[Attributes] = {}
_SUPPRESS_HTTP: Final = getattr(context, "_SUPPRESS_HTTP_INSTRUMENTATION_KEY", "suppress_http_instrumentation")
"""Where instrumentations of HTTP clients, such as aiohttp's, look whether a request is told already."""
_SUPPRESS: Final = (
    getattr(context, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation"),
    "suppress_instrumentation",
)
"""Where all look whether anything is to be told (`opentelemetry.instrumentation.utils.suppress_instrumentation`)."""
_SCHEMA: Final = "https://opentelemetry.io/schemas/1.37.0"
_REQUEST_BOUNDARIES = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Those of the semantic conventions for `http.client.request.duration`."""
_CALL_BOUNDARIES = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)
"""With waits and retries; 300 seconds is the default limit of a call."""


class Clients:
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


_of_global_provider = Clients()
_of_providers: WeakKeyDictionary[metrics.MeterProvider, Clients] = WeakKeyDictionary()


def clients_of(provider: metrics.MeterProvider | None) -> Clients:
    """Return the clients of all observers that share a meter provider."""
    if provider is None or provider is metrics.get_meter_provider():
        return _of_global_provider
    return _of_providers.setdefault(provider, Clients())


class Instruments:
    """The tracer and the instruments of an observer, and what it was asked for.

    Args:
        accounts: Whether the ids of linked accounts are told.
        attempts: Which requests have spans.
        propagate: Whether requests carry the trace context.
        tracer_provider: None: the global one.
        meter_provider: None: the global one.
    """

    def __init__(
        self,
        accounts: bool,
        attempts: Attempts,
        propagate: bool,
        tracer_provider: trace.TracerProvider | None,
        meter_provider: metrics.MeterProvider | None,
    ) -> None:
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
        self.clients = clients_of(meter_provider)
        meter.create_observable_gauge(
            "stackone.client.rate_limit.utilization",
            [self.clients.utilization],
            "1",
            "Part of the client-side rate limit that was used in its last window, by the busiest client.",
        )
        self._look_at = 0.0
        self._suppressed = (context.Context(), context.Context())

    def wanted(self) -> bool:
        """Tell whether what begins is to be seen."""
        if not self.propagate and not self.listens():
            return False
        now = context.get_current()
        return not any(context.get_value(key, now) for key in _SUPPRESS)

    def listens(self) -> bool:
        """Tell whether anybody takes spans or metrics: without an SDK nobody does."""
        if not self.active and (now := time.monotonic()) >= self._look_at:
            self._look_at = now + _LOOK_EVERY
            # Providers of the API itself do nothing, or stand for one that is not there yet.
            providers = (trace.get_tracer_provider(), metrics.get_meter_provider())
            self.active = not all(type(provider).__module__.startswith(_OWN) for provider in providers)
        return self.active

    def of_account(self, account_id: str | None) -> Attributes:
        """Return what is said of an account."""
        return {"stackone.account_id": account_id} if self.accounts and account_id is not None else _NOTHING

    def count_request(
        self, described: Described, attempt: AttemptEnd, account: Attributes, inside: context.Context | None
    ) -> None:
        """Count a request, in whose span `inside` is."""
        about = attributes_of(described, attempt)
        self.request_duration.record(attempt.seconds, {**about, **account} if account else about, inside)
        if attempt.status == 429:
            self.throttled.add(1, {**described.call, **account}, inside)

    def suppressed(self) -> context.Context:
        """Return the current context, with word to those who watch the HTTP client below to leave a request alone."""
        base = context.get_current()
        seen, made = self._suppressed
        if seen is not base:  # mostly it is the same one, and making another costs
            made = context.set_value(_SUPPRESS_HTTP, True, base)
            self._suppressed = base, made
        return made
