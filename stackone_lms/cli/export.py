"""`stackone-lms export`: accounts x resources to data sets, and `export verify`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from . import completion
from .all_accounts import AllAccounts, Category, Providers, Statuses, look_up, wanted
from .arguments import find, moment, names, pairs, rate_limit
from .connection import Connection, connected, without
from .export_display import Tally, shown, summarize, without_halves
from .known_accounts import named
from .messages import counted, note, problem
from .output import write_text
from .targets import Accounts, BreakLock, StoreOptions, Target, Work, existing, store_options
from .termination import run

if TYPE_CHECKING:
    from ..export import ExportResult
    from ..export.plan import Plan

_RUN, _VERIFY, _FORGET = "run", "verify", "forget"
_DATABASES = ("duckdb", "sqlite", "delta")


class _Export(TyperGroup):
    """`export verify TARGET`, `export forget TARGET`, and everything else is an export."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-"):
            self._refuse_other_commands(ctx, args[0])
        return super().parse_args(ctx, args if args[:1] in ([_VERIFY], [_FORGET]) else [_RUN, *args])

    def _refuse_other_commands(self, ctx: Any, word: str) -> None:
        """Tell a command that was meant, such as `export report`, from a resource that there is not."""
        from ..export.lists import resources  # noqa: PLC0415 (not needed for --help)

        commands = {name: f"export {name}" for name in (_VERIFY, _FORGET)}
        root = ctx.find_root()
        commands |= {name: f"{root.info_name} {name}" for name in root.command.commands if name != ctx.info_name}
        known = {**commands, **dict.fromkeys(resources(), "")}
        meant = word if word in known else next(iter(get_close_matches(word, known, n=1)), "")
        if meant in commands and commands[meant] != f"export {word}":
            ctx.fail(f"No such command 'export {word:.60}'. Did you mean {commands[meant]!r}?")

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
    help="Export lists to files or a database, exactly and resumable after any crash. `export verify TARGET` checks "
    "one, `export forget TARGET --account ID` deletes an account from it.",
)


class ResultForm(StrEnum):
    """Forms of what an export tells."""

    JSON = "json"


class FileFormat(StrEnum):
    """Forms of files."""

    PARQUET = "parquet"
    JSONL = "jsonl"
    CSV = "csv"


