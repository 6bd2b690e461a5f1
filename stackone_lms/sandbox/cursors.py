"""Cursors as the API makes them: base64url of JSON that holds positions and nothing of the query.

A cursor says where a list goes on, so the same filter and page size have to be sent with it.
"""

import json
from base64 import urlsafe_b64decode
from typing import Any, NamedTuple

from .identifiers import base64url
from .problems import Problem

_VERSION = 2
_MADE_AT = 1_782_864_000_000  # a fixed moment, so that equal seeds give equal bytes


class PagePosition(NamedTuple):
    """Where a page starts: its number in the sequence (from 1) and the records before it."""

    number: int
    position: int


def encode(step: str, place: PagePosition) -> str:
    """Make the cursor for a page of the list `step`."""
    steps = {step: {"n": place.number, "c": None, "p": place.position}}
    return base64url(json.dumps({"r": steps, "v": _VERSION, "t": _MADE_AT}, separators=(",", ":")).encode())


def decode(step: str, cursor: str) -> PagePosition:
    """Read a cursor of the list `step`.

    Raises:
        Problem: 400 if it is not one.
    """
    try:
        content: Any = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        found = content["r"][step]
        number, position = found["n"], found["p"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Problem.invalid("next is not a cursor of this list") from None
    if type(number) is not int or type(position) is not int or number < 1 or position < 0:
        raise Problem.invalid("next is not a cursor of this list")
    return PagePosition(number, position)
