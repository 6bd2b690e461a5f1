"""Skills that learning objects teach."""

from __future__ import annotations

from msgspec import UNSET

from .base import Model, Result
from .bodies import Body, Omittable
from .values import (
    Flag,
    Language,
    LanguageValue,
    SkillLevel,
    SkillLevelValue,
    SkillProficiencyLevel,
    SkillProficiencyLevelValue,
    to_bool,
)


class Skill(Model, kw_only=True, frozen=True):
    """A skill that a learning object teaches."""

    SCHEMA = "Skills"

    id: str | None = None
    """StackOne's id of this skill."""
    remote_id: str | None = None
    """The provider's id of this skill."""
    name: str | None = None
    """What it is called."""
    active: Flag = None
    """Whether it is in use, as sent; see `is_active`."""
    hierarchy: SkillLevel | None = None
    """Where it stands in the tree of skills."""
    language: Language | None = None
    """The language of the name."""
    level: SkillLevel | None = None
    """Deprecated by the API: use `hierarchy`."""
    proficiency: SkillProficiencyLevel | None = None
    """Deprecated by the API: it was sent until 2025, and nothing took its place."""

    @property
    def is_active(self) -> bool | None:
        """`active` as a boolean, also where it came as a string."""
        return to_bool(self.active)


class SkillResult(Result[Skill], kw_only=True, frozen=True):
    """The answer to Get Skill: the record in `data`."""


class CreateSkill(Body, kw_only=True, frozen=True):
    """A skill of a learning object to write."""

    SCHEMA = "CreateSkillsApiModel"
    READ = Skill

    id: Omittable[str] = UNSET
    """The skill's id, of StackOne or of the provider."""
    name: Omittable[str] = UNSET
    """What it is called."""
    hierarchy: Omittable[SkillLevelValue | str | SkillLevel] = UNSET
    """Where it stands in the tree of skills."""
    language: Omittable[LanguageValue | str | Language] = UNSET
    """The language of the name."""
    level: Omittable[SkillLevelValue | str | SkillLevel] = UNSET
    """Deprecated by the API: use `hierarchy`."""
    proficiency: Omittable[SkillProficiencyLevelValue | str | SkillProficiencyLevel] = UNSET
    """Deprecated by the API: it was taken until 2025, and nothing took its place."""
