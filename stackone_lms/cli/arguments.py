"""Reading what stands on the command line: resources, `k=v` pairs, names, limits."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from difflib import get_close_matches
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import completion
from .declared import model_of, narrowing_names
from .messages import note
from .output import Form

if TYPE_CHECKING:
    from ..api.operations import Declared

Resource = Annotated[
    str,
    typer.Argument(
        metavar="RESOURCE", help="Such as courses, or users.completions.", autocompletion=completion.resources
    ),
]
Raw = Annotated[bool, typer.Option("--raw", help="Add the calls to the provider behind the answer.")]
Fields = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        metavar="NAME",
        help="Return only this field; repeat it, or separate names by commas.",
        autocompletion=completion.fields,
    ),
]
Proxy = Annotated[
    list[str] | None,
    typer.Option(
        "--proxy", metavar="K=V", help="Pass a parameter to the provider; the key may have brackets. Repeat it."
    ),
]


def find(resource: str, verb: str) -> Declared:
    """Return the operation behind `stackone-lms VERB RESOURCE`.

    Raises:
        typer.BadParameter: There is none; the message names those that there are.
    """
    from ..api.operations import operations  # noqa: PLC0415 (not needed for --help)

    able = {known.resource: known for known in operations() if known.verb == verb}
    if resource in able:
        return able[resource]
    if resource == "accounts":
        raise typer.BadParameter(
            "linked accounts are read by: stackone-lms accounts, and: stackone-lms get accounts ID",
            param_hint="RESOURCE",
        )
    exists = any(known.resource == resource for known in operations())
    close = get_close_matches(resource, able, n=1)
    what = f"{resource} has no {verb}" if exists else f"there is no resource {resource!r:.60}"
    meant = f"; did you mean {close[0]}?" if close and not exists else ""
    raise typer.BadParameter(f"{what}{meant}; allowed: {', '.join(sorted(able))}", param_hint="RESOURCE")


def suggestion(given: str, known: Mapping[str, str]) -> str:
    """Return what to add to a message about a word that is not known, such as `. Did you mean 'export verify'?`.

    Args:
        given: The word.
        known: Words that there are, and how each is written in full.
    """
    close = [given] if given in known else get_close_matches(given, known)
    return f". Did you mean {' or '.join(repr(known[word]) for word in close)}?" if close else ""


def check_ids(declared: Declared, ids: list[str]) -> None:
    """Refuse a wrong number of ids.

    Raises:
        typer.BadParameter: There are too many or too few; the message names those that it takes.
    """
    arity = declared.operation.arity
    if len(ids) == arity:
        return
    names = {(True, 1): "USER_ID", (True, 2): "USER_ID ID", (False, 1): "ID"}.get(("." in declared.resource, arity))
    raise typer.BadParameter(
        f"{declared.verb} {declared.resource} takes {names or 'no id'}, and {len(ids)} given", param_hint="IDS"
    )


def columns(declared: Declared, field: list[str] | None, form: Form) -> list[str]:
    """Return the columns of a table or of csv: those that were asked for, else for csv all that are known."""
    if field or form is not Form.CSV:
        return names(field or ())
    return list(model_of(declared).__struct_encode_fields__)


def warn_of_fields(given: Iterable[str], declared: Iterable[Declared]) -> None:
    """Tell of fields that no record is known to have: the API passes over them."""
    known = {name for one in declared for name in model_of(one).__struct_encode_fields__}
    for name in given:
        if name.partition(".")[0] not in known:
            close = get_close_matches(name, sorted(known), n=1)
            meant = f"did you mean {close[0]}?" if close else f"known are: {', '.join(sorted(known))}"
            note(f"--field {name}: not known here, and the API passes over it; {meant}")


def read_ids(file: Path) -> list[str]:
    """Return the ids of a file, one a line; `-` is stdin.

    Raises:
        typer.BadParameter: It cannot be read, or has none.
    """
    from ..bulk.ids import iterate_ids  # noqa: PLC0415 (not needed for --help)

    try:
        found = list(iterate_ids(sys.stdin if str(file) == "-" else file))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise typer.BadParameter(f"{file}: {reason}", param_hint="--ids-file") from None
    if not found:
        raise typer.BadParameter(f"{file} has no ids", param_hint="--ids-file")
    return found


def method(client: Any, declared: Declared) -> Any:
    """Return the method of a client for an operation."""
    return attrgetter(f"{declared.resource}.{declared.verb}")(client)


def pairs(given: Iterable[str], option: str) -> dict[str, str | list[str]]:
    """Read `k=v` texts; a key that comes again makes a list.

    Raises:
        typer.BadParameter: One is no pair.
    """
    found: dict[str, str | list[str]] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{text!r:.60} is not a pair such as key=value", param_hint=option)
        before = found.get(key)
        if before is None:
            found[key] = value
        else:
            found[key] = [*(before if isinstance(before, list) else [before]), value]
    return found


def names(given: Iterable[str]) -> list[str]:
    """Read names that are repeated, or separated by commas."""
    return [name for text in given for name in (part.strip() for part in text.split(",")) if name]


def read_query(raw: bool, field: list[str] | None, proxy: list[str] | None) -> dict[str, Any]:
    """Return the keywords of a read that were given."""
    query: dict[str, Any] = {}
    if raw:
        query["raw"] = True
    if field:
        query["fields"] = names(field)
    if proxy:
        query["proxy"] = pairs(proxy, "--proxy")
    return query


def narrowing(declared: Declared, given: list[str] | None) -> dict[str, Any]:
    """Return the keywords for `--filter k=v`.

    Raises:
        typer.BadParameter: A key is not known here, or comes twice; the message names those that are allowed.
    """
    allowed = narrowing_names(declared)
    query: dict[str, Any] = {}
    for key, value in pairs(given or (), "--filter").items():
        if key not in allowed:
            known = ", ".join(sorted(allowed))
            raise typer.BadParameter(f"{declared.resource} has no {key!r:.60}; it has: {known}", param_hint="--filter")
        if isinstance(value, list):
            raise typer.BadParameter(f"{key} is given {len(value)} times", param_hint="--filter")
        query[key] = value
    return query


def rate_limit(text: str) -> tuple[int, float] | None:
    """Read `N/SECONDS`, `N` (a minute) or `off`.

    Returns:
        Requests and seconds, or None for no limit.

    Raises:
        typer.BadParameter: It is none of these.
    """
    if text == "off":
        return None
    requests, slash, seconds = text.partition("/")
    try:
        limit = int(requests), float(seconds) if slash else 60.0
    except ValueError:
        limit = 0, 0.0
    if limit[0] < 1 or not 0 < limit[1] < float("inf"):
        raise typer.BadParameter(f"{text!r:.60} is not a limit such as 1000/60, or off", param_hint="--rate-limit")
    return limit


def moment(text: str, option: str) -> str:
    """Check a day or a moment: 2026-01-31, or 2026-01-31T09:30:00Z.

    Raises:
        typer.BadParameter: It is neither.
    """
    try:
        datetime.fromisoformat(text)
    except ValueError:
        allowed = "a day such as 2026-01-31, or a moment such as 2026-01-31T09:30:00Z"
        raise typer.BadParameter(f"{text!r:.60} is not {allowed}", param_hint=option) from None
    return text
