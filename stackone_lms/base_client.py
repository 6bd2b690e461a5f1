"""What both clients share: the constructor, the resources, the views."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from random import random as random_number
from types import MethodType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    NoReturn,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
    Unpack,
    cast,
)

from . import configuration as conf
from .api.accounts import AccountIds
from .api.platform import ConnectSessions, LinkedAccounts, RequestLogs
from .api.resources import Api
from .bulk.ids import iterate_ids
from .calls.operation import C_co, CallArguments, Resource
from .calls.query import encode_parameters
from .calls.request import RequestOperation, describe_request, merged_headers
from .calls.signatures import not_for_users
from .checks import known_keywords, whole_number
from .engine.call import BoundExecutor, Engine
from .engine.headers import extra_headers as extra_headers_of
from .engine.headers import redact_also, with_extra
from .engine.hooks import Hooks, OnRequest, OnResponse, OnRetry
from .engine.observers import Observer, tell
from .engine.rate_limit import Clock, RateLimitBackend, Sleep
from .engine.settings import Settings
from .engine.stats import Stats
from .errors import ConfigurationError, InvalidArgumentError
from .logs import set_up_logging
from .models.accounts import LinkedAccount
from .network import choose_network
from .options import (
    DEFAULT_RATE_LIMIT,
    DEFAULT_RETRY,
    DEFAULT_TIMEOUT,
    RateLimit,
    RetryPolicy,
    Timeout,
    ViewOptions,
    from_number,
    total_seconds,
)
from .transport.base import Transport

if TYPE_CHECKING:
    import aiohttp

    from .diagnosis import Subject
    from .transport.aiohttp import SessionFactory

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MAX_BODY = 32 * 1024 * 1024
MAX_CONCURRENCY = 100


class FromProfile(Protocol[P, T_co]):
    """Makes a client of a profile."""

    def __call__(self, name: str | None = None, /, *args: P.args, **options: P.kwargs) -> T_co:
        """Make a client of a profile."""
        ...


class ClientFromProfile:
    """The method `from_profile` of a client's class, with the keywords of its constructor."""

    def __get__(self, obj: object, owner: Callable[P, T], /) -> FromProfile[P, T]:
        def from_profile(_kind: Any, name: str | None = None, /, *args: Any, **options: Any) -> Any:
            """Make a client with the settings of a profile, which `stackone-lms configure` writes.

            What is given here goes before the environment (STACKONE_API_KEY and so on), and that before the profile.

            Args:
                name: Name of the profile; default: STACKONE_PROFILE, then `default`.
                *args: As of the constructor.
                **options: As of the constructor.

            Raises:
                ConfigurationError: There is no such profile, or something is missing or cannot work.
            """
            from .profiles import client_from_profile  # noqa: PLC0415 (loads what only profiles need)

            return client_from_profile(_kind, name, args, options)

        # A bound method, as of a classmethod: of a function, documentation leaves out the first argument.
        return cast("FromProfile[P, T]", MethodType(from_profile, owner))


