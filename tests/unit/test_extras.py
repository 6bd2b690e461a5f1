"""`keep_unknown`: nothing that was sent is lost, and it is written back."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import struct
import sys
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackone_lms.errors import DecodeError
from stackone_lms.models import Completion, CompletionResult, Content, Page, encode
from stackone_lms.models.decode import Decoder
from stackone_lms.models.extras import KeepUnknown, closed

from ..counting import FunctionCalls

one = Decoder(CompletionResult)
many = Decoder(Page[Completion])


def keep(content: Any, decoder: Decoder[Any] = one) -> Any:
    return decoder(json.dumps(content).encode(), keep_unknown=True)


def test_unknown_fields_are_kept_at_every_level() -> None:
    a, b, c, d = "new_a", "new_b", "new_c", "new_d"
    answer = keep({"data": {"id": "x", a: {"deep": [1, None]}, "result": {"value": "Pass", b: None}}, c: 0, d: ""})
    assert answer.extra == {c: 0, d: ""}
    assert answer.data.extra == {a: {"deep": [1, None]}}
    assert answer.data.result.extra == {b: None}
    assert isinstance(answer, CompletionResult)
    assert isinstance(answer.data, Completion)


def test_unknown_fields_of_items_and_of_the_page_are_kept() -> None:
    a, b, c = "new_a", "new_b", "new_c"
    page = keep({"data": [{"id": "1", a: 1}, {"id": "2"}, {"id": "3", b: 3}], "next": "n", c: True}, many)
    assert [item.extra for item in page.data] == [{a: 1}, {}, {b: 3}]
    assert (page.next, page.extra) == ("n", {c: True})


def test_unknown_fields_of_records_in_lists_in_records_are_kept() -> None:
    a = "new_a"
    content: Any = KeepUnknown(Content)(
        json.dumps({"id": "x", "skills": [{"id": "s", a: 1}], "localizations": [{"language": {a: 2}}]}).encode()
    )
    assert content.skills[0].extra == {a: 1}
    assert content.localizations[0].language.extra == {a: 2}


def test_without_it_there_is_nothing_extra() -> None:
    answer = one(json.dumps({"data": {"id": "x", "a": 1}, "b": 2}).encode())
    assert answer.extra == {}
    assert answer.data.extra == {}


def test_it_is_written_back_as_it_came() -> None:
    a = "new_a"
    content: dict[str, Any] = {
        "data": {"id": "x", "user_id": None, "result": {"value": None, a: [{}]}, a: None, "unified_custom_fields": {}},
        "raw": [{"method": "GET", "url": "u", "extra": {"x": 1.5}}],
        a: {"null": None},
    }
    assert json.loads(encode(keep(content))) == content


def test_null_and_missing_are_told_apart_when_written_and_read_alike() -> None:
    null, missing = keep({"data": {"id": "x", "user_id": None}}), keep({"data": {"id": "x"}})
    assert null.data.user_id is None
    assert missing.data.user_id is None
    assert json.loads(encode(null)) == {"data": {"id": "x", "user_id": None}}
    assert json.loads(encode(missing)) == {"data": {"id": "x"}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


@given(st.dictionaries(NAMES, JSON, max_size=3), st.dictionaries(NAMES, JSON, max_size=3))
def test_any_name_and_value_goes_there_and_back(inner: dict[str, Any], outer: dict[str, Any]) -> None:
    declared = {"data", "raw", *Completion.__struct_fields__}
    inner = {n: v for n, v in inner.items() if n not in declared}
    outer = {n: v for n, v in outer.items() if n not in declared}
    answer = keep({"data": {"id": "x", **inner}, **outer})
    assert (answer.data.extra, answer.extra) == (inner, outer)
    assert json.loads(encode(answer)) == {"data": {"id": "x", **inner}, **outer}


OF_JSON = ["", "é", "🦊", " ", "a.b", "0", 'a"b', "a\\b", "a\nb", "\x00", '"', "\x1f"]
OF_PYTHON = ["class", "extra", "_left", "_sent", "_model", "raw_json", "__init__", "__dict__", "mro", "type"]


@pytest.mark.parametrize("odd", [*OF_JSON, *OF_PYTHON])
def test_names_that_mean_something_to_python_are_only_names(odd: str) -> None:
    answer = keep({"data": {"id": "x", odd: 1}, odd: 2})
    assert (answer.data.extra, answer.extra) == ({odd: 1}, {odd: 2})
    assert json.loads(encode(answer)) == {"data": {"id": "x", odd: 1}, odd: 2}
    assert answer.raw is None


def test_lenient_answers_keep_theirs_too() -> None:
    a = "new_a"
    answer = keep({"data": {"id": 5, "completed_at": "2021-07-21", a: 1}, a: 2})
    assert (answer.data.id, answer.data.extra, answer.extra) == ("5", {a: 1}, {a: 2})
    page = keep({"data": [{"id": 5, a: 1}, {"id": {}, a: 2}], a: 3}, many)
    assert ([item.extra for item in page.data], page.extra) == ([{a: 1}], {a: 3})
    assert json.loads(page.errors[0].body) == {"id": {}, a: 2}


def test_errors_name_the_declared_path() -> None:
    with pytest.raises(DecodeError) as caught:
        keep({"data": {"id": {}, "a": 1}})
    assert caught.value.path == "$.data.id"


def pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickled])
def test_it_survives_copies_and_pickles(way: Any) -> None:
    a = "new_a"
    answer = keep({"data": {"id": "x", "user_id": None, a: {"b": 1}}, a: None})
    again = way(answer)
    assert again == answer
    assert (again.data.extra, again.extra) == ({a: {"b": 1}}, {a: None})
    assert encode(again) == encode(answer)


def test_what_is_made_of_a_record_does_not_lose_it() -> None:
    """Each way looks at the record first, before anybody has asked for what was left over."""
    content = {"data": {"id": "x", "new": 1, "result": {"value": "Pass", "new": [2]}}, "new": 3}
    for way in (copy.copy, copy.deepcopy, pickled):
        assert json.loads(encode(way(keep(content)))) == content
    assert keep(content) == keep(content)


def test_records_are_equal_if_what_is_kept_is() -> None:
    content: dict[str, Any] = {"data": [{"id": "x", "new": [1], "result": {"value": "Pass", "new": 1}}], "next": None}
    one_more = {"data": [{**content["data"][0], "result": {"value": "Pass", "new": 2}}], "next": None}
    page, again, other = keep(content, many), keep(content, many), keep(one_more, many)
    assert page == again
    assert page != other
    assert page.data[0] == again.data[0]
    assert hash(page.data[0]) == hash(again.data[0])
    assert page.data[0] != keep({"data": {"id": "x", "new": [2]}}).data
    assert keep({"data": {"id": "x", "new": None}}).data != keep({"data": {"id": "x"}}).data
    assert page.data[0] != Completion(id="x")
    assert page.data[0] != "x"


def test_records_in_free_containers_are_written_with_what_they_keep() -> None:
    record = keep({"data": {"id": "x", "new": 1}}).data
    assert json.loads(encode({"found": [record], "pair": (record,)})) == {
        "found": [{"id": "x", "new": 1}],
        "pair": [{"id": "x", "new": 1}],
    }


def test_a_page_of_ever_new_names_costs_what_the_first_one_did() -> None:
    """Counted in calls of functions, of Python and of C: nothing is learned, so nothing has to be looked up."""
    costs: list[int] = []
    for number in range(300):
        items = [{"id": str(n), f"new_{number}_{n}": n, "score": {f"new_{number}": 1}} for n in range(20)]
        body = json.dumps({"data": items}).encode()
        with FunctionCalls() as calls:
            page: Any = many(body, keep_unknown=True)
        costs.append(calls.count)
        assert page.data[7].extra == {f"new_{number}_7": 7}
        assert page.data[7].score.extra == {f"new_{number}": 1}
    assert max(costs[1:]) <= costs[0]
    assert costs[-1] < 20, "it grows with the records, which is what working them out later is to spare"


def test_without_it_a_record_has_no_room_and_costs_nothing_more() -> None:
    """A header and a pointer a field; 100,000 of them are held without the collector."""
    page = many(b'{"data":[{"id":"x","new":1,"result":{"new":1}}]}')
    record = page.data[0]
    assert type(record) is Completion
    assert not hasattr(record, "__dict__")
    assert not gc.is_tracked(record)
    assert sys.getsizeof(record) == sys.getsizeof(object()) + len(Completion.__struct_fields__) * struct.calcsize("P")


def test_a_closed_record_refuses_what_is_not_declared_and_tells_null_from_missing() -> None:
    decode = msgspec.json.Decoder(closed(Completion)).decode
    record: Any = decode(b'{"id":"x","user_id":null,"result":{"value":null}}')
    assert isinstance(record, Completion)
    assert record.result is not None
    assert (record.user_id, record.remote_id, record.result.source_value) == (None, None, None)
    assert msgspec.json.encode(record) == b'{"id":"x","result":{"value":null},"user_id":null}'
    for body in (b'{"id":"x","new":1}', b'{"result":{"new":1}}'):
        with pytest.raises(msgspec.ValidationError):
            decode(body)


@pytest.fixture
def _hasty_threads() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_hasty_threads")
def test_threads_that_look_at_one_record_at_once_see_the_same() -> None:
    """What was left over is worked out at the first look, which may be several at once."""
    wrong: list[object] = []
    for _ in range(30):
        page = keep({"data": [{"id": "x", "result": {"new": 1}, "new": 2}]}, many)
        barrier = threading.Barrier(6)

        def work(page: Any = page, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            try:
                found: Any = (page.data[0].result.extra, page.data[0].extra)
            except BaseException as error:
                found = error
            if found != ({"new": 1}, {"new": 2}):
                wrong.append(found)

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
