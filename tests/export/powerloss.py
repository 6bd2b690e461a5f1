"""A disk that loses its power at a chosen moment, and keeps what was made durable, no more.

While it watches, every operation on the folder is counted. At the chosen one, and ever after, `PowerLoss` is raised.
`survivors` then writes down what a disk may show after such a moment at worst: files as they were at their last fsync,
folders with the names that they had at theirs.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_COUNTED = ("write", "fsync", "ftruncate", "replace", "rename", "link", "unlink", "rmdir", "mkdir")


class PowerLoss(BaseException):
    """The power is gone."""


class Disk:
    """Watches one folder.

    Args:
        root: The folder; what is in it now is durable.
        fails_at: Which operation does not happen any more, from 1 on; 0 for none.
    """

    def __init__(self, root: Path, fails_at: int) -> None:
        self.operations = 0
        self._root, self._fails_at = root, fails_at
        self._lock = threading.Lock()
        self._contents: dict[int, bytes] = {}
        self._folders: dict[int, dict[str, int]] = {}
        self._kinds: dict[int, bool] = {}
        self._held: list[int] = []
        self._fsync = os.fsync
        self._take_over(root)

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """Count what the program does from now on."""
        for name in _COUNTED:
            patch.setattr(os, name, self._counted(getattr(os, name)))

    def _counted(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            with self._lock:
                self.operations += 1
                if self._fails_at and self.operations >= self._fails_at:
                    raise PowerLoss
                if original is self._fsync:
                    self._note(arguments[0])
                return original(*arguments, **named) if original is not self._fsync else None

        return counted

    def _note(self, fd: int) -> None:
        found = os.fstat(fd)
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if stat.S_ISDIR(found.st_mode):
            self._folders[found.st_ino] = self._names(path)
        else:
            self._contents[found.st_ino] = self._hold(path)

    def _names(self, folder: Path) -> dict[str, int]:
        names: dict[str, int] = {}
        for entry in os.scandir(folder):
            names[entry.name] = entry.inode()
            self._kinds[entry.inode()] = entry.is_dir()
            if not entry.is_dir():
                self._hold(Path(entry.path))
        return names

    def _hold(self, path: Path) -> bytes:
        # An open file keeps its number, so that no other file gets it.
        fd = os.open(path, os.O_RDONLY)
        self._held.append(fd)
        return os.pread(fd, os.fstat(fd).st_size, 0)

    def _take_over(self, folder: Path) -> None:
        self._folders[folder.stat().st_ino] = self._names(folder)
        for path in folder.iterdir():
            if path.is_dir():
                self._take_over(path)
            else:
                self._contents[path.stat().st_ino] = path.read_bytes()

    def survivors(self, root: Path) -> None:
        """Write what is left to another folder."""
        self._restore(self._root.stat().st_ino, root)
        for fd in self._held:
            os.close(fd)

    def _restore(self, number: int, folder: Path) -> None:
        folder.mkdir()
        for name, inner in self._folders.get(number, {}).items():
            if self._kinds[inner]:
                self._restore(inner, folder / name)
            else:
                (folder / name).write_bytes(self._contents.get(inner, b""))
