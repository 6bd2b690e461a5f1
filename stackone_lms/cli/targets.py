"""Targets that were exported to, as arguments of commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET", help="What was exported to: a folder, duckdb:FILE, sqlite:FILE or delta:FOLDER_OR_URL."
    ),
]
Accounts = Annotated[
    list[str] | None, typer.Option("--account", metavar="ID", help="Only this linked account. Repeat it.")
]


def existing(target: str) -> str:
    """Return a target that is there.

    Raises:
        typer.BadParameter: It is not.
    """
    from ..export.targets.choose import DATABASES, DELTA, make_target  # noqa: PLC0415 (not needed for --help)

    kind, colon, file = target.partition(":")
    root = make_target(target, "parquet").files.root  # refuses what can be none
    path = Path(file).expanduser() if colon and kind in DATABASES else root
    is_url = kind == DELTA and "://" in file and not file.lower().startswith("file:")
    if not is_url and not path.exists() and not root.exists():
        raise typer.BadParameter(f"{target} is not there", param_hint="TARGET")
    return target
