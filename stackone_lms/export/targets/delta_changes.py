"""Which rows of a Delta table differ from lists that came, and which of those are new."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple

from ..formats.base import CheckCancelled, Inputs
from ..formats.parquet import contents_of, ids_of
from ..records.arrow import batch_of, import_pyarrow, schema_of
from ..records.columns import ACCOUNT
from ..records.keys import OF_USER, keys_of_lines
from .delta_files import Source
from .rows import rows_of
from .tables import TableSpec

_FEW: Final = 200_000
"""Ids that are looked for in a file; where there are more, all its rows of the accounts are compared."""
_NEVER: Final = -(2**63)


class Change(NamedTuple):
    """What a list becomes."""

    spec: TableSpec
    inputs: Inputs | None
    """Its records; None: there are none any more."""
    keep: bool
    """Whether rows stay that did not come."""

    @property
    def account(self) -> str:
        """Of which linked account."""
        return self.spec.table.account


class Held:
    """Rows that a table has of the lists that are written: 33 bytes a row."""

    def __init__(self) -> None:
        self._keys, self._contents, self._moments = array("q"), array("q"), array("q")
        self._files, self._rows = array("L"), array("Q")
        self._whole, self._status = bytearray(), bytearray()
        self.new: Counter[str] = Counter()
        self.changed: Counter[str] = Counter()

    def note(self, file: int, rows: Sequence[int], batch: Any, whole: Sequence[bool]) -> None:
        """Note rows of a file.

        Args:
            file: Its number.
            rows: Their places in it.
            batch: Their values.
            whole: Of each whether it goes if it does not come.
        """
        self._keys.extend(_keys(batch))
        self._contents.extend(contents_of(batch))
        self._moments.extend(_moments(batch))
        self._files.extend([file] * len(rows))
        self._rows.extend(rows)
        self._whole.extend(whole)

    def sort(self) -> None:
        """Make the rows noted ready to be found."""
        order = sorted(range(len(self._keys)), key=self._keys.__getitem__)
        for name in ("_keys", "_contents", "_moments", "_files", "_rows"):
            values: array[int] = getattr(self, name)
            setattr(self, name, array(values.typecode, map(values.__getitem__, order)))
        self._whole = bytearray(map(self._whole.__getitem__, order))
        self._status = bytearray(len(order))

    def take(self, account: str, batch: Any, *, keep: bool) -> list[int] | None:
        """Return which of some rows that came are new, or replace what is held; None: all."""
        count: int = batch.num_rows
        held, total = self._keys, len(self._keys)
        if not total or "id" not in batch.schema.names:
            self.new[account] += count
            return None
        taken: list[int] = []
        new = 0
        for row, (key, content, moment) in enumerate(
            zip(_keys(batch), contents_of(batch), _moments(batch), strict=True)
        ):
            place = bisect_left(held, key)
            if place == total or held[place] != key:
                new += 1
                taken.append(row)
            elif self._contents[place] == content or (
                # Changes come in any order; a whole list is what there is now.
                keep and moment != _NEVER and self._moments[place] > moment
            ):
                self._status[place] = _KEPT
            else:
                self._status[place] = _REPLACED
                taken.append(row)
        self.new[account] += new
        self.changed[account] += len(taken) - new
        return None if len(taken) == count else taken

    def dropped(self) -> dict[int, list[int]]:
        """Return by file the rows, in their order, that are replaced or did not come any more."""
        found: dict[int, list[int]] = {}
        for place, status in enumerate(self._status):
            if status == _REPLACED or (status == _UNSEEN and self._whole[place]):
                found.setdefault(self._files[place], []).append(self._rows[place])
        return {file: sorted(rows) for file, rows in found.items()}


_UNSEEN, _KEPT, _REPLACED = 0, 1, 2


def _keys(batch: Any) -> Iterable[int]:
    accounts = batch.column(ACCOUNT).to_pylist()
    return map(hash, zip(accounts, ids_of(batch), strict=True))


def _moments(batch: Any) -> Iterable[int]:
    if "updated_at" not in batch.schema.names:
        return [_NEVER] * batch.num_rows
    found = batch.column("updated_at").cast("int64").to_pylist()
    return [_NEVER if moment is None else moment for moment in found]


def hold(sources: Sequence[Source], changes: Sequence[Change], check_cancelled: CheckCancelled) -> Held:
    """Note the rows of a table that the lists that are written may replace."""
    held = Held()
    pc: Any = import_module("pyarrow.compute")
    pa = import_pyarrow()
    accounts = sorted(change.account for change in changes if change.spec.keys or not change.keep)
    whole = {change.account for change in changes if not change.keep}
    merged = [change for change in changes if change.keep and change.spec.keys]
    named = _ids_of_few(merged)
    few = None if named is None else pa.array(named, "string")
    ours = [name for name, _ in changes[0].spec.columns]
    keys = [name for name in (ACCOUNT, OF_USER, "id") if name in ours]
    some_whole, some = pa.array(sorted(whole), "string"), pa.array(accounts, "string")
    for number, source in enumerate(sources):
        for group in source.groups_of(accounts, None if whole else named):
            check_cancelled()
            start, places, last = source.starts[group], list[list[int]](), False
            for batch in source.batches([group], keys):
                is_one = pc.is_in(batch.column(ACCOUNT), value_set=some if few is None else some_whole)
                if few is not None and merged:
                    is_some = pc.is_in(batch.column(ACCOUNT), value_set=some)
                    is_one = pc.or_(is_one, pc.and_(is_some, pc.is_in(batch.column("id"), value_set=few)))
                places.append(pc.indices_nonzero(is_one).to_pylist())
                last = last or bool(places[-1])
            if not last:
                continue
            whole_rows = [*source.batches([group])]
            for batch, rows in zip((one.select(ours) for one in whole_rows), places, strict=True):
                taken = batch.take(pa.array(rows, "int64")) if len(rows) < batch.num_rows else batch
                of_whole = [account in whole for account in taken.column(ACCOUNT).to_pylist()]
                held.note(number, [start + row for row in rows], taken, of_whole)
                start += batch.num_rows
            source.keep(group, whole_rows)
    held.sort()
    return held


def _ids_of_few(changes: Sequence[Change]) -> list[str] | None:
    """Return the ids of changed records; None if they are many, or some have none."""
    found: set[str] = set()
    for change in changes:
        if change.inputs is None:
            continue
        for keys in keys_of_lines(change.inputs.spool, of_users=change.spec.table.of_users):
            ids: list[Any] = [id[1] if isinstance(id, tuple) else id for id in keys.ids]
            found.update(ids)
            if None in ids or len(found) > _FEW:
                return None
    return sorted(found)


def new_rows(changes: Sequence[Change], held: Held, check_cancelled: CheckCancelled) -> Iterator[Any]:
    """Yield the rows that came and are not held as they came, some at a time."""
    pa = import_pyarrow()
    for change in changes:
        if change.inputs is None:
            continue
        ours = schema_of(change.spec.columns)
        for columns in rows_of(change.spec, change.inputs, check_cancelled):
            batch: Any = batch_of(ours, columns)
            taken = held.take(change.account, batch, keep=change.keep)
            if taken is not None:
                batch = batch.take(pa.array(taken, "int64"))
            if batch.num_rows:
                yield batch


def accounts_of(changes: Collection[Change]) -> list[str]:
    """Return the accounts of lists that may replace rows, sorted."""
    return sorted({change.account for change in changes if change.spec.keys or not change.keep})
