"""Read, change, write back: the API has no partial updates, so a whole record is what is sent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import UNSET

from stackone_lms import AsyncClient, SyncClient
from stackone_lms.errors import InvalidArgumentError
from stackone_lms.models import (
    Assignment,
    Body,
    Category,
    Completion,
    Content,
    ContentType,
    Course,
    CreateAssignment,
    CreateCategory,
    CreateCollection,
    CreateCompletion,
    CreateContent,
    Language,
    Model,
    Score,
    Skill,
    UpdateContent,
    UpsertContent,
    UpsertCourse,
    to_builtins,
)
from stackone_lms.models.bodies import prepare, prepare_batch
from stackone_lms.models.decode import Decoder
from stackone_lms.sandbox import Sandbox

RECORDS = 120


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(users=5, courses=20, contents=RECORDS, assignments=20, completions=20) as running:
        yield running


def _client(sandbox: Sandbox, cls: type[Any]) -> Any:
    return cls(sandbox.api_key, sandbox.account_ids[0], base_url=sandbox.url, rate_limit=None)


async def test_every_content_of_the_sandbox_is_written_as_it_was_read(sandbox: Sandbox) -> None:
    async with _client(sandbox, AsyncClient) as client:
        records = await client.content.list(page_size=100).collect()
        assert len(records) == RECORDS
        for record in records:
            assert (await client.content.upsert(record)).status in {200, 201}
        for record in records:
            again = (await client.content.get(record.id)).data
            assert _written(again) == _written(record)


def _written(record: Content) -> dict[str, Any]:
    """Return what of a record can be written, without the moment of the last change."""
    plain = to_builtins(record)
    plain["active"] = record.is_active
    for inner in (*plain.get("categories", []), *plain.get("skills", [])):
        inner.pop("remote_id", None)
        inner.pop("active", None)
    return {n: value for n, value in plain.items() if n in UpsertContent.__struct_fields__ and n != "updated_at"}


def _as_it_is(record: Model) -> Model:
    return record


@pytest.mark.filterwarnings("ignore:.*left the StackOne API:DeprecationWarning")
async def test_all_operations_take_what_was_read(sandbox: Sandbox) -> None:
    """As models, and as the mappings made of them."""
    async with _client(sandbox, AsyncClient) as client:
        contents = await client.content.list(page_size=100).collect()
        courses = await client.courses.list(page_size=100).collect()
        completion = (await client.completions.list().first_page()).data[0]
        assignment = (await client.assignments.list().first_page()).data[0]
        for shape in (_as_it_is, to_builtins):
            assert (await client.content.batch_upsert(map(shape, contents))).rejected == ()
            assert (await client.courses.batch_upsert(map(shape, courses))).rejected == ()
            for answer in (
                await client.content.update(contents[0].id, shape(contents[0])),
                await client.courses.upsert(shape(courses[0])),
                await client.users.completions.create(completion.user_id, shape(completion)),
                await client.users.assignments.create(
                    assignment.user_id,
                    # The sandbox has this reference already.
                    CreateAssignment.of(shape(assignment), external_reference=UNSET),
                ),
            ):
                assert 200 <= answer.status < 300


@pytest.mark.filterwarnings("ignore:.*left the StackOne API:DeprecationWarning")
def test_the_blocking_client_takes_what_was_read() -> None:
    with (
        Sandbox.in_thread(users=5, courses=20, contents=RECORDS, assignments=20, completions=20) as running,
        _client(running, SyncClient) as client,
    ):
        records = client.content.list(page_size=100).collect()
        assert len(records) == RECORDS
        for record in records:
            assert client.content.upsert(record).status in {200, 201}
        assert client.content.batch_upsert(client.content.list(page_size=100)).rejected == ()
        assert client.courses.upsert(client.courses.list().first_page().data[0]).status in {200, 201}
        content = records[0]
        client.content.upsert(UpsertContent.of(content, active=False))
        again = client.content.get(content.id).data
        assert (again.is_active, again.title, len(again.skills or [])) == (
            False,
            content.title,
            len(content.skills or []),
        )


SENT = {
    "id": "c1",
    "remote_id": "r1",
    "external_reference": "mine",
    "title": "Fire safety",
    "course_ids": ["x"],
    "content_type": {"value": "video", "source_value": "VIDEO"},
    "active": "true",
    "duration": "PT1H",
    "languages": [{"value": "en_GB", "source_value": "English"}],
    "categories": [
        {"id": "k", "remote_id": "rk", "name": "Safety", "active": "false", "level": {"value": "primary"}},
    ],
    "skills": [{"id": "s", "name": "First aid", "active": True, "hierarchy": {"value": "primary"}}],
    "localizations": [{"title": "Brandschutz", "language": {"value": "de_DE"}}],
    "created_at": "2024-01-31T09:00:00.000Z",
    "provider": "us",
    "unknown_to_the_models": 1,
}
WRITTEN = {
    "external_reference": "mine",
    "title": "Fire safety",
    "content_type": {"value": "video", "source_value": "VIDEO"},
    "active": True,
    "duration": "PT1H",
    "languages": [{"value": "en_GB", "source_value": "English"}],
    "categories": [{"id": "k", "name": "Safety", "level": {"value": "primary"}}],
    "skills": [{"id": "s", "name": "First aid", "hierarchy": {"value": "primary"}}],
    "localizations": [{"title": "Brandschutz", "language": {"value": "de_DE"}}],
    "created_at": "2024-01-31T09:00:00.000Z",
}


@pytest.mark.parametrize("keep_unknown", [False, True])
def test_what_cannot_be_written_is_left_out_at_every_level(keep_unknown: bool) -> None:
    record = Decoder(Content)(json.dumps(SENT).encode(), keep_unknown=keep_unknown)
    known = {name: value for name, value in SENT.items() if name != "unknown_to_the_models"}
    for body in (record, known, UpsertContent.of(record), UpsertContent.of(known)):
        assert json.loads(prepare(body, UpsertContent)) == WRITTEN
    assert json.loads(prepare_batch([record, known], UpsertContent)) == {"items": [WRITTEN, WRITTEN]}


def test_a_body_made_of_a_record_has_its_own_types() -> None:
    body: Any = UpsertContent.of(Decoder(Content)(json.dumps(SENT).encode()), title="New", skills=None)
    assert (body.active, body.title, body.skills) == (True, "New", None)
    assert body.categories == [CreateCategory(id="k", name="Safety", level=body.categories[0].level)]
    assert UpsertCourse.of(Course(title="a", active="false"), title="b") == UpsertCourse(title="b", active=False)


@pytest.mark.parametrize(
    ("record", "cls"),
    [
        (Content(external_reference="a"), UpsertContent),
        (Content(external_reference="a"), UpdateContent),
        (Content(id="x", title="a"), CreateContent),
        (Course(id="x", title="a"), UpsertCourse),
        (Completion(id="x", learning_object_external_reference="a", score=Score(percentage=1.0)), CreateCompletion),
        (Assignment(id="x", learning_object_external_reference="a", progress="87.5"), CreateAssignment),
    ],
)
def test_each_write_model_takes_its_read_model(record: Model, cls: type[Body]) -> None:
    written = json.loads(prepare(record, cls))
    plain = to_builtins(record)
    plain.pop("id", None)
    if "progress" in plain:
        plain["progress"] = 87.5
    assert written == plain
    assert json.loads(prepare(to_builtins(record), cls)) == plain
    assert json.loads(prepare(cls.of(record), cls)) == plain


def test_read_records_stand_in_bodies_and_mappings() -> None:
    category = Category(id="k", active=True, remote_id="r")
    body = {"external_reference": "a", "categories": [category, {"id": "l", "active": "true"}]}
    assert json.loads(prepare(body, UpsertContent))["categories"] == [{"id": "k"}, {"id": "l"}]
    kind: Any = ContentType(value="video")
    assert json.loads(prepare({"external_reference": "a", "content_type": kind}, UpsertContent)) == {
        "external_reference": "a",
        "content_type": {"value": "video"},
    }


@pytest.mark.parametrize(
    ("body", "cls", "message"),
    [
        (Course(title="a"), UpsertContent, "$: expected UpsertContent, Content or a mapping, not Course"),
        (Content(title="a"), UpsertContent, "$.external_reference: is required"),
        (Skill(name="a"), CreateCategory, "$: expected CreateCategory, Category or a mapping, not Skill"),
        ({"titel": "a"}, UpsertCourse, "$.titel: is no key of UpsertCourse"),
        ({"active": "yes"}, UpsertCourse, "$.active: expected true or false or None, not str"),
        ({"active": []}, UpsertCourse, "$.active: expected true or false or None, not list"),
        (Assignment(progress="half", learning_object_external_reference="a"), CreateAssignment, "$.progress: must be"),
        ({"categories": [Language()]}, UpsertCourse, "$.categories[0]: expected CreateCategory, Category or a mapping"),
    ],
)
def test_what_is_not_of_the_shape_is_refused(body: Any, cls: type[Body], message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        prepare(body, cls)
    assert f"the body cannot be sent: {message}" in str(caught.value)


def test_a_body_is_made_only_of_what_is_read_where_it_is_written() -> None:
    with pytest.raises(InvalidArgumentError, match="expected Content or a mapping, not Course"):
        UpsertContent.of(Course())
    with pytest.raises(InvalidArgumentError, match="external_reference: is required"):
        UpsertContent.of(Content(title="a"))
    with pytest.raises(InvalidArgumentError, match="titel: is no key of UpsertContent or Content"):
        UpsertContent.of({"titel": "a", "external_reference": "a"})
    with pytest.raises(InvalidArgumentError, match="CreateCollection has no model that is read"):
        CreateCollection.of({})
    with pytest.raises(TypeError, match="titel"):
        UpsertContent.of(Content(external_reference="a"), titel="b")


def test_numbers_and_flags_are_strings_only_where_they_are_read_so() -> None:
    moment = datetime(2024, 1, 31, tzinfo=UTC)
    body = {"learning_object_external_reference": "a", "progress": " 5 ", "due_date": moment}
    assert json.loads(prepare(body, CreateAssignment))["progress"] == 5
    with pytest.raises(InvalidArgumentError, match="expected a number"):
        prepare({"external_reference": "a", "order": "5"}, UpsertContent)
    with pytest.raises(InvalidArgumentError, match="finite"):
        prepare({**body, "progress": "nan"}, CreateAssignment)
