"""A month of nights: accounts come, go and fail, records change and go, processes are killed, databases are restored.

After every night the target holds, of every account that could be reached, what a model of the API says it should;
of the others what it held before. Five nights by default, the whole month in `make soak`.
"""

from __future__ import annotations

import asyncio
import csv
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest
from aiohttp import web

from ..soak import further
from .datasets import delta_rows, lines, table_of
from .test_kill import ROOT


class Month(NamedTuple):
    """When what happens."""

    nights: int
    accounts: int
    copied: int
    restored: int
    grown: int
    """From this night on records have a field more that no model has, and the package has a column more."""


FIVE_NIGHTS = Month(nights=5, accounts=4, copied=1, restored=3, grown=4)
WHOLE = Month(nights=30, accounts=60, copied=9, restored=12, grown=20)
FULL_EVERY = 4
KILLED_EVERY = 3
KINDS = ("jsonl", "parquet", "csv", "sqlite", "duckdb", "delta")
RESOURCES = ["completions", "users", "skills"]
START = datetime(2026, 1, 1, tzinfo=UTC)

Lists = dict[tuple[str, str], dict[str, str]]
"""By resource and account: by id what tells one version of a record from another."""


class Api:
    """A model of the API: what every account has, and which of them cannot be reached."""

    url = ""

    def __init__(self, seed: int, grown: int = 1000) -> None:
        self.grown = grown
        self.dice = random.Random(seed)
        self.records: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
        self.failing: dict[str, tuple[int, int]] = {}
        self.night = self.made = 0
        self.asked: dict[str, int] = {}
        self.refused: set[str] = set()

    def now(self) -> str:
        return (START + timedelta(days=self.night)).strftime("%Y-%m-%dT%H:%M:%S.000Z")

    def add(self, account: str, resource: str) -> None:
        self.made += 1
        id = f"{resource[0]}{self.made}"
        record: dict[str, Any] = {"id": id, "name": f"{self.made}", "updated_at": self.now()}
        if resource == "users":
            record["phone_number"] = "1"
        if resource == "skills":  # they do not tell when they were changed
            del record["updated_at"]
        if self.night >= self.grown:
            record["invented_later"] = self.made
        self.records[account][resource][id] = record

    def change(self, account: str, resource: str) -> None:
        if self.records[account][resource]:
            record = self.records[account][resource][self.dice.choice(sorted(self.records[account][resource]))]
            self.made += 1
            record["name"] = f"{self.made}"
            if "updated_at" in record:
                record["updated_at"] = self.now()

    def delete(self, account: str, resource: str) -> None:
        if self.records[account][resource]:
            del self.records[account][resource][self.dice.choice(sorted(self.records[account][resource]))]

    def come(self, account: str) -> None:
        self.records[account] = {resource: {} for resource in RESOURCES}
        for resource in RESOURCES:
            for _ in range(self.dice.randrange(0, 45)):
                self.add(account, resource)

    def pass_a_day(self) -> None:
        self.night += 1
        for account in self.records:
            for resource in RESOURCES:
                for _ in range(self.dice.randrange(3)):
                    self.add(account, resource)
                for _ in range(self.dice.randrange(3)):
                    self.change(account, resource)
                for _ in range(self.dice.randrange(2)):
                    self.delete(account, resource)

    def versions(self, account: str, resource: str) -> dict[str, str]:
        return {id: record["name"] for id, record in self.records[account][resource].items()}

    async def answer(self, request: web.Request) -> web.Response:
        account, resource = request.headers["x-account-id"], request.match_info["resource"]
        query = request.query
        status, after = self.failing.get(account, (0, 0))
        self.asked[account] = self.asked.get(account, 0) + 1
        if status and self.asked[account] > after:
            self.refused.add(account)
            return web.json_response({"statusCode": status, "message": "no"}, status=status)
        since = query.get("filter[updated_after]", "")
        some = [r for r in self.records[account][resource].values() if r.get("updated_at", "~") > since]
        start, size = int(query.get("next", "0")), int(query["page_size"])
        following = str(start + size) if start + size < len(some) else None
        return web.json_response({"next": following, "data": some[start : start + size]})

    @contextmanager
    def served(self) -> Generator[str]:
        """Answer requests in a thread; yields the address."""
        loop, ready = asyncio.new_event_loop(), threading.Event()
        address: list[str] = []
        stop = asyncio.Event()

        async def serve() -> None:
            app = web.Application()
            app.router.add_get("/unified/lms/{resource}", self.answer)
            runner = web.AppRunner(app)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            address.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
            ready.set()
            await stop.wait()
            await runner.cleanup()

        thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
        thread.start()
        try:
            assert ready.wait(30)
            yield address[0]
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
            loop.close()