class BaseClient(Api[C_co]):
    """What both clients share: the constructor, the resources, the views."""

    from_profile = ClientFromProfile()
    """Make a client of a profile."""

    def __init__(
        self,
        api_key: str | None = None,
        account_id: str | None = None,
        *,
        base_url: str | None = None,
        timeout: Timeout | float = DEFAULT_TIMEOUT,
        retry: RetryPolicy | int = DEFAULT_RETRY,
        rate_limit: RateLimit | RateLimitBackend | int | None = DEFAULT_RATE_LIMIT,
        max_concurrency: int = MAX_CONCURRENCY,
        max_body: int = MAX_BODY,
        heartbeat: bool = False,
        keep_unknown: bool = False,
        verify_ids: bool = True,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, Any] | None = None,
        user_agent: str | None = None,
        proxy: str | None = None,
        ca_bundle: str | PathLike[str] | None = None,
        client_cert: str | PathLike[str] | tuple[str | PathLike[str], str | PathLike[str]] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        session: aiohttp.ClientSession | None = None,
        session_factory: SessionFactory | None = None,
        transport: Transport | Literal["auto", "aiohttp", "lean"] | None = "auto",
        on_request: OnRequest | Sequence[OnRequest] | None = None,
        on_response: OnResponse | Sequence[OnResponse] | None = None,
        on_retry: OnRetry | Sequence[OnRetry] | None = None,
        observer: Observer | Sequence[Observer] | None = None,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        random: Callable[[], float] = random_number,
    ) -> None:
        """Make a client; no I/O, and no event loop needed.

        Hooks (`on_request`, `on_response`, `on_retry`) are functions, plain or async: one, or a list that is called in
        turn. They run on the client's event loop, SyncClient's in its own thread, so a plain one must be quick. Their
        time is part of the call's, and they must not call the client that they belong to. What one raises ends the call
        and is raised there as it is: from `on_request` nothing was sent, from `on_response` the answer is lost, from
        `on_retry` there is no retry.

        Args:
            api_key: The API key; default: STACKONE_API_KEY.
            account_id: The linked account; default: STACKONE_ACCOUNT_ID. `with_options(account_id=...)` makes views
                of other accounts that share everything else.
            base_url: Default: STACKONE_BASE_URL, then `https://api.stackone.com`. Plain http only for loopback.
            timeout: Time limits; a number is the seconds that a whole call may take, and so is STACKONE_TIMEOUT.
            retry: Retry rules; a number is the attempts for one call at most, the first included. Default:
                STACKONE_MAX_RETRIES and one more, then 3 attempts.
            rate_limit: Client-side limit of the API key, over all accounts, in requests a minute or as a RateLimit;
                None switches it off. Default: STACKONE_REQUESTS_PER_MINUTE, then 1000 a minute, as the API documents.
                Processes that share a key can share a limit: `stackone_lms.shared_limit.SharedLimit`.
            max_concurrency: Requests under way at once.
            max_body: Most bytes of a decompressed answer.
            heartbeat: Ask for newlines while a call is slow (`Prefer: heartbeat`).
            keep_unknown: Keep fields that the models do not declare, in `.extra`.
            verify_ids: Refuse the answer to a get that is surely about another record than the one asked for
                (IdMismatchError).
            extra_headers: Headers that every request carries besides the client's own, such as those of a gateway.
                Their values are shown nowhere. `Authorization`, `x-account-id`, `Host` and those about the form of
                bodies cannot be given.
            extra_query: Query parameters that every request carries besides its own; nested mappings become `a[b]=1`.
            user_agent: Your own product, put before the package's `User-Agent`.
            proxy: Proxy URL, `http://` or `https://`; user and password in it percent-encoded. Default: HTTPS_PROXY,
                then ALL_PROXY, unless NO_PROXY lists the server; for https only.
            ca_bundle: PEM file of CAs to trust besides the system's. SSL_CERT_FILE, SSL_CERT_DIR and
                REQUESTS_CA_BUNDLE take the place of the system's where they are set. With the extra `tls`, truststore
                finds the system's, on macOS and Windows too.
            client_cert: PEM file with certificate and key, or a pair of files.
            ssl_context: TLS settings of your own, instead of the two above.
            session: An `aiohttp.ClientSession` of yours to send with; it stays yours to close. Only for AsyncClient: a
                session belongs to the event loop that it is used on, and SyncClient has one of its own.
            session_factory: A function without arguments, plain or async, that makes an `aiohttp.ClientSession`. It is
                called at the first use, on the client's event loop, and the client closes what it made.
            transport: `aiohttp` sends through `aiohttp.ClientSession`; `lean` has aiohttp make the connections and
                read the answers but skips its session, for a third of the CPU time. `auto`, the default, is `lean`
                unless a session is given, or mocked or traced by patching its class, or the installed aiohttp is not
                one that it knows. Or an object to put in the place of the network, such as
                `stackone_lms.testing.InMemoryTransport`.
            on_request: Called with a `HookRequest` before each request, retries included. It may add headers, by
                changing `request.headers` or by returning a mapping: all but those that `extra_headers` refuses.
            on_response: Called with a `HookResponse` after each answer, whatever its status.
            on_retry: Called with a `HookRetry` before the pause that precedes a retry.
            observer: An `Observer`, or a list of them: told of calls, requests, waits, bulk fetches and exports. What
                one raises is logged and changes nothing. `stackone_lms.otel.OpenTelemetry` is one.
            clock: Monotonic seconds; for tests.
            sleep: Suspends for so many seconds; for tests.
            random: Numbers from 0 to 1, for jitter; for tests.

        Raises:
            ConfigurationError: Something is missing or cannot work.
        """
        set_up_logging()
        api_key, proxy = conf.as_secret(api_key), conf.as_secret(proxy)
        self._sources = conf.sources(
            api_key=api_key is not None,
            account_id=account_id is not None,
            base_url=base_url is not None,
            timeout=timeout is not DEFAULT_TIMEOUT,
            retry=retry is not DEFAULT_RETRY,
            rate_limit=rate_limit is not DEFAULT_RATE_LIMIT,
            proxy=proxy is not None,
        )
        timeout, retry, rate_limit = conf.numbers_from_environment(timeout, retry, rate_limit)
        url = conf.check_base_url(base_url)
        key = conf.check_api_key(api_key)
        # A closure, so that no attribute shows the key.
        self._headers_and_redact = conf.account_headers(key, conf.check_user_agent(user_agent))
        prefix = url.path.rstrip("/")
        self.base_url = f"{url.scheme}://{url.netloc}{prefix}"
        if session is not None:
            self._accept_session()
        self._network = network = choose_network(
            url,
            proxy=proxy,
            ca_bundle=ca_bundle,
            client_cert=client_cert,
            ssl_context=ssl_context,
            session=session,
            session_factory=session_factory,
            transport=transport,
        )
        for name, value in {"max_concurrency": max_concurrency, "max_body": max_body}.items():
            whole_number(name, value, at_least=1, error=ConfigurationError)
        if rate_limit is not None and not isinstance(rate_limit, RateLimitBackend):
            rate_limit = from_number("rate_limit", rate_limit, RateLimit, RateLimit, error=ConfigurationError)
        given: ViewOptions = {
            "account_id": conf.from_environment(account_id, "STACKONE_ACCOUNT_ID"),
            "timeout": timeout,
            "retry": retry,
            "heartbeat": heartbeat,
            "keep_unknown": keep_unknown,
            "verify_ids": verify_ids,
            "extra_headers": {} if extra_headers is None else extra_headers,
            "extra_query": {} if extra_query is None else extra_query,
        }
        self._hooks = hooks = Hooks(on_request, on_response, on_retry, observer, self.base_url, clock)
        settings = self._make_settings(given, ConfigurationError)
        engine = Engine(
            network.make_transport,
            prefix=prefix,
            rate_limit=rate_limit,
            max_concurrency=max_concurrency,
            max_body=max_body,
            budget=settings.retry.budget,
            clock=clock,
            sleep=sleep,
            random=random,
        )
        tell(hooks.observers, "client_created", engine.weak_stats())
        self._bind(BoundExecutor(engine, settings))

    def _bind(self, bound: BoundExecutor) -> None:
        self._bound = bound
        super().__init__(self._executor_for(bound))

    def _accept_session(self) -> None:
        """Raise a ConfigurationError where a session that was made elsewhere cannot be used."""

    def _executor_for(self, bound: BoundExecutor) -> C_co:
        """Return what the resources are bound to."""
        raise NotImplementedError

    @cached_property
    def accounts(self) -> LinkedAccounts[C_co]:
        """The connections to customers' learning systems that the API key has."""
        return LinkedAccounts(self._without_account())

    @cached_property
    def logs(self) -> RequestLogs[C_co]:
        """What StackOne noted of requests, and of the calls to the providers behind them."""
        return RequestLogs(self._without_account())

    @cached_property
    def connect_sessions(self) -> ConnectSessions[C_co]:
        """Links with which a customer connects a learning system."""
        return ConnectSessions(self._without_account())

    def _without_account(self) -> C_co:
        """Return what those resources are bound to that belong to no account."""
        return self._executor_for(self._bound_without_account())

    def _bound_without_account(self) -> BoundExecutor:
        now = self._bound.settings
        options: ViewOptions = {
            "account_id": None,
            "timeout": now.timeout,
            "retry": now.retry,
            "heartbeat": now.heartbeat,
            "verify_ids": now.verify_ids,
            "keep_unknown": False,  # records that keep what was sent would be pickled with their credentials
        }
        settings = self._make_settings(options, ConfigurationError, now)
        return BoundExecutor(self._bound.engine, settings)

    @not_for_users("profiles and the program do")
    def note_sources(self, sources: Mapping[str, str]) -> None:
        """Have `check` say where settings come from that look like arguments here."""
        self._sources = {**self._sources, **sources}

    def _subject(self) -> Subject:
        """Return what `check` looks at: this client, with a single attempt and at most 40 seconds for each call."""
        now, stats = self._bound.settings, self.stats()
        total = min(40, now.timeout.total or 40)
        view = self.with_options(retry=1, timeout=Timeout(connect=10, read=30, attempt=30, total=total))
        rate = "no rate limit" if stats.limit is None else f"{stats.limit} requests in {stats.per:g} s"
        if (place := self._bound.engine.admission.limiter.place) is not None:
            rate += f", shared at {place}"
        limits = [
            (f"{now.timeout.total:g} s a call" if now.timeout.total is not None else "no time limit", "timeout"),
            (f"{now.retry.attempts} attempts", "retry"),
            (rate, "rate_limit"),
        ]
        from .diagnosis import Subject, origin  # noqa: PLC0415 (seldom needed)

        return Subject(
            account=view._bound,
            nobody=view._bound_without_account(),
            url=self.base_url,
            network=self._network,
            sources=self._sources,
            limits=", ".join(f"{text} {origin(self._sources[name])}" for text, name in limits),
        )

    def _make_settings(
        self,
        options: ViewOptions,
        kind: type[ConfigurationError | InvalidArgumentError],
        now: Settings | None = None,
    ) -> Settings:
        account_id = options.get("account_id")
        timeout = from_number("timeout", options.get("timeout"), Timeout, total_seconds, error=kind)
        retry = from_number("retry", options.get("retry"), RetryPolicy, RetryPolicy, error=kind)
        heartbeat, keep_unknown = options.get("heartbeat"), options.get("keep_unknown")
        verify_ids = options.get("verify_ids")
        if account_id is not None:
            account_id = conf.check_token(account_id, "the account id", kind)
        if not isinstance(heartbeat, bool) or not isinstance(keep_unknown, bool) or not isinstance(verify_ids, bool):
            raise kind("heartbeat, keep_unknown and verify_ids must be True or False")
        own_headers, redact = self._headers_and_redact(account_id, heartbeat)
        extra_headers: Mapping[str, str] = {} if now is None else now.extra_headers
        if "extra_headers" in options:
            extra_headers = extra_headers_of(options["extra_headers"], kind)
        extra_query = "" if now is None else now.extra_query
        if "extra_query" in options:
            try:
                extra_query = encode_parameters("extra_query", options["extra_query"])
            except InvalidArgumentError as problem:
                raise kind(str(problem)) from None
        headers = with_extra(own_headers, extra_headers)
        return Settings(
            account_id=account_id,
            timeout=timeout,
            retry=retry,
            heartbeat=heartbeat,
            keep_unknown=keep_unknown,
            verify_ids=verify_ids,
            headers=headers,
            body_headers={**headers, "Content-Type": "application/json"},
            redact=redact_also(redact, extra_headers.values()),
            extra_headers=extra_headers,
            extra_query=extra_query,
            hooks=self._hooks or None,
        )

    def with_options(self, **options: Unpack[ViewOptions]) -> Self:
        """Return a view with other options, which shares session, rate limit and retry budget with this client.

        A view costs microseconds and needs no closing; closing any of them closes them all.

        Args:
            **options: `account_id`, `timeout`, `retry`, `heartbeat`, `keep_unknown`, `extra_headers`, `extra_query`,
                `verify_ids`. Those not given stay, and those given replace what was there.

        Raises:
            InvalidArgumentError: A value cannot be used.
            TypeError: An option is unknown.
        """
        known_keywords("with_options", options, ViewOptions.__annotations__)
        now = self._bound.settings
        merged: ViewOptions = {
            "account_id": now.account_id,
            "timeout": now.timeout,
            "retry": now.retry,
            "heartbeat": now.heartbeat,
            "keep_unknown": now.keep_unknown,
            "verify_ids": now.verify_ids,
            **options,
        }
        view = object.__new__(type(self))
        # The resources of this client stay its own.
        view.__dict__.update((name, held) for name, held in self.__dict__.items() if not isinstance(held, Resource))
        view._sources = self._sources | dict.fromkeys(options, "with_options")
        view._bind(BoundExecutor(self._bound.engine, self._make_settings(merged, InvalidArgumentError, now)))
        return view

    def _by_account(self, account_ids: AccountIds) -> dict[str, BoundExecutor]:
        given: Any = account_ids
        what = "account_ids must be several account ids, such as a list, or the path of a file with one id a line"
        if isinstance(given, Mapping):
            raise InvalidArgumentError(f"{what}; a mapping from accounts to ids is for get_many()")
        if isinstance(given, str | bytes | bytearray) or not isinstance(given, Iterable | Path):
            raise InvalidArgumentError(f"{what}, not {type(given).__name__}")
        try:
            found = list(iterate_ids(given))
        except (OSError, UnicodeError) as problem:
            raise InvalidArgumentError(f"the account ids cannot be read: {problem}") from problem
        ids: list[Any] = [one.id if isinstance(one, LinkedAccount) else one for one in found]
        if None in ids:
            raise InvalidArgumentError(f"{what}; one of them is None")
        for id in ids:
            if isinstance(id, str):
                conf.check_token(id, f"{id!r:.80}, one of the account ids,", InvalidArgumentError)
        executors = {id: self.with_options(account_id=id)._bound for id in ids}
        if not executors:
            raise InvalidArgumentError("there are no account ids")
        return executors

    def _describe_request(
        self, method: Any, path: Any, query: Any, body: Any, headers: Any, account_id: Any, answer: Any
    ) -> tuple[BoundExecutor, RequestOperation[Any], CallArguments]:
        """Check a request, and return what performs it."""
        view = self
        if account_id is not ...:
            view = view.with_options(account_id=account_id)
        if headers is not None:
            view = view.with_options(extra_headers=merged_headers(view._bound.settings.extra_headers, headers))
        needs_account = account_id is not None
        described = describe_request(method, path, query=query, body=body, answer=answer, needs_account=needs_account)
        return (view._bound, *described)

    def stats(self) -> Stats:
        """Return a snapshot of what this client and all its views are doing: limits, queues, counters, accounts."""
        return self._bound.engine.stats()

    @property
    def closed(self) -> bool:
        """Whether the client was closed."""
        return self._bound.engine.closed

    def __repr__(self) -> str:
        if "_bound" not in self.__dict__:  # seen by a debugger while it is made
            return f"<{type(self).__name__}, not made yet>"
        account = self._bound.settings.account_id
        return f"{type(self).__name__}(base_url={self.base_url!r}, api_key=***, account_id={account!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot be copied or pickled; make one in each process")


def bound_executor_of(client: BaseClient[Any]) -> BoundExecutor:
    """Return the engine of a client with the settings of the view; for the package itself."""
    return client._bound  # pyright: ignore[reportPrivateUsage]
