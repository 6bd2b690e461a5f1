"""The API itself, without a socket: a request in, an answer out."""

import logging
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from . import operations, platform, query
from .accounts import LinkedAccounts
from .calls import BatchEntry, Call, Refusal, Route
from .connect_sessions import ConnectSessions
from .faults import FaultPlan
from .limits import Limit, Window
from .problems import Problem, provider_error
from .query import Query
from .reads import parameters
from .recording import Received, ServerResponse
from .request_log import LoggedRequest, RequestLog
from .store import AccountData, dumps
from .times import stamp

_logger = logging.getLogger("stackone_lms.sandbox")


@dataclass(frozen=True, slots=True)
class Rules:
    """How an app answers.

    Attributes:
        clock: Gives the moment, aware, that writes and errors are stamped with.
        rate_limit: What the API key is allowed, over all accounts.
        account_limits: What the provider behind an account allows, by account id.
        max_in_flight: Requests at a time, above which the answer is 503.
        empty_pages: Whether some pages of a list end early.
        odd_values: Whether errors leave out their timestamp, as some do.
        delete_status: How a delete is answered, 200 or 204.
        upsert_status: How an upsert that replaces is answered, 201 or 200.
        batch_delay: How long the provider takes for all items of a batch.
        wrapped_accounts: Whether a list of accounts comes in `{"data": [...]}`.
        history: How many requests the log keeps.
    """

    clock: Callable[[], datetime]
    rate_limit: Limit | None
    account_limits: Mapping[str, Limit]
    max_in_flight: int | None
    empty_pages: bool
    odd_values: bool
    delete_status: int
    upsert_status: int
    batch_delay: timedelta
    wrapped_accounts: bool
    history: int


