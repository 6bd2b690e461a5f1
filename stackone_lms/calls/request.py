"""`client.request`: any endpoint of the API, also one that has no method here."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, cast, get_args
from urllib.parse import unquote

import msgspec

from ..errors import InvalidArgumentError
from ..models.base import Answer
from ..models.bodies import prepare_any
from ..models.decode import Decoder
from ..safe_json import FAILURES
from .operation import CallArguments, Operation
from .query import encode_parameters

T = TypeVar("T")

REQUEST_KEYWORDS = ("query", "body", "headers", "account_id", "answer")
"""Keywords of `client.request`."""
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*", re.ASCII)


class RequestResult(Answer, Generic[T], kw_only=True, frozen=True):
    """The answer to `client.request`. `T` is the type of what it holds, as `answer=` asked for it."""

    data: T
    """What came, of the type that was asked for, else plain JSON; None if the answer was empty."""


class RequestOperation(Operation[RequestResult[T]]):
    """An operation that is declared by its call.

    Args:
        method: HTTP method.
        path: Path below the base URL, encoded.
        answer: Type of what the answer holds.
        needs_account: Whether it is performed in a linked account.
    """

    may_be_empty = True
    declared = False

    def __init__(self, method: str, path: str, answer: Any, *, needs_account: bool) -> None:
        super().__init__(method, f"{method} {path}", path, RequestResult[answer])
        self.needs_account = needs_account
        self._data = answer

    @functools.cached_property
    def decoder(self) -> Any:
        """Decodes its answers."""
        decode: Callable[..., Any] = _decoder(self._data)
        # Plain values keep all that was sent anyway.
        struct = any(isinstance(t, type) and issubclass(t, msgspec.Struct) for t in (self._data, *get_args(self._data)))

        def wrap(body: bytes, *, keep_unknown: bool = False) -> RequestResult[T]:
            return RequestResult(data=decode(body, keep_unknown=keep_unknown and struct) if body else None)  # type: ignore[arg-type]

        return wrap


@functools.lru_cache(maxsize=64)
def _decoder(answer: Any) -> Decoder[Any]:
    return Decoder(answer)


def describe_request(
    method: Any, path: Any, *, query: Any, body: Any, answer: Any, needs_account: bool
) -> tuple[RequestOperation[Any], CallArguments]:
    """Check a request of the caller's own, and return it as an operation and its arguments.

    Raises:
        InvalidArgumentError: Something cannot be sent.
    """
    if method not in METHODS:
        raise InvalidArgumentError(f"method must be one of {', '.join(METHODS)}, not {method!r:.60}")
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        raise InvalidArgumentError(
            "path must begin with / and hold no host, no query and nothing that has to be encoded "
            f"(urllib.parse.quote(id, safe='')), not {path!r:.60}"
        )
    if path.startswith("//") or any(part in {".", ".."} for part in unquote(path).split("/")):
        raise InvalidArgumentError(f"path must not have dot segments or begin with //, not {path!r:.60}")
    if body is not None and method == "GET":
        raise InvalidArgumentError("a GET takes no body; give query=")
    encoded = None if body is None else prepare_any(body)
    parameters = "" if query is None else encode_parameters("query", query)
    try:
        operation: RequestOperation[Any] = RequestOperation(method, path, answer, needs_account=needs_account)
        operation.decoder  # noqa: B018 (made here, so that a type that cannot be decoded is refused before any I/O)
    except RecursionError:
        raise
    except (TypeError, *FAILURES) as error:
        raise InvalidArgumentError(f"answer must be a type that msgspec decodes: {error}") from None
    return operation, CallArguments(query=parameters, body=encoded)


def merged_headers(own: Mapping[str, str], given: Any) -> Any:
    """Return the headers that a view adds, with those of one request."""
    return {**own, **cast("Mapping[Any, Any]", given)} if isinstance(given, Mapping) else given
