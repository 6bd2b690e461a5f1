"""Hooks: functions of the caller that see each request before it is sent, each answer, and each retry.

What observers are told of calls passes here, too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from copy import copy
from inspect import isawaitable
from typing import Any, NoReturn, Self, TypeAlias, cast

import msgspec

from ..calls.operation import Operation
from ..checks import check_function
from ..errors import InvalidArgumentError, StackOneError
from ..transport.base import Request, Response, SecretBytes, Transport, TransportError
from .admission import Waited
from .concurrency import WaitReason
from .deadlines import Deadline
from .headers import RequestHeaders, redact_also
from .observers import AttemptEnd, Audience, CallEnd, CallStart, RetryScheduled, Told, WaitEnd, ask, members_of, tell
from .rate_limit import Clock
from .responses import Redact, about, request_id_of


class HookData(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Base of what hooks receive: shows no headers, no query and no body, and is not pickled with them."""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot be pickled: it holds headers and bodies")


class HookRequest(HookData, frozen=True, eq=False, kw_only=True):
    """A request that is about to be sent: what `on_request` receives."""

    operation: str
    """What was called, such as `completions.get`."""
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


class HookResponse(HookData, frozen=True, eq=False, kw_only=True):
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


class HookRetry(HookData, frozen=True, eq=False, kw_only=True):
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
    """What of the caller's sees the calls of a client: the hooks, and the observers.

    Args:
        on_request: One, several, or None.
        on_response: One, several, or None.
        on_retry: One, several, or None.
        observer: One, several, or None.
        base_url: Where the API is.
        clock: Monotonic seconds.

    Attributes:
        observers: Who is told of bulk fetches and exports.
        of_calls: Who is told of calls.
        functions: Whether there are hooks, and not observers alone.

    Raises:
        ConfigurationError: One of them is no function of one argument, or no observer.
    """

    def __init__(
        self, on_request: Any, on_response: Any, on_retry: Any, observer: Any, base_url: str, clock: Clock
    ) -> None:
        self.on_request: tuple[OnRequest, ...] = _functions("on_request", on_request, "HookRequest")
        self.on_response: tuple[OnResponse, ...] = _functions("on_response", on_response, "HookResponse")
        self.on_retry: tuple[OnRetry, ...] = _functions("on_retry", on_retry, "HookRetry")
        self.functions = bool(self.on_request or self.on_response or self.on_retry)
        self.observers: Audience = members_of(observer)
        self.of_calls: Audience = self.observers
        self.base_url, self.clock = base_url, clock

    def __bool__(self) -> bool:
        return self.functions or bool(self.observers)

    def within(self, audience: Audience) -> Hooks:
        """Return the same for the calls of a bulk fetch, of which `audience` is told instead of the observers."""
        hooks = copy(self)
        hooks.observers, hooks.of_calls = (), audience
        return hooks

    def call(
        self, operation: Operation[Any], account_id: str | None, headers: tuple[Mapping[str, str], Mapping[str, str]],
        redact: Redact,
    ) -> HookedCall | None:  # fmt: skip
        """Begin a call; None if nobody wants to see it.

        Args:
            operation: What is called.
            account_id: In which account.
            headers: Those of requests without a body and with one, before any are added.
            redact: Takes the secrets of the view out of what a server echoed.
        """
        audience: list[Told] = []
        if self.of_calls:
            start = CallStart(
                operation=operation.name,
                method=operation.method,
                path_template=operation.path if operation.declared else None,
                account_id=account_id,
                base_url=self.base_url,
            )
            audience = ask(self.of_calls, "call_started", start)
        if not audience and not self.functions:
            return None
        return HookedCall(self, audience, operation, account_id, headers, redact)


