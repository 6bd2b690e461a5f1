"""Writes: what they answer, what they change, what they refuse."""

from io import BytesIO
from typing import Any

import pytest

from .client import Client
from .conftest import Start

NOW = "2031-02-03T04:05:06.789Z"


@pytest.fixture
async def api(start: Start, fixed_clock: object) -> Client:
    return await start(clock=fixed_clock)


async def test_content_upsert_creates_then_replaces(api: Client) -> None:
    before = (await api.get("content")).json["total"]
    body: dict[str, Any] = {
        "external_reference": "NEW-1",
        "title": "First",
        "order": 3,
        "active": "true",
        "tags": ["a"],
        "languages": [{"value": "en_GB"}],
        "unified_custom_fields": {"level": {"source_value": 1}},
    }
    made = await api("PUT", "content", json=body)
    assert made.status == 201
    assert made.json == {
        "statusCode": 201,
        "message": "Record created successfully.",
        "timestamp": NOW,
        "data": {**made.data, "external_reference": "NEW-1"},
    }
    id = made.data["id"]
    record = (await api.get(f"content/{id}")).data
    assert {name: record[name] for name in body if name != "languages"} == {
        name: value for name, value in body.items() if name != "languages"
    }
    assert record["languages"] == [{"value": "en_GB", "source_value": None}]
    assert (record["created_at"], record["updated_at"]) == (NOW, NOW)
    assert record["remote_id"] == made.data["remote_id"]

    again = await api("PUT", "content", json={"external_reference": "NEW-1", "title": "Second"})
    assert again.status == again.json["statusCode"] == 201
    assert again.data["id"] == id
    record = (await api.get(f"content/{id}")).data
    assert (record["title"], record["order"], record["tags"]) == ("Second", None, None)
    assert (await api.get("content")).json["total"] == before + 1


@pytest.mark.parametrize(("path", "status"), [("content", 200), ("content", 201), ("courses", 200), ("courses", 201)])
async def test_a_replacing_upsert_is_answered_as_the_option_says(start: Start, path: str, status: int) -> None:
    api = await start(upsert_status=status)
    body = {"external_reference": api.sandbox.record(path, api.sandbox.ids(path)[0])["external_reference"]}
    reply = await api("PUT", path, json=body)
    assert reply.status == reply.json["statusCode"] == status
    assert (await api("PUT", path, json={"external_reference": "NEW"})).status == 201


async def test_upsert_of_a_known_reference_keeps_ids_courses_and_creation(api: Client) -> None:
    before = next(item for item in await api.all("content") if item["course_ids"])
    reply = await api("PUT", "content", json={"external_reference": before["external_reference"], "active": False})
    assert (reply.status, reply.data["id"]) == (201, before["id"])
    after = (await api.get(f"content/{before['id']}")).data
    assert (after["active"], after["title"], after["updated_at"]) == (False, None, NOW)
    for name in ("remote_id", "course_ids", "created_at", "provider"):
        assert after[name] == before[name]


async def test_writes_show_at_once_under_every_filter(api: Client) -> None:
    await api("PUT", "content", json={"external_reference": "NEW-1", "active": True})
    changed = await api.all("content", "filter[updated_after]=2030-01-01")
    assert [item["external_reference"] for item in changed] == ["NEW-1"]
    assert (await api.all("content", "filter[active]=true"))[-1] == changed[0]
    known = api.sandbox.record("content", api.sandbox.ids("content")[0])["external_reference"]
    await api("PATCH", f"content/{api.sandbox.ids('content')[0]}", json={"external_reference": known})
    changed = await api.all("content", "filter[updated_after]=2030-01-01")
    assert [item["external_reference"] for item in changed] == [known, "NEW-1"]


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ({"value": "video", "source_value": "VID"}, {"value": "video", "source_value": "VID"}),
        ({"source_value": "SCORM"}, {"value": "unmapped_value", "source_value": "SCORM"}),
        ({"value": "book"}, {"value": "unmapped_value", "source_value": "book"}),
        ({"value": "book", "source_value": "BK"}, {"value": "unmapped_value", "source_value": "BK"}),
        (None, None),
    ],
)
async def test_content_types_are_shown_as_reads_know_them(api: Client, sent: object, shown: object) -> None:
    reply = await api("PUT", "content", json={"external_reference": "NEW-1", "content_type": sent})
    assert (await api.get(f"content/{reply.data['id']}")).data["content_type"] == shown


async def test_content_update_changes_only_what_it_has(api: Client) -> None:
    before = (await api.all("content"))[0]
    body = {"external_reference": before["external_reference"], "title": "Changed"}
    reply = await api("PATCH", f"content/{before['id']}", json=body)
    assert (reply.status, reply.json["statusCode"], set(reply.json)) == (
        201,
        200,
        {"statusCode", "message", "timestamp"},
    )
    assert (await api.get(f"content/{before['id']}")).data == {**before, "title": "Changed", "updated_at": NOW}


