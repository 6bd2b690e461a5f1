"""`stackone-lms configure`: write a profile, and try it."""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
import tomllib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ConfigurationError, StackOneError
from .arguments import rate_limit
from .connection import Connection, connected, without
from .doctor import examine, show
from .known_accounts import remember
from .messages import note

if TYPE_CHECKING:
    from ..models import LinkedAccount

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_MOST_OFFERED = 50
_MINUTE = 60.0
_PLACEHOLDER = "not-known-yet"


@connected
def _configure(
    connection: Connection,
    api_key_command: Annotated[
        str | None,
        typer.Option("--api-key-command", metavar="COMMAND", help="A command that prints the key, instead of the key."),
    ] = None,
    api_key_env: Annotated[
        str | None,
        typer.Option("--api-key-env", metavar="NAME", help="A variable that holds the key, instead of the key."),
    ] = None,
) -> None:
    """Write a profile, with the settings for this program and `AsyncClient.from_profile`, and test it.

    It asks for the key, which is stored in the file (readable by you alone), and for one of its accounts. Without a
    terminal the key is the first line of stdin. For example:

    stackone-lms configure

    stackone-lms configure --profile prod --api-key-command 'pass show stackone' --account 4711
    """
    from ..profiles import DEFAULT, NAME_VARIABLE, config_path, read_tables  # noqa: PLC0415

    name = connection.profile or os.environ.get(NAME_VARIABLE) or DEFAULT
    if not _NAME.fullmatch(name):
        raise typer.BadParameter(f"{name!r:.60} must be of letters, digits, - and _", param_hint="--profile")
    if sum(value is not None for value in (connection.api_key, api_key_command, api_key_env)) > 1:
        raise typer.BadParameter("exclude each other", param_hint="--api-key, --api-key-command, --api-key-env")
    path = config_path()
    before = dict((read_tables(path) or {}).get(name, {}))
    settings = {key: value for key, value in before.items() if not key.startswith("api_key")}
    if api_key_command is not None:
        settings["api_key_command"] = api_key_command
    elif api_key_env is not None:
        settings["api_key_env"] = api_key_env
    else:
        settings["api_key"] = connection.api_key or _ask_for_key()
    settings.update(_given(connection))
    _refuse_what_cannot_work(connection, settings)
    write_profile(path, name, settings)
    note(f"written: {path}")
    of_profile = Connection(profile=name)
    with _alone(name):
        if "account_id" not in settings and (found := _account(of_profile)) is not None:
            write_profile(path, name, {**settings, "account_id": found})
    with _alone(name) as ignored:
        report = examine(of_profile)
    if ignored:
        note(f"{', '.join(ignored)} in the environment override this profile; the test ignored them")
    show(report)


command = without(_configure, "shared_limit")


@contextmanager
def _alone(profile: str) -> Generator[tuple[str, ...]]:
    """Leave aside the variables of the environment that override a profile, and yield their names."""
    from ..profiles import find_profile  # noqa: PLC0415 (not needed for --help)

    found = find_profile(profile)
    ignored = () if found is None else found.overruled
    kept = {name: os.environ.pop(name) for name in ignored}
    try:
        yield ignored
    finally:
        os.environ.update(kept)


def _given(connection: Connection) -> dict[str, Any]:
    """Return what the options set in a profile.

    Raises:
        typer.BadParameter: No profile can hold it.
    """
    given: dict[str, Any] = {
        "base_url": connection.base_url,
        "timeout": connection.timeout,
        "account_id": connection.account,
        "proxy": connection.https_proxy,
        "ca_bundle": None if connection.ca_bundle is None else str(connection.ca_bundle.absolute()),
    }
    if connection.rate_limit is not None:
        limit = rate_limit(connection.rate_limit)
        if limit is None or limit[1] != _MINUTE:
            raise typer.BadParameter("a profile holds requests a minute, such as 500/60", param_hint="--rate-limit")
        given["requests_per_minute"] = limit[0]
    return {name: value for name, value in given.items() if value is not None}


