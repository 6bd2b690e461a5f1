"""The writes: each changes the state at once, also where the API would go on in the background."""

from collections.abc import Callable
from typing import Any, cast

from . import bodies
from .calls import BatchEntry, Call
from .problems import Problem
from .recording import ServerResponse
from .store import Record, Row, about, as_record
from .times import normalise

_CREATED = "Record created successfully."
_UPDATED = "Record updated successfully."

_CONTENT_FIELDS = (
    "title", "description", "languages", "content_url", "mobile_launch_content_url", "content_type",
    "cover_url", "active", "duration", "categories", "skills", "order", "short_description", "localizations",
    "tags", "authors", "additional_data", "unified_custom_fields",
)  # fmt: skip
_COURSE_FIELDS = (
    "title", "description", "languages", "cover_url", "url", "active", "duration", "categories", "skills",
    "localizations", "unified_custom_fields",
)  # fmt: skip
_COLLECTION_FIELDS = (
    "title", "description", "languages", "cover_url", "categories", "skills", "learning_object_ids",
    "remote_learning_object_ids", "unified_custom_fields",
)  # fmt: skip
_READ_CONTENT_TYPES = frozenset({"video", "quiz", "document", "audio", "article", "unmapped_value"})
_ENUMS = frozenset({"language", "languages", "level", "hierarchy", "content_type"})

Upsert = Callable[[Call, Record], tuple[bool, Row]]


def upsert_content(call: Call) -> ServerResponse:
    """Create or replace the content with the body's external reference."""
    return _upserted(call, *_put_content(call, _body(call, bodies.content)))


def upsert_course(call: Call) -> ServerResponse:
    """Create or replace the course with the body's external reference; without one, create."""
    return _upserted(call, *_put_course(call, _body(call, bodies.course)))


def batch_upsert_content(call: Call) -> ServerResponse:
    """Upsert each content of the batch that validates."""
    return _batch(call, bodies.content, _put_content)


def batch_upsert_course(call: Call) -> ServerResponse:
    """Upsert each course of the batch that validates."""
    return _batch(call, bodies.course, _put_course)


def update_content(call: Call) -> ServerResponse:
    """Change the fields of a content that the body has."""
    row, body = call.row(), _body(call, bodies.content)
    _change(call, row, body, _CONTENT_FIELDS)
    return call.written(200, _UPDATED, http_status=201)


def create_collection(call: Call) -> ServerResponse:
    """Create a collection."""
    body = _body(call, bodies.collection)
    _check_members(call, body)
    if call.account.tables["collections"].referenced(body.get("external_reference")) is not None:
        raise Problem(409, "Conflict: a collection has this external reference already")
    row = _new(call, {**_nothing(_COLLECTION_FIELDS), **_readable(body, _COLLECTION_FIELDS)}, body)
    return call.written(201, _CREATED, data=_ids(row.record))


def update_collection(call: Call) -> ServerResponse:
    """Change the fields of a collection that the body has."""
    row, body = call.row(), _body(call, bodies.collection)
    _check_members(call, body)
    _change(call, row, body, _COLLECTION_FIELDS)
    return call.written(200, _UPDATED, http_status=201)


def create_assignment(call: Call) -> ServerResponse:
    """Assign a learning object to a user."""
    user, body = call.user(), _body(call, bodies.assignment)
    if call.account.tables["assignments"].referenced(body.get("external_reference")) is not None:
        raise Problem(409, "Conflict: an assignment has this external reference already")
    status = _enum(body.get("status")) or {"value": "pending", "source_value": None}
    done, progress = status["value"] == "completed", body.get("progress")
    assigned = _moment(body.get("assigned_at")) or _moment(body.get("created_at")) or call.now
    row = _own(
        call, user, body,
        external_reference=body.get("external_reference"),
        status=status,
        progress=progress if progress is not None else 100 if done else 0,
        result=None,
        certificate_url=None,
        assigned_at=assigned,
        due_date=_moment(body.get("due_date")),
        completed_at=call.now if done else None,
    )  # fmt: skip
    return call.written(201, _CREATED, data=_ids(row.record))


