"""The sandbox's own reading of query strings."""

import pytest

from stackone_lms.sandbox.problems import Problem
from stackone_lms.sandbox.query import Query, decode, encode


@pytest.mark.parametrize(
    ("raw", "query"),
    [
        ("", {}),
        ("a=1", {"a": "1"}),
        ("a=1&&b=", {"a": "1", "b": ""}),
        ("a", {"a": ""}),
        ("a=b=c", {"a": "b=c"}),
        ("a+b=c+d%20e%2B", {"a b": "c d e+"}),
        ("a=1&a=2&a=3", {"a": ["1", "2", "3"]}),
        ("a[]=1&a[]=2", {"a": ["1", "2"]}),
        ("proxy[filter][eq][age]=25", {"proxy": {"filter": {"eq": {"age": "25"}}}}),
        ("proxy[filter[eq][age]]=25", {"proxy": {"filter": {"eq": {"age": "25"}}}}),
        ("proxy%5Bfilter%5D%5Beq%5D%5Bage%5D=25", {"proxy": {"filter": {"eq": {"age": "25"}}}}),
        ("proxy%5Bfilter%5Beq%5D%5Bage%5D%5D=25", {"proxy": {"filter": {"eq": {"age": "25"}}}}),
        ("proxy[a][b]=1&proxy[a][c]=2&proxy[a][c]=3", {"proxy": {"a": {"b": "1", "c": ["2", "3"]}}}),
        ("proxy[a%26b%3D%23]=%26", {"proxy": {"a&b=#": "&"}}),
        ("a[b=1", {"a[b": "1"}),
        ("[a]=1", {"[a]": "1"}),
        ("a[b]c=1", {"a[b]c": "1"}),
        ("%E2%82%AC=%F0%9F%8E%93", {"€": "🎓"}),
    ],
)
def test_query_is_decoded_to_nested_objects(raw: str, query: Query) -> None:
    assert decode(raw) == query


@pytest.mark.parametrize(
    "raw",
    [
        "a=%FF",
        "%C3=1",
        "a=1&a[b]=2",
        "a[b]=1&a=2",
        "a[b]=1&a[b][c]=2",
        "a=1&a=2&a[b]=3",
        "a" + "[x]" * 30 + "=1",
        "&".join("a=1" for _ in range(1001)),
    ],
)
def test_query_that_makes_no_sense_is_400(raw: str) -> None:
    with pytest.raises(Problem) as caught:
        decode(raw)
    assert caught.value.status == 400


def test_provider_gets_brackets_readable_and_the_rest_encoded() -> None:
    query: Query = {"filter": {"eq": {"a&b": "x y"}}, "ids": ["1", "2"], "empty": ""}
    assert encode(query) == "filter[eq][a%26b]=x%20y&ids=1&ids=2&empty="
