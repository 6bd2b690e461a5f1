"""`create`, `upsert`, `update`, `delete`, `batch-upsert`: bodies from the command line, a file or stdin."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import msgspec
import typer

from ..errors import APITimeoutError, StackOneError, UnexpectedResponseError
from .arguments import Resource, find, method
from .connection import Connection, connected
from .messages import note
from .output import Form, Output, Writer, on_terminal, write_json, write_one

if TYPE_CHECKING:
    from ..api.operations import Declared
    from ..models import BatchResult
    from ..sync import SyncClient
    from ..transport.base import Request

Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID] K=V", help="The id, where the operation has one, then fields of the body."),
]
Body = Annotated[
    str | None, typer.Option("--body", metavar="FILE", help="The body as JSON; - is stdin. Fields given as K=V win.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check everything, show the request, and send nothing; needs no key.")
]

_WAIT = 300.0
"""Seconds that `--wait` waits for the outcomes of a batch."""
_PLACEHOLDER = "dry-run"


@connected
def create(
    connection: Connection,
    resource: Resource,
    words: Words = None,
    body: Body = None,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Create a record: an assignment or completion of a user, or a collection.

    Dots reach into objects; a list or object is given as JSON. For example:

    stackone-lms create users.completions 4711 learning_object_external_reference=C-1 result=Pass score.percentage=90
    """
    _write_one("create", connection, resource, words or [], body, dry_run=dry_run, output=output)


