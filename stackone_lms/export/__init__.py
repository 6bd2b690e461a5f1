"""Exports: accounts x resources as data sets, exact, and resumable after any crash.

    from stackone_lms import AsyncClient
    from stackone_lms.export import export

    async with AsyncClient() as client:
        result = await export(client, ["completions", "users"], "lms", accounts=["123", "456"])

What stands on disk after a crash, an outage or Ctrl-C is enough to go on: the same call does. `verify` checks a
target, `forget` takes accounts out of it for good.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Unpack

from ..base_client import bound_executor_of
from ..calls.lists import AsyncPager
from ..calls.operation import executor_of
from ..client import AsyncClient
from ..engine.lifecycle import running_loop
from ..errors import InvalidArgumentError
from ..sync import SyncClient
from .forget import Forgotten, forget
from .options import ExportOptions, make_plan
from .outcome import ExportProgress, ExportResult, ListOutcome
from .run import Run
from .state.manifest import Failed, FileEntry, ListEntry, Manifest, SkippedUser
from .verify import Verification, verify

__all__ = [
    "ExportOptions",
    "ExportProgress",
    "ExportResult",
    "Failed",
    "FileEntry",
    "Forgotten",
    "ListEntry",
    "ListOutcome",
    "Manifest",
    "SkippedUser",
    "Verification",
    "export",
    "export_sync",
    "forget",
    "verify",
]


_RENAMED = {
    "accounts_at_once": "max_concurrent_accounts",
    "commit_seconds": "commit_interval",
    "updated_after": "since",
}
"""Other names of options, accepted for one release more: former ones, and that of lists."""


def _run(
    client: AsyncClient | SyncClient,
    resources: str | Iterable[str],
    target: str | os.PathLike[str],
    options: ExportOptions,
) -> Run:
    renamed = {_RENAMED.get(name, name): value for name, value in options.items()}
    if len(renamed) < len(options):
        raise TypeError("export() got an option under both of its names")
    if "accounts" not in renamed and not renamed.get("retry_failed"):
        own = bound_executor_of(client).settings.account_id
        if own is None:
            raise InvalidArgumentError("name at least one account: accounts=, or account_id= of the client")
        renamed["accounts"] = [str(own)]
    return Run(client, make_plan(resources, target, renamed))


async def export(
    client: AsyncClient,
    resources: str | Iterable[str],
    target: str | os.PathLike[str],
    **options: Unpack[ExportOptions],
) -> ExportResult:
    """Export lists of the API to a folder, here or in an object store, or to a database.

    A folder becomes a data set, `resource=.../account=.../part-0.parquet`, that DuckDB, Polars, Spark and pandas read
    as it is, with a manifest beside it. A list that was exported before is replaced, as a whole and in one step;
    with `incremental` it is updated. Each list is looked at by itself: what fails leaves the others alone, and accounts
    may come and go from one call to the next. After a crash or Ctrl-C the same call goes on where that ended, and what
    comes out is what an undisturbed run makes.

    Args:
        client: Fetches, under its own rate limit and retry rules.
        resources: Such as `completions`, `users`, `courses`; for a list of each user `users.completions`.
        target: A folder (`~` and `file://` too), `s3://BUCKET/PREFIX`, `gs://` or `az://` with `work`; or a table a
            resource in `duckdb:FILE`, `sqlite:FILE`, `delta:FOLDER_OR_URL`.
        **options: See `ExportOptions`.

    Returns:
        What became of each list. A failed one does not stop the others; see `.failures`.

    Raises:
        InvalidArgumentError: Before any I/O: the options cannot be met.
        TypeError: There is no such option.
        ConfigurationError: No event loop of asyncio runs.
        ExportError: The target cannot be written, is in use by another export, or holds another format; or a package
            is missing.
    """
    running_loop()
    accounts = options.get("accounts")
    if isinstance(accounts, AsyncPager):
        options["accounts"] = await accounts.collect()
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
        target: A folder, a place in a store, or tables.
        **options: See `ExportOptions`; `progress` is called in the client's own thread.

    Returns:
        What became of each list.

    Raises:
        InvalidArgumentError: Before any I/O: the options cannot be met.
        TypeError: There is no such option.
        ExportError: The target cannot be written, or is in use; see `export`.
    """
    run = _run(client, resources, target, options)
    return executor_of(client).run(run.export)
