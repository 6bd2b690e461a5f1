"""Request bodies: what is sent, and what is refused before anything is."""

from __future__ import annotations

import enum
import json
from collections import UserString
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from msgspec import UNSET

from stackone_lms.errors import InvalidArgumentError
from stackone_lms.models import (
    AdditionalData,
    AssignmentStatus,
    Author,
    Body,
    Content,
    ContentType,
    CreateAssignment,
    CreateCategory,
    CreateCollection,
    CreateCompletion,
    CreateContent,
    CreateSkill,
    Language,
    Localization,
    ResultStatus,
    Score,
    UpdateContent,
    UpsertContent,
    UpsertCourse,
    WriteContentType,
)
from stackone_lms.models.bodies import prepare, prepare_batch
from stackone_lms.safe_json import MAX_DEPTH

REFERENCE: dict[str, object] = {"learning_object_external_reference": "course-1"}
MOMENT = datetime(2024, 1, 31, 9, 0, tzinfo=UTC)


def sent(body: Body, cls: type[Body] | None = None) -> Any:
    return json.loads(prepare(body, cls or type(body)))


def completion(**keys: object) -> dict[str, object]:
    return {**REFERENCE, **keys}


def refusal(body: Any, cls: type[Body] = CreateCompletion) -> str:
    with pytest.raises(InvalidArgumentError) as caught:
        prepare(body, cls)
    return str(caught.value).removeprefix("the body cannot be sent: ")


