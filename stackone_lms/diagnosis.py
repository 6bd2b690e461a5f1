"""What is configured, and whether it works: `client.check()` and `stackone-lms doctor`."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Mapping
from html import unescape
from importlib.metadata import version
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

from ._version import __version__
from .api.platform import LinkedAccounts
from .api.resources import Users
from .calls.lists import WALK_PAGE
from .engine.call import BoundExecutor
from .engine.lifecycle import running_loop
from .errors import (
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    ConfigurationError,
    ConnectError,
    NotFoundError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionFailedError,
    ProviderCredentialsError,
    StackOneError,
    TLSError,
    printable,
)
from .models.accounts import LinkedAccount
from .network import Network

Status = Literal["ok", "warning", "failure"]

_MOST_NAMED = 5
"""Accounts that are named where one has to be chosen."""


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    name: str
    """What, such as `API key`."""
    status: Status
    """How it is; a `failure` has to be mended before calls work."""
    message: str
    """What was found. Nothing secret."""
    fix: str | None = None
    """What to do about it."""


class CheckReport(msgspec.Struct, frozen=True):
    """Everything that was looked at, from the configuration to a first page of users.

    What cannot work because of an earlier failure is left out.
    """

    checks: tuple[Check, ...]
    """In the order in which it was looked at."""

    @property
    def ok(self) -> bool:
        """Whether there is no failure."""
        return all(check.status != "failure" for check in self.checks)

    @property
    def failures(self) -> tuple[Check, ...]:
        """What failed."""
        return tuple(check for check in self.checks if check.status == "failure")

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, such as for a support ticket: there is nothing secret in it."""
        return {"ok": self.ok, "checks": [msgspec.to_builtins(check) for check in self.checks]}


class Subject(NamedTuple):
    """What is looked at: a client, in parts."""

    account: BoundExecutor
    """Performs calls in its account."""
    nobody: BoundExecutor
    """Performs calls without one."""
    url: str
    """Its base URL."""
    network: Network
    """How it reaches the API."""
    sources: Mapping[str, str]
    """Where its settings come from."""
    limits: str
    """Time limit, attempts and rate limit in words."""


def not_configured(error: ConfigurationError, sources: Mapping[str, str]) -> CheckReport:
    """Return the report about a client that cannot be made."""
    fix = "set STACKONE_API_KEY, or run: stackone-lms configure" if "no API key" in error.message else None
    known = [f"{name} from {source}" for name, source in sources.items() if source != "default"]
    found = "; ".join([error.message, *known])
    return CheckReport((_versions(), Check("configuration", "failure", found, fix or "mend it, then try again")))


def origin(source: str) -> str:
    """Return in words where a setting comes from."""
    return "(default)" if source == "default" else f"(from {source})"


async def diagnose(subject: Subject) -> CheckReport:
    """Look at everything; what a call fails with becomes a line."""
    running_loop()
    checks = [_versions(), *_configured(subject)]
    try:
        await _look_at_the_way(subject, checks)
        accounts = await _look_at_the_key(subject, checks)
        if await _look_at_the_account(subject, checks, accounts):
            await _look_at_users(subject, checks)
    except _FailedError as failed:
        checks.append(failed.check)
    checks.append(_transport(subject))
    return CheckReport(tuple(checks))


class _FailedError(Exception):
    """What follows cannot work either."""

    def __init__(self, check: Check) -> None:
        super().__init__(check.name)
        self.check = check


def _versions() -> Check:
    packages = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "msgspec", "anyio"))
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return Check("versions", "ok", f"stackone-lms {__version__}, {python}, {packages}, {sys.platform}")


def _configured(subject: Subject) -> list[Check]:
    account_id = subject.account.settings.account_id
    from_where = {name: origin(source) for name, source in subject.sources.items()}
    proxy = "none"
    if subject.network.proxy is not None:
        source = subject.sources["proxy"]
        login = " with a password" if subject.network.proxy.authorization is not None else ""
        proxy = f"{subject.network.proxy.url}{login} (from {'the environment' if source == 'default' else source})"
    account = "no account" if account_id is None else f"account {account_id} {from_where['account_id']}"
    url = f"URL {subject.url} {from_where['base_url']}"
    return [
        Check("configuration", "ok", f"API key {from_where['api_key']}, {account}, {url}"),
        Check("limits", "ok", subject.limits),
        Check("proxy", "ok", proxy),
    ]


