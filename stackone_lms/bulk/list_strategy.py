"""`strategy="list"` and `"auto"`: taking records from the pages of their list instead of getting them one by one."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Literal

import msgspec

from ..calls.lists import AsyncPager
from ..calls.operation import AsyncExecutor, Operation
from ..engine.stats import Choice
from ..errors import StackOneError
from ..models.base import Answer, Page, attach
from .workers import Fetch, ListStep, is_fatal

log = logging.getLogger("stackone_lms")

Strategy = Literal["get", "list", "auto"]

PAGE_SIZE = 100
"""Records a page: the most that the API's older guide names; the newer ones name no maximum."""
MIN_IDS_FOR_LIST = 10
"""With fewer ids the list is not asked."""
IDS_TO_COUNT = 1000
"""Ids that are read at most to decide, if their number is not known."""
TRIAL_PAGES = 5
"""A list of unknown size is read on after so many pages only if it has shown a wanted record a page."""


def list_first(
    name: str, get: Operation[Any], pages: Callable[[AsyncExecutor], AsyncPager[Any]], strategy: Strategy
) -> ListStep:
    """Return the step that takes the wanted records from the pages of the list, before the others are fetched singly.

    Args:
        name: Name of the bulk operation, such as `completions.get_many`.
        get: The operation that gets one record; results are of the type of its answer.
        pages: Makes a pager of the list.
        strategy: `list`, or `auto`.
    """

    async def list_step(fetch: Fetch[Any]) -> None:
        async with aclosing(pages(fetch.executor).pages()) as walk:
            await _ListReader(name, get, walk, fetch).run(auto=strategy == "auto")

    return list_step


def only_gets(name: str, reason: str) -> ListStep:
    """Return the step that notes in the statistics why every record is fetched singly."""

    async def list_step(fetch: Fetch[Any]) -> None:
        _record(name, fetch, "get", fetch.total, None, reason)

    return list_step


def _record(
    name: str, fetch: Fetch[Any], strategy: Literal["get", "list"], ids: int | None, pages: int | None, reason: str
) -> None:
    choice = Choice(operation=name, strategy=strategy, ids=ids, pages=pages, reason=reason)
    fetch.executor.bulk_context().choices.append(choice)
    log.info("%s: strategy %s: %s", name, strategy, reason)


class _ListReader:
    """Takes the wanted records of one fetch from the pages of the list."""

    def __init__(
        self, name: str, get: Operation[Any], walk: AsyncGenerator[Page[Any], None], fetch: Fetch[Any]
    ) -> None:
        self._name, self._get, self._pages, self._fetch = name, get, walk, fetch
        self._ids: list[Any] = []
        self._wanted: Counter[str] = Counter()
        self._found: set[str] = set()
        self._read = 0
        self._recorded = False

    async def run(self, *, auto: bool) -> None:
        """Read the list as far as that pays, and give back the ids that it did not show."""
        try:
            if auto:
                await self._decide()
            else:
                await self._read_all_ids()
                self._record("list", None, "it was asked for")
                await self._read_pages(await self._next_page(), to_the_end=True)
        except StackOneError as error:
            if is_fatal(error):
                self._give_back_rest()
                self._fetch.stop(error)
                return
            failed = f"the list failed after {self._read} pages ({type(error).__name__})"
            if self._recorded:
                log.info("%s: %s", self._name, failed)
            else:
                self._record("get", None, failed)
        self._give_back_rest()

    async def _decide(self) -> None:
        fetch = self._fetch
        self._ids = await fetch.read_ids(IDS_TO_COUNT)
        size = len(self._ids) if fetch.source.ended else fetch.total
        if size is not None and size < MIN_IDS_FOR_LIST:
            return self._record("get", None, f"{size} ids are not worth a look at the list")
        page = await self._next_page()
        if page is None:
            return self._record("get", 0, "the list has no pages")
        pages = 1 if not page.next else math.ceil(page.total / PAGE_SIZE) if page.total else None
        least = size or len(self._ids)
        if pages is not None and pages >= least:
            self._record("get", pages, f"{least} single gets are no more requests than {pages} pages")
            return await self._deliver(page)  # it was read, so it may serve
        await self._read_all_ids()
        if pages is None:
            self._record("list", None, "the list does not tell its size; it is read while that pays")
        else:
            self._record("list", pages, f"{pages} pages are fewer requests than {len(self._ids)} single gets")
        return await self._read_pages(page, to_the_end=pages is not None)

    async def _read_pages(self, page: Page[Any] | None, *, to_the_end: bool) -> None:
        while page is not None:
            await self._deliver(page)
            if len(self._found) == len(self._wanted):
                return
            if not to_the_end and self._read >= TRIAL_PAGES and len(self._found) < self._read:
                log.info("%s: %d pages showed %d wanted records", self._name, self._read, len(self._found))
                return
            page = await self._next_page()

    async def _next_page(self) -> Page[Any] | None:
        page = await anext(self._pages, None)
        self._read += page is not None
        return page

    async def _read_all_ids(self) -> None:
        self._ids += await self._fetch.read_ids(1 << 62)

    async def _deliver(self, page: Page[Any]) -> None:
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
                    await self._fetch.deliver(id, result, self._wanted[id])

    def _give_back_rest(self) -> None:
        self._fetch.source.give_back(id for id in self._ids if not (isinstance(id, str) and id in self._found))

    def _record(self, strategy: Literal["get", "list"], pages: int | None, reason: str) -> None:
        ids = len(self._ids) if self._fetch.source.ended else self._fetch.total
        self._recorded = True
        _record(self._name, self._fetch, strategy, ids, pages, reason)
