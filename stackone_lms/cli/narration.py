"""How the demo talks: numbered steps on stdout, progress on stderr, plain where nobody looks or NO_COLOR is set."""

from __future__ import annotations

import math
import sys
import textwrap
from collections.abc import Generator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from ..bulk.progress import Progress, Report
from .messages import colorless, console, draws
from .output import write_text

_LABEL = 16
_WIDTH = 80


class Narration:
    """Prints what happens, step by step."""

    def __init__(self) -> None:
        self._console = console()
        self._steps = 0

    def say(self, text: str) -> None:
        """Print a line."""
        self._print(Text(text))

    def step(self, title: str) -> None:
        """Begin a step."""
        self._steps += 1
        self._print(Text(f"\n{self._steps}. {title}", style="bold"))

    def code(self, text: str) -> None:
        """Print a line of code that is run now."""
        self._print(Text(f"   {text}", style="cyan"))

    def row(self, label: str, text: str) -> None:
        """Print what came of it, on as many lines of 80 columns as it takes; no word is broken."""
        lines = textwrap.wrap(text, _WIDTH - _LABEL - 3, break_long_words=False, break_on_hyphens=False) or [""]
        for line in lines:
            self._print(Text.assemble((f"   {label:<{_LABEL}}", "dim"), line))
            label = ""

    def command(self, label: str, command: str) -> None:
        """Print a command line whole, so that it can be copied: below its label where it is too long for the line."""
        if len(command) > _WIDTH - _LABEL - 3:
            self._print(Text(f"   {label}", style="dim"))
            self.code(command)
        else:
            self._print(Text.assemble((f"   {label:<{_LABEL}}", "dim"), command))

    def _print(self, text: Text) -> None:
        with self._console.capture() as capture:
            self._console.print(text, soft_wrap=True)
        write_text(capture.get())

    @contextmanager
    def progress(self, total: int) -> Generator[Report]:
        """Show on stderr how far a bulk fetch is: a bar on a terminal, a line for each quarter elsewhere.

        Args:
            total: How much there is to fetch.

        Yields:
            What `progress=` takes.
        """
        if colorless() or not draws():
            quarters = 0

            def tell(now: Progress) -> None:
                nonlocal quarters
                if now.done * 4 // total > quarters:
                    quarters = now.done * 4 // total
                    sys.stderr.write(f"   {now.done} of {total}, {_pace(now)}\n")

            yield tell
            return
        columns = (
            TextColumn("  "),
            BarColumn(bar_width=18),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}"),
        )
        with Bar(*columns, console=console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=total, pace="")
            yield lambda now: bar.update(task, completed=now.done, pace=_pace(now))


def _pace(now: Progress) -> str:
    """Return in words how fast it goes, how often the server asked for less, and how long it will take."""
    text = f"{now.rate:,.0f}/s, {now.throttled} throttled, {now.retries} retries"
    if not now.eta:
        return text
    minutes, seconds = divmod(math.ceil(now.eta), 60)
    return f"{text}, {minutes}:{seconds:02} left"
