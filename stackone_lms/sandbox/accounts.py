"""The linked accounts of a sandbox, each made when it is first used."""

from random import Random
from threading import Lock

from .dataset import Sizes, build
from .identifiers import account_id
from .store import Account


class Accounts:
    """The accounts of one seed.

    Attributes:
        ids: Ids of the active accounts.
        inactive_id: Id of one more, whose link to the provider is switched off.
    """

    def __init__(self, seed: int, count: int, sizes: Sizes, *, odd_values: bool) -> None:
        if count < 1:
            raise ValueError("a sandbox has at least one account")
        rng = Random(f"{seed}/accounts")
        self.inactive_id = account_id(2, rng)
        self.ids = tuple(account_id(index, rng) for index in range(count))
        self._seed = seed
        self._sizes = sizes
        self._odd_values = odd_values
        self._made: dict[str, Account] = {}
        self._lock = Lock()

    def find(self, id: str) -> Account | None:
        """Return an active account."""
        account = self._made.get(id)
        if account is not None or id not in self.ids:
            return account
        with self._lock:
            if id not in self._made:
                self._made[id] = build(self._seed, self.ids.index(id), self._sizes, odd_values=self._odd_values)
            return self._made[id]
