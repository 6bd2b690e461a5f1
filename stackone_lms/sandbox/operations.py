"""The 28 operations of the LMS API."""

from .calls import Route
from .reads import get, list_records
from .routing import Router
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

ROOT = "/unified/lms/"
"""Where the paths of the operations begin."""

_CHANGED = frozenset({"updated_after"})

OPERATIONS = (
    Route("lms_list_assignments", "GET", "assignments", list_records, "assignments", _CHANGED | {"status"}),
    Route("lms_get_assignment", "GET", "assignments/{}", get, "assignments"),
    Route("lms_list_categories", "GET", "categories", list_records, "categories", _CHANGED),
    Route("lms_get_category", "GET", "categories/{}", get, "categories"),
    Route("lms_create_collection", "POST", "collections", create_collection, "collections"),
    Route("lms_update_collection", "PATCH", "collections/{}", update_collection, "collections"),
    Route("lms_list_completions", "GET", "completions", list_records, "completions", _CHANGED),
    Route("lms_get_completion", "GET", "completions/{}", get, "completions"),
    Route("lms_list_content", "GET", "content", list_records, "content", _CHANGED | {"active"}),
    Route("lms_upsert_content", "PUT", "content", upsert_content, "content"),
    Route("lms_batch_upsert_content", "POST", "content/batch", batch_upsert_content, "content"),
    Route("lms_get_content", "GET", "content/{}", get, "content"),
    Route("lms_update_content", "PATCH", "content/{}", update_content, "content"),
    Route(
        "lms_list_courses",
        "GET",
        "courses",
        list_records,
        "courses",
        _CHANGED | {"external_reference", "active"},
    ),
    Route("lms_upsert_course", "PUT", "courses", upsert_course, "courses"),
    Route("lms_batch_upsert_course", "POST", "courses/batch", batch_upsert_course, "courses"),
    Route("lms_get_course", "GET", "courses/{}", get, "courses"),
    Route("lms_list_skills", "GET", "skills", list_records, "skills", _CHANGED),
    Route("lms_get_skill", "GET", "skills/{}", get, "skills"),
    Route("lms_list_users", "GET", "users", list_records, "users", _CHANGED | {"email", "external_reference"}),
    Route("lms_get_user", "GET", "users/{}", get, "users"),
    Route(
        "lms_list_user_assignments",
        "GET",
        "users/{}/assignments",
        list_records,
        "assignments",
        _CHANGED | {"status"},
    ),
    Route("lms_create_user_assignment", "POST", "users/{}/assignments", create_assignment, "assignments"),
    Route("lms_get_user_assignment", "GET", "users/{}/assignments/{}", get, "assignments"),
    Route("lms_list_user_completions", "GET", "users/{}/completions", list_records, "completions", _CHANGED),
    Route("lms_create_user_completion", "POST", "users/{}/completions", create_completion, "completions"),
    Route("lms_get_user_completion", "GET", "users/{}/completions/{}", get, "completions"),
    Route("lms_delete_user_completion", "DELETE", "users/{}/completions/{}", delete_completion, "completions"),
)

ROUTER = Router(OPERATIONS)
