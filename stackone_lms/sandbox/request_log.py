"""The request log: what was asked of the accounts, and the made-up provider calls behind it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .calls import BatchEntry, Route
from .recording import Received
from .store import AccountData, Record, as_record
from .times import stamp

_PROJECT = "sandbox-project"
_DURATION = timedelta(milliseconds=20)
_PROVIDER_SHARE = timedelta(milliseconds=12)
_NATIVE_BATCH = 10
_HIDDEN = frozenset({"authorization", "cookie", "proxy-authorization"})
_LONGEST_KEPT_BODY = 64 * 1024

Include = str | None
"""`step_logs`, `advanced_logs`, or neither."""


@dataclass(slots=True)
class LoggedRequest:
    """One request of an account, with what is needed to describe it later.

    Attributes:
        id: The `x-request-id` of its answer.
        received: The request.
        route: The operation.
        ids: The ids of its path.
        account_id: The linked account.
        account: Its data.
        moment: When it came.
        batch: The items that a batch hands to the provider in the background.
        batch_delay: How long the provider takes for all of them.
        status: HTTP status of the answer.
        body: The answer's body, if it is short and tells more than the records that were read.
        number: Counts the requests, from 1.
    """

    id: str
    received: Received
    route: Route
    ids: Sequence[str]
    account_id: str
    account: AccountData
    moment: datetime
    batch: Sequence[BatchEntry]
    batch_delay: timedelta
    status: int
    body: bytes
    number: int = 0

    def __post_init__(self) -> None:
        if len(self.body) > _LONGEST_KEPT_BODY or (self.route.method == "GET" and self.status < 400):
            self.body = b""

    def described(self, now: datetime, include: Include) -> Record:
        """Return the entry as the API shows it at a moment: the outcomes of a batch come one by one."""
        steps = list(self._steps())
        over = [step for step in steps if step.ended <= now] if self.batch else steps
        running = len(over) < len(steps)
        ended = max([self.moment + _DURATION, *(step.ended for step in steps)])
        success = self.status < 400 and all(step.status < 400 for step in steps)
        entry: Record = {
            "request_id": self.id,
            "event_datetime": stamp(self.moment),
            **self._timed(self.moment, None if running else ended),
            **self._about(),
            "http_method": self.received.method,
            "path": self.received.path,
            "url": self._url(),
            "status": self.status,
            "success": None if running else success,
            "is_worker": bool(self.batch),
            "source_type": "api_key",
            "source_value": None,
            "source_id": None,
            "source_ip": "127.0.0.1",
        }
        if include == "advanced_logs":
            body = self.received.body
            entry["request"] = _request(
                self.id, self.received.method, self._url(), self.received.headers, _decoded(body)
            )
            entry["response"] = _response(self.status, _decoded(self.body))
        if include is not None:
            advanced = include == "advanced_logs"
            entry["step_requests"] = [self._step(n, step, advanced=advanced) for n, step in enumerate(over, 1)]
        return entry

    def _about(self) -> Record:
        parts = [part for part in self.route.path.split("/") if part not in ("{}", "batch")]
        action = self.route.name.removeprefix("lms_")
        return {
            "account_id": self.account_id,
            "project_id": _PROJECT,
            "provider": self.account.provider,
            "service": "lms",
            "resource": parts[0],
            "child_resource": None,
            "sub_resource": parts[1] if len(parts) > 1 else None,
            "action": "batch_upsert" if action.startswith("batch_upsert") else action.partition("_")[0],
        }

    def _timed(self, start: datetime, end: datetime | None) -> Record:
        duration = None if end is None else round((end - start).total_seconds() * 1000)
        return {"start_time": stamp(start), "end_time": None if end is None else stamp(end), "duration": duration}

    def _url(self) -> str:
        query = f"?{self.received.query}" if self.received.query else ""
        return f"http://{self.received.headers.get('host', 'localhost')}{self.received.path}{query}"

    def _steps(self) -> Iterator["_Step"]:
        if self.batch:
            yield from self._batch_steps()
            return
        table = self.account.tables[self.route.table]
        row = table.find(self.ids[-1]) if self.route.path.endswith("{}") else None
        url = self.account.url(self.route.table, row.record["remote_id"] if row else None)
        ended = self.moment + _PROVIDER_SHARE
        if self.status < 400:
            body = None if self.route.method == "GET" else _decoded(self.received.body)
            yield _Step(
                self.route.method, url, 200 if self.route.method == "GET" else 201, self.moment, ended, body, None
            )
            return
        for error in (as_record(_decoded(self.body)) or {}).get("provider_errors", []):
            yield _Step(self.route.method, error["url"], error["status"], self.moment, ended, None, error["raw"])

    def _batch_steps(self) -> Iterator["_Step"]:
        """Yield a call for each item, or for each ten where the provider takes several at once."""
        size = _NATIVE_BATCH if self.account.native_batches else 1
        url = self.account.url(self.route.table) + ("/bulk" if size > 1 else "")
        for start in range(0, len(self.batch), size):
            entries = self.batch[start : start + size]
            refusal = next((entry.refusal for entry in entries if entry.refusal), None)
            share = self.batch_delay / len(self.batch)
            body = [entry.item for entry in entries] if size > 1 else entries[0].item
            yield _Step(
                "POST" if size > 1 else "PUT",
                url,
                refusal.status if refusal else 200,
                self.moment + share * start,
                self.moment + share * (start + len(entries)),
                body,
                {"error": refusal.message} if refusal else None,
            )

    def _step(self, number: int, step: "_Step", *, advanced: bool) -> Record:
        id = f"{self.id}-{number}"
        entry: Record = {
            "id": id,
            "request_id": self.id,
            **self._about(),
            **self._timed(step.started, step.ended),
            "http_method": step.method,
            "path": urlsplit(step.url).path,
            "url": step.url,
            "status": step.status,
            "success": step.status < 400,
            "is_worker": bool(self.batch),
        }
        if advanced:
            entry["request"] = _request(id, step.method, step.url, {"accept": "application/json"}, step.body)
            entry["response"] = _response(step.status, step.answer, url=step.url)
        return entry


@dataclass(frozen=True, slots=True)
class _Step:
    """One call to the provider."""

    method: str
    url: str
    status: int
    started: datetime
    ended: datetime
    body: object
    answer: Record | None


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError):
        return body.decode(errors="replace")


def _request(id: str, method: str, url: str, headers: Mapping[str, str], body: object) -> Record:
    parts = urlsplit(url)
    shown = {name: "[hidden]" if name in _HIDDEN else value for name, value in headers.items()}
    query: dict[str, Any] = {k: v[0] if len(v) == 1 else v for k, v in parse_qs(parts.query).items()}
    told = {"hostname": parts.hostname, "path": parts.path, "query_params": query, "url": url}
    return {"id": id, "method": method, "url": told, "headers": shown, "body": body}


def _response(status: int, body: Any, *, url: str | None = None) -> Record:
    headers = {"content-type": "application/json"}
    if status >= 400 and url is not None:
        errors: list[Record] | None = [{"status": status, "url": url, "raw": body, "headers": headers}]
    else:
        errors = (as_record(body) or {}).get("provider_errors")
    return {"status_code": status, "headers": headers, "body": body, "provider_errors": errors}


class RequestLog:
    """The newest requests of the accounts."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: dict[str, LoggedRequest] = {}
        self._count = 0

    @property
    def count(self) -> int:
        """How many requests were noted."""
        return self._count

    def add(self, entry: LoggedRequest) -> None:
        """Add a request that was answered."""
        self._count += 1
        entry.number = self._count
        self._entries[entry.id] = entry
        if len(self._entries) > self._size:
            del self._entries[next(iter(self._entries))]

    def find(self, id: str) -> LoggedRequest | None:
        """Return the entry of a request id."""
        return self._entries.get(id)

    def until(self, count: int) -> list[LoggedRequest]:
        """Return the entries of the first `count` requests that are kept, oldest first."""
        return [entry for entry in self._entries.values() if entry.number <= count]
