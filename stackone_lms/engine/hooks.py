"""Hooks: functions of the caller that see each request before it is sent, each answer, and each retry."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from inspect import isawaitable
from typing import Any, NoReturn, TypeAlias, cast

import msgspec

from ..calls.operation import Operation
from ..checks import check_function
from ..errors import InvalidArgumentError, StackOneError
from ..transport.base import Request, Response, SecretBytes
from .headers import RequestHeaders, redact_also
from .rate_limit import Clock
from .responses import Redact, about


class _Shown(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Base of what hooks receive: shows no headers, no query and no body, and is not pickled with them."""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot be pickled: it holds headers and bodies")


class HookRequest(_Shown, frozen=True, eq=False, kw_only=True):
    """A request that is about to be sent: what `on_request` receives."""

    operation: str
    """What was called, such as `Completions.get`."""
    account_id: str | None
    """The linked account; None for what belongs to none."""
    attempt: int
    """Which request of the call it is, from 1."""
    method: str
    """HTTP method."""
    path: str
    """Percent-encoded path, from the root of the host."""
    query: str
    """Percent-encoded query string, without `?`; may be empty."""
    headers: RequestHeaders
    """Its headers without `Authorization`, to add to; later changes have no effect."""
    body: bytes | None
    """What is sent, or None."""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in ("operation", "account_id", "attempt", "method", "path")]


class HookResponse(_Shown, frozen=True, eq=False, kw_only=True):
    """An answer of any status, before it is decoded: what `on_response` receives."""

    request: HookRequest
    """What it answers."""
    status: int
    """HTTP status code."""
    headers: Mapping[str, str]
    """Headers, names in lower case, without the API key if that came back in them."""
    request_id: str | None
    """StackOne's id of the request."""
    elapsed: float
    """Seconds from the sending of the request to the last byte of the answer."""
    body: bytes
    """The decompressed body, without the API key if that came back in it; of an error its first 64 KiB."""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in ("status", "request_id", "elapsed", "request")]


class HookRetry(_Shown, frozen=True, eq=False, kw_only=True):
    """A request that failed and will be sent again: what `on_retry` receives."""

    request: HookRequest
    """What failed."""
    error: StackOneError
    """What it failed with."""
    pause: float
    """Seconds until the next one."""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("error", self.error), ("pause", self.pause), ("request", self.request)]


OnRequest: TypeAlias = Callable[[HookRequest], Mapping[str, str] | Awaitable[Mapping[str, str] | None] | None]
"""Sees a request, and may add headers: by changing `request.headers`, or by returning a mapping."""
OnResponse: TypeAlias = Callable[[HookResponse], object]
"""Sees an answer. What it returns is awaited if that is possible, and then not looked at."""
OnRetry: TypeAlias = Callable[[HookRetry], object]
"""Sees that a request will be sent again. What it returns is awaited if that is possible, and then not looked at."""


class Hooks:
    """The hooks of a client.

    Args:
        on_request: One, several, or None.
        on_response: One, several, or None.
        on_retry: One, several, or None.

    Raises:
        ConfigurationError: One of them is no function of one argument.
    """

    def __init__(self, on_request: Any, on_response: Any, on_retry: Any) -> None:
        self.on_request: tuple[OnRequest, ...] = _functions("on_request", on_request, "HookRequest")
        self.on_response: tuple[OnResponse, ...] = _functions("on_response", on_response, "HookResponse")
        self.on_retry: tuple[OnRetry, ...] = _functions("on_retry", on_retry, "HookRetry")

    def __bool__(self) -> bool:
        return bool(self.on_request or self.on_response or self.on_retry)

    async def before(
        self, operation: Operation[Any], account_id: str | None, request: Request, headers: Mapping[str, str],
        redact: Redact, clock: Clock, attempt: int,
    ) -> HookedAttempt:  # fmt: skip
        """Call the hooks of a request that is about to be sent, and give it the headers that they add.

        Args:
            operation: What was called.
            account_id: In which account.
            request: The request.
            headers: Its headers without those that were added before an earlier attempt.
            redact: Takes the secrets of the view out of what a server echoed.
            clock: Monotonic seconds.
            attempt: Which attempt it is, from 1.

        Raises:
            InvalidArgumentError: What a hook returned is no mapping of headers that can be added.
        """
        shown = HookRequest(
            operation=operation.name,
            account_id=account_id,
            attempt=attempt,
            method=request.method,
            path=request.path,
            query=request.query,
            headers=RequestHeaders(headers),
            body=request.body,
        )
        for hook in self.on_request:
            added: object = await _called(hook, shown)
            if isinstance(added, Mapping):
                shown.headers.update(cast("Mapping[str, str]", added))
            elif added is not None:
                raise InvalidArgumentError(
                    f"on_request must return a mapping of headers or None, not {type(added).__name__}"
                )
        request.headers = shown.headers.onto(headers)
        values = [value for value in shown.headers.added.values() if value is not None]
        return HookedAttempt(self, shown, redact_also(redact, values), operation.secret, clock)


class HookedAttempt:
    """One request whose hooks were called, for the hooks of what comes of it.

    Attributes:
        redact: Takes the secrets of the request out of what a server echoed, the added headers included.
    """

    __slots__ = ("_clock", "_hooks", "_secret", "_shown", "_started", "redact")

    def __init__(self, hooks: Hooks, shown: HookRequest, redact: Redact, secret: bool, clock: Clock) -> None:
        self._hooks, self._shown, self.redact, self._secret = hooks, shown, redact, secret
        self._clock, self._started = clock, clock()

    async def answered(self, response: Response) -> None:
        """Call the hooks of an answer."""
        if not self._hooks.on_response:
            return
        elapsed, body = self._clock() - self._started, self.redact(response.body)
        shown = HookResponse(
            request=self._shown,
            elapsed=elapsed,
            body=SecretBytes(body) if self._secret else body,
            **about(response, self.redact),
        )
        for hook in self._hooks.on_response:
            await _called(hook, shown)

    async def retried(self, error: StackOneError, pause: float) -> None:
        """Call the hooks of a retry."""
        shown = HookRetry(request=self._shown, error=error, pause=pause)
        for hook in self._hooks.on_retry:
            await _called(hook, shown)


async def _called(hook: Callable[[Any], object], shown: object) -> object:
    result = hook(shown)
    return await cast("Awaitable[object]", result) if isawaitable(result) else result


def _functions(name: str, given: Any, takes: str) -> tuple[Any, ...]:
    """Return one function or several as a tuple."""
    if given is None:
        return ()
    hooks = tuple(cast("Iterable[Any]", given)) if isinstance(given, list | tuple) else (given,)
    for hook in hooks:
        check_function(name, hook, f"a function of one argument, the {takes}, or a list of such functions", 1)
    return hooks
