"""The program: its commands, and how each of them ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..errors import StackOneError
from . import (
    accounts,
    configure,
    demo,
    doctor,
    export,
    failures,
    get,
    listing,
    operations,
    report,
    request,
    request_logs,
    sandbox,
    writing,
)
from .arguments import suggestion
from .connection import Debug, LogFormats
from .messages import LogFormat, choose_format, logs_as_json, note, problem, show_traceback
from .output import OutputClosedError, discard_output, finish, leave_nothing_buffered
from .termination import EXIT_CODE, sigterm_as_ctrl_c
from .version import environment
from .wrong_values import explained

PROGRAM = "stackone-lms"


class _Commands(TyperGroup):
    """Lists the commands as they are declared here (by itself it puts groups last), and finds what was meant."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=_ORDER.index)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if name not in self.commands and not name.startswith("-"):
            meant = suggestion(name, {**{known: known for known in self.commands}, **self._elsewhere()})
            ctx.fail(f"No such command {name!r:.60}{meant}")
        return super().resolve_command(ctx, args)

    def _elsewhere(self) -> dict[str, str]:
        """Return what takes another word before it: commands of groups, and resources."""
        from ..api.operations import operations  # noqa: PLC0415 (not needed for --help)

        found = {known.resource: f"list {known.resource}" for known in operations() if known.verb == "list"}
        for name, group in self.commands.items():
            if isinstance(group, TyperGroup):
                found |= {sub: f"{name} {sub}" for sub, command in group.commands.items() if not command.hidden}
        return found


_ORDER = (
    *(
        "demo",
        "sandbox",
        "configure",
        "doctor",
        "accounts",
        "get",
        "list",
        "create",
        "upsert",
        "update",
        "delete",
        "batch-upsert",
        "logs",
        "request",
    ),
    *("export", "report", "operations"),
)

app = typer.Typer(
    cls=_Commands, no_args_is_help=True, add_completion=True, rich_markup_mode="rich", pretty_exceptions_enable=False
)

app.command("demo")(demo.command)
app.command("sandbox")(sandbox.command)
app.command("configure")(configure.command)
app.command("doctor")(doctor.command)
app.command("accounts")(accounts.command)
app.command("get")(get.command)
app.command("list")(listing.command)
app.command("create")(writing.create)
app.command("upsert")(writing.upsert)
app.command("update")(writing.update)
app.command("delete")(writing.delete)
app.command("batch-upsert")(writing.batch_upsert)
app.command("logs")(request_logs.command)
app.command("request")(request.command)
app.command("operations")(operations.command)
app.add_typer(export.app, name="export")
app.command("report")(report.command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(environment())
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the versions and exit.")
    ] = False,
    debug: Debug = False,
    log_format: LogFormats = LogFormat.TEXT,
) -> None:
    """StackOne's unified LMS API on the command line.

    Begin with `stackone-lms demo`: it needs no account and no API key.

    Data goes to stdout, everything else to stderr.
    Exit codes: 0 done, 1 API or network failure, 2 wrong usage, 130 interrupted, 143 terminated.
    """


def run(arguments: Sequence[str]) -> int:
    """Run the program.

    Args:
        arguments: The command line without the program's name.

    Returns:
        The exit code.
    """
    choose_format(arguments)
    if sys.stderr is None:  # as after `2>&-` in a shell
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 (until the process ends)
    if sys.stdout is None:  # as after `>&-` in a shell
        problem("stdout is closed, so there is nowhere to write to")
        return 1
    try:
        with sigterm_as_ctrl_c() as received, logs_as_json():
            code = app(args=list(arguments), prog_name=PROGRAM, standalone_mode=False)
            finish()
    except (OutputClosedError, SystemExit):  # SystemExit is how typer and rich take a closed pipe
        discard_output()
        return 0
    except Exception as error:  # noqa: BLE001 (whatever it is, it ends as one or two lines)
        command = next((word for word in arguments if not word.startswith("-")), None)
        return _fail(error, command, arguments)
    finally:
        leave_nothing_buffered()
    if code == 130:
        note("interrupted")
        return EXIT_CODE if received else code
    return code if isinstance(code, int) else 0


def _of_commands(error: Exception, context: Any) -> str | None:
    """Return what to do about an option that stands before the command whose option it is."""
    name = getattr(error, "option_name", None)
    if name is None or context is None or not isinstance(context.command, TyperGroup):
        return None
    commands = context.command.commands.values()
    if not any(name in option.opts for command in commands for option in command.params):
        return None
    return f"options stand behind the command: {context.command_path} COMMAND {name} ..."


def _fail(error: Exception, command: str | None, arguments: Sequence[str]) -> int:
    if "--debug" in arguments:
        show_traceback(error)
    if isinstance(error, StackOneError):
        failures.report(error, command, arguments)
        return failures.exit_code(error)
    if hasattr(error, "format_message"):  # typer's own, about the command line
        context = getattr(error, "ctx", None)
        asked = context.command_path if context is not None else PROGRAM
        if message := explained(error):
            problem(message, _of_commands(error, context) or f"{asked} --help shows what is allowed")
        return 2
    if isinstance(error, OSError):
        problem(f"{type(error).__name__}: {error}")
        return 1
    problem(f"{type(error).__name__}: {error}", "this is a bug of the program; --debug shows where it happened")
    return 1
