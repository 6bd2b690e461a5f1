"""What an answer means: the decoded value, or a failure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

from ..calls.operation import CallArguments, Operation
from ..errors import (
    APIStatusError,
    DecodeError,
    IdMismatchError,
    RedirectError,
    StackOneError,
    UnexpectedResponseError,
    class_for,
    printable,
)
from ..logs import log
from ..models.base import Page
from ..models.decode import is_error, unfinished
from ..safe_json import parse
from ..transport.base import Response
from .identity import compare, goes_by
from .retry import AttemptFailure, parse_retry_after, status_failure

R = TypeVar("R")

Redact = Callable[[bytes], bytes]
"""Takes secrets out of what a server echoed."""


def parse_response(
    operation: Operation[R],
    args: CallArguments,
    response: Response,
    keep_unknown: bool,
    redact: Redact,
    wall: Callable[[], float],
    doubt: Callable[[str, str, str], None] | None,
) -> R | AttemptFailure:
    """Decode the answer, or say what is wrong with it.

    Args:
        operation: What was asked.
        args: With what.
        response: What came.
        keep_unknown: Keep fields that the models do not declare.
        redact: Takes the key out of what is shown.
        wall: Seconds since the epoch.
        doubt: Told the operation, the id asked for and the one that came, where they may be of two records; None if ids
            are not compared.
    """
    status = response.status
    if not 200 <= status < 300:
        return _status_error(response, redact, wall) if status >= 400 else _odd_status(response, redact)
    if operation.secret:
        redact = _hide
    body = response.body
    if not body or body.isspace():
        if operation.may_be_empty:
            return operation.decoder(b"")
        if operation.method == "DELETE":
            return operation.decoder(b'{"statusCode":%d}' % status)
        error = UnexpectedResponseError(f"the answer is empty ({status})", **_unexpected(response, redact))
        return AttemptFailure(error=error, garbled=status != 204)
    if status == 204:
        error = UnexpectedResponseError("a 204 answer came with a body", **_unexpected(response, redact))
        return AttemptFailure(error=error)
    try:
        answer = operation.decoder(body, keep_unknown=keep_unknown)
    except DecodeError as problem:
        refused = problem
    else:
        decoded: Any = answer
        if decoded.__dict__ and decoded.problems:  # an answer that was read as it is has nothing beside its fields
            log.warning(
                "%s: %s",
                operation.name,
                _redacted("; ".join(decoded.problems), redact),
                extra={"operation": operation.name},
            )
        if operation.checks_id and decoded.data.id == args.ids[-1]:
            return answer
        for error in _left_out(answer):
            error.body = redact(error.body)
        if operation.may_be_empty:
            return _error_inside(response, redact, wall) or answer
        failure = _check_answer(operation, args, response, decoded, redact, doubt)
        if failure is None and not (operation.checks_id and decoded.data.id is None):
            return answer
        # An error object may pass for an answer: nearly every field of the models may be missing.
        return _error_inside(response, redact, wall) or failure or answer
    return _error_inside(response, redact, wall) or _undecodable(response, refused, redact)


def _hide(text: bytes) -> bytes:
    return b""


def _left_out(answer: Any) -> Sequence[DecodeError]:
    return cast("Page[Any]", answer).errors if isinstance(answer, Page) else ()


def about(response: Response, redact: Redact) -> dict[str, Any]:
    """Return status, request id and headers of an answer, without secrets."""
    return {
        "status": response.status,
        "request_id": request_id_of(response, redact),
        "headers": {name.lower(): _redacted(value, redact) for name, value in response.headers.items()},
    }


def request_id_of(response: Response, redact: Redact) -> str | None:
    """Return the id that StackOne gave the request of an answer, without secrets."""
    return _redacted(response.headers.get("x-request-id"), redact)


def _unexpected(response: Response, redact: Redact) -> dict[str, Any]:
    return {**about(response, redact), "body": redact(response.body)}


def _redacted(text: str | None, redact: Redact) -> str | None:
    return None if text is None else redact(text.encode("utf-8", "replace")).decode("utf-8", "replace")


def _error_inside(response: Response, redact: Redact, wall: Callable[[], float]) -> AttemptFailure | None:
    body = redact(response.body)
    try:
        value = parse(body)
    except DecodeError:
        return None
    if not is_error(value):
        return None
    if response.headers.get("Preference-Applied", "") == "heartbeat" or response.body[:1].isspace():
        # With heartbeats the status line is sent before the result is known.
        return _status_error(Response(value["statusCode"], response.headers, response.body), redact, wall)
    message = f"an error ({value['statusCode']}) came as a success: {printable(str(value['message']))}"
    return AttemptFailure(error=UnexpectedResponseError(message, **_unexpected(response, redact)))


def _undecodable(response: Response, problem: DecodeError, redact: Redact) -> AttemptFailure:
    body = redact(response.body)
    details: dict[str, Any] = {"path": problem.path, **about(response, redact), "body": body}
    try:
        parse(body)
    except DecodeError:
        # A cut answer may come whole the next time; one that is something else (a login page) will not.
        text = printable(body[:800].decode("utf-8", "replace"))
        return AttemptFailure(
            error=DecodeError(f"{problem.message}; it begins: {text}", **details), garbled=unfinished(body)
        )
    return AttemptFailure(error=DecodeError(problem.message, **details))


def _odd_status(response: Response, redact: Redact) -> AttemptFailure:
    status, location = response.status, _redacted(response.headers.get("Location"), redact)
    if 300 <= status < 400 and status != 304:
        shown = _plain_location(location)
        message = f"the server redirects ({status}) to {shown}" if shown else f"the server redirects ({status})"
        error: StackOneError = RedirectError(
            f"{message}; redirects are not followed", location=shown, **_unexpected(response, redact)
        )
    else:
        error = UnexpectedResponseError(f"unexpected status {status}", **_unexpected(response, redact))
    return AttemptFailure(error=error)


def _plain_location(location: str | None) -> str | None:
    if not location:
        return None
    try:
        parts = urlsplit(location)
        host = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname or ""
    except ValueError:
        return None
    return printable(f"{parts.scheme}://{host}{parts.path}" if parts.scheme else f"{host}{parts.path}") or None


def _status_error(response: Response, redact: Redact, wall: Callable[[], float]) -> AttemptFailure:
    status, body = response.status, redact(response.body)
    content: Any
    try:
        content = parse(body)
    except DecodeError:
        content = body.decode("utf-8", "replace")
    fields = cast("dict[str, Any]", content) if isinstance(content, dict) else {}
    code = _text(fields.get("errorCode")) or _text(fields.get("error_code"))
    given: Any = fields.get("provider_errors") or fields.get("providerErrors")
    provider_errors: list[dict[str, Any]] = []
    if isinstance(given, list):
        provider_errors += [e for e in cast("list[Any]", given) if isinstance(e, dict)]
    headers = response.headers
    error: APIStatusError = class_for(status, code)(
        _message(fields) or _reason(status),
        body=content,
        error_code=code,
        provider_errors=provider_errors,
        timestamp=_text(fields.get("timestamp")),
        retry_after=parse_retry_after(headers.get("Retry-After"), headers.get("Date"), now=wall()),
        **about(response, redact),
    )
    return status_failure(error, key_wide=not provider_errors)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _message(fields: Mapping[str, Any]) -> str | None:
    message, listed = _text(fields.get("message")), fields.get("errors")
    details = [e for e in cast("list[Any]", listed) if isinstance(e, str)][:3] if isinstance(listed, list) else []
    return ": ".join(filter(None, [message, "; ".join(details)])) or None


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"status {status}"


def _check_answer(
    operation: Operation[Any],
    args: CallArguments,
    response: Response,
    answer: Any,
    redact: Redact,
    doubt: Callable[[str, str, str], None] | None,
) -> AttemptFailure | None:
    if operation.checks_id:
        return None if doubt is None else _check_identity(operation, args, response, answer, redact, doubt)
    code = getattr(answer, "status_code", None) or 0
    if code < 400:
        return None
    return AttemptFailure(error=UnexpectedResponseError(f"the answer says {code}", **_unexpected(response, redact)))


def _check_identity(
    operation: Operation[Any],
    args: CallArguments,
    response: Response,
    answer: Any,
    redact: Redact,
    doubt: Callable[[str, str, str], None],
) -> AttemptFailure | None:
    asked, record = args.ids[-1], answer.data
    found = compare(asked, record.id, record.remote_id)
    if found in {"same", "unknown"} or goes_by(asked, record):
        return None
    if found == "doubtful":
        doubt(operation.name, asked, cast("str", _redacted(record.id, redact)))
        return None
    received = _redacted(record.id, redact)
    details = _unexpected(response, redact)
    if details["body"] != response.body:  # the key came back in it
        try:
            answer = operation.decoder(details["body"])
        except DecodeError:
            answer = None
    message = f"asked for {asked!r:.100} and got {received!r:.100}"
    return AttemptFailure(
        error=IdMismatchError(message, expected=asked, received=received, result=answer, **details), garbled=True
    )
