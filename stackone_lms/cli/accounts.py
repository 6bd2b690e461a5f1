"""`stackone-lms accounts`, and the linked accounts that other commands work on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from ..errors import APIConnectionError, APITimeoutError, AuthenticationError, StackOneError
from ..safe_json import FAILURES, failure, repair
from .all_accounts import check_providers
from .connection import Connection, connected, without
from .failures import FailedIds
from .known_accounts import remember
from .messages import note
from .output import Form, Wide, Writer, for_list, write_one, write_text

if TYPE_CHECKING:
    from ..models import LinkedAccount
    from ..sync import SyncClient


class AccountsForm(StrEnum):
    """How accounts are written."""

    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    TABLE = "table"
    IDS = "ids"


ShowCredentials = Annotated[
    bool, typer.Option("--show-credentials", help="Print the accounts' credentials for their providers, too.")
]

FIRST_COLUMNS = ("origin_owner_name", "id", "status", "provider", "label", "type")
_HIDDEN = msgspec.Raw(b'"***"')


@connected
def _accounts(
    connection: Connection,
    provider: Annotated[
        list[str] | None, typer.Option("--provider", metavar="KEY", help="Only accounts of this provider. Repeat it.")
    ] = None,
    status: Annotated[
        list[str] | None,
        typer.Option("--status", metavar="STATUS", help="Only accounts of this status, such as active. Repeat it."),
    ] = None,
    show_credentials: ShowCredentials = False,
    output: Annotated[
        AccountsForm | None,
        typer.Option(
            "--output", "-o", help="ids prints one id per line. Default: a table on a terminal, jsonl elsewhere."
        ),
    ] = None,
    wide: Wide = False,
) -> None:
    """List the linked accounts of the API key. Needs nothing but the key.

    Their ids are what --account and STACKONE_ACCOUNT_ID take. Only active accounts can be used. For example:

    stackone-lms accounts --status active

    stackone-lms accounts --provider docebo --output ids
    """
    form = None if output is AccountsForm.IDS else for_list(None if output is None else Form(output.value))
    writer = None if form is None else Writer(form, wide=wide, first=FIRST_COLUMNS)
    check_providers(provider)
    query: dict[str, Any] = {}
    if provider:
        query["providers"] = provider
    if status:
        query["status"] = status
    count = 0
    seen: list[LinkedAccount] = []
    with connection.client() as client:
        for records in _pages(client, query, seen):
            count += len(records)
            if writer is None:
                write_text("".join(f"{_id(record)}\n" for record in records))
            else:
                writer.write([record if show_credentials else without_credentials(record) for record in records])
    if writer is not None:
        writer.end()
    remember(connection.profile, connection.base_url, seen, all=not query)
    if not count:
        note("no such account" if query else "the API key has no linked account yet")


command = without(_accounts, "account")


def get_accounts(connection: Connection, ids: Sequence[str], output: Form | None, *, show_credentials: bool) -> None:
    """Print accounts by their ids, each as the server sent it; of several, tell of those that fail.

    Args:
        connection: How to reach the API.
        ids: One or more.
        output: What was asked for.
        show_credentials: Whether their credentials are printed, too.
    """
    with connection.client() as client:
        writer = None if len(ids) == 1 else Writer(for_list(output), first=FIRST_COLUMNS)
        failed = FailedIds()
        for id in ids:
            try:
                body = client.accounts.get(id).body
            except StackOneError as error:
                if writer is None or isinstance(error, AuthenticationError | APIConnectionError | APITimeoutError):
                    raise  # the other ids would fail, too
                failed.add(id, error)
                continue
            shown = body if show_credentials else without_credentials(body)
            if writer is None:
                write_one(shown, output)
            else:
                writer.write([_record(shown)])
        if writer is not None:
            writer.end()
        failed.end(len(ids))


class _Id(msgspec.Struct):
    id: str | None = None


def _pages(client: SyncClient, query: dict[str, Any], models: list[LinkedAccount]) -> Iterator[list[bytes]]:
    """Yield the accounts of each page, as the server sent them; their models are put into a list."""
    seen: set[str | None] = set()
    for page in client.accounts.list(**query).pages():
        new: list[bytes] = []
        for record in _records(page.body):
            id = _id(record)
            if id is None or id not in seen:
                new.append(record)
            seen.add(id)
        models += page.data
        yield new


def _records(body: bytes) -> list[bytes]:
    if body.lstrip()[:1] == b"{":
        return [bytes(one) for one in msgspec.json.decode(body, type=_Page).data]
    return [bytes(one) for one in msgspec.json.decode(body, type=list[msgspec.Raw])]


class _Page(msgspec.Struct):
    data: list[msgspec.Raw] = []


def _record(body: bytes) -> bytes:
    """Return the record of an answer that may have it in `data`."""
    found = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    return bytes(found["data"]) if set(found) == {"data"} else body


def _id(record: bytes) -> str | None:
    try:
        return msgspec.json.decode(record, type=_Id).id
    except FAILURES:
        return None


def without_credentials(body: bytes) -> bytes:
    """Return JSON with `***` in the place of all `credentials`, at any depth; all else stays as it was sent.

    Raises:
        DecodeError: It is no JSON.
    """
    if b"credentials" not in body and b"\\u" not in body:
        return body
    try:
        return bytes(_hide(msgspec.Raw(repair(body))))
    except FAILURES as error:
        raise failure(error, b"") from None


def _hide(value: msgspec.Raw) -> msgspec.Raw:
    first = bytes(value).lstrip()[:1]
    if first == b"{":
        fields = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
        shown: Any = {
            name: _HIDDEN if name == "credentials" and bytes(one) != b"null" else _hide(one)
            for name, one in fields.items()
        }
    elif first == b"[":
        shown = [_hide(one) for one in msgspec.json.decode(value, type=list[msgspec.Raw])]
    else:
        return value
    return msgspec.Raw(msgspec.json.encode(shown))
