"""Others who write to Delta tables meanwhile, programs and machines: what stays is exact, or the error says so."""

from __future__ import annotations

import asyncio
import re
import threading
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from aiohttp import web
from deltalake import DeltaTable, write_deltalake

from stackone_lms import AsyncClient
from stackone_lms.errors import ExportError
from stackone_lms.export import ExportResult, export, verify
from stackone_lms.export.targets import delta, delta_changes, delta_table

from ..cli.program import Environment, Running, environment, program, start
from .test_delta import Lake, api, lake
from .test_delta_store import PLACE, options
from .test_month import Api

__all__ = ["api", "lake", "options"]

LISTS = ["users", "completions"]
REFUSED = (
    "another export is writing to s3://lake/delta/{}, or has written there since this one began: start the same "
    "command again when that has ended"
)


# Other programs


def compact_and_vacuum(lake: Lake) -> None:
    table = lake.table()
    assert table.optimize.compact()["numFilesRemoved"] == 2
    assert len(table.vacuum(0, dry_run=False, enforce_retention_duration=False)) == 2


def append_to(account: str) -> Callable[[Lake], None]:
    """Return what adds a row of an account; one with an id that is there."""

    def append(lake: Lake) -> None:
        rows: Any = lake.table().to_pyarrow_table().slice(0, 1)
        place = rows.schema.get_field_index("account_id")
        field = rows.schema.field(place)
        write_deltalake(
            lake.root / "users", rows.set_column(place, field, pa.array([account], field.type)), mode="append"
        )

    return append


def delete_some(lake: Lake) -> None:
    assert lake.table().delete("account_id = 'a' AND id < 'u15'")["num_deleted_rows"] > 0


def case(act: Callable[[Lake], None], at: str, id: str, *, refused: bool, thorough: bool = True) -> Any:
    return pytest.param(act, at, refused, id=f"{id}-{at}", marks=[pytest.mark.thorough] if thorough else [])


