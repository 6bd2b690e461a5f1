"""`stackone-lms get`: one record."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import msgspec
import typer

from ..errors import DecodeError
from .arguments import Fields, Proxy, Raw, Resource, check_ids, find, method, read_query
from .connection import Connection, connected
from .messages import note
from .output import Form, Output, write_one

Ids = Annotated[list[str], typer.Argument(metavar="ID", help="The id; for users.* the user's id before it.")]


@connected
def command(
    connection: Connection,
    resource: Resource,
    ids: Ids,
    raw: Raw = False,
    field: Fields = None,
    proxy: Proxy = None,
    output: Output = None,
) -> None:
    r"""Print one record as JSON, exactly as the server sent it.

    Ids of StackOne and of the provider will do. For example:

    stackone-lms get completions 4711 --raw --field id,result --proxy 'filter\[eq]\[age]=25'
    """
    declared = find(resource, "get")
    check_ids(declared, ids)
    if raw and output is Form.TABLE:
        raise typer.BadParameter("a table cannot show --raw; take json", param_hint="--output")
    query = read_query(raw, field, proxy)
    with connection.client() as client:
        try:
            answer = method(client, declared)(*ids, **query)
        except DecodeError as error:
            # It fits no model, but may be good JSON, which is all that was asked for.
            with suppress(msgspec.DecodeError):
                msgspec.json.format(error.body)
                write_one(error.body, output)
            raise
    write_one(answer.body, output)
    if connection.verbose:
        note(
            f"status {answer.status}, request id {answer.request_id}, {answer.attempts} attempt(s), "
            f"{answer.elapsed * 1000:.0f} ms"
        )
