"""A report on an export: one page that needs no network."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..state.storage import write_whole
from .page import render
from .summary import summarize

__all__ = ["write_report"]


def write_report(
    target: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    accounts: str | Iterable[str] | None = None,
    store_options: Mapping[str, str] | None = None,
) -> int:
    """Write a report on the completions of an export, as one self-contained HTML file.

    It shows completions over time by result, and by course how many there are, the pass rate, and the median time to
    complete; for all accounts together and for each. Time to complete is `time_spent`, as the provider tells it.

    Args:
        target: A folder, a place in a store, `duckdb:FILE` or `sqlite:FILE` with `completions`, or `users.completions`,
            and `courses` for their titles.
        out: The HTML file to write.
        accounts: The accounts that it is about. Default: all.
        store_options: Of a store; see `ExportOptions`.

    Returns:
        How many completions it is about.

    Raises:
        InvalidArgumentError: It is no target.
        ExportError: There is no export, none of completions, none of one of the accounts, or plotly is not installed
            (extra `report`).
    """
    found = summarize(target, accounts, store_options)
    write_whole(Path(out), render(found).encode())
    return found.accounts[0].completions
