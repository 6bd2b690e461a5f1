"""JSON Lines: one record a line, as it was sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ..records.history import History, Stamp
from ..records.keys import Contents, Keys, digest, keys_of_chunk, keys_of_lines
from ..records.lines import chunks
from ..state.storage import AtomicFile, wrap_os_errors
from .base import CheckCancelled, Format, Inputs, RowFilter, Table, column_batches, filtered_lines

NO_STAMP: Final = Stamp(None, None)


def _digests(lines: Sequence[bytes]) -> list[bytes]:
    return [*map(digest, lines)]


def _text(lines: Sequence[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _keyed_lines(
    path: Path, table: Table, check_cancelled: CheckCancelled
) -> Iterator[tuple[list[bytes], Sequence[Any]]]:
    """Yield the lines of a file, without their ends, with the ids of their records."""
    for chunk in chunks(path):
        check_cancelled()
        yield chunk.split(b"\n")[:-1], keys_of_chunk(chunk, of_users=table.of_users).ids


class JsonLines(Format):
    """One record a line, byte by byte as the server sent it."""

    name, suffix = "jsonl", ".jsonl"

    def contents(self, table: Table) -> Contents | None:
        """Return what gives records without an id their keys."""
        return _digests if table.has_ids else None

    def keys(self, path: Path, table: Table) -> Iterator[Keys]:
        """Yield the keys of the records of a file."""
        return keys_of_lines(path, of_users=table.of_users, contents=self.contents(table))

    def write(self, draft: AtomicFile, table: Table, inputs: Inputs, check_cancelled: CheckCancelled) -> None:
        """Make a file."""
        row_filter, history = RowFilter(inputs.superseded), inputs.history
        for chunk in chunks(inputs.base) if inputs.base is not None else ():
            check_cancelled()
            lines = chunk.split(b"\n")[:-1]
            kept, dropped = row_filter.split(len(lines))
            draft.write(chunk if kept is None else _text([lines[n] for n in kept]))
            if dropped:
                ids = keys_of_chunk(_text([lines[n] for n in dropped]), of_users=table.of_users).ids
                history.hold(ids, [hash(lines[n]) for n in dropped], [NO_STAMP] * len(dropped))
        if history.empty:
            for lines in filtered_lines(inputs.spool, row_filter, check_cancelled):
                draft.write(_text(lines))
                history.add(len(lines))
            return
        for lines, ids in _keyed_lines(inputs.spool, table, check_cancelled):
            kept = row_filter.pick(len(lines))
            which = range(len(lines)) if kept is None else kept
            draft.write(_text([lines[n] for n in which]))
            history.compare([ids[n] for n in which], [hash(lines[n]) for n in which])

    def hold(self, path: Path, table: Table, history: History, check_cancelled: CheckCancelled) -> None:
        """Note the records of a file, to compare others with them."""
        for lines, ids in _keyed_lines(path, table, check_cancelled):
            history.hold(ids, map(hash, lines), [NO_STAMP] * len(lines))

    def compare(self, spool: Path, table: Table, history: History, check_cancelled: CheckCancelled) -> None:
        """Count the records of a spool that are new or changed."""
        for lines, ids in _keyed_lines(spool, table, check_cancelled):
            history.compare(ids, map(hash, lines))

    def count(self, path: Path) -> int:
        """Return how many records a file holds."""
        with wrap_os_errors("reading what was exported"):
            return sum(chunk.count(b"\n") for chunk in chunks(path))

    def columns(self, path: Path, table: Table, names: Sequence[str]) -> Iterator[Mapping[str, Sequence[Any]]]:
        """Yield the values of some columns of a file, some records at a time."""
        return column_batches(
            table, Inputs(None, path, frozenset(), History(NO_STAMP)), RowFilter(frozenset()), lambda: None
        )
