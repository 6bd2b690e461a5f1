"""`keep_unknown`: nothing that was sent is lost, and it is written back."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
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
from stackone_lms.models import extras as unknown
from stackone_lms.models.decode import Decoder
from stackone_lms.models.extras import MOST, KeepUnknown

one = Decoder(CompletionResult)
many = Decoder(Page[Completion])
_numbers = itertools.count()


def name() -> str:
    """Return a name that no model has seen: what they learn stays for the life of the process."""
    return f"unseen_{next(_numbers)}"


def keep(content: Any, decoder: Decoder[Any] = one) -> Any:
    return decoder(json.dumps(content).encode(), keep_unknown=True)


def test_unknown_fields_are_kept_at_every_level() -> None:
    a, b, c, d = name(), name(), name(), name()
    answer = keep({"data": {"id": "x", a: {"deep": [1, None]}, "result": {"value": "Pass", b: None}}, c: 0, d: ""})
    assert answer.extra == {c: 0, d: ""}
    assert answer.data.extra == {a: {"deep": [1, None]}}
    assert answer.data.result.extra == {b: None}
    assert isinstance(answer, CompletionResult)
    assert isinstance(answer.data, Completion)


def test_unknown_fields_of_items_and_of_the_page_are_kept() -> None:
    a, b, c = name(), name(), name()
    page = keep({"data": [{"id": "1", a: 1}, {"id": "2"}, {"id": "3", b: 3}], "next": "n", c: True}, many)
    assert [item.extra for item in page.data] == [{a: 1}, {}, {b: 3}]
    assert (page.next, page.extra) == ("n", {c: True})


def test_unknown_fields_of_records_in_lists_in_records_are_kept() -> None:
    a = name()
    content: Any = KeepUnknown(Content)(
        json.dumps({"id": "x", "skills": [{"id": "s", a: 1}], "localizations": [{"language": {a: 2}}]}).encode()
    )
    assert content.skills[0].extra == {a: 1}
    assert content.localizations[0].language.extra == {a: 2}


def test_without_it_there_is_nothing_extra() -> None:
    answer = one(json.dumps({"data": {"id": "x", name(): 1}, name(): 2}).encode())
    assert answer.extra == {}
    assert answer.data.extra == {}


@pytest.mark.parametrize("encoder", [msgspec.json.encode, encode], ids=["msgspec", "models"])
def test_it_is_written_back_as_it_came(encoder: Any) -> None:
    a = name()
    content: dict[str, Any] = {
        "data": {"id": "x", "user_id": None, "result": {"value": None, a: [{}]}, a: None, "unified_custom_fields": {}},
        "raw": [{"method": "GET", "url": "u", "extra": {"x": 1.5}}],
        a: {"null": None},
    }
    assert json.loads(encoder(keep(content))) == content


def test_null_and_missing_are_told_apart_when_written_and_read_alike() -> None:
    null, missing = keep({"data": {"id": "x", "user_id": None}}), keep({"data": {"id": "x"}})
    assert null.data.user_id is None
    assert missing.data.user_id is None
    assert json.loads(msgspec.json.encode(null)) == {"data": {"id": "x", "user_id": None}}
    assert json.loads(msgspec.json.encode(missing)) == {"data": {"id": "x"}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)
WRITABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters='"\\', min_codepoint=32), max_size=4)


@given(st.dictionaries(WRITABLE, JSON, max_size=3), st.dictionaries(WRITABLE, JSON, max_size=3))
def test_any_name_and_value_goes_there_and_back(inner: dict[str, Any], outer: dict[str, Any]) -> None:
    declared = {"data", "raw", *Completion.__struct_fields__}
    inner = {n: v for n, v in inner.items() if n not in declared}
    outer = {n: v for n, v in outer.items() if n not in declared}
    answer = keep({"data": {"id": "x", **inner}, **outer})
    assert (answer.data.extra, answer.extra) == (inner, outer)
    assert json.loads(msgspec.json.encode(answer)) == {"data": {"id": "x", **inner}, **outer}


@pytest.mark.parametrize(
    "odd",
    ["", "é", "🦊", " ", "a.b", "0", "class", "extra", "extra_0", "raw_json", "__init__", "__dict__", "mro", "type"],
)
def test_names_that_mean_something_to_python_are_only_names(odd: str) -> None:
    answer = keep({"data": {"id": "x", odd: 1}, odd: 2})
    assert (answer.data.extra, answer.extra) == ({odd: 1}, {odd: 2})
    assert json.loads(msgspec.json.encode(answer)) == {"data": {"id": "x", odd: 1}, odd: 2}
    assert answer.raw is None


@pytest.mark.parametrize("odd", ['a"b', "a\\b", "a\nb", "\x00", '"', "\x1f"])
def test_a_name_that_msgspec_cannot_write_poisons_nothing(odd: str) -> None:
    """Its field is only in the bytes; this answer and all after it decode as before."""
    a = name()
    answer = keep({"data": {"id": "x", odd: 1, a: 2, "result": {odd: 3}}, odd: 4})
    assert answer.data.id == "x"
    assert (answer.data.extra, answer.extra, answer.data.result.extra) == ({a: 2}, {}, {})
    page = keep({"data": [{"id": "1", odd: 1}, {"id": "2"}], odd: 4}, many)
    assert [item.id for item in page.data] == ["1", "2"]
    assert keep({"data": {"id": "y", a: 2}}).data.extra == {a: 2}


def test_more_names_than_are_remembered_are_kept_all_the_same() -> None:
    names = [name() for _ in range(MOST + 50)]
    content = {"data": {"id": "x", **dict.fromkeys(names, 1)}}
    answer = keep(content)
    assert answer.data.extra == dict.fromkeys(names, 1)
    assert json.loads(msgspec.json.encode(answer)) == content
    page = keep({"data": [content["data"], {"id": "y"}]}, many)
    assert [len(item.extra) for item in page.data] == [len(names), 0]


def test_names_that_are_new_for_ever_do_not_pile_up() -> None:
    for _ in range(MOST + 20):
        a = name()
        assert keep({"data": {"id": "x", "result": {a: 1}}}).data.result.extra == {a: 1}
    a = name()
    content = {"data": {"id": "x", "result": {a: 1}}}
    assert json.loads(msgspec.json.encode(keep(content))) == content
    registry: Any = unknown._shared  # pyright: ignore[reportPrivateUsage]
    assert max(len(names) for names in registry.names.values()) <= MOST


def test_lenient_answers_keep_theirs_too() -> None:
    a = name()
    answer = keep({"data": {"id": 5, "completed_at": "2021-07-21", a: 1}, a: 2})
    assert (answer.data.id, answer.data.extra, answer.extra) == ("5", {a: 1}, {a: 2})
    page = keep({"data": [{"id": 5, a: 1}, {"id": {}, a: 2}], a: 3}, many)
    assert ([item.extra for item in page.data], page.extra) == ([{a: 1}], {a: 3})
    assert json.loads(page.errors[0].body) == {"id": {}, a: 2}


def test_errors_name_the_declared_path() -> None:
    with pytest.raises(DecodeError) as caught:
        keep({"data": {"id": {}, name(): 1}})
    assert caught.value.path == "$.data.id"


def pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickled])
def test_it_survives_copies_and_pickles(way: Any) -> None:
    a = name()
    answer = keep({"data": {"id": "x", "user_id": None, a: {"b": 1}}, a: None})
    again = way(answer)
    assert again == answer
    assert (again.data.extra, again.extra) == ({a: {"b": 1}}, {a: None})
    assert msgspec.json.encode(again) == msgspec.json.encode(answer)


def test_a_pickle_outlives_what_has_been_learned_since() -> None:
    a, b = name(), name()
    text = pickle.dumps(keep({"data": {"id": "x", a: 1}}).data)
    keep({"data": {"id": "x", b: 1}})
    record = pickle.loads(text)
    assert (record.id, record.extra) == ("x", {a: 1})


def test_answers_from_before_a_name_was_learned_stay_valid() -> None:
    a = name()
    before = keep({"data": {"id": "x"}})
    keep({"data": {"id": "x", a: 1}})
    assert before.data.extra == {}
    assert json.loads(msgspec.json.encode(before)) == {"data": {"id": "x"}}


def test_records_are_equal_whatever_was_learned_in_between() -> None:
    a, b = name(), name()
    content = {"data": [{"id": "x", a: [1]}], "next": None}
    before = keep(content, many)
    keep({"data": {"id": "y", b: 1}})
    after = keep(content, many)
    assert type(before.data[0]) is not type(after.data[0])
    assert before == after
    assert before.data[0] == after.data[0]
    assert hash(before.data[0]) == hash(after.data[0])
    assert before.data[0] != keep({"data": {"id": "x", a: [2]}}).data
    assert before.data[0] != keep({"data": {"id": "x"}}).data
    assert before.data[0] != Completion(id="x")
    assert before.data[0] != "x"


@pytest.fixture
def _hasty_threads() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_hasty_threads")
def test_threads_that_learn_at_once_get_what_is_theirs() -> None:
    """Two blocking clients decode in two threads, with the same decoders."""
    wrong: list[object] = []
    for _ in range(15):
        decoder = Decoder(CompletionResult)
        barrier = threading.Barrier(6)

        def work(decoder: Decoder[CompletionResult] = decoder, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            for _ in range(2):
                a = name()
                try:
                    found = keep({"data": {"id": "x", a: 1}}, decoder).data.extra
                except BaseException as error:
                    found = error
                if found != {a: 1}:
                    wrong.append(found)

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
