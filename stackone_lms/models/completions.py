"""Completions: a user's record of finishing a learning object."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from msgspec import UNSET

from .base import DateTime, Model, Result, to_timedelta
from .bodies import Body, Omittable
from .values import LearningObjectType, ResultStatus, ResultStatusValue


class Score(Model, kw_only=True, frozen=True):
    """What was scored."""

    SCHEMA = "ScoreModel"

    percentage: float | None = None
    """0 to 100."""
    raw_value: str | None = None
    """The score as the provider words it, such as `87 / 100`."""


class Completion(Model, kw_only=True, frozen=True):
    """A user's record of finishing one learning object."""

    id: str | None = None
    """StackOne's id of this completion."""
    remote_id: str | None = None
    """The provider's id of this completion."""
    unified_custom_fields: dict[str, Any] | None = None
    """Fields that your StackOne project defines; values are primitives."""
    learning_object_external_reference: str | None = None
    """Your own reference of the learning object."""
    external_reference: str | None = None
    """Deprecated by the API: use `learning_object_external_reference`."""
    result: ResultStatus | None = None
    """Passed or failed."""
    completed_at: DateTime | None = None
    """When the learning object was completed."""
    created_at: DateTime | None = None
    """When the record was created."""
    updated_at: DateTime | None = None
    """When the record was last changed."""
    learning_object_type: LearningObjectType | None = None
    """Which kind of learning object."""
    learning_object_id: str | None = None
    """StackOne's id of the learning object."""
    remote_learning_object_id: str | None = None
    """The provider's id of the learning object."""
    user_id: str | None = None
    """StackOne's id of the user."""
    remote_user_id: str | None = None
    """The provider's id of the user."""
    time_spent: str | None = None
    """How long it took, an ISO 8601 duration such as `PT1H30M45S`; see `time_spent_timedelta`."""
    certificate_url: str | None = None
    """Where the certificate is."""
    external_id: str | None = None
    """Deprecated by the API: an older external id."""
    content_external_reference: str | None = None
    """Deprecated by the API: use `learning_object_external_reference`."""
    remote_external_id: str | None = None
    """Deprecated by the API: the provider's older external id."""
    content_id: str | None = None
    """Deprecated by the API: use `learning_object_id`."""
    remote_content_id: str | None = None
    """Deprecated by the API: use `remote_learning_object_id`."""
    course_id: str | None = None
    """Deprecated by the API: use `learning_object_id`."""
    remote_course_id: str | None = None
    """Deprecated by the API: use `remote_learning_object_id`."""
    score: Score | None = None
    """What was scored."""

    @property
    def time_spent_timedelta(self) -> timedelta | None:
        """`time_spent` as a timedelta; None if it is missing or counts in years or months."""
        return to_timedelta(self.time_spent)


class CompletionResult(Result[Completion], kw_only=True, frozen=True):
    """The answer to Get Completion: the record in `data`."""


class CreateCompletion(Body, kw_only=True, frozen=True):
    """A completion to create for a user; it needs no assignment."""

    SCHEMA = "LmsCreateCompletionRequestDto"
    READ = Completion

    learning_object_external_reference: str
    """Your own reference of the learning object, as it was upserted with."""
    learning_object_id: Omittable[str] = UNSET
    """The learning object's id, of StackOne or of the provider, where the provider needs it."""
    result: Omittable[ResultStatusValue | str | ResultStatus] = UNSET
    """Passed or failed."""
    completed_at: Omittable[DateTime] = UNSET
    """When the learning object was completed."""
    time_spent: Omittable[timedelta | str] = UNSET
    """How long it took; a string is an ISO 8601 duration such as `PT1H30M45S`."""
    score: Omittable[Score] = UNSET
    """What was scored."""
    passthrough: Omittable[dict[str, Any]] = UNSET
    """Keys that go to the provider as they are."""
    content_external_reference: Omittable[str] = UNSET
    """Deprecated by the API: use `learning_object_external_reference`."""
    content_id: Omittable[str] = UNSET
    """Deprecated by the API: use `learning_object_id`."""
