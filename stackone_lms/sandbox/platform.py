"""The endpoints beside the LMS operations: accounts, connectors, connect sessions, request logs."""

import json
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from . import bodies, words
from .accounts import LinkedAccounts
from .connect_sessions import ConnectSessions
from .identifiers import base64url
from .operations import OPERATIONS, ROOT
from .problems import Problem
from .query import Query, Value, read_page_size, read_text, read_whole
from .recording import ServerResponse
from .request_log import Include, LoggedRequest, RequestLog
from .routing import Router
from .store import Record, dumps
from .times import normalise

_INCLUDED = ("step_logs", "advanced_logs")
_ORDERS = {
    "provider": "provider",
    "service": "service",
    "status": "status",
    "eventDatetime": "event_datetime",
    "duration": "duration",
}
_FILTERS = {
    "account_ids": "account_id",
    "request_ids": "request_id",
    "http_methods": "http_method",
    "providers": "provider",
    "services": "service",
    "resources": "resource",
    "child_resources": "child_resource",
    "sub_resources": "sub_resource",
    "actions": "action",
    "source_types": "source_type",
    "source_values": "source_value",
    "source_ids": "source_id",
    "status_codes": "status",
    "success": "success",
}
"""The filters of the log that are comma-separated lists, and the field that each is about."""


@dataclass(frozen=True, slots=True)
class PlatformCall:
    """One request that is to be carried out.

    Attributes:
        accounts: The linked accounts.
        log: What was asked of them.
        sessions: The connect sessions.
        ids: The ids in the path, decoded.
        query: The decoded query.
        headers: Header names in lower case.
        body: The body as it came.
        now: The moment.
        wrapped: Whether a list of accounts comes in `{"data": [...]}`.
    """

    accounts: LinkedAccounts
    log: RequestLog
    sessions: ConnectSessions
    ids: list[str]
    query: Query
    headers: Mapping[str, str]
    body: bytes
    now: datetime
    wrapped: bool


@dataclass(frozen=True, slots=True)
class PlatformRoute:
    """One endpoint.

    Attributes:
        name: Its `operationId`.
        method: HTTP method.
        path: The whole path, without the slash at its start, ids as `{}`.
        run: Carries a call out.
    """

    name: str
    method: str
    path: str
    run: Callable[[PlatformCall], ServerResponse]


def _list_accounts(call: PlatformCall) -> ServerResponse:
    wanted = {
        "id": _several(call.query, "account_ids"),
        "origin_owner_id": _several(call.query, "origin_owner_ids") | _several(call.query, "origin_owner_id"),
        "provider": _several(call.query, "providers") | _several(call.query, "provider"),
        "status": _several(call.query, "status"),
    }
    found = [
        record
        for record in call.accounts.described.values()
        if all(not values or record[name] in values for name, values in wanted.items())
    ]
    page, size = read_text(call.query, "page"), read_page_size(call.query)
    start = 0 if page is None else (read_whole("page", page) - 1) * size
    records = found[start : start + size]
    return ServerResponse(200, dumps({"data": records} if call.wrapped else records))


def _get_account(call: PlatformCall) -> ServerResponse:
    return ServerResponse(200, dumps(_account(call)))


def _get_account_meta(call: PlatformCall) -> ServerResponse:
    meta = _connector(_account(call)["provider"])
    return ServerResponse(200, dumps({name: meta[name] for name in ("provider", "category", "models")}))


def _account(call: PlatformCall) -> Record:
    record = call.accounts.described.get(call.ids[0])
    if record is None:
        raise Problem(404, "Not Found: there is no such account")
    return record


def _list_connectors(call: PlatformCall) -> ServerResponse:
    return ServerResponse(200, dumps([_connector(provider) for provider in words.PROVIDERS]))


def _get_connector(call: PlatformCall) -> ServerResponse:
    if call.ids[0] not in words.PROVIDERS:
        raise Problem(404, "Not Found: there is no such connector")
    return ServerResponse(200, dumps(_connector(call.ids[0])))


def _connector(provider: str) -> Record:
    """Describe a provider: every operation of the LMS API, as all of these support them all."""
    models: dict[str, dict[str, Any]] = {}
    for route in OPERATIONS:
        action = route.name.removeprefix("lms_").partition(f"_{route.path.partition('/')[0].rstrip('s')}")[0]
        resource = models.setdefault(route.table, {})
        resource.setdefault(
            "batch_upsert" if action.startswith("batch") else action.partition("_")[0],
            {
                "apiPath": ROOT + route.path.replace("{}", ":id", 1).replace("{}", ":subResourceId"),
                "input": {"defaultFields": []},
                "output": {"defaultFields": [{"name": "id", "type": "string"}]},
            },
        )
    return {
        "provider": provider,
        "provider_name": provider.title(),
        "category": "lms",
        "active": True,
        "models": models,
        "resources": {"images": {"logo_url": f"https://logos.sandbox.example/{provider}.png"}},
    }


def _create_connect_session(call: PlatformCall) -> ServerResponse:
    body = bodies.read(bodies.connect_session, call.body, call.headers.get("content-type", ""))
    if body.get("account_id") is not None and body["account_id"] not in call.accounts.described:
        raise Problem(404, "Not Found: there is no such account")
    return ServerResponse(201, dumps(call.sessions.create(body, call.now)))


