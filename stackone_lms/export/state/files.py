"""The files of a target by their names: whatever reads or writes them goes through here."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from .storage import replace, wrap_os_errors, write_whole

WORK = ".export"
"""The folder of the journals, beside the manifest."""


class Files:
    """The files in a folder, by their names: paths relative to it, with `/`.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def size(self, name: str) -> int | None:
        """Return how many bytes a file has, None if it is not there."""
        path = self.root / name
        return path.stat().st_size if path.is_file() else None

    def names(self) -> Iterator[str]:
        """Yield the names of all files, but for the journals."""
        for path in self.root.rglob("*"):
            name = path.relative_to(self.root)
            if WORK not in name.parts and path.is_file():
                yield name.as_posix()

    def read(self, name: str) -> bytes | None:
        """Return what is in a small file, None if it is not there.

        Raises:
            OSError: It cannot be read.
        """
        try:
            return (self.root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def opened(self, name: str) -> AbstractContextManager[Path]:
        """Give a path to read a file from, which is there."""
        return nullcontext(self.root / name)

    def put(self, draft: Path, name: str) -> None:
        """Let a durable file of this machine take the place of another, in one step and durably; it is moved."""
        replace(draft, self.root / name)

    def delete(self, name: str) -> None:
        """Delete a file, if it is there, before anything else that names it."""
        with wrap_os_errors("removing an old file"):
            (self.root / name).unlink(missing_ok=True)

    def write_manifest(self, name: str, data: bytes, kept: Collection[str]) -> None:
        """Replace the manifest, whole and durably.

        Args:
            name: Its name.
            data: What it says.
            kept: The files that it names.
        """
        write_whole(self.root / name, data)
