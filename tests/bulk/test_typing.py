"""What type checkers know: this file is checked by mypy and pyright; the functions are never called."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import assert_type

from stackone_lms import AsyncClient, AsyncOutcomes, SyncClient, SyncOutcomes
from stackone_lms.bulk.progress import Progress
from stackone_lms.calls.outcomes import AccountOutcome, Outcome
from stackone_lms.engine.stats import Stats
from stackone_lms.models import Completion, CompletionResult, UserResult

from .server import Server, blocking, client


async def asynchronous(of: AsyncClient, source: AsyncIterator[str]) -> None:
    """The asynchronous client."""
    many = of.completions.get_many(["a"], concurrency=4, ordered=True, raw=True, fields=["id"], proxy={"a": 1})
    assert_type(many, AsyncOutcomes[Outcome[CompletionResult]])
    iterator: AsyncIterator[Outcome[CompletionResult]] = many
    generator: AsyncGenerator[Outcome[CompletionResult], None] = many
    await generator.aclose()
    async for outcome in iterator:
        assert_type(outcome.unwrap(), CompletionResult)
        assert_type(outcome.result, CompletionResult | None)
    of.users.get_many(source)
    of.users.get_many(Path("ids"), strategy="auto", progress=print)
    assert_type(of.users.get_many(["a"]), AsyncOutcomes[Outcome[UserResult]])
    assert_type(of.users.completions.get_many("u", ["a"]), AsyncOutcomes[Outcome[CompletionResult]])
    fan = of.for_accounts(["a", "b"])
    assert_type(fan.completions.get("x"), AsyncOutcomes[AccountOutcome[CompletionResult]])
    assert_type(fan.completions.list(page_size=5), AsyncOutcomes[AccountOutcome[Completion]])
    assert_type(fan.users.get_many({"a": source}), AsyncOutcomes[AccountOutcome[UserResult]])
    assert_type(of.stats(), Stats)
    of.completions.get_many(["a"], colour="red")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    of.completions.get_many(5)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    of.completions.get_many(["a"], strategy="best")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def report(progress: Progress) -> None:
    """Something for `progress=`."""
    assert_type(progress.eta, float | None)


def blocked(of: SyncClient) -> None:
    """The blocking client."""
    many = of.completions.get_many(iter(["a"]), progress=report)
    assert_type(many, SyncOutcomes[Outcome[CompletionResult]])
    iterator: Iterator[Outcome[CompletionResult]] = many
    generator: Generator[Outcome[CompletionResult], None, None] = many
    generator.close()
    for outcome in iterator:
        assert_type(outcome.unwrap(), CompletionResult)
    fan = of.for_accounts(["a", "b"])
    assert_type(fan.completions.get("x"), SyncOutcomes[AccountOutcome[CompletionResult]])
    assert_type(fan.completions.list(), SyncOutcomes[AccountOutcome[Completion]])
    assert_type(fan.users.get_many(["a"]), SyncOutcomes[AccountOutcome[UserResult]])
    assert_type(of.stats(), Stats)


def test_help_shows_the_keywords_and_the_description() -> None:
    """`get_many` has a signature and a docstring of its own on every client."""
    for of in (client(Server()), blocking(Server()), client(Server()).for_accounts(["a"])):
        call = of.completions.get_many
        signature = inspect.signature(call)
        assert list(signature.parameters) == [
            *("ids", "concurrency", "ordered", "strategy", "progress"),
            *("raw", "fields", "proxy"),
        ]
        assert "Outcome[" in str(signature.return_annotation)
        doc = inspect.getdoc(call) or ""
        assert "each of them" in doc
        assert "lms_get_completion" in doc
        of_user = inspect.signature(of.users.completions.get_many)
        assert list(of_user.parameters)[:2] == ["user_id", "ids"]
        assert "user_id: StackOne's id" in (inspect.getdoc(of.users.completions.get_many) or "")
