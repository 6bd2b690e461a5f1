"""The gets and the lists."""

from collections.abc import Callable, Mapping
from itertools import islice

from . import cursors
from .calls import Call, Route
from .cursors import PagePosition
from .problems import Problem
from .query import Query, encode, read_page_size, read_text, read_whole, single
from .recording import ServerResponse
from .store import Record, Row, dumps
from .times import normalise

_STATUSES = ("pending", "in_progress", "completed", "unmapped_value")

Matches = Callable[[Row], bool]

_GET_PARAMETERS = frozenset({"raw", "proxy", "fields"})
_LIST_PARAMETERS = _GET_PARAMETERS | {"filter", "page", "page_size", "next", "updated_after"}
_OWNER_PARAMETERS = frozenset({"user_id", "remote_user_id"})


def parameters(route: Route) -> frozenset[str]:
    """Return the query parameters that an operation has; it ignores all others."""
    if route.run is get:
        return _GET_PARAMETERS
    if route.run is not list_records:
        return frozenset()
    return _LIST_PARAMETERS | _OWNER_PARAMETERS if route.table == "assignments" else _LIST_PARAMETERS


def get(call: Call) -> ServerResponse:
    """Carry out a get."""
    row = call.row()
    if not call.query:
        return ServerResponse(200, row.answer)
    fields, proxy = _fields(call.query), _proxy(call.query)
    data = row.json if fields is None else dumps(_narrow(row.record, fields))
    if not _raw(call.query):
        return ServerResponse(200, b'{"data":' + data + b"}")
    table, remote_id = call.operation.table, row.record["remote_id"]
    raw = _provider_call(call.account.url(table, remote_id), proxy, row.native)
    return ServerResponse(200, b'{"data":' + data + b',"raw":' + raw + b"}")


def list_records(call: Call) -> ServerResponse:
    """Carry out a list."""
    query, step = call.query, call.operation.name
    fields, proxy, raw = _fields(query), _proxy(query), _raw(query)
    size = read_page_size(query)
    rows = call.account.tables[call.operation.table].rows
    matches = _conditions(call)
    matching = [row for row in rows.values() if all(match(row) for match in matches)] if matches else rows.values()
    place, take = _place(call, step, size)
    page = list(islice(matching, place.position, place.position + take))
    after = place.position + len(page)
    following = cursors.encode(step, PagePosition(place.number + 1, after)) if after < len(matching) else None
    items = [row.json if fields is None else dumps(_narrow(row.record, fields)) for row in page]
    parts = [b'{"next":', dumps(following)]
    if call.operation.table in ("courses", "content"):
        parts += [b',"next_page":', dumps(following), b',"total":', dumps(len(matching))]
    parts += [b',"data":[', b",".join(items), b"]"]
    if raw:
        paging: Query = {"limit": str(take), "offset": str(place.position)}
        native = b'{"items":[' + b",".join(row.native for row in page) + b"]}"
        url = call.account.url(call.operation.table)
        parts += [b',"raw":', _provider_call(url, {**paging, **proxy}, native)]
    parts.append(b"}")
    return ServerResponse(200, b"".join(parts))


def _place(call: Call, step: str, size: int) -> tuple[PagePosition, int]:
    """Return where the page starts and how many records it takes; early-returned ones take few or none."""
    cursor, page = read_text(call.query, "next"), read_text(call.query, "page")
    if cursor is None and page is not None:
        number = read_whole("page", page)
        return PagePosition(number, (number - 1) * size), size
    place = PagePosition(1, 0) if cursor is None else cursors.decode(step, cursor)
    if call.empty_pages and place.number % 4 == 2:
        return place, 0
    if call.empty_pages and place.number % 4 == 0:
        return place, max(1, size // 2)
    return place, size


def _conditions(call: Call) -> list[Matches]:
    """Return what a row has to fulfil: owner, `user_id`, `remote_user_id` and the filters."""
    conditions: list[Matches] = []
    if call.ids:
        conditions.append(_owned_by(call.user().id))
    if call.operation.table == "assignments":
        for name in sorted(_OWNER_PARAMETERS):
            wanted = read_text(call.query, name)
            if wanted is not None:
                user = call.account.tables["users"].find(wanted)
                conditions.append(_owned_by(user.id if user else ""))
    given = call.query.get("filter", {})
    if not isinstance(given, dict):
        raise Problem.invalid("filter must be an object: filter[name]=value")
    filters: Query = {key: value for key, value in given.items() if value != ""}
    unknown = sorted(filters.keys() - call.operation.filters)
    if unknown:
        raise Problem.invalid(*(f"filter.{name} is not a filter of this list" for name in unknown))
    flat = read_text(call.query, "updated_after")
    if flat is not None:
        filters.setdefault("updated_after", flat)
    return conditions + [_FILTERS[name](single(f"filter.{name}", value)) for name, value in filters.items()]


def _owned_by(user_id: str) -> Matches:
    return lambda row: row.owner == user_id


def _updated_after(value: str) -> Matches:
    moment = normalise(value)
    if moment is None:
        raise Problem.invalid("filter.updated_after must be a valid ISO 8601 date string")
    return lambda row: row.updated > moment


def _status(value: str) -> Matches:
    if value not in _STATUSES:
        raise Problem.invalid(f"filter.status must be one of the following values: {', '.join(_STATUSES)}")
    return lambda row: row.record["status"]["value"] == value


def _active(value: str) -> Matches:
    if value != "true":
        raise Problem.invalid("filter.active must be equal to true")
    return lambda row: row.record["active"] in (True, "true")


def _email(value: str) -> Matches:
    wanted = value.lower()
    return lambda row: row.record["email"].lower() == wanted


def _external_reference(value: str) -> Matches:
    return lambda row: row.record["external_reference"] == value


_FILTERS: Mapping[str, Callable[[str], Matches]] = {
    "updated_after": _updated_after,
    "status": _status,
    "active": _active,
    "email": _email,
    "external_reference": _external_reference,
}


def _raw(query: Query) -> bool:
    value = read_text(query, "raw")
    if value not in (None, "true", "false"):
        raise Problem.invalid("raw must be a boolean value")
    return value == "true"


def _fields(query: Query) -> frozenset[str] | None:
    """Return the fields asked for, with the id; None for all of them."""
    asked = read_text(query, "fields")
    names = frozenset(name.strip() for name in asked.split(",")) - {""} if asked else None
    return names | {"id"} if names else None


def _narrow(record: Record, fields: frozenset[str]) -> Record:
    return {name: value for name, value in record.items() if name in fields}


def _proxy(query: Query) -> Query:
    given = query.get("proxy", {})
    if not isinstance(given, dict):
        raise Problem.invalid("proxy must be an object: proxy[name]=value")
    return given


def _provider_call(url: str, parameters: Query, response: bytes) -> bytes:
    asked = f"{url}?{encode(parameters)}" if parameters else url
    return b'[{"method":"GET","url":' + dumps(asked) + b',"body":null,"response":' + response + b"}]"