def create_completion(call: Call) -> ServerResponse:
    """Record that a user completed a learning object, assigned or not."""
    user, body = call.user(), _body(call, bodies.completion)
    content = _content_of(call, body)
    row = _own(
        call, user, body,
        external_id=None,
        remote_external_id=None,
        external_reference=None,
        content_id=content["id"] if content else None,
        remote_content_id=content["remote_id"] if content else None,
        content_external_reference=content["external_reference"] if content else None,
        result=_enum(body.get("result")),
        score=body.get("score"),
        time_spent=body.get("time_spent"),
        certificate_url=None,
        completed_at=_moment(body.get("completed_at")) or call.now,
    )  # fmt: skip
    return call.written(201, _CREATED, data=_ids(row.record))


def delete_completion(call: Call) -> ServerResponse:
    """Delete a user's completion."""
    call.account.tables["completions"].remove(call.row())
    if call.delete_status == 204:
        return ServerResponse(204, b"")
    return call.written(204, "Record deleted successfully.", http_status=200)


def _body(call: Call, check: bodies.Check) -> Record:
    return bodies.read(check, call.body, call.headers.get("content-type", ""))


def _ids(record: Record, *more: str) -> Record:
    return {name: record[name] for name in ("id", "remote_id", *more)}


def _upserted(call: Call, created: bool, row: Row) -> ServerResponse:
    data = _ids(row.record, "external_reference")
    return call.written(201 if created else call.upsert_status, _CREATED if created else _UPDATED, data=data)


def _batch(call: Call, check: bodies.Check, put: Upsert) -> ServerResponse:
    errors: list[list[str]] = []
    for item in _body(call, bodies.batch)["items"]:
        wrong = bodies.faults_in(check, item)
        if not wrong:
            refusal = call.refusals.get(item.get("external_reference") or "")
            if refusal is None:
                put(call, item)
            call.batch.append(BatchEntry(item, refusal))
        errors.append(wrong)
    return call.written(202, "Batch operation accepted", errors=errors)


def _put_content(call: Call, body: Record) -> tuple[bool, Row]:
    fields = {**_nothing(_CONTENT_FIELDS), **_readable(body, _CONTENT_FIELDS)}
    row = call.account.tables["content"].referenced(body["external_reference"])
    if row is None:
        fields |= {"course_ids": [], "remote_course_ids": [], "provider": call.account.provider.title()}
        return True, _new(call, fields, body, table="content")
    _replace(call, "content", row, fields)
    return False, row


def _put_course(call: Call, body: Record) -> tuple[bool, Row]:
    fields = {**_nothing(_COURSE_FIELDS), **_readable(body, _COURSE_FIELDS)}
    row = call.account.tables["courses"].referenced(body.get("external_reference"))
    created = row is None
    if row is None:
        fields |= {"content_ids": [], "remote_content_ids": [], "authors": None}
        fields["provider"] = call.account.provider.title()
        row = _new(call, fields, body, table="courses")
    else:
        _replace(call, "courses", row, fields)
    parts: list[Record] = body.get("content") or []
    for part in parts:
        _link(call, row, part)
    return created, row


def _link(call: Call, course: Row, part: Record) -> None:
    """Put a part of a course: a content that is made or changed, and that knows its course."""
    content = call.account.tables["content"].referenced(part.get("external_reference"))
    if content is None:
        content = _put_content(call, {"external_reference": None, **part})[1]
    else:
        _replace(call, "content", content, _readable(part, _CONTENT_FIELDS))
    if content.id in course.record["content_ids"]:
        return
    _replace(call, "courses", course, _appended(course.record, "content_ids", content))
    _replace(call, "content", content, _appended(content.record, "course_ids", course))


def _appended(record: Record, name: str, row: Row) -> Record:
    remote = f"remote_{name}"
    return {name: [*record[name], row.id], remote: [*record[remote], row.record["remote_id"]]}


