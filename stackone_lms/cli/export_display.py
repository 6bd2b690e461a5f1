"""What `stackone-lms export` shows, on stderr: how far it is, and what became of it."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from .failures import report
from .messages import as_json, console, counted, note, write_json

if TYPE_CHECKING:
    from ..engine.stats import Stats
    from ..export import ExportProgress, ExportResult, ListOutcome
    from ..export.outcome import ProgressCallback

_MOST_ROWS = 60
"""Lists in the summary, beyond which it counts them by resource."""
_MOST_LINES = 200
"""Lists for each of which a line is printed as it ends; of more, only failures and sums are told."""
_MOST_FAILED = 20
"""Failures for each of which a line is printed as it comes."""
_MOST_ACCOUNTS = 20
"""Accounts that are named with a failure; the file has them all."""
_MOST_SHOWN = 10
"""Accounts under way that a terminal shows."""
_WIDTH = 120
"""Width of the summary where there is no terminal; narrower ones do without some columns, whose sums are told below."""
_LEFT_OUT = frozenset({"fetched", "new", "changed"})
_EVERY = 10.0
"""Seconds between two lines about the whole, where there is no terminal."""
_A_SECOND = 4
"""Times a second that a terminal is drawn: what is told between costs next to nothing."""


class Tally:
    """How far an export is.

    Args:
        accounts: How many accounts there are, as far as is known beforehand.
        lists: How many lists they have.
    """

    def __init__(self, accounts: int = 0, lists: int = 0) -> None:
        self.accounts, self.lists = accounts, lists
        self.done = self.ended = self.failed = self._fetched = 0
        self.under_way: dict[str, ExportProgress] = {}
        self.stats: Callable[[], Stats] | None = None
        self._began = time.monotonic()
        self._requests: deque[tuple[float, int]] = deque()

    def tell(self, told: ExportProgress) -> None:
        """Take note of what was told about a list."""
        self.accounts, self.done = told.accounts, told.accounts_done
        self.lists, self.ended = told.lists, told.lists_done
        if told.state not in {"done", "failed"}:
            self.under_way[told.account_id] = told
            return
        self.under_way.pop(told.account_id, None)
        self.failed += told.state == "failed"
        self._fetched += told.records

    def line(self) -> str:
        """Return how far it is in one line."""
        now = time.monotonic()
        records = self._fetched + sum(one.records for one in self.under_way.values())
        seconds = max(now - self._began, 0.001)
        parts = [
            f"{self.done:,} of {self.accounts:,} accounts, {self.ended:,} of {self.lists:,} lists",
            f"{counted(records, 'record')}, {records / seconds:,.0f} a second",
        ]
        if self.stats is not None:
            parts += self._of_the_limit(now, self.stats())
        if self.failed:
            parts.append(f"{counted(self.failed, 'list')} failed")
        if 0 < self.ended < self.lists:
            parts.append(f"about {_span(seconds / self.ended * (self.lists - self.ended))} left")
        return "; ".join(parts)

    def _of_the_limit(self, now: float, stats: Stats) -> list[str]:
        if stats.limit and stats.per and stats.used is not None:
            a_minute = 60.0 / stats.per
            told = [f"{stats.used * a_minute:,.0f} of {stats.limit * a_minute:,.0f} requests a minute"]
            if stats.paused_for:
                told.append(f"waiting {_span(max(1.0, stats.paused_for))} more, as the server asks")
            elif stats.waiting and (stats.tokens or 0.0) < 1.0:
                told.append("waiting for the limit")
            return told
        samples = self._requests
        samples.append((now, stats.requests))
        while now - samples[0][0] > 60.0:
            samples.popleft()
        since, before = samples[0] if len(samples) > 1 else (self._began, 0)
        return [f"{(stats.requests - before) / max(now - since, 1.0) * 60.0:,.0f} requests a minute"]


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def shown(tally: Tally) -> Generator[ProgressCallback]:
    """Show how far an export is: drawn anew on a terminal, elsewhere in lines that follow each other."""
    out = console(stderr=True)
    if not out.is_terminal or as_json():
        yield Lines(tally).watch
        return
    from rich.live import Live  # noqa: PLC0415 (not needed for --help)
    from rich.text import Text  # noqa: PLC0415

    def draw() -> Text:
        return Text("\n".join(_screen(tally, out.width)), no_wrap=True, overflow="ellipsis")

    with Live(get_renderable=draw, console=out, transient=True, refresh_per_second=_A_SECOND):
        yield tally.tell


@contextmanager
def without_halves() -> Generator[None]:
    """Keep meanwhile out of the log what pages tell of halves of characters: `summarize` does, in one line."""
    from ..models.base import REPLACED  # noqa: PLC0415 (not needed for --help)

    log = logging.getLogger("stackone_lms")

    def other(record: logging.LogRecord) -> bool:
        return REPLACED not in record.getMessage()

    log.addFilter(other)
    try:
        yield
    finally:
        log.removeFilter(other)


def _screen(tally: Tally, width: int) -> list[str]:
    """Return the lines of a terminal: the whole, on as many as that takes, then the accounts under way."""
    under_way = list(tally.under_way.values())
    lines = wrap(tally.line(), max(width, 20))
    lines += [f"  {one.account}: {_of_list(one)}" for one in under_way[:_MOST_SHOWN]]
    if len(under_way) > _MOST_SHOWN:
        lines.append(f"  and {len(under_way) - _MOST_SHOWN:,} more accounts under way")
    return lines


def _of_list(one: ExportProgress) -> str:
    count = f"{one.records:,}" if one.total is None else f"{one.records:,} of {one.total:,.0f}"
    return f"{one.resource}, {count} records{', writing' if one.state == 'writing' else ''}"


class Lines:
    """A line for each list that ended, and now and then one about the whole."""

    def __init__(self, tally: Tally) -> None:
        self._tally, self._last = tally, time.monotonic()

    def watch(self, told: ExportProgress) -> None:
        """Show what was told."""
        tally = self._tally
        tally.tell(told)
        failed = told.state == "failed" and tally.failed <= _MOST_FAILED
        if failed or (told.state == "done" and tally.lists <= _MOST_LINES):
            name = f"{told.resource}, account {told.account}"
            note(f"[{tally.ended}/{tally.lists}] {name}: {told.state}, {counted(told.records, 'record')} fetched")
        if told.state == "failed" and tally.failed == _MOST_FAILED:
            note("what else fails is told at the end")
        if (now := time.monotonic()) - self._last >= _EVERY:
            self._last = now
            note(tally.line())


def summarize(result: ExportResult, failed_file: str) -> None:
    """Show what became of an export: a table, the failures by their reasons, what else is worth knowing, the sums.

    Args:
        result: What became of it.
        failed_file: Where the ids of the accounts that failed stand.
    """
    if as_json():
        for one in result.lists:
            text = f"{one.resource}, account {one.account}: {one.state}"
            write_json("INFO" if one.ok else "ERROR", text, **one.to_dict())
    else:
        _show_table(result)
    _tell_failures(result, failed_file)
    _tell_reasons(result.lists)
    _tell_counts("{} records do not tell when they were changed", result.lists, _undated)
    _tell_counts("{} of the users not found", result.lists, lambda one: one.missing_users)
    if cut := [one for one in result.lists if one.replaced]:
        count = sum(one.replaced for one in cut)
        note(
            f"{counted(count, 'record')} held half of a character, replaced by U+FFFD: {_accounts(cut, 'the manifest')}"
        )
    fetched = sum(one.fetched for one in result.lists)
    new, changed = sum(one.new for one in result.lists), sum(one.changed for one in result.lists)
    speed = fetched / max(result.seconds, 0.001)
    note(
        f"{counted(result.records, 'record')} in {result.seconds:.1f} s ({fetched:,} fetched, {speed:,.0f} a second; "
        f"{new:,} new, {changed:,} changed)"
    )
    if result.failures:
        note(
            f"not complete: {len(result.failures):,} of {counted(len(result.lists), 'list')}; the same command fetches "
            "what is missing, and with --retry-failed nothing else"
        )
    if result.pruned_accounts:
        note(f"data removed that are not asked for any more: {_named(result.pruned_accounts)}")
    if result.interrupted:
        note("not every list was tried; the same command goes on")


def _show_table(result: ExportResult) -> None:
    from rich.table import Table  # noqa: PLC0415 (not needed for --help)

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    few = len(result.lists) <= _MOST_ROWS
    out = console(stderr=True)
    width = out.width if out.is_terminal else _WIDTH
    counts = ["records", "fetched", "new", "changed", "seconds" if few else "slowest (s)"]
    titles = ["resource", "account" if few else "accounts", *counts, "result"]
    shown = [n for n, title in enumerate(titles) if width >= _WIDTH or title not in _LEFT_OUT]
    for title in (titles[n] for n in shown):
        number = title in counts
        table.add_column(title, justify="right" if number else "left", no_wrap=number, overflow="fold")
    for row in _each(result) if few else _by_resource(result):
        table.add_row(*(row[n] for n in shown))
    console(stderr=True, width=None if out.is_terminal else _WIDTH).print(table)


def _tell_failures(result: ExportResult, failed_file: str) -> None:
    """Tell each kind of failure once, with the accounts that it befell."""
    kinds: dict[tuple[str, Any], list[ListOutcome]] = {}
    for one in result.failures:
        error = one.error
        if error is not None:
            kinds.setdefault((type(error).__name__, error.status), []).append(one)
    for some in kinds.values():
        resources = ", ".join(dict.fromkeys(one.resource for one in some))
        note(f"{resources}, {_accounts(some, failed_file)}:")
        if some[0].error is not None:
            report(some[0].error)
    partial = [one for one in result.failures if one.skipped_users]
    for one in partial[:_MOST_ACCOUNTS]:
        names = [f"{skipped.user!r:.60} ({skipped.status or skipped.type})" for skipped in one.skipped_users]
        more = f" and {len(names) - _MOST_ACCOUNTS:,} more, in the manifest" if len(names) > _MOST_ACCOUNTS else ""
        users = f"{counted(len(names), 'user')} could not be read: {', '.join(names[:_MOST_ACCOUNTS])}{more}"
        note(f"{one.resource}, account {one.account}: {users}")
    if len(partial) > _MOST_ACCOUNTS:
        note(f"{len(partial) - _MOST_ACCOUNTS:,} more lists have users that could not be read, in the manifest")


def _undated(one: ListOutcome) -> int:
    # Of a list of which no record tells, all is fetched each time anyway.
    return one.undated if one.undated < one.records else 0


def _tell_counts(text: str, lists: Iterable[ListOutcome], of: Callable[[ListOutcome], int]) -> None:
    """Tell how many of something the lists of each resource have together, and which accounts have some."""
    found: dict[str, list[ListOutcome]] = {}
    for one in lists:
        if of(one):
            found.setdefault(one.resource, []).append(one)
    for resource, some in found.items():
        note(f"{resource}, {_accounts(some, 'the manifest')}: {text.format(f'{sum(map(of, some)):,}')}")


def _tell_reasons(lists: Iterable[ListOutcome]) -> None:
    """Tell why lists were fetched whole, each reason once; some name a file, and so are of one list alone."""
    found: dict[tuple[str, str], list[ListOutcome]] = {}
    for one in lists:
        if one.whole_because is not None:
            found.setdefault((one.resource, one.whole_because), []).append(one)
    told = list(found.items())
    for (resource, why), some in told[:_MOST_ACCOUNTS]:
        note(f"{resource}, {_accounts(some, 'the summary')}: fetched whole: {why}")
    if rest := sum(len(some) for _, some in told[_MOST_ACCOUNTS:]):
        note(f"{rest:,} more lists were fetched whole, for reasons that the summary (--summary FILE) tells")


def _accounts(some: Sequence[ListOutcome], file: str) -> str:
    return _named(list(dict.fromkeys(one.account for one in some)), f", in {file}")


def _named(called: Sequence[str], where: str = "") -> str:
    if len(called) == 1:
        return f"account {called[0]}"
    more = f" and {len(called) - _MOST_ACCOUNTS:,} more{where}" if len(called) > _MOST_ACCOUNTS else ""
    return f"{counted(len(called), 'account')} ({', '.join(called[:_MOST_ACCOUNTS])}{more})"


def _each(result: ExportResult) -> Generator[tuple[str, ...]]:
    for one in result.lists:
        told = "complete" if one.ok else "some users missing" if one.error is None else type(one.error).__name__
        yield (one.resource, one.account, *_numbers([one]), told)


def _by_resource(result: ExportResult) -> Generator[tuple[str, ...]]:
    for name in dict.fromkeys(one.resource for one in result.lists):
        some = [one for one in result.lists if one.resource == name]
        failed = sum(not one.ok for one in some)
        yield (name, f"{len(some):,}", *_numbers(some), f"{failed:,} failed" if failed else "complete")


def _numbers(some: Sequence[ListOutcome]) -> tuple[str, ...]:
    counts = (sum(getattr(one, name) for one in some) for name in ("records", "fetched", "new", "changed"))
    return (*(f"{count:,}" for count in counts), f"{max(one.seconds for one in some):,.1f}")
