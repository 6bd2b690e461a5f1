"""Streams: rounds over the lists of all accounts, read beside the driver, with their place in Spark's checkpoint."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from ..batches import Batch, Failure, batches, gather, schema
from ..errors import InvalidArgumentError, StackOneError
from ..export.lists import find
from ..export.records.arrow import import_pyarrow
from ..logs import log
from ..sync import SyncClient
from .columns import arranged, columns_of_slices
from .offsets import Offset, Range, ReadRequest, at
from .options import Options
from .reading import active_accounts, tell, words

if TYPE_CHECKING:
    import pyarrow as pa

ROWS: Final = 10_000
"""Records of a micro-batch, or a few more: it ends with a page."""
_SECONDS: Final = 30.0
"""How long records wait for others of their micro-batch."""
_PAUSE: Final = 0.2
"""Seconds before Spark asks again whether there is something new."""
_THREADS: Final = 8
"""Lists of a micro-batch that are read again at once."""
_STAMP: Final = "updated_at"


class StreamQuery:
    """A query that reads lists again and again; it pickles, with the key, without what it has under way.

    Args:
        options: What was asked for.
        names: The columns wanted, in order.
    """

    def __init__(self, options: Options, names: tuple[str, ...]) -> None:
        self._options, self._names = options, names
        self._dated = _STAMP in schema(options.resource).names
        asked = names if _STAMP in names or not self._dated else (*names, _STAMP)
        self._columns = columns_of_slices(options.resource, asked)
        self._request = ReadRequest.of(options.page_size, options.filters, self._columns)
        self._position: Offset | None = None
        self._stream: Generator[Any] | None = None
        self._once = False
        self._rounds = 0
        self._looked_at: float | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return StreamQuery, (self._options, self._names)

    def first(self) -> dict[str, Any]:
        """Return the offset of a stream that has not begun."""
        return Offset.first(self._options.resource, self._request).as_json()

    def finish_soon(self) -> None:
        """Begin one more round only, at once, and say then that there is nothing new (Trigger.AvailableNow)."""
        self._once, self._rounds = True, 0

    def read(self, start: Mapping[str, Any]) -> tuple[list[pa.RecordBatch], dict[str, Any]]:
        """Return the next records, and the offset behind them; that of the start if there is nothing new.

        Raises:
            InvalidArgumentError: The offset is that of another stream, or cannot be.
            StackOneError: The key is refused; or a list failed, and the others shall not go on.
        """
        offset = Offset.of(start, self._options.resource)
        if not offset.ended:
            offset.refuse_another(self._request)
        if offset != self._position:
            self.close()
        here = offset
        if self._stream is None:
            if offset.ended and not self._is_due(offset):
                if not self._once:
                    time.sleep(min(_PAUSE, self._options.poll_interval.total_seconds()))
                return [], dict(start)
            try:
                here = self._begin(offset)
            except StackOneError as error:
                if self._fails or self._once or not error.retryable:
                    raise
                log.warning("the accounts cannot be looked up, which is tried again later: %s", words(error))
                self._looked_at = time.monotonic()
                time.sleep(_PAUSE)
                return [], dict(start)
        try:
            rows, here = self._pull(here)
        except BaseException:
            self.close()
            raise
        if here.ended:
            self.close()
        if not rows and _same(here, offset):
            self._position = offset
            return [], dict(start)
        self._position = here
        return rows, here.as_json()

    @property
    def _fails(self) -> bool:
        return self._options.on_error == "fail"

    def _is_due(self, offset: Offset) -> bool:
        if self._once:
            return self._rounds == 0
        every = self._options.poll_interval
        if self._looked_at is not None:
            return time.monotonic() - self._looked_at >= every.total_seconds()
        began, now = offset.began, _now()
        return began is None or not datetime.fromisoformat(began) <= now < datetime.fromisoformat(began) + every

    def _begin(self, offset: Offset) -> Offset:
        """Begin the next round, or go on with the one under way, without the accounts that are not wanted any more."""
        options = self._options
        accounts = self._accounts()
        if offset.ended:
            offset = offset.next_round(
                accounts, self._request, now=_now(), lag=options.lag, since=options.updated_after, dated=self._dated
            )
            self._rounds += 1
            self._looked_at = time.monotonic()
        else:
            offset = offset.without(accounts)
        slices = [at(options.slice(id, self._columns), place) for id, place in offset.waiting()]
        failures: Any = "raise" if self._fails else "yield"
        # A page a batch: what waits here is what a kill costs.
        self._stream = gather(self._client(), slices, at_once=options.accounts_at_once, batch_rows=1, failures=failures)
        return offset

    def _client(self) -> SyncClient:
        return self._options.shared_by(1).client()

    def _accounts(self) -> tuple[str, ...]:
        if self._options.accounts is not None:
            return self._options.accounts
        try:
            return active_accounts(self._options)
        except InvalidArgumentError:
            log.warning("the key has no active account; they are looked up again later")
            return ()

    def close(self) -> None:
        """Stop what is under way."""
        if self._stream is not None:
            self._stream.close()
        self._stream = self._position = None

    def _pull(self, here: Offset) -> tuple[list[pa.RecordBatch], Offset]:
        rows, count, began = list[Any](), 0, time.monotonic()
        for item in self._stream or ():
            data, here = self._take(item, here)
            if data is not None and data.num_rows:
                rows.append(data)
                count += data.num_rows
            late = rows and time.monotonic() - began >= _SECONDS
            if late or count >= (self._options.batch_rows or ROWS) or here.ended:
                break
        return rows, here

    def _take(self, item: Batch | Failure, here: Offset) -> tuple[pa.RecordBatch | None, Offset]:
        account = item.slice.account_id
        if not isinstance(item, Failure):
            data = self._kept(item.data, here.bounds(here.place(account)))
            return data, here.delivered(account, item.cursor, item.pages)
        tell(item)
        error = words(item.error)
        if item.user_id is None:
            return None, here.failed(account, item.cursor, error, retryable=item.error.retryable)
        return None, here.delivered(account, item.cursor, 0, error if item.error.retryable else None)

    def _kept(self, data: Any, bounds: tuple[str, str] | None) -> pa.RecordBatch:
        """Return those records that are not left to a later round."""
        if bounds is not None and data.num_rows:
            arrow, compute = import_pyarrow(), _compute()
            moments = data.column(_STAMP)
            until, later = (arrow.scalar(datetime.fromisoformat(text), moments.type) for text in bounds)
            early = compute.less_equal(moments, until)
            kept = compute.or_kleene(early, compute.greater(moments, later))
            data = data.filter(compute.fill_null(kept, True))
        return arranged(data, self._names)

    def read_again(self, start: Mapping[str, Any], end: Mapping[str, Any]) -> list[pa.RecordBatch]:
        """Return the records between two offsets, as far as their accounts are still wanted.

        Raises:
            StackOneError: One of the lists cannot be read: nobody else can tell what belonged to the batch.
        """
        first, last = (Offset.of(one, self._options.resource) for one in (start, end))
        last.refuse_another(self._request)
        wanted = self._options.accounts
        parts = [part for part in first.ranges(last) if wanted is None or part.account in wanted]
        client = self._client()

        def read(part: Range) -> Sequence[pa.RecordBatch]:
            return self._read_range(client, part, last)

        with ThreadPoolExecutor(_THREADS) as threads:
            found = list(threads.map(read, parts))
        return [data for several in found for data in several]

    def _read_range(self, client: SyncClient, part: Range, end: Offset) -> Sequence[pa.RecordBatch]:
        rows, pages = list[Any](), 0
        what = at(self._options.slice(part.account, self._columns), part.start)
        # Of lists of users a page may be missing this time, or be there that was missing; otherwise pages are counted,
        # since nobody says that the API gives the same cursors again.
        by_cursor = find(what.resource).of_users and part.end is not None
        bounds = end.bounds(part.start)
        with closing(batches(client, what, batch_rows=1, failures="yield")) as stream:
            for item in stream:
                if isinstance(item, Failure):
                    if item.user_id is None:
                        return self._without(part.account, item.error)
                    tell(item)
                else:
                    pages += item.pages
                    rows.append(self._kept(item.data, bounds))
                if part.pages is not None and (item.cursor == part.end if by_cursor else pages >= part.pages):
                    break
        return [data for data in rows if data.num_rows]

    def _without(self, account: str, error: StackOneError) -> Sequence[pa.RecordBatch]:
        if self._options.accounts is None and account not in self._accounts():
            return ()
        error.add_note(
            f"A micro-batch that was begun has to be read again, and account {account} is needed for it. To go on "
            "without it, take it out of the accounts; when it is back, its list is read whole."
        )
        raise error


def _same(here: Offset, before: Offset) -> bool:
    """Tell whether nothing was read but a whole round that brought nothing, which can be forgotten."""
    if not before.ended or not here.ended or set(here.accounts) != set(before.accounts):
        return False
    places = [{id: (p.after, p.cursor, p.until) for id, p in one.behind.items()} for one in (here, before)]
    return places[0] == places[1]


def _now() -> datetime:
    return datetime.now(UTC)


def _compute() -> Any:
    from pyarrow import compute  # noqa: PLC0415 (an extra)

    return compute