@connected
def _export(
    connection: Connection,
    resources: Annotated[
        list[str], typer.Argument(metavar="RESOURCE", help="Such as completions, users, courses, users.completions.")
    ],
    accounts: Annotated[
        list[str] | None,
        typer.Option("--account", metavar="ID", help="Linked account. Repeat it.", autocompletion=completion.accounts),
    ] = None,
    accounts_file: Annotated[
        str | None,
        typer.Option(
            "--accounts-file",
            metavar="FILE",
            help="One account id per line, or a CSV with a column account_id; - for stdin.",
        ),
    ] = None,
    all_accounts: AllAccounts = False,
    provider: Providers = None,
    status: Statuses = None,
    category: Category = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="DIR|URL",
            help="The folder of the data set, or s3://, gs:// or az:// with bucket and prefix.",
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="KIND:FILE", help="Tables instead of files: duckdb:FILE, sqlite:FILE, delta:FOLDER_OR_URL."
        ),
    ] = None,
    format: Annotated[
        FileFormat | None,
        typer.Option("--format", metavar="FORM", help="Of the files: parquet (default), jsonl or csv."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="DATE", help="Only what changed after a day (2026-01-31) or a time; merged in."
        ),
    ] = None,
    narrow: Annotated[list[str] | None, typer.Option("--filter", hidden=True)] = None,
    incremental: Annotated[
        bool, typer.Option("--incremental", help="Only what changed since the last export there, merged in by id.")
    ] = False,
    full_every: Annotated[
        str | None,
        typer.Option(
            "--full-every", metavar="SPAN", help="With --incremental: fetch a list in full if that was longer ago: 7d."
        ),
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--field", metavar="NAME", help="Only this field, and id; repeat it, or separate names by commas."
        ),
    ] = None,
    former_fields: Annotated[list[str] | None, typer.Option("--fields", hidden=True)] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Export the provider calls behind the pages, too.")] = False,
    users: Annotated[
        list[str] | None, typer.Option("--user", metavar="ID", help="For lists of users: only this user. Repeat it.")
    ] = None,
    page_size: Annotated[
        int | None, typer.Option("--page-size", metavar="N", min=1, help="Records per page. Default: 100.")
    ] = None,
    limit: Annotated[
        str | None,
        typer.Option(
            "--rate-limit",
            metavar="N/SECONDS",
            help="For all accounts together; N alone is per minute. Default: 1000/60, as the API.",
        ),
    ] = None,
    former_limit: Annotated[int | None, typer.Option("--max-requests-per-minute", hidden=True, min=1)] = None,
    max_concurrent_accounts: Annotated[
        int | None,
        typer.Option(
            "--max-concurrent-accounts", metavar="N", min=1, help="Default: as many as the limit has room for."
        ),
    ] = None,
    max_failures: Annotated[
        str,
        typer.Option("--max-failures", metavar="N|P%", help="Exit with 0 if at most this many accounts failed."),
    ] = "0",
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Only the lists that failed in the last run, from where they stopped."),
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove the data of accounts that are not asked for any more.")
    ] = False,
    change_feed: Annotated[
        bool, typer.Option("--change-feed", help="Delta tables: turn on the change data feed, for good.")
    ] = False,
    optimize: Annotated[bool, typer.Option("--optimize", help="Delta tables: compact small files at the end.")] = False,
    resume_within: Annotated[
        str | None,
        typer.Option(
            "--resume-within", metavar="SPAN", help="Continue an interrupted export if it is younger. Default: 24h."
        ),
    ] = None,
    lock_timeout: Annotated[
        float | None,
        typer.Option("--lock-timeout", metavar="SECONDS", help="Wait for a database that is in use. Default: 60."),
    ] = None,
    summary: Annotated[
        Path | None, typer.Option("--summary", metavar="FILE", dir_okay=False, help="Write the result as JSON.")
    ] = None,
    output: Annotated[
        ResultForm | None, typer.Option("--output", metavar="FORM", help="json: print the result on stdout.")
    ] = None,
    work: Work = None,
    options_of_store: StoreOptions = None,
    break_lock: BreakLock = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Start over, whatever an interrupted export left.")
    ] = False,
) -> None:
    """Export lists of the API, of one account or many.

    A folder becomes a data set that DuckDB, Polars, Spark and pandas read directly.

    Each list is exported independently: a failed account does not affect the others.
    After a crash or Ctrl-C the same command continues where it stopped. RESOURCE all means every list of an account.

    For example:

    stackone-lms export completions users courses --accounts-file accounts.txt --out lms

    stackone-lms export completions --all-accounts --category lms --out lms

    stackone-lms export completions --account 4711 --out lms --incremental

    stackone-lms export completions users courses --account 4711 --to duckdb:lms.duckdb

    stackone-lms export completions --account 4711 --out s3://bucket/lms --work lms-work

    stackone-lms export verify lms

    stackone-lms export forget lms --account 4711
    """
    for resource in resources:
        if resource != "all":
            find(resource, "list")
    target = _target(out, to, format)
    options: dict[str, Any] = {
        "format": (format or FileFormat.PARQUET).value,
        "since": _since(since, narrow),
        "incremental": incremental,
        "fields": names([*(fields or ()), *(former_fields or ())]) or None,
        "raw": raw,
        "users": users or None,
        "restart": restart,
        "retry_failed": retry_failed,
        "prune": prune,
        "change_feed": change_feed,
        "optimize": optimize,
        "max_failures": max_failures,
        "summary": summary,
        "break_lock": break_lock,
    }
    optional = {
        "page_size": page_size,
        "full_every": full_every,
        "resume_within": resume_within,
        "lock_timeout": lock_timeout,
        "max_concurrent_accounts": max_concurrent_accounts,
        "work": work,
        "store_options": store_options(options_of_store),
    }
    options |= {name: value for name, value in optional.items() if value is not None}
    which = wanted(provider, status, category, all=all_accounts)
    if which is not None and (accounts or accounts_file is not None):
        raise typer.BadParameter("excludes --account and --accounts-file", param_hint="--all-accounts")
    found: list[Any] = [] if which else list(_accounts(connection, accounts, accounts_file, needed=not retry_failed))
    if found:
        options["accounts"] = named(connection.profile, connection.base_url, found)
    _look_at(options["fields"] or (), resources)
    given: dict[str, Any] = {}
    if (asked := limit if limit is not None else str(former_limit) if former_limit is not None else None) is not None:
        given["rate_limit"] = _limit(asked)
    plan = _check(resources, target, options)
    if which is not None:
        plan.target.prepare()
        plan.target.check_access()
        with connection.client() as client:
            found = look_up(connection, client, which, plan.target.files)
        options["accounts"] = found
    tally = Tally(len(found), len(found) * len(plan.resources))
    try:
        with shown(tally) as watch, nullcontext() if connection.verbose else without_halves():
            result = run(_run(connection, given, resources, target, {**options, "progress": watch}, tally))
    except KeyboardInterrupt:
        note("the same command goes on where this one stops")
        raise
    if output is not None:
        write_text(json.dumps(result.to_dict()) + "\n")
    summarize(result, str(plan.target.failed_accounts_path))
    if not result.acceptable:
        raise typer.Exit(1)
    if failed := len(result.failed_accounts):
        note(f"warning: {failed:,} of the accounts failed, which --max-failures {max_failures} allows")


