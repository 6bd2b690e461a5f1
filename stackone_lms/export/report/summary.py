"""What a report shows, counted in one pass over the files of an export."""

from __future__ import annotations

import os
import statistics
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any, Final

import msgspec

from ...errors import ExportError
from ...models.base import to_timedelta
from ..existing import Existing, read_existing
from ..outcome import called
from ..state.manifest import ListEntry
from ..targets.base import Target

COURSES: Final = 100
"""Courses that are shown, those with the most completions."""
_STEPS: Final = ((45, "day"), (210, "week"), (3660, "month"))
"""Days of the whole span, and how long a period is then; beyond the last: years."""
_COURSE: Final = (
    "course_id", "remote_course_id", "learning_object_type_value", "learning_object_id", "remote_learning_object_id",
)  # fmt: skip
_OF_COMPLETIONS: Final = ("result_value", "completed_at", "time_spent", "user_id", "remote_user_id", *_COURSE)
_OF_ASSIGNMENTS: Final = ("status_value", "completed_at", "due_date", "assigned_at", *_COURSE)


class CourseSummary(msgspec.Struct):
    """What is told about a course."""

    title: str
    note: str | None
    """What tells it from others of the same title."""
    completions: int
    passed: int
    failed: int
    minutes: float | None
    """Median time to complete."""
    assigned: int = 0
    """Assignments of it."""
    open: int = 0
    """Those that are not completed."""
    overdue: int = 0
    """Those of the open ones that were due before the list was exported."""


class Account(msgspec.Struct):
    """What is told about an account, or about all of them."""

    name: str
    completions: int
    passed: int
    failed: int
    learners: int
    courses: int
    minutes: float | None
    """Median time to complete."""
    last: str | None
    """Day of the newest completion."""
    periods: list[str]
    """Beginnings of the periods, without a gap."""
    results: dict[str, list[int]]
    """By result: completions in each period."""
    top: list[CourseSummary]
    """The courses with the most completions, then those with the most assignments."""
    assigned: int = 0
    """Assignments."""
    open: int = 0
    """Those that are not completed."""
    overdue: int = 0
    """Those of the open ones that were due before the list was exported."""
    as_of: tuple[str, str] | None = None
    """When its list was exported; of several accounts the first and the last moment. None: never to its end."""
    behind: int = 0
    """Of how many accounts the last try to export it did not reach its end: what is told of them is from before."""
    without: dict[str, int] = {}
    """Of how many of its accounts a list was never exported: `assignments`, `courses`; none of those that all have."""


class Summary(msgspec.Struct):
    """What a report shows."""

    accounts: list[Account]
    """All of them together first, then each."""
    titles: bool
    """Whether the titles of courses are known."""
    assignments: bool = False
    """Whether assignments were exported."""
    span: tuple[str | None, str | None] = (None, None)
    """The first and the last day that it is about; None: no limit."""


class Days(msgspec.Struct, frozen=True):
    """Days that a report is about, in UTC."""

    first: date | None = None
    last: date | None = None

    def holds(self, day: date | None) -> bool:
        """Tell whether a day is one of them. What has no day is, where no day is left out."""
        if day is None:
            return self.first is None and self.last is None
        return (self.first is None or day >= self.first) and (self.last is None or day <= self.last)


_STATES: Final = ("assigned", "open", "overdue")


