"""What is read: one list of one account, from a cursor on, as plain data that can be sent to other processes."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, Final, NamedTuple, NoReturn

import msgspec

from ..checks import whole_number
from ..configuration import check_token
from ..errors import InvalidArgumentError
from ..export.lists import ListResource, find
from ..export.options import texts, wire_moment
from ..export.records.columns import ACCOUNT, EXTRA, row_columns, sent_fields
from ..export.records.keys import OF_USER

_PAGE_SIZE: Final = 100
_NO_FILTERS: Final[Mapping[str, str | bool]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, init=False)
class Slice:
    """One list of one account, from a cursor on.

    It is plain data without a secret: it pickles, compares, has a hash, and `to_json` and `from_json` keep it anywhere.

    Args:
        resource: Such as `completions`, or `users.completions` for the lists of all users of the account.
        account_id: The linked account.
        updated_after: Only records changed after this moment; a date, or a moment without a zone, counts in UTC.
        cursor: Where to start: that of a batch or a failure of the same list. None: at its beginning.
        filters: Filters of the list by their names, such as `{"status": "pending"}` for assignments.
        columns: Names of the columns to read, in the order in which they shall come. None: all. Only the fields that
            they are made of are asked for.
        page_size: Records a page.
        users: Of lists of users: whose. None: those of all users of the account.

    Raises:
        InvalidArgumentError: Something of it cannot be, or the cursor is that of another list; nothing was sent.
    """

    resource: str
    """Name of the list."""
    account_id: str
    """The linked account."""
    updated_after: str | None
    """The moment as it is sent: UTC with milliseconds."""
    cursor: str | None
    """Where it starts."""
    filters: Mapping[str, str | bool]
    """Filters by their names."""
    columns: tuple[str, ...] | None
    """The columns; None: all."""
    page_size: int
    """Records a page."""
    users: tuple[str, ...] | None
    """Whose lists; None: those of all users."""

    def __init__(
        self,
        resource: str,
        account_id: str,
        *,
        updated_after: datetime | date | str | None = None,
        cursor: str | None = None,
        filters: Mapping[str, str | bool] = _NO_FILTERS,
        columns: Iterable[str] | None = None,
        page_size: int = _PAGE_SIZE,
        users: Iterable[str] | None = None,
    ) -> None:
        found = find(resource)
        values: dict[str, Any] = {
            "resource": resource,
            "account_id": check_token(account_id, "the account id", InvalidArgumentError),
            "updated_after": wire_moment("updated_after", updated_after),
            "cursor": cursor,
            "filters": _checked_filters(found, filters),
            "columns": None if columns is None else column_names(found, columns),
            "page_size": whole_number("page_size", page_size, at_least=1),
            "users": None if users is None else _checked_users(found, users),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        position_of(self)

    def at(self, cursor: str | None) -> Slice:
        """Return the same list from another cursor on; None: from its beginning."""
        values: dict[str, Any] = {**self._values(), "cursor": cursor}
        return Slice(**values)

    def _values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _FIELDS}

    def to_json(self) -> str:
        """Return it as a JSON object."""
        given = {name: value for name, value in self._values().items() if value is not None}
        return msgspec.json.encode({**given, "filters": dict(self.filters)}).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Slice:
        """Return what `to_json` made a text of.

        Raises:
            InvalidArgumentError: It is no such text.
        """
        try:
            values = msgspec.json.decode(text, type=dict[str, Any])
            return cls(**values)
        except (msgspec.DecodeError, TypeError, UnicodeDecodeError):
            raise InvalidArgumentError("this is not the JSON of a Slice") from None

    def __hash__(self) -> int:
        return hash(self.to_json())

    def __reduce__(self) -> tuple[Any, ...]:
        return Slice.from_json, (self.to_json(),)


_FIELDS: Final = tuple(Slice.__dataclass_fields__)


def column_names(resource: ListResource, columns: Iterable[str] | None) -> tuple[str, ...]:
    """Return the names of columns of a list, all of them for None.

    Raises:
        InvalidArgumentError: There is no such column, or one is named twice, or none.
    """
    there = tuple(column.name for column in row_columns(resource.row_model))
    if columns is None:
        return there
    names = tuple(texts("columns", columns))
    if not names:
        raise InvalidArgumentError("name at least one column, or None for all")
    if unknown := [name for name in names if name not in there]:
        raise InvalidArgumentError(f"{resource.name} have no column {unknown[0]!r:.60}; there are: {', '.join(there)}")
    refuse_twice("the column", names)
    return names


def _checked_users(resource: ListResource, users: Iterable[str]) -> tuple[str, ...]:
    if not resource.of_users:
        raise InvalidArgumentError(f"users narrows lists of users, such as users.completions; {resource.name} is none")
    ids = tuple(texts("users", users))
    if not ids:
        raise InvalidArgumentError("name at least one user, or None for all")
    for id in ids:
        check_token(id, f"{id!r:.80}, one of the users,", InvalidArgumentError)
    refuse_twice("the user", ids)
    return ids


def refuse_twice(what: str, names: Iterable[str]) -> None:
    """Raise InvalidArgumentError if one of some names comes twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidArgumentError(f"{what} {name!r:.80} is given twice")
        seen.add(name)


