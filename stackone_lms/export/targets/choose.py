"""From the text of a target to the target."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final, Unpack
from urllib.parse import unquote, urlsplit

from ...errors import ExportError, InvalidArgumentError
from ..formats.registry import formats
from ..state import manifest
from ..stores.address import DIRECT, StoreAccess, is_store, parse_address
from ..stores.names import refuse_unknown_to_deltalake
from .base import Target
from .database import Database
from .delta import Delta, DeltaOptions
from .duckdb import DuckDB
from .folder import Folder
from .sqlite import SQLite
from .store import Store

DATABASES: Final = ("duckdb", "sqlite")
DELTA: Final = "delta"
ALLOWED: Final = (
    "a folder, s3:// gs:// or az:// with bucket and prefix, duckdb:FILE, sqlite:FILE or delta:FOLDER_OR_URL"
)
STORES: Final = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss")
"""Schemes of the URLs that deltalake knows."""
_UNREAD = re.compile(r"%[0-9A-Fa-f]{2}|[#?\x00-\x1f\x7f]" + ("" if os.name == "nt" else r"|\\"))
"""What deltalake 1.6 takes for something else where it reads the log of a table."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def make_target(
    target: str | os.PathLike[str], form: str, access: StoreAccess = DIRECT, *, change_feed: bool = False
) -> Target:
    """Return where an export goes: a folder (also `file://` and `~`), a store, a database, or `delta:PLACE`.

    Args:
        target: Which.
        form: The form of files; a database has none.
        access: How a store is reached.
        change_feed: Whether Delta tables get a change data feed.

    Raises:
        InvalidArgumentError: It is none of these, or no form of files.
    """
    if not isinstance(target, str | os.PathLike):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgumentError(f"target must be {ALLOWED}, not {target!r:.60}")
    text = os.fspath(target)
    kind, colon, file = text.partition(":")
    if colon and kind in DATABASES:
        made: Target = database(kind, _file(kind, file))
    elif colon and kind == DELTA:
        return delta(file, store_options=access.options, work=access.work, change_feed=change_feed)
    elif is_store(text):
        made = Store(parse_address(text), access, form)
    else:
        made = Folder(_path(text), form)
    if change_feed:
        raise InvalidArgumentError("change_feed is for Delta tables, such as delta:lake")
    return made


def find_target(target: str | os.PathLike[str], access: StoreAccess = DIRECT) -> Target:
    """Return a target that was exported to; files in the form that its manifest tells.

    Raises:
        InvalidArgumentError: It cannot be a target.
        ExportError: The manifest cannot be read, or stands beside a database.
    """
    made = make_target(target, "parquet", access)
    if not isinstance(made, Folder):
        return made
    if made.remote:
        made.check_access()
    found = manifest.read(made.files)
    if found is None:
        return made
    if found.format == DELTA:
        return Delta(made.files.root)
    if found.format in DATABASES:
        raise ExportError(f"this stands beside a database: name that, as {found.format}:FILE")
    if found.format not in formats():
        raise ExportError(f"format {found.format!r:.40} is unknown to this version")
    return made.in_form(found.format) if isinstance(made, Store) else Folder(made.files.root, found.format)


def database(kind: str, file: Path) -> Database:
    """Return the target for `duckdb:FILE` or `sqlite:FILE`."""
    return DuckDB(file) if kind == "duckdb" else SQLite(file)


def delta(place: str, **options: Unpack[DeltaOptions]) -> Delta:
    """Return the target for `delta:FOLDER` or `delta:URL`.

    Raises:
        InvalidArgumentError: It is neither.
    """
    match = _SCHEME.match(place)
    if match is None or match[1].lower() == "file":
        if not place.strip():
            raise InvalidArgumentError("delta: needs a folder or a URL, such as delta:lake or delta:s3://bucket/lake")
        path = _path(place)
        if strange := _UNREAD.search(str(path.absolute())):
            raise InvalidArgumentError(
                f"delta: takes no folder with {strange[0]!r} in its path: the tables would be looked for elsewhere"
            )
        return Delta(path, **options)
    url = urlsplit(place)
    if match[1].lower() not in STORES or not url.netloc:
        raise InvalidArgumentError(f"{match[0]} is no store of Delta tables: there are {', '.join(STORES)}")
    if url.query or url.fragment or ("@" in url.netloc and match[1].lower() not in ("abfs", "abfss")):
        raise InvalidArgumentError(
            "a URL must not hold credentials or options: they go into the environment, or store_options"
        )
    if strange := _UNREAD.search(url.path):
        plain = unquote(strange[0])
        advice = "" if _UNREAD.search(plain) else f"; write {plain!r}, as the store has it"
        raise InvalidArgumentError(
            f"delta: takes no URL with {strange[0]!r} in its path: the tables would be looked for elsewhere{advice}"
        )
    refuse_unknown_to_deltalake(options.get("store_options") or {}, match[1].lower())
    return Delta(place, **options)


def _file(kind: str, file: str) -> Path:
    # `md:` is a server, and a database in memory ends with the process: neither is a file to go on with.
    inner, colon, _ = file.partition(":")
    if not file or (colon and len(inner) != 1):
        raise InvalidArgumentError(f"{kind}: needs a file, such as {kind}:lms.db, not {f'{kind}:{file}'!r:.60}")
    return _path(file)


def _path(text: str) -> Path:
    """Return a path, with `~` and `file://` as they are meant."""
    if text.lower().startswith("file://"):
        url = urlsplit(text)
        if url.netloc not in ("", "localhost") or not url.path.strip("/"):
            raise InvalidArgumentError(f"{text!r:.80} must be file:///FOLDER, on this machine")
        text = unquote(url.path)
    elif match := _SCHEME.match(text):
        raise InvalidArgumentError(
            f"{match[0]} is no target: export to {ALLOWED}, and copy it from there with the tools of that store"
        )
    if not text.strip() or "\0" in text:
        raise InvalidArgumentError(f"target must be {ALLOWED}, not {text!r:.60}")
    try:
        return Path(text).expanduser()
    except RuntimeError:  # no such user
        raise InvalidArgumentError(f"there is no home folder for {text!r:.60}") from None
