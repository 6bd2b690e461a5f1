"""Ids as path segments."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackone_lms.calls.operation import MAX_ID, encode_id
from stackone_lms.errors import InvalidArgumentError

UNRESERVED = re.compile(r"[A-Za-z0-9._~-]|%[0-9A-F]{2}")


@pytest.mark.parametrize(
    "id",
    [
        "c28xIQaWQ6MQ",
        "8187e5da-dc77-475e-9949-af0f1fa4e4e3",
        "a/b",
        "a b",
        " a ",
        "a?b=c",
        "a#b",
        "a%b",
        "%2e%2e",
        "%2E%2E%2Faccounts",
        "a+b",
        "a;b",
        "a:b",
        "a,b",
        "a@b.co",
        "a&b=c",
        "a\\b",
        "...",
        "..a",
        "a..",
        "a...b",
        "a/..b",
        "~",
        "é",
        "日本語",
        "🦊",
        "\u2028",
        "\u202e",
        "\uff0e\uff0e",
        "x" * MAX_ID,
    ],
)
def test_any_provider_id_is_one_segment_that_reads_back_the_same(id: str) -> None:
    segment = encode_id(id)
    assert UNRESERVED.sub("", segment) == ""
    assert unquote(segment) == id
    assert urlsplit(urljoin("https://h/unified/lms/x/", f"./{segment}")).path == f"/unified/lms/x/{segment}"


@pytest.mark.parametrize(
    "id",
    [
        "",
        ".",
        "..",
        "../accounts",
        "a/../b",
        "./a",
        "a/.",
        "a/..",
        "a\\..\\b",
        "..\\b",
        "a\\.",
        "a/..\\b",
        "a\nb",
        "a\r\nb",
        "\x00",
        "a\x7f",
        "a\x1fb",
        "a\x85b",
        "\x9f",
        "\ud800",
        "a\udfffb",
        "x" * (MAX_ID + 1),
        "é" * (MAX_ID + 1),
        None,
        5,
        b"abc",
        ["a"],
        True,
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_could_reach_another_path_is_refused(id: Any) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        encode_id(id)
    assert str(caught.value).isprintable()


@given(st.text(max_size=40))
def test_an_id_is_either_refused_or_exactly_one_segment(id: str) -> None:
    try:
        segment = encode_id(id)
    except InvalidArgumentError:
        return
    assert unquote(segment) == id
    assert "/" not in segment
    assert segment not in {"", ".", ".."}
    assert UNRESERVED.sub("", segment) == ""
