"""The models of the read side and the results of writes."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from stackone_lms import models
from stackone_lms.models import (
    Assignment,
    AssignmentStatus,
    BatchResult,
    Category,
    Content,
    ContentResult,
    Course,
    CreateResult,
    DeleteResult,
    Language,
    Page,
    ResultStatus,
    Skill,
    SkillProficiencyLevel,
    UpdateResult,
    UpsertResult,
    User,
    encode,
)

STRUCTS: list[type[msgspec.Struct]] = [
    found for found in vars(models).values() if isinstance(found, type) and issubclass(found, msgspec.Struct)
]


def decode(kind: Any, body: bytes) -> Any:
    return msgspec.json.decode(body, type=kind)


def test_all_names_what_the_package_exports() -> None:
    exported = {
        name for name, value in vars(models).items() if not name.startswith("_") and not isinstance(value, type(models))
    }
    assert exported == set(models.__all__)


@pytest.mark.parametrize("kind", STRUCTS, ids=lambda kind: kind.__name__)
def test_every_struct_takes_keywords_only_and_cannot_be_changed(kind: Any) -> None:
    with pytest.raises(TypeError, match="positional"):
        kind("x")
    assert kind.__struct_config__.frozen


@pytest.mark.parametrize("kind", [Category, Content, Course, Skill, User])
@pytest.mark.parametrize(
    ("sent", "kept", "is_active"),
    [
        (b"true", True, True),
        (b"false", False, False),
        (b'"true"', "true", True),
        (b'"false"', "false", False),
        (b"null", None, None),
    ],
)
def test_active_is_kept_as_sent_and_read_as_a_boolean(
    kind: Any, sent: bytes, kept: object, is_active: bool | None
) -> None:
    record = decode(kind, b'{"active":%s}' % sent)
    assert record.active is kept or record.active == kept
    assert record.is_active is is_active
    assert encode(record) == (b"{}" if kept is None else b'{"active":%s}' % sent)


@pytest.mark.parametrize(
    ("sent", "percent"),
    [
        (b"40", 40.0),
        (b"0", 0.0),
        (b"12.5", 12.5),
        (b'"40"', 40.0),
        (b'"0"', 0.0),
        (b'"12.5"', 12.5),
        (b'""', None),
        (b'"done"', None),
        (b'"nan"', None),
        (b'"inf"', None),
        (b"null", None),
    ],
)
def test_progress_is_read_as_a_number_where_it_is_one(sent: bytes, percent: float | None) -> None:
    assert decode(Assignment, b'{"progress":%s}' % sent).progress_percent == percent


def test_progress_is_kept_as_sent() -> None:
    assert encode(decode(Assignment, b'{"progress":"40"}')) == b'{"progress":"40"}'


@pytest.mark.parametrize("kind", [Content, Course])
def test_duration_is_read_as_a_timedelta(kind: Any) -> None:
    assert kind(duration="PT1H30M45S").duration_timedelta == timedelta(hours=1, minutes=30, seconds=45)
    assert kind(duration="P3Y6M4DT12H30M5S").duration_timedelta is None
    assert kind().duration_timedelta is None


def test_an_unknown_unified_value_is_delivered_as_it_is() -> None:
    assignment = decode(Assignment, b'{"status":{"value":"paused","source_value":["P",1]}}')
    assert assignment.status == AssignmentStatus(value="paused", source_value=["P", 1])


def test_unified_values_tell_which_values_the_api_documents() -> None:
    assert ResultStatus.known() == ("Pass", "Fail", "unmapped_value")
    assert SkillProficiencyLevel.known() == ("1", "2", "3", "4", "5")
    assert {"en_GB", "bs-ME", "unmapped_value"} < set(Language.known())


def test_a_localization_takes_its_language_under_either_key() -> None:
    body = b'{"localizations":[{"language":{"value":"en_GB"}},{"languages":{"value":"en-US"}}]}'
    content = decode(Content, body)
    assert [(t.language, t.languages) for t in content.localizations] == [
        (Language(value="en_GB"), None),
        (None, Language(value="en-US")),
    ]
    assert encode(content) == body


def test_a_record_with_nested_records_round_trips() -> None:
    body = (
        b'{"data":{"id":"1","course_ids":["a"],"content_type":{"value":"video"},"order":1.5,'
        b'"categories":[{"id":"c","hierarchy":{"value":"primary"}}],"skills":[{"name":"s"}],'
        b'"authors":[{"name":"n"}],"updated_at":"2021-07-21T14:00:00.000Z",'
        b'"additional_data":[{"id":"x","value":["a","b"]},{"value":"c"}]}}'
    )
    assert json.loads(encode(decode(ContentResult, body))) == json.loads(body)


def test_a_page_holds_typed_records() -> None:
    page = decode(Page[User], b'{"data":[{"name":"Ada"},{"name":null}],"next":null}')
    assert page.data == [User(name="Ada"), User()]


@pytest.mark.parametrize(
    ("moment", "wire"),
    [
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))), "0001-01-01T00:00:00.000+01:00"),
        (
            datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=timezone(timedelta(hours=-5))),
            "9999-12-31T23:59:59.999-05:00",
        ),
    ],
)
def test_a_date_that_has_no_utc_form_keeps_its_offset(moment: datetime, wire: str) -> None:
    assert encode(User(created_at=moment)) == b'{"created_at":"%s"}' % wire.encode()


@pytest.mark.parametrize("kind", [CreateResult, UpsertResult, UpdateResult, DeleteResult, BatchResult])
def test_a_write_result_needs_nothing(kind: Any) -> None:
    """A 204 has no body at all, and providers leave out what they please."""
    assert kind() == decode(kind, b"{}")
    assert kind().status_code is None
    assert decode(kind, b'{"statusCode":null,"message":null,"timestamp":null}') == kind()


def test_a_create_result_has_the_ids() -> None:
    body = (
        b'{"statusCode":201,"message":"Record created.","timestamp":"2021-01-01T01:01:01.000Z",'
        b'"data":{"id":"1","remote_id":"r"}}'
    )
    result = decode(CreateResult, body)
    assert (result.status_code, result.data.id, result.data.remote_id) == (201, "1", "r")
    assert result.timestamp == datetime(2021, 1, 1, 1, 1, 1, tzinfo=UTC)
    assert encode(result) == body


def test_an_upsert_result_has_the_external_reference() -> None:
    assert decode(UpsertResult, b'{"data":{"external_reference":"e"}}').data.external_reference == "e"


def test_a_status_code_may_be_written_with_a_fraction() -> None:
    assert decode(DeleteResult, b'{"statusCode":204.0}').status_code == 204


def test_a_batch_result_has_the_errors_of_each_item() -> None:
    assert decode(BatchResult, b'{"errors":[["no name"],[],[]]}').errors == [["no name"], [], []]


def test_records_and_results_pickle() -> None:
    result = decode(UpsertResult, b'{"statusCode":201,"data":{"id":"1"}}')
    assert pickle.loads(pickle.dumps(result)) == result
    content = Content(languages=[Language(value="en_GB")], active="true")
    assert pickle.loads(pickle.dumps(content)) == content
