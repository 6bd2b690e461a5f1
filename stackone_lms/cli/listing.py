"""`stackone-lms list`: records, page after page."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from ..errors import DecodeError, PaginationError, StackOneError
from ..safe_json import repair
from . import completion
from .arguments import (
    Fields,
    Proxy,
    Raw,
    Resource,
    check_ids,
    columns,
    find,
    method,
    moment,
    names,
    narrowing,
    read_query,
    warn_of_fields,
)
from .connection import Connection, connected
from .messages import console, draws, note, problem
from .output import Form, Output, Wide, Writer, for_list, on_terminal

if TYPE_CHECKING:
    from ..calls.lists import SyncPager

Ids = Annotated[list[str] | None, typer.Argument(metavar="USER_ID", help="The user's id, for users.* only.")]


class _Items(msgspec.Struct):
    data: list[msgspec.Raw] | None = None


_split = msgspec.json.Decoder(_Items).decode


@connected
def command(
    connection: Connection,
    resource: Resource,
    ids: Ids = None,
    everything: Annotated[bool, typer.Option("--all", help="Fetch all pages.")] = False,
    max_items: Annotated[
        int | None, typer.Option("--max-items", metavar="N", min=1, help="Fetch pages until there are N items.")
    ] = None,
    narrow: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="K=V",
            help="A filter of the API, such as status=...; repeat it.",
            autocompletion=completion.filters,
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="DATE", help="Only what changed after a day (2026-01-31) or a time."),
    ] = None,
    page_size: Annotated[
        int | None, typer.Option("--page-size", metavar="N", min=1, help="Items per page. The API's default is 25.")
    ] = None,
    start: Annotated[str | None, typer.Option("--next", metavar="CURSOR", help="Continue from this cursor.")] = None,
    raw: Raw = False,
    field: Fields = None,
    proxy: Proxy = None,
    output: Output = None,
    wide: Wide = False,
) -> None:
    """Print the items of a list exactly as the server sent them: one page, or more with --all or --max-items.

    stderr shows the cursor to continue from, also after a failure. Empty pages are skipped.
    With --raw each line is a whole page, provider calls included.

    For example:

    stackone-lms list users.completions 4711 --all --since 2026-01-31 --field id,result
    """
    declared = find(resource, "list")
    check_ids(declared, ids or [])
    form = for_list(output) if output or not raw else Form.JSON if on_terminal() else Form.JSONL
    if raw and form in (Form.TABLE, Form.CSV):
        raise typer.BadParameter(f"a {form} cannot show --raw; take json or jsonl", param_hint="--output")
    if raw and max_items is not None:
        raise typer.BadParameter("--raw prints whole pages; limit them with --page-size", param_hint="--max-items")
    query = read_query(raw, field, proxy) | narrowing(declared, [*(narrow or ()), *_since(since, narrow)])
    warn_of_fields(names(field or ()), [declared])
    if page_size is not None:
        query["page_size"] = page_size
    if start:
        query["next"] = start
    with connection.client() as client:
        pager: SyncPager[Any] = method(client, declared)(*(ids or []), **query)
        walk = _Printing(pager, Writer(form, columns(declared, field, form), wide=wide), start)
        walk.run(everything=everything, most=max_items, whole_pages=raw)


def _since(since: str | None, narrow: list[str] | None) -> list[str]:
    """Return `--since` as the filter that it stands for."""
    if since is None:
        return []
    if any(one.partition("=")[0] == "updated_after" for one in narrow or ()):
        raise typer.BadParameter("means --filter updated_after: give one of them", param_hint="--since")
    return [f"updated_after={moment(since, '--since')}"]


class _Printing:
    """Prints pages, and knows how far it came."""

    def __init__(self, pager: SyncPager[Any], writer: Writer, start: str | None) -> None:
        self._pager, self._writer = pager, writer
        self._position = start  # the cursor of what has not been printed whole
        self._printed = 0

    def run(self, *, everything: bool, most: int | None, whole_pages: bool) -> None:
        try:
            with _count_shown() as show:
                cut = self._print(show, everything=everything, most=most, whole_pages=whole_pages)
        except (StackOneError, KeyboardInterrupt) as error:
            if isinstance(error, PaginationError):
                self._position = error.cursor
            if self._printed:
                note(f"{_items(self._printed)} so far{self._how_to_go_on()}")
            raise
        self._writer.end()
        if cut:
            note(f"{_items(self._printed)}; more follow{self._how_to_go_on(' (from the start of the last page)')}")
        elif self._position:
            note(f"{_items(self._printed)}; more follow{self._how_to_go_on(' (or --all)')}")
        _report(self._pager.errors)

    def _print(self, show: Callable[[int], None], *, everything: bool, most: int | None, whole_pages: bool) -> bool:
        """Print as much as is wanted; tell whether that ended within a page."""
        for page in self._pager.pages():
            items = [bytes(item) for item in _split(repair(page.body)).data or ()]
            taken = items if most is None else items[: most - self._printed]
            self._writer.write([page.body] if whole_pages else taken)
            self._printed += len(taken)
            show(self._printed)
            if len(taken) < len(items):
                return True
            self._position = page.next or None
            enough = bool(items) and not everything if most is None else self._printed == most
            if enough:
                break
        return False

    def _how_to_go_on(self, more: str = "") -> str:
        return f": --next {quote(self._position)}{more}" if self._position else ""


@contextmanager
def _count_shown() -> Generator[Callable[[int], None]]:
    """Show the count of items on stderr while stdout goes elsewhere."""
    if on_terminal() or not draws():
        yield lambda _: None
        return
    with console(stderr=True).status(_items(0)) as status:
        yield lambda count: status.update(_items(count))


def _items(count: int) -> str:
    return "1 item" if count == 1 else f"{count} items"


_MOST_TOLD = 10


def _report(undecoded: list[DecodeError]) -> None:
    if not undecoded:
        return
    for error in undecoded[:_MOST_TOLD]:
        note(f"{error.path}: {error.message}")
    problem(f"DecodeError: {_items(len(undecoded))} not as the API documents them; printed as they came")
    raise typer.Exit(1)
