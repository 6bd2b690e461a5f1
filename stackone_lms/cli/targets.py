"""Targets that were exported to, as arguments of commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="What was exported to: a folder, s3:// gs:// or az://, duckdb:FILE, sqlite:FILE or delta:FOLDER_OR_URL.",
    ),
]
Accounts = Annotated[
    list[str] | None, typer.Option("--account", metavar="ID", help="Only this linked account. Repeat it.")
]

StoreOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--store-option",
        metavar="KEY=VALUE",
        help="Object stores: an option of obstore, such as endpoint or region. Repeat it.",
    ),
]
Work = Annotated[
    Path | None,
    typer.Option("--work", metavar="DIR", file_okay=False, help="Object stores: local folder for the journals."),
]
BreakLock = Annotated[
    bool,
    typer.Option(
        "--break-lock",
        help="Object stores: replace the lock of an interrupted export whose work folder is lost.",
    ),
]


def store_options(given: list[str] | None) -> dict[str, str] | None:
    """Return options of a store by their names.

    Raises:
        typer.BadParameter: One has no value, or comes twice; what it says is not repeated, which may be secret.
    """
    found: dict[str, str] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise typer.BadParameter("must be KEY=VALUE, such as region=eu-central-1", param_hint="--store-option")
        if name in found:
            raise typer.BadParameter(f"{name!r:.60} is given twice", param_hint="--store-option")
        found[name] = value
    return found or None


def existing(target: str) -> str:
    """Return a target that is there, as far as this machine knows.

    Raises:
        typer.BadParameter: It is not.
    """
    from ..export.stores.address import is_store  # noqa: PLC0415 (not needed for --help)
    from ..export.targets.choose import DATABASES, DELTA, make_target  # noqa: PLC0415

    if is_store(target):
        return target  # whether it is there is not known before it is asked
    kind, colon, file = target.partition(":")
    root = make_target(target, "parquet").files.root  # refuses what can be none
    path = Path(file).expanduser() if colon and kind in DATABASES else root
    is_url = kind == DELTA and "://" in file and not file.lower().startswith("file:")
    if not is_url and not path.exists() and not root.exists():
        raise typer.BadParameter(f"{target} is not there", param_hint="TARGET")
    return target
