"""The 28 operations, and which one a request asks for."""

from collections.abc import Sequence
from urllib.parse import unquote

from .calls import Operation
from .problems import Problem
from .reads import get, list_records
from .writes import (
    batch_upsert_content,
    batch_upsert_course,
    create_assignment,
    create_collection,
    create_completion,
    delete_completion,
    update_collection,
    update_content,
    upsert_content,
    upsert_course,
)

_ROOT = ["", "unified", "lms"]
_CHANGED = frozenset({"updated_after"})

OPERATIONS = (
    Operation("lms_list_assignments", "GET", "assignments", list_records, "assignments", _CHANGED | {"status"}),
    Operation("lms_get_assignment", "GET", "assignments/{}", get, "assignments"),
    Operation("lms_list_categories", "GET", "categories", list_records, "categories", _CHANGED),
    Operation("lms_get_category", "GET", "categories/{}", get, "categories"),
    Operation("lms_create_collection", "POST", "collections", create_collection, "collections"),
    Operation("lms_update_collection", "PATCH", "collections/{}", update_collection, "collections"),
    Operation("lms_list_completions", "GET", "completions", list_records, "completions", _CHANGED),
    Operation("lms_get_completion", "GET", "completions/{}", get, "completions"),
    Operation("lms_list_content", "GET", "content", list_records, "content", _CHANGED | {"active"}),
    Operation("lms_upsert_content", "PUT", "content", upsert_content, "content"),
    Operation("lms_batch_upsert_content", "POST", "content/batch", batch_upsert_content, "content"),
    Operation("lms_get_content", "GET", "content/{}", get, "content"),
    Operation("lms_update_content", "PATCH", "content/{}", update_content, "content"),
    Operation(
        "lms_list_courses",
        "GET",
        "courses",
        list_records,
        "courses",
        _CHANGED | {"external_reference", "active"},
    ),
    Operation("lms_upsert_course", "PUT", "courses", upsert_course, "courses"),
    Operation("lms_batch_upsert_course", "POST", "courses/batch", batch_upsert_course, "courses"),
    Operation("lms_get_course", "GET", "courses/{}", get, "courses"),
    Operation("lms_list_skills", "GET", "skills", list_records, "skills", _CHANGED),
    Operation("lms_get_skill", "GET", "skills/{}", get, "skills"),
    Operation("lms_list_users", "GET", "users", list_records, "users", _CHANGED | {"email", "external_reference"}),
    Operation("lms_get_user", "GET", "users/{}", get, "users"),
    Operation(
        "lms_list_user_assignments",
        "GET",
        "users/{}/assignments",
        list_records,
        "assignments",
        _CHANGED | {"status"},
    ),
    Operation("lms_create_user_assignment", "POST", "users/{}/assignments", create_assignment, "assignments"),
    Operation("lms_get_user_assignment", "GET", "users/{}/assignments/{}", get, "assignments"),
    Operation("lms_list_user_completions", "GET", "users/{}/completions", list_records, "completions", _CHANGED),
    Operation("lms_create_user_completion", "POST", "users/{}/completions", create_completion, "completions"),
    Operation("lms_get_user_completion", "GET", "users/{}/completions/{}", get, "completions"),
    Operation("lms_delete_user_completion", "DELETE", "users/{}/completions/{}", delete_completion, "completions"),
)

_Pattern = tuple[tuple[str, ...], Operation]


def _by_shape() -> dict[tuple[int, str], list[_Pattern]]:
    shapes: dict[tuple[int, str], list[_Pattern]] = {}
    for operation in OPERATIONS:
        parts = tuple(operation.path.split("/"))
        shapes.setdefault((len(parts), parts[0]), []).append((parts, operation))
    return shapes


_SHAPES = _by_shape()


def find(method: str, path: str) -> tuple[Operation, list[str]]:
    """Return the operation that a raw path asks for, and the decoded ids in it.

    As with the API's web framework, one slash at the end does not matter: an empty id asks for the list.

    Raises:
        Problem: 404 for an unknown path, 405 for a method it does not have, 400 for a bad escape.
    """
    parts = path.removesuffix("/").split("/")
    rest = parts[3:]
    if parts[:3] != _ROOT or not rest:
        raise Problem(404, "Not Found: there is no such path")
    allowed: list[str] = []
    for pattern, operation in _SHAPES.get((len(rest), rest[0]), ()):
        if all(part in (given, "{}") for part, given in zip(pattern, rest, strict=True)):
            if operation.method == method:
                return operation, _ids(pattern, rest)
            allowed.append(operation.method)
    if allowed:
        raise Problem(405, allow=", ".join(sorted(set(allowed))))
    raise Problem(404, "Not Found: there is no such path")


def _ids(pattern: Sequence[str], parts: Sequence[str]) -> list[str]:
    try:
        return [
            unquote(given, errors="strict") if "%" in given else given
            for part, given in zip(pattern, parts, strict=True)
            if part == "{}"
        ]
    except UnicodeDecodeError:
        raise Problem.invalid("the path is not valid UTF-8") from None