def nested(levels: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(levels - 1):
        inner = [inner]
    return inner


class Naive(tzinfo):
    """A zone that does not know its offset, which makes a datetime naive."""

    def utcoffset(self, dt: datetime | None, /) -> timedelta | None:
        return None

    def dst(self, dt: datetime | None, /) -> timedelta | None:
        return None

    def tzname(self, dt: datetime | None, /) -> str | None:
        return None


class Outcome(enum.StrEnum):
    PASSED = "Pass"


class Text(str):
    """A plain subclass, which the encoder itself does not take."""


class Level(enum.IntEnum):
    FIVE = 5


def test_what_is_not_given_is_not_sent() -> None:
    assert sent(CreateCompletion(learning_object_external_reference="a")) == {"learning_object_external_reference": "a"}


def test_none_is_sent_as_null() -> None:
    body = UpsertContent(external_reference="a", title=None, categories=None, active=None, duration=None)
    assert sent(body) == {
        "external_reference": "a",
        "title": None,
        "categories": None,
        "active": None,
        "duration": None,
    }


def test_a_completion_is_sent_in_the_forms_of_the_api() -> None:
    body = CreateCompletion(
        learning_object_external_reference="a",
        result="Pass",
        completed_at=datetime(2024, 1, 31, 10, 0, tzinfo=timezone(timedelta(hours=1))),
        time_spent=timedelta(hours=1, seconds=5),
        score=Score(percentage=87.5),
        passthrough={"day": MOMENT, "n": [1, None, True, 0.5], "nested": {"t": (MOMENT,)}},
    )
    assert sent(body) == {
        "learning_object_external_reference": "a",
        "result": {"value": "Pass"},
        "completed_at": "2024-01-31T09:00:00.000Z",
        "time_spent": "PT1H5S",
        "score": {"percentage": 87.5},
        "passthrough": {
            "day": "2024-01-31T09:00:00.000Z",
            "n": [1, None, True, 0.5],
            "nested": {"t": ["2024-01-31T09:00:00.000Z"]},
        },
    }


def test_nested_bodies_and_records_are_sent() -> None:
    body = UpsertCourse(
        external_reference="a",
        languages=["en_GB", Language(source_value="Welsh"), Language(value="xx_YY", source_value=5)],
        categories=[CreateCategory(name="c", hierarchy="primary", language="fr_FR")],
        skills=[CreateSkill(id="s", proficiency="5")],
        content=[CreateContent(title="t", order=2)],
        localizations=[Localization(title="l", language=Language(value="en_GB"), tags=["x"])],
    )
    assert sent(body) == {
        "external_reference": "a",
        "languages": [
            {"value": "en_GB"},
            {"source_value": "Welsh"},
            {"value": "xx_YY", "source_value": 5},
        ],
        "categories": [{"name": "c", "hierarchy": {"value": "primary"}, "language": {"value": "fr_FR"}}],
        "skills": [{"id": "s", "proficiency": {"value": "5"}}],
        "content": [{"title": "t", "order": 2}],
        "localizations": [{"title": "l", "language": {"value": "en_GB"}, "tags": ["x"]}],
    }


def test_an_upsert_of_content_is_sent() -> None:
    body = UpsertContent(
        external_reference="a",
        content_type="interactive",
        active=False,
        duration="P3Y6M4DT12H30M5S",
        authors=[Author(name="n")],
        additional_data=[AdditionalData(id="x", value=["a", "b"]), AdditionalData(value="c")],
        passthrough={"k": "v"},
    )
    assert sent(body) == {
        "external_reference": "a",
        "content_type": {"value": "interactive"},
        "active": False,
        "duration": "P3Y6M4DT12H30M5S",
        "authors": [{"name": "n"}],
        "additional_data": [{"id": "x", "value": ["a", "b"]}, {"value": "c"}],
        "passthrough": {"k": "v"},
    }


def test_the_languages_of_a_collection_are_plain_strings() -> None:
    """The API documents them so, unlike the languages of content and courses."""
    assert sent(CreateCollection(languages=["en_GB", "cy"])) == {"languages": ["en_GB", "cy"]}


def test_a_mapping_is_sent_like_the_body_it_describes() -> None:
    body = CreateAssignment(
        learning_object_external_reference="a",
        status="in_progress",
        progress=40,
        due_date=MOMENT,
        assigned_at=None,
    )
    mapping = MappingProxyType(
        {
            "learning_object_external_reference": "a",
            "status": {"value": "in_progress"},
            "progress": 40,
            "due_date": "2024-01-31T10:00:00+01:00",
            "assigned_at": None,
            "passthrough": UNSET,
        }
    )
    assert json.loads(prepare(mapping, CreateAssignment)) == sent(body)


def test_a_mapping_may_hold_typed_values_and_mappings() -> None:
    mapping = {
        "external_reference": "a",
        "localizations": [{"language": "en_GB"}, Localization(title="x")],
        "skills": ({"name": "s"}, CreateSkill(name="t")),
        "content_type": WriteContentType(source_value="scorm"),
    }
    assert json.loads(prepare(mapping, UpdateContent)) == {
        "external_reference": "a",
        "localizations": [{"language": {"value": "en_GB"}}, {"title": "x"}],
        "skills": [{"name": "s"}, {"name": "t"}],
        "content_type": {"source_value": "scorm"},
    }


def test_subclasses_of_plain_types_are_sent_as_the_plain_value() -> None:
    mapping = completion(result=Outcome.PASSED, passthrough={"level": Level.FIVE, Text("of"): Text("x")})
    assert json.loads(prepare(mapping, CreateCompletion)) == {
        **REFERENCE,
        "result": {"value": "Pass"},
        "passthrough": {"level": 5, "of": "x"},
    }


@pytest.mark.parametrize(
    "duration", ["PT0S", "PT1H30M45S", "P3Y6M4DT12H30M5S", "P1W", "PT0.5S", "PT1,5H", "P1M", "PT1M"]
)
def test_an_iso_duration_is_sent_as_it_is(duration: str) -> None:
    assert json.loads(prepare(completion(time_spent=duration), CreateCompletion))["time_spent"] == duration


@pytest.mark.parametrize(
    "duration",
    ["", "P", "PT", "P1DT", "1H", "PT1H30", "-PT1H", "PT-1H", "pt1h", "PT1.5H30M", "PT1M1H", "P1S",
     "PT\u0661H", "PT1H\n", "90"],
)  # fmt: skip
def test_a_malformed_duration_is_refused(duration: str) -> None:
    assert refusal(completion(time_spent=duration)) == (
        "$.time_spent: must be an ISO 8601 duration, such as PT1H30M45S, or a timedelta"
    )


@pytest.mark.parametrize(
    ("body", "cls", "message"),
    [
        ({}, CreateCompletion, "$.learning_object_external_reference: is required"),
        ({}, UpsertContent, "$.external_reference: is required"),
        (
            {"external_reference": ""},
            UpsertContent,
            "$.external_reference: is required and must not be empty",
        ),
        (
            {"external_reference": " "},
            UpdateContent,
            "$.external_reference: is required and must not be empty",
        ),
        (
            {"external_reference": None},
            UpsertContent,
            "$.external_reference: expected a string, not NoneType",
        ),
        ({"external_reference": 7}, UpsertContent, "$.external_reference: expected a string, not int"),
        (completion(score=5), CreateCompletion, "$.score: expected Score or a mapping or None, not int"),
        (
            completion(score={"percentage": "87"}),
            CreateCompletion,
            "$.score.percentage: expected a number or None, not str",
        ),
        (
            completion(score={"percentage": True}),
            CreateCompletion,
            "$.score.percentage: expected a number or None, not bool",
        ),
        ({"active": "yes"}, UpsertCourse, "$.active: expected true or false or None, not str"),
        ({"active": 1}, UpsertCourse, "$.active: expected true or false or None, not int"),
        (
            {"tags": "abc", "external_reference": "a"},
            UpsertContent,
            "$.tags: expected a list or None, not str",
        ),
        (
            {"learning_object_ids": ["a", 5]},
            CreateCollection,
            "$.learning_object_ids[1]: expected a string, not int",
        ),
        (
            {"additional_data": [{"value": 5}], "external_reference": "a"},
            UpsertContent,
            "$.additional_data[0].value: expected a string or a list or None, not int",
        ),
        (
            {"skills": [ContentType()]},
            UpsertCourse,
            "$.skills[0]: expected CreateSkill, Skill or a mapping, not ContentType",
        ),
        (
            completion(result=AssignmentStatus(value="completed")),
            CreateCompletion,
            "$.result: expected ResultStatus or one of its values or None, not AssignmentStatus",
        ),
        (
            completion(result={"value": 5}),
            CreateCompletion,
            "$.result.value: expected a string or None, not int",
        ),
        (
            completion(passthrough=[1]),
            CreateCompletion,
            "$.passthrough: expected a mapping or None, not list",
        ),
        (completion(passthrough="x"), CreateCompletion, "$.passthrough: expected a mapping or None, not str"),
        (
            completion(completed_at=date(2024, 1, 31)),
            CreateCompletion,
            "$.completed_at: expected a datetime with a time zone or None, not date",
        ),
        (
            completion(completed_at=1706691600),
            CreateCompletion,
            "$.completed_at: expected a datetime with a time zone or None, not int",
        ),
        (
            completion(time_spent=90),
            CreateCompletion,
            "$.time_spent: expected a timedelta or an ISO 8601 duration or None, not int",
        ),
        (
            completion(time_spent=timedelta(seconds=-1)),
            CreateCompletion,
            "$.time_spent: a duration cannot be negative",
        ),
        ("course-1", CreateCompletion, "$: expected CreateCompletion, Completion or a mapping, not str"),
        (None, CreateCompletion, "$: expected CreateCompletion, Completion or a mapping, not NoneType"),
        (
            UpsertContent(external_reference="a"),
            UpdateContent,
            "$: expected UpdateContent, Content or a mapping, not UpsertContent",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_its_path(body: Any, cls: type[Body], message: str) -> None:
    assert refusal(body, cls) == message


def test_an_unknown_key_is_refused_with_the_known_ones() -> None:
    assert refusal({"percentage": 1}, CreateSkill) == (
        "$.percentage: is no key of CreateSkill, which has hierarchy, id, language, level, name, proficiency"
        "; keys that the API's document lacks go into extra={...}"
    )
    assert refusal(completion(score={"percent": 1})) == (
        "$.score.percent: is no key of Score, which has percentage, raw_value"
    )
    assert refusal({"skills": [{"two words\n": 1}]}, UpsertCourse).startswith("$.skills[0]['two words\\n']: is no")


@pytest.mark.parametrize(
    "moment", [MOMENT.replace(tzinfo=None), MOMENT.replace(tzinfo=Naive())], ids=["no zone", "no offset"]
)
def test_a_naive_datetime_is_refused(moment: datetime) -> None:
    message = "a datetime needs a time zone, e.g. datetime(2024, 1, 31, tzinfo=UTC)"
    body = CreateCompletion(learning_object_external_reference="a", completed_at=moment)
    assert refusal(body) == f"$.completed_at: {message}"
    assert refusal(completion(passthrough={"at": [moment]})) == f"$.passthrough.at[0]: {message}"


@pytest.mark.parametrize("text", ["2024-01-31", "2024-01-31T09:00:00", "31.1.2024", "", "yesterday"])
def test_a_date_string_without_a_zone_is_refused(text: str) -> None:
    assert refusal(completion(completed_at=text)) == (
        "$.completed_at: must be a date-time with its zone, such as 2024-01-31T09:00:00Z"
    )


def test_an_unknown_unified_value_is_refused_with_the_known_ones() -> None:
    body = CreateCompletion(learning_object_external_reference="a", result="pass")
    assert refusal(body) == (
        "$.result: 'pass' is not one of Pass, Fail, unmapped_value. "
        "To write a value of the provider, use ResultStatus(source_value=...)"
    )


def test_an_unknown_language_is_refused_with_the_nearest_ones() -> None:
    message = refusal({"languages": ["fr_FR", "en-GB"]}, UpsertCourse)
    assert message.startswith("$.languages[1]: 'en-GB' is not one of en_GB, ")
    assert message.count("_") == 11  # ten codes and source_value
    assert message.endswith(" or another of 411. To write a value of the provider, use Language(source_value=...)")


def test_an_unknown_unified_value_is_shown_short_and_escaped() -> None:
    message = refusal({"languages": ["x\n" * 100_000]}, UpsertCourse)
    assert "\n" not in message
    assert len(message) < 400


def test_a_value_that_the_type_does_not_know_can_be_sent_in_its_struct() -> None:
    body = CreateCompletion(learning_object_external_reference="a", result=ResultStatus(value="Excused"))
    assert sent(body)["result"] == {"value": "Excused"}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_lacks_is_refused(number: float) -> None:
    message = "must be a finite number: JSON has neither NaN nor infinity"
    assert refusal(completion(score=Score(percentage=number))) == f"$.score.percentage: {message}"
    assert refusal(completion(passthrough={"n": number})) == f"$.passthrough.n: {message}"
    body = completion(result=ResultStatus(source_value=[number]))
    assert refusal(body) == f"$.result.source_value[0]: {message}"


def test_an_integer_beyond_the_range_of_doubles_is_refused() -> None:
    message = "is larger than any number that JSON readers take"
    assert refusal(completion(score=Score(percentage=10**5000))) == f"$.score.percentage: {message}"
    assert refusal(completion(passthrough={"n": -(10**5000)})) == f"$.passthrough.n: {message}"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (completion(learning_object_id="\ud800"), "$.learning_object_id"),
        (completion(learning_object_external_reference="a\udfff"), "$.learning_object_external_reference"),
        (completion(passthrough={"k": ["\ud800"]}), "$.passthrough.k[0]"),
        (completion(passthrough={"\ud800": 1}), "$.passthrough"),
        (completion(completed_at="\ud800"), "$.completed_at"),
        ({"\ud800": 1}, "$"),
    ],
)
def test_a_lone_surrogate_is_refused(body: Any, path: str) -> None:
    assert refusal(body) == f"{path}: has half a surrogate pair, which UTF-8 cannot encode"


def test_an_object_that_contains_itself_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["loop"] = [loop, loop]
    for field in ("passthrough", "result"):
        value = {"source_value": loop} if field == "result" else loop
        message = refusal(completion(**{field: value}))
        assert message.startswith(f"$.{field}.")
        assert message.endswith(f": nests deeper than {MAX_DEPTH} levels, or contains itself")
        assert len(message) < 400


def test_nesting_is_sent_up_to_the_limit() -> None:
    assert sent(UpsertCourse(unified_custom_fields={"a": nested(MAX_DEPTH - 1)}))
    assert "nests deeper" in refusal({"unified_custom_fields": {"a": nested(MAX_DEPTH)}}, UpsertCourse)


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, b"x", Decimal(1), timedelta(1), date(2024, 1, 31), UserString("x"), Score()]
)
def test_what_has_no_json_form_is_refused(value: object) -> None:
    assert refusal(completion(passthrough={"a b": [value]})) == (
        f"$.passthrough['a b'][0]: {type(value).__name__} has no JSON form; give plain values or a datetime"
    )


