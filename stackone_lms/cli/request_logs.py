"""`stackone-lms logs`: what StackOne noted of a request."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from .accounts import without_credentials
from .connection import Connection, connected, without
from .output import Output, write_one


class Include(StrEnum):
    """How much of a log is shown."""

    NOTHING = "none"
    STEPS = "step_logs"
    ADVANCED = "advanced_logs"


@connected
def _logs(
    connection: Connection,
    request_id: Annotated[str, typer.Argument(metavar="REQUEST_ID", help="As answers and errors show it.")],
    include: Annotated[
        Include,
        typer.Option(
            "--include",
            help="step_logs: with the calls to the provider; advanced_logs: with headers and bodies, too.",
        ),
    ] = Include.STEPS,
    output: Output = None,
) -> None:
    """Print the log of a request, with the calls to the provider behind it. It may appear seconds after the answer.

    For example:

    stackone-lms logs 0a1b2c3d --include advanced_logs
    """
    with connection.client() as client:
        answer = (
            client.logs.get(request_id)
            if include is Include.NOTHING
            else client.logs.get(request_id, include="step_logs" if include is Include.STEPS else "advanced_logs")
        )
    write_one(without_credentials(answer.body), output)


command = without(_logs, "account")
