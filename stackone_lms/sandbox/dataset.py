"""Made-up data: the same seed always gives the same records, to the byte.

Only `Random.random` and `Random.getrandbits` are drawn from: Python keeps those sequences stable.
"""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from random import Random
from typing import Any, TypeVar

from . import words
from .identifiers import STYLES
from .store import AccountData, Record, Row, about
from .times import stamp

T = TypeVar("T")

NEWEST = datetime(2026, 7, 1, tzinfo=UTC)
"""Nothing that is made up is younger."""
_SPAN = timedelta(days=3 * 365)
_SMALL = 1000
"""Of assignments and completions together: less than a megabyte an account to keep."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of what an account holds; skills and categories are as many as there are words for."""

    users: int
    courses: int
    contents: int
    assignments: int
    completions: int

    def __post_init__(self) -> None:
        if min(self.users, self.courses, self.contents, self.assignments, self.completions) < 0:
            raise ValueError("sizes cannot be negative")
        if self.assignments + self.completions and not (self.users and self.courses + self.contents):
            raise ValueError("assignments and completions need users, and courses or contents")


def build(seed: int, index: int, sizes: Sizes, *, odd_values: bool) -> AccountData:
    """Make the data of the account number `index`: a small one once, and copies of it for later sandboxes."""
    if sizes.completions + sizes.assignments > _SMALL:
        return _make(seed, index, sizes, odd_values=odd_values)
    account: AccountData = pickle.loads(_pickled(seed, index, sizes, odd_values))  # noqa: S301 (made here)
    return account


@lru_cache(maxsize=32)
def _pickled(seed: int, index: int, sizes: Sizes, odd_values: bool) -> bytes:
    return pickle.dumps(_make(seed, index, sizes, odd_values=odd_values), pickle.HIGHEST_PROTOCOL)


def _make(seed: int, index: int, sizes: Sizes, *, odd_values: bool) -> AccountData:
    rng = Random(f"{seed}/{index}")
    provider = words.PROVIDERS[index % len(words.PROVIDERS)]
    account = AccountData(provider, STYLES[index % len(STYLES)], rng, native_batches=provider == words.NATIVE_BATCHES)
    maker = _Maker(account, rng, odd_values=odd_values)
    maker.catalogue(sizes)
    for number in range(sizes.users):
        maker.user(number)
    for number in range(sizes.assignments):
        maker.assignment(number)
    for number in range(sizes.completions):
        maker.completion(number)
    return account


