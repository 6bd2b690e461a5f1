"""The memory of one list: rows as they came, and checkpoints that say how far they are safe.

Rows are appended to a spool, one record a line. A checkpoint is appended to the journal once the rows before it are
durable: it holds the cursor that follows them. After a crash everything behind the last good checkpoint is cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from ...errors import ExportError
from ...threads import run_in_kept_thread
from .storage import AppendFile, sync_folder, unshare, wrap_os_errors

VERSION: Final = 2
COMMIT_BYTES: Final = 16 * 1024 * 1024


class Header(msgspec.Struct, frozen=True, tag_field="line", tag="header"):
    """What the list is asked for: fixed once begun, so that cursors keep their meaning."""

    version: int
    query: dict[str, Any]
    """Keywords of every page."""
    started: str
    """When it was begun, as the API writes moments."""
    merge: bool
    """Whether what comes is merged with what is there."""
    run: str = ""
    """The run that began it."""
    parameters: dict[str, Any] = {}
    """What was asked for, by the names of the options; with others it is begun anew."""
    base: str | None = None
    """When what the target holds of it was put there; where that is another now, it is begun anew."""
    whole_users: list[str] = []
    """Of lists of users, with changes only: those who could not be read before, and are read whole."""


class Skipped(msgspec.Struct, frozen=True, tag_field="line", tag="skipped"):
    """Of lists of users: a user whose list cannot be read."""

    user: str
    type: str
    """Class of the error."""
    message: str
    status: int | None = None
    request_id: str | None = None


class Checkpoint(msgspec.Struct, frozen=True, tag_field="line", tag="checkpoint", omit_defaults=True):
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
    as_of: str | None = None
    """When the first page was answered, by the server's clock."""
    replaced: int = 0
    """Records in which half of a surrogate pair was replaced."""
    ended: bool = False
    """Whether that was all."""


_decode = msgspec.json.Decoder(Header | Checkpoint | Skipped).decode


def lines_of(items: Sequence[bytes | msgspec.Raw]) -> bytes:
    """Join JSON values, one a line, byte by byte as they came."""
    text = b"".join(items)
    if b"\n" not in text and b"\r" not in text:
        return b"\n".join(items) + b"\n"
    # Line breaks stand between tokens only: inside strings JSON escapes them.
    return b"".join(bytes(item).replace(b"\n", b" ").replace(b"\r", b" ") + b"\n" for item in items)


def checked_line(body: bytes) -> bytes:
    """Return a line that tells by itself whether it is whole."""
    return b"%08x %b\n" % (zlib.crc32(body), body)


def checked_bodies(data: bytes) -> tuple[list[bytes], int]:
    """Return what the good lines at the beginning of a file hold, and how many bytes they are."""
    bodies: list[bytes] = []
    good = 0
    for line in data.splitlines(keepends=True):
        body = line[9:-1]
        try:
            if not line.endswith(b"\n") or int(line[:8], 16) != zlib.crc32(body):
                break
        except ValueError:
            break
        bodies.append(body)
        good += len(line)
    return bodies, good


