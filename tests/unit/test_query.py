"""The one query encoder."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from enum import Enum, IntEnum
from typing import Any, cast
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackone_lms.calls.query import (
    AssignmentQuery,
    CourseQuery,
    GetQuery,
    ListQuery,
    UserQuery,
    encode_query,
    filters,
)
from stackone_lms.errors import InvalidArgumentError
from stackone_lms.sandbox.query import decode

BERLIN = timezone(timedelta(hours=2))
ALL_FILTERS = frozenset({"updated_after", "active", "email", "external_reference", "status"})


def pairs(query: dict[str, Any]) -> list[tuple[str, str]]:
    """Encode and read again with the standard library, which drops nothing and adds nothing."""
    return parse_qsl(encode_query(query, ALL_FILTERS), keep_blank_values=True, strict_parsing=True)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({}, ""),
        ({"raw": True}, "raw=true"),
        ({"raw": False}, "raw=false"),
        ({"raw": None, "fields": None, "proxy": None, "filter": None, "next": None}, ""),
        ({"fields": "id,name"}, "fields=id%2Cname"),
        ({"fields": ["id", "name"]}, "fields=id%2Cname"),
        ({"fields": ("id",)}, "fields=id"),
        ({"fields": iter(["a", "b"])}, "fields=a%2Cb"),
        ({"fields": []}, ""),
        ({"fields": ""}, ""),
        ({"proxy": {}}, ""),
        ({"proxy": {"a": {}}}, ""),
        ({"proxy": {"a": None, "b": {"c": None}, "d": [None]}}, ""),
        ({"proxy": {"a": ""}}, "proxy%5Ba%5D="),
        ({"proxy": {"filter": {"eq": {"age": 25}}}}, "proxy%5Bfilter%5D%5Beq%5D%5Bage%5D=25"),
        ({"proxy": {"filter[eq][age]": 25}}, "proxy%5Bfilter%5Beq%5D%5Bage%5D%5D=25"),
        ({"proxy": {"a": [1, "b", None, True]}}, "proxy%5Ba%5D=1&proxy%5Ba%5D=b&proxy%5Ba%5D=true"),
        ({"proxy": {"t": True, "f": False}}, "proxy%5Bt%5D=true&proxy%5Bf%5D=false"),
        ({"proxy": {"x": 1.5, "y": 1e22, "z": -0.0}}, "proxy%5Bx%5D=1.5&proxy%5By%5D=1e%2B22&proxy%5Bz%5D=-0.0"),
        ({"proxy": {"d": date(2024, 1, 31)}}, "proxy%5Bd%5D=2024-01-31"),
        ({"proxy": {"a b": "c d"}}, "proxy%5Ba%20b%5D=c%20d"),
        ({"page_size": 100}, "page_size=100"),
        ({"next": "a+b/c=="}, "next=a%2Bb%2Fc%3D%3D"),
        ({"filter": {"email": "a+b@x.co"}}, "filter%5Bemail%5D=a%2Bb%40x.co"),
        ({"email": "a+b@x.co"}, "filter%5Bemail%5D=a%2Bb%40x.co"),
        ({"active": True}, "filter%5Bactive%5D=true"),
        ({"status": "pending"}, "filter%5Bstatus%5D=pending"),
        ({"user_id": "u/1", "remote_user_id": "r&1"}, "user_id=u%2F1&remote_user_id=r%261"),
        ({"max_items": 5, "prefetch": 1}, ""),
    ],
)
def test_the_wire_form_of(query: dict[str, Any], text: str) -> None:
    assert encode_query(query, ALL_FILTERS) == text


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2020, 1, 1, tzinfo=UTC), "2020-01-01T00:00:00.000Z"),
        (datetime(2020, 1, 1, 1, 30, tzinfo=BERLIN), "2019-12-31T23:30:00.000Z"),
        (datetime(2020, 1, 1, 0, 0, 0, 1000, tzinfo=UTC), "2020-01-01T00:00:00.001Z"),
        (date(2020, 1, 1), "2020-01-01T00:00:00.000Z"),
        ("2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"),
        ("2020-01-01", "2020-01-01"),
    ],
)
def test_moments_are_sent_in_utc_with_milliseconds(moment: Any, text: str) -> None:
    assert pairs({"updated_after": moment}) == [("filter[updated_after]", text)]
    assert pairs({"filter": {"updated_after": moment}}) == [("filter[updated_after]", text)]
    if isinstance(moment, datetime):
        assert pairs({"proxy": {"since": moment}}) == [("proxy[since]", text)]


def test_enums_are_sent_as_their_values() -> None:
    class Colour(str, Enum):  # noqa: UP042 (unlike StrEnum, its str() is not its value)
        RED = "red"

    class Size(IntEnum):
        BIG = 3

    assert pairs({"proxy": {"colour": Colour.RED, "size": Size.BIG}}) == [
        ("proxy[colour]", "red"),
        ("proxy[size]", "3"),
    ]


@pytest.mark.parametrize(
    "nasty", ["&", "=", "[", "]", "#", "?", "/", "%", "%26", "+", ";", "\x00", "\r\n", " ", "é", "🦊"]
)
def test_no_character_of_a_key_or_value_makes_another_parameter(nasty: str) -> None:
    query = {"proxy": {f"k{nasty}k": f"v{nasty}v"}, "next": f"n{nasty}", "filter": {"email": nasty}}
    assert pairs(query) == [
        (f"proxy[k{nasty}k]", f"v{nasty}v"),
        ("next", f"n{nasty}"),
        ("filter[email]", nasty),
    ]


@pytest.mark.parametrize(
    "query",
    [
        {"raw": 1},
        {"raw": "true"},
        {"fields": 5},
        {"fields": b"id"},
        {"fields": {"id": 1}},
        {"fields": ["a,b"]},
        {"fields": [""]},
        {"fields": [None]},
        {"fields": "\ud800"},
        {"proxy": "a=b"},
        {"proxy": [("a", "b")]},
        {"proxy": {1: "a"}},
        {"proxy": {"": "a"}},
        {"proxy": {"a": b"b"}},
        {"proxy": {"a": object()}},
        {"proxy": {"a": [[1]]}},
        {"proxy": {"a": [{"b": 1}]}},
        {"proxy": {"a": float("nan")}},
        {"proxy": {"a": float("inf")}},
        {"proxy": {"a": 10**5000}},
        {"proxy": {"a": datetime(2020, 1, 1)}},  # noqa: DTZ001 (naive: that is the point)
        {"proxy": {"a": timedelta(1)}},
        {"proxy": {"a": "\udfff"}},
        {"proxy": {"\ud800": "a"}},
        {"page_size": 0},
        {"page_size": -1},
        {"page_size": True},
        {"page_size": "25"},
        {"page_size": 2.0},
        {"next": 5},
        {"next": b"x"},
        {"next": "\ud800"},
        {"user_id": 5},
        {"filter": "email"},
        {"filter": {"": "x"}},
        {"filter": {5: "x"}},
        {"bogus": "x"},
        {"filter": {"email": "a"}, "email": "a"},
        {"filter": 5, "email": "a"},
        {"email": 5},
        {"active": False},
        {"active": "false"},
        {"active": 1},
        {"status": "done"},
        {"status": ["pending"]},
        {"updated_after": "yesterday"},
        {"updated_after": "2024-01-01\n"},
        {"updated_after": 5},
        {"updated_after": datetime(2020, 1, 1)},  # noqa: DTZ001 (naive: that is the point)
    ],
)
def test_what_cannot_be_sent_is_refused(query: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        encode_query(query, ALL_FILTERS)


def test_nesting_without_end_is_refused() -> None:
    endless: dict[str, Any] = {}
    endless["a"] = endless
    with pytest.raises(InvalidArgumentError, match="nests deeper"):
        encode_query({"proxy": endless})


def test_a_refused_filter_names_the_allowed_ones() -> None:
    with pytest.raises(InvalidArgumentError, match=r"'activ' is unknown here; allowed: active, updated_after"):
        encode_query({"activ": True}, frozenset({"active", "updated_after"}))
    with pytest.raises(InvalidArgumentError, match="allowed: none"):
        encode_query({"email": "x"})


@pytest.mark.parametrize(
    ("query", "allowed"),
    [
        (GetQuery, set[str]()),
        (ListQuery, {"updated_after"}),
        (CourseQuery, {"updated_after", "external_reference", "active"}),
        (UserQuery, {"updated_after", "external_reference", "email"}),
        (AssignmentQuery, {"updated_after", "status"}),
    ],
)
def test_the_filters_of_each_list_are_those_of_the_document(query: type, allowed: set[str]) -> None:
    assert filters(query) == allowed


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
KEYS = TEXT.filter(bool)
SCALARS = st.one_of(
    TEXT,
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.datetimes(timezones=st.just(UTC)),
    st.none(),
)
VALUES = st.recursive(
    st.one_of(SCALARS, st.lists(SCALARS, max_size=3)),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def text_of(value: Any) -> str:
    """Write a scalar, independently of the encoder."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        digits = 3 if value.microsecond % 1000 == 0 else 6
        return f"{value:%Y-%m-%dT%H:%M:%S}.{f'{value.microsecond:06d}'[:digits]}Z".zfill(24 if digits == 3 else 27)
    return repr(value)


def flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, item in cast("dict[str, Any]", value).items():
            yield from flat(f"{prefix}[{name}]", item)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from flat(prefix, item)
    elif value is not None:
        yield prefix, text_of(value)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_whatever_proxy_holds_comes_out_as_it_went_in(proxy: dict[str, Any]) -> None:
    assert pairs({"proxy": proxy}) == list(flat("proxy", proxy))


@given(TEXT, TEXT.filter(lambda text: "," not in text and bool(text)), TEXT)
def test_every_text_round_trips(next: str, field: str, email: str) -> None:
    query = {"next": next, "fields": [field], "filter": {"email": email}}
    assert pairs(query) == [("next", next), ("fields", field), ("filter[email]", email)]


PLAIN_KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="[]"), min_size=1, max_size=6)
PLAIN_VALUES = st.recursive(
    st.one_of(TEXT, st.lists(TEXT, min_size=1, max_size=3)),
    lambda inner: st.dictionaries(PLAIN_KEYS, inner, min_size=1, max_size=3),
    max_leaves=8,
)


def as_received(value: Any) -> Any:
    """A list of one is a single value on the wire."""
    if isinstance(value, dict):
        return {name: as_received(item) for name, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        items = cast("list[str]", value)
        return items[0] if len(items) == 1 else items
    return value


@pytest.mark.thorough
@given(st.dictionaries(PLAIN_KEYS, PLAIN_VALUES, min_size=1, max_size=3))
def test_a_server_reads_the_same_objects_that_were_given(proxy: dict[str, Any]) -> None:
    """The sandbox has a decoder of its own, which shares nothing with the encoder."""
    assert decode(encode_query({"proxy": proxy, "raw": True})) == {"proxy": as_received(proxy), "raw": "true"}


def test_flat_and_nested_keys_are_the_same_object_to_a_server() -> None:
    nested = encode_query({"proxy": {"filter": {"eq": {"age": 25}}}})
    assert decode(encode_query({"proxy": {"filter[eq][age]": 25}})) == decode(nested)
    assert decode(nested) == {"proxy": {"filter": {"eq": {"age": "25"}}}}


class Text(str):
    """A text that one can see vanish."""


PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "keyword": lambda text: {"email": text},
    "filter": lambda text: {"filter": {"email": text}},
    "plain": lambda text: {"user_id": text},
    "cursor": lambda text: {"next": text},
    "proxy": lambda text: {"proxy": {"email": text}},
    "list": lambda text: {"proxy": {"email": [text]}},
}


@pytest.mark.parametrize("place", PLACES)
def test_no_value_is_kept_after_its_call(place: str) -> None:
    """Values may be personal, such as an e-mail address; only names of fields and keys are encoded once."""
    value = Text(f"ada@{place}")
    gone = weakref.ref(value)
    assert encode_query(PLACES[place](value), frozenset({"email"})).endswith(f"ada%40{place}")
    del value
    gc.collect()
    assert gone() is None