class _Totals:
    """Counts completions."""

    def __init__(self) -> None:
        self.days: dict[str, Counter[date]] = {"Pass": Counter(), "Fail": Counter(), "Other": Counter()}
        self.undated: Counter[str] = Counter()
        self.users: set[Any] = set()
        self.courses: dict[Any, Counter[str]] = defaultdict(Counter)
        self.minutes: dict[Any, array[float]] = defaultdict(lambda: array("d"))
        self.assigned: Counter[str] = Counter()
        self.assigned_by_course: dict[Any, Counter[str]] = defaultdict(Counter)

    def add(self, result: str, day: date | None, user: Any, course: Any, minutes: float | None) -> None:
        if day is None:
            self.undated[result] += 1
        else:
            self.days[result][day] += 1
        if user is not None:
            self.users.add(user)
        if course is not None:
            self.courses[course][result] += 1
        if minutes is not None:
            self.minutes[course].append(minutes)

    def assign(self, states: Iterable[str], course: Any) -> None:
        states = tuple(states)
        self.assigned.update(states)
        if course is not None:
            self.assigned_by_course[course].update(states)

    def account(self, name: str, titles: dict[Any, str], names: dict[str, str]) -> Account:
        counts = {result: days.total() + self.undated[result] for result, days in self.days.items()}
        every = [day for days in self.days.values() for day in days]
        starts, results = _periods(self.days, every)
        none: Counter[str] = Counter()
        courses = {key: (self.courses.get(key, none), self.assigned_by_course.get(key, none)) for key in self._keys()}
        shown = sorted(courses.items(), key=lambda one: (-one[1][0].total(), -one[1][1]["assigned"], str(one[0])))
        shown = shown[:COURSES]
        return Account(
            name=name,
            completions=sum(counts.values()),
            passed=counts["Pass"],
            failed=counts["Fail"],
            learners=len(self.users),
            courses=len(courses),
            minutes=_median(value for some in self.minutes.values() for value in some),
            last=max(every).isoformat() if every else None,
            periods=starts,
            results=results,
            top=[
                CourseSummary(
                    *(*called, found.total(), found["Pass"], found["Fail"], _median(self.minutes.get(key, ()))),
                    *(given[state] for state in _STATES),
                )
                for called, (key, (found, given)) in zip(
                    _called([key for key, _ in shown], titles, names), shown, strict=True
                )
            ],
            assigned=self.assigned["assigned"],
            open=self.assigned["open"],
            overdue=self.assigned["overdue"],
        )

    def _keys(self) -> Iterable[Any]:
        return {**self.courses, **self.assigned_by_course}


def _called(
    courses: list[tuple[str, str]], titles: dict[Any, str], names: dict[str, str]
) -> Iterator[tuple[str, str | None]]:
    """Yield titles of courses, with what tells a course from others of the same title: account, or id."""
    called = [titles.get(key) or key[1] for key in courses]
    same: dict[str, Counter[str]] = defaultdict(Counter)
    for title, (account, _) in zip(called, courses, strict=True):
        same[title][account] += 1
    for title, (account, id) in zip(called, courses, strict=True):
        if same[title].total() == 1:
            yield title, None
        else:
            of_account = f"account {_end(account, 4)}" if names[account] == account else names[account]
            yield title, f"id {_end(id, 16)}" if same[title][account] > 1 else of_account


def _end(id: str, count: int) -> str:
    return id if len(id) <= 2 * count else f"...{id[-count:]}"


def _median(values: Iterable[float]) -> float | None:
    some = array("d", values)
    return round(statistics.median(some), 1) if some else None


def _periods(days: dict[str, Counter[date]], every: list[date]) -> tuple[list[str], dict[str, list[int]]]:
    """Count by day, week or month, whichever makes a chart that can be read; periods without any are there too."""
    if not every:
        return [], {result: [] for result in days}
    first, last = min(every), max(every)
    step = next((name for most, name in _STEPS if (last - first).days <= most), "year")
    starts: list[date] = []
    start = _start(first, step)
    while start <= last:
        starts.append(start)
        if start.year == date.max.year and start.month + (step == "year") * 12 >= 12:
            break  # there is no following one
        start = _following(start, step)
    place = {start: number for number, start in enumerate(starts)}
    results = {result: [0] * len(starts) for result in days}
    for result, counts in days.items():
        for day, count in counts.items():
            results[result][place[_start(day, step)]] += count
    return [start.isoformat() for start in starts], results


def _start(day: date, step: str) -> date:
    if step in {"month", "year"}:
        return day.replace(month=1 if step == "year" else day.month, day=1)
    return date.fromordinal(max(1, day.toordinal() - day.weekday())) if step == "week" else day