def _authenticate_connect_session(call: PlatformCall) -> ServerResponse:
    body = bodies.read(bodies.connect_token, call.body, call.headers.get("content-type", ""))
    return ServerResponse(201, dumps(call.sessions.authenticate(body["token"], call.now)))


def _get_log(call: PlatformCall) -> ServerResponse:
    entry = call.log.find(call.ids[0])
    if entry is None:
        raise Problem(404, "Not Found: there is no log of this request")
    return ServerResponse(200, dumps({"data": entry.described(call.now, _include(call.query, _INCLUDED))}))


def _list_logs(call: PlatformCall) -> ServerResponse:
    include, size = _include(call.query, _INCLUDED[:1]), read_page_size(call.query)
    count, position = _log_position(call)
    matches = _log_conditions(call.query)
    order, descending = _log_order(call.query)
    found: list[tuple[Record, LoggedRequest]] = []
    for logged in call.log.until(count):
        entry = logged.described(call.now, None)
        if all(match(entry) for match in matches):
            found.append((entry, logged))
    found.sort(key=lambda pair: (pair[0][order] is not None, pair[0][order], pair[1].number), reverse=descending)
    page = [logged.described(call.now, include) for _, logged in islice(found, position, position + size)]
    after = position + len(page)
    following = base64url(json.dumps([count, after]).encode()) if after < len(found) else None
    return ServerResponse(200, dumps({"next": following, "data": page}))


def _log_position(call: PlatformCall) -> tuple[int, int]:
    """Return how many requests the walk looks at, which stays the same, and how many of them are behind it."""
    cursor = read_text(call.query, "next")
    if cursor is None:
        return call.log.count, 0
    try:
        count, position = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError, RecursionError):
        raise Problem.invalid("next is not a cursor of this list") from None
    if type(count) is not int or type(position) is not int or count < 0 or position < 0:
        raise Problem.invalid("next is not a cursor of this list")
    return count, position


def _log_conditions(query: Query) -> list[Callable[[Record], bool]]:
    given = query.get("filter", {})
    if not isinstance(given, dict):
        raise Problem.invalid("filter must be an object: filter[name]=value")
    conditions: list[Callable[[Record], bool]] = []
    for name in given:
        value = read_text(given, name)
        if value is None or name in ("order_by", "order_direction"):
            continue
        if name in _FILTERS:
            conditions.append(_among(_FILTERS[name], value.split(",")))
        elif name in ("start_date", "end_date"):
            moment = normalise(value)
            if moment is None:
                raise Problem.invalid(f"filter.{name} must be a valid ISO 8601 date string")
            conditions.append(_since(moment) if name == "start_date" else _until(moment))
        else:
            raise Problem.invalid(f"filter.{name} is not a filter of this list")
    return conditions


def _among(field: str, values: Iterable[str]) -> Callable[[Record], bool]:
    wanted = {value.strip().lower() for value in values}
    return lambda entry: str(entry[field]).lower() in wanted


def _since(moment: str) -> Callable[[Record], bool]:
    return lambda entry: entry["event_datetime"] >= moment


def _until(moment: str) -> Callable[[Record], bool]:
    return lambda entry: entry["event_datetime"] <= moment


def _log_order(query: Query) -> tuple[str, bool]:
    order = read_text(query, "order_by") or "eventDatetime"
    direction = read_text(query, "order_direction") or "desc"
    if order not in _ORDERS:
        raise Problem.invalid(f"order_by must be one of the following values: {', '.join(_ORDERS)}")
    if direction not in ("asc", "desc"):
        raise Problem.invalid("order_direction must be one of the following values: asc, desc")
    return _ORDERS[order], direction == "desc"


def _include(query: Query, allowed: Iterable[str]) -> Include:
    value = read_text(query, "include")
    if value is not None and value not in allowed:
        raise Problem.invalid(f"include must be one of the following values: {', '.join(allowed)}")
    return value


def _several(query: Query, name: str) -> frozenset[str]:
    value: Value = query.get(name, [])
    if isinstance(value, dict):
        raise Problem.invalid(f"{name} must be a list: repeat the key")
    return frozenset([value] if isinstance(value, str) else value) - {""}


ENDPOINTS = (
    PlatformRoute("stackone_list_linked_accounts", "GET", "accounts", _list_accounts),
    PlatformRoute("stackone_get_account", "GET", "accounts/{}", _get_account),
    PlatformRoute("stackone_get_account_meta_info", "GET", "accounts/{}/meta", _get_account_meta),
    PlatformRoute("stackone_list_connectors_meta", "GET", "connectors/meta", _list_connectors),
    PlatformRoute("stackone_get_connector_meta", "GET", "connectors/meta/{}", _get_connector),
    PlatformRoute("stackone_get_connector", "GET", "meta/connectors/{}", _get_connector),
    PlatformRoute("stackone_create_connect_session", "POST", "connect_sessions", _create_connect_session),
    PlatformRoute(
        "stackone_authenticate_connect_session", "POST", "connect_sessions/authenticate", _authenticate_connect_session
    ),
    PlatformRoute("stackone_get_log", "GET", "requests/logs/{}", _get_log),
    PlatformRoute("stackone_list_logs", "GET", "requests/logs", _list_logs),
)

ROUTER = Router(ENDPOINTS)