def _refuse_what_cannot_work(connection: Connection, settings: Mapping[str, Any]) -> None:
    """Raise a ConfigurationError before anything is written."""
    from ..sync import SyncClient  # noqa: PLC0415 (not needed for --help)

    options: dict[str, Any] = {**connection.options(), "api_key": settings.get("api_key", _PLACEHOLDER)}
    with SyncClient(**options):
        pass


def _ask_for_key() -> str:
    if sys.stdin.isatty():
        key = str(typer.prompt("API key (it is not shown)", hide_input=True, err=True))
    else:
        key = sys.stdin.readline()
    if not key.strip():
        raise typer.BadParameter("give the key on stdin, or --api-key-command or --api-key-env", param_hint="--api-key")
    return key.strip()


def _account(connection: Connection) -> str | None:
    """Return the account to work with: the only active one, or one that is chosen; None: nobody can be asked."""
    try:
        with connection.client() as client:
            found = [one for one in client.accounts.list(status="active") if one.id is not None]
    except StackOneError:
        return None  # the trial tells why
    remember(connection.profile, connection.base_url, found)
    if len(found) == 1:
        return found[0].id
    if not found or not sys.stdin.isatty():
        return None
    return _choose(found)


def _choose(accounts: list[LinkedAccount]) -> str | None:
    for number, one in enumerate(accounts[:_MOST_OFFERED], 1):
        note(f"{number:>3}  {one.name} ({one.id})")
    if len(accounts) > _MOST_OFFERED:
        note(f"     and {len(accounts) - _MOST_OFFERED:,} more: stackone-lms accounts")
    while True:
        answer = str(
            typer.prompt("Account, by its number or id (empty: none)", default="", show_default=False, err=True)
        )
        if not answer:
            return None
        if answer.isdecimal() and 1 <= int(answer) <= min(len(accounts), _MOST_OFFERED):
            return accounts[int(answer) - 1].id
        if any(answer == one.id for one in accounts):
            return answer
        note("there is no such account")


def write_profile(path: Path, name: str, settings: Mapping[str, Any]) -> None:
    """Put a profile into the file, for its owner alone to read; all else in it stays.

    Raises:
        ConfigurationError: The file is written in a way that cannot be changed here, or cannot be written.
    """
    from ..profiles import DEFAULT  # noqa: PLC0415 (not needed for --help)

    path = path.resolve()
    try:
        text = path.read_text("utf-8") if path.exists() else ""
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {type(error).__name__}") from None
    title = f"[{DEFAULT}]" if name == DEFAULT else f"[profile.{name}]"
    section = "".join([f"{title}\n", *(f"{key} = {_toml(value)}\n" for key, value in settings.items())])
    lines = text.splitlines(keepends=True)
    heads = [n for n, line in enumerate(lines) if line.lstrip().startswith("[")]
    start = next((n for n in heads if lines[n].partition("#")[0].strip() == title), None)
    if start is None:
        gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
        changed = f"{text}{gap}{section}"
    else:
        end = next((n for n in heads if n > start), len(lines))
        gap = "\n" if end < len(lines) else ""
        changed = "".join([*lines[:start], section, gap, *lines[end:]])
    if not _as_wanted(text, changed, name, settings):
        raise ConfigurationError(f"{path} is written in a way that cannot be changed here: change {title} by hand")
    try:
        _write_for_owner(path, changed)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None


def _as_wanted(before: str, after: str, name: str, settings: Mapping[str, Any]) -> bool:
    try:
        old, new = tomllib.loads(before), tomllib.loads(after)
    except tomllib.TOMLDecodeError:
        return False
    tables = old if name == "default" else old.setdefault("profile", {})
    tables[name] = dict(settings)
    return bool(old == new)


def _toml(value: Any) -> str:
    # JSON's texts, numbers, booleans and lists of texts are TOML's, except for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False, default=str).replace("\x7f", "\\u007f")


def _write_for_owner(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
