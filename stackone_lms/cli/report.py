"""`stackone-lms report`: one page about the completions of an export."""

from __future__ import annotations

import webbrowser
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from .messages import note
from .targets import Accounts, StoreOptions, Target, existing, store_options

_OUT = Path("report.html")
_DAY = ["%Y-%m-%d"]


def command(
    target: Target,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", dir_okay=False, help="The HTML file.")] = _OUT,
    accounts: Accounts = None,
    options: StoreOptions = None,
    first: Annotated[
        datetime | None,
        typer.Option(
            "--from", metavar="DAY", formats=_DAY, help="Only what was completed, or assigned, since that day."
        ),
    ] = None,
    last: Annotated[
        datetime | None,
        typer.Option("--to", metavar="DAY", formats=_DAY, help="Only what was completed, or assigned, until that day."),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
) -> None:
    """Make a report of an export: completions, pass rates and times by course and account, overdue assignments.

    It is one HTML file without external resources. It needs completions; with courses it knows their titles, with
    assignments it shows what is open and overdue, and completion rates. Days are in UTC, such as 2026-01-31.

    For example:

    stackone-lms report lms --out report.html --open

    stackone-lms report duckdb:lms.duckdb --account 4711 --from 2026-01-01 --to 2026-03-31
    """
    from ..export.report import write_report  # noqa: PLC0415 (not needed for --help)

    days = {"first": first and first.date(), "last": last and last.date()}
    where = existing(target)
    count = write_report(where, out, accounts=accounts or None, store_options=store_options(options), **days)
    note(f"{out}: {count:,} completions")
    if show and not webbrowser.open(out.resolve().as_uri()):
        note("there is no browser to show it in")
