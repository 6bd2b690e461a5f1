"""Profiles: settings of clients in a file of the user's, read only when asked for.

    [default]
    api_key_command = "pass show stackone"
    account_id = "45072196112816593343"

    [profile.staging]
    api_key_env = "STAGING_KEY"
    base_url = "https://api.staging.example.com"

A profile takes nothing from another one, also not from `[default]`.
"""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from .checks import import_extra
from .configuration import DEFAULT_BASE_URL, as_secret, from_environment
from .errors import ConfigurationError, printable
from .transport.base import SecretBytes
from .transport.proxies import environment_decides

NAME_VARIABLE = "STACKONE_PROFILE"
DEFAULT = "default"
APPLICATION = "stackone-lms"
_COMMAND_SECONDS = 60.0

log = logging.getLogger("stackone_lms")


class _Key(NamedTuple):
    kind: tuple[type, ...]
    wanted: str
    keyword: str
    """Of the constructor."""
    variable: str | None = None
    """The environment variable that goes before it."""


_TEXT, _COUNT = "a text that is not empty", "a whole number, 1 or more"
KEYS: Mapping[str, _Key] = {
    "api_key": _Key((str,), _TEXT, "api_key", "STACKONE_API_KEY"),
    "api_key_command": _Key((str, list), "a command, as a text or a list of texts", "api_key", "STACKONE_API_KEY"),
    "api_key_env": _Key((str,), "the name of an environment variable", "api_key", "STACKONE_API_KEY"),
    "account_id": _Key((str,), _TEXT, "account_id", "STACKONE_ACCOUNT_ID"),
    "base_url": _Key((str,), _TEXT, "base_url", "STACKONE_BASE_URL"),
    "proxy": _Key((str,), _TEXT, "proxy"),
    "ca_bundle": _Key((str,), "the path of a file", "ca_bundle"),
    "requests_per_minute": _Key((int,), _COUNT, "rate_limit", "STACKONE_REQUESTS_PER_MINUTE"),
    "max_concurrency": _Key((int,), _COUNT, "max_concurrency"),
    "timeout": _Key((int, float), "seconds, more than 0", "timeout", "STACKONE_TIMEOUT"),
    "max_retries": _Key((int,), "a whole number, 0 or more", "retry", "STACKONE_MAX_RETRIES"),
}
"""What a profile may set."""

API_KEYS = ("api_key", "api_key_command", "api_key_env")


class Profile(NamedTuple):
    """One profile of the file."""

    name: str
    path: Path
    """The file."""
    settings: Mapping[str, Any]
    """What it sets, checked; secrets print as `***`."""
    warnings: tuple[str, ...]
    """What is not as it should be with the file."""

    def options(self, given: Collection[str] = ()) -> dict[str, Any]:
        """Return the constructor keywords of a client that neither an argument nor the environment decides.

        Args:
            given: The keywords that are given as arguments.

        Raises:
            ConfigurationError: The key cannot be had: its command fails, or its variable is not set.
        """
        found: dict[str, Any] = {}
        for name, value in self.settings.items():
            key = KEYS[name]
            if key.keyword in given or (key.variable is not None and os.environ.get(key.variable)):
                continue
            if key.keyword in {"proxy", "ca_bundle"} and {"session", "ssl_context", "session_factory"} & set(given):
                continue  # those bring their own
            if name == "proxy" and environment_decides(*_server(self._base_url(given, found))):
                continue
            found[key.keyword] = self._value(name, value)
        return found

    def _base_url(self, given: Collection[str], found: Mapping[str, Any]) -> str:
        url = found.get("base_url") or from_environment(None, "STACKONE_BASE_URL") or self.settings.get("base_url")
        return str(url or DEFAULT_BASE_URL)

    def _value(self, name: str, value: Any) -> Any:
        if name == "api_key_env":
            key = as_secret(from_environment(None, value))
            if key is None:
                raise ConfigurationError(f"{self.where}: api_key_env names {value}, which is not set")
            return key
        if name == "api_key_command":
            return _first_line(value, self.where)
        if name == "ca_bundle":
            return str(self.path.parent / Path(value).expanduser())
        if name == "max_retries":
            return value + 1  # the client counts attempts, the first included
        return value

    @property
    def overruled(self) -> tuple[str, ...]:
        """The variables of the environment that go before what it sets."""
        variables = dict.fromkeys(KEYS[name].variable for name in self.settings)
        variables.pop(self.settings.get("api_key_env"), None)  # it is the profile that names this one
        return tuple(one for one in variables if one is not None and os.environ.get(one))

    @property
    def where(self) -> str:
        """File and profile, for messages."""
        return f"{self.path}, {_title(self.name)}"


def _title(name: str) -> str:
    return f"[{DEFAULT}]" if name == DEFAULT else f"[profile.{name}]"


def config_path() -> Path:
    """Return where the file is: `~/.config/stackone-lms/config.toml` on Linux, each platform's own place elsewhere.

    Raises:
        ConfigurationError: platformdirs is not installed.
    """
    platformdirs = import_extra("platformdirs", extra="profiles", needing="profiles need", error=ConfigurationError)
    path: Path = platformdirs.user_config_path(APPLICATION, appauthor=False)
    return path / "config.toml"


