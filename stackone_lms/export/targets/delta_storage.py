"""Where the files of a Delta table are: a folder of this machine, or a prefix in an object store."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from ..formats.base import DamagedError
from ..state.storage import make_folder, make_private, partial_of, replace, sync_file, sync_folder, wrap_os_errors

LOG = "_delta_log"


class Storage:
    """A folder of this machine.

    Attributes:
        uri: What deltalake calls it.
        options: What deltalake is told to reach it.
        shown: What to call it for people.
    """

    options: Mapping[str, str] | None = None

    def __init__(self, root: Path) -> None:
        self._root = root
        self.uri = self.shown = str(root)

    def make_folder(self) -> None:
        """Make it, for its owner only."""
        make_folder(self._root)

    def names(self) -> list[str]:
        """Return the names of all files there."""
        with wrap_os_errors("reading the folder of a table"):
            return [path.relative_to(self._root).as_posix() for path in self._root.rglob("*") if path.is_file()]

    def opener(self, name: str) -> Callable[[], Any]:
        """Return what gives something that pyarrow reads."""
        return partial(self.local, name, self._root)

    def local(self, name: str, work: Path) -> Path:
        """Return a file of this machine with the same bytes."""
        path = self._root / name
        if not path.is_file():
            raise DamagedError(f"{name} is gone")
        return path

    def put(self, draft: Path, name: str) -> None:
        """Put a durable file there; it is not where it was any more then."""
        replace(draft, self._root / name)

    def delete(self, names: Iterable[str]) -> None:
        """Delete files; those that are not there are no matter."""
        with wrap_os_errors("removing an old file"):
            for name in names:
                (self._root / name).unlink(missing_ok=True)

    def sync_log(self, version: int) -> None:
        """Make a commit durable, which deltalake does not."""
        log = self._root / LOG
        path = log / f"{version:020}.json"
        if path.exists():
            make_private(path)
            sync_file(path)
        sync_folder(log)


class RemoteStorage(Storage):
    """A prefix in an object store, through what deltalake reaches it with."""

    def __init__(self, uri: str, options: Mapping[str, str]) -> None:
        self.uri = self.shown = uri
        self.options = {**options}
        self._opened: Any = None

    @property
    def _handler(self) -> Any:
        if self._opened is None:
            self._opened = import_module("deltalake.fs").DeltaStorageHandler(self.uri, self.options)
        return self._opened

    @property
    def _files(self) -> Any:
        return import_module("pyarrow.fs").PyFileSystem(self._handler)

    def make_folder(self) -> None:
        """Do nothing: a store has no folders."""

    def names(self) -> list[str]:
        """Return the names of all files there."""
        fs = import_module("pyarrow.fs")
        with wrap_os_errors("listing the files of a table"):
            selector = fs.FileSelector("", recursive=True, allow_not_found=True)
            return [one.path for one in self._files.get_file_info(selector) if one.type == fs.FileType.File]

    def has(self, name: str) -> bool:
        """Tell whether there is a file of this name."""
        with wrap_os_errors("looking for other exports"):
            (found,) = self._files.get_file_info([name])
            return bool(found.type == import_module("pyarrow.fs").FileType.File)

    def opener(self, name: str) -> Callable[[], Any]:
        """Return what gives something that pyarrow reads."""
        return partial(self._files.open_input_file, name)

    def local(self, name: str, work: Path) -> Path:
        """Return a file of this machine with the same bytes."""
        path = work / f"remote-{name.replace('/', '+')}"
        if not path.exists():
            with wrap_os_errors("reading a file of a table"):
                draft = partial_of(path)
                with self._files.open_input_stream(name) as body, draft.open("wb") as file:
                    shutil.copyfileobj(body, file, 1 << 20)
                draft.replace(path)
        return path

    def put(self, draft: Path, name: str) -> None:
        """Put a file there."""
        with wrap_os_errors("putting a file in its place"):
            # Not through pyarrow's wrapper, which gives it buffers in place of bytes.
            with draft.open("rb") as body:
                file = (
                    import_module("deltalake._internal")
                    .DeltaFileSystemHandler(self.uri, self.options)
                    .open_output_stream(name)
                )
                while part := body.read(1 << 20):
                    file.write(part)
                file.close()
            draft.unlink()

    def delete(self, names: Iterable[str]) -> None:
        """Delete files; those that are not there are no matter."""
        with wrap_os_errors("removing an old file"):
            for name in names:
                with suppress(FileNotFoundError):
                    self._files.delete_file(name)

    def sync_log(self, version: int) -> None:
        """Do nothing: what a store has taken is durable."""
