"""Assignments: what a user is to learn."""

from __future__ import annotations

import math
from typing import Any

from msgspec import UNSET

from .base import DateTime, Model, Result
from .bodies import Body, Omittable
from .values import AssignmentStatus, AssignmentStatusValue, LearningObjectType, ResultStatus


class Assignment(Model, kw_only=True, frozen=True):
    """One learning object that a user is to complete."""

    id: str | None = None
    """StackOne's id of this assignment."""
    remote_id: str | None = None
    """The provider's id of this assignment."""
    unified_custom_fields: dict[str, Any] | None = None
    """Fields that your StackOne project defines; values are primitives."""
    external_reference: str | None = None
    """Deprecated by the API: use `learning_object_external_reference`."""
    learning_object_id: str | None = None
    """StackOne's id of the learning object."""
    remote_learning_object_id: str | None = None
    """The provider's id of the learning object."""
    learning_object_external_reference: str | None = None
    """Your own reference of the learning object."""
    progress: float | str | None = None
    """How much is done, in percent, as sent: a number, or one in a string; see `progress_percent`."""
    updated_at: DateTime | None = None
    """When the record was last changed."""
    created_at: DateTime | None = None
    """When the record was created."""
    assigned_at: DateTime | None = None
    """When it was given to the user."""
    due_date: DateTime | None = None
    """When it has to be done."""
    status: AssignmentStatus | None = None
    """How far it is."""
    learning_object_type: LearningObjectType | None = None
    """Which kind of learning object."""
    user_id: str | None = None
    """StackOne's id of the user."""
    remote_user_id: str | None = None
    """The provider's id of the user."""
    certificate_url: str | None = None
    """Where the certificate is."""
    result: ResultStatus | None = None
    """Passed or failed."""
    completed_at: DateTime | None = None
    """When it was completed."""
    course_id: str | None = None
    """Deprecated by the API: use `learning_object_id`."""
    remote_course_id: str | None = None
    """Deprecated by the API: use `remote_learning_object_id`."""

    @property
    def progress_percent(self) -> float | None:
        """`progress` as a number; None if it is missing or is none."""
        if self.progress is None:
            return None
        try:
            percent = float(self.progress)
        except ValueError:
            return None
        return percent if math.isfinite(percent) else None


class AssignmentResult(Result[Assignment], kw_only=True, frozen=True):
    """The answer to Get Assignment: the record in `data`."""


class CreateAssignment(Body, kw_only=True, frozen=True):
    """An assignment to create for a user."""

    SCHEMA = "LmsCreateAssignmentRequestDto"
    READ = Assignment

    learning_object_external_reference: str
    """Your own reference of the learning object, as it was upserted with."""
    learning_object_id: Omittable[str] = UNSET
    """The learning object's id, of StackOne or of the provider, where the provider needs it."""
    progress: Omittable[float] = UNSET
    """How much is done, in percent."""
    assigned_at: Omittable[DateTime] = UNSET
    """When it was given to the user."""
    due_date: Omittable[DateTime] = UNSET
    """When it has to be done."""
    status: Omittable[AssignmentStatusValue | str | AssignmentStatus] = UNSET
    """How far it is."""
    passthrough: Omittable[dict[str, Any]] = UNSET
    """Keys that go to the provider as they are."""
    external_reference: Omittable[str] = UNSET
    """Deprecated by the API: use `learning_object_external_reference`."""
    created_at: Omittable[DateTime] = UNSET
    """Deprecated by the API: use `assigned_at`."""
