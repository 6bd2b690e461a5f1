"""How failures are told: class, status, request id, and what to do next."""

from __future__ import annotations

import re
from collections.abc import Sequence

import typer

from .. import errors as e
from .messages import counted, note, problem

_HINTS: tuple[tuple[type[e.StackOneError], str], ...] = (
    (e.InvalidArgumentError, "the command with --help shows what is allowed"),
    (e.ProviderCredentialsError, "the account's login at its provider does not work any more: link the account again"),
    (e.AuthenticationError, "the API key is not accepted: check STACKONE_API_KEY"),
    (e.PermissionDeniedError, "the key, or the account at its provider, may not do this"),
    (e.BadRequestError, "check the account (STACKONE_ACCOUNT_ID or --account) and the options"),
    (e.NotFoundError, "check the id, and that it belongs to this account (STACKONE_ACCOUNT_ID or --account)"),
    (e.PreconditionFailedError, "the account is disabled, suspended or expired: enable or link it again"),
    (e.RateLimitError, "wait a little, then try again; --rate-limit slows this program down"),
    (e.NotSupportedError, "the provider behind this account cannot do this"),
    (e.TLSError, "the server's certificate is not trusted here: is there a proxy in between? --ca-bundle takes its CA"),
    (
        e.ConnectError,
        "check the network, the address (STACKONE_BASE_URL or --base-url) and HTTPS_PROXY or --https-proxy",
    ),
    (e.APITimeoutError, "--timeout allows a call more seconds"),
    (e.SharedLimitError, "check the URL (--shared-limit or STACKONE_SHARED_LIMIT), and what runs there"),
    (e.RedirectError, "check the address (STACKONE_BASE_URL or --base-url)"),
    (e.PaginationError, "the server's cursors lead nowhere new; what came before is good"),
)

_PLAIN_HTTP = re.compile("wrong.version.number|record layer failure|http request", re.IGNORECASE)
"""How OpenSSL's versions say that what came was no TLS."""

_MISSING = {
    "no API key": "set STACKONE_API_KEY (others on the machine can see --api-key), or: stackone-lms configure; "
    "or begin with: stackone-lms demo",
    "no account id": "set STACKONE_ACCOUNT_ID, or add --account; stackone-lms accounts lists them",
}


_MOST_TOLD = 20


def exit_code(error: e.StackOneError) -> int:
    """Return the exit code for an error: 2 if the usage is wrong, 1 if the API or the network failed."""
    return 2 if isinstance(error, e.ConfigurationError | e.InvalidArgumentError) else 1


def report(error: e.StackOneError, command: str | None = None, arguments: Sequence[str] = ()) -> None:
    """Tell about an error in one or two lines.

    Args:
        error: The error.
        command: The command that failed, for hints that fit.
        arguments: What the command was given: what is wrong with an option of it is told by the option's name there.
    """
    from ..diagnosis import text_of_page  # noqa: PLC0415 (not needed for --help)

    details: list[str] = []
    if text := text_of_page(error):
        details.append(f"what answered says: {text}")
    wait: float | None = getattr(error, "retry_after", None)
    if wait is not None:
        details.append(f"the server asks to wait {wait:g} s")
    if error.attempts > 1:
        details.append(f"{error.attempts} attempts")
    from ..transport.base import PRIVATE_CA  # noqa: PLC0415 (not needed for --help)

    said = _by_option(str(error), arguments)
    said = said.replace(PRIVATE_CA, "if it uses a private CA, name that with --ca-bundle or SSL_CERT_FILE")
    problem("; ".join([f"{type(error).__name__}: {said}", *details]), _hint(error, command))


def _by_option(text: str, arguments: Sequence[str]) -> str:
    """Return `lock_timeout must be ...` as `--lock-timeout must be ...`, if that was given."""
    name = re.match(r"[a-z_]+\b", text)
    option = f"--{name[0].replace('_', '-')}" if name else ""
    given = {word.partition("=")[0] for word in arguments}
    return option + text[name.end() :] if name and option in given else text


class FailedIds:
    """Tells of the ids that failed, of those after the first ones only how many there are."""

    def __init__(self) -> None:
        self._count = 0

    def add(self, id: str, error: e.StackOneError) -> None:
        """Tell of one."""
        self._count += 1
        if self._count <= _MOST_TOLD:
            note(f"{id}:")
            report(error)

    def end(self, total: int) -> None:
        """Tell how many of so many failed.

        Raises:
            typer.Exit: There are some; the exit code is 1.
        """
        if self._count:
            more = f"; the first {_MOST_TOLD} are above" if self._count > _MOST_TOLD else ""
            problem(f"{self._count:,} of {counted(total, 'id')} failed{more}")
            raise typer.Exit(1)


def _hint(error: e.StackOneError, command: str | None) -> str | None:
    if isinstance(error, e.NotFoundError) and command == "list":
        return "check the account (STACKONE_ACCOUNT_ID or --account) and the address: a list is there for every account"
    if isinstance(error, e.NotFoundError) and command == "logs":
        return "check the request id; a log comes some seconds after the answer"
    if isinstance(error, e.NotFoundError) and (error.operation or "").startswith("accounts."):
        return "stackone-lms accounts lists the accounts that the key has"
    from ..diagnosis import REFUSED_IN_BETWEEN, refused_in_between  # noqa: PLC0415 (not needed for --help)

    if refused_in_between(error):
        return REFUSED_IN_BETWEEN
    if isinstance(error, e.TLSError | e.ConnectError) and _PLAIN_HTTP.search(error.message):
        return "what answers there speaks plain http, not https: check the address and its port"
    if isinstance(error, e.ConfigurationError):
        return next((hint for missing, hint in _MISSING.items() if missing in error.message), None)
    known = next((hint for kind, hint in _HINTS if isinstance(error, kind)), None)
    if known is None and error.retryable:
        return "this may pass: try again"
    return known