@connected
def upsert(
    connection: Connection,
    resource: Resource,
    words: Words = None,
    body: Body = None,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    r"""Create a record, or replace the one with this external_reference; fields that are not given become empty.

    For example:

    stackone-lms upsert content external_reference=C-1 title='Fire Safety' 'languages=\["en_GB"]'

    stackone-lms upsert content --body content.json --dry-run
    """
    _write_one("upsert", connection, resource, words or [], body, dry_run=dry_run, output=output)


@connected
def update(
    connection: Connection,
    resource: Resource,
    words: Words = None,
    body: Body = None,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Change fields of a record. The newest API version has no such operation; accounts on older ones have.

    For example:

    stackone-lms update content 4711 external_reference=C-1 title='Fire Safety'
    """
    _write_one("update", connection, resource, words or [], body, dry_run=dry_run, output=output)


@connected
def delete(
    connection: Connection,
    resource: Resource,
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="For users.* the user's id, then the record's.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Delete a record, after asking.

    For example:

    stackone-lms delete users.completions 4711 4712 --yes
    """
    declared = find(resource, "delete")
    if len(ids) != declared.operation.arity:
        raise typer.BadParameter(f"delete {resource} takes USER_ID ID, and {len(ids)} given", param_hint="IDS")
    if not yes and not dry_run:
        confirm_delete(f"{resource} {' '.join(ids)}")
    _send(connection, lambda client: method(client, declared)(*ids), output, dry_run=dry_run)


@connected
def batch_upsert(
    connection: Connection,
    resource: Resource,
    body: Annotated[
        str, typer.Option("--body", metavar="FILE", help="The items: JSON lines, or a JSON array; - is stdin.")
    ],
    wait: Annotated[bool, typer.Option("--wait", help="Ask the log until it tells what became of each item.")] = False,
    wait_timeout: Annotated[
        float | None,
        typer.Option("--wait-timeout", metavar="SECONDS", min=0, help="How long to wait. Default: 300."),
    ] = None,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Create or replace many records, and print the result of each item.

    `accepted` items are worked off in the background. --wait waits for that: items are then `succeeded`, `failed`, or,
    at the end of the time, `pending`. It asks the log, about every ten seconds; `stackone-lms logs REQUEST_ID` shows
    it. The exit code is 1 unless all items were accepted, with --wait unless all succeeded. For example:

    stackone-lms batch-upsert content --body contents.jsonl --wait
    """
    if wait_timeout is not None and not wait:
        raise typer.BadParameter("goes with --wait", param_hint="--wait-timeout")
    declared = find(resource, "batch_upsert")
    items = list(_items(read_body(body), body))
    if dry_run:
        _send(connection, lambda client: method(client, declared)(items), output, dry_run=True)
        return
    with connection.client() as client:
        result = method(client, declared)(items)
        rows = [
            {
                "index": number,
                "external_reference": one.item.get("external_reference"),
                "status": "failed" if one.errors else "accepted",
                "errors": one.errors,
                "request_id": part.request_id,
            }
            for number, (part, one) in enumerate((part, one) for part in result.parts for one in part.items)
        ]
        failure = _wait(client, result, rows, _WAIT if wait_timeout is None else wait_timeout) if wait else None
    write_outcomes(rows, output)
    if failure is not None:
        raise failure


def _wait(client: SyncClient, batch: BatchResult, rows: list[dict[str, Any]], seconds: float) -> StackOneError | None:
    """Wait for what becomes of the items of a batch, and put it into their rows.

    Returns:
        Why that could not be found out; None: it was, or the time was over.
    """
    if not all(part.request_id for part in batch.parts):
        return UnexpectedResponseError(
            "the answer to the batch came without a request id: it was accepted, but its log cannot be asked"
        )
    note(f"accepted, request id {', '.join(str(part.request_id) for part in batch.parts)}; waiting for the outcomes")
    try:
        found = client.logs.wait(batch, timeout=seconds)
    except StackOneError as error:
        if not isinstance(error, APITimeoutError) or error.result is None:
            return error
        note(f"{error.message}; stackone-lms logs REQUEST_ID tells of them later")
        found = error.result
    for row, one in zip(rows, found.items, strict=True):
        row.update(status=one.status, errors=one.errors)
    return None


def write_outcomes(rows: Sequence[dict[str, Any]], output: Form | None) -> None:
    """Write what became of the items of a batch; exit with 1 if one failed."""
    writer = Writer(output or (Form.TABLE if on_terminal() else Form.JSONL), list(rows[0]) if rows else ())
    writer.write([msgspec.json.encode(row) for row in rows])
    writer.end()
    counts = Counter(row["status"] for row in rows)
    note(", ".join(f"{count:,} {status}" for status, count in counts.items()))
    if counts.get("failed") or counts.get("pending"):
        raise typer.Exit(1)


def _write_one(
    verb: str,
    connection: Connection,
    resource: str,
    words: list[str],
    body: str | None,
    *,
    dry_run: bool,
    output: Form | None,
) -> None:
    declared = find(resource, verb)
    arity = declared.operation.arity
    ids, given = words[:arity], words[arity:]
    if len(ids) < arity:
        names = "USER_ID" if "." in resource else "ID"
        raise typer.BadParameter(f"{verb} {resource} takes {names} first", param_hint="IDS")
    fields = _from_file(body) if body is not None else {}
    for text in given:
        _put(fields, text, declared)
    if not fields:
        raise typer.BadParameter("there is nothing to send: give fields as K=V, or --body FILE", param_hint="--body")
    _send(connection, lambda client: method(client, declared)(*ids, fields), output, dry_run=dry_run)


def confirm_delete(what: str) -> None:
    """Ask before something is deleted.

    Raises:
        typer.BadParameter: There is nobody to ask.
        typer.Abort: The answer is no.
    """
    if not sys.stdin.isatty():
        raise typer.BadParameter("add --yes: there is nobody to ask", param_hint="--yes")
    typer.confirm(f"Delete {what}?", abort=True, err=True)


def _send(connection: Connection, call: Callable[[SyncClient], Any], output: Form | None, *, dry_run: bool) -> None:
    if not dry_run:
        with connection.client() as client:
            answer = call(client)
        if answer.body.strip():
            write_one(answer.body, output)
        return
    show_requests(connection, call)


def show_requests(connection: Connection, call: Callable[[SyncClient], Any]) -> None:
    """Print the requests that a call would send, without a key."""
    for request in _requests_of(connection, call):
        shown = {
            "method": request.method,
            "path": request.path,
            **({"query": request.query} if request.query else {}),
            "account_id": str.__str__(request.headers.get("x-account-id", "")),
            "body": msgspec.Raw(request.body) if request.body is not None else None,
        }
        write_json(msgspec.json.encode(shown))


def _requests_of(connection: Connection, call: Callable[[SyncClient], Any]) -> list[Request]:
    """Return the requests that a call would send."""
    from ..sync import SyncClient  # noqa: PLC0415 (not needed for --help)
    from ..transport.base import Response, Transport  # noqa: PLC0415

    caught: list[Request] = []

    class Recorder(Transport):
        async def send(self, request: Request, limits: Any) -> Response:
            caught.append(request)
            return Response(202, {}, b"{}")

    alone = replace(connection, shared_limit=None)  # nothing is sent, so nobody has to be asked
    with alone.make(SyncClient, api_key=_PLACEHOLDER, transport=Recorder()) as client:
        call(client)
    return caught


# Bodies


def read_body(source: str) -> bytes:
    """Return what stands in a file, or comes from stdin for `-`.

    Raises:
        typer.BadParameter: It cannot be read.
    """
    if source == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{source}: {error.strerror}", param_hint="--body") from None


def from_json(text: bytes, otherwise: str) -> Any:
    """Decode JSON of a body.

    Args:
        text: The JSON.
        otherwise: What is said where it is none.

    Raises:
        typer.BadParameter: It is none, or nests too deep.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"{otherwise}: {error}", param_hint="--body") from None
    except RecursionError:
        raise typer.BadParameter(f"{otherwise}: it nests too deep", param_hint="--body") from None


def _from_file(source: str) -> dict[str, Any]:
    value = from_json(read_body(source), f"{source} is no JSON")
    if not isinstance(value, dict):
        raise typer.BadParameter(f"{source} must hold a JSON object", param_hint="--body")
    return cast("dict[str, Any]", value)


def _items(text: bytes, source: str) -> Iterator[dict[str, Any]]:
    """Yield the items of a JSON array, or of lines of JSON."""
    if text.lstrip()[:1] == b"[":
        found: list[Any] = from_json(text, f"{source} is no JSON array")
        numbered = list(enumerate(found, 1))
    else:
        numbered = list[tuple[int, Any]]()
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                numbered.append((number, from_json(line, f"{source}, line {number} is no JSON")))
    if not numbered:
        raise typer.BadParameter(f"{source} has no items", param_hint="--body")
    for number, item in numbered:
        if not isinstance(item, dict):
            raise typer.BadParameter(f"{source}, item {number} is no JSON object", param_hint="--body")
        yield cast("dict[str, Any]", item)


def _put(fields: dict[str, Any], text: str, declared: Declared) -> None:
    """Put what `a.b=value` says into a body."""
    key, equals, value = text.partition("=")
    path = key.split(".")
    if not equals or not all(path):
        raise typer.BadParameter(
            f"{text!r:.60} is not a pair such as title=Text or score.percentage=90", param_hint="K=V"
        )
    holder = fields
    for part in path[:-1]:
        inner = holder.setdefault(part, {})
        if not isinstance(inner, dict):
            raise typer.BadParameter(f"{key} is given both as a value and as an object", param_hint="K=V")
        holder = cast("dict[str, Any]", inner)
    holder[path[-1]] = _value(value, _hint(declared, path))


def _hint(declared: Declared, path: Sequence[str]) -> Any:
    """Return the type of a field of the body; Any where nothing is known of it."""
    from ..models.fields import by_name, record_kind  # noqa: PLC0415 (help needs no models)

    kind: Any = declared.operation.body
    for part in path:
        field = by_name(record).get(part) if (record := record_kind(kind)) else None
        if field is None:
            return Any
        kind = field.type
    return kind


def _value(text: str, hint: Any) -> Any:
    """Read a value: text where the field takes text, else JSON, such as 90, true or ["en_GB"]."""
    from ..models.fields import kinds, literals  # noqa: PLC0415 (as above)

    allowed = kinds(hint)
    if bool in allowed and text in ("true", "false"):
        return text == "true"
    if str in allowed or literals(hint):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
