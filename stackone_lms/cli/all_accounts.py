"""`--all-accounts`: the accounts of an export, looked up at each run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_args

import typer

from .known_accounts import remember
from .messages import note

if TYPE_CHECKING:
    from ..export.state.files import Files
    from ..models import LinkedAccount
    from ..sync import SyncClient
    from .connection import Connection

AllAccounts = Annotated[
    bool,
    typer.Option("--all-accounts", help="Every active account of the API key, listed anew at each run."),
]
Providers = Annotated[
    list[str] | None,
    typer.Option("--provider", metavar="KEY", help="With --all-accounts: only those of this provider. Repeat it."),
]
Statuses = Annotated[
    list[str] | None,
    typer.Option(
        "--status", metavar="STATUS", help="With --all-accounts: only those of this status. Default: active. Repeat it."
    ),
]
Category = Annotated[
    str | None,
    typer.Option("--category", metavar="KEY", help="With --all-accounts: only those of this category, such as lms."),
]

_MOST_TOLD = 20


class Wanted(NamedTuple):
    """Which of all accounts are wanted."""

    providers: Sequence[str]
    statuses: Sequence[str]
    category: str | None


def check_providers(providers: Sequence[str] | None) -> None:
    """Take no empty name for a provider, as of a shell variable that is not set.

    Raises:
        typer.BadParameter: One of them is empty.
    """
    if not all(provider.strip() for provider in providers or ()):
        raise typer.BadParameter("a provider is empty; stackone-lms accounts lists them", param_hint="--provider")


def wanted(
    providers: list[str] | None, statuses: list[str] | None, category: str | None, *, all: bool
) -> Wanted | None:
    """Check the options before anything else is done; None: other accounts are asked for.

    Raises:
        typer.BadParameter: One of them is unknown, or does not go with the others; the message names what is allowed.
    """
    from ..models.accounts import AccountStatusValue, CategoryKey  # noqa: PLC0415 (not needed for --help)

    given = {"--provider": providers, "--status": statuses, "--category": category}
    for option, value in given.items():
        if value and not all:
            raise typer.BadParameter("goes with --all-accounts", param_hint=option)
    for option, values, allowed in (
        ("--status", statuses or [], get_args(AccountStatusValue)),
        ("--category", [category] if category is not None else [], get_args(CategoryKey)),
    ):
        for value in values:
            if value not in allowed:
                raise typer.BadParameter(f"{value!r:.60} is unknown; allowed: {', '.join(allowed)}", param_hint=option)
    check_providers(providers)
    return Wanted(providers or (), statuses or (), category) if all else None


def look_up(connection: Connection, client: SyncClient, wanted: Wanted, target: Files) -> list[LinkedAccount]:
    """Return the accounts that are wanted, and tell of those that are not, or not any more.

    Args:
        connection: How the API is reached.
        client: Asks for the accounts; for their category once for each provider, of one of its accounts.
        wanted: Which.
        target: The folder of the manifest of the export: the accounts that it knows may be gone.

    Raises:
        typer.Exit: There are none.
    """
    every = [account for account in client.accounts.list() if account.id is not None]
    remember(connection.profile, connection.base_url, every, all=True)
    providers = {provider.casefold() for provider in wanted.providers}
    found = [one for one in every if not providers or (one.provider or "").casefold() in providers]
    if wanted.category is not None:
        found = list(_of_category(client, found, wanted.category))
    chosen = [one for one in found if one.status in (wanted.statuses or ("active",))]
    if not wanted.statuses:
        passed_over = [one for one in found if one not in chosen]
        _tell("passed over", (f"{_called(one)}: {_why(one)}" for one in passed_over))
    _tell("no longer linked, what was exported of it stays", _gone(target, {str(one.id) for one in every}))
    if not chosen:
        note("there is no such account: stackone-lms accounts lists them all")
        raise typer.Exit(1)
    return chosen


def _of_category(client: SyncClient, accounts: Iterable[LinkedAccount], category: str) -> Iterable[LinkedAccount]:
    from ..errors import NotFoundError, NotSupportedError  # noqa: PLC0415 (not needed for --help)

    known: dict[str | None, Any] = {}
    for one in accounts:
        if one.provider not in known:
            try:
                known[one.provider] = client.accounts.meta(str(one.id)).category
            except (NotFoundError, NotSupportedError):
                known[one.provider] = None
                note(f"the category of {one.provider} is not known: its accounts are taken")
        if known[one.provider] in (category, None):
            yield one


def _gone(target: Files, linked: set[str]) -> list[str]:
    from ..export.outcome import called  # noqa: PLC0415 (not needed for --help)
    from ..export.state import manifest  # noqa: PLC0415

    found = manifest.read(target)
    held = {} if found is None else {entry.account_id: entry.account_name for entry in found.lists}
    return [called(id, name) for id, name in held.items() if id not in linked]


def _called(account: LinkedAccount) -> str:
    return str(account.id) if account.name == account.id else f"{account.name} ({account.id})"


def _why(account: LinkedAccount) -> str:
    reasons = [reason.description or reason.code for reason in account.status_reasons or ()]
    return ", ".join([str(account.status), *(reason for reason in reasons if reason)])


def _tell(what: str, accounts: Iterable[str]) -> None:
    lines = list(accounts)
    for line in lines[:_MOST_TOLD]:
        note(f"{what}: {line}")
    if len(lines) > _MOST_TOLD:
        note(f"{what}: {len(lines) - _MOST_TOLD:,} more")
