"""What must hold for any input at all: run by hypothesis in the suite, and by a coverage-guided fuzzer by hand."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast
from urllib.parse import parse_qsl, unquote

from multidict import CIMultiDict

from stackone_lms.api.operations import operations
from stackone_lms.calls.operation import CallArguments, Operation, encode_id
from stackone_lms.calls.query import encode_query
from stackone_lms.configuration import redactor
from stackone_lms.engine.responses import parse_response
from stackone_lms.engine.retry import AttemptFailure, backoff, max_retries, parse_retry_after
from stackone_lms.errors import DecodeError, InvalidArgumentError, StackOneError
from stackone_lms.models.base import Answer, Page
from stackone_lms.options import RetryPolicy
from stackone_lms.transport import Response

KEY = "fuzzed-key-0a1b"
OPERATIONS: tuple[Operation[Any], ...] = tuple(declared.operation for declared in operations())
ASKED = "c28xIQaWQ6MQ"
"""The id that was asked for."""

_scrub = redactor(KEY)


def _now() -> float:
    return 1_700_000_000.0


def check_presentable(error: StackOneError) -> None:
    """It prints on one short line, pickles, and shows no secret."""
    text = str(error)
    assert text.isprintable()
    assert len(text) < 1200
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (type(error), text)
    shown = text + repr(error) + repr(vars(error))
    assert KEY not in shown


def _no_doubt(*_: object) -> None:
    pass


def check_answer(
    operation: Operation[Any], status: int, headers: Mapping[str, str], body: bytes, *, keep_unknown: bool = False
) -> None:
    """Any answer at all is either decoded or a failure of the package's own."""
    reply = Response(status, CIMultiDict(headers), body)
    args = CallArguments((ASKED,) * operation.arity)
    verdict = parse_response(operation, args, reply, keep_unknown, _scrub, _now, _no_doubt)
    if isinstance(verdict, AttemptFailure):
        assert isinstance(verdict.error, StackOneError)
        check_presentable(verdict.error)
        retry_after = getattr(verdict.error, "retry_after", None)
        assert retry_after is None or retry_after >= 0
        assert max_retries(verdict) in {0, 1, math.inf}
        return
    assert 200 <= status < 300
    assert isinstance(verdict, Answer)
    decoded: Any = verdict
    if isinstance(decoded, Page):
        for error in decoded.errors:
            check_presentable(error)
        assert all(item is not None for item in cast("Page[Any]", decoded).data)
    with suppress(DecodeError):
        _ = getattr(cast("Answer", decoded), "raw", None)
    pickle.loads(pickle.dumps(decoded))


def check_retry_after(value: str, date: str | None) -> None:
    """It is a number of seconds that can be waited for or refused, or nothing."""
    seconds = parse_retry_after(value, date, now=_now())
    if seconds is not None:
        assert seconds >= 0
        assert math.isfinite(seconds) or sum(map(str.isdecimal, value.partition(".")[0])) > 10
    if value.isascii() and value.isdecimal() and len(value) <= 10:
        assert seconds == int(value)
    pause = backoff(RetryPolicy(), 1 + len(value), throttled=True, random=lambda: 1.0)
    assert 0 <= pause <= RetryPolicy().throttle_cap


def check_id(id: str) -> None:
    """It is refused, or becomes one path segment that decodes to it."""
    try:
        segment = encode_id(id)
    except InvalidArgumentError as error:
        check_presentable(error)
        return
    assert segment.isascii()
    assert segment.isprintable()
    assert not set(segment) & set('/?#\\ ;&=+"<>')
    assert segment not in {"", ".", ".."}
    assert unquote(segment, errors="strict") == id


def flattened(prefix: str, value: Any) -> list[tuple[str, str]]:
    """Return the pairs that a `proxy` of strings, lists and mappings stands for, as the documentation has it."""
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return [pair for key, inner in members.items() for pair in flattened(f"{prefix}[{key}]", inner)]
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return [pair for item in items for pair in flattened(prefix, item)]
    return [] if value is None else [(prefix, value)]


def check_query(proxy: dict[str, Any]) -> None:
    """It is refused, or a server that decodes it finds exactly what was given."""
    try:
        query = encode_query({"proxy": proxy})
    except InvalidArgumentError as error:
        check_presentable(error)
        return
    assert query.isascii()
    assert not set(query) & set(' #?[]\r\n\t"<>\\^`{|}')
    assert parse_qsl(query, keep_blank_values=True, errors="strict") == flattened("proxy", proxy)


def check_cursor(cursor: str) -> None:
    """A cursor comes back to the server as it was given."""
    try:
        query = encode_query({"next": cursor})
    except InvalidArgumentError as error:
        check_presentable(error)
        return
    assert parse_qsl(query, keep_blank_values=True, errors="strict") == [("next", cursor)]


def good_answer(operation: Operation[Any]) -> bytes:
    """Return an answer that the operation accepts."""
    record = {
        "id": ASKED,
        "remote_id": "1",
        "name": "a name",
        "updated_at": "2021-07-21T14:00:00.000Z",
        "result": {"value": "Pass", "source_value": 1},
        "progress": "40",
        "active": "true",
        "localizations": [{"title": "é", "language": {"value": "en_GB"}}],
        "unified_custom_fields": {"a": [1, None, "x"]},
    }
    if operation.method != "GET":
        return json.dumps(
            {"statusCode": 200, "message": "done", "timestamp": "2021-07-21T14:00:00.000Z", "data": {"id": ASKED}}
        ).encode()
    data = record if operation.checks_id else [record, {**record, "id": "2"}]
    raw = [{"method": "GET", "url": "https://x", "response": {"a": 1}}]
    return json.dumps({"data": data, "next": "cursor", "raw": raw}).encode()