app.command(_RUN, hidden=True, cls=_Unnamed)(without(_export, "account", "rate_limit"))


@app.command(_VERIFY)
def verify_command(target: Target, accounts: Accounts = None, options: StoreOptions = None) -> None:
    """Check that a target holds what was exported to it.

    Of a folder or a store: presence, size, checksum and number of records of each file. Of a database: that all of it
    can be read, and the number of records of each list.
    """
    from ..export import verify  # noqa: PLC0415 (not needed for --help)

    found = verify(existing(target), accounts=accounts or None, store_options=store_options(options))
    for text in found.problems:
        problem(text)
    held = f"{counted(found.files, 'file')}, {counted(found.records, 'record')}"
    note(f"{held}: {'all as exported' if found.ok else 'not as exported'}")
    if not found.ok:
        raise typer.Exit(1)


@app.command(_FORGET)
def forget_command(
    target: Target,
    accounts: Annotated[list[str], typer.Option("--account", metavar="ID", help="Linked account. Repeat it.")],
    lock_timeout: Annotated[
        float, typer.Option("--lock-timeout", metavar="SECONDS", help="Wait for a database that is in use.")
    ] = 60.0,
    work: Work = None,
    options: StoreOptions = None,
    break_lock: BreakLock = False,
) -> None:
    """Remove everything of an account from a target, to the last byte.

    For deletion requests. Covers files, tables, the manifest and what interrupted exports left; databases are
    rewritten. Backups and reports are left for you to delete. For example:

    stackone-lms export forget lms --account 4711

    stackone-lms export forget duckdb:lms.duckdb --account 4711

    stackone-lms export forget s3://bucket/lms --work lms-work --account 4711
    """
    from ..export import forget  # noqa: PLC0415 (not needed for --help)

    forgotten = forget(
        existing(target),
        accounts,
        lock_timeout=lock_timeout,
        work=work,
        store_options=store_options(options),
        break_lock=break_lock,
    )
    for gone in forgotten:
        there = f"{counted(gone.lists, 'list')} with {counted(gone.records, 'record')}"
        if not gone.lists:
            there = "no complete list of it was there (expected one? check the id)"
        note(f"account {gone.account_id}: {there}; nothing of it is left")