class _Maker:
    def __init__(self, account: AccountData, rng: Random, *, odd_values: bool) -> None:
        self._account = account
        self._tables = account.tables
        self._random = rng.random
        self._odd = odd_values
        self._users: list[Record] = []
        self._learned: list[Record] = []

    def _one(self, options: Sequence[T]) -> T:
        return options[int(self._random() * len(options))]

    def _some(self, options: Sequence[T], most: int) -> list[T]:
        start, count = int(self._random() * len(options)), int(self._random() * (most + 1))
        return [options[(start + n) % len(options)] for n in range(min(count, len(options)))]

    def _moment(self) -> datetime:
        return NEWEST - self._random() * _SPAN

    def _later(self, moment: datetime, days: float) -> datetime:
        return min(NEWEST, moment + timedelta(days=self._random() * days))

    def _sometimes(self, value: T, share: float = 0.8) -> T | None:
        return value if self._random() < share else None

    def _language(self) -> Record:
        value, source = self._one(words.LANGUAGES)
        return {"value": value, "source_value": source}

    def _active(self) -> bool | str | None:
        share = self._random()
        return True if share < 0.75 else "true" if share < 0.83 else False if share < 0.93 else None

    def _duration(self) -> str:
        hours, minutes, seconds = (int(self._random() * top) for top in (4, 60, 60))
        return f"PT{hours}H{minutes}M{seconds}S" if hours else f"PT{minutes}M{seconds}S"

    def _new(self, table: str, **fields: Any) -> Record:
        return {**self._account.new_ids(table), **fields}

    def _add(self, table: str, record: Record, updated: datetime | str, owner: str | None = None) -> Record:
        shown = updated if isinstance(updated, str) else stamp(updated)
        self._tables[table].add(Row(record, shown, owner))
        return record

    def catalogue(self, sizes: Sizes) -> None:
        """Add categories, skills, courses and content that refer to each other."""
        for name, level in words.CATEGORIES:
            record = self._leveled("categories", name, level)
            record["unified_custom_fields"] = self._sometimes({"cost_centre": name[:3].upper(), "rank": len(name)}, 0.3)
            self._add("categories", record, self._moment())
        for name in words.SKILLS:
            record = self._leveled("skills", name, self._one(("primary", "secondary", "tertiary")))
            grade = str(1 + int(self._random() * 5))
            record["proficiency"] = self._sometimes({"value": grade, "source_value": int(grade)}, 0.5)
            self._add("skills", record, self._moment())
        courses = [self._course(number) for number in range(sizes.courses)]
        for number in range(sizes.contents):
            self._content(number, self._some(courses, 2))
        self._learned = [
            about(table, row.record, self._tables["courses"].rows.values())
            for table in ("content", "courses")
            for row in self._tables[table].rows.values()
        ]

    def _leveled(self, table: str, name: str, level: str) -> Record:
        enum = {"value": level, "source_value": level.title() if level != "unmapped_value" else "Winter only"}
        return self._new(
            table, name=name, active=self._active(), hierarchy=self._sometimes(enum), level=enum,
            language=self._sometimes(self._language()),
        )  # fmt: skip

    def _links(self, table: str, most: int) -> list[Record]:
        rows = [row.record for row in self._tables[table].rows.values()]
        keys = ("id", "remote_id", "name", "active", "level")
        return [{key: record[key] for key in keys} for record in self._some(rows, most)]

    def _learnable(self, table: str, title: str, prefix: str, number: int, **fields: Any) -> Record:
        created = self._moment()
        reference = f"{prefix}-{title.upper().replace(':', '').replace(' ', '-')}-{number + 1}"
        authors = self._some(words.LAST_NAMES, 2)
        return self._new(
            table,
            external_reference=reference,
            title=title,
            description=self._sometimes(self._one(words.SENTENCES)),
            languages=[self._language() for _ in range(1 + int(self._random() * 2))],
            cover_url=self._sometimes(f"https://media.example.com/covers/{prefix.lower()}-{number + 1}.png"),
            active=self._active(),
            duration=self._sometimes(self._duration()),
            categories=self._links("categories", 3),
            skills=self._sometimes(self._links("skills", 4)),
            provider=self._account.provider.title(),
            authors=[{"id": f"author-{name.lower()}", "name": f"Dr {name}"} for name in authors],
            created_at=stamp(created),
            updated_at=stamp(self._later(created, 300)),
            unified_custom_fields=self._sometimes({"budget_code": f"B{number:04d}", "seats": number % 40}, 0.4),
            **fields,
        )

    def _course(self, number: int) -> Record:
        title = f"{self._one(words.TOPICS)} {self._one(words.STAGES)}"
        record = self._learnable(
            "courses", title, "COURSE", number, content_ids=[], remote_content_ids=[],
            url=f"https://learn.example.com/{self._account.provider}/courses/{number + 1}",
        )  # fmt: skip
        if self._random() < 0.1:
            record["seat_limit"] = 20  # declared by no schema
        return self._add("courses", record, record["updated_at"])

    def _content(self, number: int, courses: Sequence[Record]) -> None:
        kind, source = self._one(words.CONTENT_TYPES)
        title = f"{self._one(words.TOPICS)}: {self._one(words.STAGES)}"
        site = f"{self._account.provider}/content/{number + 1}"
        record = self._learnable(
            "content", title, "CONTENT", number,
            course_ids=[course["id"] for course in courses],
            remote_course_ids=[course["remote_id"] for course in courses],
            content_url=f"https://learn.example.com/{site}",
            mobile_launch_content_url=self._sometimes(f"https://m.learn.example.com/{site}", 0.6),
            content_type={"value": kind, "source_value": source},
            order=self._sometimes(number % 9),
            short_description=self._sometimes(title),
            tags=self._some(words.TAGS, 3),
            localizations=[self._localization(title)],
            additional_data=self._sometimes([{"id": "outcomes", "value": ["recall", "apply"]}], 0.2),
        )  # fmt: skip
        if self._random() < 0.1:
            record["average_rating"] = 4.5  # declared by no schema
        self._add("content", record, record["updated_at"])
        for course in courses:
            course["content_ids"].append(record["id"])
            course["remote_content_ids"].append(record["remote_id"])

    def _localization(self, title: str) -> Record:
        if self._odd and self._random() < 0.5:
            return {"title": title, "description": None, "languages": {"value": "en-US"}}
        return {
            "title": title,
            "description": None,
            "language": self._language(),
            "tags": self._some(words.TAGS, 2),
        }

    def user(self, number: int) -> None:
        """Add a user."""
        first, last = self._one(words.FIRST_NAMES), self._one(words.LAST_NAMES)
        created = self._moment()
        updated = stamp(self._later(created, 400))
        record = self._new(
            "users",
            external_reference=f"EMP-{10_000 + number}",
            name=f"{first} {last}",
            email=f"{'User' if number % 4 == 3 else 'user'}{number + 1}@{self._account.provider}.example.com",
            phone_number=self._sometimes(f"+1555{number:07d}", 0.7),
            active=self._active(),
            created_at=stamp(created),
            updated_at=updated,
            unified_custom_fields=self._sometimes({"team": self._one(words.TEAMS), "remote": number % 3 == 0}),
        )
        if self._random() < 0.1:
            record["preferred_name"] = first  # declared by no schema
        self._users.append(self._add("users", record, updated))

    def _owned(self) -> tuple[Record, Record]:
        user = self._one(self._users)
        owner = {"user_id": user["id"], "remote_user_id": user["remote_id"]}
        return owner, self._one(self._learned)

    def _result(self) -> Record | None:
        share = self._random()
        if share < 0.7:
            return {"value": "Pass", "source_value": self._one(words.PASSES)}
        if share < 0.85:
            return {"value": "Fail", "source_value": self._one(words.FAILS)}
        return {"value": "unmapped_value", "source_value": self._one(words.OTHER_RESULTS)} if share < 0.95 else None

    def _certificate(self, number: int) -> str | None:
        return self._sometimes(f"https://certificates.example.com/{self._account.provider}/{number + 1}.pdf", 0.6)

    def assignment(self, number: int) -> None:
        """Add an assignment."""
        owner, learned = self._owned()
        assigned = self._moment()
        updated = stamp(self._later(assigned, 90))
        status = self._one(("pending", "in_progress", "completed", "completed", "unmapped_value"))
        done = status == "completed"
        progress: float = {"pending": 0, "completed": 100}.get(status, int(self._random() * 199) / 2)
        record = self._new(
            "assignments",
            external_reference=f"ASSIGNMENT-{number + 1}",
            **owner,
            **learned,
            status={
                "value": status,
                "source_value": "On hold" if status == "unmapped_value" else status.upper(),
            },
            progress=str(progress) if self._odd and number % 4 == 0 else progress,
            result=self._result() if done else None,
            certificate_url=self._certificate(number) if done else None,
            assigned_at=stamp(assigned),
            due_date=self._sometimes(stamp(assigned + timedelta(days=30))),
            completed_at=updated if done else None,
            created_at=stamp(assigned),
            updated_at=updated,
            unified_custom_fields=self._sometimes({"wave": f"{assigned.year}-{number % 4 + 1}"}, 0.3),
        )
        self._add("assignments", record, updated, owner["user_id"])

    def completion(self, number: int) -> None:
        """Add a completion."""
        owner, learned = self._owned()
        created = self._moment()
        completed = self._later(created, 20)
        updated = stamp(self._later(completed, 5))
        ids = self._account.new_ids("completions")
        points = int(self._random() * 101)
        content = learned["learning_object_type"]["value"] == "content"
        record = {
            **ids,
            "external_id": f"DONE-{number + 1}",
            "remote_external_id": ids["remote_id"],
            "external_reference": self._sometimes(f"COMPLETION-{number + 1}"),
            **owner,
            **learned,
            "content_id": learned["learning_object_id"] if content else None,
            "remote_content_id": learned["remote_learning_object_id"] if content else None,
            "content_external_reference": learned["learning_object_external_reference"] if content else None,
            "result": self._result(),
            "score": self._sometimes({"percentage": points, "raw_value": f"{points} / 100"}, 0.7),
            "time_spent": self._sometimes(self._duration()),
            "certificate_url": self._certificate(number),
            "completed_at": stamp(completed),
            "created_at": stamp(created),
            "updated_at": updated,
            "unified_custom_fields": self._sometimes({"site": self._one(words.TEAMS), "attempt": number % 3 + 1}, 0.4),
        }
        if self._random() < 0.1:
            record["proctored"] = number % 2 == 0  # declared by no schema
        self._add("completions", record, updated, owner["user_id"])
