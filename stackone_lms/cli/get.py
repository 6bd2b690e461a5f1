"""`stackone-lms get`: one record, or several by their ids."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from ..errors import DecodeError
from ..safe_json import repair
from .accounts import ShowCredentials, get_accounts
from .arguments import (
    Fields,
    Proxy,
    Raw,
    Resource,
    check_ids,
    columns,
    find,
    method,
    names,
    read_ids,
    read_query,
    warn_of_fields,
)
from .connection import Connection, connected
from .failures import FailedIds
from .messages import console, draws, note
from .output import Form, Output, Wide, Writer, for_list, on_terminal, write_one

if TYPE_CHECKING:
    from ..api.operations import Declared
    from ..bulk.progress import Progress, Report
    from ..sync import SyncClient

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="The ids; for users.* the user's id before them.")]


@connected
def command(
    connection: Connection,
    resource: Resource,
    ids: Ids = None,
    ids_file: Annotated[
        Path | None,
        typer.Option("--ids-file", metavar="FILE", help="More ids, one per line; - reads them from stdin."),
    ] = None,
    raw: Raw = False,
    field: Fields = None,
    proxy: Proxy = None,
    output: Output = None,
    wide: Wide = False,
    show_credentials: ShowCredentials = False,
) -> None:
    r"""Print one record as JSON, exactly as the server sent it, or several, one per line, in the order of their ids.

    Takes StackOne ids and provider ids. Ids that fail are listed on stderr, and the exit code is then 1.

    For example:

    stackone-lms get completions 4711 --raw --field id,result --proxy 'filter\[eq]\[age]=25'

    stackone-lms get users --ids-file ids.txt --output csv

    RESOURCE accounts prints linked accounts; it needs no --account.
    """
    if resource == "accounts":
        if raw or field or proxy:
            raise typer.BadParameter("linked accounts have no --raw, --field or --proxy", param_hint="RESOURCE")
        several = [*(ids or ()), *(read_ids(ids_file) if ids_file is not None else ())]
        if not several:
            raise typer.BadParameter("get accounts takes ID, and 0 given", param_hint="IDS")
        get_accounts(connection, several, output, show_credentials=show_credentials)
        return
    if show_credentials:
        raise typer.BadParameter("only accounts have credentials", param_hint="--show-credentials")
    declared = find(resource, "get")
    owners = declared.operation.arity - 1
    given = (ids or [])[owners:]
    if ids_file is None and len(given) < 2:
        check_ids(declared, ids or [])
    elif len(ids or []) < owners:
        raise typer.BadParameter(f"get {resource} takes USER_ID before the ids", param_hint="IDS")
    if raw and output in (Form.TABLE, Form.CSV):
        raise typer.BadParameter(f"a {output} cannot show --raw; take json", param_hint="--output")
    query = read_query(raw, field, proxy)
    warn_of_fields(names(field or ()), [declared])
    every = [*given, *(read_ids(ids_file) if ids_file is not None else ())]
    with connection.client() as client:
        if ids_file is None and len(given) == 1:
            _one(connection, method(client, declared), ids or [], query, output, columns(declared, field, Form.CSV))
            return
        form = for_list(output)
        writer = Writer(form, columns(declared, field, form), wide=wide)
        _several(client, declared, (ids or [])[:owners], every, query, writer)


def _one(
    connection: Connection, get: Any, ids: list[str], query: dict[str, Any], output: Form | None, fields: list[str]
) -> None:
    try:
        answer = get(*ids, **query)
    except DecodeError as error:
        # It fits no model, but may be good JSON, which is all that was asked for.
        with suppress(msgspec.DecodeError):
            msgspec.json.format(repair(error.body))
            write_one(error.body, output, fields)
        raise
    write_one(answer.body, output, fields)
    if connection.verbose:
        note(
            f"status {answer.status}, request id {answer.request_id}, {answer.attempts} attempt(s), "
            f"{answer.elapsed * 1000:.0f} ms"
        )


def _several(
    client: SyncClient, declared: Declared, owners: list[str], ids: list[str], query: dict[str, Any], writer: Writer
) -> None:
    """Print the records of many ids, and tell of those that failed."""
    get_many = method(client, declared._replace(verb="get_many"))
    failed = FailedIds()
    with _bar(len(ids)) as bar:
        for outcome in get_many(*owners, ids, ordered=True, strategy="get", progress=bar, **query):
            if outcome.error is None:
                writer.write([_as_sent(outcome.result, whole="raw" in query)])
            else:
                failed.add(outcome.id, outcome.error)
    writer.end()
    failed.end(len(ids))


class _Data(msgspec.Struct):
    data: msgspec.Raw


_split = msgspec.json.Decoder(_Data).decode


def _as_sent(result: Any, *, whole: bool) -> bytes:
    return result.body if whole else bytes(_split(repair(result.body)).data)


@contextmanager
def _bar(total: int) -> Generator[Report | None]:
    """Show how many records there are already, on a terminal that gets nothing else meanwhile."""
    if on_terminal() or not draws():
        yield None
        return
    with console(stderr=True).status(f"0 of {total:,}") as status:

        def show(now: Progress) -> None:
            left = f", {now.eta:,.0f} s left" if now.eta else ""
            status.update(f"{now.done:,} of {total:,}, {now.rate:,.0f} a second{left}")

        yield show
