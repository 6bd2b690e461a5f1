"""`stackone-lms report`: one page about the completions of an export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .messages import note
from .targets import Accounts, StoreOptions, Target, existing, store_options

_OUT = Path("report.html")


def command(
    target: Target,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", dir_okay=False, help="The HTML file.")] = _OUT,
    accounts: Accounts = None,
    options: StoreOptions = None,
) -> None:
    """Make a report of an export: completions over time, pass rates and times by course, for each account.

    It is one HTML file that loads nothing from anywhere. It needs completions; with courses it knows their titles.
    For example:

    stackone-lms report lms --out report.html

    stackone-lms report duckdb:lms.duckdb --account 4711
    """
    from ..export.report import write_report  # noqa: PLC0415 (not needed for --help)

    count = write_report(existing(target), out, accounts=accounts or None, store_options=store_options(options))
    note(f"{out}: {count:,} completions")
