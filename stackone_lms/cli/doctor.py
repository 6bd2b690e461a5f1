"""`stackone-lms doctor`: what is configured, and whether it works."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ConfigurationError
from .connection import Connection, connected
from .messages import colorless, console
from .output import write_text

if TYPE_CHECKING:
    from ..diagnosis import CheckReport


class DoctorForm(StrEnum):
    """Forms of a report."""

    TEXT = "text"
    JSON = "json"


@connected
def command(
    connection: Connection,
    output: Annotated[
        DoctorForm,
        typer.Option("--output", "-o", help="json is for support tickets; it contains no secrets."),
    ] = DoctorForm.TEXT,
) -> None:
    """Check configuration, network, TLS, key, account, and a first page of users.

    Each line says what is ok, what is not, and what to do about it. The exit code is 1 if something failed.
    For example:

    stackone-lms doctor --profile prod --output json
    """
    show(examine(connection), output)


def examine(connection: Connection) -> CheckReport:
    """Return what is found out; also where no client can be made."""
    from ..configuration import sources  # noqa: PLC0415 (not needed for --help)
    from ..diagnosis import not_configured  # noqa: PLC0415

    try:
        client = connection.client()
    except ConfigurationError as error:
        given = {"api_key": connection.api_key, "account_id": connection.account, "base_url": connection.base_url}
        found = sources(**{name: value is not None for name, value in given.items()})
        return not_configured(error, {name: "option" if text == "argument" else text for name, text in found.items()})
    with client:
        return client.check()


def show(report: CheckReport, form: DoctorForm = DoctorForm.TEXT) -> None:
    """Print a report.

    Raises:
        typer.Exit: Something in it failed.
    """
    if form is DoctorForm.JSON:
        write_text(json.dumps(report.to_dict(), indent=2, ensure_ascii=False) + "\n")
    else:
        from rich.text import Text  # noqa: PLC0415 (not needed for --help)

        styles = {"ok": "green", "warning": "yellow", "failure": "bold red"}
        out = console()
        with out.capture() as capture:
            for check in report.checks:
                style = "" if colorless() else styles[check.status]
                out.print(Text.assemble((f"{check.status:<8}", style), f"{check.name}: {check.message}"))
                if check.fix is not None:
                    out.print(Text(f"        {check.fix}"))
        write_text(capture.get())
    if not report.ok:
        raise typer.Exit(1)
