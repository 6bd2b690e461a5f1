"""What the program tells people: on stderr, never on stdout."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ..errors import printable
from ..logs import JsonFormatter, json_line

if TYPE_CHECKING:
    from rich.console import Console

LONGEST = 2000
"""Characters of an error message; what a server sent may be longer."""


def colorless() -> bool:
    """Tell whether NO_COLOR asks for plain text."""
    return bool(os.environ.get("NO_COLOR"))


def console(*, stderr: bool = False, width: int | None = None) -> Console:
    """Return a console that shows text as it is: plain where nobody looks or NO_COLOR is set."""
    from rich.console import Console  # noqa: PLC0415 (not needed where nothing is said)

    return Console(
        stderr=stderr,
        width=width,
        color_system=None if colorless() else "auto",
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=width is None,
    )


class LogFormat(StrEnum):
    """How stderr is written."""

    TEXT = "text"
    JSON = "json"


class _Chosen:
    format = LogFormat.TEXT


def choose_format(arguments: Sequence[str]) -> None:
    """Write to stderr as a command line asks for, whether the rest of it can be used or not."""
    _Chosen.format = LogFormat.TEXT
    words = [word for argument in arguments for word in argument.split("=", 1)]
    for option, asked in pairwise(words):
        if option == "--log-format":  # the last one counts
            _Chosen.format = LogFormat.JSON if asked == "json" else LogFormat.TEXT


def as_json() -> bool:
    """Tell whether stderr is lines of JSON, for programs."""
    return _Chosen.format is LogFormat.JSON


@contextmanager
def logs_as_json() -> Generator[None]:
    """Make lines of JSON of what any logger, and Python's warnings, send to stderr meanwhile, if that is asked for."""
    if not as_json():
        yield
        return
    handler, root = logging.StreamHandler(), logging.getLogger()
    handler.setFormatter(JsonFormatter())
    root.addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.removeHandler(handler)


def draws() -> bool:
    """Tell whether stderr is a terminal on which something may move."""
    return sys.stderr.isatty() and not as_json()


def write_json(level: str, text: str, **more: Any) -> None:
    """Write a line of JSON."""
    line = json_line(level, "stackone_lms.cli", text, time.time())
    sys.stderr.write(json.dumps({**line, **more}, default=str) + "\n")


def counted(count: int, what: str) -> str:
    """Return such as `1 list` and `2,000 lists`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def note(text: str) -> None:
    """Tell something in a line."""
    if as_json():
        return write_json("INFO", text)
    console(stderr=True).print(printable(text, len(text)), style="dim")
    return None


def problem(text: str, hint: str | None = None) -> None:
    """Tell what is wrong, and what to do about it."""
    if as_json():
        return write_json("ERROR", text[:LONGEST], **({} if hint is None else {"hint": hint}))
    from rich.text import Text  # noqa: PLC0415

    out = console(stderr=True)
    out.print(Text.assemble(("error: ", "bold red"), printable(text, LONGEST)))
    if hint is not None:
        out.print(Text.assemble(("hint: ", "bold"), hint))
    return None


def show_traceback(error: BaseException) -> None:
    """Show where an error happened."""
    text = "".join(traceback.format_exception(error))
    if as_json():
        write_json("ERROR", type(error).__name__, exception=text)
    else:
        sys.stderr.write(text)
