"""The memory of one list: rows as they came, and checkpoints that say how far they are safe.

Rows are appended to a spool, one record a line. A checkpoint is appended to the journal once the rows before it are
durable: it holds the cursor that follows them. After a crash everything behind the last good checkpoint is cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from ...errors import ExportError
from .storage import AppendFile, make_folder, sync_folder, wrap_os_errors

VERSION: Final = 1
COMMIT_BYTES: Final = 16 * 1024 * 1024


class Header(msgspec.Struct, frozen=True, tag="header"):
    """What the list is asked for: fixed once begun, so that cursors keep their meaning."""

    version: int
    query: dict[str, Any]
    """Keywords of every page."""
    started: str
    """When it was begun, as the API writes moments."""
    merge: bool
    """Whether these are changes only, to be merged with what is there."""


class Checkpoint(msgspec.Struct, frozen=True, tag="checkpoint", omit_defaults=True):
    """How far a list has come."""

    rows: int = 0
    """Bytes of the spool that count."""
    calls: int = 0
    """Bytes of the spool of provider calls that count."""
    cursor: str | None = None
    """Where the next page starts; None: at the beginning, or at the next user."""
    user: str | None = None
    """Of lists of users: whose list was read to its end last; `cursor` belongs to the user after."""
    since: tuple[int, int, int] = (0, 0, 0)
    """Where the list that `cursor` belongs to began: in the spools, and in the count of records."""
    records: int = 0
    """Records so far, before duplicates are dropped."""
    missing: int = 0
    """Of lists of users: users that were deleted meanwhile."""
    ended: bool = False
    """Whether that was all."""


class Completed(msgspec.Struct, frozen=True, tag="completed"):
    """The list is complete and has been written: what of its files still has another name is put in its place."""

    entry: msgspec.Raw
    """What the manifest says about it."""


_decode = msgspec.json.Decoder(Header | Checkpoint | Completed).decode


def _lines(items: Sequence[bytes | msgspec.Raw]) -> bytes:
    """Join JSON values, one a line, byte by byte as they came."""
    text = b"".join(items)
    if b"\n" not in text and b"\r" not in text:
        return b"\n".join(items) + b"\n"
    # Line breaks stand between tokens only: inside strings JSON escapes them.
    return b"".join(bytes(item).replace(b"\n", b" ").replace(b"\r", b" ") + b"\n" for item in items)


def _line(record: Header | Checkpoint | Completed) -> bytes:
    body = msgspec.json.encode(record)
    return b"%08x %b\n" % (zlib.crc32(body), body)


def _read(path: Path) -> tuple[list[Header | Checkpoint | Completed], int]:
    """Return the good records of a journal, and how many bytes they are."""
    records: list[Header | Checkpoint | Completed] = []
    good = 0
    for line in path.read_bytes().splitlines(keepends=True):
        body = line[9:-1]
        try:
            if not line.endswith(b"\n") or int(line[:8], 16) != zlib.crc32(body):
                break
            records.append(_decode(body))
        except (ValueError, msgspec.DecodeError):
            break
        good += len(line)
    return records, good


def finished(path: Path) -> msgspec.Raw | None:
    """Return what a journal says for the manifest about its list, None if the list is not finished."""
    with wrap_os_errors("reading the state of an unfinished run"):
        records, _ = _read(path)
    return next((record.entry for record in records if isinstance(record, Completed)), None)


class Journal:
    """The spools and the journal of one list.

    Args:
        folder: Where they are kept; made if it is not there.
        header: What the list is asked for, if it has not been begun.
        with_calls: Whether provider calls are spooled too.

    Attributes:
        header: What the list is asked for: what it was begun with, after a crash.
        checkpoint: How far the list is appended; at first, how far it was safe.
        completed: What the manifest says about it, if it is finished.
        rows: The spool of records.
        calls: The spool of provider calls.

    Raises:
        ExportError: The files cannot be opened, or are of another version.
    """

    def __init__(self, folder: Path, header: Header, *, with_calls: bool) -> None:
        make_folder(folder)
        self.rows_path, self.calls_path = folder / "rows", folder / "calls"
        self.rows = AppendFile(self.rows_path)
        self.calls = AppendFile(self.calls_path) if with_calls else None
        self._file = AppendFile(folder / "journal")
        self.header, self.checkpoint = header, Checkpoint()
        self.completed: msgspec.Raw | None = None
        self._running: asyncio.Task[None] | None = None
        self._committed = 0
        try:
            sync_folder(folder)
            self._recover(folder / "journal")
        except BaseException:
            self.close()
            raise

    def _recover(self, path: Path) -> None:
        records, good = _read(path)
        self._file.cut(good)
        match records:
            case [Header() as header, *rest]:
                if header.version != VERSION:
                    raise ExportError("the unfinished export is of another version of this package")
            case _:
                self._file.cut(0)
                self._file.append(_line(self.header))
                self._file.sync()
                header, rest = self.header, []
        self.header = header
        checkpoints = [record for record in rest if isinstance(record, Checkpoint)]
        checkpoint = checkpoints[-1] if checkpoints else Checkpoint()
        # A disk that lied about durability: what is missing is fetched again.
        if self.rows.size < checkpoint.rows or (self.calls is not None and self.calls.size < checkpoint.calls):
            checkpoint = Checkpoint()
        self._set(checkpoint)
        self.completed = finished(path)

    def _set(self, checkpoint: Checkpoint) -> None:
        self.rows.cut(checkpoint.rows)
        if self.calls is not None:
            self.calls.cut(checkpoint.calls)
        self.checkpoint, self._committed = checkpoint, checkpoint.rows

    @property
    def pending(self) -> int:
        """Bytes appended since the last checkpoint."""
        return self.rows.size - self._committed

    def append(self, items: Sequence[bytes | msgspec.Raw], calls: Sequence[bytes | msgspec.Raw]) -> None:
        """Append records and provider calls; they count from the next checkpoint on."""
        if items:
            self.rows.append(_lines(items))
        if calls and self.calls is not None:
            self.calls.append(_lines(calls))

    def here(self, records: int) -> tuple[int, int, int]:
        """Return the place behind all that was appended, as a beginning of a list."""
        return self.rows.size, self.calls.size if self.calls is not None else 0, records

    def move(self, **changes: Any) -> None:
        """Say how far the list has come, with all that was appended; `commit` makes it last."""
        rows, calls, _ = self.here(0)
        self.checkpoint = msgspec.structs.replace(self.checkpoint, rows=rows, calls=calls, **changes)

    async def commit(self, *, wait: bool = True) -> None:
        """Make the rows durable, then the checkpoint that follows them.

        Args:
            wait: Return when it is done. False: it goes on beside the next pages, and the next commit waits for it.
        """
        await self._settle()
        self._committed = self.checkpoint.rows
        self._running = asyncio.create_task(asyncio.to_thread(self._make_durable, self.checkpoint))
        if wait:
            await self._settle()

    async def _settle(self) -> None:
        running = self._running
        if running is not None:
            await asyncio.wait([running])  # a cancellation of this does not reach the thread that writes
            self._running = None
            running.result()

    def _make_durable(self, checkpoint: Checkpoint | Completed) -> None:
        self.rows.sync()
        if self.calls is not None:
            self.calls.sync()
        self._file.append(_line(checkpoint))
        self._file.sync()

    async def restart(self) -> None:
        """Go back to the beginning of the list that the cursor belongs to."""
        await self._settle()
        rows, calls, records = self.checkpoint.since
        checkpoint = msgspec.structs.replace(self.checkpoint, rows=rows, calls=calls, records=records, cursor=None)
        # The checkpoint first: were the rows cut first, a crash between would leave one beyond the end.
        await asyncio.to_thread(self._make_durable, checkpoint)
        self._set(checkpoint)

    def finish(self, entry: msgspec.Raw) -> None:
        """Note that the list has been written."""
        self._make_durable(Completed(entry))
        self.completed = entry

    async def aclose(self) -> None:
        """Let what is under way end, then close the files."""
        with contextlib.suppress(ExportError):
            await self._settle()
        self.close()

    def close(self) -> None:
        """Close the files."""
        for file in (self.rows, self.calls, self._file):
            if file is not None:
                file.close()
