"""The API on one screen: every operation, declared once for both clients."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cached_property
from typing import Unpack

from ..bulk.get_many import Many, ManyOf
from ..calls.lists import Listing
from ..calls.operation import Bound, C_co, Endpoint, Resource
from ..calls.query import (
    AssignmentQuery,
    ContentQuery,
    CourseQuery,
    GetQuery,
    ListQuery,
    UserQuery,
)
from ..calls.writes import BatchWrite, Write, WriteTo
from ..models import (
    Assignment,
    AssignmentResult,
    Category,
    CategoryResult,
    Completion,
    CompletionResult,
    Content,
    ContentResult,
    Course,
    CourseResult,
    CreateAssignment,
    CreateCollection,
    CreateCompletion,
    CreateResult,
    DeleteResult,
    Skill,
    SkillResult,
    UpdateContent,
    UpdateResult,
    UpsertContent,
    UpsertCourse,
    UpsertResult,
    User,
    UserResult,
)

# The functions below are signature sources: they give methods their signatures and docstrings, and are never called.


def one(id: str, /, **query: Unpack[GetQuery]) -> None:
    """Get one record.

    Args:
        id: StackOne's id of the record, or the provider's; sent as one path segment.
        raw: Add the provider calls behind the answer (`.raw`). Default false.
        fields: Names of the fields to return, as a list or comma-separated. Default: all.
        proxy: Parameters passed on to the provider, nested as deep as needed.

    Raises:
        InvalidArgumentError: Before any I/O: the id or a value cannot be sent.
        NotFoundError: There is no such record.
        StackOneError: Everything else; see `stackone_lms.errors`.
    """


def one_of_user(user_id: str, id: str, /, **query: Unpack[GetQuery]) -> None:
    """Get one record of a user.

    Args:
        user_id: StackOne's id of the user, or the provider's.
        id: StackOne's id of the record, or the provider's.
        raw: Add the provider calls behind the answer (`.raw`). Default false.
        fields: Names of the fields to return, as a list or comma-separated. Default: all.
        proxy: Parameters passed on to the provider, nested as deep as needed.

    Raises:
        InvalidArgumentError: Before any I/O: an id or a value cannot be sent.
        NotFoundError: There is no such record.
        StackOneError: Everything else; see `stackone_lms.errors`.
    """


def delete_of_user(user_id: str, id: str, /) -> None:
    """Delete one record of a user. Deleting it again after a lost answer may raise NotFoundError.

    Args:
        user_id: StackOne's id of the user, or the provider's.
        id: StackOne's id of the record, or the provider's.

    Raises:
        InvalidArgumentError: Before any I/O: an id cannot be sent.
        NotFoundError: There is no such record.
        StackOneError: Everything else; see `stackone_lms.errors`.
    """


def many(**query: Unpack[ListQuery]) -> None:
    """List records: iterate the pager for all items, or its `.pages()`.

    Args:
        filter: Filters by name; the same names are accepted as keywords.
        updated_after: Only records changed after this moment: an aware datetime, or ISO 8601 text.
        page_size: Records a page; the same for the whole walk. Default: 100 for a walk over the pages, for a first page
            alone and for at most 25 items the API's own, 25.
        next: Cursor to start from; with the page_size, if any, of the list that it came from.
        max_items: Stop after so many items.
        max_empty_pages: Give up after so many empty pages in a row. Default 10,000.
        prefetch: 1: fetch the next page while the present one is worked on. Default 0.
        raw: Add the provider calls behind each page (`.raw`). Default false.
        fields: Names of the fields to return, as a list or comma-separated. Default: all.
        proxy: Parameters passed on to the provider, nested as deep as needed.

    Raises:
        InvalidArgumentError: At once, before any I/O: a value cannot be sent.
        PaginationError: While iterating: the server repeated a cursor, or sent nothing but empty pages.
        StackOneError: While iterating: everything else; see `stackone_lms.errors`.
    """


def many_courses(**query: Unpack[CourseQuery]) -> None:  # noqa: D103 (set below)
    ...


def many_contents(**query: Unpack[ContentQuery]) -> None:  # noqa: D103 (set below)
    ...


def many_users(**query: Unpack[UserQuery]) -> None:  # noqa: D103 (set below)
    ...


def many_assignments(**query: Unpack[AssignmentQuery]) -> None:  # noqa: D103 (set below)
    ...


def assignments_of_user(id: str, /, **query: Unpack[AssignmentQuery]) -> None:  # noqa: D103 (set below)
    ...


def many_of_user(id: str, /, **query: Unpack[ListQuery]) -> None:  # noqa: D103 (set below)
    ...


def _list_doc(filters: Mapping[str, str], *, of_user: bool = False) -> str:
    """Return the docstring of a list that has more filters than `many`."""
    doc = inspect.cleandoc(many.__doc__ or "")
    if of_user:
        doc = doc.replace("List records:", "List records of a user:").replace(
            "Args:\n", "Args:\n    id: StackOne's id of the user, or the provider's.\n"
        )
    lines = "".join(f"    {name}: {text}\n" for name, text in filters.items())
    return doc.replace("    page_size:", f"{lines}    page_size:", 1)


_ACTIVE = "Only active records; the API has no filter for inactive ones."
_REFERENCE = "Only the one with this reference of yours."
_ASSIGNMENT = {
    "status": "Only assignments of this status.",
    "user_id": "Only those of the user with this StackOne id.",
    "remote_user_id": "Only those of the user with this provider id.",
}
many_courses.__doc__ = _list_doc({"external_reference": _REFERENCE, "active": _ACTIVE})
many_contents.__doc__ = _list_doc({"active": _ACTIVE})
many_users.__doc__ = _list_doc({"email": "Only the user with this address.", "external_reference": _REFERENCE})
many_assignments.__doc__ = _list_doc(_ASSIGNMENT)
assignments_of_user.__doc__ = _list_doc(_ASSIGNMENT, of_user=True)
many_of_user.__doc__ = _list_doc({}, of_user=True)

_SUMMER_2025 = "2025-07-08"


class Assignments(Resource[C_co]):
    """Assignments: what users have to learn."""

    get = Endpoint("lms_get_assignment", "/unified/lms/assignments/{id}", AssignmentResult, one)
    """Get one assignment."""
    list = Listing("lms_list_assignments", "/unified/lms/assignments", Assignment, many_assignments)
    """List assignments."""
    get_many = Many(get, list)
    """Fetch many assignments by their ids."""


class Categories(Resource[C_co]):
    """What learning objects are filed under."""

    get = Endpoint("lms_get_category", "/unified/lms/categories/{id}", CategoryResult, one)
    """Get one category."""
    list = Listing("lms_list_categories", "/unified/lms/categories", Category, many)
    """List categories."""
    get_many = Many(get, list)
    """Fetch many categories by their ids."""


class Collections(Resource[C_co]):
    """Learning pathways. The newest API version has no operation on them."""

    create = Write(
        "POST",
        "lms_create_collection",
        "/unified/lms/collections",
        CreateCollection,
        CreateResult,
        "Create a collection.",
        removed=_SUMMER_2025,
    )
    """Create a collection. Removed from the API in version 2025-07-08."""
    update = WriteTo(
        "PATCH",
        "lms_update_collection",
        "/unified/lms/collections/{id}",
        CreateCollection,
        UpdateResult,
        "Update a collection.",
        removed=_SUMMER_2025,
    )
    """Update a collection. Removed from the API in version 2025-07-08."""


class Completions(Resource[C_co]):
    """Records of users finishing learning objects."""

    get = Endpoint("lms_get_completion", "/unified/lms/completions/{id}", CompletionResult, one)
    """Get one completion."""
    list = Listing("lms_list_completions", "/unified/lms/completions", Completion, many)
    """List completions."""
    get_many = Many(get, list)
    """Fetch many completions by their ids."""


class Contents(Resource[C_co]):
    """Single things to learn from."""

    _place = "content"

    get = Endpoint("lms_get_content", "/unified/lms/content/{id}", ContentResult, one)
    """Get one content."""
    list = Listing("lms_list_content", "/unified/lms/content", Content, many_contents)
    """List content."""
    get_many = Many(get, list)
    """Fetch many content by their ids."""
    upsert = Write(
        "PUT",
        "lms_upsert_content",
        "/unified/lms/content",
        UpsertContent,
        UpsertResult,
        "Create content, or replace the one with this external_reference; there are no partial updates.",
    )
    """Create content, or replace the one with this external_reference."""
    batch_upsert = BatchWrite("lms_batch_upsert_content", "/unified/lms/content/batch", UpsertContent)
    """Create or replace much content."""
    update = WriteTo(
        "PATCH",
        "lms_update_content",
        "/unified/lms/content/{id}",
        UpdateContent,
        UpdateResult,
        "Update content.",
        removed="2025-12-03",
    )
    """Update content. Removed from the API in version 2025-12-03."""


class Courses(Resource[C_co]):
    """Learning objects made of content."""

    get = Endpoint("lms_get_course", "/unified/lms/courses/{id}", CourseResult, one)
    """Get one course."""
    list = Listing("lms_list_courses", "/unified/lms/courses", Course, many_courses)
    """List courses."""
    get_many = Many(get, list)
    """Fetch many courses by their ids."""
    upsert = Write(
        "PUT",
        "lms_upsert_course",
        "/unified/lms/courses",
        UpsertCourse,
        UpsertResult,
        "Create a course, or replace the one with this external_reference.",
        removed=_SUMMER_2025,
    )
    """Create or replace a course. Removed from the API in version 2025-07-08."""
    batch_upsert = BatchWrite(
        "lms_batch_upsert_course", "/unified/lms/courses/batch", UpsertCourse, removed=_SUMMER_2025
    )
    """Create or replace many courses. Removed from the API in version 2025-07-08."""


class Skills(Resource[C_co]):
    """What learning objects teach."""

    get = Endpoint("lms_get_skill", "/unified/lms/skills/{id}", SkillResult, one)
    """Get one skill."""
    list = Listing("lms_list_skills", "/unified/lms/skills", Skill, many)
    """List skills."""
    get_many = Many(get, list)
    """Fetch many skills by their ids."""


class UserAssignments(Resource[C_co]):
    """Assignments of one user: what the user has to learn."""

    _place = "users.assignments"

    get = Endpoint(
        "lms_get_user_assignment",
        "/unified/lms/users/{id}/assignments/{subResourceId}",
        AssignmentResult,
        one_of_user,
    )
    """Get one assignment of a user."""
    list = Listing("lms_list_user_assignments", "/unified/lms/users/{id}/assignments", Assignment, assignments_of_user)
    """List the assignments of a user."""
    get_many = ManyOf(get, list)
    """Fetch many assignments of a user by their ids."""
    create = WriteTo(
        "POST",
        "lms_create_user_assignment",
        "/unified/lms/users/{id}/assignments",
        CreateAssignment,
        CreateResult,
        "Assign a learning object to a user. Never sent twice once it may have been executed.",
    )
    """Assign a learning object to a user."""


class UserCompletions(Resource[C_co]):
    """What one user has finished."""

    _place = "users.completions"

    get = Endpoint(
        "lms_get_user_completion",
        "/unified/lms/users/{id}/completions/{subResourceId}",
        CompletionResult,
        one_of_user,
    )
    """Get one completion of a user."""
    list = Listing("lms_list_user_completions", "/unified/lms/users/{id}/completions", Completion, many_of_user)
    """List the completions of a user."""
    get_many = ManyOf(get, list)
    """Fetch many completions of a user by their ids."""
    create = WriteTo(
        "POST",
        "lms_create_user_completion",
        "/unified/lms/users/{id}/completions",
        CreateCompletion,
        CreateResult,
        "Record that a user finished a learning object. Never sent twice once it may have been executed.",
    )
    """Record that a user finished a learning object."""
    delete = Endpoint(
        "lms_delete_user_completion",
        "/unified/lms/users/{id}/completions/{subResourceId}",
        DeleteResult,
        delete_of_user,
        "DELETE",
    )
    """Delete one completion of a user."""


class Users(Resource[C_co]):
    """The people who learn."""

    get = Endpoint("lms_get_user", "/unified/lms/users/{id}", UserResult, one)
    """Get one user."""
    list = Listing("lms_list_users", "/unified/lms/users", User, many_users)
    """List users."""
    get_many = Many(get, list)
    """Fetch many users by their ids."""

    @cached_property
    def assignments(self) -> UserAssignments[C_co]:
        """Assignments of one user: what the user has to learn."""
        return UserAssignments(self._executor)

    @cached_property
    def completions(self) -> UserCompletions[C_co]:
        """What one user has finished."""
        return UserCompletions(self._executor)


class Api(Bound[C_co]):
    """All resources of the API, bound to an executor; each is made when it is first used."""

    @cached_property
    def assignments(self) -> Assignments[C_co]:
        """Assignments: what users have to learn."""
        return Assignments(self._executor)

    @cached_property
    def categories(self) -> Categories[C_co]:
        """What learning objects are filed under."""
        return Categories(self._executor)

    @cached_property
    def collections(self) -> Collections[C_co]:
        """Learning pathways. The newest API version has no operation on them."""
        return Collections(self._executor)

    @cached_property
    def completions(self) -> Completions[C_co]:
        """Records of users finishing learning objects."""
        return Completions(self._executor)

    @cached_property
    def content(self) -> Contents[C_co]:
        """Single things to learn from."""
        return Contents(self._executor)

    @cached_property
    def courses(self) -> Courses[C_co]:
        """Learning objects made of content."""
        return Courses(self._executor)

    @cached_property
    def skills(self) -> Skills[C_co]:
        """What learning objects teach."""
        return Skills(self._executor)

    @cached_property
    def users(self) -> Users[C_co]:
        """The people who learn."""
        return Users(self._executor)
