"""`stackone-lms export`: accounts x resources to data sets, and `export verify`."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from .arguments import find, names
from .connection import Connection, connected
from .export_display import Labels, shown, summarize
from .messages import note, problem

if TYPE_CHECKING:
    from ..export import ExportResult

_RUN, _VERIFY = "run", "verify"
_DATABASES = ("duckdb", "sqlite")


class _Export(TyperGroup):
    """`export verify DIR`, and everything else is an export."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if args[:1] == [_VERIFY] else [_RUN, *args])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return "" if name == _RUN else name, command, rest


class _Context(typer.Context):
    """Of the command without a name."""

    @property
    def command_path(self) -> str:
        return " ".join(super().command_path.split())


class _Unnamed(TyperCommand):
    context_class = _Context


app = typer.Typer(
    cls=_Export,
    help="Export lists to files or a database: exact, and resumable after any crash. `export verify DIR` checks one.",
)


class Format(StrEnum):
    """Forms of files."""

    PARQUET = "parquet"
    JSONL = "jsonl"
    CSV = "csv"


def _without(command: Callable[..., None], *left_out: str) -> Callable[..., None]:
    """Take options away from a command; it gets None for them."""

    @functools.wraps(command)
    def without(**given: Any) -> None:
        command(**dict.fromkeys(left_out), **given)

    parameters = [p for name, p in inspect.signature(command).parameters.items() if name not in left_out]
    without.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    without.__annotations__ = {p.name: p.annotation for p in parameters}
    return without


@connected
def _export(
    connection: Connection,
    resources: Annotated[
        list[str], typer.Argument(metavar="RESOURCE", help="Such as completions, users, courses, users.completions.")
    ],
    accounts: Annotated[
        list[str] | None, typer.Option("--account", metavar="ID", help="Linked account. Repeat it.")
    ] = None,
    accounts_file: Annotated[
        Path | None,
        typer.Option("--accounts-file", metavar="FILE", exists=True, dir_okay=False, help="One account id a line."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="The folder of the data set.")] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="KIND:FILE", help="A database instead: duckdb:FILE or sqlite:FILE.")
    ] = None,
    format: Annotated[
        Format | None,
        typer.Option("--format", metavar="FORM", help="Of the files of a folder: parquet (default), jsonl or csv."),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="DATE", help="Only what changed after: 2026-01-31, or a moment.")
    ] = None,
    incremental: Annotated[
        bool, typer.Option("--incremental", help="Only what changed since the last export there, merged in by id.")
    ] = False,
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--fields", metavar="NAMES", help="Only these fields, separated by commas. With id, and updated_at."
        ),
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Export the provider calls behind the pages, too.")] = False,
    users: Annotated[
        list[str] | None, typer.Option("--user", metavar="ID", help="Of lists of users: only this user's. Repeat it.")
    ] = None,
    page_size: Annotated[
        int | None, typer.Option("--page-size", metavar="N", min=1, help="Records a page. Default: 100.")
    ] = None,
    requests: Annotated[
        int | None,
        typer.Option(
            "--max-requests-per-minute",
            metavar="N",
            min=1,
            help="For all accounts together. Default: 1000, as the API.",
        ),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Give up what an unfinished export left, and begin anew.")
    ] = False,
) -> None:
    """Export lists of the API, of one account or many.

    A folder becomes a data set that DuckDB, Polars, Spark and pandas read as it is.

    After a crash, an outage, Ctrl-C or a failed account the same command goes on where it stopped.

    For example:

    stackone-lms export completions users courses --accounts-file accounts.txt --out lms

    stackone-lms export completions --account 4711 --out lms --incremental

    stackone-lms export completions users courses --account 4711 --to duckdb:lms.duckdb

    stackone-lms export verify lms
    """
    for resource in resources:
        find(resource, "list")
    target = _target(out, to, format)
    options: dict[str, Any] = {
        "accounts": _accounts(accounts, accounts_file),
        "format": (format or Format.PARQUET).value,
        "since": since,
        "incremental": incremental,
        "fields": names(fields) if fields else None,
        "raw": raw,
        "users": users or None,
        "restart": restart,
    }
    if page_size is not None:
        options["page_size"] = page_size
    _look_at(options["fields"] or (), resources)
    labels = Labels(options["accounts"])
    try:
        with shown(labels, len(options["accounts"]) * len(set(resources))) as watch:
            result = asyncio.run(_run(connection, requests, resources, target, {**options, "progress": watch}))
    except KeyboardInterrupt:
        note("the same command goes on where this one stops")
        raise
    summarize(result, labels)
    if not result.ok:
        raise typer.Exit(1)