async def test_update_can_give_a_new_reference_but_not_a_taken_one(api: Client) -> None:
    first, second = (await api.all("content"))[:2]
    taken = await api("PATCH", f"content/{first['id']}", json={"external_reference": second["external_reference"]})
    assert taken.status == 409
    assert (await api("PATCH", f"content/{first['id']}", json={"external_reference": "NEW"})).status == 201
    assert (await api("PUT", "content", json={"external_reference": "NEW"})).data["id"] == first["id"]
    assert (await api("PUT", "content", json={"external_reference": first["external_reference"]})).status == 201
    assert (await api("PATCH", "content/none", json={"external_reference": "NEW"})).status == 404


async def test_course_upsert_creates_its_content_and_links_both_ways(api: Client) -> None:
    known = (await api.all("content"))[0]
    body: dict[str, Any] = {
        "external_reference": "COURSE-NEW",
        "title": "Course",
        "content": [
            {"external_reference": "PART-1", "title": "Part"},
            {"external_reference": known["external_reference"]},
        ],
    }
    made = await api("PUT", "courses", json=body)
    assert made.status == 201
    course = (await api.get(f"courses/{made.data['id']}")).data
    part, old = [(await api.get(f"content/{id}")).data for id in course["content_ids"]]
    assert (part["title"], part["course_ids"]) == ("Part", [course["id"]])
    assert old["id"] == known["id"]
    assert old["title"] == known["title"]
    assert old["course_ids"] == [*known["course_ids"], course["id"]]
    assert course["remote_content_ids"] == [part["remote_id"], old["remote_id"]]

    again = await api("PUT", "courses", json={**body, "title": "Renamed"})
    assert (again.status, again.data["id"]) == (201, course["id"])
    renamed = (await api.get(f"courses/{course['id']}")).data
    assert (renamed["title"], renamed["content_ids"]) == ("Renamed", course["content_ids"])


async def test_course_without_a_reference_is_a_new_one_each_time(api: Client) -> None:
    replies = [await api("PUT", "courses", json={"title": "x", "content": [{"title": "part"}]}) for _ in range(2)]
    assert [reply.status for reply in replies] == [201, 201]
    assert replies[0].data["id"] != replies[1].data["id"]


@pytest.mark.parametrize("table", ["content", "courses"])
async def test_batch_upserts_what_is_valid_and_lists_errors_per_item(api: Client, table: str) -> None:
    known = api.sandbox.record(table, api.sandbox.ids(table)[0])["external_reference"]
    items = [
        {"external_reference": "B-1", "title": 5},
        {"external_reference": "B-2"},
        {"external_reference": known},
        "x",
    ]
    reply = await api("POST", f"{table}/batch", json={"items": items})
    assert (reply.status, reply.json["statusCode"]) == (202, 202)
    assert reply.json["errors"] == [["title must be a string"], [], [], ["body must be an object"]]
    references = [item["external_reference"] for item in await api.all(table)]
    assert "B-1" not in references
    assert references[-1] == "B-2"
    assert api.sandbox.record(table, api.sandbox.ids(table)[0])["updated_at"] == NOW


async def test_batch_names_missing_fields(api: Client) -> None:
    reply = await api("POST", "content/batch", json={"items": [{"title": "x"}]})
    assert reply.json["errors"] == [["Missing field: external_reference"]]


async def test_batch_of_a_few_megabytes_is_taken(api: Client) -> None:
    items = [{"external_reference": f"B-{n}", "description": "x" * 1000} for n in range(3000)]
    assert (await api("POST", "content/batch", json={"items": items})).status == 202
    assert (await api.get("content", "page_size=1")).json["total"] == 3030


async def test_assignment_is_created_for_the_user(api: Client) -> None:
    user, content = (await api.all("users"))[0], (await api.all("content"))[0]
    body = {"learning_object_external_reference": content["external_reference"], "due_date": "2031-03-01"}
    reply = await api("POST", f"users/{user['id']}/assignments", json=body)
    assert (reply.status, reply.json["statusCode"], reply.json["timestamp"]) == (201, 201, NOW)
    record = (await api.get(f"users/{user['id']}/assignments/{reply.data['id']}")).data
    assert record == (await api.get(f"assignments/{reply.data['remote_id']}")).data
    assert record["status"]["value"] == "pending"
    assert record["progress"] == 0
    assert record["learning_object_id"] == content["id"]
    assert record["learning_object_type"]["value"] == "content"
    assert (record["assigned_at"], record["due_date"]) == (NOW, "2031-03-01T00:00:00.000Z")
    assert (record["user_id"], record["remote_user_id"]) == (user["id"], user["remote_id"])