def test_keys_must_be_strings() -> None:
    assert refusal(completion(passthrough={"a": {1: 2}})) == "$.passthrough.a: keys must be strings, not int"
    assert refusal({1: 2}) == "$: keys must be strings, not int"


def test_a_batch_is_sent_as_items() -> None:
    items: list[UpsertContent | dict[str, object]] = [
        UpsertContent(external_reference="a", active=True),
        {"external_reference": "b"},
    ]
    assert json.loads(prepare_batch(iter(items), UpsertContent)) == {
        "items": [{"external_reference": "a", "active": True}, {"external_reference": "b"}]
    }


def test_a_bad_item_of_a_batch_is_refused_with_its_place() -> None:
    items: list[UpsertContent | dict[str, object]] = [
        UpsertContent(external_reference="a"),
        {"external_reference": "b", "order": "1"},
    ]
    with pytest.raises(InvalidArgumentError, match=r"\$\.items\[1\]\.order: expected a number or None, not str"):
        prepare_batch(items, UpsertContent)


def test_a_body_shows_only_what_was_given() -> None:
    assert repr(CreateSkill(name="x")) == "CreateSkill(name='x')"


def test_an_unknown_keyword_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        CreateSkill(nome="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError):
        UpsertContent(title="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# Keys that the API's document does not have


def test_extra_keys_are_sent_beside_the_declared_ones_however_a_body_is_given() -> None:
    extra = {"vendor_flag": True, "since": MOMENT, "deep": {"a": [None, 1.5, "é"]}, "id": "only-read", "extra": 1}
    expected = {
        "external_reference": "e",
        "vendor_flag": True,
        "since": "2024-01-31T09:00:00.000Z",
        "deep": {"a": [None, 1.5, "é"]},
        "id": "only-read",
        "extra": 1,
    }
    body = UpsertContent(external_reference="e", extra=extra)
    assert sent(body) == expected
    assert json.loads(prepare({"external_reference": "e", "extra": extra}, UpsertContent)) == expected
    assert json.loads(prepare({"external_reference": "e", "extra": MappingProxyType(extra)}, UpsertContent)) == expected
    assert body.to_dict() == expected
    assert json.loads(prepare_batch([body, {"external_reference": "e"}], UpsertContent))["items"] == [
        expected,
        {"external_reference": "e"},
    ]


@pytest.mark.parametrize("nothing", [{}, None, UNSET])
def test_no_extra_keys_are_none(nothing: Any) -> None:
    assert sent(CreateCompletion(learning_object_external_reference="course-1", extra=nothing)) == REFERENCE
    assert json.loads(prepare(completion(extra=nothing), CreateCompletion)) == REFERENCE


def test_bodies_inside_of_bodies_take_extra_keys_too() -> None:
    categories = [CreateCategory(name="a", extra={"x": 1}), {"name": "b", "extra": {"y": 2}}]
    body = {"external_reference": "e", "categories": categories}
    assert json.loads(prepare(body, UpsertContent))["categories"] == [{"name": "a", "x": 1}, {"name": "b", "y": 2}]


def test_a_body_of_a_record_takes_extra_keys() -> None:
    record = Content(id="1", external_reference="e", title="t")
    assert sent(UpsertContent.of(record, extra={"x": 1})) == {"external_reference": "e", "title": "t", "x": 1}
    mapping = {**record.to_dict(), "extra": {"y": 2}}
    assert sent(UpsertContent.of(mapping)) == {"external_reference": "e", "title": "t", "y": 2}
    assert json.loads(prepare(mapping, UpsertContent)) == {"external_reference": "e", "title": "t", "y": 2}


def test_a_declared_key_is_refused_among_the_extra_ones() -> None:
    inside = {"external_reference": "e", "categories": [{"name": "a", "extra": {"name": "b"}}]}
    assert refusal(completion(extra={"result": "Pass"})) == (
        "$.extra.result: is a key of CreateCompletion: give it outside of extra"
    )
    assert refusal(inside, UpsertContent).startswith("$.categories[0].extra.name: is a key of CreateCategory")
    body = CreateCompletion(learning_object_external_reference="c", extra={"learning_object_external_reference": "d"})
    assert refusal(body).startswith("$.extra.learning_object_external_reference: is a key")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ([("x", 1)], "$.extra: must be a mapping of keys that CreateCompletion lacks, not list"),
        ("x", "$.extra: must be a mapping of keys that CreateCompletion lacks, not str"),
        ({1: 2}, "$.extra: keys must be strings, not int"),
        ({"x": float("nan")}, "$.extra.x: must be a finite number"),
        ({"x": {"y": {1, 2}}}, "$.extra.x.y: set has no JSON form"),
        ({"x y": MOMENT.replace(tzinfo=None)}, "$.extra['x y']: a datetime needs a time zone"),
    ],
)
def test_extra_keys_that_cannot_be_sent_are_refused(extra: Any, message: str) -> None:
    assert refusal(completion(extra=extra)).startswith(message)
    assert refusal(CreateCompletion(learning_object_external_reference="c", extra=extra)).startswith(message)


def test_a_mapping_takes_unknown_keys_there_only() -> None:
    assert refusal(completion(vendor_flag=True)).endswith("; keys that the API's document lacks go into extra={...}")


def test_extra_keys_are_shown_last() -> None:
    assert repr(CreateCompletion(learning_object_external_reference="c", extra={"x": 1})) == (
        "CreateCompletion(learning_object_external_reference='c', extra={'x': 1})"
    )