def _following(day: date, step: str) -> date:
    if step == "year":
        return day.replace(year=day.year + 1)
    if step == "month":
        return day.replace(year=day.year + day.month // 12, month=day.month % 12 + 1)
    return date.fromordinal(day.toordinal() + (7 if step == "week" else 1))


def summarize(
    target: str | os.PathLike[str],
    accounts: str | Iterable[str] | None = None,
    span: Days | None = None,
    store_options: Mapping[str, str] | None = None,
) -> Summary:
    """Read what was exported, of some accounts or all.

    Args:
        target: A folder, or a database.
        accounts: The accounts. Default: all.
        span: The days: of completions when they were completed, of assignments when they were assigned. Default: all.
        store_options: Of a store.

    Raises:
        InvalidArgumentError: It is no target.
        ExportError: There is no export, none of one of the accounts, or none of completions.
    """
    span = span or Days()
    found = read_existing(target, accounts, store_options)
    entries = found.held
    name = _first_of(entries, "completions", "users.completions")
    if name is None:
        raise ExportError("the export has no completions: export completions and courses, then make the report")
    assigned = _first_of(entries, "assignments", "users.assignments")
    titles = dict(_titles(found))
    names = _account_names((*found.listed, *found.held))
    whole, each = _Totals(), dict[str, _Totals]()
    for entry in entries:
        if entry.resource == name:
            tally = each.setdefault(entry.account_id, _Totals())
            for one in _completions(found.target, entry, span):
                whole.add(*one)
                tally.add(*one)
    for entry in entries:
        if entry.resource == assigned:
            tally = each.setdefault(entry.account_id, _Totals())
            for states, course in _assignments(found.target, entry, span):
                whole.assign(states, course)
                tally.assign(states, course)
    ended = {entry.account_id: entry.finished for entry in entries if entry.resource == name}
    failed = {one.account_id for one in found.listed if one.resource == name and (one.error or one.skipped_users)}
    lists = {
        kind: {entry.account_id for entry in entries if entry.resource == resource}
        for kind, resource in (("assignments", assigned), ("courses", "courses"))
    }
    told = [whole.account("All accounts", titles, names)]
    told += [tally.account(names[account], titles, names) for account, tally in each.items()]
    for account, ids in zip(told, (list(each), *([id] for id in each)), strict=True):
        times = sorted(time for id in ids if (time := ended.get(id)) is not None)
        account.as_of = (times[0], times[-1]) if times else None
        account.behind = len(failed.intersection(ids))
        account.without = {kind: len(lacking) for kind, there in lists.items() if (lacking := set(ids) - there)}
    first, last = (day.isoformat() if day else None for day in (span.first, span.last))
    return Summary(told, bool(titles), assigned is not None, (first, last))


def _first_of(entries: Iterable[ListEntry], *resources: str) -> str | None:
    there = {entry.resource for entry in entries}
    return next((resource for resource in resources if resource in there), None)


def _account_names(entries: Iterable[ListEntry]) -> dict[str, str]:
    """Return what to call each account: its name, with the id where it is not the only one of that name."""
    names: dict[str, str | None] = {}
    for entry in entries:
        names[entry.account_id] = entry.account_name or names.get(entry.account_id)
    count = Counter(names.values())
    return {id: name if name is not None and count[name] == 1 else called(id, name) for id, name in names.items()}


def _titles(found: Existing) -> Iterator[tuple[Any, str]]:
    for entry in found.held:
        if entry.resource != "courses":
            continue
        for row in _rows(found.target, entry, ("id", "remote_id", "title")):
            id, remote_id, title = row
            for key in (id, remote_id):
                if key and title:
                    yield (entry.account_id, key), title


def _completions(target: Target, entry: ListEntry, span: Days) -> Iterator[tuple[Any, ...]]:
    account = entry.account_id
    for result, completed, spent, user, remote_user, *course in _rows(target, entry, _OF_COMPLETIONS):
        day = _day(completed)
        if not span.holds(day):
            continue
        person = user or remote_user
        time = to_timedelta(spent)
        yield (
            result if result in {"Pass", "Fail"} else "Other",
            day,
            (account, person) if person else None,
            _course(account, *course),
            None if time is None else time.total_seconds() / 60,
        )


def _assignments(target: Target, entry: ListEntry, span: Days) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield of each assignment what it counts as, and its course."""
    exported = datetime.fromisoformat(entry.finished) if entry.finished else datetime.now(UTC)
    for status, completed, due, assigned, *course in _rows(target, entry, _OF_ASSIGNMENTS):
        if not span.holds(_day(assigned)):
            continue
        states: tuple[str, ...] = ("assigned",)
        if status != "completed" and (status is not None or completed is None):
            states = ("assigned", "open", "overdue") if due is not None and due < exported else ("assigned", "open")
        yield states, _course(entry.account_id, *course)


def _course(account: str, course: Any, remote: Any, kind: Any, learned: Any, remote_learned: Any) -> Any:
    if not course and not remote and kind == "course":
        course, remote = learned, remote_learned
    key = course or remote
    return (account, key) if key else None


def _day(moment: datetime | None) -> date | None:
    if moment is None:
        return None
    try:
        return moment.astimezone(UTC).date()
    except OverflowError:  # at the ends of the years 1 and 9999 it has no date in UTC
        return moment.date()


def _rows(target: Target, entry: ListEntry, names: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    for columns in target.columns(entry, names):
        yield from zip(*(columns[name] for name in names), strict=True)
