"""What the log and the errors say of a call."""

from __future__ import annotations

from typing import Any

from ..calls.operation import Operation
from ..errors import APITimeoutError, Attempt, DecodeError, StackOneError, printable
from ..logs import log
from ..transport.base import Request, Response
from .retry import AttemptFailure
from .settings import Settings


def _fields(
    settings: Settings, operation: Operation[Any], request: Request, attempt: int, status: int | None
) -> dict[str, Any]:
    """Return what a record of the log says of an attempt, by the names of the attributes of errors."""
    return {
        "operation": operation.name,
        "account_id": settings.account_id,
        "method": request.method,
        "path": request.path,
        "attempt": attempt,
        "status": status,
    }


def log_attempt(
    settings: Settings,
    operation: Operation[Any],
    request: Request,
    attempt: int,
    response: Response | None,
    outcome: Any,
) -> None:
    """Log what came of a request."""
    if response is not None:
        came = str(response.status)
    elif isinstance(outcome.error, APITimeoutError):
        came = f"timeout ({outcome.error.phase})"
    else:
        came = repr(outcome.error)
    extra = _fields(settings, operation, request, attempt, None if response is None else response.status)
    if isinstance(outcome, AttemptFailure):
        extra["error"] = type(outcome.error).__name__
    log.debug("%s %s attempt %d: %s", request.method, request.path, attempt, came, extra=extra)


def log_retry(
    settings: Settings,
    operation: Operation[Any],
    request: Request,
    attempt: int,
    error: StackOneError,
    delay: float,
) -> None:
    """Log that a call is tried again."""
    log.info(
        "retrying %s of account %s in %.2f s after %s",
        operation.name,
        printable(str(settings.account_id)),
        delay,
        type(error).__name__,
        extra={
            **_fields(settings, operation, request, attempt, error.status),
            "error": type(error).__name__,
            "pause": delay,
        },
    )


def annotate(
    error: StackOneError,
    settings: Settings,
    operation: Operation[Any],
    request: Request,
    tried: list[Attempt],
    elapsed: float,
) -> None:
    """Say in an error where it happened."""
    if len(tried) < error.attempts:  # the last one was ended from outside: by the deadline, or as the client was closed
        tried.append(Attempt(None, type(error).__name__, None))
    error.operation, error.account_id, error.method = operation.name, settings.account_id, request.method
    error.request_path, error.elapsed, error.attempt_log = request.path, elapsed, tuple(tried)
    if not isinstance(error, DecodeError):  # whose path is the one in the document
        error.path = request.path
