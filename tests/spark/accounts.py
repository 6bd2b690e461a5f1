"""A server of users, with accounts that change, go down and come back as a test wants it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stackone_lms import SyncClient
from stackone_lms.spark.options import KeyedConnect, read_options
from stackone_lms.spark.streaming import StreamQuery
from stackone_lms.testing import InMemoryTransport
from stackone_lms.testing.memory import SentRequest, answer

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)

Row = tuple[str, str, str | None]
"""Account, id, version."""


def moment(minutes: float) -> str:
    return (BEGIN + timedelta(minutes=minutes)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def user(id: str, minutes: float | None, version: str = "1") -> dict[str, Any]:
    return {"id": id, "name": version, **({} if minutes is None else {"updated_at": moment(minutes)})}


class Accounts:
    """A server in the memory, and the time of those who ask it.

    Args:
        page: Records of a page.
        records: The users of each account.
    """

    def __init__(self, page: int = 2, **records: list[dict[str, Any]]) -> None:
        self.page, self.records = page, records
        self.now = 60.0
        self.down: dict[str, int] = {}
        self.breaks: dict[tuple[str, int], int] = {}
        """By account and number of the record at which a page begins: with what it fails."""
        self.lookups_fail = False
        self.asked: list[tuple[str, int, str | None]] = []
        self.transport = InMemoryTransport()
        self.transport.reply("GET", "/unified/lms/users", self._answer)
        self.transport.reply("GET", "/accounts", self._list_accounts)

    def _list_accounts(self, _: SentRequest) -> Any:
        if self.lookups_fail:
            return answer({"message": "no"}, 503)
        return answer([{"id": id, "status": "active", "provider": "x"} for id in self.records])

    def _answer(self, sent: SentRequest) -> Any:
        account, start = str(sent.account_id), int(sent.query.get("next", "0"))
        after = sent.query.get("filter[updated_after]")
        self.asked.append((account, start, after))
        status = self.down.get(account) or self.breaks.get((account, start))
        if status is not None:
            return answer({"message": "no"}, status)
        found = [one for one in self.records[account] if after is None or (one.get("updated_at") or "") > after]
        following = str(start + self.page) if start + self.page < len(found) else None
        return answer({"data": found[start : start + self.page], "next": following})

    def client(self) -> SyncClient:
        return SyncClient("key", transport=self.transport, rate_limit=None, retry=1)


def options(**given: str) -> Mapping[str, str]:
    several = {"path": "users", "apiKey": "key", "baseUrl": "http://127.0.0.1:1", **given}
    return {name.lower(): value for name, value in several.items()}


NAMES = ("account_id", "id", "name")


def rows_of(batches: list[Any]) -> list[Row]:
    return [tuple(row.values()) for batch in batches for row in batch.to_pylist()]


class Stream:
    """A stream as Spark drives it: its checkpoint outlives its process.

    Args:
        monkeypatch: That of the test.
        server: Whom it asks.
        given: Options.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, server: Accounts, **given: str) -> None:
        accounts = {} if "allAccounts" in given else {"accounts": ",".join(server.records)}
        self.given = {**accounts, "pollInterval": "0s", "lag": "0s", "batchRows": "3", **given}
        self.client = server.client()

        def client(_: KeyedConnect) -> SyncClient:
            return self.client

        monkeypatch.setattr(KeyedConnect, "client", client)
        now = "stackone_lms.spark.streaming._now"
        monkeypatch.setattr(now, lambda: BEGIN + timedelta(minutes=server.now))
        self.query = self._make()
        self.start = self.query.first()
        self.begun: dict[str, Any] | None = None
        """The end of a micro-batch that was begun and not ended."""

    def _make(self) -> StreamQuery:
        return StreamQuery(read_options(options(**self.given)).for_stream(), NAMES)

    def kill(self) -> None:
        """Kill the process, and start another one."""
        self.query.close()
        self.query = self._make()

    def batch(self, *, killed: bool = False) -> list[Row]:
        """Return a micro-batch, or what is read of it before it is killed."""
        if self.begun is not None:
            found = self.query.read_again(self.start, self.begun)
        else:
            found, end = self.query.read(self.start)
            if end == self.start:
                assert not found
                return []
            self.begun = end
        if not killed:
            self.start, self.begun = self.begun, None
        return rows_of(found)

    def round(self) -> list[Row]:
        """Return what comes until its round is over; a round that brings nothing is one, too."""
        found: list[Row] = []
        while True:
            before = self.start
            found += self.batch()
            if self.start == before or (
                not self.start["open"] and self.start["started"] == len(self.start["accounts"])
            ):
                return found

    def close(self) -> None:
        self.client.close()


Make = Callable[..., Stream]
"""Makes a stream of what a server has, with options."""
