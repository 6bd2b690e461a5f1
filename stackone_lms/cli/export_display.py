"""What `stackone-lms export` shows, on stderr: how far the lists are, and what became of them."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .failures import report
from .messages import console, note

if TYPE_CHECKING:
    from ..export import ExportProgress, ExportResult, ListOutcome
    from ..export.outcome import ProgressCallback

_MOST_ROWS = 60
"""Lists in the summary, beyond which it counts them by resource."""
_MOST_FAILURES = 20
_EVERY = 10.0
"""Seconds between two lines about lists under way, where there is no terminal."""


class Labels:
    """What accounts are called here: their numbers on the command line, and the ends of their ids.

    Args:
        accounts: All accounts.
    """

    def __init__(self, accounts: Sequence[str]) -> None:
        self._numbers = {account: number for number, account in enumerate(accounts, 1)}

    def of(self, account: str) -> str:
        """Return what an account is called."""
        return f"{self._numbers[account]}{f' ...{account[-4:]}' if len(account) > 8 else ''}"

    def of_list(self, one: ExportProgress | ListOutcome) -> str:
        """Return what a list is called."""
        return f"{one.resource}, account {self.of(one.account_id)}"


@contextmanager
def shown(labels: Labels, lists: int) -> Generator[ProgressCallback]:
    """Show how far the lists are: bars on a terminal for those under way and the whole, elsewhere lines.

    Args:
        labels: Names of the accounts.
        lists: How many there are, of all accounts together.
    """
    out = console(stderr=True)
    if not out.is_terminal:
        yield _Lines(labels, lists).watch
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[count]}", justify="right"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=out, transient=True) as progress:
        bars = _Bars(labels, progress, lists)
        yield bars.watch


class _Bars:
    """A bar for each list under way, and one for all of them."""

    def __init__(self, labels: Labels, progress: Any, lists: int) -> None:
        self._labels, self._progress, self._lists, self._ended = labels, progress, lists, 0
        self._whole = progress.add_task("all lists", total=lists, count=f"0 of {lists}")
        self._tasks: dict[tuple[str, str], Any] = {}

    def watch(self, told: ExportProgress) -> None:
        """Show what was told."""
        key = told.resource, told.account_id
        if told.state in {"done", "failed"}:
            self._ended += 1
            count = f"{self._ended:,} of {self._lists:,}"
            self._progress.update(self._whole, completed=self._ended, count=count)
            if key in self._tasks:
                self._progress.remove_task(self._tasks.pop(key))
            return
        writing = told.state == "writing"
        count = f"{told.records:,}" if told.total is None else f"{told.records:,} of {told.total:,.0f}"
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(self._labels.of_list(told), total=told.total, count=count)
        # A total that is not known makes the bar swing.
        total = told.records if writing else told.total
        count = f"{count}, writing" if writing else count
        self._progress.update(self._tasks[key], completed=told.records, total=total, count=count)


class _Lines:
    """A line for each list that ended, and now and then one for a list under way."""

    def __init__(self, labels: Labels, lists: int) -> None:
        self._labels, self._lists, self._ended, self._last = labels, lists, 0, time.monotonic()

    def watch(self, told: ExportProgress) -> None:
        """Show what was told."""
        name, now = self._labels.of_list(told), time.monotonic()
        if told.state in {"done", "failed"}:
            self._ended += 1
            note(f"[{self._ended}/{self._lists}] {name}: {told.state}, {told.records:,} records fetched")
        elif now - self._last >= _EVERY:
            note(f"{name}: {told.records:,} records so far")
        else:
            return
        self._last = now


def summarize(result: ExportResult, labels: Labels) -> None:
    """Show what became of an export: a table, the failures with their reasons, and the sums."""
    from rich.table import Table  # noqa: PLC0415 (not needed for --help)

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    few = len(result.lists) <= _MOST_ROWS
    for title in ("resource", "account" if few else "accounts", "records", "fetched", "seconds", "result"):
        number = title in {"records", "fetched", "seconds"}
        table.add_column(title, justify="right" if number else "left", overflow="fold")
    for row in _each(result, labels) if few else _by_resource(result):
        table.add_row(*row)
    on_terminal = console(stderr=True).is_terminal
    console(stderr=True, width=None if on_terminal else 120).print(table)
    failures = result.failures
    for one in failures[:_MOST_FAILURES]:
        if one.error is not None:
            note(f"{labels.of_list(one)}:")
            report(one.error)
    if len(failures) > _MOST_FAILURES:
        note(f"and {len(failures) - _MOST_FAILURES} more; the manifest tells about each")
    for one in [one for one in result.lists if one.missing_users][:_MOST_FAILURES]:
        note(f"{labels.of_list(one)}: {one.missing_users:,} of the users not found")
    fetched = sum(one.fetched for one in result.lists)
    speed = fetched / max(result.seconds, 0.001)
    note(f"{result.records:,} records in {result.seconds:.1f} s ({fetched:,} fetched, {speed:,.0f} a second)")
    if failures:
        note(f"{len(failures)} of {len(result.lists)} lists are not complete")


def _each(result: ExportResult, labels: Labels) -> Generator[tuple[str, ...]]:
    for one in result.lists:
        told = "complete" if one.error is None else type(one.error).__name__
        yield (one.resource, labels.of(one.account_id), *_numbers([one]), told)


def _by_resource(result: ExportResult) -> Generator[tuple[str, ...]]:
    for name in dict.fromkeys(one.resource for one in result.lists):
        some = [one for one in result.lists if one.resource == name]
        failed = sum(not one.ok for one in some)
        yield (name, f"{len(some):,}", *_numbers(some), f"{failed:,} failed" if failed else "complete")


def _numbers(some: Sequence[ListOutcome]) -> tuple[str, str, str]:
    sums = sum(one.records for one in some), sum(one.fetched for one in some)
    return f"{sums[0]:,}", f"{sums[1]:,}", f"{sum(one.seconds for one in some):,.1f}"
