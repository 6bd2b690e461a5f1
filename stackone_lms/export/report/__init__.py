"""A report on an export: one page that needs no network."""

from __future__ import annotations

import os
from pathlib import Path

from ..state.storage import write_whole
from .page import render
from .summary import summarize

__all__ = ["write_report"]


def write_report(folder: str | os.PathLike[str], out: str | os.PathLike[str]) -> int:
    """Write a report on the completions in the folder of an export, as one self-contained HTML file.

    It shows completions over time by result, and by course how many there are, the pass rate, and the median time to
    complete; for all accounts together and for each. Time to complete is `time_spent`, as the provider tells it.

    Args:
        folder: Where an export was written to: `completions`, or `users.completions`, and `courses` for their titles.
        out: The HTML file to write.

    Returns:
        How many completions it is about.

    Raises:
        ExportError: There is no export, none of completions, or plotly is not installed (extra `report`).
    """
    found = summarize(Path(folder))
    write_whole(Path(out), render(found).encode())
    return found.accounts[0].completions
