"""The files of a target as objects of a store."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Collection, Generator, Iterator
from pathlib import Path
from typing import Final

import msgspec

from ...errors import ExportError
from ..formats.base import DamagedError
from ..state.files import Files
from ..state.storage import wrap_os_errors
from .lock import StoreLock
from .objects import Objects, Version, VersionConflictError

_DATA: Final = re.compile(r"resource=[^/]+/account=[^/]+/part-0\.\w+")
"""What an export names its files."""


class _File(msgspec.Struct):
    path: str


class _List(msgspec.Struct):
    files: list[_File] = []


class _Manifest(msgspec.Struct):
    lists: list[_List] = []


_decode = msgspec.json.Decoder(_Manifest).decode


class ObjectFiles(Files):
    """Files in a store: each appears whole in its place, and none goes before the manifest that names it not.

    Args:
        objects: Those of the target.
        lock: Held by whoever writes.
        scratch: Where a file stands while it is read; None: in a temporary folder.
    """

    def __init__(self, objects: Objects, lock: StoreLock, scratch: Path | None) -> None:
        self._objects, self._lock, self._scratch = objects, lock, scratch
        self._sizes: dict[str, int] | None = None
        self._manifest: Version | None = None
        self._named: frozenset[str] = frozenset()

    def look(self) -> None:
        """List the files anew."""
        self._sizes = self._objects.list()

    def size(self, name: str) -> int | None:
        """Return how many bytes a file has, None if it is not there."""
        return self._listed().get(name)

    def names(self) -> Iterator[str]:
        """Yield the names of all files."""
        yield from self._listed()

    def _listed(self) -> dict[str, int]:
        if self._sizes is None:
            self.look()
        return self._sizes or {}

    def read(self, name: str) -> bytes | None:
        """Return what is in the manifest, None if it is not there."""
        found = self._objects.get(name)
        self._manifest, self._named = None, frozenset()
        if found is None:
            return None
        data, self._manifest = found
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):  # told by whoever reads it
            self._named = frozenset(file.path for entry in _decode(data).lists for file in entry.files)
        return data

    @contextlib.contextmanager
    def opened(self, name: str) -> Generator[Path]:
        """Give a path to read a file from: that of a copy, which is gone afterwards."""
        with contextlib.ExitStack() as stack:
            with wrap_os_errors("making room for a file to read"):
                folder = self._scratch or Path(stack.enter_context(tempfile.TemporaryDirectory()))
                copy = folder / f"{name.replace('/', '+')}.copy"
                stack.callback(copy.unlink, missing_ok=True)
            if not self._objects.fetch(name, copy, self.size(name) or 0):
                raise DamagedError(f"{name} is gone")
            yield copy

    def put(self, draft: Path, name: str) -> None:
        """Let a durable file of this machine take the place of an object, in one step; it is moved."""
        self._lock.check()
        size = draft.stat().st_size
        self._objects.put_file(draft, name)
        self._listed()[name] = size
        with wrap_os_errors("removing what is in the store now"):
            draft.unlink()

    def delete(self, name: str) -> None:
        """Do nothing yet: `write_manifest` deletes what the manifest does not name any more."""

    def erase(self, folders: Collection[str]) -> None:
        """Delete all files in folders of such names, at once."""
        self._lock.check()
        gone = [name for name in self._listed() if not {*name.split("/")}.isdisjoint(folders)]
        self._delete(gone)

    def _delete(self, names: Collection[str]) -> None:
        if names:
            self._objects.delete(sorted(names))
            for name in names:
                self._listed().pop(name, None)

    def write_manifest(self, name: str, data: bytes, kept: Collection[str]) -> None:
        """Replace the manifest if it is the one that was read, then delete the files that only that one named."""
        known = {*self._named, *self._lock.held.deletes}
        if self._lock.held.after_broken:
            known |= set(filter(_DATA.fullmatch, self._listed()))
        gone = known - set(kept)
        if gone:
            self._lock.note_deletes(gone)
        else:
            self._lock.check()  # lists that have not changed were written without a look at it
        try:
            self._manifest = self._objects.put(name, data, self._manifest)
        except VersionConflictError:
            raise ExportError(
                f"somebody else has written {name} meanwhile, past the lock: it stands as it is; start the same "
                "command again"
            ) from None
        self._named = frozenset(kept)
        self._delete(gone)
