"""What an answer means: the decoded value, or a failure and what to do about it."""

from __future__ import annotations

import base64
import binascii
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
from .retry import parse_retry_after

R = TypeVar("R")

Scrub = Callable[[bytes], bytes]
"""Blots secrets out of what a server echoed."""


class Failure:
    """Why a request did not succeed.

    Attributes:
        error: What the caller gets, unless a retry helps.
        sent: Whether the server may have executed the request.
        most: How many retries it is worth; None for as many as the policy allows.
        throttled: Whether the server asks for less, or this machine cannot do more.
        key_wide: Whether it asks that of the whole API key, not only of the account.
        retry_after: Seconds that it asks to wait.
        fresh: Whether the connection may be out of step and must not be used again: what came is no answer of the API.
    """

    __slots__ = ("error", "fresh", "key_wide", "most", "retry_after", "sent", "throttled")

    def __init__(
        self,
        error: StackOneError,
        *,
        sent: bool = True,
        most: int | None = None,
        throttled: bool = False,
        key_wide: bool = False,
        retry_after: float | None = None,
    ) -> None:
        self.error, self.sent, self.most, self.throttled = error, sent, most, throttled
        self.key_wide, self.retry_after = key_wide, retry_after
        self.fresh = isinstance(error, UnexpectedResponseError)


def judge(
    operation: Operation[R],
    args: CallArguments,
    reply: Response,
    keep_unknown: bool,
    scrub: Scrub,
    wall: Callable[[], float],
) -> R | Failure:
    """Decode the answer, or say what is wrong with it."""
    status = reply.status
    if not 200 <= status < 300:
        return _refused(reply, scrub, wall) if status >= 400 else _odd_status(reply, scrub)
    body = reply.body
    if not body or body.isspace():
        if operation.method == "DELETE":
            return operation.decoder(b'{"statusCode":%d}' % status)
        error = UnexpectedResponseError(f"the answer is empty ({status})", **_about(reply, scrub), body=body)
        return Failure(error, most=0 if status == 204 else 1)
    if status == 204:
        error = UnexpectedResponseError("a 204 answer came with a body", **_about(reply, scrub), body=scrub(body))
        return Failure(error, most=0)
    try:
        answer = operation.decoder(body, keep_unknown=keep_unknown)
    except DecodeError as problem:
        failed = problem
    else:
        checked: Any = answer
        if operation.checks_id and checked.data.id == args.ids[-1]:
            return answer
        for error in _left_out(answer):
            error.body = scrub(error.body)
        wrong = _wrong(operation, args, reply, checked, scrub)
        if wrong is None and not (operation.checks_id and checked.data.id is None):
            return answer
        # An error object may pass for an answer: nearly every field of the models may be missing.
        return _error_inside(reply, scrub, wall) or wrong or answer
    return _error_inside(reply, scrub, wall) or _undecodable(reply, failed, scrub)


def _left_out(answer: Any) -> Sequence[DecodeError]:
    return cast("Page[Any]", answer).errors if isinstance(answer, Page) else ()


def _about(reply: Response, scrub: Scrub) -> dict[str, Any]:
    return {"status": reply.status, "request_id": _blotted(reply.headers.get("x-request-id"), scrub)}


def _blotted(text: str | None, scrub: Scrub) -> str | None:
    return None if text is None else scrub(text.encode("utf-8", "replace")).decode("utf-8", "replace")


def _error_inside(reply: Response, scrub: Scrub, wall: Callable[[], float]) -> Failure | None:
    body = scrub(reply.body)
    try:
        value = parse(body)
    except DecodeError:
        return None
    if not is_error(value):
        return None
    if reply.headers.get("Preference-Applied", "") == "heartbeat" or reply.body[:1].isspace():
        # With heartbeats the status line is sent before the result is known.
        return _refused(Response(value["statusCode"], reply.headers, reply.body), scrub, wall)
    message = f"an error ({value['statusCode']}) came as a success: {printable(str(value['message']))}"
    return Failure(UnexpectedResponseError(message, body=body, **_about(reply, scrub)), most=0)


def _undecodable(reply: Response, problem: DecodeError, scrub: Scrub) -> Failure:
    body = scrub(reply.body)
    try:
        parse(body)
    except DecodeError:
        # A cut answer may come whole the next time; one that is something else (a login page) will not.
        text = printable(body[:800].decode("utf-8", "replace"))
        error = DecodeError(
            f"{problem.message}; it begins: {text}", path=problem.path, body=body, **_about(reply, scrub)
        )
        return Failure(error, most=1 if unfinished(body) else 0)
    return Failure(DecodeError(problem.message, path=problem.path, body=body, **_about(reply, scrub)), most=0)


def _odd_status(reply: Response, scrub: Scrub) -> Failure:
    status, location = reply.status, _blotted(reply.headers.get("Location"), scrub)
    if 300 <= status < 400 and status != 304:
        shown = _plain_location(location)
        message = f"the server redirects ({status}) to {shown}" if shown else f"the server redirects ({status})"
        error: StackOneError = RedirectError(
            f"{message}; redirects are not followed", location=shown, **_about(reply, scrub)
        )
    else:
        error = UnexpectedResponseError(f"unexpected status {status}", **_about(reply, scrub))
    return Failure(error, most=0)


def _plain_location(location: str | None) -> str | None:
    if not location:
        return None
    try:
        parts = urlsplit(location)
        host = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname or ""
    except ValueError:
        return None
    return printable(f"{parts.scheme}://{host}{parts.path}" if parts.scheme else f"{host}{parts.path}") or None


_RETRIED = frozenset({408, 429, 500, 502, 503, 504})


def _refused(reply: Response, scrub: Scrub, wall: Callable[[], float]) -> Failure:
    status, body = reply.status, scrub(reply.body)
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
    kind = class_for(status, code)
    again = status in _RETRIED
    retry_after = parse_retry_after(reply.headers.get("Retry-After"), reply.headers.get("Date"), now=wall())
    error: APIStatusError = kind(
        _message(fields) or _reason(status),
        body=content,
        error_code=code,
        provider_errors=provider_errors,
        timestamp=_text(fields.get("timestamp")),
        retry_after=retry_after,
        retryable=again,
        **_about(reply, scrub),
    )
    return Failure(
        error,
        # A 429 was turned away before anything was done; any other error may come after the deed.
        sent=status != 429,
        most=None if again else 0,
        throttled=status in {429, 503},
        key_wide=status == 429 and not provider_errors,
        retry_after=retry_after,
    )


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


def _wrong(
    operation: Operation[Any], args: CallArguments, reply: Response, answer: Any, scrub: Scrub
) -> Failure | None:
    if not operation.checks_id:
        code = getattr(answer, "status_code", None) or 0
        return (
            Failure(UnexpectedResponseError(f"the answer says {code}", **_about(reply, scrub)), most=0)
            if code >= 400
            else None
        )
    asked = args.ids[-1]
    data = answer.data
    query = args.query
    narrowed = bool(query.get("fields")) if isinstance(query, Mapping) else "&fields=" in f"&{query}"
    if is_same_record(asked, data.id, data.remote_id, narrowed=narrowed):
        return None
    received = _blotted(data.id, scrub)
    error = IdMismatchError(
        f"{operation.name} asked for {asked!r:.100} and got {received!r:.100}",
        expected=asked,
        received=received,
        **_about(reply, scrub),
    )
    return Failure(error, most=1)


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
