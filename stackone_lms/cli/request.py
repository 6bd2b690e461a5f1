"""`stackone-lms request`: any endpoint of the API."""

from __future__ import annotations

from types import EllipsisType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .accounts import ShowCredentials, without_credentials
from .arguments import pairs
from .connection import Connection, connected
from .output import Output, write_one
from .writing import DryRun, confirm_delete, from_json, read_body, show_requests

if TYPE_CHECKING:
    from ..sync import SyncClient


@connected
def command(
    connection: Connection,
    method: Annotated[str, typer.Argument(metavar="METHOD", help="GET, POST, PUT, PATCH or DELETE.")],
    path: Annotated[str, typer.Argument(metavar="PATH", help="Path below the base URL, such as /unified/lms/users.")],
    query: Annotated[
        list[str] | None,
        typer.Option("--query", metavar="K=V", help="A query parameter; the key may have brackets. Repeat it."),
    ] = None,
    body: Annotated[str | None, typer.Option("--body", metavar="FILE", help="The body as JSON; - is stdin.")] = None,
    no_account: Annotated[
        bool, typer.Option("--no-account", help="Send no account, for endpoints that belong to none.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a DELETE.")] = False,
    dry_run: DryRun = False,
    show_credentials: ShowCredentials = False,
    output: Output = None,
) -> None:
    r"""Send a request to any endpoint of the API and print its answer, for what has no command here.

    Limits, retries and errors are those of all commands. For example:

    stackone-lms request GET /unified/lms/users --query page_size=2 --query 'filter\[updated_after]=2026-01-31'

    stackone-lms request PATCH /accounts/4711 --no-account --body account.json
    """
    if no_account and connection.account is not None:
        raise typer.BadParameter("excludes --account", param_hint="--no-account")
    method = method.upper()
    content: Any = None if body is None else from_json(read_body(body), f"{body} is no JSON")
    account: EllipsisType | None = None if no_account else ...
    sent: Any = method  # checked by the client, whose message names those that there are

    def call(client: SyncClient) -> Any:
        parameters = pairs(query or (), "--query")
        return client.request(sent, path, query=parameters or None, body=content, account_id=account)

    if dry_run:
        show_requests(connection, call)
        return
    if method == "DELETE" and not yes:
        confirm_delete(path)
    with connection.client() as client:
        answer = call(client).body
    if answer.strip():
        write_one(answer if show_credentials else without_credentials(answer), output)
