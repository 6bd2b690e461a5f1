"""Single calls, as OpenTelemetry sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry import context, propagate, trace

from ..engine.observers import AttemptEnd, CallEnd, CallObserver, CallStart, RetryScheduled, WaitEnd
from ..errors import APITimeoutError
from .attributes import Attributes, Described, error_type, fail, outcome_of
from .instruments import Instruments


class ObservedCall(CallObserver):
    """What single calls and those of bulk fetches share."""

    _token: Any = None
    _call_token: Any = None
    # The contexts of the call and of its request are kept: whoever is handed none looks for the current one, often.
    _inside: context.Context | None = None
    _sent_in: context.Context | None = None
    _current: trace.Span | None = None
    """The span that the call belongs to, if it is the current one anyway."""

    def __init__(self, instruments: Instruments, call: CallStart, described: Described) -> None:
        self._instruments, self._described = instruments, described
        account = self._account = instruments.of_account(call.account_id)
        self._about = {**described.call, **account} if account else described.call

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
        elif not self._instruments.propagate:
            self._current = span  # there is nothing of it to be found in a context

    def _enter(self, span: trace.Span) -> Mapping[str, str] | None:
        """Let the request be told once: not again by who watches the HTTP client below. Return headers for it."""
        inside = self._instruments.suppressed()
        if span is not self._current:
            inside = trace.set_span_in_context(span, inside)
        self._sent_in, self._token = inside, context.attach(inside)
        if not self._instruments.propagate:
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
        """Record a wait."""
        about = {**self._described.call, "stackone.wait.reason": wait.reason, **self._account}
        self._instruments.wait_duration.record(wait.seconds, about, self._inside)

    def ended(self, call: CallEnd, /) -> None:
        """Record how long the call took."""
        about = self._about
        if call.error is not None:
            about = {**about, "error.type": error_type(call.error)}
        self._instruments.call_duration.record(call.seconds, about, self._inside)
        if self._call_token is not None and not isinstance(call.error, GeneratorExit):
            context.detach(self._call_token)


class SingleCall(ObservedCall):
    """A single call."""

    def __init__(self, instruments: Instruments, call: CallStart, described: Described) -> None:
        super().__init__(instruments, call, described)
        self._span = self._attempt = instruments.tracer.start_span(described.span, attributes=self._about)
        self._recording = self._span.is_recording()
        self._belong_to(self._span)

    def waited(self, wait: WaitEnd, /) -> None:
        """Note a wait."""
        super().waited(wait)
        if self._recording:
            about: Attributes = {"stackone.wait.reason": wait.reason, "stackone.wait.duration": wait.seconds}
            self._span.add_event("stackone.wait", about)

    def attempt_started(self, number: int, /) -> Mapping[str, str] | None:
        """Begin the span of a request."""
        self._attempt = self._span
        if self._recording and self._instruments.attempts != "none":
            about = self._described.request
            if number > 1:
                about = {**about, "http.request.resend_count": number - 1}
            self._attempt = self._instruments.tracer.start_span(
                self._described.request_span, self._inside, trace.SpanKind.CLIENT, {**about, **self._account}
            )
        return self._enter(self._attempt)

    def attempt_ended(self, attempt: AttemptEnd, /) -> None:
        """End the span of a request."""
        self._leave(attempt.error)
        self._instruments.count_request(self._described, attempt, self._account, self._sent_in)
        if self._attempt is not self._span:
            end_request(self._attempt, attempt)

    def retrying(self, retry: RetryScheduled, /) -> None:
        """Note that there will be another request."""
        if self._recording:
            about: Attributes = {"error.type": error_type(retry.error), "stackone.retry.delay": retry.pause}
            self._span.add_event("stackone.retry", about)

    def ended(self, call: CallEnd, /) -> None:
        """End the span of the call."""
        super().ended(call)
        if self._recording:
            self._span.set_attribute("stackone.attempts", call.attempts)
            if call.error is not None:
                fail(self._span, call.error)
        self._span.end()


def end_request(span: trace.Span, attempt: AttemptEnd, at: int | None = None) -> None:
    """End the span of a request, now or at a time in nanoseconds."""
    ended = outcome_of(attempt)
    if attempt.request_id is not None:
        ended["stackone.request_id"] = attempt.request_id
    if "error.type" in ended:
        span.set_status(trace.StatusCode.ERROR)
    if isinstance(attempt.error, APITimeoutError):
        ended["stackone.timeout.phase"] = attempt.error.phase
    span.set_attributes(ended)
    span.end(at)
