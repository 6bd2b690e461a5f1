"""What spans and metrics say of calls: names of operations, and attributes by the semantic conventions."""

from __future__ import annotations

import functools
from typing import Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from opentelemetry import trace

from ..engine.observers import AttemptEnd, CallStart
from ..errors import APITimeoutError

Attempts: TypeAlias = Literal["calls", "calls+failed", "none"]
"""Which requests have spans."""
Attributes: TypeAlias = dict[str, str | int | float]


class Described(NamedTuple):
    """What is the same for all calls of an operation."""

    name: str
    span: str
    request_span: str
    call: Attributes
    """Of its calls."""
    request: Attributes
    """Of its requests."""
    answered: dict[int, Attributes]
    """Of its requests that were answered, by the status."""


@functools.lru_cache(maxsize=256)
def _describe(operation: str, method: str, template: str | None, base_url: str) -> Described:
    url = urlsplit(base_url)
    request: Attributes = {
        "http.request.method": method,
        "server.address": url.hostname or "",
        "server.port": url.port or (443 if url.scheme == "https" else 80),
    }
    name, request_span = "request", method
    if template is not None:
        name, request_span = operation, f"{method} {template}"
        request["url.template"] = template
    return Described(name, f"stackone {name}", request_span, {"stackone.operation": name}, request, {})


def describe(call: CallStart) -> Described:
    """Return what is the same for all calls of the operation of a call."""
    # The operation of a request of the caller's own is its path, which may hold ids: it would make too many of these.
    operation = call.operation if call.path_template is not None else ""
    return _describe(operation, call.method, call.path_template, call.base_url)


def outcome_of(attempt: AttemptEnd) -> Attributes:
    """Return how a request ended."""
    if attempt.status is not None:
        about: Attributes = {"http.response.status_code": attempt.status}
        return {**about, "error.type": str(attempt.status)} if attempt.status >= 400 else about
    return {} if attempt.error is None else {"error.type": error_type(attempt.error)}


def attributes_of(described: Described, attempt: AttemptEnd) -> Attributes:
    """Return what is said of a request that is over: attributes that are kept, and must not be changed."""
    if attempt.status is None:
        return {**described.request, **outcome_of(attempt)}
    about = described.answered.get(attempt.status)
    if about is None:
        about = described.answered[attempt.status] = {**described.request, **outcome_of(attempt)}
    return about


def error_type(error: BaseException) -> str:
    """Return what is said of an error: its class. Messages may name records and accounts."""
    return type(error).__name__


def fail(span: trace.Span, error: BaseException) -> None:
    """Mark a span as failed."""
    span.set_status(trace.StatusCode.ERROR)
    span.set_attribute("error.type", error_type(error))
    if isinstance(error, APITimeoutError):
        span.set_attribute("stackone.timeout.phase", error.phase)
