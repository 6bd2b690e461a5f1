"""The options that every command with a real account takes, declared once."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, TypeVar, get_type_hints

import typer

from . import completion
from .arguments import rate_limit
from .messages import LogFormat, as_json, note

if TYPE_CHECKING:
    from ..base_client import BaseClient
    from ..options import RateLimit, Timeout
    from ..profiles import Profile
    from ..shared_limit import SharedLimit
    from ..sync import SyncClient

C = TypeVar("C", bound="BaseClient[Any]")

_PANEL = "Connection"

LogFormats = Annotated[
    LogFormat,
    typer.Option(
        "--log-format",
        help="Format of stderr: text for people, or json, one object per line, for programs.",
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


class ClientOptions(TypedDict, total=False):
    """Keywords for `AsyncClient` and `SyncClient`."""

    api_key: str
    account_id: str
    base_url: str
    timeout: Timeout
    rate_limit: RateLimit | None
    ca_bundle: Path
    proxy: str


@dataclass(frozen=True, repr=False)
class Connection:
    """How to reach the API, as given on the command line; what is not given comes from the environment."""

    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            metavar="KEY",
            help="API key. Prefer STACKONE_API_KEY: other users of the machine can see a command line.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    account: Annotated[
        str | None,
        typer.Option(
            "--account",
            metavar="ID",
            help="Linked account. Default: STACKONE_ACCOUNT_ID.",
            autocompletion=completion.accounts,
            rich_help_panel=_PANEL,
        ),
    ] = None
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            metavar="NAME",
            help="Profile, as written by stackone-lms configure. Default: STACKONE_PROFILE, then default. "
            "Options and the environment override it.",
            autocompletion=completion.profiles,
            rich_help_panel=_PANEL,
        ),
    ] = None
    base_url: Annotated[
        str | None,
        typer.Option(
            "--base-url",
            metavar="URL",
            help="Address of the API. Default: STACKONE_BASE_URL, then https://api.stackone.com.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            help="Time limit of a call with all its retries. Default: 300.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    rate_limit: Annotated[
        str | None,
        typer.Option(
            "--rate-limit",
            metavar="N/SECONDS",
            help="Send at most N requests in so many seconds, or: off. Default: 1000/60, the API's own limit.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    shared_limit: Annotated[
        str | None,
        typer.Option(
            "--shared-limit",
            metavar="URL",
            envvar="STACKONE_SHARED_LIMIT",
            show_envvar=False,
            help="Share the limit with all processes that name the same URL: redis://HOST:PORT/0#KEY, rediss:// or "
            "file:///PATH. Default: STACKONE_SHARED_LIMIT; prefer that if it has a password.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    ca_bundle: Annotated[
        Path | None,
        typer.Option(
            "--ca-bundle",
            metavar="FILE",
            help="CAs to trust besides the system's (PEM). SSL_CERT_FILE replaces the system's.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    https_proxy: Annotated[
        str | None,
        typer.Option(
            "--https-proxy",
            metavar="URL",
            help="URL of a proxy. Default: HTTPS_PROXY, unless NO_PROXY lists the server. Prefer that "
            "if it has a password.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every request.", rich_help_panel=_PANEL)] = False
    log_format: LogFormats = LogFormat.TEXT
    debug: Debug = False

    def options(self) -> ClientOptions:
        """Return the constructor keywords of the clients.

        Raises:
            typer.BadParameter: A number is out of range.
        """
        from ..options import RateLimit, Timeout  # noqa: PLC0415 (not needed for --help)

        options: ClientOptions = {}
        if self.api_key is not None:
            options["api_key"] = self.api_key
        if self.account is not None:
            options["account_id"] = self.account
        if self.base_url is not None:
            options["base_url"] = self.base_url
        if self.timeout is not None:
            if not 0 < self.timeout < float("inf"):
                raise typer.BadParameter(f"'{self.timeout:g}' is not a number above 0", param_hint="--timeout")
            options["timeout"] = Timeout(total=self.timeout)
        if self.rate_limit is not None:
            limit = rate_limit(self.rate_limit)
            options["rate_limit"] = None if limit is None else RateLimit(limit[0], per=limit[1])
        if self.ca_bundle is not None:
            options["ca_bundle"] = self.ca_bundle
        if self.https_proxy is not None:
            options["proxy"] = self.https_proxy
        return options

    def client(self) -> SyncClient:
        """Return a client.

        Raises:
            ConfigurationError: Something is missing or cannot work.
        """
        from ..sync import SyncClient  # noqa: PLC0415 (not needed for --help)

        return self.make(SyncClient)

    def make(self, kind: type[C], **more: Any) -> C:
        """Return a client of that class, made of the options, the environment and the profile.

        Args:
            kind: The class.
            **more: Keywords of its constructor that go before all of them.

        Raises:
            ConfigurationError: Something is missing or cannot work.
        """
        from ..profiles import make_client  # noqa: PLC0415 (not needed for --help)

        options: dict[str, Any] = {**self.options(), **more}
        profile = self.found_profile()
        if self.shared_limit is not None:
            of_profile = None if profile is None else profile.settings.get("requests_per_minute")
            options["rate_limit"] = _shared(self.shared_limit, options, of_profile)
        client: C = kind(**options) if profile is None else make_client(kind, profile, (), options)
        client.note_sources(dict.fromkeys(options, "option"))
        return client

    def found_profile(self) -> Profile | None:
        """Return the profile; tell once what is not as it should be with it.

        Raises:
            ConfigurationError: It is not there, or cannot be read.
        """
        from ..profiles import find_profile  # noqa: PLC0415 (not needed for --help)

        found = find_profile(self.profile)
        if found is not None:
            for warning in found.warnings:
                _note_once(warning)
            if self.profile is not None and found.overruled:
                _note_once(f"{', '.join(found.overruled)} in the environment override the profile")
        return found

    @contextmanager
    def logging(self) -> Generator[None]:
        """Send all of the package's log to stderr meanwhile, if `--verbose` asks for it."""
        if not self.verbose:
            yield
            return
        logger, handler = logging.getLogger("stackone_lms"), logging.StreamHandler()
        level = logger.level
        if not as_json():  # or it goes there anyway
            handler.setFormatter(logging.Formatter("%(message)s"))
            logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)


