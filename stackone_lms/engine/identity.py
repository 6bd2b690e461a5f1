"""Whether an answer is about the record that was asked for.

Ids of StackOne's own are `so1!` and a body, both in base64url: `id:VALUE`, or `key:value,key:value` for composite ids,
with `,` and `:` escaped by a backslash. Providers' own ids are accepted wherever StackOne's are, and so is whatever a
provider resolves, such as an e-mail address.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Literal, TypeAlias

Identity: TypeAlias = Literal["same", "unknown", "doubtful", "other"]
"""`doubtful`: an id of a provider was asked for, and an id of StackOne's came that does not hold it; or an e-mail
address was asked for, and an id came."""

_STACKONE = "c28xIQ"  # base64url("so1!")
_PART = re.compile(r"((?:[^\\,:]|\\.)*):((?:[^\\,]|\\.)*)(?:,|\Z)", re.DOTALL)


def compare(asked: str, id: str | None, remote_id: str | None) -> Identity:
    """Tell how the id that was asked for and those that came belong together.

    `other` only where that is proven: both are StackOne's ids and differ, or both are a provider's and differ also
    without case and leading zeros, as does `remote_id`. An e-mail address is no id.
    """
    if asked in (id, remote_id):
        return "same"
    if not id:
        return "unknown"
    if asked.startswith(_STACKONE):
        return "other" if id.startswith(_STACKONE) else "unknown"
    plain = _plain(asked)
    if remote_id is not None and _plain(remote_id) == plain:
        return "same"
    if id.startswith(_STACKONE):
        return "same" if plain in map(_plain, _held(id)) else "doubtful"
    if _plain(id) == plain:
        return "same"
    return "doubtful" if "@" in asked and "@" not in id else "other"


def goes_by(asked: str, record: object) -> bool:
    """Tell whether a record has what was asked for as its e-mail address or as the caller's own reference."""
    names = (getattr(record, "email", None), getattr(record, "external_reference", None))
    return any(isinstance(name, str) and name.casefold() == asked.casefold() for name in names)


def _plain(id: str) -> str:
    """Return an id as one system may spell it and another not: a GUID in other case, a number with zeros before it."""
    return id.casefold().lstrip("0")


def _held(id: str) -> list[str]:
    """Return the values in an id of StackOne's own; none if it is not made as described."""
    packed = id[len(_STACKONE) :]
    try:
        body = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)).decode()
    except (binascii.Error, ValueError):
        return []
    return [re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL) for _, value in _PART.findall(body)]
