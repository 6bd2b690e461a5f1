"""The sandbox against the API document: its operations, its answers, the bodies it takes."""

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import jsonschema
import pytest

from stackone_lms.sandbox import bodies
from stackone_lms.sandbox.operations import OPERATIONS

from ..contract.document import API
from .client import Client, Response
from .conftest import Start
from .test_reads import READABLE

document: Any = API

formats: Any = jsonschema.FormatChecker()
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def is_date_time(value: object) -> bool:
    return not isinstance(value, str) or bool(_MOMENT.fullmatch(value) and datetime.fromisoformat(value))


formats.checks("date-time")(is_date_time)


def validator(schema: object) -> Any:
    root = {"$ref": "#/schema", "schema": schema, "components": document["components"]}
    return jsonschema.Draft202012Validator(root, format_checker=formats)


def faults(schema: object, value: object) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator(schema).iter_errors(value)]


def described() -> Iterator[tuple[str, str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


BY_NAME: dict[str, tuple[str, str, Any]] = {
    operation["operationId"]: (m, p, operation) for m, p, operation in described()
}


def resolved(thing: Any) -> Any:
    if "$ref" not in thing:
        return thing
    found: Any = document
    for part in thing["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def check(name: str, reply: Response) -> None:
    """Assert that an answer is one that the document declares for the operation."""
    responses = BY_NAME[name][2]["responses"]
    assert str(reply.status) in responses, (name, reply.status, reply.body)
    response = resolved(responses[str(reply.status)])
    if "content" in response:
        assert faults(response["content"]["application/json"]["schema"], reply.json) == [], name
    else:
        assert reply.body == b""
    assert {header.lower() for header in response.get("headers", {})} - {"preference-applied", "retry-after"} <= {
        header.lower() for header in reply.headers
    }


def test_operations_are_those_of_the_document() -> None:
    ours = {(o.name, o.method, "/unified/lms/" + re.sub("{}", "{id}", o.path, count=1)) for o in OPERATIONS}
    theirs = {(name, method, path.replace("{subResourceId}", "{}")) for name, (method, path, _) in BY_NAME.items()}
    assert len(ours) == 28
    assert ours == theirs


def test_filters_are_those_of_the_document() -> None:
    for operation in OPERATIONS:
        parameters = [resolved(parameter) for parameter in BY_NAME[operation.name][2]["parameters"]]
        filters = [p["schema"]["properties"] for p in parameters if p["name"] == "filter"]
        assert operation.filters == frozenset(filters[0] if filters else ()), operation.name


@pytest.mark.parametrize("table", READABLE)
@pytest.mark.parametrize("query", ["", "raw=true&proxy[a][b]=c", "fields=id"])
async def test_each_list_is_as_declared(start: Start, table: str, query: str) -> None:
    api = await start()
    name = f"lms_list_{table}"
    for account in range(3):
        cursor = ""
        while True:
            reply = await api.get(table, f"{query}&page_size=40{cursor}", account=account)
            check(name, reply)
            if reply.json["next"] is None:
                break
            cursor = f"&next={reply.json['next']}"


SINGULAR = {
    "assignments": "assignment",
    "categories": "category",
    "completions": "completion",
    "content": "content",
    "courses": "course",
    "skills": "skill",
    "users": "user",
}


@pytest.mark.parametrize("table", READABLE)
async def test_each_get_is_as_declared(api: Client, table: str) -> None:
    for id in api.sandbox.ids(table)[:10]:
        for query in ("", "raw=true", "fields=id"):
            check(f"lms_get_{SINGULAR[table]}", await api.get(f"{table}/{id}", query))


@pytest.mark.parametrize("table", ["assignments", "completions"])
async def test_operations_of_a_user_are_as_declared(api: Client, table: str) -> None:
    record = (await api.get(table)).data[0]
    check(f"lms_list_user_{table}", await api.get(f"users/{record['user_id']}/{table}", "raw=true"))
    path = f"users/{record['user_id']}/{table}/{record['id']}"
    check(f"lms_get_user_{SINGULAR[table]}", await api.get(path, "raw=true"))


@pytest.mark.parametrize("delete_status", [200, 204])
async def test_writes_are_as_declared_and_so_is_what_they_leave(start: Start, delete_status: int) -> None:
    api = await start(delete_status=delete_status)
    user, content = api.sandbox.ids("users")[0], (await api.all("content"))[0]
    learned = {"learning_object_external_reference": content["external_reference"]}
    whole = sample("LmsUpsertContentRequestDto")
    parts = [{"external_reference": "PART", "order": 1}, {"title": "no reference"}]
    course = {**sample("LmsUpsertCourseRequestDto"), "content": parts}
    collection = {"title": "x", "learning_object_ids": [content["id"]]}

    check("lms_upsert_content", await api("PUT", "content", json=whole))
    check("lms_batch_upsert_content", await api("POST", "content/batch", json={"items": [whole, {"title": 1}]}))
    change = {"external_reference": content["external_reference"], "content_type": {"value": "event"}}
    check("lms_update_content", await api("PATCH", f"content/{content['id']}", json=change))
    check("lms_upsert_course", await api("PUT", "courses", json=course))
    check("lms_batch_upsert_course", await api("POST", "courses/batch", json={"items": [course, 1]}))
    made = await api("POST", "collections", json=collection)
    check("lms_create_collection", made)
    check("lms_update_collection", await api("PATCH", f"collections/{made.data['id']}", json={"title": "y"}))
    check("lms_create_user_assignment", await api("POST", f"users/{user}/assignments", json=learned))
    full = {**sample("LmsCreateCompletionRequestDto"), **learned, "learning_object_id": content["id"]}
    full |= {"content_id": content["id"], "content_external_reference": content["external_reference"]}
    done = await api("POST", f"users/{user}/completions", json=full)
    check("lms_create_user_completion", done)
    for table in READABLE:
        check(f"lms_list_{table}", await api.get(table, "filter[updated_after]=2026-07-02&raw=true"))
    assert len((await api.get("content", "filter[updated_after]=2026-07-02")).data) > 2
    check("lms_delete_user_completion", await api("DELETE", f"users/{user}/completions/{done.data['id']}"))


async def test_upsert_of_a_known_reference_is_as_declared(api: Client) -> None:
    body = {"external_reference": api.sandbox.record("content", api.sandbox.ids("content")[0])["external_reference"]}
    check("lms_upsert_content", await api("PUT", "content", json=body))


async def test_upsert_of_a_known_reference_can_be_a_200_of_the_declared_form(start: Start) -> None:
    """The document declares 201 only; the API's testing guide says that an update answers 200."""
    api = await start(upsert_status=200)
    body = {"external_reference": api.sandbox.record("content", api.sandbox.ids("content")[0])["external_reference"]}
    reply = await api("PUT", "content", json=body)
    assert reply.status == 200
    assert faults({"$ref": "#/components/schemas/UpsertResult"}, reply.json) == []


ERRORS: list[tuple[int, Callable[[Client], Any]]] = [
    (400, lambda api: api.get("users", "page_size=x")),
    (400, lambda api: api("PUT", "content", json={})),
    (401, lambda api: api("GET", "users", headers={"Authorization": None})),
    (403, lambda api: api("GET", "users", headers={"User-Agent": None})),
    (404, lambda api: api.get("users/none")),
    (404, lambda api: api("GET", "users", headers={"x-account-id": "none"})),
    (412, lambda api: api("GET", "users", headers={"x-account-id": api.sandbox.inactive_account_id})),
    (429, lambda api: api.get("users", account=1)),
]


@pytest.mark.parametrize("number", range(len(ERRORS)))
async def test_errors_are_as_declared(start: Start, number: int) -> None:
    status, cause = ERRORS[number]
    api = await start(rate_limit=(1, 60.0))
    if status == 429:
        await api.get("users")
    reply: Response = await cause(api)
    assert reply.status == status
    name = (
        "lms_upsert_content" if reply.json.get("errors") == ["Missing field: external_reference"] else "lms_list_users"
    )
    check(name, reply)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 412, 422, 429, 500, 501, 502])
async def test_planned_failures_are_as_declared(api: Client, status: int) -> None:
    api.sandbox.fail_next(status, retry_after=1, error_code="AccountExpiredCredentialsError")
    reply = await api.get("users")
    assert reply.status == status
    check("lms_list_users", reply)


async def test_the_odd_values_are_the_only_ones_against_the_document(start: Start) -> None:
    api = await start(odd_values=True)
    schema = {"$ref": "#/components/schemas/Assignment"}
    wrong = {fault.split(":")[0] for item in await api.all("assignments") for fault in faults(schema, item)}
    assert wrong == {"$.progress"}
    for table, name in (("content", "Content"), ("completions", "Completion"), ("users", "LmsUser")):
        for item in await api.all(table):
            assert faults({"$ref": f"#/components/schemas/{name}"}, item) == []


CHECKS: dict[str, bodies.Check] = {
    "LmsUpsertContentRequestDto": bodies.content,
    "LmsCreateContentRequestDto": bodies.content,
    "LmsUpsertCourseRequestDto": bodies.course,
    "LmsCreateCollectionRequestDto": bodies.collection,
    "LmsCreateAssignmentRequestDto": bodies.assignment,
    "LmsCreateCompletionRequestDto": bodies.completion,
    "LmsBatchUpsertContentRequestDto": bodies.batch,
    "LmsBatchUpsertCourseRequestDto": bodies.batch,
}

CANDIDATES: list[Any] = [
    None, "text", "true", "2020-01-01T00:00:00.000Z", "PT1H", 5, 1.5, True, False, [], ["x"], [5], [[]], {}, [{}],
    {"value": None}, {"value": 5}, {"value": "nonsense"}, {"value": "completed"}, {"value": "Pass"},
    {"value": "interactive", "source_value": {"a": 1}}, {"value": "video", "source_value": None},
    [{"value": "en_GB"}], [{"value": "nonsense"}], [{"name": 5}], [{"name": "x"}], [{"id": []}],
    [{"level": {"value": "primary"}}], [{"level": {"value": "x"}}], [{"level": 5}], [{"hierarchy": {"value": "x"}}],
    [{"language": {"value": "en_GB"}}], [{"language": {"value": "x"}}], [{"title": "x", "tags": ["y"]}],
    [{"title": 5}], [{"tags": "y"}], [{"description": {}}], [{"proficiency": {"value": "1"}}],
    [{"proficiency": {"value": "9"}}], [{"unified_custom_fields": 5}], {"percentage": 5}, {"percentage": "5"},
    {"raw_value": 5}, [{"external_reference": 5}], [{"order": "1"}], [{"content_url": 5}],
    [{"mobile_launch_content_url": 5}],
]  # fmt: skip

STRICTER = {"duration", "time_spent", "created_at"}
"""Plain strings in the document, or in a part of it; the sandbox wants the ISO form that it describes."""

OPEN = {"additional_data", "items"}
"""Checked loosely: nobody relies on it; items are checked one by one, and answered one by one."""


def sample(name: str) -> dict[str, Any]:
    """Return a body with every property that a schema declares, from its examples."""
    body: dict[str, Any] = {}
    for key, schema in document["components"]["schemas"][name]["properties"].items():
        given = [value for value in [schema.get("example"), *CANDIDATES] if value is not None]
        body[key] = next(value for value in given if not faults(schema, value) and not problems(name, key, value))
    return body


def problems(name: str, key: str, value: object) -> list[str]:
    """Return what the sandbox has against one value in an otherwise good body."""
    required = {key: "x" for key in document["components"]["schemas"][name].get("required", []) if key != "items"}
    items: dict[str, Any] = {"items": [{}]} if "Batch" in name else {}
    return bodies.faults_in(CHECKS[name], {**items, **required, key: value})


@pytest.mark.parametrize("name", CHECKS)
def test_bodies_are_taken_and_refused_as_the_document_says(name: str) -> None:
    schema = document["components"]["schemas"][name]
    for key, declared in schema["properties"].items():
        for value in CANDIDATES:
            if value is None or (key in STRICTER and isinstance(value, str)) or key in OPEN:
                continue
            assert bool(problems(name, key, value)) == bool(faults(declared, value)), (key, value)


@pytest.mark.parametrize("name", CHECKS)
def test_required_keys_are_those_of_the_document(name: str) -> None:
    missing = bodies.faults_in(CHECKS[name], {})
    assert missing == [f"Missing field: {key}" for key in document["components"]["schemas"][name].get("required", [])]


def test_every_request_body_of_the_document_is_checked() -> None:
    for _, _, operation in described():
        if "requestBody" in operation:
            reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            assert reference.rsplit("/", 1)[1] in CHECKS
