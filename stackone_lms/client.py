"""`AsyncClient`: the whole API on one object, and cheap views of it."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from random import random as random_number
from types import EllipsisType, MethodType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    NoReturn,
    ParamSpec,
    Protocol,
    Self,
    TypeAlias,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from . import configuration as conf
from .api.accounts import AccountIds, Accounts, AsyncAccountsExecutor, PagedAccountsExecutor
from .api.platform import ConnectSessions, LinkedAccounts, RequestLogs
from .api.resources import Api
from .bulk.ids import iterate_ids
from .calls.lists import AsyncPager
from .calls.operation import AsyncExecutor, AsyncFanOutExecutor, C_co, CallArguments, Resource
from .calls.query import encode_parameters
from .calls.request import REQUEST_KEYWORDS, RequestOperation, RequestResult, describe_request, merged_headers
from .checks import check_function, known_keywords, whole_number
from .engine.call import BoundExecutor, Engine, Settings
from .engine.headers import extra_headers as extra_headers_of
from .engine.headers import redact_also, with_extra
from .engine.hooks import Hooks, OnRequest, OnResponse, OnRetry
from .engine.rate_limit import Clock, RateLimitBackend, Sleep
from .engine.stats import Stats
from .errors import ConfigurationError, InvalidArgumentError
from .logs import set_up_logging
from .models.accounts import LinkedAccount
from .options import (
    DEFAULT_RATE_LIMIT,
    DEFAULT_RETRY,
    DEFAULT_TIMEOUT,
    VIEW_OPTIONS,
    RateLimit,
    RetryPolicy,
    Timeout,
    ViewOptions,
    from_number,
    total_seconds,
)
from .transport.base import PRIVATE_CA, Transport

if TYPE_CHECKING:
    import aiohttp

    from .diagnosis import CheckReport, Subject
    from .transport.aiohttp import SessionFactory
    from .transport.lean import LeanTransport

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

HTTPMethod: TypeAlias = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

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
        origin, prefix = f"{url.scheme}://{url.netloc}", url.path.rstrip("/")
        self.base_url = origin + prefix
        own_network = session is None and session_factory is None and not isinstance(transport, Transport)
        chosen_proxy, make_ssl = (
            conf.choose_proxy(proxy, url, own_session=session is not None or session_factory is not None),
            _ssl_maker(ca_bundle, client_cert, ssl_context, used=own_network and url.scheme == "https"),
        )
        private_ca = _advice(own_network, ssl_context)
        self._network = chosen_proxy, make_ssl, own_network
        for name, value in {"max_concurrency": max_concurrency, "max_body": max_body}.items():
            whole_number(name, value, at_least=1, error=ConfigurationError)
        if rate_limit is not None and not isinstance(rate_limit, RateLimitBackend):
            rate_limit = from_number("rate_limit", rate_limit, RateLimit, RateLimit, error=ConfigurationError)
        if not (isinstance(transport, Transport) or transport in {"auto", "aiohttp", "lean", None}):
            raise ConfigurationError("transport must be 'auto', 'aiohttp', 'lean' or a Transport")
        own_session = self._check_session(session, session_factory)
        if own_session is not None and (transport == "lean" or isinstance(transport, Transport)):
            named = "the lean transport" if transport == "lean" else "a transport of your own"
            raise ConfigurationError(f"{named} does not use a session: leave {own_session}= out")

        def through_session() -> Transport:
            from .transport.aiohttp import AiohttpTransport  # noqa: PLC0415 (aiohttp is imported at the first use)

            return AiohttpTransport(
                origin,
                ssl_context=make_ssl,
                proxy=chosen_proxy,
                private_ca=private_ca,
                session=session,
                session_factory=session_factory,
            )

        def lean() -> LeanTransport:
            from .transport.lean import LeanTransport  # noqa: PLC0415 (as above)

            return LeanTransport(origin, ssl_context=make_ssl, proxy=chosen_proxy, private_ca=private_ca)

        def make() -> Transport:
            if isinstance(transport, Transport):
                return transport
            if transport == "lean":
                return lean()
            if transport == "aiohttp" or own_session is not None:
                return through_session()
            from .transport.lean import choose  # noqa: PLC0415 (as above)

            return choose(lean, through_session)

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
        settings = self._make_settings(given, ConfigurationError)
        engine = Engine(
            make,
            prefix=prefix,
            rate_limit=rate_limit,
            max_concurrency=max_concurrency,
            max_body=max_body,
            budget=settings.retry.budget,
            hooks=Hooks(on_request, on_response, on_retry),
            clock=clock,
            sleep=sleep,
            random=random,
        )
        self._bind(BoundExecutor(engine, settings))

    def _bind(self, bound: BoundExecutor) -> None:
        self._bound = bound
        super().__init__(self._executor_for(bound))

    def _check_session(self, session: object, session_factory: object) -> str | None:
        """Return which of the two keywords was given."""
        if session is not None and session_factory is not None:
            raise ConfigurationError("give session= or session_factory=, not both")
        if session_factory is not None:
            wanted = "a function without arguments that makes an aiohttp.ClientSession"
            check_function("session_factory", session_factory, wanted, 0)
            return "session_factory"
        if session is None:
            return None
        from .transport.aiohttp import is_session  # noqa: PLC0415 (who has a session has imported aiohttp)

        if not is_session(session):
            raise ConfigurationError(f"session must be an aiohttp.ClientSession, not {type(session).__name__}")
        return "session"

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

    def call_arguments(self, what: str) -> None:
        """Have `check` call by another name what the settings come from that were given as arguments."""
        self._sources = {name: what if source == "argument" else source for name, source in self._sources.items()}

    def _subject(self) -> Subject:
        """Return what `check` looks at: this client, with a single attempt for each call."""
        view = self.with_options(retry=1, timeout=Timeout(connect=10, read=30, attempt=30, total=40))
        proxy, make_ssl, own_network = self._network
        now, stats = self._bound.settings, self.stats()
        rate = "no rate limit" if stats.limit is None else f"{stats.limit} requests in {stats.per:g} s"
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
            proxy=proxy,
            make_ssl=make_ssl,
            own_network=own_network,
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


def _advice(own_network: bool, ssl_context: object) -> str:
    """Return what to do about a certificate that is not trusted; a way that is there for such a client."""
    if ssl_context is not None:
        return "if it uses a private CA, load it into the ssl_context"
    if not own_network:
        return "if it uses a private CA, load it into the SSL context of the session's connector"
    return PRIVATE_CA


def _ssl_maker(
    ca_bundle: Any, client_cert: Any, ssl_context: Any, *, used: bool
) -> Callable[[], ssl.SSLContext] | None:
    bundle, pair = conf.check_file(ca_bundle, "ca_bundle"), conf.client_certificate(client_cert)
    if ssl_context is not None:
        if bundle is not None or pair is not None:
            raise ConfigurationError("ssl_context excludes ca_bundle and client_cert: load them into the context")
        if not isinstance(ssl_context, ssl.SSLContext):
            raise ConfigurationError(f"ssl_context must be an ssl.SSLContext, not {type(ssl_context).__name__}")
        return lambda: ssl_context
    if bundle is None and pair is None and not used:
        return None
    trusted = conf.trusted_by_environment() if used else []

    def make() -> ssl.SSLContext:
        from .transport.aiohttp import make_ssl_context  # noqa: PLC0415 (aiohttp is imported at the first use)

        try:
            return make_ssl_context(bundle, pair, trusted)
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or type(error).__name__
        named = "what SSL_CERT_FILE, SSL_CERT_DIR or REQUESTS_CA_BUNDLE names, " if trusted else ""
        raise ConfigurationError(f"{named}ca_bundle or client_cert cannot be loaded: {reason}")

    return make


class AsyncClient(BaseClient[AsyncExecutor]):
    """A client of the StackOne Unified LMS API, for asyncio.

    Constructing needs no running event loop and does no I/O. The session is made on the first call, and the client
    stays on that call's loop until that is closed: then it moves to the loop of the next call, with new connections and
    the same limits. Use `async with`, or call `aclose()`.
    """

    def _executor_for(self, bound: BoundExecutor) -> AsyncExecutor:
        return bound

    def for_accounts(self, account_ids: AccountIds | AsyncPager[LinkedAccount]) -> Accounts[AsyncFanOutExecutor]:
        """Return the resources of several accounts at once: every read is performed in each of them.

        Args:
            account_ids: The linked accounts: their ids, or what `accounts.list()` delivers; the `pathlib.Path` of a
                file with one id a line; or a pager, such as `client.accounts.list(status="active")`, which each read
                walks before it begins.

        Raises:
            InvalidArgumentError: There are none, or one of them cannot be an account.
        """
        if isinstance(account_ids, AsyncPager):
            return Accounts(PagedAccountsExecutor(account_ids, self._by_account), None)
        executors = self._by_account(account_ids)
        return Accounts(AsyncAccountsExecutor(executors), len(executors))

    @overload
    async def request(
        self,
        method: HTTPMethod,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        account_id: str | EllipsisType | None = ...,
        answer: type[T],
    ) -> RequestResult[T]: ...
    @overload
    async def request(
        self,
        method: HTTPMethod,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        account_id: str | EllipsisType | None = ...,
    ) -> RequestResult[Any]: ...
    async def request(
        self,
        method: HTTPMethod,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        account_id: str | EllipsisType | None = ...,
        answer: Any = Any,
        **unknown: Any,
    ) -> RequestResult[Any]:
        """Send a request to any endpoint of the API, under the same limits, retries, deadline and errors as all calls.

        Args:
            method: `GET`, `POST`, `PUT`, `PATCH` or `DELETE`. Repeated after a lost answer are GET, PUT and DELETE.
            path: Path below the base URL, such as `/unified/lms/users`; ids in it encoded with
                `urllib.parse.quote(id, safe="")`.
            query: Query parameters; nested mappings become `a[b]=1`, lists repeat the key.
            body: What to send as JSON: plain values, date-times, or models.
            headers: Headers of this request, besides those of the client and the view.
            account_id: The linked account. Default: that of the client or the view. None: the request is sent without
                `x-account-id`, for endpoints that belong to no account.
            answer: Type of what the answer holds: a model, `list[...]`, or whatever msgspec decodes. Default: plain
                JSON.
            **unknown: None; options of a view, such as `timeout`, are those of `with_options`.

        Returns:
            The whole answer; what it holds is in `.data`, None if it was empty.

        Raises:
            TypeError: There is no such keyword.
            InvalidArgumentError: Before any I/O: something cannot be sent.
            StackOneError: Everything else; see `stackone_lms.errors`.
        """
        known_keywords("request", unknown, REQUEST_KEYWORDS, elsewhere=VIEW_OPTIONS)
        executor, operation, args = self._describe_request(method, path, query, body, headers, account_id, answer)
        return await executor.execute(operation, args)

    async def check(self) -> CheckReport:
        """Find out whether everything works: configuration, network, TLS, key, account, a first page of users.

        It sends three requests at most, each once, and waits a minute or two at most where nobody answers.

        Returns:
            What was found, line by line, with what to do about it; nothing secret. What calls fail with is in there,
            and not raised.
        """
        from .diagnosis import diagnose  # noqa: PLC0415 (seldom needed)

        return await diagnose(self._subject())

    async def aclose(self) -> None:
        """Close the client and all its views; calls under way end with ClientClosedError. Closing twice is fine."""
        await self._bound.engine.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
