"""A report on an export: one page that needs no network."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path

from ...errors import InvalidArgumentError
from ..state.storage import write_whole
from .page import render
from .summary import Days, summarize

__all__ = ["write_report"]


def write_report(
    target: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    accounts: str | Iterable[str] | None = None,
    first: date | None = None,
    last: date | None = None,
    store_options: Mapping[str, str] | None = None,
) -> int:
    """Write a report on the completions of an export, as one self-contained HTML file.

    It shows completions over time by result, and by course how many there are, the pass rate, and the median time to
    complete; with assignments also how many are open and overdue, and the completion rate, which is the completed ones
    of all assigned; for all accounts together and for each. Time to complete is `time_spent`, as the provider tells it.
    Overdue is what was open and due when its list was exported.

    Args:
        target: A folder, a place in a store, `duckdb:FILE` or `sqlite:FILE` with `completions`, or `users.completions`;
            `courses` for their titles, and `assignments`, or `users.assignments`.
        out: The HTML file to write.
        accounts: The accounts that it is about. Default: all.
        first: The first day, in UTC, that it is about: of completions by when they were completed, of assignments by
            when they were assigned. What has no such day is left out then. Default: no limit.
        last: The last day.
        store_options: Of a store; see `ExportOptions`.

    Returns:
        How many completions it is about.

    Raises:
        InvalidArgumentError: It is no target, or the last day is before the first one.
        ExportError: There is no export, none of completions, or none of one of the accounts.
    """
    if first is not None and last is not None and last < first:
        raise InvalidArgumentError(f"the last day, {last}, is before the first one, {first}")
    found = summarize(target, accounts, Days(first, last), store_options)
    write_whole(Path(out), render(found).encode())
    return found.accounts[0].completions
