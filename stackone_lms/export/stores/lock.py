"""One writer for a target in a store, over all machines: an object that only one can make.

Its id is noted in the work folder first, so that the same work folder goes on after a crash, and no other.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from ...errors import ExportError, printable
from ...models.base import to_wire
from ..state.storage import write_whole
from .objects import Objects, Version, VersionConflictError

LOCK: Final = "_export.lock"
NOTE: Final = "store.json"
"""In the work folder: whose journals these are."""
_PROBE: Final = "_export.probe"


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """What the lock says of an export that writes to the target, or was broken off."""

    id: str
    """What tells it from all others."""
    since: str
    """When it took the lock, by its own clock."""
    host: str = ""
    process: int = 0
    deletes: list[str] = []
    """Files that it deletes, unless the manifest names them: those that only the manifest before named."""
    after_broken: bool = False
    """Whether it took the place of one that was broken off, of which nobody knows what it had written."""

    def __str__(self) -> str:
        return f"begun {printable(self.since, 40)} on {printable(self.host, 80)}, process {self.process}"


class _Note(msgspec.Struct, frozen=True):
    """Whose journals are in a work folder."""

    url: str
    id: str
    """That of the lock; empty once it was given back."""


def work_of_another(url: str) -> ExportError:
    """Say that a work folder is that of another target."""
    return ExportError(f"the work folder holds the journals of {url}: give each target a work folder of its own")


class StoreLock:
    """The lock of a target in a store.

    Args:
        objects: Those of the target.
        work: The folder of the journals.
        forget_work: Removes what an earlier export left there: somebody else has gone on since.
    """

    def __init__(self, objects: Objects, work: Path, forget_work: Callable[[], None]) -> None:
        self._objects, self._work, self._forget_work = objects, work, forget_work
        self._version: Version | None = None
        self._holder: Holder | None = None

    @property
    def held(self) -> Holder:
        """What it says while it is ours."""
        if self._holder is None:
            raise ExportError("the lock of the target is not held")
        return self._holder

    def holder(self) -> Holder | None:
        """Return who has it."""
        found = self._read()
        return None if found is None else found[0]

    def acquire(self, *, break_lock: bool) -> None:
        """Take it, or go on with it as the export that was broken off in this work folder.

        Raises:
            ExportError: Somebody else has it, or the work folder is that of another target.
        """
        note, found = self._noted(), self._read()
        if found is not None and note is not None and found[0].id == note.id != "":
            self._holder, self._version = found
            self._objects.delete([_PROBE])
            return
        if found is not None and not break_lock:
            raise self._refusal(found[0])
        if note is not None and note.id:
            # Ours was broken: what we had begun is not what the target holds any more.
            self._forget_work()
        mine = Holder(
            id=uuid.uuid4().hex,
            since=to_wire(datetime.now(UTC)),
            host=socket.gethostname(),
            process=os.getpid(),
            deletes=[] if found is None else found[0].deletes,
            after_broken=found is not None,
        )
        self._note(mine.id)
        try:
            self._write(mine, None if found is None else found[1])
        except VersionConflictError:
            other = self._read()
            if other is None:
                raise ExportError("another export has just written to this target: try again") from None
            raise self._refusal(other[0]) from None
        self._try_permissions()

    def _try_permissions(self) -> None:
        """Raise ExportError unless a second one would be refused, and the end of this one will be let delete."""
        try:
            self._objects.put(LOCK, b"{}", None)
        except VersionConflictError:
            self._objects.delete([_PROBE])
            return
        self._objects.delete([LOCK])
        raise ExportError(
            f"{self._objects.address} cannot be used: the store writes objects over that should not be there yet, so "
            "that nothing keeps two exports apart; it needs conditional writes (If-None-Match)"
        )

    def check(self) -> None:
        """Raise ExportError if it is not ours any more."""
        if self._objects.version(LOCK) != self._version:
            raise self._lost()

    def note_deletes(self, names: Collection[str]) -> None:
        """Let it say which files go once the next manifest is there, for whoever goes on."""
        self._rewrite(msgspec.structs.replace(self.held, deletes=sorted(names)))

    def _rewrite(self, holder: Holder) -> None:
        try:
            self._write(holder, self._version)
        except VersionConflictError:
            raise self._lost() from None

    def _write(self, holder: Holder, over: Version | None) -> None:
        self._version = self._objects.put(LOCK, msgspec.json.encode(holder), over)
        self._holder = holder

    def release(self) -> None:
        """Give it back, if it is ours."""
        if self._holder is not None and self._objects.version(LOCK) == self._version:
            self._objects.delete([LOCK])
            self._note("")
        self._holder = self._version = None

    def _note(self, id: str) -> None:
        write_whole(self._work / NOTE, msgspec.json.encode(_Note(str(self._objects.address), id)))

    def _read(self) -> tuple[Holder, Version] | None:
        found = self._objects.get(LOCK)
        if found is None:
            return None
        try:
            return msgspec.json.decode(found[0], type=Holder), found[1]
        except (msgspec.DecodeError, UnicodeDecodeError):
            return Holder(id="", since="at an unknown time", host="an unknown machine"), found[1]

    def _noted(self) -> _Note | None:
        try:
            found = msgspec.json.decode((self._work / NOTE).read_bytes(), type=_Note)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        if found.url != str(self._objects.address):
            raise work_of_another(found.url)
        return found

    def _refusal(self, holder: Holder) -> ExportError:
        return ExportError(
            f"another export is writing to {self._objects.address}, {holder}: if it was broken off, the same command "
            "goes on in the work folder that it had; where that is lost, give --break-lock (break_lock=True)"
        )

    def _lost(self) -> ExportError:
        other = self.holder()
        who = "it was removed" if other is None else f"by an export {other}"
        return ExportError(
            f"the lock of {self._objects.address} was broken, {who}: this export stops, and leaves the rest to that"
        )
