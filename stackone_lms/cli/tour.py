"""The demo, step by step: what the package does, with real calls to a sandbox."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from typing import Any
from urllib.parse import unquote, urlsplit

from .. import __version__
from ..client import AsyncClient
from ..errors import NotFoundError
from ..export import export
from ..export.report import write_report
from ..models import CompletionResult
from ..sandbox import Sandbox
from ..sync import SyncClient
from .narration import Narration

PROGRAM = "stackone-lms"

FIELDS = ["id", "user_id", "result", "completed_at", "time_spent"]
PROXY = {"filter": {"eq": {"age": 25}}}
QUESTION = "Which three courses are completed most, and how many pass?"
SQL = (
    "SELECT course_title, count(*) AS completions,",
    "       round(100.0 * sum(result_value = 'Pass') / count(*)) AS passed",
    "FROM completion_details WHERE course_title IS NOT NULL",
    "GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 3",
)


def run() -> None:
    """Start a sandbox, show everything, and end it."""
    with Sandbox.in_thread() as sandbox:
        asyncio.run(_demo(sandbox))


async def _demo(sandbox: Sandbox) -> None:
    show = Narration()
    show.say(f"stackone-lms {__version__}: the StackOne unified LMS API, from Python")
    show.say("A sandbox plays the API here, with made-up data. The HTTP calls are real.")
    show.row("sandbox", f"{sandbox.url}, {len(sandbox.account_ids)} linked accounts")
    # The limit of 1000 requests a minute is the real API's; this one may be asked as fast as it answers.
    options: dict[str, Any] = {
        "api_key": sandbox.api_key,
        "account_id": sandbox.account_ids[0],
        "base_url": sandbox.url,
        "rate_limit": None,
    }
    ids = sandbox.ids("completions")
    passed = next(id for id in ids if "PASS" in str(sandbox.record("completions", id)["result"]))
    async with AsyncClient(**options) as client:
        answer = await _one(show, sandbox, client, passed)
        await asyncio.to_thread(_blocking, show, options, passed, answer)
        await _lists(show, client)
        await _bulk(show, client, ids)
        await _errors(show, sandbox, client, passed)
        folder = Path(tempfile.mkdtemp(prefix="lms-demo-"))
        database = await _export(show, client, sandbox.account_ids[:1], folder)
    _report(show, database, folder)
    _next(show, database)


async def _one(show: Narration, sandbox: Sandbox, client: AsyncClient, id: str) -> CompletionResult:
    show.step("One completion, with raw, fields and proxy")
    show.code("client = AsyncClient(api_key, account_id)")
    show.code("await client.completions.get(id, raw=True, fields=['id', ...],")
    show.code(f"                             proxy={PROXY})")
    answer = await client.completions.get(id, raw=True, fields=FIELDS, proxy=PROXY)
    sent = sandbox.requests[-1]
    completion = answer.data
    show.row("sent", f"{sent.method} {sent.path.removesuffix(id)}{id[:8]}...")
    show.row("", unquote(sent.query).replace("&", " "))
    show.row("answer", f"{answer.status}, {answer.elapsed * 1000:.0f} ms, request id {answer.request_id}")
    show.row("typed", f"{type(answer).__name__} with data: {type(completion).__name__}")
    show.row("  id", f"{completion.id}")
    show.row("  result", f"{completion.result.value if completion.result else None}")
    show.row("  completed_at", f"{completion.completed_at!r}")
    show.row("  time_spent", f"{completion.time_spent!r} = {completion.time_spent_timedelta}")
    for call in answer.raw or []:
        asked = urlsplit(call.url or "")
        show.row("raw", f"the provider was asked: {call.method} {asked.netloc}/...?{unquote(asked.query)}")
    return answer


def _blocking(show: Narration, options: dict[str, Any], id: str, expected: CompletionResult) -> None:
    show.step("The same without asyncio")
    show.code("with SyncClient(api_key, account_id) as client:")
    show.code("    client.completions.get(id, raw=True, fields=[...], proxy={...})")
    with SyncClient(**options) as client:
        answer = client.completions.get(id, raw=True, fields=FIELDS, proxy=PROXY)
    same = "equal to the one above" if answer.data == expected.data else "NOT the one above"
    show.row("answer", f"{answer.status}, {type(answer).__name__}, {same}")


async def _lists(show: Narration, client: AsyncClient) -> None:
    show.step("Lists: page by page, or item by item")
    show.code("async for page in client.users.list(page_size=50).pages(): ...")
    sizes = [len(page.data) async for page in client.users.list(page_size=50).pages()]
    show.row("pages", f"{' + '.join(map(str, sizes))} = {sum(sizes)} users")
    show.code("async for course in client.courses.list(page_size=5): ...")
    pages = [len(page.data) async for page in client.courses.list(page_size=5).pages()]
    count = len([course async for course in client.courses.list(page_size=5)])
    show.row("items", f"{count} courses from {len(pages)} pages, {pages.count(0)} of them empty and passed over")


async def _bulk(show: Narration, client: AsyncClient, ids: list[str]) -> None:
    show.step("Thousands of completions by id")
    show.code("async for outcome in client.completions.get_many(ids, progress=bar): ...")
    show.row("limit", "off here (rate_limit=None); by itself a client keeps to 1000 requests a minute")
    done = failed = 0
    with show.progress(len(ids)) as bar:
        begun = time.perf_counter()
        async for outcome in client.completions.get_many(ids, progress=bar):
            done += 1
            failed += outcome.error is not None
        seconds = time.perf_counter() - begun
    show.row("fetched", f"{done} completions in {seconds:.2f} s, {failed} failed")
    show.row("throughput", f"{done / seconds:,.0f} completions a second")


async def _errors(show: Narration, sandbox: Sandbox, client: AsyncClient, id: str) -> None:
    show.step("When something goes wrong")
    show.code('await client.completions.get("no-such-id")')
    try:
        await client.completions.get("no-such-id")
    except NotFoundError as error:
        show.row("raised", f"{type(error).__name__}: status {error.status}, {error.message!r}")
        show.row("", f"retryable {error.retryable}, attempts {error.attempts}, request id {error.request_id}")
    sandbox.fail_next(429, retry_after=1, path_contains="/completions/")
    show.code("await client.completions.get(id)  # answered 429, Retry-After: 1")
    answer = await client.completions.get(id)
    show.row("survived", f"status {answer.status} at attempt {answer.attempts}, {answer.elapsed:.1f} s in all")


async def _export(show: Narration, client: AsyncClient, accounts: list[str], folder: Path) -> str:
    kind = kind_of_database()
    database = f"{kind}:{folder / 'lms.db'}"
    show.step("An export into a database, and a question")
    show.code('await export(client, ["completions", "assignments", "users", "courses"],')
    show.code(f'             "{kind}:lms.db", accounts=[account_id])')
    begun = time.perf_counter()
    result = await export(client, ["completions", "assignments", "users", "courses"], database, accounts=accounts)
    records = sum(one.records for one in result.lists)
    show.row("exported", f"{records:,} records in {time.perf_counter() - begun:.1f} s")
    if kind == "sqlite":
        show.row("", "into SQLite; DuckDB comes with: pip install 'stackone-lms[duckdb]'")
    show.row("asked", QUESTION)
    for line in SQL:
        show.code(line)
    for title, completions, passed in _answers(kind, folder / "lms.db"):
        show.row("answer", f"{title}: {completions:,} completions, {passed:.0f} % passed")
    return database


def kind_of_database() -> str:
    """Return `duckdb` where its extra is installed, else `sqlite`."""
    return "duckdb" if all(find_spec(name) for name in ("duckdb", "pyarrow")) else "sqlite"


def _answers(kind: str, file: Path) -> list[tuple[str, int, float]]:
    query = "\n".join(SQL)
    if kind == "sqlite":
        with closing(sqlite3.connect(file)) as connection:
            return connection.execute(query).fetchall()
    import duckdb  # noqa: PLC0415 (an extra)

    with duckdb.connect(file, read_only=True) as database:
        return database.execute(query).fetchall()


def _report(show: Narration, database: str, folder: Path) -> None:
    show.step("A report to hand on")
    page = folder / "report.html"
    show.code(f'write_report("{database.partition(":")[0]}:lms.db", "report.html")')
    write_report(database, page)
    show.command("page", str(page))


def _next(show: Narration, database: str) -> None:
    show.step("What to do next")
    program = program_here()
    show.command("this export", f"{program} export verify {quote(database)}")
    show.command("your own data", f"{program} configure")
    show.command("made-up data", f"{program} sandbox")
    show.command("the whole API", f"{program} operations")
    show.command("all commands", f"{program} --help")


def program_here() -> str:
    """Return how the program is started from here: by its name where that finds it, else by its path."""
    started = Path(sys.argv[0])
    if started.name.partition(".")[0] == PROGRAM and started.exists():
        found = shutil.which(PROGRAM)
        if found and Path(found).samefile(started):
            return PROGRAM
        here = os.path.relpath(started)
        return quote(str(started) if here.startswith(os.pardir) else here)
    python = Path(sys.executable).name
    return f"{python if shutil.which(python) == sys.executable else quote(sys.executable)} -m stackone_lms"
