"""What the sandbox received and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(slots=True)
class Received:
    """One request, as it came.

    Attributes:
        method: HTTP method.
        path: Path as on the wire, still percent-encoded.
        query: Query as on the wire, without the `?`.
        headers: Header names in lower case; of a repeated one the last. Not shown in the repr.
        body: The body, decompressed; empty if there was none.
        status: HTTP status of the answer; 0 until it is known.
        ignored: Query parameters that the operation does not have, such as a flat `status`.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    status: int = 0
    ignored: tuple[str, ...] = ()


class ServerResponse(NamedTuple):
    """An answer before it is sent."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}