def _new(call: Call, fields: Record, body: Record, *, table: str | None = None) -> Row:
    name = table or call.operation.table
    record = {
        **call.account.new_ids(name),
        "external_reference": body.get("external_reference"),
        **fields,
        "created_at": _moment(body.get("created_at")) or call.now,
        "updated_at": call.now,
    }
    return call.account.tables[name].add(Row(record, call.now))


def _replace(call: Call, table: str, row: Row, fields: Record) -> None:
    call.account.tables[table].replace(row, {**row.record, **fields, "updated_at": call.now}, call.now)


def _change(call: Call, row: Row, body: Record, names: tuple[str, ...]) -> None:
    table = call.account.tables[call.operation.table]
    reference = body.get("external_reference")
    holder = table.referenced(reference)
    if holder is not None and holder is not row:
        raise Problem(409, "Conflict: another record has this external reference")
    fields = _readable(body, names)
    if reference is not None:
        fields["external_reference"] = reference
    _replace(call, call.operation.table, row, fields)


def _own(call: Call, user: Row, body: Record, **fields: Any) -> Row:
    """Add a record of a user about the learning object that the body names."""
    table = call.operation.table
    record = {
        **call.account.new_ids(table),
        "user_id": user.id,
        "remote_user_id": user.record["remote_id"],
        **_learned(call, body),
        **fields,
        "created_at": _moment(body.get("created_at")) or call.now,
        "updated_at": call.now,
        "unified_custom_fields": None,
    }
    return call.account.tables[table].add(Row(record, call.now, user.id))


def _learned(call: Call, body: Record) -> Record:
    reference, id = body["learning_object_external_reference"], body.get("learning_object_id")
    found = call.account.learning_object(reference=reference, id=id)
    if found is None or found[1].record["external_reference"] != reference:
        raise Problem(422, "Unprocessable Entity: there is no such learning object")
    return about(found[0], found[1].record, call.account.tables["courses"].rows.values())


def _content_of(call: Call, body: Record) -> Record | None:
    """Return the content that the body names, or that its learning object is."""
    table = call.account.tables["content"]
    id, reference = body.get("content_id"), body.get("content_external_reference")
    if id is None and reference is None:
        row = table.referenced(body["learning_object_external_reference"])
        return row.record if row else None
    row = table.referenced(reference) if id is None else table.find(id)
    if row is None:
        raise Problem(422, "Unprocessable Entity: there is no such content")
    return row.record


def _check_members(call: Call, body: Record) -> None:
    for name in ("learning_object_ids", "remote_learning_object_ids"):
        members: list[str] = body.get(name) or []
        for id in members:
            if call.account.learning_object(id=id) is None:
                raise Problem(422, f"Unprocessable Entity: {name} has an unknown id")


def _moment(value: str | None) -> str | None:
    return None if value is None else normalise(value)


def _nothing(names: tuple[str, ...]) -> Record:
    return dict.fromkeys(names)


def _readable(body: Record, names: tuple[str, ...]) -> Record:
    """Return the fields of a body that a record keeps, as a read shows them."""
    fields: Record = {name: _shown(name, body[name]) for name in names if name in body}
    kind = fields.get("content_type")
    if kind and kind.get("value") is not None and kind["value"] not in _READ_CONTENT_TYPES:
        source = kind.get("source_value")
        fields["content_type"] = {
            "value": "unmapped_value",
            "source_value": kind["value"] if source is None else source,
        }
    return fields


def _shown(name: str, value: object) -> object:
    if isinstance(value, list):
        return [_shown(name, item) for item in cast("list[object]", value)]
    record = as_record(value)
    if record is None or name == "unified_custom_fields":
        return value
    if name in _ENUMS:
        return _enum(record)
    return {key: _shown(key, item) for key, item in record.items()}


def _enum(value: Record | None) -> Record | None:
    """Complete an enum object: a source value alone is one that is not mapped."""
    if value is None:
        return None
    known, source = value.get("value"), value.get("source_value")
    return {
        "value": "unmapped_value" if known is None and source is not None else known,
        "source_value": source,
    }
