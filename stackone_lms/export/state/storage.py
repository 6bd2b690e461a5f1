"""Files that survive a crash: whole writes, explicit durability, atomic replacement, one writer at a time.

Every OSError leaves here as an ExportError that names no path, since paths hold account ids.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Final

from ...errors import ExportError

_BINARY = getattr(os, "O_BINARY", 0)
_HELD: Final = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}
"""What a lock that somebody else holds is answered with; the two last on Windows."""
_UNSUPPORTED: Final = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


@contextlib.contextmanager
def wrap_os_errors(what: str) -> Generator[None]:
    """Turn an OSError into an ExportError that tells `what` was being done."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ExportError(
            f"{what} failed: {reason}; what was exported so far is kept: correct that, and the same command continues "
            "from there"
        ) from None


class AppendFile:
    """A file that only grows at its end, or is cut back.

    Args:
        path: The file; made if it is not there, readable by its owner only.

    Attributes:
        size: Bytes written so far.
    """

    def __init__(self, path: Path) -> None:
        with wrap_os_errors("opening a file of the export"):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | _BINARY, 0o600)
            self.size = os.fstat(self._fd).st_size
        self._broken = False

    def append(self, data: bytes) -> None:
        """Write all of `data`; a short write goes on, and fails where the next one does."""
        with wrap_os_errors("writing"):
            view = memoryview(data)
            while view:
                written = os.write(self._fd, view)
                self.size += written
                view = view[written:]

    def sync(self) -> None:
        """Make everything written so far durable. After a failure the file takes no more: what is lost is unknown."""
        if self._broken:
            raise ExportError("an earlier write was not made durable; start the same command again")
        self._broken = True
        with wrap_os_errors("making rows durable"):
            os.fsync(self._fd)
        self._broken = False

    def cut(self, size: int) -> None:
        """Drop everything after the first `size` bytes."""
        if size < self.size:
            with wrap_os_errors("cutting a file back"):
                os.ftruncate(self._fd, size)
            self.size = size

    def close(self) -> None:
        """Close the file; what was not made durable was not needed."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)


class AtomicFile:
    """A new file with its checksum, made under a name of its own until it is whole; to writers a plain file.

    Args:
        path: Where it is written meanwhile, on the same file system as its final place.
    """

    closed = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._sum = hashlib.sha256()
        self._lost = False
        with wrap_os_errors("opening a file of the export"):
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _BINARY, 0o600)

    def write(self, data: bytes) -> int:
        """Write all of `data`. Once that failed, the draft is lost, and takes what else may come without a word."""
        if self._lost:
            return len(data)  # the writer of Parquet flushes once more when it is torn down
        self._lost = True
        with wrap_os_errors("writing"):
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
        self._lost = False
        self._sum.update(data)
        self.size += len(data)
        return len(data)

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self.size

    def flush(self) -> None:
        """Do nothing: nothing is buffered here."""

    def close(self) -> None:
        """Do nothing: `commit` and `discard` end a draft."""

    @property
    def sha256(self) -> str:
        """Checksum of what was written, in hexadecimal."""
        return self._sum.hexdigest()

    def commit(self, *, named: bool = True) -> None:
        """Make it durable, and its name too if it is `named`; nothing more can be written."""
        if self._lost:
            raise ExportError("a file was not written to its end; start the same command again")
        with wrap_os_errors("finishing a file"):
            os.fsync(self._fd)
            fd, self._fd = self._fd, -1
            os.close(fd)
        if named:
            sync_folder(self.path.parent)

    def discard(self) -> None:
        """Give up; the space is free again."""
        self._lost = True
        fd, self._fd = self._fd, -1
        with contextlib.suppress(OSError):
            if fd >= 0:
                os.close(fd)
            self.path.unlink()


def replace(draft: Path, final: Path) -> None:
    """Put a durable file in the place of another, durably."""
    make_folder(final.parent)
    with wrap_os_errors("putting a file in its place"):
        draft.replace(final)
    # Of the folder of the draft it does not matter whether it still has the name: it would be replaced once more.
    sync_folder(final.parent)


def link(source: Path, draft: Path, *, named: bool = True) -> bool:
    """Make a file durable, and give it a second name, durable too if it is `named`; tell whether the system can."""
    sync_file(source)
    try:
        draft.unlink(missing_ok=True)
        os.link(source, draft)
    except OSError:
        return False
    if named:
        sync_folder(draft.parent)
    return True


def unshare(path: Path) -> None:
    """Copy a file that has a second name, so that changing it changes nothing else; durably."""
    with wrap_os_errors("reading the state of an interrupted export"):
        if not path.exists() or path.stat().st_nlink == 1:
            return
        copy = path.with_name(f"{path.name}.copy")
        shutil.copyfile(path, copy)
        make_private(copy)
        sync_file(copy)
        copy.replace(path)
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Make what a file holds durable."""
    with wrap_os_errors("making rows durable"):
        fd = os.open(path, os.O_RDWR | _BINARY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def write_whole(path: Path, data: bytes) -> None:
    """Replace a small file, whole and durably."""
    make_folder(path.parent)
    draft = AtomicFile(partial_of(path))
    try:
        draft.write(data)
        draft.commit()
    except BaseException:
        draft.discard()
        raise
    replace(draft.path, path)


def partial_of(path: Path) -> Path:
    """Return where a small file is written before it takes its place."""
    return path.with_name(path.name + ".partial")


def make_folder(path: Path) -> None:
    """Make a folder and those above it, durably, for their owner only."""
    missing: list[Path] = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        with wrap_os_errors(f"making the folder {folder}"):
            folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable, where the system can."""
    if sys.platform == "win32":
        return
    with wrap_os_errors("making a folder durable"):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        except OSError as error:
            # Some file systems cannot do that to a folder, and say so; PostgreSQL passes over the same two.
            if error.errno not in (errno.EBADF, errno.EINVAL):
                raise
        finally:
            os.close(fd)


def make_private(path: Path) -> None:
    """Let a file be its owner's only, where the file system knows of that."""
    with wrap_os_errors("making a file its owner's only"):
        try:
            path.chmod(0o600)
        except OSError as error:
            if error.errno not in (errno.EPERM, *_UNSUPPORTED):
                raise


def checksum(path: Path) -> tuple[str, int]:
    """Return the sha256 of a file in hexadecimal, and its size."""
    with wrap_os_errors("reading what was exported"), path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        return found, file.tell()


@contextlib.contextmanager
def locked(path: Path) -> Generator[None]:
    """Hold the lock of a target; it ends with the process, however that ends.

    A file system that has no locks, as some network ones, keeps nobody out.

    Raises:
        ExportError: Another process, or another export of this one, holds it.
    """
    made = not path.parent.exists()
    fd = _hold(path)
    try:
        yield
    except BaseException:
        if made and [*path.parent.iterdir()] == [path]:  # nothing was begun
            with contextlib.suppress(OSError):
                path.unlink()
                path.parent.rmdir()
        raise
    finally:
        os.close(fd)


def _hold(path: Path) -> int:
    """Make the file if it is not there, and lock it."""
    while True:
        make_folder(path.parent)
        with wrap_os_errors("opening the lock"):
            fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            with wrap_os_errors("locking the target"):
                if not _lock(fd):
                    raise ExportError("another export is writing to this target")
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(fd), path.stat()):
                        return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # who held it until now took the file away, and the next one to come would make another


def _lock(fd: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt  # noqa: PLC0415 (only there)

            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl  # noqa: PLC0415 (not on Windows)

            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        if error.errno not in _UNSUPPORTED:
            raise
    return True
