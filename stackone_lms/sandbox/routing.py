"""Which operation a request asks for."""

from collections.abc import Iterable, Sequence
from typing import Generic, Protocol, TypeVar
from urllib.parse import unquote

from .problems import Problem


class Routed(Protocol):
    """What can be found by method and path."""

    @property
    def method(self) -> str:
        """HTTP method."""
        ...

    @property
    def path(self) -> str:
        """Path below the root, ids as `{}`."""
        ...


R = TypeVar("R", bound=Routed)


class Router(Generic[R]):
    """Finds operations by method and raw path."""

    def __init__(self, routes: Iterable[R]) -> None:
        self._shapes: dict[tuple[int, str], list[tuple[tuple[str, ...], R]]] = {}
        for route in routes:
            parts = tuple(route.path.split("/"))
            self._shapes.setdefault((len(parts), parts[0]), []).append((parts, route))

    def find(self, method: str, path: str) -> tuple[R, list[str]]:
        """Return the operation that a raw path below the root asks for, and the decoded ids in it.

        As with the API's web framework, one slash at the end does not matter: an empty id asks for the list.

        Raises:
            Problem: 404 for an unknown path, 405 for a method it does not have, 400 for a bad escape.
        """
        parts = path.removesuffix("/").split("/")
        allowed: list[str] = []
        for pattern, route in self._shapes.get((len(parts), parts[0]), ()):
            if all(part in (given, "{}") for part, given in zip(pattern, parts, strict=True)):
                if route.method == method:
                    return route, _ids(pattern, parts)
                allowed.append(route.method)
        if allowed:
            raise Problem(405, allow=", ".join(sorted(set(allowed))))
        raise Problem(404, "Not Found: there is no such path")


def _ids(pattern: Sequence[str], parts: Sequence[str]) -> list[str]:
    try:
        return [
            unquote(given, errors="strict") if "%" in given else given
            for part, given in zip(pattern, parts, strict=True)
            if part == "{}"
        ]
    except UnicodeDecodeError:
        raise Problem.invalid("the path is not valid UTF-8") from None
