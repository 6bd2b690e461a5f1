"""The manifest: what a target holds, from when, and how to check it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from ...errors import ExportError
from ...models.base import to_wire
from .files import Files

NAME = "_manifest.json"
"""Readers of data sets leave out names that begin with an underscore."""
VERSION = 1
RUN = "run.json"
"""Stands there while a run is not finished."""


class FileEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the data set."""

    path: str
    """Where it is, from the folder of the manifest on."""
    bytes: int
    """Its size."""
    records: int
    """How many records it holds."""
    sha256: str
    """Its checksum, in hexadecimal."""


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """Why a list could not be exported to its end."""

    type: str
    """Class of the error."""
    message: str
    """What happened."""
    status: int | None = None
    """HTTP status of the last answer."""
    request_id: str | None = None
    """StackOne's id of the last request."""


class SkippedUser(Failed, frozen=True, kw_only=True):
    """A user whose list could not be read, and why."""

    user: str
    """Id of the user."""


class ListEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One resource of one account."""

    resource: str
    """As on a client: `completions`, `users.completions`."""
    account_id: str
    """The linked account."""
    account_name: str | None = None
    """What it was called when it was exported last with a name."""
    records: int = 0
    """How many records there are now."""
    new: int = 0
    """How many of them the last run added."""
    changed: int = 0
    """How many of them the last run changed."""
    fetched: int = 0
    """How many records came in the last run, duplicates and records that are not new included."""
    superseded: int = 0
    """How many of those, and of those there before, were superseded by a later version of the same record."""
    missing_users: int = 0
    """Users that were deleted between the listing of the users and the reading of their lists."""
    replaced: int = 0
    """Records in which half of a character stood, cut within an emoji; there is U+FFFD now, in an id its escape."""
    oldest_update: str | None = None
    """The first `updated_at` among the records."""
    newest_update: str | None = None
    """The last one."""
    high_water: str | None = None
    """Up to where changes are known: the next incremental run asks for what changed after, less the overlap."""
    undated: int = 0
    """How many records do not tell when they were changed: an incremental run cannot see that they were."""
    incremental: bool = False
    """Whether the last run fetched changes only."""
    full: str | None = None
    """When the last run that fetched all of it began."""
    parameters: dict[str, Any] = {}
    """What the records were asked for with: `fields`, `raw`, `since`, `page_size`."""
    run: str | None = None
    """The run that put it in its place."""
    asked: dict[str, Any] = {}
    """What the last run was asked for."""
    started: str | None = None
    """When the run began to fetch it that put it in its place."""
    finished: str | None = None
    """When it was put in its place."""
    skipped_users: list[SkippedUser] = []
    """Of lists of users: those whose list could not be read; their records are missing."""
    files: list[FileEntry] = []
    """Its files; none in a database."""
    tried: str | None = None
    """When it was asked for last, whether or not that reached its end."""
    error: Failed | None = None
    """Why the last run did not reach its end; what is listed above is from before."""

    @property
    def key(self) -> tuple[str, str]:
        """Resource and account."""
        return self.resource, self.account_id

    @property
    def dropped(self) -> int:
        """Former name of `superseded`; it goes in the next release."""
        return self.superseded

    @property
    def gone_users(self) -> int:
        """Former name of `missing_users`; it goes in the next release."""
        return self.missing_users


class Manifest(msgspec.Struct, kw_only=True):
    """What a target holds."""

    version: int = VERSION
    """Version of this form."""
    sdk: str
    """Version of the package that wrote it."""
    format: str
    """`parquet`, `jsonl`, `csv`, `duckdb` or `sqlite`."""
    complete: bool = False
    """Whether the last run reached the end of all its lists."""
    started: str | None = None
    """When the last run began; of each list by itself see its own."""
    finished: str | None = None
    """When it ended."""
    parameters: dict[str, Any] = {}
    """What the last run was asked for."""
    lists: list[ListEntry] = []
    """Everything that the target holds."""

    def find(self, resource: str, account: str) -> ListEntry | None:
        """Return what is known about a list."""
        return next((entry for entry in self.lists if entry.key == (resource, account)), None)


def read(files: Files) -> Manifest | None:
    """Return the manifest of a target, None if there is none.

    Raises:
        ExportError: It cannot be read, or is of another version.
    """
    try:
        data = files.read(NAME)
        if data is None:
            return None
        found = msgspec.json.decode(data, type=Manifest)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        raise ExportError(f"{NAME} cannot be read; it was not written by an export") from None
    if found.version != VERSION:
        raise ExportError(f"{NAME} is of version {found.version}, and this package knows version {VERSION}")
    return found


def write(files: Files, manifest: Manifest) -> None:
    """Put a manifest in its place, durably."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    files.write_manifest(NAME, text + b"\n", {file.path for entry in manifest.lists for file in entry.files})


def moment(value: datetime | None) -> str | None:
    """Write a moment as the API does."""
    return None if value is None else to_wire(value)


def parsed(text: str | None) -> datetime | None:
    """Read a moment of a manifest."""
    return None if text is None else datetime.fromisoformat(text)