def find_profile(name: str | None = None) -> Profile | None:
    """Return a profile: the one named, else that of STACKONE_PROFILE, else `[default]`, if there is one.

    Raises:
        ConfigurationError: The profile that was named is not there, the file cannot be read, or something in it
            cannot be; the message names what is allowed.
    """
    if name is not None and (not isinstance(name, str) or not name.strip()):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"the name of a profile must be a text, not {name!r:.60}")
    wanted = name or os.environ.get(NAME_VARIABLE) or None
    if wanted is None and find_spec("platformdirs") is None:
        return None  # who has no profiles needs no extra
    path = config_path()
    tables = read_tables(path)
    if wanted is None and (tables is None or DEFAULT not in tables):
        return None
    wanted = wanted or DEFAULT
    if tables is None:
        raise ConfigurationError(f"there is no profile {wanted!r:.60}: {path} is not there (stackone-lms configure)")
    if wanted not in tables:
        known = ", ".join(sorted(tables)) or "none"
        raise ConfigurationError(f"{path} has no profile {wanted!r:.60}; it has: {known}")
    return Profile(wanted, path, _checked(tables[wanted], f"{path}, {_title(wanted)}"), tuple(_warnings(path)))


def read_tables(path: Path) -> dict[str, Mapping[str, Any]] | None:
    """Return the tables of the file by the names of their profiles, unchecked; None if there is no file.

    Raises:
        ConfigurationError: It cannot be read.
    """
    try:
        found = tomllib.loads(path.read_bytes().decode())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is no UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is no TOML: {printable(str(error))}") from None
    tables: dict[str, Mapping[str, Any]] = {}
    for name, value in found.items():
        if not isinstance(value, dict):
            raise ConfigurationError(f"{path}: {name!r:.60} stands in no table; write it below [{DEFAULT}]")
        if name not in {DEFAULT, "profile"}:
            raise ConfigurationError(
                f"{path}: [{printable(name, 60)}] is unknown; write [profile.{printable(name, 60)}]"
            )
        if name == DEFAULT:
            tables[DEFAULT] = cast("Mapping[str, Any]", value)
            continue
        for own, table in cast("dict[str, Any]", value).items():
            if not isinstance(table, dict):
                raise ConfigurationError(f"{path}: {own!r:.60} stands below [profile]; write [profile.NAME]")
            tables.setdefault(own, cast("Mapping[str, Any]", table))
    return tables


def _checked(table: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    checked: dict[str, Any] = {}
    for name, value in table.items():
        if name not in KEYS:
            close = get_close_matches(name, KEYS, n=1)
            meant = f"did you mean {close[0]}? " if close else ""
            raise ConfigurationError(f"{where}: {printable(name, 60)} is unknown; {meant}allowed: {', '.join(KEYS)}")
        key = KEYS[name]
        texts = cast("list[Any]", value) if isinstance(value, list) else ["text"]
        if not _is(value, name) or not all(isinstance(one, str) for one in texts):
            raise ConfigurationError(f"{where}: {name} must be {key.wanted}")
        checked[name] = as_secret(cast("Any", value)) if name in {"api_key", "proxy"} else value
    if len(several := [name for name in API_KEYS if name in checked]) > 1:
        raise ConfigurationError(f"{where}: {' and '.join(several)} exclude each other")
    return checked


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool) or not isinstance(value, KEYS[name].kind):
        return False
    return value > 0 or (value == 0 and name == "max_retries") if isinstance(value, int | float) else bool(value)


def _warnings(path: Path) -> list[str]:
    if sys.platform == "win32":
        return []
    try:
        mode = path.stat().st_mode
    except OSError:
        return []
    return [f"{path} can be read by others on this machine: chmod 600 {shlex.quote(str(path))}"] if mode & 0o044 else []


def _server(url: str) -> tuple[str, int | None]:
    """Return name and port of a URL; nothing of one that the client is going to refuse."""
    try:
        parts = urlsplit(url)
        return parts.hostname or "", parts.port
    except ValueError:
        return "", None


def _first_line(command: str | list[str], where: str) -> str:
    """Return what a command prints, which is shown nowhere."""
    try:
        words = shlex.split(command) if isinstance(command, str) else command
        done = subprocess.run(words, stdout=subprocess.PIPE, timeout=_COMMAND_SECONDS, check=False)  # noqa: S603 (the user's own)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ConfigurationError(f"{where}: api_key_command cannot be run: {reason}") from None
    except subprocess.TimeoutExpired:
        raise ConfigurationError(f"{where}: api_key_command took more than {_COMMAND_SECONDS:g} s") from None
    code, output = done.returncode, SecretBytes(done.stdout)
    del done  # tracebacks with locals would show it
    if code:
        raise ConfigurationError(f"{where}: api_key_command ended with {code}")
    lines = [as_secret(line) for line in output.decode("utf-8", "replace").splitlines()]
    if not lines or not lines[0].strip():
        raise ConfigurationError(f"{where}: api_key_command printed nothing in its first line")
    return as_secret(lines[0].strip())


def client_from_profile(owner: Any, name: str | None, args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    """Make a client of a profile that was asked for; see `AsyncClient.from_profile`."""
    profile = find_profile(name)
    if profile is None:
        raise ConfigurationError(f"{config_path()} has no [{DEFAULT}]: stackone-lms configure writes one")
    for warning in profile.warnings:
        log.warning("%s", warning)
    return make_client(owner, profile, args, options)


def make_client(owner: Any, profile: Profile, args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    """Make a client of arguments, the environment and a profile; it remembers what came from where."""
    chosen = profile.options({*options, *(("api_key", "account_id")[: len(args)])})
    client = owner(*args, **options, **chosen)
    client.note_sources(dict.fromkeys(chosen, f"profile {profile.name}"))
    return client
