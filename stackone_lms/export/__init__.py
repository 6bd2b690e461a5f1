"""Exports: accounts x resources as data sets, exact, and resumable after any crash.

    from stackone_lms import AsyncClient
    from stackone_lms.export import export

    async with AsyncClient() as client:
        result = await export(client, ["completions", "users"], "lms", accounts=["123", "456"])

What stands on disk after a crash, an outage or Ctrl-C is enough to go on: the same call does. `verify` checks a
folder against its manifest.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import TypedDict, Unpack, cast

from ..calls.operation import executor_of
from ..checks import known_keywords
from ..client import AsyncClient
from ..sync import SyncClient
from .outcome import ExportProgress, ExportResult, ListOutcome, ProgressCallback
from .plan import OVERLAP, PAGE_SIZE, make_plan
from .run import Run
from .state.manifest import FileEntry, ListEntry, Manifest
from .verify import Verification, verify

__all__ = [
    "ExportOptions",
    "ExportProgress",
    "ExportResult",
    "FileEntry",
    "ListEntry",
    "ListOutcome",
    "Manifest",
    "Verification",
    "export",
    "export_sync",
    "verify",
]


class ExportOptions(TypedDict, total=False):
    """The options of `export`."""

    accounts: Iterable[str]
    """The linked accounts; required. Each is listed by itself, all at once."""
    format: str
    """Of a folder: `parquet` (the default), `jsonl` or `csv`."""
    since: datetime | date | str | None
    """Only records changed after this moment; a date counts in UTC."""
    incremental: bool
    """Fetch only what changed since the last export to this target, and merge it in by id."""
    fields: str | Iterable[str] | None
    """Names of the fields to export; `id` and `updated_at` come along. Default: all."""
    raw: bool
    """Export the provider calls behind the pages too, as a resource of its own, such as `completions.calls`."""
    users: Iterable[str] | None
    """For lists of users: whose lists. Default: all users of the account."""
    page_size: int
    """Records a page. Default: 100."""
    overlap: timedelta
    """How far an incremental run reaches back behind the newest change known. Default: 10 minutes."""
    restart: bool
    """Give up what an unfinished run left, and begin anew."""
    max_concurrent_accounts: int
    """Accounts under way at a time. Default: 16."""
    commit_interval: float
    """How often what was fetched is made durable: the most that a crash can cost. Default: 1 second."""
    progress: ProgressCallback | None
    """Called on the client's event loop after every page with an `ExportProgress`."""


_RENAMED = {"accounts_at_once": "max_concurrent_accounts", "commit_seconds": "commit_interval"}
"""Former names of options, accepted for one release more."""


def _run(
    client: AsyncClient | SyncClient,
    resources: str | Iterable[str],
    target: str | os.PathLike[str],
    options: ExportOptions,
) -> Run:
    renamed = {_RENAMED.get(name, name): value for name, value in options.items()}
    if len(renamed) < len(options):
        raise TypeError("export() got an option under its former name and its new one")
    options = cast("ExportOptions", renamed)
    known_keywords("export", options, ExportOptions.__annotations__)
    plan = make_plan(
        resources,
        target,
        accounts=options.get("accounts", ()),
        format=options.get("format", "parquet"),
        since=options.get("since"),
        incremental=options.get("incremental", False),
        fields=options.get("fields"),
        raw=options.get("raw", False),
        users=options.get("users"),
        page_size=options.get("page_size", PAGE_SIZE),
        overlap=options.get("overlap", OVERLAP),
        restart=options.get("restart", False),
        max_concurrent_accounts=options.get("max_concurrent_accounts", 16),
        commit_interval=options.get("commit_interval", 1.0),
    )
    return Run(client, plan, options.get("progress"))


async def export(
    client: AsyncClient,
    resources: str | Iterable[str],
    target: str | os.PathLike[str],
    **options: Unpack[ExportOptions],
) -> ExportResult:
    """Export lists of the API to a folder or a database.

    A folder becomes a data set, `resource=.../account=.../part-0.parquet`, that DuckDB, Polars, Spark and pandas read
    as it is, with a manifest beside it. A list that was exported before is replaced, as a whole and in one step;
    with `incremental` it is updated. After a crash, an outage or a failed account the same call goes on where that
    ended, and what comes out is what an undisturbed run makes.

    Args:
        client: Fetches, under its own rate limit and retry rules.
        resources: Such as `completions`, `users`, `courses`; for a list of each user `users.completions`.
        target: A folder, or `duckdb:FILE` or `sqlite:FILE`: a table a resource, updated by account and id.
        **options: See `ExportOptions`.

    Returns:
        What became of each list. A failed one does not stop the others; see `.failures`.

    Raises:
        InvalidArgumentError: Before any I/O: the options cannot be met.
        ExportError: The target cannot be written, is in use by another export, or holds an unfinished one that was
            asked for something else; or a package is missing.
    """
    return await _run(client, resources, target, options).export()


def export_sync(
    client: SyncClient,
    resources: str | Iterable[str],
    target: str | os.PathLike[str],
    **options: Unpack[ExportOptions],
) -> ExportResult:
    """Do what `export` does, for code without asyncio.

    Args:
        client: Fetches, under its own rate limit and retry rules.
        resources: Such as `completions`, `users`, `courses`; for a list of each user `users.completions`.
        target: A folder, or `duckdb:FILE` or `sqlite:FILE`.
        **options: See `ExportOptions`; `progress` is called in the client's own thread.

    Returns:
        What became of each list.

    Raises:
        InvalidArgumentError: Before any I/O: the options cannot be met.
        ExportError: The target cannot be written, or is in use; see `export`.
    """
    run = _run(client, resources, target, options)
    return executor_of(client).run(run.export)
