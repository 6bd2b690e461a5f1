"""Error answers, with the bodies of the API document."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MESSAGES: Mapping[int, str] = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden resource",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request timed out",
    409: "Conflict",
    412: "Precondition failed",
    413: "Payload Too Large",
    422: "Unprocessable Entity",
    429: "Too many requests",
    500: "Internal server error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}

_OFTEN_WITHOUT_TIMESTAMP = frozenset({400, 404, 502})


@dataclass(eq=False)
class Problem(Exception):  # noqa: N818 (it is an answer)
    """An error answer on its way out.

    Attributes:
        status: HTTP status.
        message: The text of the body; the usual one of the status by default.
        errors: One line per thing that is wrong with the request, sent with 400.
        error_code: StackOne's name for what is wrong with the linked account.
        provider_errors: What the provider answered.
        retry_after: Whole seconds for the `Retry-After` header.
        allow: Methods for the `Allow` header of a 405.
    """

    status: int
    message: str = ""
    errors: Sequence[str] | None = None
    error_code: str | None = None
    provider_errors: Sequence[Mapping[str, Any]] | None = None
    retry_after: int | None = None
    allow: str | None = None

    @classmethod
    def invalid(cls, *errors: str) -> "Problem":
        """Make the 400 for parameters or a body that do not validate."""
        return cls(400, errors=errors)

    def body(self, timestamp: str, *, odd: bool) -> dict[str, Any]:
        """Make the JSON body; an odd one has no timestamp, as in the samples of the API's guides."""
        message = self.message or MESSAGES.get(self.status, "Error")
        body: dict[str, Any] = {"statusCode": self.status, "message": message}
        if not (odd and self.status in _OFTEN_WITHOUT_TIMESTAMP):
            body["timestamp"] = timestamp
        details = {
            "errorCode": self.error_code,
            "errors": self.errors,
            "provider_errors": self.provider_errors,
        }
        return body | {name: detail for name, detail in details.items() if detail is not None}

    def headers(self) -> dict[str, str]:
        """Return the headers that belong to the error."""
        headers: dict[str, str] = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        if self.allow is not None:
            headers["Allow"] = self.allow
        return headers


def provider_error(status: int, url: str, text: str) -> dict[str, Any]:
    """Make one entry of `provider_errors`."""
    return {
        "status": status,
        "url": url,
        "raw": {"error": text},
        "headers": {"content-type": "application/json"},
    }