class Journal:
    """The spools and the journal of one list.

    Nothing is durable before the first `commit`: a list that ends sooner needs none.

    Args:
        folder: Where they are kept; made if it is not there, in a folder that is.
        header: What the list is asked for.
        with_calls: Whether provider calls are spooled too.
        resume: Told what a list was asked for that an earlier process left there; whether to go on with it.

    Attributes:
        header: What the list is asked for: what it was begun with, if it goes on.
        checkpoint: How far the list is appended; at first, how far it was safe.
        skipped: Of lists of users: those that could not be read.
        rows: The spool of records.
        calls: The spool of provider calls.

    Raises:
        ExportError: The files cannot be opened.
    """

    def __init__(
        self, folder: Path, header: Header, *, with_calls: bool, resume: Callable[[Header], bool] = lambda _: False
    ) -> None:
        self.folder, self.header, self.checkpoint = folder, header, Checkpoint()
        self.rows_path, self.calls_path, self.users_path = folder / "rows", folder / "calls", folder / "users"
        self.skipped: list[Skipped] = []
        path = folder / "journal"
        found = _read(path)
        match found:
            case [Header() as begun, *_] if begun.version == VERSION and resume(begun):
                self.header = begun
                for spool in (self.rows_path, self.calls_path):
                    unshare(spool)  # what was put in its place already is not cut back
            case _:
                found = []
                self._remove(path)
        self._durable = bool(found)
        self._open: list[AppendFile] = []
        try:
            self._file = self._opened(path)
            self.rows = self._opened(self.rows_path)
            self.calls = self._opened(self.calls_path) if with_calls else None
            self._recover(found)
        except BaseException:
            self.close()
            raise
        self._running: asyncio.Future[None] | None = None
        self._committed = self.checkpoint.rows
        self._noted = len(self.skipped)

    def _opened(self, path: Path) -> AppendFile:
        file = AppendFile(path)
        self._open.append(file)
        return file

    def _remove(self, path: Path) -> None:
        # Removed, not cut: files that a power loss brings back are those of one list, all of them.
        with wrap_os_errors("making room for a list"):
            self.folder.mkdir(mode=0o700, exist_ok=True)
            for old in (path, self.rows_path, self.calls_path, self.users_path):
                old.unlink(missing_ok=True)

    def _recover(self, records: list[Header | Checkpoint | Skipped]) -> None:
        if not records:
            self._file.append(_line(self.header))
            return
        last = max((at for at, record in enumerate(records) if isinstance(record, Checkpoint)), default=0)
        found = records[last]
        checkpoint = found if isinstance(found, Checkpoint) else Checkpoint()
        # A disk that lied about durability: what is missing is fetched again.
        if self.rows.size < checkpoint.rows or (self.calls is not None and self.calls.size < checkpoint.calls):
            checkpoint, last = Checkpoint(), 0
        good = records[: last + 1]
        self._file.cut(sum(len(_line(record)) for record in good))
        self.skipped = [record for record in good if isinstance(record, Skipped)]
        self._set(checkpoint)

    def _set(self, checkpoint: Checkpoint) -> None:
        self.rows.cut(checkpoint.rows)
        if self.calls is not None:
            self.calls.cut(checkpoint.calls)
        self.checkpoint, self._committed = checkpoint, checkpoint.rows

    @property
    def pending(self) -> int:
        """Bytes appended since the last checkpoint."""
        return self.rows.size - self._committed

    @property
    def durable(self) -> bool:
        """Whether anything of it was made durable yet."""
        return self._durable

    def append(self, items: Sequence[bytes | msgspec.Raw], calls: Sequence[bytes | msgspec.Raw]) -> None:
        """Append records and provider calls; they count from the next checkpoint on."""
        if items:
            self.rows.append(lines_of(items))
        if calls and self.calls is not None:
            self.calls.append(lines_of(calls))

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
        records: list[Checkpoint | Skipped] = [*self.skipped[self._noted :], self.checkpoint]
        self._noted = len(self.skipped)
        self._running = run_in_kept_thread(partial(self._make_durable, records))
        if wait:
            await self._settle()

    async def _settle(self) -> None:
        running = self._running
        if running is not None:
            await asyncio.wait([running])  # a cancellation of this does not reach the thread that writes
            self._running = None
            running.result()

    def _make_durable(self, records: Sequence[Checkpoint | Skipped]) -> None:
        self.rows.sync()
        if self.calls is not None:
            self.calls.sync()
        self._file.append(b"".join(map(_line, records)))
        self._file.sync()
        if not self._durable:
            sync_folder(self.folder)
            sync_folder(self.folder.parent)
            self._durable = True

    async def restart(self) -> None:
        """Go back to the beginning of the list that the cursor belongs to."""
        await self._settle()
        rows, calls, records = self.checkpoint.since
        checkpoint = msgspec.structs.replace(self.checkpoint, rows=rows, calls=calls, records=records, cursor=None)
        # The checkpoint first: were the rows cut first, a crash between would leave one beyond the end.
        await run_in_kept_thread(partial(self._make_durable, [checkpoint]))
        self._set(checkpoint)

    async def aclose(self) -> None:
        """Let what is under way end, then close the files."""
        with contextlib.suppress(ExportError):
            await self._settle()
        self.close()

    def close(self) -> None:
        """Close the files."""
        for file in self._open:
            file.close()


def _line(record: Header | Checkpoint | Skipped) -> bytes:
    return checked_line(msgspec.json.encode(record))


def _read(path: Path) -> list[Header | Checkpoint | Skipped]:
    """Return the good records at the beginning of a journal."""
    try:
        bodies, _ = checked_bodies(path.read_bytes())
    except FileNotFoundError:
        return []
    except OSError:
        with wrap_os_errors("reading the state of an interrupted export"):
            raise
    records: list[Header | Checkpoint | Skipped] = []
    for body in bodies:
        try:
            records.append(_decode(body))
        except (ValueError, msgspec.DecodeError):
            break
    return records
