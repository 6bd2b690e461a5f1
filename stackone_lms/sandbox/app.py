"""The API itself, without a socket: a request in, an answer out."""

from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from . import operations, query
from .accounts import Accounts
from .calls import Call
from .faults import FaultPlan
from .limits import Limit, Window
from .problems import Problem, provider_error
from .recording import Answer, Received
from .store import Account, dumps
from .times import stamp


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
    """

    clock: Callable[[], datetime]
    rate_limit: Limit | None
    account_limits: Mapping[str, Limit]
    max_in_flight: int | None
    empty_pages: bool
    odd_values: bool
    delete_status: int


class App:
    """Answers requests from the accounts, under the rules, with the planned faults."""

    def __init__(self, api_key: str, seed: int, accounts: Accounts, rules: Rules, faults: FaultPlan) -> None:
        self.accounts = accounts
        self.faults = faults
        self._credentials = b64encode(f"{api_key}:".encode()).decode("ascii")
        self._rules = rules
        self._window = Window(rules.rate_limit) if rules.rate_limit else None
        self._account_windows = {id: Window(limit) for id, limit in rules.account_limits.items()}
        self._seed = seed
        self._answered = 0

    def answer(self, received: Received, in_flight: int = 1, refused: Problem | None = None) -> Answer:
        """Answer a request that is one of `in_flight` at present, or tell why it could not even be read."""
        self._answered += 1
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "x-request-id": f"{self._seed & 0xFFFFFFFF:08x}{self._answered:024x}",
        }
        if wants_heartbeat(received):
            headers["Preference-Applied"] = "heartbeat"
        try:
            answer = self._refusal(refused) if refused else self._answer(received, in_flight)
        except Problem as problem:
            answer = self._refusal(problem)
        headers.update(answer.headers)
        return Answer(answer.status, answer.body, headers)

    def _refusal(self, problem: Problem) -> Answer:
        body = problem.body(self._now(), odd=self._rules.odd_values)
        return Answer(problem.status, dumps(body), problem.headers())

    def _now(self) -> str:
        return stamp(self._rules.clock())

    def _answer(self, received: Received, in_flight: int) -> Answer:
        if not received.headers.get("user-agent", "").strip():
            raise Problem(403, "Forbidden resource: send a User-Agent header")
        operation, ids = operations.find(received.method, received.path)
        self._authenticate(received.headers)
        self._admit(in_flight)
        fault = self.faults.draw(received.path)
        if fault is not None and not fault[1]:
            return self._refusal(fault[0])
        account = self._account(received.headers)
        answer = operation.run(
            Call(
                operation=operation,
                account=account,
                ids=ids,
                query=query.decode(received.query),
                headers=received.headers,
                body=received.body,
                now=self._now() if operation.method != "GET" else "",
                empty_pages=self._rules.empty_pages,
                delete_status=self._rules.delete_status,
            )
        )
        return answer if fault is None else self._refusal(fault[0])

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

    def _account(self, headers: Mapping[str, str]) -> Account:
        id = headers.get("x-account-id", "").strip()
        if not id:
            raise Problem.invalid("the header x-account-id is required")
        account = self.accounts.find(id)
        if account is None and id == self.accounts.inactive_id:
            raise Problem(412, error_code="AccountIntegrationInactiveError")
        if account is None:
            raise Problem(404, "Not Found: there is no such account")
        window = self._account_windows.get(id)
        wait = window.take() if window else None
        if wait is not None:
            told = provider_error(429, account.url(""), "slow down")
            raise Problem(429, retry_after=wait, provider_errors=[told])
        return account


def wants_heartbeat(received: Received) -> bool:
    """Tell whether the request prefers newlines to silence."""
    prefer = received.headers.get("prefer")
    return prefer is not None and "heartbeat" in (part.strip().lower() for part in prefer.split(","))
