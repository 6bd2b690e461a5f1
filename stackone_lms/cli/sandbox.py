"""`stackone-lms sandbox`: a local server that behaves like the API."""

from __future__ import annotations

import asyncio
import inspect
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .arguments import rate_limit
from .connection import LogFormats
from .messages import LogFormat, counted, note
from .output import write_text
from .termination import run

if TYPE_CHECKING:
    from ..sandbox import Sandbox


def command(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = 0,
    latency: Annotated[float, typer.Option("--latency", metavar="SECONDS", min=0, help="Delay of each answer.")] = 0.0,
    limit: Annotated[
        str,
        typer.Option("--rate-limit", metavar="N/SECONDS", help="Answer 429 above that; 1000/60 is the API's own."),
    ] = "off",
    accounts: Annotated[int, typer.Option("--accounts", metavar="N", min=1, help="Linked accounts.")] = 3,
    completions: Annotated[
        int | None,
        typer.Option(
            "--completions",
            metavar="N",
            min=0,
            help="Completions of each account. Default: 5000; with more than 20 accounts each holds less, 50 at least.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same data.")] = 1,
    log_format: LogFormats = LogFormat.TEXT,
) -> None:
    """Run a local server that behaves like the API, with made-up data, until Ctrl-C.

    Prints lines for the shell on stdout that point this program and the clients to it.
    """
    from ..sandbox import Sandbox  # noqa: PLC0415 (only who runs one needs it)

    sandbox = Sandbox(
        port=port,
        latency=latency,
        rate_limit=rate_limit(limit),
        accounts=accounts,
        seed=seed,
        **sizes_of(Sandbox, accounts, completions),
    )
    run(_serve(sandbox))


_LEAST = {"users": 10, "courses": 5, "contents": 5, "assignments": 10, "completions": 50}
"""What one of very many accounts holds: 2,000 that hold what one of a few does would take 25 GB."""
_FEW = 20


def sizes_of(sandbox: type[Sandbox], accounts: int, completions: int | None) -> dict[str, Any]:
    """Return how much each of so many accounts holds: what `sandbox` gives one by itself, unless they are many."""
    whole = {name: parameter.default for name, parameter in inspect.signature(sandbox).parameters.items()}
    sizes = {name: max(least, whole[name] * _FEW // max(_FEW, accounts)) for name, least in _LEAST.items()}
    return sizes if completions is None else {**sizes, "completions": completions}


_SHOWN = 10
"""Accounts that are listed when the server starts."""


async def _serve(sandbox: Sandbox) -> None:
    async with sandbox:
        settings = {
            "STACKONE_BASE_URL": sandbox.url,
            "STACKONE_API_KEY": sandbox.api_key,
            "STACKONE_ACCOUNT_ID": sandbox.account_ids[0],
        }
        note(f"The sandbox listens on {sandbox.url}; Ctrl-C ends it.")
        note(f"API key   {sandbox.api_key}")
        for number, id in enumerate(sandbox.account_ids[:_SHOWN], 1):
            note(f"account {number} {id}")
        if len(sandbox.account_ids) > _SHOWN:
            note(f"and {len(sandbox.account_ids) - _SHOWN:,} more: stackone-lms accounts")
        note("In another shell, paste the lines below. Then try: stackone-lms list completions")
        note(
            'or: curl -u "$STACKONE_API_KEY:" -H "x-account-id: $STACKONE_ACCOUNT_ID" '
            '"$STACKONE_BASE_URL/unified/lms/completions?page_size=2"'
        )
        write_text("".join(f"export {name}={quote(value)}\n" for name, value in settings.items()))
        try:
            await asyncio.Event().wait()
        finally:
            note(f"The sandbox ends after {counted(sandbox.request_count, 'request')}.")
