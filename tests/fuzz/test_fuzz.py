"""Inputs that nobody thought of: whatever comes, the only exceptions are the package's own."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stackone_lms.calls.operation import Operation
from stackone_lms.errors import printable
from stackone_lms.models.decode import unfinished
from stackone_lms.safe_json import too_deep

from ..soak import rounds
from . import targets
from .targets import ASKED, KEY, OPERATIONS

texts = st.text(st.characters(), max_size=40)  # lone surrogates included
operations = st.sampled_from(OPERATIONS)
statuses = st.one_of(
    st.sampled_from([200, 201, 202, 204, 301, 304, 400, 401, 404, 429, 500, 503]), st.integers(100, 999)
)
headers = st.dictionaries(
    st.sampled_from(["Retry-After", "Date", "Location", "x-request-id", "Preference-Applied", "Content-Type"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=60),
)
words = st.sampled_from(
    ["data", "id", "remote_id", "next", "raw", "message", "statusCode", "errorCode", "provider_errors", "updated_at",
     "errors", "total", "result", "value", "source_value", "progress", "localizations", KEY, ASKED]
)  # fmt: skip
jsons: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words | st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)
pieces = st.sampled_from(
    [b"{", b"}", b"[", b"]", b'"', b"\\", b",", b":", b"\xff", b"\xc3", b"null", b"NaN", b"1e999", b"-", b"\x00", b"\n",
     b"9" * 400, b"[" * 200, b'{"a":' * 200, b"\\ud800", b"\\u0000", KEY.encode(), b'"id":"x",', b""]
)  # fmt: skip


def encoded(value: Any) -> bytes:
    import json

    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


@pytest.mark.rounds
@settings(max_examples=rounds(500))
@given(operations, statuses, headers, st.binary(max_size=200), st.booleans())
@example(OPERATIONS[0], 204, {}, b"x", False)
@example(OPERATIONS[0], 302, {"Location": "http://[::1"}, b"", False)
def test_any_bytes(operation: Operation[Any], status: int, head: dict[str, str], body: bytes, keep: bool) -> None:
    """Bytes of no form."""
    targets.check_answer(operation, status, head, body, keep_unknown=keep)


@pytest.mark.rounds
@settings(max_examples=rounds(700))
@given(operations, statuses, headers, jsons, st.booleans())
@example(OPERATIONS[0], 200, {}, {"statusCode": 10**400, "message": ""}, False)
@example(OPERATIONS[0], 200, {}, {"statusCode": 500, "message": {"a": [KEY]}}, True)
def test_any_json(operation: Operation[Any], status: int, head: dict[str, str], value: Any, keep: bool) -> None:
    """JSON of other forms than expected, with the names that are."""
    targets.check_answer(operation, status, head, encoded(value), keep_unknown=keep)


A_COURSE = next(operation for operation in OPERATIONS if operation.id == "lms_get_course")
A_RECORD = next(operation for operation in OPERATIONS if operation.checks_id)


@pytest.mark.rounds
@settings(max_examples=rounds(700))
@given(operations, st.lists(st.tuples(st.integers(0, 600), st.integers(0, 12), pieces), min_size=1, max_size=4))
@example(A_RECORD, [(targets.good_answer(A_RECORD).index(b'"1"'), 3, b"9" * 400)])  # an int that is no float
@example(A_COURSE, [(targets.good_answer(A_COURSE).index(b'"true"') + 1, 4, KEY.encode())])  # quoted by msgspec
def test_good_answers_gone_bad(operation: Operation[Any], changes: list[tuple[int, int, bytes]]) -> None:
    """Good answers with some bytes cut out and others put in."""
    body = targets.good_answer(operation)
    for place, length, piece in changes:
        body = body[:place] + piece + body[place + length :]
    for keep in (False, True):
        targets.check_answer(operation, 200, {}, body, keep_unknown=keep)


@pytest.mark.rounds
@settings(max_examples=rounds(300))
@given(operations, jsons, st.sampled_from(["data", "next", "raw", "total", "statusCode", "message", "errors"]))
def test_one_member_of_another_kind(operation: Operation[Any], value: Any, name: str) -> None:
    """Good answers with anything at all as one of their members."""
    import json

    whole: dict[str, Any] = json.loads(targets.good_answer(operation))
    targets.check_answer(operation, 200, {}, encoded({**whole, name: value}))
    if isinstance(whole["data"], list):
        targets.check_answer(operation, 200, {}, encoded({**whole, "data": [*whole["data"], value]}))
    else:
        targets.check_answer(operation, 200, {}, encoded({**whole, "data": {**whole["data"], name: value}}))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_the_good_answers_are_good(operation: Operation[Any]) -> None:
    """Otherwise the tests above would begin with failures."""
    targets.check_answer(operation, 200, {}, targets.good_answer(operation))
    operation.decoder(targets.good_answer(operation))


@pytest.mark.rounds
@settings(max_examples=rounds(500, 20))
@given(
    st.text(max_size=45) | st.from_regex(r"[0-9]{0,12}(\.[0-9]{0,12})?"),
    st.none() | st.text(max_size=45) | st.just("Wed, 21 Oct 2026 07:28:00 GMT"),
)
@example("9" * 5000, None)
@example("Wed, 21 Oct 9999 07:28:00 -9999", "Wed, 21 Oct 0001 07:28:00 +9999")
@example("Wed, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 GMT")
def test_retry_after(value: str, date: str | None) -> None:
    targets.check_retry_after(value, date)


@pytest.mark.rounds
@settings(max_examples=rounds(300))
@given(
    st.sampled_from(["Wed", "Foo", "We"]),
    st.integers(-1, 40),
    st.sampled_from(["Oct", "Foo", "10"]),
    st.integers(0, 99999),
    st.tuples(st.integers(-1, 99), st.integers(-1, 99), st.integers(-1, 99)),
    st.sampled_from(["GMT", "+0000", "-9999", "+99999999", "Z", "", "EST"]),
)
def test_dates_of_retry_after(day: str, number: int, month: str, year: int, at: tuple[int, ...], zone: str) -> None:
    """Dates that are nearly good, as the value and as the answer's own."""
    date = f"{day}, {number:02} {month} {year} {':'.join(f'{n:02}' for n in at)} {zone}"
    targets.check_retry_after(date, date)
    targets.check_retry_after(date, None)
    targets.check_retry_after("5", date)


