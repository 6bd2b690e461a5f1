"""The state of the sandbox: records in tables, tables in accounts."""

import json
from collections.abc import Iterable
from random import Random
from typing import Any, cast
from urllib.parse import quote

from .identifiers import ProviderIds, stackone_id

Record = dict[str, Any]

TABLES = ("assignments", "categories", "collections", "completions", "content", "courses", "skills", "users")
"""What an account holds, named as in the API's paths."""

LEARNING_OBJECTS = {"content": "content", "courses": "course", "collections": "collection"}
"""The tables of what can be learned, with their `learning_object_type`."""


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def dumps(value: object) -> bytes:
    """Encode as the sandbox sends JSON: compact, UTF-8."""
    return _encode(value).encode()


def as_record(value: object) -> Record | None:
    """Return a value that is a JSON object, None if it is none."""
    return cast("Record", value) if isinstance(value, dict) else None


class Row:
    """A record with what is known about it besides.

    Attributes:
        record: The record as sent.
        updated: When it last changed, for `filter[updated_after]`: some records do not show it.
        owner: StackOne id of the user it belongs to, if it belongs to one.
    """

    __slots__ = ("_answer", "_json", "_native", "owner", "record", "updated")

    def __init__(self, record: Record, updated: str, owner: str | None = None) -> None:
        self.record = record
        self.updated = updated
        self.owner = owner
        self._json: bytes | None = None
        self._answer: bytes | None = None
        self._native: bytes | None = None

    @property
    def id(self) -> str:
        """StackOne id."""
        id: str = self.record["id"]
        return id

    @property
    def json(self) -> bytes:
        """The record encoded, once."""
        if self._json is None:
            self._json = dumps(self.record)
        return self._json

    @property
    def answer(self) -> bytes:
        """The body of a plain get, encoded once."""
        if self._answer is None:
            self._answer = b'{"data":' + self.json + b"}"
        return self._answer

    @property
    def native(self) -> bytes:
        """The record as its provider would have sent it, encoded once."""
        if self._native is None:
            self._native = dumps(_native(self.record))
        return self._native

    def replace(self, record: Record, updated: str) -> None:
        """Give the row another content."""
        self.record = record
        self.updated = updated
        self._json = self._answer = self._native = None


def _native(record: Record) -> Record:
    """Write a record in the provider's manner: its own names, words and ids (each comes after StackOne's)."""
    native: Record = {}
    for name, value in record.items():
        first, *rest = name.removeprefix("remote_").split("_")
        native[first + "".join(part.title() for part in rest)] = _own(value)
    return native


def _own(value: object) -> object:
    if isinstance(value, list):
        return [_own(item) for item in cast("list[object]", value)]
    record = as_record(value)
    if record is None:
        return value
    return record["source_value"] if "source_value" in record else _native(record)


class RecordTable:
    """Rows in the order in which they were added, found by StackOne id, provider id or reference."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self._ids: dict[str, str] = {}
        self._references: dict[str, str] = {}

    def add(self, row: Row) -> Row:
        """Append a row."""
        self.rows[row.id] = row
        self._ids[row.record["remote_id"]] = row.id
        reference = row.record.get("external_reference")
        if reference is not None:
            self._references[reference] = row.id
        return row

    def find(self, id: str) -> Row | None:
        """Return the row with this StackOne id or provider id."""
        row = self.rows.get(id)
        return row if row is not None else self.rows.get(self._ids.get(id, ""))

    def referenced(self, reference: str | None) -> Row | None:
        """Return the row with this external reference."""
        return None if reference is None else self.rows.get(self._references.get(reference, ""))

    def replace(self, row: Row, record: Record, updated: str) -> None:
        """Give a row another content; its ids stay."""
        self._references.pop(row.record.get("external_reference") or "", None)
        row.replace(record, updated)
        reference = record.get("external_reference")
        if reference is not None:
            self._references[reference] = row.id

    def remove(self, row: Row) -> None:
        """Take a row out."""
        del self.rows[row.id]
        del self._ids[row.record["remote_id"]]
        self._references.pop(row.record.get("external_reference") or "", None)


class AccountData:
    """A linked account: a provider's data, and the numbering of what is added to it.

    Attributes:
        provider: Key of the provider.
        native_batches: Whether the provider takes several items in one call.
        tables: What it holds, by resource.
    """

    def __init__(self, provider: str, style: ProviderIds, rng: Random, *, native_batches: bool = False) -> None:
        self.provider = provider
        self.native_batches = native_batches
        self.tables: dict[str, RecordTable] = {name: RecordTable() for name in TABLES}
        self._style = style
        self._rng = rng
        self._numbers: dict[str, int] = dict.fromkeys(TABLES, 0)

    def new_ids(self, table: str) -> Record:
        """Number one more record: its `id` and `remote_id`."""
        self._numbers[table] += 1
        remote_id = self._style(table, self._numbers[table], self._rng)
        return {"id": stackone_id(remote_id), "remote_id": remote_id}

    def url(self, table: str, remote_id: str | None = None) -> str:
        """Return where the provider keeps a table, or one record of it."""
        url = f"https://api.{self.provider}.example/v1/{table}"
        return url if remote_id is None else f"{url}/{quote(remote_id, safe='')}"

    def learning_object(self, *, reference: str | None = None, id: str | None = None) -> tuple[str, Row] | None:
        """Find what can be learned, by external reference or by either id, with its table."""
        for name in LEARNING_OBJECTS:
            table = self.tables[name]
            row = table.referenced(reference) if id is None else table.find(id)
            if row is not None:
                return name, row
        return None


def about(table: str, learned: Record, courses: Iterable[Row] = ()) -> Record:
    """Return what an assignment or completion says about the learning object that it is for.

    Args:
        table: RecordTable of the learning object.
        learned: Its record.
        courses: The courses that a content may belong to, to name the first.
    """
    course: Record | None = learned if table == "courses" else None
    if table == "content":
        ids: list[str] = learned["course_ids"]
        course = next((row.record for row in courses if ids and row.id == ids[0]), None)
    return {
        "learning_object_type": {
            "value": LEARNING_OBJECTS[table],
            "source_value": LEARNING_OBJECTS[table].upper(),
        },
        "learning_object_id": learned["id"],
        "remote_learning_object_id": learned["remote_id"],
        "learning_object_external_reference": learned["external_reference"],
        "course_id": course["id"] if course else None,
        "remote_course_id": course["remote_id"] if course else None,
    }
