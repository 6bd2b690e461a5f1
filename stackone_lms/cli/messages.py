"""What the program tells people: on stderr, never on stdout."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import printable

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


def note(text: str) -> None:
    """Tell something in a line."""
    console(stderr=True).print(printable(text, len(text)), style="dim")


def problem(text: str, hint: str | None = None) -> None:
    """Tell what is wrong, and what to do about it."""
    from rich.text import Text  # noqa: PLC0415

    out = console(stderr=True)
    out.print(Text.assemble(("error: ", "bold red"), printable(text, LONGEST)))
    if hint is not None:
        out.print(Text.assemble(("hint: ", "bold"), hint))
