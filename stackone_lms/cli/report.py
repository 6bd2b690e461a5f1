"""`stackone-lms report`: one page about the completions of an export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .messages import note

_OUT = Path("report.html")


def command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="The folder of an export.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", dir_okay=False, help="The HTML file.")] = _OUT,
) -> None:
    """Make a report of an export: completions over time, pass rates and times by course, for each account.

    It is one HTML file that loads nothing from anywhere. It needs completions; with courses it knows their titles.
    For example:

    stackone-lms report lms --out report.html
    """
    from ..export.report import write_report  # noqa: PLC0415 (not needed for --help)

    count = write_report(folder, out)
    note(f"{out}: {count:,} completions")