class App:
    """Answers requests from the accounts, under the rules, with the planned faults."""

    def __init__(self, api_key: str, seed: int, accounts: LinkedAccounts, rules: Rules, faults: FaultPlan) -> None:
        self.accounts = accounts
        self.faults = faults
        self._credentials = b64encode(f"{api_key}:".encode()).decode("ascii")
        self._rules = rules
        self._window = Window(rules.rate_limit) if rules.rate_limit else None
        self._account_windows = {id: Window(limit) for id, limit in rules.account_limits.items()}
        self._seed = seed
        self._answered = 0
        self.refusals: dict[str, Refusal] = {}
        self._log = RequestLog(rules.history)
        self._sessions = ConnectSessions(seed)

    def answer(self, received: Received, in_flight: int = 1, refused: Problem | None = None) -> ServerResponse:
        """Answer a request that is one of `in_flight` at present, or tell why it could not even be read."""
        self._answered += 1
        id = f"{self._seed & 0xFFFFFFFF:08x}{self._answered:024x}"
        headers = {"Content-Type": "application/json; charset=utf-8", "x-request-id": id}
        if wants_heartbeat(received):
            headers["Preference-Applied"] = "heartbeat"
        try:
            answer = self._refusal(refused) if refused else self._answer(received, in_flight, id)
        except Problem as problem:
            answer = self._refusal(problem)
        headers.update(answer.headers)
        return ServerResponse(answer.status, answer.body, headers)

    def _refusal(self, problem: Problem) -> ServerResponse:
        body = problem.body(self._now(), odd=self._rules.odd_values)
        return ServerResponse(problem.status, dumps(body), problem.headers())

    def _now(self) -> str:
        return stamp(self._rules.clock())

    def _answer(self, received: Received, in_flight: int, id: str) -> ServerResponse:
        if not received.headers.get("user-agent", "").strip():
            raise Problem(403, "Forbidden resource: send a User-Agent header")
        if not received.path.startswith(operations.ROOT):
            return self._answer_platform(received, in_flight)
        route, ids = operations.ROUTER.find(received.method, received.path.removeprefix(operations.ROOT))
        self._authenticate(received.headers)
        batch: list[BatchEntry] = []
        try:
            answer = self._faulty(received, in_flight, lambda: self._carry_out(received, route, ids, batch))
        except Problem as problem:
            answer = self._refusal(problem)
        self._note(received, route, ids, batch, answer, id)
        return answer

    def _answer_platform(self, received: Received, in_flight: int) -> ServerResponse:
        route, ids = platform.ROUTER.find(received.method, received.path.removeprefix("/"))
        self._authenticate(received.headers)

        def carry_out() -> ServerResponse:
            return route.run(
                platform.PlatformCall(
                    accounts=self.accounts,
                    log=self._log,
                    sessions=self._sessions,
                    ids=ids,
                    query=query.decode(received.query),
                    headers=received.headers,
                    body=received.body,
                    now=self._rules.clock(),
                    wrapped=self._rules.wrapped_accounts,
                )
            )

        return self._faulty(received, in_flight, carry_out)

    def _faulty(self, received: Received, in_flight: int, carry_out: Callable[[], ServerResponse]) -> ServerResponse:
        """Carry a request out, unless there are too many or a failure is planned for it."""
        self._admit(in_flight)
        fault = self.faults.draw(received.path, _account_id(received.headers))
        if fault is not None and not fault[1]:
            return self._refusal(fault[0])
        answer = carry_out()
        return answer if fault is None else self._refusal(fault[0])

    def _carry_out(self, received: Received, route: Route, ids: list[str], batch: list[BatchEntry]) -> ServerResponse:
        account = self._account(received.headers)
        given = query.decode(received.query)
        if given:
            _note_ignored(received, route, given)
        return route.run(
            Call(
                operation=route,
                account=account,
                ids=ids,
                query=given,
                headers=received.headers,
                body=received.body,
                now=self._now() if route.method != "GET" else "",
                empty_pages=self._rules.empty_pages,
                delete_status=self._rules.delete_status,
                upsert_status=self._rules.upsert_status,
                refusals=self.refusals,
                batch=batch,
            )
        )

    def _note(
        self,
        received: Received,
        route: Route,
        ids: list[str],
        batch: list[BatchEntry],
        answer: ServerResponse,
        id: str,
    ) -> None:
        """Add a request to the log, if it is about an account that serves."""
        account_id = _account_id(received.headers)
        account = self.accounts.find(account_id)
        if account is not None:
            self._log.add(
                LoggedRequest(
                    id=id,
                    received=received,
                    route=route,
                    ids=ids,
                    account_id=account_id,
                    account=account,
                    moment=self._rules.clock(),
                    batch=batch,
                    batch_delay=self._rules.batch_delay,
                    status=answer.status,
                    body=answer.body,
                )
            )

    def _authenticate(self, headers: Mapping[str, str]) -> None:
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic" or credentials.strip() != self._credentials:
            raise Problem(401)

    def _admit(self, in_flight: int) -> None:
        most = self._rules.max_in_flight
        if most is not None and in_flight > most:
            raise Problem(503, "Service Unavailable: too many requests at a time")
        wait = self._window.take() if self._window else None
        if wait is not None:
            raise Problem(429, retry_after=wait)

    def _account(self, headers: Mapping[str, str]) -> AccountData:
        id = _account_id(headers)
        if not id:
            raise Problem.invalid("the header x-account-id is required")
        account = self.accounts.find(id)
        if account is None and id in self.accounts.described:
            raise Problem(412, error_code="AccountIntegrationInactiveError")
        if account is None:
            raise Problem(404, "Not Found: there is no such account")
        window = self._account_windows.get(id)
        wait = window.take() if window else None
        if wait is not None:
            told = provider_error(429, account.url(""), "slow down")
            raise Problem(429, retry_after=wait, provider_errors=[told])
        return account


def _account_id(headers: Mapping[str, str]) -> str:
    return headers.get("x-account-id", "").strip()


def _note_ignored(received: Received, route: Route, given: Query) -> None:
    known = parameters(route)
    ignored = tuple(name for name in given if name not in known)
    if ignored:
        received.ignored = ignored
        _logger.info(
            "%s %s: ignored, since it has no such parameter: %s", received.method, received.path, ", ".join(ignored)
        )


def wants_heartbeat(received: Received) -> bool:
    """Tell whether the request prefers newlines to silence."""
    prefer = received.headers.get("prefer")
    return prefer is not None and "heartbeat" in (part.strip().lower() for part in prefer.split(","))
