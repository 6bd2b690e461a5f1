"""Logs of requests, and of the calls to the provider behind them."""

from __future__ import annotations

from typing import Any

from .base import DateTime, Model, Result


class LoggedUrl(Model, kw_only=True, frozen=True):
    """An address in parts."""

    SCHEMA = "LoggedRequestData.url"

    url: str | None = None
    """The whole address."""
    hostname: str | None = None
    """Its host."""
    path: str | None = None
    """Its path."""
    query_params: dict[str, Any] | None = None
    """Its query."""


class LoggedRequest(Model, kw_only=True, frozen=True):
    """A request, with `include="advanced_logs"`."""

    SCHEMA = "LoggedRequestData"

    id: str | None = None
    """Id of the request."""
    method: str | None = None
    """HTTP method."""
    url: LoggedUrl | None = None
    """Where it went."""
    headers: dict[str, Any] | None = None
    """Its headers."""
    body: Any = None
    """Its body."""


class ProviderError(Model, kw_only=True, frozen=True):
    """What a provider said was wrong."""

    status: float | None = None
    """HTTP status of the provider."""
    url: str | None = None
    """Where it was asked."""
    raw: Any = None
    """Its answer."""
    headers: dict[str, Any] | None = None
    """The headers of its answer."""


class LoggedResponse(Model, kw_only=True, frozen=True):
    """An answer, with `include="advanced_logs"`."""

    SCHEMA = "LoggedResponseData"

    status_code: float | None = None
    """HTTP status."""
    headers: dict[str, Any] | None = None
    """Its headers."""
    body: Any = None
    """Its body."""
    provider_errors: list[ProviderError] | None = None
    """What the provider said was wrong."""
    custom_mapping_errors: list[dict[str, Any]] | None = None
    """What was wrong in your own field mapping."""


class Logged(Model, kw_only=True, frozen=True):
    """What the logs of requests and of their steps have in common."""

    request_id: str | None = None
    """The `x-request-id` of the request."""
    account_id: str | None = None
    """The linked account."""
    project_id: str | None = None
    """Your project."""
    provider: str | None = None
    """Key of the provider."""
    service: str | None = None
    """The API, such as `lms`."""
    resource: str | None = None
    """What was asked for, such as `users`."""
    child_resource: str | None = None
    """What below it."""
    sub_resource: str | None = None
    """What below that, such as `completions`."""
    action: str | None = None
    """What was done, such as `list`."""
    http_method: str | None = None
    """HTTP method."""
    url: str | None = None
    """Where the request went."""
    path: str | None = None
    """The path of it."""
    status: float | None = None
    """HTTP status."""
    success: bool | None = None
    """Whether it succeeded; None while the work goes on."""
    start_time: DateTime | None = None
    """When it began."""
    end_time: DateTime | None = None
    """When it was over; None while the work goes on."""
    duration: float | None = None
    """Milliseconds that it took."""
    is_worker: bool | None = None
    """Whether it was done in the background."""
    source_ip: str | None = None
    """Where it came from."""
    request: LoggedRequest | None = None
    """The request, with `include="advanced_logs"`."""
    response: LoggedResponse | None = None
    """The answer, with `include="advanced_logs"`."""


class StepLog(Logged, kw_only=True, frozen=True):
    """One call to the provider."""

    id: str | None = None
    """Id of the call."""


class RequestLog(Logged, kw_only=True, frozen=True):
    """One request to the API."""

    SCHEMA = "UnifiedLogs"

    event_datetime: DateTime | None = None
    """When it came."""
    source_type: str | None = None
    """What sent it, such as an API key."""
    source_value: str | None = None
    """Which one."""
    source_id: str | None = None
    """Id of that."""
    step_requests: list[StepLog] | None = None
    """The calls to the provider, where they were asked for (`include=`)."""


class RequestLogResult(Result[RequestLog], kw_only=True, frozen=True):
    """The log of one request."""

    SCHEMA = "UnifiedLogResult"
