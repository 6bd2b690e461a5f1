"""The sandbox as its users see it."""

import json
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from math import inf
from random import Random
from threading import Thread
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack

from .accounts import LinkedAccounts
from .app import App, Rules
from .calls import Refusal
from .dataset import Sizes
from .faults import FaultPlan, Faults, Planned, problem
from .limits import Limit
from .recording import Received
from .store import TABLES, RecordTable

if TYPE_CHECKING:
    import asyncio

    from .listener import Listener

_LONGEST_STOP = 10.0


class SandboxOptions(TypedDict, total=False):
    """The options of `Sandbox`, for functions that pass them on."""

    seed: int
    api_key: str
    accounts: int
    users: int
    courses: int
    contents: int
    assignments: int
    completions: int
    rate_limit: Limit | None
    account_limits: Mapping[str, Limit] | None
    max_in_flight: int | None
    latency: float | tuple[float, float]
    heartbeat_interval: float
    heartbeat_status: int | None
    faults: Faults | None
    empty_pages: bool
    odd_values: bool
    delete_status: int
    upsert_status: int
    batch_delay: float
    wrapped_accounts: bool
    clock: Callable[[], datetime] | None
    history: int
    host: str
    port: int


class Sandbox:
    """A local server that behaves like the StackOne Unified LMS API.

    Use it with `async with` in a running loop, or as `with Sandbox.in_thread(...)` from blocking code.
    The data are made up and depend on the seed only; writes change them until `reset`.

    Args:
        seed: Equal seeds give equal data, account ids, faults and latencies.
        api_key: The one key that is accepted, as the Basic user name with an empty password.
        accounts: Number of linked accounts, each with a provider and data of its own.
        users: Users of each account.
        courses: Courses of each account.
        contents: Content records of each account.
        assignments: Assignments of each account.
        completions: Completions of each account.
        rate_limit: Requests and seconds that the key is allowed over all accounts, then 429. The documented
            limit of the API is (1000, 60.0); None, the default, is no limit.
        account_limits: The same by account id, as a provider's own limit: 429 with `provider_errors`.
        max_in_flight: Requests at a time; one more is answered 503.
        latency: Seconds before each answer, or the bounds to draw them from.
        heartbeat_interval: Seconds between the newlines that a request with `Prefer: heartbeat` gets
            meanwhile.
        heartbeat_status: Status sent once heartbeats have begun, whatever the answer turns out to be; by
            default the true one. With 200 an error can arrive in a 200.
        faults: Random failures, such as `{"status": 503, "rate": 0.01}`.
        empty_pages: Whether some pages of a list come empty or short, with a cursor, as the API's do.
        odd_values: Whether to send what the API is known to send against its own document: `progress` as a
            string, `localizations` in another form, errors without a timestamp.
        delete_status: 200 with a body, or 204 without.
        upsert_status: How an upsert that replaces is answered: 201 as the API's document has it, or 200 as its
            testing guide says.
        batch_delay: Seconds, by the clock, until the request log has the outcomes of all items of a batch. They come
            one after the other.
        wrapped_accounts: Whether `GET /accounts` answers `{"data": [...]}` instead of a plain list; the API is known
            to do either.
        clock: Gives the aware moment with which writes and errors are stamped; by default the present.
        history: How many requests `requests` and the request log keep.
        host: Address to listen on.
        port: Port to listen on; 0 lets the system choose.

    Attributes:
        api_key: The key that is accepted.
        account_ids: The ids for `x-account-id`.
        inactive_account_id: One more id, of an account that is switched off: 412.
        expired_account_id: One more id, of an account whose credentials have expired: 412.
        requests: The newest requests that were received, oldest first.
        request_count: How many requests were received.
        status_counts: How many answers were made, by status.

    Raises:
        ValueError: If an option cannot be met.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        api_key: str = "v1.sandbox.a-key-for-the-sandbox-only",
        accounts: int = 3,
        users: int = 200,
        courses: int = 40,
        contents: int = 120,
        assignments: int = 600,
        completions: int = 5000,
        rate_limit: Limit | None = None,
        account_limits: Mapping[str, Limit] | None = None,
        max_in_flight: int | None = None,
        latency: float | tuple[float, float] = 0.0,
        heartbeat_interval: float = 1.0,
        heartbeat_status: int | None = None,
        faults: Faults | None = None,
        empty_pages: bool = True,
        odd_values: bool = False,
        delete_status: int = 200,
        upsert_status: int = 201,
        batch_delay: float = 2.0,
        wrapped_accounts: bool = False,
        clock: Callable[[], datetime] | None = None,
        history: int = 10_000,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        if not api_key or delete_status not in (200, 204) or heartbeat_interval <= 0:
            raise ValueError("api_key cannot be empty, delete_status is 200 or 204, heartbeat_interval is above 0")
        if upsert_status not in (200, 201) or not 0 <= batch_delay < inf:
            raise ValueError("upsert_status is 200 or 201, batch_delay is a number of seconds")
        low, high = latency if isinstance(latency, tuple) else (latency, latency)
        if not 0 <= low <= high:
            raise ValueError(f"latency is a number of seconds, or (lowest, highest), not {latency!r}")
        self.api_key = api_key
        self.requests: deque[Received] = deque(maxlen=history)
        self.request_count = 0
        self.status_counts: Counter[int] = Counter()
        self._seed = seed
        self._account_count = accounts
        self._sizes = Sizes(users, courses, contents, assignments, completions)
        self._rules = Rules(
            clock=clock or _now,
            rate_limit=rate_limit,
            account_limits=dict(account_limits or {}),
            max_in_flight=max_in_flight,
            empty_pages=empty_pages,
            odd_values=odd_values,
            delete_status=delete_status,
            upsert_status=upsert_status,
            batch_delay=timedelta(seconds=batch_delay),
            wrapped_accounts=wrapped_accounts,
            history=history,
        )
        self._faults = faults
        self._latency = (low, high)
        self._heartbeat_interval = heartbeat_interval
        self._heartbeat_status = heartbeat_status
        self._host = host
        self._port = port
        self._url: str | None = None
        self._listener: Listener | None = None
        self._app = self._new_app()
        self.account_ids = list(self._app.accounts.ids)
        self.inactive_account_id = self._app.accounts.inactive_id
        self.expired_account_id = self._app.accounts.expired_id
        unknown = self._rules.account_limits.keys() - set(self.account_ids)
        if unknown:
            raise ValueError("account_limits names accounts that the sandbox does not have")

    @classmethod
    def in_thread(cls, **options: "Unpack[SandboxOptions]") -> AbstractContextManager["Sandbox"]:
        """Return a context manager that runs a sandbox in a thread of its own, for blocking code.

        Args:
            **options: The options of `Sandbox`.
        """
        return _InThread(cls(**options))

    @property
    def url(self) -> str:
        """Base URL while it runs, without a slash at the end.

        Raises:
            RuntimeError: If it does not run.
        """
        if self._url is None:
            raise RuntimeError("the sandbox does not run; use it in a with statement")
        return self._url

    def ids(self, resource: str, account_id: str | None = None) -> list[str]:
        """Return the StackOne ids of all records of a resource, such as `completions`.

        Args:
            resource: A resource as named in the API's paths; `collections` too.
            account_id: Which account; by default the first.

        Raises:
            ValueError: If there is no such resource or account.
        """
        return list(self._table(resource, account_id).rows)

    def record(self, resource: str, id: str, account_id: str | None = None) -> dict[str, Any]:
        """Return a copy of a record as it is now, by either of its ids.

        Raises:
            ValueError: If there is no such resource or account.
            KeyError: If there is no such record.
        """
        row = self._table(resource, account_id).find(id)
        if row is None:
            raise KeyError(id)
        copy: dict[str, Any] = json.loads(row.json)
        return copy

    def fail_next(
        self,
        status: int,
        times: int = 1,
        retry_after: int | None = None,
        path_contains: str | None = None,
        *,
        account_id: str | None = None,
        error_code: str | None = None,
        after: bool = False,
    ) -> None:
        """Let the next requests fail, once they are known to be authentic.

        Args:
            status: The status to answer.
            times: How many requests fail.
            retry_after: Seconds for a `Retry-After` header.
            path_contains: Only requests fail whose path contains this.
            account_id: Only requests of this account fail.
            error_code: An `errorCode` such as `AccountExpiredCredentialsError`.
            after: Whether the request is carried out nevertheless, as when only the answer is lost.
        """
        if times < 1:
            raise ValueError("times is at least 1")
        planned = Planned(problem(status, retry_after, error_code), times, path_contains, account_id, after)
        self._app.faults.plan(planned)

    def refuse(self, external_reference: str, message: str = "the provider refuses it", status: int = 422) -> None:
        """Let the provider refuse an item of the batches to come: the batch is accepted, the item fails later.

        Args:
            external_reference: Of the content or course.
            message: What the provider says.
            status: The status that it answers.

        Raises:
            ValueError: The status is none of a failure.
        """
        if not 400 <= status <= 599:
            raise ValueError(f"a failure has a status from 400 to 599, not {status}")
        self._app.refusals[external_reference] = Refusal(status, message)

    def reset(self) -> None:
        """Go back to the state at the start: data, limits, faults, and what was received."""
        self._app = self._new_app()
        self.requests.clear()
        self.request_count = 0
        self.status_counts.clear()

    async def __aenter__(self) -> Self:
        from .listener import Listener, ResponseTiming  # noqa: PLC0415 (aiohttp is imported when a sandbox starts)

        if self._listener is not None:
            raise RuntimeError("the sandbox runs already")
        timing = ResponseTiming(self._latency, self._heartbeat_interval, self._heartbeat_status)
        self._listener = Listener(lambda: self._app, timing, Random(self._seed), self._receive, self._count)
        try:
            port = await self._listener.start(self._host, self._port)
        except BaseException:
            self._listener = None
            raise
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        listener, self._listener, self._url = self._listener, None, None
        if listener is not None:
            await listener.stop()

    def __repr__(self) -> str:
        return f"<Sandbox {self._url or 'not running'}>"

    def _new_app(self) -> App:
        accounts = LinkedAccounts(self._seed, self._account_count, self._sizes, odd_values=self._rules.odd_values)
        return App(self.api_key, self._seed, accounts, self._rules, FaultPlan(self._faults, self._seed))

    def _receive(self, received: Received) -> None:
        self.requests.append(received)
        self.request_count += 1

    def _count(self, status: int) -> None:
        self.status_counts[status] += 1

    def _table(self, resource: str, account_id: str | None) -> RecordTable:
        account = self._app.accounts.find(self.account_ids[0] if account_id is None else account_id)
        if account is None or resource not in TABLES:
            raise ValueError(f"the sandbox has no such account, or no {resource}")
        return account.tables[resource]


def _now() -> datetime:
    return datetime.now(UTC)


class _InThread(AbstractContextManager[Sandbox]):
    """Runs a sandbox in a daemon thread with a loop of its own, from enter to exit."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._thread: Thread | None = None
        self._started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    def __enter__(self) -> Sandbox:
        if self._thread is not None:
            raise RuntimeError("enter a sandbox in a thread once; make another")
        self._thread = Thread(target=self._run, name="stackone-lms-sandbox", daemon=True)
        self._thread.start()
        try:
            self._started.result()
        except Exception:
            self._thread.join(_LONGEST_STOP)
            raise
        return self._sandbox

    def __exit__(self, *_: object) -> None:
        loop, stop = self._started.result()
        loop.call_soon_threadsafe(stop.set)
        if self._thread is not None:
            self._thread.join(_LONGEST_STOP)

    def _run(self) -> None:
        import asyncio  # noqa: PLC0415 (only a sandbox that starts needs a loop)

        asyncio.run(self._serve())

    async def _serve(self) -> None:
        import asyncio  # noqa: PLC0415

        stop = asyncio.Event()
        try:
            await self._sandbox.__aenter__()
        except BaseException as error:  # noqa: BLE001 (the thread that waits raises it)
            self._started.set_exception(error)
            return
        self._started.set_result((asyncio.get_running_loop(), stop))
        try:
            await stop.wait()
        finally:
            await self._sandbox.__aexit__()
