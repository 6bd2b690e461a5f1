"""How failures are told: class, status, request id, and what to do next."""

from __future__ import annotations

from .. import errors as e
from .messages import problem

_HINTS: tuple[tuple[type[e.StackOneError], str], ...] = (
    (e.InvalidArgumentError, "--help of the command tells what it takes"),
    (e.ProviderCredentialsError, "the account's login at its provider does not work any more: link the account again"),
    (e.AuthenticationError, "the API key is not accepted: check STACKONE_API_KEY"),
    (e.PermissionDeniedError, "the key, or the account at its provider, may not do this"),
    (e.BadRequestError, "check the account (STACKONE_ACCOUNT_ID or --account) and the options"),
    (e.NotFoundError, "check the id, and that it belongs to this account (STACKONE_ACCOUNT_ID or --account)"),
    (e.PreconditionFailedError, "the account is disabled, suspended or expired: enable or link it again"),
    (e.RateLimitError, "wait a little, then try again; --rate-limit slows this program down"),
    (e.NotSupportedError, "the provider behind this account cannot do this"),
    (e.TLSError, "the server's certificate is not trusted here: is there a proxy in between?"),
    (e.ConnectError, "check the network, the address (STACKONE_BASE_URL or --base-url) and HTTPS_PROXY"),
    (e.APITimeoutError, "--timeout allows a call more seconds"),
    (e.RedirectError, "check the address (STACKONE_BASE_URL or --base-url)"),
    (e.PaginationError, "the server's cursors lead nowhere new; what was printed so far is good"),
)

_MISSING = {
    "no API key": "set STACKONE_API_KEY (others on the machine can see --api-key), or begin with: stackone-lms demo",
    "no account id": "set STACKONE_ACCOUNT_ID, or add --account",
}


def exit_code(error: e.StackOneError) -> int:
    """Return the exit code for an error: 2 if the usage is wrong, 1 if the API or the network failed."""
    return 2 if isinstance(error, e.ConfigurationError | e.InvalidArgumentError) else 1


def report(error: e.StackOneError) -> None:
    """Tell about an error in one or two lines."""
    details: list[str] = []
    wait: float | None = getattr(error, "retry_after", None)
    if wait is not None:
        details.append(f"the server asks to wait {wait:g} s")
    if error.attempts > 1:
        details.append(f"{error.attempts} attempts")
    problem("; ".join([f"{type(error).__name__}: {error}", *details]), _hint(error))


def _hint(error: e.StackOneError) -> str | None:
    if isinstance(error, e.ConfigurationError):
        return next((hint for missing, hint in _MISSING.items() if missing in error.message), None)
    known = next((hint for kind, hint in _HINTS if isinstance(error, kind)), None)
    if known is None and error.retryable:
        return "this may pass: try again"
    return known
