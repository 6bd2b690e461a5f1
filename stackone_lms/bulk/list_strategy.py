"""Getting many records out of the pages of their list, where that takes fewer requests than one each."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Literal

import msgspec

from ..calls.lists import AsyncPager
from ..calls.operation import Operation
from ..engine.stats import Choice
from ..errors import StackOneError
from ..models.base import Answer, Page, attach
from .workers import HOPELESS, Fetch, Prelude

log = logging.getLogger("stackone_lms")

Strategy = Literal["get", "list", "auto"]

PAGE = 100
"""Records a page: the most that the API's older guide names; the newer ones name no maximum."""
FEW = 10
"""Fewer ids than these are not worth a look at the list."""
COUNTED = 1000
"""Ids that are read to find out how many there are."""
TRIED = 5
"""Pages of a list of unknown size after which it has to have shown as many wanted records as it took requests."""


def picking(name: str, get: Operation[Any], pages: Callable[[], AsyncPager[Any]], strategy: Strategy) -> Prelude:
    """Return what a fetch does first: it walks the list and offers the wanted records.

    Args:
        name: Name of the bulk operation, such as `Completions.get_many`.
        get: The operation that gets one record, whose answer the results come in.
        pages: Makes a pager of the list.
        strategy: `list`, or `auto`.
    """

    async def prelude(fetch: Fetch[Any]) -> None:
        async with aclosing(pages().pages()) as walk:
            await _Picker(name, get, walk, fetch).run(auto=strategy == "auto")

    return prelude


def declining(name: str, reason: str) -> Prelude:
    """Return what a fetch does first that was free to choose and has no choice: it says so."""

    async def prelude(fetch: Fetch[Any]) -> None:
        _choose(name, fetch, "get", fetch.total, None, reason)

    return prelude


def _choose(
    name: str, fetch: Fetch[Any], strategy: Literal["get", "list"], ids: int | None, pages: int | None, reason: str
) -> None:
    choice = Choice(operation=name, strategy=strategy, ids=ids, pages=pages, reason=reason)
    fetch.carrier.bulk_context().choices.append(choice)
    log.info("%s: strategy %s: %s", name, strategy, reason)


class _Picker:
    def __init__(
        self, name: str, get: Operation[Any], walk: AsyncGenerator[Page[Any], None], fetch: Fetch[Any]
    ) -> None:
        self._name, self._get, self._walk, self._fetch = name, get, walk, fetch
        self._ids: list[Any] = []
        self._wanted: Counter[str] = Counter()
        self._found: set[str] = set()
        self._read = 0
        self._chosen = False

    async def run(self, *, auto: bool) -> None:
        """Walk the list as far as that pays, and leave the other ids to be fetched one by one."""
        try:
            if auto:
                await self._weigh()
            else:
                await self._gather()
                self._choose("list", None, "it was asked for")
                await self._pick(await self._page(), patient=True)
        except StackOneError as error:
            if isinstance(error, HOPELESS):
                self._leave()
                self._fetch.stop(error)
                return
            failed = f"the list failed after {self._read} pages ({type(error).__name__})"
            if self._chosen:
                log.info("%s: %s", self._name, failed)
            else:
                self._choose("get", None, failed)
        self._leave()

    async def _weigh(self) -> None:
        fetch = self._fetch
        self._ids = await fetch.gather(COUNTED)
        size = len(self._ids) if fetch.source.ended else fetch.total
        if size is not None and size < FEW:
            return self._choose("get", None, f"{size} ids are not worth a look at the list")
        page = await self._page()
        if page is None:
            return self._choose("get", 0, "the list has no pages")
        pages = 1 if not page.next else math.ceil(page.total / PAGE) if page.total else None
        least = size or len(self._ids)
        if pages is not None and pages >= least:
            self._choose("get", pages, f"{least} single gets are no more requests than {pages} pages")
            return await self._offer(page)  # it was read, so it may serve
        await self._gather()
        if pages is None:
            self._choose("list", None, "the list does not tell its size; it is read while that pays")
        else:
            self._choose("list", pages, f"{pages} pages are fewer requests than {len(self._ids)} single gets")
        return await self._pick(page, patient=pages is not None)

    async def _pick(self, page: Page[Any] | None, *, patient: bool) -> None:
        while page is not None:
            await self._offer(page)
            if len(self._found) == len(self._wanted):
                return
            if not patient and self._read >= TRIED and len(self._found) < self._read:
                log.info("%s: %d pages showed %d wanted records", self._name, self._read, len(self._found))
                return
            page = await self._page()

    async def _page(self) -> Page[Any] | None:
        page = await anext(self._walk, None)
        self._read += page is not None
        return page

    async def _gather(self) -> None:
        self._ids += await self._fetch.gather(1 << 62)

    async def _offer(self, page: Page[Any]) -> None:
        if not self._wanted:
            self._wanted = Counter(id for id in self._ids if isinstance(id, str))
        # The bytes of a page are not those of one record.
        response = msgspec.structs.replace(page.response, body=b"")
        for item in page.data:
            for id in {item.id, item.remote_id}:
                if id in self._wanted and id not in self._found:
                    self._found.add(id)
                    result: Answer = self._get.answer(data=item)
                    attach(result, response)
                    await self._fetch.offer(id, result, self._wanted[id])

    def _leave(self) -> None:
        self._fetch.source.put_back(id for id in self._ids if not (isinstance(id, str) and id in self._found))

    def _choose(self, strategy: Literal["get", "list"], pages: int | None, reason: str) -> None:
        ids = len(self._ids) if self._fetch.source.ended else self._fetch.total
        self._chosen = True
        _choose(self._name, self._fetch, strategy, ids, pages, reason)
