"""Every exception the package raises, one class per thing that can go wrong.

All of them carry plain data only, so they pickle, and none of them holds the API key
or a foreign exception that might.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Phase = Literal["pool", "rate_limit", "connect", "read", "attempt", "total"]

_EXCERPT = 200


def printable(text: str, limit: int = _EXCERPT) -> str:
    """Return `text` cut to `limit` characters, with everything escaped that could forge a log line."""
    cut = text if len(text) <= limit else text[:limit] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut)


class Attempt(NamedTuple):
    """One request of a call that failed."""

    status: int | None
    """HTTP status of its answer; None if there was none."""
    error: str
    """Class of what it failed with, such as `RateLimitError`."""
    pause: float | None
    """Seconds until the next one; None if there was none."""


class StackOneError(Exception):
    """Base of all errors of this package.

    Attributes:
        operation: What was called, such as `completions.get`; this and what follows is None or empty where no request
            was described yet.
        account_id: The linked account.
        method: HTTP method.
        path: HTTP path, without the query. (Of a DecodeError it is the path in the document.)
        request_path: HTTP path, of all errors.
        headers: Headers of the last answer, names in lower case, without the API key if that came back in them.
        elapsed: Seconds from the start of the call, waiting included.
        attempt_log: What became of each request, in order.
        message: What happened, in a sentence.
        retryable: Whether the same call may succeed later; the client has already tried `attempts` times.
        attempts: How many requests were sent for the call (0: none).
        request_id: StackOne's id of the last answer (`x-request-id`), to look it up in the logs.
        status: HTTP status of the last answer, None if none was read.
        accepted: Of a batch sent in several requests, the result of those before the one that failed.
        pending: Of a `get_many` that stopped early, the ids that it had read and that have no outcome.
    """

    retryable: bool = False
    operation: str | None = None
    account_id: str | None = None
    method: str | None = None
    path: str | None = None
    request_path: str | None = None
    headers: Mapping[str, str] = {}
    elapsed: float | None = None
    attempt_log: tuple[Attempt, ...] = ()
    attempts: int = 0
    request_id: str | None = None
    status: Any = None
    accepted: Any = None
    pending: list[Any] = []  # noqa: RUF012 (a default that is never mutated)

    def __init__(self, message: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.__dict__.update(details)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.__dict__.copy())

    def __str__(self) -> str:
        where = f"{self.operation}: " if self.operation else ""
        about = [f"status {self.status}"] if self.status and str(self.status) not in self.message else []
        if self.request_id:
            about.append(f"request id {printable(self.request_id, 80)}")
        return f"{where}{self.message} ({', '.join(about)})" if about else f"{where}{self.message}"


def _rebuild(cls: type[StackOneError], details: dict[str, Any]) -> StackOneError:
    return cls(**details)


class ConfigurationError(StackOneError, ValueError):
    """A client was constructed with something that cannot work. Raised before any I/O."""


class InvalidArgumentError(StackOneError, ValueError):
    """A call was given something that cannot be sent. Raised before any I/O."""


class ClientClosedError(StackOneError, RuntimeError):
    """The client is closed, or was closed while the call was under way."""


class WrongLoopError(StackOneError, RuntimeError):
    """The client belongs to another event loop, which is not closed, than the one that is running."""


class SignatureError(StackOneError, ValueError):
    """A webhook is not signed with the secret: forged, changed on its way, or signed with another one."""


class ForkedError(StackOneError, RuntimeError):
    """The client was in use before a fork; the child process needs a client of its own."""


class APIConnectionError(StackOneError):
    """No complete answer was received."""

    retryable = True


class ConnectError(APIConnectionError):
    """No connection could be made: nothing was sent."""


class TLSError(APIConnectionError):
    """The TLS handshake failed (unknown CA, wrong host, expired certificate). Not retried."""

    retryable = False


class ConnectionLostError(APIConnectionError):
    """The connection ended before the answer was complete."""


class ProtocolError(APIConnectionError):
    """The peer does not speak HTTP/1.1 as it should. Not retried."""

    retryable = False


class APITimeoutError(StackOneError, TimeoutError):
    """A time limit passed.

    Attributes:
        phase: Which one: `pool` (waiting for a free slot), `rate_limit` (waiting for the client-side limit
            or a Retry-After), `connect`, `read` (no byte for that long), `attempt` or `total`.
        result: What there was by then, of what waits for a result in parts, such as `logs.wait`; else None.
    """

    retryable = True
    phase: Phase = "total"
    result: Any = None


class APIStatusError(StackOneError):
    """The API answered with an error status.

    Attributes:
        status: HTTP status code.
        message: The API's own message, or the reason phrase.
        body: The decoded JSON body, or its text (first 64 KiB) if it is not JSON.
        error_code: The machine-readable name (`errorCode`), e.g. `AccountExpiredCredentialsError`.
        provider_errors: What the provider behind the account answered: mappings with `status`, `url`,
            `raw` and `headers`, each possibly missing.
        timestamp: The server's time of the error, as sent.
        retry_after: Seconds that the server asks to wait, if it does.
    """

    status: int = 0
    body: Any = None
    error_code: str | None = None
    provider_errors: list[dict[str, Any]] = []  # noqa: RUF012 (a default that is never mutated)
    timestamp: str | None = None
    retry_after: float | None = None

    def __str__(self) -> str:
        code = f" [{printable(self.error_code, 80)}]" if self.error_code else ""
        where = f"{self.operation}: " if self.operation else ""
        request = f" (request id {printable(self.request_id, 80)})" if self.request_id else ""
        return f"{where}{self.status}{code} {printable(self.message)}{request}"


class BadRequestError(APIStatusError):
    """400: bad parameters or body; also an unknown account id."""


class AuthenticationError(APIStatusError):
    """401: the API key is not accepted."""


class ProviderCredentialsError(AuthenticationError):
    """401 with an `errorCode`: the linked account's credentials at the provider failed."""


