"""What type checkers know about both clients.

The functions of the first part are never called: mypy and pyright read them as part of `make check`. The second part
shows mypy what has to be refused.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, assert_type

import pytest

import stackone_lms
from stackone_lms import AsyncClient, SyncClient
from stackone_lms.api.resources import Completions
from stackone_lms.batches import Batch, Connect, Failure, Slice, batches, gather
from stackone_lms.calls.lists import AsyncPager, SyncPager
from stackone_lms.calls.operation import AsyncCall, AsyncExecutor, SyncExecutor
from stackone_lms.calls.outcomes import Outcome
from stackone_lms.models import (
    Assignment,
    AssignmentResult,
    BatchResult,
    Category,
    CategoryResult,
    Completion,
    CompletionResult,
    Content,
    ContentResult,
    Course,
    CourseResult,
    CreateResult,
    DeleteResult,
    Page,
    RawResponse,
    Skill,
    SkillResult,
    UpdateResult,
    UpsertResult,
    User,
    UserResult,
)

ROOT = Path(stackone_lms.__file__).parents[1]


def batches_of_both_clients(client: AsyncClient, blocking: SyncClient, what: Slice) -> None:
    assert_type(batches(client, what), AsyncGenerator[Batch])
    assert_type(batches(blocking, what), Generator[Batch])
    assert_type(gather(client, [what], failures="yield"), AsyncGenerator[Batch | Failure])
    assert_type(gather(blocking, [what], failures="yield"), Generator[Batch | Failure])
    assert_type(gather(blocking, [what]), Generator[Batch])
    assert_type(Connect().client(), SyncClient)
    assert_type(Connect().async_client(), AsyncClient)


async def reads_of_the_async_client(client: AsyncClient) -> None:
    assert_type(client.completions, Completions[AsyncExecutor])
    await assert_type(client.completions.get("c"), AsyncCall[CompletionResult])
    result = await client.completions.get("c", raw=True, fields=["id"], proxy={"a": {"b": [1]}})
    assert_type(result, CompletionResult)
    assert_type(result.data, Completion)
    assert_type(result.data.completed_at, datetime | None)
    assert_type(result.raw, list[RawResponse] | None)
    assert_type(result.request_id, str | None)
    assert_type(result.attempts, int)
    assert_type(result.json(), Any)
    assert_type(await client.assignments.get("a"), AssignmentResult)
    assert_type(await client.categories.get("a"), CategoryResult)
    assert_type(await client.content.get("a"), ContentResult)
    assert_type(await client.courses.get("a"), CourseResult)
    assert_type(await client.skills.get("a"), SkillResult)
    assert_type(await client.users.get("a", fields="id"), UserResult)
    assert_type(await client.users.assignments.get("u", "a"), AssignmentResult)
    assert_type(await client.users.completions.get("u", "a"), CompletionResult)


class Gets(Protocol):
    """What a user's own code may ask for."""

    async def get(self, id: str, /) -> CompletionResult:
        """Get one."""
        ...


class Lists(Protocol):
    """The same of a list."""

    def list(self) -> AsyncPager[Completion]:
        """List."""
        ...


class BlockingGets(Protocol):
    """The same of the blocking client."""

    def get(self, id: str, /) -> CompletionResult:
        """Get one."""
        ...


class BlockingLists(Protocol):
    """The same of a list of it."""

    def list(self) -> SyncPager[Completion]:
        """List."""
        ...


def protocols_of_users(aio: AsyncClient, blocking: SyncClient) -> tuple[Gets, Lists, BlockingGets, BlockingLists]:
    return aio.completions, aio.completions, blocking.completions, blocking.completions


async def several_at_once(client: AsyncClient) -> None:
    completion, user = await asyncio.gather(client.completions.get("c"), client.users.get("u"))
    assert_type(completion, CompletionResult)
    assert_type(user, UserResult)
    assert_type(await client.users.list(), Page[User])
    async with asyncio.TaskGroup() as group:
        assert_type(group.create_task(client.users.get("u")), asyncio.Task[UserResult])


async def lists_of_the_async_client(client: AsyncClient) -> None:
    pager = client.completions.list(page_size=100, updated_after=datetime.now(UTC), max_items=5, prefetch=1)
    assert_type(pager, AsyncPager[Completion])
    assert_type(pager.cursor, str | None)
    async for completion in pager:
        assert_type(completion, Completion)
    async for page in pager.pages():
        assert_type(page, Page[Completion])
        assert_type(page.data, list[Completion])
        assert_type(page.next, str | None)
        assert_type(page.total, int | float | None)
    assert_type(pager.pages(), AsyncGenerator[Page[Completion], None])
    assert_type(pager.__aiter__(), AsyncIterator[Completion])
    assert_type(await pager.first_page(), Page[Completion])
    assert_type(await pager.collect(5), list[Completion])
    assert_type(client.assignments.list(status="pending", user_id="u"), AsyncPager[Assignment])
    assert_type(client.categories.list(filter={"updated_after": "2024-01-01"}), AsyncPager[Category])
    assert_type(client.content.list(active=True), AsyncPager[Content])
    assert_type(client.courses.list(external_reference="x", active=True), AsyncPager[Course])
    assert_type(client.skills.list(next="c"), AsyncPager[Skill])
    assert_type(client.users.list(email="x@y.z"), AsyncPager[User])
    assert_type(client.users.assignments.list("u", status="completed"), AsyncPager[Assignment])
    assert_type(client.users.completions.list("u"), AsyncPager[Completion])


