"""HTTP messages as bytes: the requests that come, the good answers to them, and the parts of bad ones."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from http.client import responses
from typing import Any
from urllib.parse import parse_qs, unquote

REQUEST_ID = "request-of-the-fault-server"
MOMENT = "2021-07-21T14:00:00.000Z"
PAGES = 3
PAGE_SIZE = 4
ITEMS = tuple(f"item-{n}" for n in range(PAGES * PAGE_SIZE))
"""The ids of every good list, in order."""

_BASE = re.compile(r"/f/([^/]+)(/.*)", re.DOTALL)
_TIMES = re.compile(r"(.*?)(?:@([0-9]+))?", re.DOTALL)
_BAD_PATH = re.compile(r"[^A-Za-z0-9\-._~!$&'()*+,;=:@%/]|%(?![0-9A-Fa-f]{2})")
_COLLECTION = "assignments|categories|collections|completions|content|courses|skills|users"
_ROUTE = re.compile(
    rf"/unified/lms/(?:(?:{_COLLECTION})(?:/[^/]+)?|users/[^/]+/(?:assignments|completions)(?:/[^/]+)?)"
)
_SINGLE = ("host", "authorization", "x-account-id", "content-length", "content-type")


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came."""

    head: bytes
    body: bytes
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    base: str
    """The path segment after `/f/`, such as `status-503@2`; empty without one."""
    path: str
    """The path behind the base, still encoded."""
    id: str | None
    """The decoded id that the path ends with; None for a whole collection."""
    cursor: str
    """The decoded `next` parameter."""

    @property
    def key(self) -> str:
        """What the counters of one id go by: the id, or the cursor of a list (empty for its first page)."""
        return self.cursor if self.id is None else self.id

    @property
    def fault(self) -> str:
        return _times(self.base)[0]

    @property
    def times(self) -> int | None:
        """How many requests for one key shall fail; None for all."""
        return _times(self.base)[1]

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")

    def suspicions(self) -> list[str]:
        """Say what is wrong with the request, if anything."""
        path, _, _ = self.target.partition("?")
        names = [name for name, _ in self.headers]
        found = {
            "not a path": not path.startswith("/"),
            "characters to be encoded": _BAD_PATH.search(path) is not None,
            "raw dot segment": any(unquote(part) in {".", ".."} for part in path.split("/")),
            "no such route": _ROUTE.fullmatch(self.path) is None,
            "fragment": "#" in self.target,
            "no host": "host" not in names,
            "header sent twice": any(names.count(name) > 1 for name in _SINGLE),
            "cookie": "cookie" in names,
            "transfer-encoding": "transfer-encoding" in names,
            "body of a GET": self.method == "GET" and bool(self.body),
            "unknown method": self.method not in {"GET", "POST", "PUT", "PATCH", "DELETE"},
        }
        return [f"{reason}: {self.method} {self.target[:200]}" for reason, wrong in found.items() if wrong]


def _times(base: str) -> tuple[str, int | None]:
    match = _TIMES.fullmatch(base)
    assert match is not None, base
    return match[1], None if match[2] is None else int(match[2])


def body_length(head: bytes) -> int:
    found = re.search(rb"\r\ncontent-length: *([0-9]{1,9})\r\n", head, re.IGNORECASE)
    return int(found[1]) if found else 0


def parse(head: bytes, body: bytes) -> Request:
    """Read a request. Raises ValueError if it is not HTTP/1.1."""
    line, *rest = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, target, version = line.split(" ")
    if version != "HTTP/1.1":
        raise ValueError(line)
    headers = tuple((name.lower(), value.strip()) for name, _, value in (row.partition(":") for row in rest))
    path, _, query = target.partition("?")
    below = _BASE.fullmatch(path)
    base, path = (unquote(below[1]), below[2]) if below else ("", path)
    parts = [unquote(part) for part in path.split("/")][3:]
    whole = len(parts) % 2 == 1 or parts[1:] == ["batch"]
    cursor = parse_qs(query, keep_blank_values=True).get("next", [""])[0]
    return Request(
        head=head,
        body=body,
        method=method,
        target=target,
        headers=headers,
        base=base,
        path=path,
        id=None if whole or not parts else parts[-1],
        cursor=cursor,
    )


def status_line(status: int) -> str:
    return f"HTTP/1.1 {status} {responses.get(status, 'Unknown')}\r\n"


def answer(
    body: bytes = b"",
    status: int = 200,
    *lines: str,
    content_type: str | None = "application/json",
    length: int | str | None = None,
) -> bytes:
    """Return a whole answer; `length` replaces the true Content-Length, and "" leaves it out."""
    rows = [f"x-request-id: {REQUEST_ID}", *lines]
    if content_type is not None:
        rows.insert(0, f"content-type: {content_type}")
    if length != "":
        rows.append(f"content-length: {len(body) if length is None else length}")
    return (status_line(status) + "".join(row + "\r\n" for row in rows) + "\r\n").encode("latin-1") + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """Return an answer whose body is these chunks."""
    body = b"".join(map(chunk, chunks)) + end
    return answer(body, 200, "transfer-encoding: chunked", length="")


def dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def item(own_id: str | None, /, **more: Any) -> dict[str, Any]:
    """Return a record that every model accepts."""
    return {"id": own_id, "remote_id": f"remote {own_id}", "updated_at": MOMENT} | more


def record(request: Request, **more: Any) -> bytes:
    """Return the body of a good get, with `more` fields in the record; of a good page, for a list."""
    if request.id is None:
        return good_page(page_number(request) or 0)
    return dumps({"data": item(request.id, **more), "raw": None})


def page(ids: list[str] | tuple[str, ...], cursor: Any) -> bytes:
    """Return the body of a page."""
    return dumps({"next": cursor, "data": [item(id) for id in ids], "raw": None})


def page_number(request: Request) -> int | None:
    """Return which page of the good list a request asks for; None for a cursor that was never given out."""
    cursors = ["", *(f"page-{n}" for n in range(1, PAGES))]
    return cursors.index(request.cursor) if request.cursor in cursors else None


def good_page(number: int) -> bytes:
    ids = ITEMS[number * PAGE_SIZE : (number + 1) * PAGE_SIZE]
    return page(ids, f"page-{number + 1}" if number + 1 < PAGES else None)


def problem(status: int, message: Any = None, **more: Any) -> bytes:
    """Return an error body of the API."""
    text = status_line(status)[13:-2] if message is None else message
    return dumps({"statusCode": status, "message": text, "timestamp": MOMENT, **more})


def good(request: Request) -> bytes:
    """Return the answer of a healthy server."""
    if request.method == "GET" and request.id is None and page_number(request) is None:
        return answer(problem(400, "no such cursor"), 400)
    if request.method == "GET":
        return answer(record(request))
    if request.method == "DELETE":
        return answer(dumps({"statusCode": 200, "message": "deleted", "timestamp": MOMENT}))
    result: dict[str, Any] = {"statusCode": 201, "message": "done", "timestamp": MOMENT}
    if request.path.endswith("/batch"):
        return answer(dumps(result | {"statusCode": 202, "errors": []}), 202)
    return answer(dumps(result | {"data": {"id": request.id or "made", "remote_id": None}}), 201)
