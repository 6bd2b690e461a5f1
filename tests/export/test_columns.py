"""Records as columns, also those that are not as the API's document says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from stackone_lms.export.lists import resources
from stackone_lms.export.records.columns import columns_of, spread
from stackone_lms.export.records.lines import Reader
from stackone_lms.models import Assignment, Completion, RawResponse, User
from stackone_lms.models.base import Model


def columns(model: type[Model], *lines: bytes) -> dict[str, list[Any]]:
    """Return the columns of some lines that hold anything."""
    found = spread(model, Reader(model).read(lines))
    assert {len(values) for values in found.values()} == {len(lines)}
    return {name: values for name, values in found.items() if any(value is not None for value in values)}


@pytest.mark.parametrize("resource", resources().values(), ids=lambda resource: resource.name)
def test_every_field_of_every_model_has_a_column(resource: Any) -> None:
    """No column is listed by hand: a field that is added to a model appears by itself, under a name of its own."""
    names = [column.name for column in columns_of(resource.model)]
    assert len(set(names)) == len(names)
    for field in msgspec.structs.fields(resource.model):
        assert [name for name in names if name == field.name or name.startswith(f"{field.name}_")]


def test_undeclared_fields_stand_in_extra_wherever_they_were() -> None:
    """At the top and within records; what was null stays null, what was missing stays missing."""
    found = columns(
        Completion,
        b'{"id":"1","new":{"a":[1,2]},"score":{"percentage":5,"grade":"A"},"result":{"value":"Pass","code":null}}',
        b'{"id":"2"}',
        b'{"id":"3","new":null}',
    )
    extras = [json.loads(text) if text else None for text in found["extra"]]
    assert extras == [{"new": {"a": [1, 2]}, "score": {"grade": "A"}, "result": {"code": None}}, None, {"new": None}]
    assert found["score_percentage"] == [5.0, None, None]
    assert found["result_value"] == ["Pass", None, None]


def test_values_that_providers_are_known_to_send_are_mended() -> None:
    """A date without a time, a number as a string, a numeric id, a boolean as a string."""
    found = columns(Assignment, b'{"id":7,"progress":"40","due_date":"2026-03-01","updated_at":"2026-03-01T10:00:00"}')
    assert found == {
        "id": ["7"],
        "progress": [40.0],
        "due_date": [datetime(2026, 3, 1, tzinfo=UTC)],
        "updated_at": [datetime(2026, 3, 1, 10, tzinfo=UTC)],
    }
    assert columns(User, b'{"active":"false"}', b'{"active":true}') == {"active": [False, True]}


def test_moments_of_other_zones_are_the_same_moments() -> None:
    """An offset is not lost on the way to UTC."""
    (moment,) = columns(User, b'{"updated_at":"2026-03-01T10:00:00+02:00"}')["updated_at"]
    assert moment == datetime(2026, 3, 1, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (b'{"id":"1","completed_at":"soon"}', {"completed_at": "soon"}),
        (b'{"id":"1","score":{"percentage":"many"}}', {"score": {"percentage": "many"}}),
        (b'{"id":"1","result":"Pass"}', {"result": "Pass"}),
        (b'{"id":"1","user_id":["a"]}', {"user_id": ["a"]}),
        (b'{"id":"1","a\\"b":1}', {'a"b': 1}),
        (b'{"id":"1","result":{"x\\ny":1}}', {"result": {"x\ny": 1}}),
        (b'{"id":"1","":2}', {"": 2}),
        (b'{"id":"1","score":{"percentage":"many","grade":"A"}}', {"score": {"percentage": "many", "grade": "A"}}),
    ],
)
def test_what_does_not_fit_stands_in_extra_and_the_rest_in_its_columns(line: bytes, kept: Any) -> None:
    """One odd value costs no other, and is not lost itself."""
    found = columns(Completion, b'{"id":"0"}', line, b'{"id":"2"}')
    assert found["id"] == ["0", "1", "2"]
    assert json.loads(found["extra"][1]) == kept
    assert found["extra"][::2] == [None, None]


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (b'{"id":"1","user_id":"u","ratio":1e400}', '{"ratio":1e400}'),
        (b'{"id":"1","user_id":"u","meta":{"a":[1,{"b":-1E999}]}}', '{"meta":{"a":[1,{"b":-1E999}]}}'),
        (b'{"id":"1","user_id":"u","score":{"percentage":1e400}}', '{"score":{"percentage":1e400}}'),
        (b'{"id":"1","user_id":"u","completed_at":' + b"9" * 5000 + b"}", '{"completed_at":' + "9" * 5000 + "}"),
        (b'{"id":"1","user_id":"u","a":"\xff"}', '{"a":"\ufffd"}'),
        (b'{"id":"1","user_id":"u","unified_custom_fields":{"a":1e400,"b":2}}',
         '{"unified_custom_fields":{"a":1e400,"b":2}}'),
    ],
)  # fmt: skip
def test_what_cannot_be_a_value_stands_as_its_text_in_extra(line: bytes, kept: str) -> None:
    """A number out of range, or bytes that are no UTF-8: that field alone, wherever it is."""
    found = columns(Completion, b'{"id":"0"}', line, b'{"id":"2","score":{"raw_value":"9"}}')
    assert found == {
        "id": ["0", "1", "2"],
        "user_id": [None, "u", None],
        "score_raw_value": [None, None, "9"],
        "extra": [None, kept, None],
    }


def test_an_id_with_half_a_character_is_none() -> None:
    """Two that differ in what is replaced would be one."""
    found = columns(User, rb'{"id":"x\ud800","name":"n"}', rb'{"id":"\\ud800"}')
    assert found["id"] == [None, "\\ud800"]
    assert found["name"] == ["n", None]
    assert json.loads(found["extra"][0]) == {"id": "x\ufffd"}


def test_half_characters_cost_no_column() -> None:
    """A text that was cut in the middle of an emoji, as JavaScript does, gets a replacement character there."""
    found = columns(
        User, rb'{"id":"1","name":"Ann \ud83d","a":"\udc00x","email":"\\ud83d \ud83d\ude00"}', b'{"id":"2"}'
    )
    assert found["id"] == ["1", "2"]
    assert found["name"][0] == "Ann \ufffd"
    assert found["email"][0] == "\\ud83d \U0001f600"
    assert json.loads(found["extra"][0]) == {"a": "\ufffdx"}


def test_numbers_that_are_none() -> None:
    """A progress in words stands in `extra`, as it was sent."""
    found = columns(Assignment, b'{"progress":"half"}', b'{"progress":"nan"}', b'{"progress":" 12.5 "}')
    assert found["progress"] == [None, None, 12.5]
    assert found["extra"] == ['{"progress":"half"}', '{"progress":"nan"}', None]


@pytest.mark.parametrize(
    "line",
    [
        b"[1,2]",
        b'"text"',
        b"5",
        b"null",
        b'{"id":1e999}',
        b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_what_is_no_record_stands_whole_in_extra(line: bytes) -> None:
    """Also what cannot be decoded at all: its text is kept."""
    assert columns(Completion, b'{"id":"0"}', line) == {"id": ["0", None], "extra": [None, line.decode()]}


def test_a_small_stack_is_not_overrun() -> None:
    """Nesting that a thread's stack cannot bear ends as text, not as the end of the process."""
    deep = b'{"a":' + b"[" * 400 + b"]" * 400 + b"}"
    assert _in_small_thread(lambda: columns(User, deep)) == {"extra": [deep.decode()]}