async def _look_at_the_way(subject: Subject, checks: list[Check]) -> None:
    if not subject.network.own_connections:
        checks.append(Check("network", "ok", "not looked at: requests go through what the application gave"))
        return
    from .transport.probe import look_at_tls, look_up  # noqa: PLC0415 (loads aiohttp)

    try:
        host, addresses = await look_up(subject.url, subject.network.proxy)
    except (StackOneError, TimeoutError) as error:
        raise _failed("name resolution", error) from None
    checks.append(Check("name resolution", "ok", f"{host}: {', '.join(addresses)}"))
    if urlsplit(subject.url).scheme != "https":
        checks.append(Check("TLS", "ok", "not used: plain http to this machine"))
        return
    try:
        found = await look_at_tls(subject.url, subject.network.proxy, subject.network.make_ssl)
    except (StackOneError, OSError) as error:
        failed = _failed("TLS", error)
        if isinstance(error, TLSError) and "not trusted" not in error.message:
            fix = "what answers there may speak plain http: check the URL and its port"
            failed = _FailedError(msgspec.structs.replace(failed.check, fix=fix))
        raise failed from None
    checks.append(Check("TLS", "ok", f"{found.version}, the certificate was signed by {found.issuer}"))


async def _look_at_the_key(subject: Subject, checks: list[Check]) -> list[LinkedAccount] | None:
    """Return the accounts of the key; None: it may not see them."""
    try:
        page = await LinkedAccounts(subject.nobody).list().first_page()
    except PermissionDeniedError as error:
        if refused_in_between(error):
            raise _failed("API key", error) from None
        fix = "give the key the scope accounts, unless that is on purpose"
        checks.append(Check("API key", "warning", f"it may not list accounts: {_told(error)}", fix))
        return None
    except StackOneError as error:
        raise _failed("API key", error) from None
    active = sum(account.status == "active" for account in page.data)
    more = " or more" if len(page.data) >= WALK_PAGE else ""
    checks.append(Check("API key", "ok", f"accepted; it has {len(page.data)}{more} accounts, {active} of them active"))
    return page.data


async def _look_at_the_account(subject: Subject, checks: list[Check], accounts: list[LinkedAccount] | None) -> bool:
    """Tell whether calls can be tried in the account."""
    id = subject.account.settings.account_id
    active = [f"{one.id} ({one.name})" for one in accounts or () if one.status == "active"]
    choose = "choose one that is active: " + ", ".join(active[:_MOST_NAMED]) if active else None
    if choose is not None and len(active) > _MOST_NAMED:
        choose += f" and {len(active) - _MOST_NAMED} more"
    if id is None:
        none = "none of the accounts is active: link one" if accounts else "link an account first"
        fix = f"set STACKONE_ACCOUNT_ID, or account_id in a profile: {choose}" if choose else none
        checks.append(Check("account", "warning", "none is set, so that no records can be read", fix))
        return False
    try:
        account = (await LinkedAccounts(subject.nobody).get(id)).data
    except NotFoundError:
        raise _FailedError(Check("account", "failure", f"the key has no account {id}", choose)) from None
    except PermissionDeniedError as error:
        if refused_in_between(error):
            raise _failed("account", error) from None
        checks.append(Check("account", "warning", f"it cannot be looked at: {_told(error)}"))
        return True
    except StackOneError as error:
        raise _failed("account", error) from None
    if account.status == "active":
        checks.append(Check("account", "ok", f"{printable(account.name)} ({id}) is active"))
        return True
    reasons = [text for one in account.status_reasons or () if (text := one.description or one.code)]
    told = printable("; ".join([f"{account.name} ({id}) is {account.status}", *reasons]), 500)
    raise _FailedError(Check("account", "failure", told, "enable it, or link it again"))


