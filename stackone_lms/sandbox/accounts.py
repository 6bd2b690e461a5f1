"""The linked accounts of a sandbox: what the API tells of each, and its data, made when they are first used."""

from collections.abc import Mapping
from datetime import timedelta
from random import Random
from threading import Lock

from . import words
from .dataset import NEWEST, Sizes, build
from .identifiers import account_id
from .store import AccountData, Record
from .times import stamp

_REASONS: Mapping[str, tuple[str, str]] = {
    "inactive": ("disabled_by_user", "The account was switched off."),
    "expired": ("credentials_expired", "The provider refuses the credentials: they have expired. Link it again."),
}
"""Code and description of the reason for each status that serves nobody."""


class LinkedAccounts:
    """The accounts of one seed.

    Attributes:
        ids: Ids of the active accounts.
        inactive_id: Id of one more, whose link to the provider is switched off.
        expired_id: Id of one more, whose credentials have expired.
        described: Every account as the API describes it, by id, the active ones first.
    """

    def __init__(self, seed: int, count: int, sizes: Sizes, *, odd_values: bool) -> None:
        if count < 1:
            raise ValueError("a sandbox has at least one account")
        rng = Random(f"{seed}/accounts")
        self.inactive_id = account_id(2, rng)
        self.ids = tuple(account_id(index, rng) for index in range(count))
        self.expired_id = account_id(1, rng)
        self._seed = seed
        self._sizes = sizes
        self._odd_values = odd_values
        self._made: dict[str, AccountData] = {}
        self._lock = Lock()
        described = [_described(n, id, "active") for n, id in enumerate(self.ids)]
        described.append(_described(count, self.inactive_id, "inactive"))
        described.append(_described(count + 1, self.expired_id, "expired"))
        self.described: dict[str, Record] = {record["id"]: record for record in described}

    def find(self, id: str) -> AccountData | None:
        """Return the data of an active account."""
        account = self._made.get(id)
        if account is not None or id not in self.ids:
            return account
        with self._lock:
            if id not in self._made:
                self._made[id] = build(self._seed, self.ids.index(id), self._sizes, odd_values=self._odd_values)
            return self._made[id]


def _described(number: int, id: str, status: str) -> Record:
    """Describe the account number `number` as `GET /accounts` does."""
    provider = words.PROVIDERS[number % len(words.PROVIDERS)]
    owner = words.CUSTOMERS[number % len(words.CUSTOMERS)]
    round_ = number // len(words.CUSTOMERS)
    created = NEWEST - timedelta(days=400 - number % 300)
    updated = created if status == "active" else NEWEST - timedelta(days=3)
    reason = _REASONS.get(status)
    return {
        "id": id,
        "provider": provider,
        "provider_name": provider.title(),
        "status": status,
        "status_reasons": [
            {"code": reason[0], "description": reason[1], "timestamp": stamp(updated)},
        ] if reason else None,
        "origin_owner_id": f"customer-{number + 1}",
        "origin_owner_name": owner if not round_ else f"{owner} {round_ + 1}",
        "origin_username": None if number % 3 == 2 else f"admin@customer-{number + 1}.example.com",
        "credentials": {"client_id": f"sandbox-{number + 1}", "client_secret": f"sandbox-account-secret-{number + 1}"},
        "setup_information": {"region": "eu" if number % 2 == 0 else "us"},
        "label": "Pilot" if number % 3 == 1 else None,
        "shared": True,
        "type": "test" if number % 4 == 3 else "production",
        "created_at": stamp(created),
        "updated_at": stamp(updated),
    }  # fmt: skip