async def _run(
    connection: Connection, given: Any, resources: Sequence[str], target: str, options: Any, tally: Tally
) -> ExportResult:
    from ..client import AsyncClient  # noqa: PLC0415 (not needed for --help)
    from ..export import export  # noqa: PLC0415

    async with connection.make(AsyncClient, **given) as client:
        tally.stats = client.stats
        return await export(client, resources, target, **options)


def _check(resources: Sequence[str], target: str, options: Mapping[str, Any]) -> Plan:
    """Look at all options before anything else is done."""
    from ..export.options import make_plan  # noqa: PLC0415 (not needed for --help)

    return make_plan(resources, target, options)


def _since(since: str | None, narrow: Sequence[str] | None) -> str | None:
    """Return `--since`, or what `--filter updated_after=` says, as with `list`."""
    query = pairs(narrow or (), "--filter")
    after = query.pop("updated_after", None)
    if query or isinstance(after, list) or (after is not None and since is not None):
        raise typer.BadParameter("an export takes --since DATE, once, and no other filter", param_hint="--filter")
    return moment(since, "--since") if since is not None else after


def _limit(text: str) -> Any:
    from ..options import RateLimit  # noqa: PLC0415 (not needed for --help)

    limit = rate_limit(text)
    return None if limit is None else RateLimit(limit[0], per=limit[1])


def _target(out: str | None, to: str | None, format: FileFormat | None) -> str:
    if out is not None and to is None:
        kind, colon, _ = out.partition(":")
        if colon and kind in _DATABASES:
            raise typer.BadParameter(f"tables go with --to: --to {out}", param_hint="--out")
        if Path(out).exists() and not Path(out).is_dir():
            raise typer.BadParameter(f"{out} is a file", param_hint="--out")
        return out
    if to is None or out is not None:
        raise typer.BadParameter("give either --out DIR or --to KIND:FILE", param_hint="--out")
    kind, colon, file = to.partition(":")
    if kind not in _DATABASES or not file:
        raise typer.BadParameter(
            f"{to!r:.60} is none of duckdb:FILE, sqlite:FILE and delta:FOLDER_OR_URL", param_hint="--to"
        )
    if format is not None:
        raise typer.BadParameter("is for the files of --out DIR; tables have none", param_hint="--format")
    return to


def _look_at(fields: Sequence[str], resources: Sequence[str]) -> None:
    """Tell of fields that no record is known to have: the API passes over them."""
    from ..export.lists import resources as lists  # noqa: PLC0415 (not needed for --help)

    models = [one.model for name, one in lists().items() if name in resources or "all" in resources]
    known = {name for model in models for name in model.__struct_fields__}
    if strange := [field for field in fields if field.partition(".")[0] not in known]:
        note(f"not known here, and maybe misspelt: {', '.join(strange)}")


def _accounts(connection: Connection, given: Sequence[str] | None, file: str | None, *, needed: bool) -> list[str]:
    from ..errors import InvalidArgumentError  # noqa: PLC0415
    from ..export.accounts import parse_accounts, read_accounts  # noqa: PLC0415 (not needed for --help)

    named: list[str] = []
    if file is not None:
        try:
            named = parse_accounts(sys.stdin.buffer.read(), "stdin") if file == "-" else read_accounts(Path(file))
        except InvalidArgumentError as error:
            raise typer.BadParameter(str(error), param_hint="--accounts-file") from None
    found = [*(given or ()), *named]
    if not all(id.strip() for id in found):
        raise typer.BadParameter("an account id is empty", param_hint="--account")
    if not found and file is None and needed:
        profile = connection.found_profile()
        default = os.environ.get("STACKONE_ACCOUNT_ID") or (profile and profile.settings.get("account_id"))
        found = [default] if default else []
    if not found and file is not None:
        where = "stdin" if file == "-" else f"{file!r:.200}"
        raise typer.BadParameter(f"there is no account id in {where}", param_hint="--accounts-file")
    if not found and needed:
        raise typer.BadParameter("no account: add --account, --accounts-file or --all-accounts", param_hint="--account")
    return list(dict.fromkeys(found))