class Night:
    """A target, and what it should hold."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.format = kind if kind not in ("sqlite", "duckdb", "delta") else "jsonl"
        self.path = folder / kind if self.format == kind else folder / f"{kind}.db"
        self.target = str(self.path) if self.format == kind else f"{kind}:{self.path}"
        self.expected: Lists = {}
        self.took = 0.1
        self.copy: tuple[Path, Lists] | None = None

    def keep_a_copy(self) -> None:
        copy = self.path.with_name(f"copy-{self.path.name}")
        if self.path.is_dir():
            shutil.copytree(self.path, copy)
        else:
            shutil.copy(self.path, copy)
        self.copy = copy, deepcopy(self.expected)

    def restore(self) -> None:
        """Bring the copy back: of a database the file alone, as one does; the folder beside it knows no better."""
        assert self.copy is not None
        copy, self.expected = self.copy
        if copy.is_dir():
            shutil.rmtree(self.path)
            shutil.copytree(copy, self.path)
        else:
            shutil.copy(copy, self.path)

    def expect(self, api: Api, accounts: list[str], *, incremental: bool) -> None:
        """Bring up to date what is expected after a night."""
        for account in accounts:
            if account in api.failing:
                continue
            for resource in RESOURCES:
                now = api.versions(account, resource)
                before = self.expected.get((resource, account))
                merged = incremental and before and resource != "skills"
                self.expected[resource, account] = {**before, **now} if merged and before else now

    def found(self) -> Lists:
        """Return what the target holds."""
        rows = self._rows_of_files() if self.format == self.kind else self._rows_of_tables()
        found: Lists = {}
        for resource, account, id, name in rows:
            assert id not in found.setdefault((resource, account), {}), f"{id} is there twice"
            found[resource, account][id] = name
        return found

    def filled(self, resource: str, column: str) -> set[str]:
        """Return the accounts of whose records none lacks a value; all of those that have no records."""
        without = {account for account, value in self._values(resource, column) if not value}
        return {account for _, account in self.expected} - without

    def _values(self, resource: str, column: str) -> list[tuple[str, str]]:
        if self.kind == "delta":
            return [(one["account_id"], one[column]) for one in delta_rows(self.path, resource)]
        if self.format != self.kind:
            connection: Any = self._connect()
            some: list[tuple[str, str]] = connection.execute(f"SELECT account_id, {column} FROM {resource}").fetchall()
            connection.close()
            return some
        if self.kind == "jsonl":
            return [(key[1], json.loads(one)[column]) for key, some in lines(self.path).items() if key[0] == resource
                    for one in some]  # fmt: skip
        return [(one["account_id"], one[column]) for path in self._files(resource) for one in _rows_in(path)]

    def _connect(self) -> Any:
        return sqlite3.connect(self.path) if self.kind == "sqlite" else duckdb.connect(str(self.path))

    def _files(self, resource: str) -> list[Path]:
        return sorted(self.path.glob(f"resource={resource}/account=*/part-0.*"))

    def _rows_of_tables(self) -> list[tuple[str, ...]]:
        if self.kind == "delta":
            return [
                (resource, one["account_id"], one["id"], _name(one.get("name") or one["extra"]))
                for resource in RESOURCES
                for one in delta_rows(self.path, resource)
            ]
        connection = self._connect()
        rows: list[tuple[str, ...]] = []
        for resource in RESOURCES:
            name = "extra" if resource == "completions" else "name"
            some = connection.execute(f"SELECT account_id, id, {name} FROM {resource}").fetchall()
            rows += [(resource, account, id, _name(value)) for account, id, value in some]
        connection.close()
        return rows

    def _rows_of_files(self) -> list[tuple[str, ...]]:
        if self.kind == "jsonl":
            records = {key: map(json.loads, some) for key, some in lines(self.path).items()}
            return [(*key, one["id"], one["name"]) for key, some in records.items() for one in some]
        rows: list[tuple[str, ...]] = []
        for path in self._files("*"):
            resource, account = (part.partition("=")[2] for part in path.parts[-3:-1])
            rows += [(resource, account, one["id"], _name(one.get("name") or one["extra"])) for one in _rows_in(path)]
        return rows


def _rows_in(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return table_of(path).to_pylist()
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _name(value: str) -> str:
    """Return the name of a record; completions have none, so that it stands in `extra`."""
    return str(json.loads(value)["name"]) if value.startswith("{") else value


def _ask(process: subprocess.Popen[str], order: dict[str, Any]) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(order) + "\n")
    process.stdin.flush()
    told: dict[str, Any] = json.loads(process.stdout.readline())
    return told


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
@pytest.mark.parametrize(
    "month",
    [
        pytest.param(FIVE_NIGHTS, id="5", marks=pytest.mark.timeout(400)),
        pytest.param(WHOLE, id="30", marks=[pytest.mark.soak, pytest.mark.timeout(7200)]),
    ],
)
@pytest.mark.parametrize("kind", ["csv", *further(*(kind for kind in KINDS if kind != "csv"))])
def test_a_month_of_nights(kind: str, month: Month, tmp_path: Path) -> None:
    """Every night the target holds what it should."""
    api = Api(20260101, month.grown)
    for number in range(month.accounts):
        api.come(f"account-{number}")
    always = "account-1"
    target = Night(kind, tmp_path)
    command = [sys.executable, "-m", "tests.export.nights"]
    with (
        api.served() as url,
        subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", env=os.environ
        ) as process,
    ):
        for night in range(1, month.nights + 1):
            api.pass_a_day()
            if night % 2 == 0:
                api.come(f"new-{night}")
            everybody = sorted(api.records)
            left_out = set(api.dice.sample(everybody, len(everybody) // 10 + 1)) - {always}
            accounts = [account for account in everybody if account not in left_out]
            once = api.dice.choice([account for account in accounts if account != always])
            # The one fails at once; the other one in the middle of a list.
            api.failing = {always: (403, 0), once: (api.dice.choice((500, 502)), api.dice.randrange(len(RESOURCES)))}
            incremental = night % FULL_EVERY != 1
            if night == month.restored:
                target.restore()
            api.asked.clear()
            order: dict[str, Any] = {
                "url": url, "target": target.target, "format": target.format, "accounts": accounts,
                "resources": RESOURCES, "incremental": incremental, "kill": None, "older": night < month.grown,
            }  # fmt: skip
            killed = night % KILLED_EVERY == 0
            if killed:
                told = _ask(process, {**order, "kill": api.dice.uniform(0.0, target.took)})
                assert "error" not in told, told
                api.asked.clear()
            api.refused.clear()
            told = _ask(process, order)
            assert "error" not in told, (night, target.kind, told)
            target.took = told["seconds"]
            # After a kill the lists that were completed are passed over, so that none may be left to fail.
            assert {always} <= api.refused <= {always, once}, (night, target.kind)
            assert killed or once in api.refused, (night, target.kind)
            assert set(told["failed"]) == api.refused, (night, target.kind)
            target.expect(api, accounts, incremental=incremental)
            found = target.found()
            unsure = {(resource, once) for resource in RESOURCES}  # its first lists may have come before it failed
            for key in unsure & found.keys():
                assert found[key] in (target.expected.get(key), api.versions(once, key[0]), {
                    **target.expected.get(key, {}), **api.versions(once, key[0])
                }), (night, target.kind, key)  # fmt: skip
                target.expected[key] = found[key]
            expected = {key: some for key, some in target.expected.items() if some}
            assert {key: some for key, some in found.items() if some} == expected, (night, target.kind)
            if night >= month.grown and not incremental:
                assert target.filled("users", "phone_number") >= {*accounts} - {always, once}, (night, target.kind)
            if night == month.copied:
                target.keep_a_copy()
        process.stdin.close() if process.stdin is not None else None
