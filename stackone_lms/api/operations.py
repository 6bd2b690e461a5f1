"""The table of all operations, read off their declarations in `resources`."""

from __future__ import annotations

from functools import lru_cache
from itertools import takewhile
from typing import Any, NamedTuple, cast

from ..calls.operation import Operation, Resource
from . import resources

_ROOT = "/unified/lms/"


class Declared(NamedTuple):
    """One operation, and where it is found on a client."""

    resource: str
    """The attribute of the client, dotted where nested, such as `users.completions`."""
    verb: str
    """The method of the resource, such as `get`."""
    operation: Operation[Any]
    """What the API document says about it."""


@lru_cache(maxsize=1)
def operations() -> tuple[Declared, ...]:
    """Return every operation that the clients offer, in the order of their declaration.

    What a client makes out of several calls, such as `get_many`, is no operation of the API and is left out.
    """
    found: dict[str, Declared] = {}
    for kind in vars(resources).values():
        if not isinstance(kind, type) or not issubclass(kind, Resource) or kind is Resource:
            continue
        members = cast("dict[str, Any]", vars(kind))  # pyright: ignore[reportUnknownArgumentType]
        declared = {verb: getattr(member, "operation", None) for verb, member in members.items()}
        own: dict[str, Operation[Any]] = {verb: op for verb, op in declared.items() if isinstance(op, Operation)}
        name = _attribute([operation.path for operation in own.values()])
        for verb, operation in own.items():
            found.setdefault(operation.id, Declared(name, verb, operation))
    return tuple(found.values())


def _attribute(paths: list[str]) -> str:
    # Attributes are named as the pages of the API: by the part of the path that all operations of a resource share.
    levels = zip(*(path.removeprefix(_ROOT).split("/") for path in paths), strict=False)
    shared = takewhile(lambda parts: len(set(parts)) == 1, levels)
    return ".".join(part for part, *_ in shared if not part.startswith("{"))
