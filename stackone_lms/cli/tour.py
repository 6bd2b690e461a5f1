"""The demo, step by step: what the package does, with real calls to a sandbox."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import unquote

from .. import __version__
from ..client import AsyncClient
from ..errors import NotFoundError
from ..models import CompletionResult
from ..sandbox import Sandbox
from ..sync import SyncClient
from .narration import Narration

FIELDS = ["id", "remote_id", "user_id", "learning_object_id", "result", "completed_at", "time_spent"]
PROXY = {"filter": {"eq": {"age": 25}}}


def run() -> None:
    """Start a sandbox, show everything, and end it."""
    with Sandbox.in_thread() as sandbox:
        asyncio.run(_demo(sandbox))


async def _demo(sandbox: Sandbox) -> None:
    show = Narration()
    show.say(f"stackone-lms {__version__}: the StackOne unified LMS API, from Python")
    show.say("A sandbox plays the API here, with made-up data. The clients and the HTTP calls are the real ones.")
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
    _next(show)


async def _one(show: Narration, sandbox: Sandbox, client: AsyncClient, id: str) -> CompletionResult:
    show.step("One completion, with raw, fields and proxy")
    show.code("client = AsyncClient(api_key, account_id)")
    show.code(f"await client.completions.get(id, raw=True, fields=[{FIELDS[0]!r}, ...], proxy={PROXY})")
    answer = await client.completions.get(id, raw=True, fields=FIELDS, proxy=PROXY)
    sent = sandbox.requests[-1]
    completion = answer.data
    show.row("sent", f"{sent.method} {sent.path}?{sent.query}")
    show.row("that is", unquote(sent.query).replace("&", "  "))
    show.row("answer", f"{answer.status}, {answer.elapsed * 1000:.0f} ms, request id {answer.request_id}")
    show.row("typed", f"{type(answer).__name__} with data: {type(completion).__name__}")
    show.row("  id", f"{completion.id}")
    show.row("  result", f"{completion.result.value if completion.result else None}")
    show.row("  completed_at", f"{completion.completed_at!r}")
    show.row("  time_spent", f"{completion.time_spent!r} = {completion.time_spent_timedelta}")
    for call in answer.raw or []:
        show.row("raw", f"the provider was asked: {call.method} {call.url}")
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
    show.row("limit", "off here (rate_limit=None): the client keeps to 1000 requests a minute unless told otherwise")
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
    show.code("await client.completions.get(id)  # and the API answers 429, Retry-After: 1")
    answer = await client.completions.get(id)
    show.row("survived", f"status {answer.status} at attempt {answer.attempts}, {answer.elapsed:.1f} s in all")


def _next(show: Narration) -> None:
    show.step("What to do next")
    show.row("with your data", "export STACKONE_API_KEY=... STACKONE_ACCOUNT_ID=...")
    show.row("", "stackone-lms list completions")
    show.row("with made-up", "stackone-lms sandbox")
    show.row("the whole API", "stackone-lms operations")
    show.row("all commands", "stackone-lms --help")
