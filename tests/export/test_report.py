"""The report: the numbers of the export, on one page that needs nothing else."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import statistics
import subprocess
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stackone_lms import AsyncClient, SyncClient
from stackone_lms.cli.app import run
from stackone_lms.errors import ExportError, InvalidArgumentError
from stackone_lms.export import export, export_sync
from stackone_lms.export.report import write_report
from stackone_lms.export.report.summary import Days, Summary, summarize
from stackone_lms.models import LinkedAccount
from stackone_lms.models.base import to_timedelta
from stackone_lms.sandbox import Sandbox

from ..soak import further
from .datasets import part_of
from .test_export import Canned


def completion(id: str, day: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "completed_at": f"{day}T12:00:00.000Z", **more}


async def exported(target: Path, *records: dict[str, Any], format: str = "jsonl") -> Path:
    async with Canned({None: (None, list(records))}, "completions") as url, AsyncClient("key", base_url=url) as client:
        await export(client, "completions", target, accounts=["a"], format=format)
    return target


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet"])
async def test_the_numbers_are_those_of_the_records(
    format: str, client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """From files of every form: by month and result, by course with its title, for each account and for all."""
    await export(client, ["completions", "courses"], tmp_path, accounts=sandbox.account_ids, format=format)
    found = summarize(tmp_path)
    whole, *each = found.accounts
    assert [one.name for one in each] == sandbox.account_ids
    assert whole.completions == sum(one.completions for one in each) == 660
    account = sandbox.account_ids[1]
    records = [sandbox.record("completions", id, account) for id in sandbox.ids("completions", account)]
    told = each[1]
    results = Counter(part_of(one, "result", "value") for one in records)
    assert (told.completions, told.passed, told.failed) == (330, results["Pass"], results["Fail"])
    assert told.learners == len({one["user_id"] for one in records})
    months = Counter((one["completed_at"][:7], part_of(one, "result", "value")) for one in records)
    for n, start in enumerate(told.periods):
        assert told.results["Pass"][n] == months[start[:7], "Pass"]
        assert told.results["Fail"][n] == months[start[:7], "Fail"]
    assert sum(map(sum, told.results.values())) == 330
    top = told.top[0]
    courses = Counter(one["course_id"] for one in records if one["course_id"])
    assert top.completions == max(courses.values())
    assert [one.completions for one in told.top] == sorted(courses.values(), reverse=True)
    busiest = min(id for id, count in courses.items() if count == top.completions)
    assert top.title == sandbox.record("courses", busiest, account)["title"]
    titles = Counter(one.title for one in whole.top)
    assert all((one.note is None) == (titles[one.title] == 1) for one in whole.top)
    spent = [to_timedelta(one["time_spent"]) for one in records if one["course_id"] == busiest]
    assert top.minutes == round(statistics.median(one.total_seconds() / 60 for one in spent if one), 1)
    assert found.titles


async def test_the_page_stands_alone(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """Data, style, script and the charts' library are in it; it may load nothing, and names no other place."""
    await export(client, ["completions", "courses"], tmp_path / "data", accounts=sandbox.account_ids, format="jsonl")
    out = tmp_path / "report.html"
    assert write_report(tmp_path / "data", out) == 660
    page = out.read_text()
    assert len(page.encode()) < 1_500_000
    assert "default-src 'none'" in page
    own = re.sub(r"<script>/\*\*?\s*\n?\* plotly\.js.*?</script>", "", page, count=1, flags=re.DOTALL)
    assert len(own) < len(page) / 5, "the library was taken out"
    assert not re.search(r"<link|src=|@import|url\(|https?:", own)
    assert "Plotly.react" in own
    data = re.search(r'id="data">(.*?)</script>', own, flags=re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["accounts"][0]["completions"] == 660
    assert not re.search(r"<!--\w+-->", own)


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


async def dom(page: Path) -> str:
    """Return the document that a page becomes in a browser."""
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={page.parent / 'profile'}"]
    done = await asyncio.to_thread(
        subprocess.run,
        [*command, "--dump-dom", page.as_uri()],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=True,
    )
    return re.sub(r"<script.*?</script>", "", done.stdout, flags=re.DOTALL)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
async def test_a_browser_shows_it(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """The script runs: figures, charts, the choice of account, and both tables stand there."""
    resources = ["completions", "courses", "assignments"]
    await export(client, resources, tmp_path / "data", accounts=sandbox.account_ids, format="jsonl")
    write_report(tmp_path / "data", tmp_path / "report.html")
    shown = await dom(tmp_path / "report.html")
    assert 'id="without" class="note" hidden=""' in shown
    assert "<dt>Completions</dt><dd>660</dd>" in shown
    assert shown.count("<option") == 3
    charts = dict(re.findall(r'<div class="chart[^"]*" id="(\w+)"(.*?)</section>', shown, flags=re.DOTALL))
    assert set(charts) == {"time", "active", "rate", "minutes", "completed"}
    whole = summarize(tmp_path / "data").accounts[0]
    for name, count in (("Assignments", whole.assigned), ("Open", whole.open), ("Overdue", whole.overdue)):
        assert f"<dt>{name}</dt><dd>{count}</dd>" in shown
    assert all('class="points"' in chart for chart in charts.values())
    rows = {id: body.count("<tr>") for id, body in re.findall(r'<table id="(\w+)">(.*?)</table>', shown, re.DOTALL)}
    assert rows == {"accounts": 1 + 2, "courses": 1 + len(summarize(tmp_path / "data").accounts[0].top)}


async def test_a_page_knows_which_lists_were_not_exported(
    client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    first, second = sandbox.account_ids[:2]
    await export(client, ["completions"], tmp_path, accounts=[first, second], format="jsonl")
    whole, *each = summarize(tmp_path).accounts
    assert whole.without == {"assignments": 2, "courses": 2}
    assert [one.without for one in each] == [{"assignments": 1, "courses": 1}] * 2
    await export(client, ["courses", "assignments"], tmp_path, accounts=[second], format="jsonl")
    whole, *each = summarize(tmp_path).accounts
    assert whole.without == {"assignments": 1, "courses": 1}
    assert [one.without for one in each] == [{"assignments": 1, "courses": 1}, {}]


@pytest.mark.thorough
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
async def test_a_browser_shows_what_was_not_exported(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    first, second = sandbox.account_ids[:2]
    await export(client, ["completions", "courses"], tmp_path / "data", accounts=[first, second], format="jsonl")
    await export(client, ["assignments"], tmp_path / "data", accounts=[second], format="jsonl")
    write_report(tmp_path / "data", tmp_path / "report.html")
    told = re.findall(r"<li>(.*?)</li>", await dom(tmp_path / "report.html"))
    (line,) = told
    assert line.startswith("The assignments of 1 of the 2 accounts were not exported, so this page does not show their")


async def test_titles_are_text(tmp_path: Path) -> None:
    """Whatever a provider calls a course, it neither ends the script nor becomes markup."""
    evil = "</script><script>alert(1)</script><!--style-->"
    folder = await exported(tmp_path / "data", completion("1", "2026-01-01", course_id=evil))
    write_report(folder, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "alert(1)" in page
    assert "<script>alert(1)" not in page
    assert page.count("</style>") == 1


async def test_courses_of_one_title_are_told_apart(tmp_path: Path) -> None:
    """By the account if that is enough, else by the id."""
    records = [completion(str(n), "2026-01-01", course_id=id) for n, id in enumerate(["c1", "c2", "c3"])]
    courses = [{"id": id, "title": title} for id, title in (("c1", "One"), ("c2", "Same"), ("c3", "Same"))]
    served = Canned({None: (None, records)}, "completions"), Canned({None: (None, courses)}, "courses")
    for canned, name in zip(served, ("completions", "courses"), strict=True):
        async with canned as url, AsyncClient("key", base_url=url) as client:
            await export(client, name, tmp_path, accounts=["account-1", "account-2"], format="jsonl")
    whole, first, _ = summarize(tmp_path).accounts
    assert sorted((one.title, one.note) for one in whole.top) == [
        ("One", "account ...nt-1"),
        ("One", "account ...nt-2"),
        *[("Same", f"id {id}") for id in ("c2", "c2", "c3", "c3")],
    ]
    assert [(one.title, one.note) for one in first.top] == [("One", None), ("Same", "id c2"), ("Same", "id c3")]


async def test_assignments_open_overdue_and_completed(tmp_path: Path) -> None:
    """Of all, by course and by account; overdue is what was open and due when the list was exported."""
    far, past = "2100-01-01T00:00:00.000Z", "2020-01-01T00:00:00.000Z"
    given: list[dict[str, Any]] = [
        {"id": "1", "course_id": "c1", "status": {"value": "completed"}, "due_date": past},
        {"id": "2", "course_id": "c1", "status": {"value": "in_progress"}, "due_date": past},
        {"id": "3", "course_id": "c1", "status": {"value": "pending"}, "due_date": far},
        {"id": "4", "learning_object_type": {"value": "course"}, "learning_object_id": "c2", "status": None},
        {"id": "5", "learning_object_type": {"value": "content"}, "learning_object_id": "x", "completed_at": past},
    ]
    done = [completion("1", "2026-01-01", course_id="c1")]
    for name, records in (("completions", done), ("assignments", given)):
        async with Canned({None: (None, records)}, name) as url, AsyncClient("key", base_url=url) as client:
            await export(client, name, tmp_path, accounts=["a", "b"], format="jsonl")
    found = summarize(tmp_path)
    assert found.assignments
    assert [(one.assigned, one.open, one.overdue) for one in found.accounts] == [(10, 6, 2), (5, 3, 1), (5, 3, 1)]
    of_courses = [(one.title, one.completions, one.assigned, one.open, one.overdue) for one in found.accounts[1].top]
    assert of_courses == [("c1", 1, 3, 2, 1), ("c2", 0, 1, 1, 0)]


async def test_days_narrow_it(tmp_path: Path) -> None:
    """Completions by when they were completed, assignments by when they were assigned; both days are in it."""
    records = [completion(str(n), f"2026-01-{n:02}") for n in range(1, 11)]
    given = [{"id": str(n), "assigned_at": f"2026-01-{n:02}T23:59:59.000Z"} for n in range(1, 11)] + [{"id": "none"}]
    for name, some in (("completions", [*records, {"id": "none"}]), ("assignments", given)):
        async with Canned({None: (None, some)}, name) as url, AsyncClient("key", base_url=url) as client:
            await export(client, name, tmp_path, accounts=["a"], format="jsonl")
    for first, last, count in ((None, None, 11), (4, None, 7), (None, 4, 4), (4, 6, 3)):
        span = Days(*(None if day is None else date(2026, 1, day) for day in (first, last)))
        found = summarize(tmp_path, span=span)
        assert (found.accounts[0].completions, found.accounts[0].assigned) == (count, count)
    out = tmp_path / "report.html"
    assert write_report(tmp_path, out, first=date(2026, 1, 4), last=date(2026, 1, 6)) == 3
    assert '"span":["2026-01-04","2026-01-06"]' in out.read_text()
    with pytest.raises(InvalidArgumentError, match="2026-01-03, is before the first one, 2026-01-04"):
        write_report(tmp_path, out, first=date(2026, 1, 4), last=date(2026, 1, 3))


async def test_accounts_and_their_courses_are_called_by_name(tmp_path: Path) -> None:
    """Two accounts with one course of the same title are told apart by their names."""
    courses = [{"id": "c", "title": "Safety"}]
    named = [LinkedAccount(id="account-1", origin_owner_name="Seven Ltd"), LinkedAccount(id="account-2")]
    for name, records in (("completions", [completion("1", "2026-01-01", course_id="c")]), ("courses", courses)):
        async with Canned({None: (None, records)}, name) as url, AsyncClient("key", base_url=url) as client:
            await export(client, name, tmp_path, accounts=named, format="jsonl")
    whole, *each = summarize(tmp_path).accounts
    assert [one.name for one in each] == ["Seven Ltd", "account-2"]
    assert [(one.title, one.note) for one in whole.top] == [("Safety", "Seven Ltd"), ("Safety", "account ...nt-2")]


def test_the_command_takes_days_and_opens_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--open` shows the page in the browser; without one it says so, and is done."""
    out, shown = tmp_path / "report.html", list[str]()
    with (
        Sandbox.in_thread(completions=20) as sandbox,
        SyncClient(sandbox.api_key, sandbox.account_ids[0], base_url=sandbox.url) as client,
    ):
        export_sync(client, "completions", tmp_path / "data", format="jsonl")

    def browser(url: str) -> bool:
        shown.append(url)
        return len(shown) == 1

    monkeypatch.setattr("webbrowser.open", browser)
    arguments = ["report", str(tmp_path / "data"), "--out", str(out)]
    assert (run([*arguments, "--open"]), run([*arguments, "--open"]), run(arguments)) == (0, 0, 0)
    assert shown == [out.as_uri()] * 2
    assert run([*arguments, "--from", "2020-01-01", "--to", "2020-01-02"]) == 0
    assert '"completions":0' in out.read_text()
    assert run([*arguments, "--from", "yesterday"]) == 2


@pytest.mark.parametrize(
    ("days", "periods"),
    [
        (["2026-01-30", "2026-02-02"], ["2026-01-30", "2026-01-31", "2026-02-01", "2026-02-02"]),
        (["2025-12-30", "2026-02-16"], [f"2025-12-{d}" for d in (29,)] + [
            "2026-01-05", "2026-01-12", "2026-01-19", "2026-01-26", "2026-02-02", "2026-02-09", "2026-02-16"]),
        (["2024-11-30", "2026-01-01"], [f"2024-{m}-01" for m in (11, 12)] + [f"2025-{m:02}-01" for m in range(1, 13)]
         + ["2026-01-01"]),
        (["2014-03-05", "2026-01-01"], [f"{year}-01-01" for year in range(2014, 2027)]),
        (["9988-01-01", "9999-12-31"], [f"{year}-01-01" for year in range(9988, 10000)]),
    ],
)  # fmt: skip
async def test_periods_fit_to_the_span(days: list[str], periods: list[str], tmp_path: Path) -> None:
    """Days, weeks or months, and none is left out because nothing happened in it."""
    folder = await exported(tmp_path, *(completion(str(n), day) for n, day in enumerate(days)))
    whole = summarize(folder).accounts[0]
    assert whole.periods == periods
    assert whole.results["Other"] == [1, *[0] * (len(periods) - 2), 1]


async def test_what_is_missing_is_not_made_up(tmp_path: Path) -> None:
    """A completion without day, result, user or course counts as a completion, and nowhere else."""
    odd = {"id": "2", "result": {"value": "unmapped_value"}, "time_spent": "P1Y"}
    by_kind = completion("3", "2026-01-01", learning_object_type={"value": "course"}, learning_object_id="c")
    content = completion("4", "2026-01-01", learning_object_type={"value": "content"}, learning_object_id="d")
    folder = await exported(tmp_path, {"id": "1"}, odd, by_kind, content)
    whole = summarize(folder).accounts[0]
    assert (whole.completions, whole.passed, whole.failed, whole.learners, whole.minutes) == (4, 0, 0, 0, None)
    assert sum(map(sum, whole.results.values())) == 2
    assert [(one.title, one.completions, one.minutes) for one in whole.top] == [("c", 1, None)]


async def test_no_completions_are_a_page_too(tmp_path: Path) -> None:
    """An empty list is no error."""
    folder = await exported(tmp_path / "data")
    assert write_report(folder, tmp_path / "report.html") == 0


async def test_lists_of_users_do_as_well(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """If completions were exported user by user, the report is of those."""
    account = sandbox.account_ids[0]
    await export(client, "users.completions", tmp_path, accounts=[account], format="csv")
    found: Summary = summarize(tmp_path)
    assert found.accounts[0].completions == 330
    assert not found.titles


async def test_without_completions_there_is_no_report(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """It is said what is needed."""
    with pytest.raises(ExportError, match="this is not an export"):
        summarize(tmp_path)
    await export(client, "courses", tmp_path, accounts=sandbox.account_ids, format="jsonl")
    with pytest.raises(ExportError, match="export completions and courses"):
        summarize(tmp_path)


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet"])
async def test_any_moment_of_the_years_1_to_9999(format: str, tmp_path: Path) -> None:
    """With any offset: some have no date in UTC, and count on the day that they name, or the last there is."""
    moments = ["9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+14:00", "9999-12-31T00:00:00-12:00"]
    target = await exported(tmp_path, *({"id": m, "completed_at": m} for m in moments), format=format)
    whole = summarize(target).accounts[0]
    assert whole.completions == 3
    assert whole.last == "9999-12-31"
    assert sum(map(sum, whole.results.values())) == 3
    assert whole.periods[0] == "0001-01-01"
    assert write_report(target, tmp_path / "report.html") == 3


@pytest.mark.parametrize("kind", ["sqlite", *further("duckdb", "delta")])
async def test_of_a_database_and_of_one_account(
    kind: str, client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The same numbers as from files."""
    resources, target = ["completions", "courses"], f"{kind}:{tmp_path / 'lms.db'}"
    for one in (tmp_path / "lms", target):
        await export(client, resources, one, accounts=sandbox.account_ids)
    assert _numbers(summarize(target)) == _numbers(summarize(tmp_path / "lms"))
    of_one = _numbers(summarize(target, [sandbox.account_ids[1]]))
    assert of_one == _numbers(summarize(tmp_path / "lms", sandbox.account_ids[1]))
    assert [one["completions"] for one in of_one] == [330, 330]
    assert of_one[1] == _numbers(summarize(target))[2]
    with pytest.raises(ExportError, match="nothing of these accounts was exported there: other"):
        summarize(target, [sandbox.account_ids[0], "other"])


def _numbers(found: Summary) -> list[dict[str, Any]]:
    return [{**msgspec.structs.asdict(one), "as_of": None} for one in found.accounts]


async def test_each_account_tells_as_of_when(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """An account whose last export failed is told as of the one before."""
    first, second = sandbox.account_ids
    await export(client, "completions", tmp_path, accounts=[first, second], format="csv")
    before = summarize(tmp_path)
    assert [one.behind for one in before.accounts] == [0, 0, 0]
    sandbox.fail_next(403)
    await export(client, "completions", tmp_path, accounts=[second], format="csv")
    await export(client, "completions", tmp_path, accounts=[first], format="csv")
    whole, one, two = summarize(tmp_path).accounts
    assert (whole.behind, one.behind, two.behind) == (1, 0, 1)
    assert two.as_of == before.accounts[2].as_of
    assert one.as_of is not None
    assert two.as_of is not None
    assert before.accounts[1].as_of is not None
    assert one.as_of > before.accounts[1].as_of
    assert whole.as_of == (two.as_of[0], one.as_of[1])