def _checked_filters(resource: ListResource, filters: Mapping[str, Any]) -> Mapping[str, str | bool]:
    if not isinstance(filters, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgumentError(f"filters must be a mapping, not {type(filters).__name__}")
    operation = resource.operation
    allowed = (operation.filters | operation.keywords & {"user_id", "remote_user_id"}) - {"updated_after"}
    for name, value in filters.items():
        if name not in allowed:
            known = ", ".join(sorted(allowed)) or "none"
            raise InvalidArgumentError(f"{resource.name} have no filter {name!r:.60}; there are: {known}")
        if not isinstance(value, str | bool):
            raise InvalidArgumentError(f"the filter {name} must be a text, True or False, not {value!r:.60}")
    operation.encode(filters)  # checks the values
    return MappingProxyType({name: filters[name] for name in sorted(filters)})


def fields_for(resource: str, columns: Iterable[str] | None) -> str | None:
    """Return what `fields=` of the API has to be for some columns; None: all fields are needed.

    Args:
        resource: Name of the list.
        columns: Names of columns, as in `schema(resource)`. None: all. `extra` needs all fields.

    Raises:
        InvalidArgumentError: There is no such list or column.
    """
    found = find(resource)
    names = column_names(found, columns)
    if columns is None or EXTRA in names:
        return None
    sent_as = sent_fields(found.model)
    wanted = dict.fromkeys(sent_as[name] for name in names if name not in {ACCOUNT, OF_USER})
    return ",".join(wanted) or "id"


def query_of(what: Slice) -> dict[str, Any]:
    """Return the keywords with which a list is called."""
    query: dict[str, Any] = {"page_size": what.page_size, **what.filters}
    fields = fields_for(what.resource, what.columns)
    return query | {
        name: value for name, value in (("fields", fields), ("updated_after", what.updated_after)) if value is not None
    }


# Cursors. Those of the API mean nothing outside of their list, and nobody can see which that is.


class Position(NamedTuple):
    """A place in a list: behind a page."""

    next: str | None = None
    """The API's own cursor of the following page; None: the list, or that of the user, begins or is at its end."""
    user: str | None = None
    """Of lists of users: the user whose list the page is of."""
    users_page: str | None = None
    """The API's cursor of the page of users on which this one is found."""


class _Cursor(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    version: int
    resource: str
    account_id: str
    asked: str
    position: Position


_VERSION: Final = 1
_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(_Cursor).decode


def _asked(what: Slice) -> str:
    """Return what depends on all that the pages of a list depend on."""
    users = None if what.users is None else list(what.users)
    text = _encode([query_of(what), users])
    return blake2b(text, digest_size=8).hexdigest()


def cursor_at(what: Slice, position: Position) -> str:
    """Return the cursor of a place in a list."""
    text = _encode(_Cursor(_VERSION, what.resource, what.account_id, _asked(what), position))
    return urlsafe_b64encode(text).rstrip(b"=").decode()


def position_of(what: Slice) -> Position:
    """Return the place where a list starts.

    Raises:
        InvalidArgumentError: Its cursor is none, or that of another list.
    """
    given: Any = what.cursor
    if given is None:
        return Position()
    try:
        cursor = _decode(urlsafe_b64decode(given + "=" * (-len(given) % 4)))
    except (ValueError, TypeError):
        cursor = None
    if cursor is None or cursor.version != _VERSION:
        _refuse(what, "is none that a batch or a failure gave")
    if (cursor.resource, cursor.account_id) != (what.resource, what.account_id):
        _refuse(what, f"is that of {cursor.resource} of account {cursor.account_id}")
    if cursor.asked != _asked(what):
        _refuse(what, "is that of the list with another updated_after, page_size, or other filters, columns or users")
    return cursor.position


def _refuse(what: Slice, reason: str) -> NoReturn:
    raise InvalidArgumentError(
        f"the cursor {reason}; for {what.resource} of account {what.account_id} pass one of its own, or None"
    )