async def writes_and_bulk_of_the_async_client(client: AsyncClient) -> None:
    assert_type(await client.content.upsert(external_reference="x", title="t"), UpsertResult)
    assert_type(await client.content.batch_upsert([{"external_reference": "x"}]), BatchResult)
    assert_type(await client.content.update("c", {"external_reference": "x"}), UpdateResult)
    assert_type(await client.users.completions.create("u", learning_object_external_reference="x"), CreateResult)
    assert_type(await client.users.completions.delete("u", "c"), DeleteResult)
    async for outcome in client.completions.get_many(["a", "b"], concurrency=5, ordered=True):
        assert_type(outcome, Outcome[CompletionResult])
        assert_type(outcome.unwrap(), CompletionResult)


async def views_of_the_async_client(client: AsyncClient) -> None:
    assert_type(client.with_options(account_id="a", heartbeat=True), AsyncClient)
    async with client as entered:
        assert_type(entered, AsyncClient)
    assert_type(client.closed, bool)


def reads_of_the_blocking_client(client: SyncClient) -> None:
    assert_type(client.completions, Completions[SyncExecutor])
    result = client.completions.get("c", raw=True, fields=["id"], proxy={"a": {"b": [1]}})
    assert_type(result, CompletionResult)
    assert_type(client.assignments.get("a"), AssignmentResult)
    assert_type(client.categories.get("a"), CategoryResult)
    assert_type(client.content.get("a"), ContentResult)
    assert_type(client.courses.get("a"), CourseResult)
    assert_type(client.skills.get("a"), SkillResult)
    assert_type(client.users.get("a"), UserResult)
    assert_type(client.users.assignments.get("u", "a"), AssignmentResult)
    assert_type(client.users.completions.get("u", "a"), CompletionResult)


def lists_of_the_blocking_client(client: SyncClient) -> None:
    pager = client.completions.list(page_size=100)
    assert_type(pager, SyncPager[Completion])
    for completion in pager:
        assert_type(completion, Completion)
    assert_type(iter(pager), Iterator[Completion])
    for page in pager.pages():
        assert_type(page, Page[Completion])
    assert_type(pager.first_page(), Page[Completion])
    assert_type(pager.collect(), list[Completion])
    assert_type(client.courses.list(active=True), SyncPager[Course])
    assert_type(client.users.completions.list("u"), SyncPager[Completion])


def writes_and_bulk_of_the_blocking_client(client: SyncClient) -> None:
    assert_type(client.content.upsert(external_reference="x", title="t"), UpsertResult)
    assert_type(client.content.batch_upsert([{"external_reference": "x"}]), BatchResult)
    assert_type(client.users.completions.delete("u", "c"), DeleteResult)
    for outcome in client.completions.get_many(["a", "b"]):
        assert_type(outcome, Outcome[CompletionResult])


def views_of_the_blocking_client(client: SyncClient) -> None:
    assert_type(client.with_options(account_id="a"), SyncClient)
    with client as entered:
        assert_type(entered, SyncClient)


REFUSED = """
from stackone_lms import AsyncClient, SyncClient, Timeout

async def aio(client: AsyncClient) -> None:
    await client.completions.get("c", fields=["id"])  # fine
    await client.completions.get("c", feilds=["id"])  # call-arg
    await client.completions.get(5)  # arg-type
    await client.completions.get()  # call-arg
    await client.completions.get("c", "d")  # call-arg
    await client.completions.get(id="c")  # call-arg
    await client.completions.get("c", raw="yes")  # arg-type
    await client.completions.get("c", next="x")  # call-arg
    client.completions.list(page_size="25")  # arg-type
    client.completions.list(email="x")  # call-arg
    client.content.list(active=False)  # arg-type
    client.assignments.list(status="done")  # arg-type
    client.users.completions.list()  # call-arg
    await client.users.completions.get("u")  # call-arg
    (await client.completions.get("c")).data.nonsense  # attr-defined
    (await client.completions.get("c")).data.id = "x"  # misc
    client.completions.get("c").data  # attr-defined
    client.with_options(acount_id="x")  # call-arg
    client.with_options(timeout="5")  # arg-type
    for completion in client.completions.list():  # attr-defined
        pass
    await client.content.upsert(title="t")  # call-overload
    AsyncClient("k", "a", timeout="5")  # arg-type
    Timeout(total="5")  # arg-type

def blocking(client: SyncClient) -> None:
    client.completions.get("c").data.id  # fine
    client.completions.get("c", feilds=["id"])  # call-arg
    client.users.list(email=5)  # arg-type
    client.users.list().cursor.upper()  # union-attr
"""


@pytest.mark.typing
@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="needs mypy")
def test_a_type_checker_refuses_what_would_fail(tmp_path: Path) -> None:
    """Each line has to give the error that its comment names, and no other line any."""
    script = tmp_path / "refused.py"
    script.write_text(REFUSED)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--show-error-codes", str(script)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT)},
    )
    found: dict[int, set[str]] = {}
    for line, code in re.findall(r"^[^:\n]*refused\.py:(\d+): error: .*\[([a-z-]+)\]$", done.stdout, re.MULTILINE):
        found.setdefault(int(line), set()).add(code)
    expected = {
        number: comment
        for number, line in enumerate(REFUSED.splitlines(), 1)
        if (comment := line.partition("  # ")[2]) not in {"", "fine"}
    }
    assert found.keys() == expected.keys(), done.stdout + done.stderr
    assert [number for number, code in expected.items() if code not in found[number]] == [], done.stdout
