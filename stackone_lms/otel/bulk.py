"""Bulk fetches and exports, as OpenTelemetry sees them: a span for the whole, none for its requests."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping

from opentelemetry import context, trace

from ..engine.observers import (
    AttemptEnd,
    BulkEnd,
    BulkObserver,
    BulkStart,
    CallObserver,
    CallStart,
    ExportEnd,
    ExportObserver,
    ExportStart,
    WaitEnd,
)
from .attributes import Attributes, describe, error_type, fail
from .calls import ObservedCall, end_request
from .instruments import Instruments


class BulkFetch(BulkObserver):
    """A bulk fetch, or a list of an export."""

    def __init__(
        self, instruments: Instruments, bulk: BulkStart, span: str, about: Attributes, parent: context.Context
    ) -> None:
        self.instruments, self.about = instruments, {**about, **instruments.of_account(bulk.account_id)}
        self.span = instruments.tracer.start_span(span, parent, attributes=self.about)
        self.recording = self.span.is_recording()
        self.inside = trace.set_span_in_context(self.span, parent)
        self.counts: Counter[str] = Counter()
        self.waited: defaultdict[str, float] = defaultdict(float)
        self._accounts, self._total = bulk.accounts, bulk.total

    def call_started(self, call: CallStart, /) -> CallObserver | None:
        """Look at a call of it: it has no span."""
        return BulkCall(self, call) if self.instruments.wanted() else None

    def ended(self, end: BulkEnd, /) -> None:
        """End its span."""
        about = self.about
        if end.error is not None:
            about = {**about, "error.type": error_type(end.error)}
        self.record(end, about)
        if self.recording:
            numbers: Attributes = {
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
                fail(self.span, end.error)
        self.span.end()

    def record(self, end: BulkEnd, about: Attributes) -> None:
        """Record how long it took."""
        self.instruments.call_duration.record(end.seconds, about)


class BulkCall(ObservedCall):
    """A call of a bulk fetch."""

    def __init__(self, bulk: BulkFetch, call: CallStart) -> None:
        super().__init__(bulk.instruments, call, describe(call))
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
        self._instruments.count_request(self._described, attempt, self._account, self._sent_in)
        failed = attempt.error is not None or (attempt.status or 0) >= 400
        if failed and self._instruments.attempts == "calls+failed" and self._bulk.recording:
            about = {**self._described.request, **self._account}
            if attempt.number > 1:
                about["http.request.resend_count"] = attempt.number - 1
            span = self._instruments.tracer.start_span(
                self._described.request_span,
                self._bulk.inside,
                trace.SpanKind.CLIENT,
                about,
                start_time=self._sent_at,
            )
            end_request(span, attempt, self._sent_at + int(attempt.seconds * 1e9))


class ExportRun(ExportObserver):
    """An export."""

    def __init__(self, instruments: Instruments, export: ExportStart) -> None:
        self._instruments = instruments
        about = {"stackone.accounts": export.accounts, "stackone.lists": export.lists}
        self._span = instruments.tracer.start_span("stackone export", attributes=about)
        self._inside = trace.set_span_in_context(self._span)

    def list_started(self, list: BulkStart, /) -> BulkObserver | None:
        """Begin the span of a list."""
        return ExportedList(self._instruments, list, self._inside)

    def ended(self, end: ExportEnd, /) -> None:
        """End its span."""
        self._span.set_attributes(
            {"stackone.done": end.lists, "stackone.failed": end.failed, "stackone.records": end.records}
        )
        if end.error is not None:
            fail(self._span, end.error)
        self._span.end()


class ExportedList(BulkFetch):
    """A list of an export."""

    def __init__(self, instruments: Instruments, list: BulkStart, parent: context.Context) -> None:
        resource = list.operation.removesuffix(".list")
        super().__init__(instruments, list, f"stackone export {resource}", {"stackone.resource": resource}, parent)

    def record(self, end: BulkEnd, about: Attributes) -> None:
        """Count it, and its records."""
        state = "partial" if end.failed else "complete"
        if end.error is not None:
            state = "failed" if isinstance(end.error, Exception) else "cancelled"
        self.instruments.lists.add(1, {**self.about, "stackone.export.state": state})
        self.instruments.records.add(end.done, self.about)
