"""A transport without a network: it answers from a table, and keeps what it was asked."""

from __future__ import annotations

import copy
import inspect
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import responses
from re import Pattern
from typing import Any, Self, cast
from urllib.parse import parse_qsl, unquote

from multidict import CIMultiDict, MultiDict, MultiDictProxy

from ..errors import APITimeoutError, ConnectError, RateLimitError, StackOneError, TLSError
from ..models import encode
from ..safe_json import parse
from ..transport.base import Request, Response, Secret, TimeLimits, Transport, TransportError

_NOTHING: Any = object()


class UnexpectedRequestError(AssertionError):
    """A request was sent for which the test has no answer.

    It is no StackOneError, so that the code under test does not take it for a failure of the API.
    """


@dataclass(frozen=True, slots=True)
class SentRequest:
    """A request as the transport got it.

    Attributes:
        method: HTTP method.
        path: Path as on the wire, percent-encoded.
        query: Decoded query; compares equal to a dict, and `query.getall(name)` gives the values of a repeated name.
        headers: Headers in any case, without `Authorization` and `x-account-id`. Not shown in the repr.
        account_id: The account it is for.
        body: The body, empty if there is none. Not shown in the repr.
    """

    method: str
    path: str
    query: MultiDictProxy[str]
    headers: Mapping[str, str] = field(repr=False)
    account_id: str | None
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """Return the body decoded to plain values; None if there is none."""
        return parse(self.body) if self.body else None

    def __str__(self) -> str:
        query = "&".join(f"{name}={value}" for name, value in self.query.items())
        return f"{self.method} {self.path}{'?' if query else ''}{query}"


@dataclass(frozen=True, slots=True)
class _Route:
    """The answers prepared for some requests."""

    method: str
    path: str | Pattern[str]
    query: frozenset[tuple[str, str]]
    answers: deque[tuple[Any, int, Mapping[str, str] | None]]

    def matches(self, sent: SentRequest) -> bool:
        if sent.method != self.method or not self.query <= set(sent.query.items()):
            return False
        if isinstance(self.path, str):
            return self.path in (sent.path, unquote(sent.path))
        return self.path.fullmatch(sent.path) is not None

    @property
    def precision(self) -> tuple[int, bool]:
        return len(self.query), isinstance(self.path, str)

    def __str__(self) -> str:
        path = self.path if isinstance(self.path, str) else self.path.pattern
        query = "&".join(f"{name}={value}" for name, value in sorted(self.query))
        return f"{self.method} {path}{'?' if query else ''}{query}"


def answer(content: Any = _NOTHING, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Make an answer.

    Args:
        content: Bytes as they are to arrive, or anything that is JSON: dicts, lists, models. Left out, an error gets
            a body such as the API sends, and anything else an empty one.
        status: HTTP status.
        headers: Headers besides `Content-Type: application/json`.
    """
    if content is _NOTHING:
        content = _error_body(status) if status >= 400 else b""
    body = content if isinstance(content, bytes) else encode(content)
    return Response(status, CIMultiDict({"Content-Type": "application/json", **(headers or {})}), body)


def _error_body(status: int) -> dict[str, Any]:
    message = responses.get(status, f"status {status}")
    return {"statusCode": status, "message": message, "timestamp": "2024-01-01T00:00:00.000Z"}


class InMemoryTransport(Transport):
    """Answers from a table that the test fills, instead of the network.

        transport = InMemoryTransport()
        transport.reply("GET", "/unified/lms/completions/1", {"data": {"id": "1"}})
        client = AsyncClient("key", "account", transport=transport)

    Any number of clients may use it, of both kinds, one after the other or at once.

    Attributes:
        requests: Every request so far, as `SentRequest`, the unexpected ones included.
    """

    def __init__(self) -> None:
        self.requests: list[SentRequest] = []
        self._routes: dict[tuple[str, str | Pattern[str], frozenset[tuple[str, str]]], _Route] = {}

    def reply(
        self,
        method: str,
        path: str | Pattern[str],
        content: Any = _NOTHING,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Self:
        """Prepare an answer; several for the same requests are given in turn, the last one from then on.

        Where a request fits several, the one with the most `query` wins, then a path over a pattern, then the first.

        Args:
            method: HTTP method.
            path: The whole path, plain or percent-encoded, or a compiled pattern that fits the whole encoded path.
            content: What `answer` takes; a Response that it made; an exception to fail with; or a function that gets
                the `SentRequest` and returns (or, as a coroutine function, is awaited for) any of these.
            status: HTTP status.
            headers: Headers besides `Content-Type: application/json`.
            query: Parameters that the request has to have, decoded; it may have others too.

        Returns:
            The transport itself.
        """
        key = method.upper(), path, frozenset((query or {}).items())
        route = self._routes.setdefault(key, _Route(*key, deque()))
        content = _ready(content, status, headers)  # now, so that what is wrong shows where it was written
        route.answers.append((content, status, headers))
        return self

    async def send(self, request: Request, limits: TimeLimits) -> Response:
        """Give the prepared answer.

        Raises:
            UnexpectedRequestError: There is none.
            TransportError: An exception was prepared.
        """
        sent = _record(request)
        self.requests.append(sent)
        limits.progress()
        fitting = [route for route in self._routes.values() if route.matches(sent)]
        if not fitting:
            prepared = ", ".join(str(route) for route in self._routes.values()) or "nothing"
            raise UnexpectedRequestError(f"no answer is prepared for {sent}; prepared is: {prepared}")
        answers = max(fitting, key=lambda route: route.precision).answers
        content, status, headers = answers[0] if len(answers) == 1 else answers.popleft()
        if callable(content):
            try:
                content = content(sent)
                if inspect.isawaitable(content):
                    content = await content
            except Exception as error:  # noqa: BLE001 (what is no failure of the network is raised below)
                content = error
        if isinstance(content, Exception):
            raise _failure(content)
        return content if isinstance(content, Response) else answer(content, status, headers)


def _ready(content: Any, status: int, headers: Mapping[str, str] | None) -> Any:
    if isinstance(content, type):
        raise TypeError("prepare an instance, such as ConnectError('refused'), not a class")
    kept = isinstance(content, Exception | Response) or callable(content)
    return content if kept else answer(content, status, headers)


def _record(request: Request) -> SentRequest:
    shown = {name: value for name, value in request.headers.items() if not isinstance(value, Secret)}
    account_id = shown.pop("x-account-id", None)
    return SentRequest(
        request.method,
        request.path,
        MultiDictProxy(MultiDict(parse_qsl(request.query, keep_blank_values=True))),
        CIMultiDict(shown),
        account_id,
        request.body or b"",
    )


def _failure(error: Exception) -> Exception:
    """Return what a transport raises for `error`: as the default one does, with foreign exceptions mapped to ours."""
    if isinstance(error, StackOneError):
        unsent = isinstance(error, ConnectError | TLSError | RateLimitError) or (
            isinstance(error, APITimeoutError) and error.phase == "connect"
        )
        fresh = cast("StackOneError", copy.copy(error))  # each call has an error of its own to write on
        return TransportError(fresh, request_sent=not unsent, max_retries=None if error.retryable else 0)
    from aiohttp import ClientError  # noqa: PLC0415 (nothing else here needs aiohttp)

    from ..transport.errors import translate  # noqa: PLC0415

    return translate(error) if isinstance(error, ClientError | OSError) else error