async def _look_at_users(subject: Subject, checks: list[Check]) -> None:
    try:
        page = await Users(subject.account).list(page_size=1).first_page()
    except NotSupportedError as error:
        checks.append(Check("users", "warning", f"the provider cannot list users: {_told(error)}"))
        return
    except StackOneError as error:
        raise _failed("users", error) from None
    response = page.response
    checks.append(Check("users", "ok", f"a first page came in {response.elapsed * 1000:.0f} ms"))
    limits = [f"{name.lower()}: {printable(value, 80)}" for name, value in response.headers.items() if _is_limit(name)]
    if limits:
        checks.append(Check("rate limit", "ok", ", ".join(limits)))


def _is_limit(name: str) -> bool:
    return "ratelimit" in name.lower().replace("-", "") or name.lower() == "retry-after"


def _transport(subject: Subject) -> Check:
    used = subject.account.engine.transport
    if used is None:
        return Check("transport", "ok", "not used yet")
    kind = type(used).__name__
    if kind not in {"AutoTransport", "LeanTransport", "AiohttpTransport"}:
        return Check("transport", "ok", "one that the application gave")
    from .transport.aiohttp_internals import UNUSABLE, session_replaced  # noqa: PLC0415 (loads aiohttp)

    if kind == "LeanTransport" or (kind == "AutoTransport" and not session_replaced()):
        return Check("transport", "ok", "lean")
    if kind == "AutoTransport":
        return Check("transport", "ok", "aiohttp sessions, since they are mocked or traced here")
    if UNUSABLE is not None:
        fix = "install a version of aiohttp that it knows; all works, with more CPU time"
        return Check("transport", "warning", f"aiohttp sessions, since the lean one cannot be used: {UNUSABLE}", fix)
    return Check("transport", "ok", "aiohttp sessions, as was asked for")


_FIXES: tuple[tuple[type[Exception], str], ...] = (
    (ProviderCredentialsError, "the account's login at its provider does not work any more: link the account again"),
    (AuthenticationError, "check the key: it is not accepted"),
    (PermissionDeniedError, "give the key the permissions that it needs"),
    (PreconditionFailedError, "enable the account, or link it again"),
    (TLSError, "if it is a proxy's, name its CA: SSL_CERT_FILE, ca_bundle in the profile, or ca_bundle= in Python"),
    (ConnectError, "check the network, the URL (STACKONE_BASE_URL) and the proxy (HTTPS_PROXY)"),
    (APITimeoutError, "check the network and the proxy; or it may pass: try again"),
    (OSError, "check the network, the URL (STACKONE_BASE_URL) and the proxy (HTTPS_PROXY)"),
)


def _failed(name: str, error: Exception) -> _FailedError:
    fix = next((fix for kind, fix in _FIXES if isinstance(error, kind)), None)
    if refused_in_between(error):
        fix = REFUSED_IN_BETWEEN
    return _FailedError(Check(name, "failure", _told(error), fix))


def _told(error: Exception) -> str:
    if isinstance(error, StackOneError):
        page = text_of_page(error)
        return printable(f"{type(error).__name__}: {error}" + (f"; what answered says: {page}" if page else ""), 500)
    return "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__


REFUSED_IN_BETWEEN = "this is no answer of the API: something in between refuses, such as a firewall or a proxy"


def refused_in_between(error: Exception) -> bool:
    """Tell whether a refusal is not the API's own: that comes as JSON."""
    return isinstance(error, PermissionDeniedError) and isinstance(error.body, str)


_PAGE_PARTS = re.compile(r"<(script|style|head)\b.*?</\1\s*>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_LONGEST_TEXT = 300


def text_of_page(error: StackOneError) -> str:
    """Return what an answer that is not the API's says to people, without its HTML, in a line.

    Empty if that is nothing, or the answer is JSON.
    """
    if not isinstance(error, APIStatusError) or not isinstance(error.body, str):
        return ""
    text = " ".join(unescape(_PAGE_PARTS.sub(" ", error.body[:20_000])).split())
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "..."