class HookedCall:
    """One call that hooks or observers see; a context, in which it runs.

    Attributes:
        functions: Whether there are hooks, and not observers alone.
        redact: Takes the secrets of the request out of what a server echoed, the added headers included.
        waited: Hears of waits; None if nobody wants to.
    """

    __slots__ = (
        "_account_id",
        "_attempts",
        "_audience",
        "_began",
        "_headers",
        "_hooks",
        "_operation",
        "_redact",
        "_sent",
        "_shown",
        "functions",
        "redact",
        "waited",
    )

    def __init__(
        self, hooks: Hooks, audience: Audience, operation: Operation[Any], account_id: str | None,
        headers: tuple[Mapping[str, str], Mapping[str, str]], redact: Redact,
    ) -> None:  # fmt: skip
        self._hooks, self._audience, self._operation, self._account_id = hooks, audience, operation, account_id
        self._headers, self._redact = headers, redact
        self.redact, self.functions = redact, hooks.functions
        self.waited: Waited | None = self._waited if audience else None
        self._attempts = 0
        self._shown: HookRequest | None = None
        self._began = self._sent = hooks.clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._audience:
            seconds = self._hooks.clock() - self._began
            tell(self._audience, "ended", CallEnd(attempts=self._attempts, seconds=seconds, error=error))

    def _waited(self, reason: WaitReason, seconds: float) -> None:
        tell(self._audience, "waited", WaitEnd(reason=reason, seconds=seconds))

    async def before(self, request: Request, attempt: int) -> None:
        """Call the hooks of a request that is about to be sent, and give it the headers that they add.

        Args:
            request: The request.
            attempt: Which attempt it is, from 1.

        Raises:
            InvalidArgumentError: What a hook returned is no mapping of headers that can be added.
        """
        headers = self._headers[request.body is not None]
        shown = self._shown = HookRequest(
            operation=self._operation.name,
            account_id=self._account_id,
            attempt=attempt,
            method=request.method,
            path=request.path,
            query=request.query,
            headers=RequestHeaders(headers),
            body=request.body,
        )
        for hook in self._hooks.on_request:
            added: object = await _called(hook, shown)
            if isinstance(added, Mapping):
                shown.headers.update(cast("Mapping[str, str]", added))
            elif added is not None:
                raise InvalidArgumentError(
                    f"on_request must return a mapping of headers or None, not {type(added).__name__}"
                )
        request.headers = shown.headers.onto(headers)
        values = [value for value in shown.headers.added.values() if value is not None]
        self.redact = redact_also(self._redact, values)
        self._sent = self._hooks.clock()

    async def send(self, transport: Transport, request: Request, deadline: Deadline) -> Response:
        """Send the request, and tell observers of its beginning and end."""
        self._attempts += 1
        audience = self._audience
        if not audience:
            return await transport.send(request, deadline)
        headers = request.headers
        added = ask(audience, "attempt_started", self._attempts)
        if added:
            request.headers = self._with_headers(headers, added)
        status, request_id = None, None
        problem: BaseException | None = None
        began = self._hooks.clock()
        try:
            response = await transport.send(request, deadline)
        except TransportError as failed:
            problem = failed.error
            raise
        except BaseException as raised:
            problem = deadline.timed_out() if deadline.fired and not deadline.closing else raised
            raise
        else:
            status, request_id = response.status, request_id_of(response, self.redact)
            return response
        finally:
            request.headers = headers
            end = AttemptEnd(
                number=self._attempts,
                seconds=self._hooks.clock() - began,
                status=status,
                request_id=request_id,
                error=problem,
            )
            tell(audience, "attempt_ended", end)

    def _with_headers(self, headers: Mapping[str, str], added: list[Told]) -> Mapping[str, str]:
        held = RequestHeaders(headers)
        for member, given in added:
            try:
                held.update(given)
            except (StackOneError, TypeError, ValueError) as problem:
                member.failed("attempt_started", problem)
        return held.onto(headers)

    async def answered(self, response: Response) -> None:
        """Call the hooks of an answer."""
        if self._shown is None or not self._hooks.on_response:
            return
        elapsed, body = self._hooks.clock() - self._sent, self.redact(response.body)
        shown = HookResponse(
            request=self._shown,
            elapsed=elapsed,
            body=SecretBytes(body) if self._operation.secret else body,
            **about(response, self.redact),
        )
        for hook in self._hooks.on_response:
            await _called(hook, shown)

    async def retried(self, error: StackOneError, pause: float) -> None:
        """Call the hooks of a retry."""
        if self._audience:
            tell(self._audience, "retrying", RetryScheduled(number=self._attempts, error=error, pause=pause))
        if self._shown is None:
            return
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