@pytest.mark.parametrize(
    ("act", "at", "refused"),
    [
        case(compact_and_vacuum, "hold", "compact", refused=False, thorough=False),
        case(compact_and_vacuum, "new_rows", "compact", refused=False),
        case(append_to("a"), "hold", "append", refused=True),
        case(append_to("a"), "new_rows", "append", refused=True, thorough=False),
        case(append_to("another"), "hold", "append-other", refused=False),
        case(append_to("another"), "new_rows", "append-other", refused=False),
        case(delete_some, "new_rows", "delete", refused=True),
    ],
)
async def test_another_program_writes_between_the_steps_of_a_commit(
    act: Callable[[Lake], None], at: str, refused: bool, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the files are read, and after: changes are merged with what is there then, or nothing is written."""
    monkeypatch.setattr(delta_table, "SMALL_BYTES", 0)
    for account in "ab":
        lake.fill(account, 30)
        await lake.export(account)
    lake.api.night += 1
    for account in "ab":
        lake.api.change(account, "users")
        lake.api.add(account, "users")
    step, done = getattr(delta_changes, at), list[bool]()

    def between(*arguments: Any) -> Any:
        if not done:
            done.append(True)
            act(lake)
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(delta_table, at, between)
        if refused:
            with pytest.raises(ExportError, match=r"rows of .*users were added or deleted by others.*start the same"):
                await lake.export(incremental=True)
        else:
            assert (await lake.export(incremental=True)).ok
    assert done
    if refused:
        result = await lake.export(incremental=True)
        assert [one.whole_because is None for one in result.lists] == [False, True]
    found = lake.names()
    found.pop("another", None)
    assert found == {account: lake.api.versions(account, "users") for account in "ab"}


# Other machines


class Gate:
    """Where a client waits for the answer to one of its requests."""

    def __init__(self, request: int) -> None:
        self.request = request
        self.reached, self.opened = threading.Event(), threading.Event()


class Holding(Api):
    """An API that lets clients wait, told by their keys."""

    def __init__(self) -> None:
        super().__init__(20261128)
        self.counts: Counter[str] = Counter()
        self.gates: dict[str, Gate] = {}
        for account in "ab":
            self.records[account] = {"users": {}, "completions": {}, "skills": {}}
            for resource in LISTS:
                for _ in range(20):
                    self.add(account, resource)

    async def answer(self, request: web.Request) -> web.Response:
        answer = await super().answer(request)
        key = b64decode(request.headers["Authorization"].split()[1]).decode().rstrip(":")
        self.counts[key] += 1
        gate = self.gates.get(key)
        if gate is not None and gate.request == self.counts[key]:
            gate.reached.set()
            while not gate.opened.is_set():
                await asyncio.sleep(0.01)
        return answer

    @contextmanager
    def gate(self, key: str, request: int) -> Generator[Gate]:
        """Let a client wait at one of its requests from now on, until the gate is opened."""
        made = self.gates[key] = Gate(self.counts[key] + request)
        try:
            yield made
        finally:
            made.opened.set()

    def pass_a_night(self) -> None:
        self.night += 1
        for account in "ab":
            for resource in LISTS:
                self.change(account, resource)
                self.add(account, resource)


class Machines:
    """Machines with work folders of their own that export into the same tables."""

    def __init__(self, api: Holding, options: dict[str, str], folder: Path) -> None:
        self.api, self.options, self.folder = api, options, folder

    def command(self, name: str) -> tuple[list[str], Environment]:
        """Return what the program is given on a machine."""
        plain = [f"--store-option={key}={value}" for key, value in self.options.items() if "key" not in key]
        secret = {f"AWS_{key.upper()}": value for key, value in self.options.items() if "key" in key}
        env = environment(STACKONE_BASE_URL=self.api.url, STACKONE_API_KEY=name, **secret)
        accounts = ["--account", "a", "--account", "b"]
        target = ["--to", f"delta:{PLACE}", "--work", str(self.folder / name), *plain]
        return ["export", *LISTS, *accounts, *target, "--incremental"], env

    def start(self, name: str) -> Running:
        """Start the program."""
        arguments, env = self.command(name)
        return start(*arguments, env=env)

    def run(self, name: str) -> None:
        """Run the program to its end."""
        arguments, env = self.command(name)
        ended = program(*arguments, env=env)
        assert ended.code == 0, ended

    def check(self) -> None:
        """Compare the tables with the API, and with what they say of themselves."""
        reached = {**self.options, "allow_http": "true"}
        for resource in LISTS:
            table: Any = DeltaTable(f"{PLACE}/{resource}", storage_options=reached)
            rows = pa.table(table.scan()).select(["account_id", "id"]).to_pylist()
            expected = [(account, id) for account in "ab" for id in self.api.versions(account, resource)]
            assert sorted((row["account_id"], row["id"]) for row in rows) == sorted(expected)
        assert verify(f"delta:{PLACE}", store_options=self.options).problems == []


def end(process: Running) -> tuple[int | None, str]:
    """Wait for the program; return its code and what it said."""
    out, err = process.communicate(timeout=100)
    return process.returncode, out + err


@pytest.fixture
def machines(options: dict[str, str], tmp_path: Path) -> Iterator[Machines]:
    api = Holding()
    with api.served() as api.url:
        yield Machines(api, options, tmp_path)


@pytest.mark.thorough
def test_of_two_machines_one_goes_on(machines: Machines) -> None:
    """The other one has begun before, and knows of nothing: it writes nothing over what came, and goes on later."""
    api = machines.api
    machines.run("one")
    api.pass_a_night()
    with api.gate("other", 1) as gate:
        other = machines.start("other")
        assert gate.reached.wait(60), end(other)
        api.pass_a_night()
        machines.run("one")
        machines.check()
    code, told = end(other)
    assert code == 1
    assert re.search(REFUSED.format("completions"), " ".join(told.split()))
    machines.check()
    machines.run("other")
    machines.check()


@pytest.mark.thorough
def test_another_machine_takes_over_from_one_that_was_killed(machines: Machines) -> None:
    """With an empty work folder, as after any run; the one that was killed goes on with what is there then."""
    api = machines.api
    machines.run("one")
    api.pass_a_night()
    with api.gate("one", 3) as gate:
        killed = machines.start("one")
        assert gate.reached.wait(60), end(killed)
        killed.kill()
        end(killed)
    machines.run("other")
    machines.check()
    api.pass_a_night()
    machines.run("one")
    machines.check()


@pytest.mark.thorough
async def test_each_commit_of_an_export_with_many_keeps_others_out_of_all_its_tables(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one that has news of users first, and one of completions, would each end at the table of the other."""
    api = machines.api
    async with AsyncExitStack() as stack:

        async def run(name: str, *lists: str) -> ExportResult:
            client = await stack.enter_async_context(AsyncClient(name, base_url=api.url, rate_limit=None))
            given: Any = {"accounts": ["a"], "work": machines.folder / name, "store_options": machines.options}
            return await export(client, lists, f"delta:{PLACE}", **given)

        assert (await run("one", *LISTS)).ok
        api.pass_a_night()
        monkeypatch.setattr(delta, "KEPT_BYTES", 1)
        with api.gate("other", 1) as at_first, api.gate("one", 2) as at_second:
            other = asyncio.create_task(run("other", "users", "completions"))
            assert await asyncio.to_thread(at_first.reached.wait, 60)
            one = asyncio.create_task(run("one", "completions", "users"))
            assert await asyncio.to_thread(at_second.reached.wait, 60)
            at_first.opened.set()
            with pytest.raises(ExportError, match=REFUSED.format("completions")):
                await other
        assert (await one).ok
        assert (await run("other", "users", "completions")).ok
    table: Any = DeltaTable(f"{PLACE}/users", storage_options={**machines.options, "allow_http": "true"})
    assert pa.table(table.scan()).num_rows == 21