async def test_completed_assignment_is_complete(api: Client) -> None:
    user, course = (await api.all("users"))[0], (await api.all("courses"))[0]
    body = {
        "learning_object_external_reference": course["external_reference"],
        "learning_object_id": course["remote_id"],
        "status": {"value": "completed"},
        "assigned_at": "2030-01-01T01:00:00+01:00",
    }
    reply = await api("POST", f"users/{user['remote_id']}/assignments", json=body)
    record = (await api.get(f"assignments/{reply.data['id']}")).data
    assert (record["progress"], record["completed_at"]) == (100, NOW)
    assert record["assigned_at"] == "2030-01-01T00:00:00.000Z"
    assert record["course_id"] == course["id"]


async def test_assignment_with_a_taken_reference_is_409(api: Client) -> None:
    user, content = (await api.all("users"))[0], (await api.all("content"))[0]
    body = {"learning_object_external_reference": content["external_reference"], "external_reference": "A-1"}
    replies = [await api("POST", f"users/{user['id']}/assignments", json=body) for _ in range(2)]
    assert [reply.status for reply in replies] == [201, 409]


async def test_completion_is_created_twice_if_sent_twice(api: Client) -> None:
    user, content = (await api.all("users"))[0], (await api.all("content"))[0]
    body = {
        "learning_object_external_reference": content["external_reference"],
        "result": {"value": "Pass"},
        "score": {"percentage": 87.5, "raw_value": "87.5 / 100"},
        "time_spent": "PT1H30M45S",
        "completed_at": "2030-01-01",
    }
    path = f"users/{user['id']}/completions"
    before = len(await api.all(path))
    replies = [await api("POST", path, json=body) for _ in range(2)]
    assert [reply.status for reply in replies] == [201, 201]
    assert len(await api.all(path)) == before + 2
    record = (await api.get(f"completions/{replies[0].data['id']}")).data
    assert record["result"] == {"value": "Pass", "source_value": None}
    assert (record["score"], record["time_spent"]) == (body["score"], body["time_spent"])
    assert record["completed_at"] == "2030-01-01T00:00:00.000Z"
    assert record["content_id"] == record["learning_object_id"] == content["id"]


async def test_completion_can_name_its_content_besides(api: Client) -> None:
    user, course, content = [(await api.all(table))[0] for table in ("users", "courses", "content")]
    body = {"learning_object_external_reference": course["external_reference"]}
    path = f"users/{user['id']}/completions"
    for more in ({"content_id": content["id"]}, {"content_external_reference": content["external_reference"]}):
        reply = await api("POST", path, json={**body, **more})
        record = (await api.get(f"completions/{reply.data['id']}")).data
        assert (record["content_id"], record["course_id"]) == (content["id"], course["id"])
    assert (await api("POST", path, json={**body, "content_id": "none"})).status == 422
    plain = await api("POST", path, json=body)
    assert (await api.get(f"completions/{plain.data['id']}")).data["content_id"] is None


@pytest.mark.parametrize("table", ["assignments", "completions"])
async def test_unknown_learning_objects_are_422_and_unknown_users_404(api: Client, table: str) -> None:
    user, content = (await api.all("users"))[0], (await api.all("content"))[0]
    path, good = f"users/{user['id']}/{table}", content["external_reference"]
    before = api.sandbox.ids(table)
    for body in (
        {"learning_object_external_reference": "none"},
        {"learning_object_external_reference": good, "learning_object_id": "none"},
        {"learning_object_external_reference": "other", "learning_object_id": content["id"]},
    ):
        reply = await api("POST", path, json=body)
        assert (reply.status, reply.json["statusCode"]) == (422, 422)
    reply = await api("POST", f"users/none/{table}", json={"learning_object_external_reference": good})
    assert reply.status == 404
    assert api.sandbox.ids(table) == before


async def test_deleted_completion_is_gone(api: Client) -> None:
    record = (await api.all("completions"))[0]
    path = f"users/{record['user_id']}/completions/{record['id']}"
    other = next(user for user in api.sandbox.ids("users") if user != record["user_id"])
    assert (await api("DELETE", f"users/{other}/completions/{record['id']}")).status == 404
    reply = await api("DELETE", path)
    assert reply.status == 200
    assert reply.json == {"statusCode": 204, "message": "Record deleted successfully.", "timestamp": NOW}
    for method, gone in (("GET", path), ("GET", f"completions/{record['remote_id']}"), ("DELETE", path)):
        assert (await api(method, gone)).status == 404
    assert record["id"] not in [item["id"] for item in await api.all("completions")]


async def test_delete_can_answer_204_without_a_body(start: Start) -> None:
    api = await start(delete_status=204)
    record = (await api.all("completions"))[0]
    reply = await api("DELETE", f"users/{record['user_id']}/completions/{record['id']}")
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["x-request-id"]