def key_refused(error: BaseException | None) -> bool:
    """Tell whether an error says that the API key is not accepted, which every other call would meet too."""
    return isinstance(error, AuthenticationError) and not isinstance(error, ProviderCredentialsError)


class PermissionDeniedError(APIStatusError):
    """403: the key's scope, or the provider's permissions, do not allow it."""


class NotFoundError(APIStatusError):
    """404: no such record, or an unknown account id."""


class RequestTimeoutError(APIStatusError):
    """408: the server gave up after its 60 seconds."""

    retryable = True


class ConflictError(APIStatusError):
    """409: it exists already, or conflicts with what exists."""


class PreconditionFailedError(APIStatusError):
    """412: the linked account is disabled, suspended or expired."""


class UnprocessableEntityError(APIStatusError):
    """422: the body failed validation."""


class RateLimitError(APIStatusError):
    """429: StackOne's limit, or the provider's."""

    retryable = True


class InternalServerError(APIStatusError):
    """500, 503, 504 and other 5xx."""

    retryable = True


class NotSupportedError(APIStatusError):
    """501: this provider does not support the operation."""


class BadGatewayError(APIStatusError):
    """502: the provider failed."""

    retryable = True


class UnexpectedResponseError(StackOneError):
    """An answer arrived that is not what the operation answers.

    Attributes:
        body: What came, without the API key if that was in it.
    """

    body: bytes = b""


class RedirectError(UnexpectedResponseError):
    """A redirect. None is followed: credentials would travel along.

    Attributes:
        location: Where it pointed, without user info, query and fragment.
    """

    location: str | None = None


class DecodeError(UnexpectedResponseError):
    """The body is not JSON of the expected form.

    Attributes:
        path: Where in the document, as a JSON path such as `$.data.completed_at`.
        body: The bytes that did not decode (of one item, when one item of a page is bad).
    """

    path: str = "$"  # pyright: ignore[reportIncompatibleVariableOverride] (never None here)


class IdMismatchError(UnexpectedResponseError):
    """The answer is about another record than the one asked for.

    Attributes:
        expected: The id asked for.
        received: The id that came.
        result: The answer as it was decoded; `verify_ids=False` has it returned.
    """

    expected: str = ""
    received: str | None = None
    result: Any = None


class ResponseTooLargeError(UnexpectedResponseError):
    """The body, once decompressed, is larger than `max_body`."""


class PaginationError(StackOneError):
    """The list cannot go on: the server repeated a cursor, or sent only empty pages.

    Attributes:
        cursor: The cursor that the last good page was asked with; pass it as `next=` to resume.
    """

    cursor: str | None = None


class SharedLimitError(StackOneError):
    """The rate limit that processes share (`SharedLimit`) cannot be used; nothing was sent.

    `.retryable`: it could not be reached until the deadline of the call. Else it is not what it should be: no Redis,
    a wrong password.
    """


class ExportError(StackOneError):
    """An export cannot go on, or would not be exact."""


_BY_STATUS: Mapping[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: RequestTimeoutError,
    409: ConflictError,
    412: PreconditionFailedError,
    422: UnprocessableEntityError,
    429: RateLimitError,
    501: NotSupportedError,
    502: BadGatewayError,
}


def class_for(status: int, error_code: str | None) -> type[APIStatusError]:
    """Return the class for an error status."""
    if status == 401 and error_code and error_code.startswith("Account"):
        return ProviderCredentialsError
    found = _BY_STATUS.get(status)
    if found is not None:
        return found
    return InternalServerError if status >= 500 else APIStatusError