@pytest.mark.rounds
@settings(max_examples=rounds(800))
@given(st.one_of(texts, st.text(st.sampled_from("./\\%2e?#;:@ +\r\n\0aé\ud800"), max_size=12)))
def test_ids(id: str) -> None:
    targets.check_id(id)


proxies: st.SearchStrategy[Any] = st.dictionaries(
    texts,
    st.recursive(
        texts | st.none() | st.lists(texts, max_size=3),
        lambda inner: st.dictionaries(texts, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=3,
)


@pytest.mark.rounds
@settings(max_examples=rounds(500))
@given(proxies)
@example({"a": {"b&c=d": ["1", "&e=f"]}})
def test_queries(proxy: dict[str, Any]) -> None:
    targets.check_query(proxy)


@pytest.mark.rounds
@settings(max_examples=rounds(300))
@given(texts)
def test_cursors(cursor: str) -> None:
    targets.check_cursor(cursor)


@pytest.mark.rounds
@settings(max_examples=rounds(300))
@given(texts, st.integers(0, 50))
def test_printable(text: str, limit: int) -> None:
    """What is quoted from a server prints on one line; only what needs it is escaped."""
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown) <= 10 * limit + 3
    if text.isprintable() and len(text) <= limit:
        assert shown == text


@pytest.mark.rounds
@settings(max_examples=rounds(500))
@given(st.lists(pieces, max_size=12).map(b"".join))
def test_nesting_is_judged_as_the_decoder_would(body: bytes) -> None:
    """What passes for shallow decodes without a RecursionError, and nothing is slow or raises."""
    unfinished(body)
    if not too_deep(body):
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            msgspec.json.decode(body)