async def test_collections_are_made_changed_and_assigned(api: Client) -> None:
    content, course = (await api.all("content"))[0], (await api.all("courses"))[0]
    body = {
        "external_reference": "COLLECTION-1",
        "title": "Path",
        "learning_object_ids": [content["id"]],
        "remote_learning_object_ids": [course["remote_id"]],
    }
    made = await api("POST", "collections", json=body)
    assert (made.status, set(made.data)) == (201, {"id", "remote_id"})
    assert (await api("POST", "collections", json=body)).status == 409
    changed = await api("PATCH", f"collections/{made.data['remote_id']}", json={"title": "Other"})
    assert (changed.status, changed.json["statusCode"]) == (201, 200)
    record = api.sandbox.record("collections", made.data["id"])
    assert (record["title"], record["learning_object_ids"]) == ("Other", [content["id"]])
    assert (await api("PATCH", "collections/none", json={"title": "Other"})).status == 404

    user = api.sandbox.ids("users")[0]
    given = {"learning_object_external_reference": "COLLECTION-1"}
    assigned = await api("POST", f"users/{user}/assignments", json=given)
    kind = (await api.get(f"assignments/{assigned.data['id']}")).data["learning_object_type"]
    assert kind["value"] == "collection"


@pytest.mark.parametrize("name", ["learning_object_ids", "remote_learning_object_ids"])
async def test_collections_of_what_does_not_exist_are_422(api: Client, name: str) -> None:
    assert (await api("POST", "collections", json={name: ["none"]})).status == 422
    made = await api("POST", "collections", json={})
    assert made.status == 201
    assert (await api("PATCH", f"collections/{made.data['id']}", json={name: ["none"]})).status == 422


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "Missing field: external_reference"),
        ({"external_reference": ""}, "Missing field: external_reference"),
        ({"external_reference": None}, "Missing field: external_reference"),
        ({"external_reference": "x", "title": 5}, "title must be a string"),
        ({"external_reference": "x", "order": True}, "order must be a number"),
        ({"external_reference": "x", "active": "yes"}, "active must be a boolean value"),
        ({"external_reference": "x", "duration": "1 hour"}, "duration must be a valid ISO 8601 duration"),
        ({"external_reference": "x", "created_at": "x"}, "created_at must be a valid ISO 8601 date string"),
        ({"external_reference": "x", "tags": "a"}, "tags must be an array"),
        ({"external_reference": "x", "tags": ["a", 1]}, "tags.1 must be a string"),
        ({"external_reference": "x", "authors": [1]}, "authors.0 must be an object"),
        (
            {"external_reference": "x", "languages": [{"value": "English"}]},
            "languages.0.value must be a language code such as en_GB",
        ),
        (
            {"external_reference": "x", "skills": [{"level": {"value": "top"}}]},
            "skills.0.level.value must be one of the following values: primary, secondary, tertiary, unmapped_value",
        ),
        ([], "body must be an object"),
        ("x", "body must be an object"),
    ],
)
async def test_bad_bodies_are_400_with_a_line_per_fault(api: Client, body: object, error: str) -> None:
    before = api.sandbox.ids("content")
    reply = await api("PUT", "content", json=body)
    assert reply.status == 400
    assert reply.json["errors"] == [error]
    assert api.sandbox.ids("content") == before


async def test_all_faults_of_a_body_are_told(api: Client) -> None:
    reply = await api("POST", f"users/{api.sandbox.ids('users')[0]}/completions", json={"result": {"value": "pass"}})
    assert reply.json["errors"] == [
        "Missing field: learning_object_external_reference",
        "result.value must be one of the following values: Pass, Fail, unmapped_value",
    ]


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"\xff", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"external_reference": "x", "order": NaN}', "application/json"),
        (b'{"external_reference": "x", "order": 1e999}', "application/json"),
        (b'{"external_reference": "x", "title": "\\ud800"}', "application/json"),
        (b'{"external_reference": "x"}', "text/plain"),
        (b'{"external_reference": "x"}', None),
    ],
)
async def test_bodies_that_are_no_json_are_400(api: Client, data: bytes, content_type: str | None) -> None:
    reply = await api("PUT", "content", data=data, headers={"Content-Type": content_type})
    assert reply.status == 400
    assert len(reply.json["errors"]) == 1


async def test_content_type_may_have_a_charset(api: Client) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    reply = await api("PUT", "content", data=b'{"external_reference": "x"}', headers=headers)
    assert reply.status == 201


async def test_body_beyond_32_mib_is_413(api: Client) -> None:
    reply = await api(
        "PUT", "content", data=BytesIO(b"x" * (32 * 1024 * 1024 + 1)), headers={"Content-Type": "application/json"}
    )
    assert (reply.status, reply.json["statusCode"]) == (413, 413)
    assert reply.headers["x-request-id"]
