"""Faults of lists: cursors that lead nowhere, pages that fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .connection import Connection
from .messages import ITEMS, PAGE_SIZE, Request, answer, dumps, good, item, page, page_number, problem
from .scripts import Fault, Script, cut_at, fail, respond, send

_PAGINATION, _DECODE = "PaginationError", "DecodeError"
ODD_CURSORS = {
    "signs": "a+b/c=d&e#f%g?h i",
    "encoded": "%2B%20%00",
    "unicode": "é世界\U0001f600",
    "brackets": "filter[x]=1;next=2",
    "long": "c" * 4000,
    "dots": "../../accounts",
}


def _g(
    name: str,
    description: str,
    expect: str,
    script: Script,
    *also: str,
    retried: bool | int | None = False,
    call: Any = "list",
) -> Fault:
    return Fault(name, "G", description, expect, retried, script, call=call, also=also)


def _number(request: Request) -> int:
    """Return the number that a cursor such as `n-7` holds; 0 without one."""
    return int(request.cursor.removeprefix("n-") or 0)


def _pages(make: Callable[[int], bytes]) -> Script:
    """Answer with a page made of its number, which its cursor must hold."""
    return respond(lambda request: make(_number(request)))


def _items(number: int) -> list[str]:
    return [f"item-{n}" for n in range(number * PAGE_SIZE, (number + 1) * PAGE_SIZE)]


def _last(next: bytes) -> Script:
    """Answer with the one page of a list, `next` being written so."""
    return respond(page(ITEMS[:PAGE_SIZE], "@").replace(b'"next":"@",', next))


def _returned(cursor: Any, *accepted: str) -> Script:
    """Answer with two pages, the second for exactly the cursor that the first gave."""

    def whole(request: Request) -> bytes:
        if not request.cursor:
            return answer(page(ITEMS[:PAGE_SIZE], cursor))
        if request.cursor in (accepted or (cursor,)):
            return answer(page(ITEMS[PAGE_SIZE : 2 * PAGE_SIZE], None))
        return answer(problem(400, "another cursor than the one given"), 400)

    return send(whole)


def _second(script: Script, times: int | None = None) -> Script:
    """Answer well, but for the second page: that one fails so many times, or always."""

    async def either(connection: Connection, request: Request) -> None:
        if page_number(request) == 1 and (times is None or connection.scope[-1].requests <= times):
            await script(connection, request)
        else:
            await connection.send(good(request))

    return either


async def _to_evil(connection: Connection, request: Request) -> None:
    await _returned(f"{connection.settings.evil_url}/f/ok{request.path}?next=page-2")(connection, request)


def _data(change: Callable[[list[Any]], Any]) -> Script:
    """Answer with one page whose `data` is what `change` makes of the good items."""
    return respond(dumps({"next": None, "data": change([item(id) for id in ITEMS[:PAGE_SIZE]])}))


def _with_item(bad: Any) -> Script:
    """Answer with one page of good items and this one in their middle."""
    return _data(lambda items: [*items[:2], bad, *items[2:]])


def _middle_empty(number: int) -> bytes:
    """Return one of five pages, of which the second and third are empty."""
    ids = _items({0: 0, 3: 1, 4: 2}[number]) if number not in {1, 2} else []
    return page(ids, f"n-{number + 1}" if number < 4 else None)


def _overlapping(number: int) -> bytes:
    """Return one of three pages, each beginning with the last item of the one before."""
    start = number * (PAGE_SIZE - 1)
    return page(ITEMS[start : start + PAGE_SIZE], f"n-{number + 1}" if number < 2 else None)


FAULTS = (
    _g("cursor-repeated", "the same cursor for ever", _PAGINATION, _pages(lambda n: page(_items(n), "n-1"))),
    _g(
        "cursor-cycle",
        "a cycle of 3 cursors",
        _PAGINATION,
        _pages(lambda n: page(_items(n), f"n-{n % 3 + 1}")),
    ),
    _g(
        "pages-endless",
        "new items and cursors for ever",
        "ok",
        _pages(lambda n: page(_items(n), f"n-{n + 1}")),
        call="list_some",
    ),
    _g(
        "pages-empty",
        "empty pages with new cursors for ever",
        _PAGINATION,
        _pages(lambda n: page([], f"n-{n + 1}")),
    ),
    _g("pages-gap", "two empty pages in the middle", "ok", _pages(_middle_empty)),
    _g("pages-overlap", "pages that overlap by an item", "ok", _pages(_overlapping)),
    _g("next-empty", "`next` is an empty string", "ok", _last(b'"next":"",')),
    _g("next-blank", "`next` is white space", "ok", _last(b'"next":" ",')),
    _g("next-missing", "`next` is missing", "ok", _last(b"")),
    _g("next-null", "`next` is null", "ok", _last(b'"next":null,')),
    _g("next-object", "`next` is an object", _DECODE, _last(b'"next":{"a":1},')),
    _g("next-true", "`next` is true", _DECODE, _last(b'"next":true,')),
    *(
        _g(
            f"cursor-{name}",
            f"the cursor {cursor[:20]!r}, to be given back as it is",
            "ok",
            _returned(cursor),
        )
        for name, cursor in ODD_CURSORS.items()
    ),
    _g(
        "cursor-100kb",
        "a cursor of 100 KB",
        "ResponseTooLargeError",
        _returned("c" * 100_000),
        _PAGINATION,
        "ok",
    ),
    _g("cursor-number", "a cursor that is a number", "ok", _returned(7, "7"), _DECODE),
    _g("cursor-url", "a cursor that is a URL", "ok", _to_evil),
    _g(
        "cursor-expires",
        "400 for the second page",
        "BadRequestError",
        _second(fail(400, message="expired")),
        _PAGINATION,
    ),
    _g("page-fails", "503 for the second page", "InternalServerError", _second(fail(503)), retried=True),
    _g("page-fails-twice", "the same, twice", "ok", _second(fail(503), 2), retried=2),
    _g("page-cut-twice", "the second page is cut, twice", "ok", _second(cut_at("body", "rst"), 2), retried=2),
    _g(
        "page-garbage-once",
        "the second page is cut JSON, once",
        "ok",
        _second(respond(b'{"next":'), 1),
        retried=1,
    ),
    _g("list-null", "`data` is null", "ok", _data(lambda _: None), _DECODE),
    _g("list-object", "`data` is an object", _DECODE, _data(lambda items: items[0])),
    _g("list-string", "`data` is a string", _DECODE, _data(lambda _: "ok")),
    _g("list-missing", "no `data`", _DECODE, respond(b'{"next":null}'), "ok"),
    _g("list-empty", "`data` is empty", "ok", _data(lambda _: [])),
    _g("list-error", "the API's error body in a 200", "UnexpectedResponseError", respond(problem(502))),
    _g("item-type", "one item with an id that is a number", "ok", _with_item(item("x", id=5))),
    _g("item-null", "one item that is null", "ok", _with_item(None)),
    _g("item-string", "one item that is a string", "ok", _with_item("item")),
    _g("item-no-id", "one item without an id", "ok", _with_item({"remote_id": "x"})),
)