def _in_small_thread(function: Callable[[], Any]) -> Any:
    found: list[Any] = []
    before = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=lambda: found.append(function()))
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    return found[0]


def test_text_is_kept_as_text_and_the_rest_as_json() -> None:
    """A source value that is a string stands there without quotes; all others as JSON."""
    values = ['"Done"', "true", "5", '{"a":1}', "[1]", "null"]
    lines = [f'{{"result":{{"source_value":{value}}}}}'.encode() for value in values]
    found = columns(Completion, *lines)
    assert found["result_source_value"] == ["Done", "true", "5", '{"a":1}', "[1]", None]
    calls = columns(RawResponse, b'{"method":"GET","body":null,"response":{"a":[1]}}')
    assert calls == {"method": ["GET"], "response": ['{"a":[1]}']}


def test_records_of_twins_of_different_ages() -> None:
    """Records decoded before and after a new field was met go together, plain ones too."""
    from stackone_lms.export.records.columns import Rows, spread
    from stackone_lms.models.extras import KeepUnknown

    keep = KeepUnknown(User)
    rows = [User(id="0"), keep(b'{"id":"1","age_one":1}'), keep(b'{"id":"2","age_two":null,"age_one":3}'), None]
    found = spread(User, Rows(rows, {}, {3: "text"}))
    assert found["id"] == ["0", "1", "2", None]
    extras = [json.loads(text) if text and text != "text" else text for text in found["extra"]]
    assert extras == [None, {"age_one": 1}, {"age_two": None, "age_one": 3}, "text"]