app.command(_RUN, hidden=True, cls=_Unnamed)(_without(_export, "account", "rate_limit"))


@app.command(_VERIFY)
def verify_command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="The folder of the data set.")
    ],
) -> None:
    """Check the files of an export against its manifest: presence, size, checksum and number of records."""
    from ..export import verify  # noqa: PLC0415 (not needed for --help)

    found = verify(folder)
    for text in found.problems:
        problem(text)
    note(f"{found.files:,} files, {found.records:,} records: {'all as exported' if found.ok else 'not as exported'}")
    if not found.ok:
        raise typer.Exit(1)


async def _run(
    connection: Connection, requests: int | None, resources: Sequence[str], target: str, options: Any
) -> ExportResult:
    from ..client import AsyncClient  # noqa: PLC0415 (not needed for --help)
    from ..export import export  # noqa: PLC0415
    from ..options import RateLimit  # noqa: PLC0415

    given = connection.options()
    if requests is not None:
        given["rate_limit"] = RateLimit(requests)
    async with AsyncClient(**given) as client:
        return await export(client, resources, target, **options)


def _target(out: Path | None, to: str | None, format: Format | None) -> str:
    if out is not None and to is None:
        kind, colon, _ = str(out).partition(":")
        if colon and kind in _DATABASES:
            raise typer.BadParameter(f"a database goes with --to: --to {out}", param_hint="--out")
        if out.exists() and not out.is_dir():
            raise typer.BadParameter(f"{out} is a file", param_hint="--out")
        return str(out)
    if to is None or out is not None:
        raise typer.BadParameter("give either --out DIR or --to KIND:FILE", param_hint="--out")
    kind, colon, file = to.partition(":")
    if kind not in _DATABASES or not file:
        raise typer.BadParameter(f"{to!r:.60} is no database such as duckdb:FILE or sqlite:FILE", param_hint="--to")
    if format is not None:
        raise typer.BadParameter("is for the files of --out DIR; a database has none", param_hint="--format")
    return to


def _look_at(fields: Sequence[str], resources: Sequence[str]) -> None:
    """Tell of fields that no record is known to have: the API passes over them."""
    from ..export.lists import resources as lists  # noqa: PLC0415 (not needed for --help)

    known = {name for resource in resources for name in lists()[resource].model.__struct_fields__}
    if strange := [field for field in fields if field.partition(".")[0] not in known]:
        note(f"not known here, and maybe misspelt: {', '.join(strange)}")


def _accounts(given: Sequence[str] | None, file: Path | None) -> list[str]:
    from ..bulk.ids import iterate_ids  # noqa: PLC0415 (not needed for --help)

    found = [*(given or ()), *(iterate_ids(file) if file is not None else ())]
    if not all(id.strip() for id in found):
        raise typer.BadParameter("an account id is empty", param_hint="--account")
    default = os.environ.get("STACKONE_ACCOUNT_ID")
    if not found and file is None and default:
        found = [default]
    if not found:
        where = "the file is empty" if file is not None else "add --account or --accounts-file"
        raise typer.BadParameter(f"no account: {where}", param_hint="--account")
    return list(dict.fromkeys(found))
