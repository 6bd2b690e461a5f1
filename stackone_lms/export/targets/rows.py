"""The records of a spool as rows of a table; those that came without an id get one."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..formats.base import CheckCancelled, Inputs, RowFilter, column_batches, with_stamps
from ..records.columns import ACCOUNT
from .tables import TableSpec


def rows_of(spec: TableSpec, inputs: Inputs, check_cancelled: CheckCancelled) -> Iterator[dict[str, Any]]:
    """Yield the rows of a spool as columns, those that came without an id with one, some at a time."""
    missing, stamp = _Missing(), inputs.history.stamp
    for columns in column_batches(spec.table, inputs, RowFilter(inputs.superseded), check_cancelled):
        if spec.keys:
            missing.fill(columns, spec.keys)
        yield with_stamps(columns, [stamp] * len(columns[ACCOUNT]))


class _Missing:
    """Gives records that came without an id one that depends on nothing but the record."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def fill(self, columns: Mapping[str, list[Any]], keys: Sequence[str]) -> None:
        ids = columns["id"]
        for key in keys:
            values = columns[key]
            if None not in values:
                continue
            for row, value in enumerate(values):
                if value is None:
                    values[row] = self._make(columns, row) if values is ids else ""

    def _make(self, columns: Mapping[str, list[Any]], row: int) -> str:
        # Columns without a value make no difference: a later version has more of them.
        text = repr([(name, values[row]) for name, values in columns.items() if values[row] is not None])
        digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:32]
        self._seen[digest] += 1
        return f"missing-{digest}-{self._seen[digest]}"
