"""From bytes to answers: strict, then lenient, then item by item."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackone_lms.errors import DecodeError
from stackone_lms.models import (
    Completion,
    CompletionResult,
    Content,
    CourseResult,
    DeleteResult,
    Page,
    ResponseInfo,
    encode,
)
from stackone_lms.models.base import attach
from stackone_lms.models.decode import (
    Decoder,
    coerce,
    is_error,
    unfinished,
)
from stackone_lms.safe_json import MAX_DEPTH

one = Decoder(CompletionResult)
many = Decoder(Page[Completion])
both = pytest.mark.parametrize("keep_unknown", [False, True])


@both
def test_what_the_document_describes_is_decoded(keep_unknown: bool) -> None:
    answer = one(b'\n\n {"data":{"id":"c1","completed_at":"2021-07-21T14:00:00.000Z"}} \n', keep_unknown=keep_unknown)
    assert (answer.data.id, answer.data.completed_at) == ("c1", datetime(2021, 7, 21, 14, tzinfo=UTC))
    assert answer.data.user_id is None
    assert answer.raw is None


@both
@pytest.mark.parametrize(
    ("field", "sent", "read"),
    [
        ("completed_at", b'"2021-07-21"', datetime(2021, 7, 21, tzinfo=UTC)),
        ("completed_at", b'"2021-07-21T14:00:00"', datetime(2021, 7, 21, 14, tzinfo=UTC)),
        ("completed_at", b'" 2021-07-21T14:00:00Z "', datetime(2021, 7, 21, 14, tzinfo=UTC)),
        ("completed_at", b'"2021-07-21 14:00:00+02:00"', datetime(2021, 7, 21, 12, tzinfo=UTC)),
        ("id", b"42", "42"),
        ("id", b"4.5", "4.5"),
        ("id", b"123456789012345678901234567890", "123456789012345678901234567890"),
        ("time_spent", b"90", "90"),
    ],
)
def test_what_providers_are_known_for_is_converted(field: str, sent: bytes, read: object, keep_unknown: bool) -> None:
    answer = one(b'{"data":{"%s":%s}}' % (field.encode(), sent), keep_unknown=keep_unknown)
    assert getattr(answer.data, field) == read


NOON = datetime(2012, 4, 9, 12, tzinfo=UTC)


@both
@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("1333972800", NOON),
        ("1333972800.5", NOON + timedelta(seconds=0.5)),
        ("1333972800000", NOON),
        ('"1333972800"', NOON),
        ('"1333972800000"', NOON),
        ("0", datetime(1970, 1, 1, tzinfo=UTC)),
        ("-86400", datetime(1969, 12, 31, tzinfo=UTC)),
        ("5", datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)),
        ('"2012-4-9T4:8:16"', datetime(2012, 4, 9, 4, 8, 16, tzinfo=UTC)),
        ('"2012-4-9 4:8"', datetime(2012, 4, 9, 4, 8, tzinfo=UTC)),
        ('"2012-4-9"', datetime(2012, 4, 9, tzinfo=UTC)),
        ('"2012-4-9T4:8:16.25+02:00"', datetime(2012, 4, 9, 2, 8, 16, 250_000, tzinfo=UTC)),
        ('"2012-04-09T24:00:00Z"', datetime(2012, 4, 10, tzinfo=UTC)),
        ('"2012-12-31T23:59:60Z"', datetime(2013, 1, 1, tzinfo=UTC)),
        ('"2012-04-09T12:00:60+0100"', datetime(2012, 4, 9, 11, 1, tzinfo=UTC)),
        ('"2012-04-09t12:00:60z"', datetime(2012, 4, 9, 12, 1, tzinfo=UTC)),
    ],
)
def test_date_times_are_read_in_loose_forms(sent: str, read: datetime, keep_unknown: bool) -> None:
    record = one(b'{"data":{"id":"x","completed_at":%s}}' % sent.encode(), keep_unknown=keep_unknown).data
    assert (record.completed_at, record.extra, record.problems) == (read, {}, ())


ODD = [
    "N/A", "soon", "9.4.2012", "2012-13-01", "2012-04-09T25:00:00Z", "2012-04-09T24:00:01Z", "0000-01-01T00:00:00Z",
    "9999-12-31T24:00:00Z", "2012-04-09T12:00:61Z", "20120409120000", 10**13, 1e300, -(10**13), True, [1], {"a": None},
]  # fmt: skip


@both
@pytest.mark.parametrize("odd", ODD, ids=str)
def test_an_odd_date_time_costs_its_field_and_not_the_record(odd: object, keep_unknown: bool) -> None:
    sent = {"id": "x", "completed_at": odd, "created_at": "2012-04-09T12:00:00Z", "score": {"percentage": 5}}
    body = json.dumps({"data": sent, "raw": None}).encode()
    record = one(body, keep_unknown=keep_unknown).data
    assert isinstance(record, Completion)
    assert (record.completed_at, record.created_at, record.id) == (None, NOON, "x")
    assert (record.extra, record.problems) == ({"completed_at": odd}, ("completed_at is no date-time",))
    assert msgspec.json.decode(encode(record)) == {**sent, "created_at": "2012-04-09T12:00:00.000Z"}
    for again in (pickle.loads(pickle.dumps(record)), copy.deepcopy(record)):
        assert (again, again.problems) == (record, record.problems)
    page = many(b'{"data":[%s,{"id":"y"}]}' % json.dumps(sent).encode(), keep_unknown=keep_unknown)
    assert [item.problems for item in page.data] == [record.problems, ()]
    assert (page.errors, page.problems) == ((), ())


@both
@pytest.mark.parametrize("empty", ['""', '"  "', "null"])
def test_an_empty_date_time_is_null(empty: str, keep_unknown: bool) -> None:
    record = one(b'{"data":{"id":"x","completed_at":%s}}' % empty.encode(), keep_unknown=keep_unknown).data
    assert (record.completed_at, record.extra, record.problems) == (None, {}, ())
    if not keep_unknown:
        assert type(record) is Completion


def test_odd_fields_are_kept_without_what_is_not_declared() -> None:
    """Which is for `keep_unknown` alone."""
    record = one(b'{"data":{"id":"x","new":1,"updated_at":"N/A","score":{"new":2}}}').data
    assert record.extra == {"updated_at": "N/A"}
    assert record.score is not None
    assert record.score.extra == {}


@both
@pytest.mark.parametrize("decoder", [one, many], ids=["one", "many"])
def test_a_byte_order_mark_is_skipped(decoder: Decoder[Any], keep_unknown: bool) -> None:
    body = b'{"data":{"id":"x"}}' if decoder is one else b'{"data":[{"id":"x"}]}'
    answer = decoder(b"\xef\xbb\xbf" + body, keep_unknown=keep_unknown)
    assert answer == decoder(body, keep_unknown=keep_unknown)
    assert answer.problems == ()


@both
def test_half_of_a_surrogate_pair_costs_its_character_only(keep_unknown: bool) -> None:
    r"""Nothing else changes: whole pairs, and what only looks like an escape (`\\ud83d` is a backslash and letters)."""
    record = rb'{"id":"x","remote_id":"a\ud83d","user_id":"\ud83d\ude00 \\ud83d \udc00","score":{"raw_value":"\ud83d"}}'
    answer = one(b'{"data":%s}' % record, keep_unknown=keep_unknown)
    assert (answer.data.remote_id, answer.data.user_id) == ("a\ufffd", "\U0001f600 \\ud83d \ufffd")
    assert answer.data.score is not None
    assert answer.data.score.raw_value == "\ufffd"
    assert answer.problems == ("half of a surrogate pair was replaced by U+FFFD",)
    assert pickle.loads(pickle.dumps(answer)).problems == answer.problems
    page = many(b'{"data":[{"id":"y"},%s,{"id":{}}],"raw":[{"url":"\\ud83d"}]}' % record, keep_unknown=keep_unknown)
    assert [item.id for item in page.data] == ["y", "x"]
    assert len(page.errors) == 1
    assert page.raw is not None
    assert page.raw[0].url == "\ufffd"
    assert page.problems == answer.problems


@both
@pytest.mark.parametrize(("percentage", "read"), [(b'"87.5"', 87.5), (b'" -3 "', -3.0), (b"87", 87.0), (b"null", None)])
def test_numbers_may_come_as_strings(percentage: bytes, read: float | None, keep_unknown: bool) -> None:
    answer = one(b'{"data":{"id":5,"score":{"percentage":%s}}}' % percentage, keep_unknown=keep_unknown)
    assert answer.data.score is not None
    assert answer.data.score.percentage == read


@pytest.mark.parametrize("flag", ["TRUE", " true ", "False"])
def test_flags_may_come_as_strings_in_any_case(flag: str) -> None:
    coerced = coerce({"active": flag}, Content)
    assert coerced["active"] is (flag.strip().lower() == "true")


def test_an_unknown_value_of_an_enum_stays_as_it_is() -> None:
    answer = one(b'{"data":{"id":5,"result":{"value":"Distinction","source_value":[1,{"a":2}]}}}')
    assert answer.data.result is not None
    assert (answer.data.result.value, answer.data.result.source_value) == ("Distinction", [1, {"a": 2}])


@both
@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"data":{"id":{}}}', "$.data.id"),
        (b'{"data":{"id":true}}', "$.data.id"),
        (b'{"data":{"score":[]}}', "$.data.score"),
        (b'{"data":{"score":{"percentage":"1e5"}}}', "$.data.score.percentage"),
        (b'{"data":{"score":{"percentage":"\xd9\xa1"}}}', "$.data.score.percentage"),
        (b'{"data":{"score":{"percentage":1e999}}}', "$.data.score.percentage"),
        (b'{"data":{"unified_custom_fields":[1]}}', "$.data.unified_custom_fields"),
        (b'{"data":null}', "$.data"),
        (b'{"data":[]}', "$.data"),
        (b'{"data":"x"}', "$.data"),
        (b"{}", "$"),
        (b"[]", "$"),
        (b"null", "$"),
        (b'"ok"', "$"),
        (b"5", "$"),
        (b'{"data":{"id":"x"}', "$"),
        (b'{"data":{"id":"x"}} x', "$"),
        (b'{"data":{"id":"x",}}', "$"),
        (b'{"data":{"id":"x","u":NaN}}', "$"),
        (b'{"data":{"id":"\xff"}}', "$"),
        (b"<html>", "$"),
        (b"", "$"),
    ],
    ids=lambda value: repr(value)[:44],
)
def test_what_cannot_be_read_is_refused_with_its_path(body: bytes, path: str, keep_unknown: bool) -> None:
    with pytest.raises(DecodeError) as caught:
        one(body, keep_unknown=keep_unknown)
    assert (caught.value.path, caught.value.body) == (path, body)


@pytest.mark.parametrize("number", [b"1e999", b"9" * 5000, b"123456789012345678901234567890"])
def test_numbers_of_any_size_pass_in_fields_that_are_not_declared(number: bytes) -> None:
    assert one(b'{"data":{"id":"x","unknown":%s}}' % number).data.id == "x"


@both
def test_one_bad_item_never_loses_a_page(keep_unknown: bool) -> None:
    """Whatever is wrong with it: types, numbers without bounds, bytes that are no text."""
    bad = [
        b'{"id": {} }',
        b'{"id":"n","score":{"percentage":1e999}}',
        b'{"id":"\xff"}',
        b"null",
        b"5",
        b'"x"',
        b"[]",
    ]
    items = [b'{"id":"first"}', *bad, b'{"id":7}']
    page = many(b'{"next":"n2","data":[%s],"total":"12"}' % b" , ".join(items), keep_unknown=keep_unknown)
    assert [item.id for item in page.data] == ["first", "7"]
    assert (page.next, page.total) == ("n2", 12.0)
    assert [error.body for error in page.errors] == bad
    assert [error.path.split(".")[1] for error in page.errors] == [f"data[{n}]" for n in range(1, 8)]
    assert page.errors[0].path == "$.data[1].id"
    assert page.errors[1].path == "$.data[2].score.percentage"


@both
@pytest.mark.parametrize("bad", [b'{"id":"\xff"}', b'{"id":"x","score":{"percentage":1e999}}', b"null"])
def test_a_single_bad_item_of_any_kind_does_not_lose_a_page(bad: bytes, keep_unknown: bool) -> None:
    page = many(b'{"data":[{"id":"a"},%s,{"id":"b"}]}' % bad, keep_unknown=keep_unknown)
    assert [item.id for item in page.data] == ["a", "b"]
    assert [error.body for error in page.errors] == [bad]


@both
def test_a_page_of_null_is_an_empty_page(keep_unknown: bool) -> None:
    page = many(b'{"data":null,"next":"n"}', keep_unknown=keep_unknown)
    assert (page.data, page.next, page.errors) == ([], "n", ())


@both
@pytest.mark.parametrize(
    "body",
    [
        b'{"next":"n"}',
        b'{"data":{"id":"x"}}',
        b'{"data":"x"}',
        b'{"data":[],"next":{}}',
        b'{"data":[{"id":5}],"next":["a"]}',
        b'{"data":[{"id":{}},{"id":"x"}',
        b'{"data":[{"id":{}}],"next":"n"',
        b'{"data":[{"id":{}}]} x',
        b'{"data":[{"id":{}}],"next":"\xff"}',
        b"[]",
        b"null",
    ],
    ids=lambda body: body.decode("latin-1")[:30],
)
def test_an_envelope_that_does_not_decode_is_an_error_of_the_whole_page(body: bytes, keep_unknown: bool) -> None:
    with pytest.raises(DecodeError):
        many(body, keep_unknown=keep_unknown)


def test_a_cursor_that_is_a_number_is_read_as_text() -> None:
    assert many(b'{"data":[],"next":5}').next == "5"


@both
def test_raw_survives_the_lenient_ways(keep_unknown: bool) -> None:
    raw = b'[{"method":"GET","url":"/x","body":[1,255],"response":{"deep":[null]}}]'
    for answer in (
        one(b'{"data":{"id":5},"raw":%s}' % raw, keep_unknown=keep_unknown),
        many(b'{"data":[{"id":5},{"id":{}}],"raw":%s}' % raw, keep_unknown=keep_unknown),
    ):
        assert answer.raw is not None
        call = answer.raw[0]
        assert (call.method, call.url, call.body, call.response) == ("GET", "/x", [1, 255], {"deep": [None]})


@both
def test_a_page_keeps_its_errors_and_its_http_side_when_pickled_and_copied(keep_unknown: bool) -> None:
    page = many(b'{"data":[{"id":"a"},{"id":{}}],"next":"n"}', keep_unknown=keep_unknown)
    attach(page, ResponseInfo(status=200, request_id="r1", attempts=2, body=b"..."))
    for again in (pickle.loads(pickle.dumps(page)), copy.copy(page), copy.deepcopy(page)):
        assert [item.id for item in again.data] == ["a"]
        assert [(error.path, error.body) for error in again.errors] == [("$.data[1].id", b'{"id":{}}')]
        assert (again.status, again.request_id, again.attempts, again.body) == (200, "r1", 2, b"...")


@both
@pytest.mark.parametrize("decoder", [one, many], ids=["one", "many"])
def test_the_apis_error_object_is_never_read_as_an_answer(decoder: Decoder[Any], keep_unknown: bool) -> None:
    with pytest.raises(DecodeError):
        decoder(b'{"statusCode":400,"message":"no","data":{"id":5,"statusCode":400}}', keep_unknown=keep_unknown)


@pytest.mark.parametrize(
    ("value", "yes"),
    [
        ({"statusCode": 404, "message": "no"}, True),
        ({"statusCode": 500, "message": None}, True),
        ({"statusCode": 399, "message": "no"}, False),
        ({"statusCode": 404}, False),
        ({"statusCode": "404", "message": "no"}, False),
        ({"statusCode": True, "message": "no"}, False),
        ({"message": "no"}, False),
        ([404, "no"], False),
        (None, False),
        ("error", False),
    ],
)
def test_an_error_object_has_a_status_and_a_message(value: object, yes: bool) -> None:
    assert is_error(value) is yes


def test_the_status_code_of_a_write_may_be_any_number() -> None:
    assert Decoder(DeleteResult)(b'{"statusCode":204.0,"message":7}').status_code == 204


WHOLE = b'{"data":[{"id":"a[\\"","name":"}]"},{"id":"b\\\\"}],"next":"n"}'


@pytest.mark.parametrize("cut", range(1, len(WHOLE)))
def test_a_body_cut_anywhere_looks_unfinished(cut: int) -> None:
    assert unfinished(WHOLE[:cut])


@pytest.mark.parametrize(
    "body",
    [WHOLE, b"", b"null", b'"text', b"{}", b"[1,", b"<html></html>", b'{"a":1}}', b"]", b"[" * (MAX_DEPTH + 1)],
    ids=lambda body: body[:12].decode(),
)
def test_what_was_not_cut_does_not_look_unfinished(body: bytes) -> None:
    assert unfinished(body) is (body == b"[1,")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "data", "result", "value", "score", "percentage", "completed_at", "raw", "next", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@both
@given(data=VALUES, next=VALUES, keep=st.booleans())
def test_any_json_is_an_answer_or_a_decode_error(keep_unknown: bool, data: Any, next: Any, keep: bool) -> None:
    body = msgspec.json.encode({"data": data, "next": next, **({"raw": data} if keep else {})})
    for decoder in (one, many):
        try:
            outcome: Any = decoder(body, keep_unknown=keep_unknown)
        except DecodeError as error:
            outcome = error.path
        assert isinstance(outcome, CompletionResult | Page) or outcome.startswith("$")


@both
def test_a_number_as_an_id_may_be_of_any_length(keep_unknown: bool) -> None:
    """An int of 400 digits is no float, but it is a good id."""
    digits = b"9" * 400
    assert one(b'{"data":{"id":%b}}' % digits, keep_unknown=keep_unknown).data.id == digits.decode()
    page = many(b'{"data":[{"id":%b},{"id":"b"}]}' % digits, keep_unknown=keep_unknown)
    assert [item.id for item in page.data] == [digits.decode(), "b"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"1e999", "out of range"),
        (b"-1e999", "out of range"),
        (b"9" * 4301, "out of range"),
        (b'{"a":[1e999]}', "out of range"),
        (b'"\xff"', "UTF-8"),
    ],
    ids=["1e999", "-1e999", "digits", "inner", "utf-8"],
)
def test_what_is_kept_must_fit_into_a_value(value: bytes, message: str) -> None:
    """Skipped where nobody keeps it; kept, it would need a value that there is none for."""
    body = b'{"data":{"id":"x","undeclared":%b}}' % value
    assert one(body).data.id == "x"
    with pytest.raises(DecodeError, match=message):
        one(body, keep_unknown=True)
    page = many(b'{"data":[{"id":"a"},{"id":"x","undeclared":%b},{"id":"b"}]}' % value, keep_unknown=True)
    assert [item.id for item in page.data] == ["a", "b"]
    assert [error.path.startswith("$.data[1]") for error in page.errors] == [True]


@pytest.mark.parametrize("digits", [1, 40, 400, 4300])
def test_a_kept_number_may_be_long(digits: int) -> None:
    body = b'{"data":{"id":"x","a_long_one":%b}}' % (b"9" * digits)
    found = one(body, keep_unknown=True)
    assert found.data.extra == {"a_long_one": 10**digits - 1}
    assert pickle.loads(pickle.dumps(found)) == found


@both
def test_no_error_quotes_what_was_sent(keep_unknown: bool) -> None:
    """It could be an echo of the credentials; msgspec quotes enum values and the names of new fields."""
    course = Decoder(CourseResult)
    for body in (
        b'{"data":{"id":"x","active":"a secret"}}',
        b'{"data":{"id":"x","active":"a secret","a secret":1e999}}',
    ):
        with pytest.raises(DecodeError) as caught:
            course(body, keep_unknown=keep_unknown)
        assert "secret" not in str(caught.value)
        assert caught.value.path == "$.data.active"