def _shared(place: str, options: Mapping[str, Any], of_profile: int | None) -> SharedLimit:
    """Return the limit at a URL, with the numbers that a client would have for itself."""
    from ..configuration import numbers_from_environment  # noqa: PLC0415 (not needed for --help)
    from ..errors import ConfigurationError  # noqa: PLC0415
    from ..options import DEFAULT_RATE_LIMIT, DEFAULT_RETRY, DEFAULT_TIMEOUT, RateLimit  # noqa: PLC0415
    from ..shared_limit import SharedLimit  # noqa: PLC0415

    given = options.get("rate_limit", DEFAULT_RATE_LIMIT)
    limit = numbers_from_environment(DEFAULT_TIMEOUT, DEFAULT_RETRY, given)[2]
    if limit is DEFAULT_RATE_LIMIT and of_profile is not None:
        limit = RateLimit(of_profile)
    if limit is None:
        raise typer.BadParameter("there is none to share with --rate-limit off", param_hint="--shared-limit")
    try:
        return SharedLimit.from_url(place, requests=limit.requests, per=limit.per)
    except ConfigurationError as error:
        raise typer.BadParameter(str(error), param_hint="--shared-limit") from None


_noted: set[str] = set()


def _note_once(text: str) -> None:
    if text not in _noted:
        _noted.add(text)
        note(text)


def connected(function: Callable[..., None]) -> Callable[..., None]:
    """Make a command out of a function whose first argument is a `Connection`: add the options of a connection.

    Args:
        function: Takes the connection, then its own arguments and options, declared as typer has them.
    """
    hints = get_type_hints(function, include_extras=True)
    own = list(inspect.signature(function).parameters.values())[1:]
    shared_hints = get_type_hints(Connection, include_extras=True)
    parameters = [p.replace(annotation=hints[p.name], kind=p.KEYWORD_ONLY) for p in own] + [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=shared_hints[f.name])
        for f in fields(Connection)
    ]

    @functools.wraps(function)
    def command(**given: Any) -> None:
        connection = Connection(**{f.name: given.pop(f.name) for f in fields(Connection)})
        with connection.logging():
            function(connection, **given)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def without(command: Callable[..., None], *left_out: str) -> Callable[..., None]:
    """Take options away from a command; it gets None for them."""

    @functools.wraps(command)
    def shorter(**given: Any) -> None:
        command(**dict.fromkeys(left_out), **given)

    parameters = [p for name, p in inspect.signature(command).parameters.items() if name not in left_out]
    shorter.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    shorter.__annotations__ = {p.name: p.annotation for p in parameters}
    return shorter
