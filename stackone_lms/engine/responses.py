"""What an answer means: the decoded value, or a failure."""

from __future__ import annotations

import base64
import binascii
import logging
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
from ..models.base import Page
from ..models.decode import is_error, unfinished
from ..safe_json import parse
from ..transport.base import Response
from .retry import Failure, parse_retry_after, status_failure

log = logging.getLogger("stackone_lms")

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
) -> R | Failure:
    """Decode the answer, or say what is wrong with it."""
    status = response.status
    if not 200 <= status < 300:
        return _status_error(response, redact, wall) if status >= 400 else _odd_status(response, redact)
    body = response.body
    if not body or body.isspace():
        if operation.method == "DELETE":
            return operation.decoder(b'{"statusCode":%d}' % status)
        error = UnexpectedResponseError(f"the answer is empty ({status})", **_about(response, redact), body=body)
        return Failure(error=error, garbled=status != 204)
    if status == 204:
        error = UnexpectedResponseError("a 204 answer came with a body", **_about(response, redact), body=redact(body))
        return Failure(error=error)
    try:
        answer = operation.decoder(body, keep_unknown=keep_unknown)
    except DecodeError as problem:
        refused = problem
    else:
        decoded: Any = answer
        if decoded.problems:
            log.warning("%s: %s", operation.name, "; ".join(decoded.problems))
        if operation.checks_id and decoded.data.id == args.ids[-1]:
            return answer
        for error in _left_out(answer):
            error.body = redact(error.body)
        failure = _check_answer(operation, args, response, decoded, redact)
        if failure is None and not (operation.checks_id and decoded.data.id is None):
            return answer
        # An error object may pass for an answer: nearly every field of the models may be missing.
        return _error_inside(response, redact, wall) or failure or answer
    return _error_inside(response, redact, wall) or _undecodable(response, refused, redact)


def _left_out(answer: Any) -> Sequence[DecodeError]:
    return cast("Page[Any]", answer).errors if isinstance(answer, Page) else ()


def _about(response: Response, redact: Redact) -> dict[str, Any]:
    return {"status": response.status, "request_id": _redacted(response.headers.get("x-request-id"), redact)}


def _redacted(text: str | None, redact: Redact) -> str | None:
    return None if text is None else redact(text.encode("utf-8", "replace")).decode("utf-8", "replace")


def _error_inside(response: Response, redact: Redact, wall: Callable[[], float]) -> Failure | None:
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
    return Failure(error=UnexpectedResponseError(message, body=body, **_about(response, redact)))


def _undecodable(response: Response, problem: DecodeError, redact: Redact) -> Failure:
    body = redact(response.body)
    details = {"path": problem.path, "body": body, **_about(response, redact)}
    try:
        parse(body)
    except DecodeError:
        # A cut answer may come whole the next time; one that is something else (a login page) will not.
        text = printable(body[:800].decode("utf-8", "replace"))
        return Failure(error=DecodeError(f"{problem.message}; it begins: {text}", **details), garbled=unfinished(body))
    return Failure(error=DecodeError(problem.message, **details))


def _odd_status(response: Response, redact: Redact) -> Failure:
    status, location = response.status, _redacted(response.headers.get("Location"), redact)
    if 300 <= status < 400 and status != 304:
        shown = _plain_location(location)
        message = f"the server redirects ({status}) to {shown}" if shown else f"the server redirects ({status})"
        error: StackOneError = RedirectError(
            f"{message}; redirects are not followed", location=shown, **_about(response, redact)
        )
    else:
        error = UnexpectedResponseError(f"unexpected status {status}", **_about(response, redact))
    return Failure(error=error)


def _plain_location(location: str | None) -> str | None:
    if not location:
        return None
    try:
        parts = urlsplit(location)
        host = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname or ""
    except ValueError:
        return None
    return printable(f"{parts.scheme}://{host}{parts.path}" if parts.scheme else f"{host}{parts.path}") or None


def _status_error(response: Response, redact: Redact, wall: Callable[[], float]) -> Failure:
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
        **_about(response, redact),
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
    operation: Operation[Any], args: CallArguments, response: Response, answer: Any, redact: Redact
) -> Failure | None:
    if operation.checks_id:
        return _check_identity(operation, args, response, answer.data, redact)
    code = getattr(answer, "status_code", None) or 0
    if code < 400:
        return None
    return Failure(error=UnexpectedResponseError(f"the answer says {code}", **_about(response, redact)))


def _check_identity(
    operation: Operation[Any], args: CallArguments, response: Response, record: Any, redact: Redact
) -> Failure | None:
    asked, query = args.ids[-1], args.query
    narrowed = bool(query.get("fields")) if isinstance(query, Mapping) else "&fields=" in f"&{query}"
    if is_same_record(asked, record.id, record.remote_id, narrowed=narrowed):
        return None
    received = _redacted(record.id, redact)
    error = IdMismatchError(
        f"{operation.name} asked for {asked!r:.100} and got {received!r:.100}",
        expected=asked,
        received=received,
        **_about(response, redact),
    )
    return Failure(error=error, garbled=True)


_STACKONE_ID = "c28xIQ"  # base64url("so1!"), with which every id of StackOne's own begins


def is_same_record(asked: str, id: str | None, remote_id: str | None, *, narrowed: bool) -> bool:
    """Tell whether an answer can be about the record asked for.

    Providers' own ids are accepted wherever StackOne's are; then the answer has StackOne's in `id`, which holds the
    provider's, and the provider's in `remote_id`. With `fields` either may be missing.
    """
    if asked in (id, remote_id):
        return True
    if id is not None and _inner_id(id) == f"id:{asked}":
        return True
    if not narrowed:
        return False
    return (
        id is None
        if asked.startswith(_STACKONE_ID)
        else remote_id is None and (id is None or id.startswith(_STACKONE_ID))
    )


def _inner_id(id: str) -> str | None:
    if not id.startswith(_STACKONE_ID):
        return None
    try:
        packed = id[len(_STACKONE_ID) :]
        return base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)).decode()
    except (binascii.Error, ValueError):
        return None
