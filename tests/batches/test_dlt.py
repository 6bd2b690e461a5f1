"""The source for dlt: exact through kills, accounts that are down, records that come twice or without an id."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from stackone_lms import SyncClient
from stackone_lms.arrow import scan
from stackone_lms.batches import Connect
from stackone_lms.errors import ConfigurationError, InvalidArgumentError
from stackone_lms.export.lists import resources
from stackone_lms.sandbox import Sandbox
from stackone_lms.testing import InMemoryTransport
from stackone_lms.testing.memory import SentRequest, answer

dlt: Any = pytest.importorskip("dlt")


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this user's."""
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("DLT_PROJECT_DIR", str(tmp_path))
    monkeypatch.delenv("STACKONE_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)


def day(number: int, *, hour: int = 0) -> str:
    return f"2026-01-{number:02}T{hour:02}:00:00.000Z"


class Accounts:
    """A server of users, that a test changes from run to run; it is its own connection."""

    def __init__(self, **records: list[dict[str, Any]]) -> None:
        self.records = records
        self.down: Mapping[str, int] = {}
        self.asked: list[tuple[str, str | None]] = []
        self._transport = InMemoryTransport().reply("GET", "/unified/lms/users", self._answer)
        self.page = 2

    def client(self) -> SyncClient:
        return SyncClient("key", transport=self._transport, rate_limit=None, retry=1)

    def _answer(self, sent: SentRequest) -> Any:
        account, start = str(sent.account_id), int(sent.query.get("next", "0"))
        after = sent.query.get("filter[updated_after]")
        if not start:
            self.asked.append((account, after))
        if account in self.down:
            return answer({"message": "no"}, self.down[account])
        found = [one for one in self.records[account] if after is None or (one.get("updated_at") or "") > after]
        following = str(start + self.page) if start + self.page < len(found) else None
        return answer({"data": found[start : start + self.page], "next": following})


class Loads:
    """A pipeline into DuckDB."""

    def __init__(self, folder: Path, accounts: Accounts, **options: Any) -> None:
        self._accounts, self._options = accounts, options
        self.pipeline = dlt.pipeline(
            "lms",
            pipelines_dir=str(folder / "pipelines"),
            destination=dlt.destinations.duckdb(str(folder / "loaded.duckdb")),
            dataset_name="lms",
        )

    def run(self, **options: Any) -> None:
        from stackone_lms.dlt import stackone_lms

        self._accounts.asked.clear()
        accounts = list(self._accounts.records)
        chosen: Any = {**self._options, **options, "connect": self._accounts}
        self.pipeline.run(stackone_lms(accounts, "users", **chosen))

    def rows(self, columns: str = "account_id, id, name", table: str = "users") -> list[tuple[Any, ...]]:
        with self.pipeline.sql_client() as client:
            found: list[tuple[Any, ...]] = client.execute_sql(f"select {columns} from {table} order by all")
            return found


def user(id: str | None, changed: int | None, name: str = "x") -> dict[str, Any]:
    return {"id": id, "name": name, **({} if changed is None else {"updated_at": day(changed)})}


@pytest.fixture
def two(tmp_path: Path) -> tuple[Accounts, Loads]:
    accounts = Accounts(a=[user("1", 1), user("2", 2), user("3", 3)], b=[user("1", 1), user("2", 4)])
    return accounts, Loads(tmp_path, accounts)


def test_a_second_run_asks_for_changes_by_account(two: tuple[Accounts, Loads]) -> None:
    """And merges them: ids are those of one account."""
    accounts, loads = two
    loads.run()
    assert accounts.asked == [("a", None), ("b", None)]
    accounts.records["a"][0] = user("1", 9, "new")
    accounts.records["b"].append(user("3", 9))
    loads.run()
    assert sorted(accounts.asked) == [("a", "2026-01-02T23:50:00.000Z"), ("b", "2026-01-03T23:50:00.000Z")]
    expected = [("a", "1", "new"), ("a", "2", "x"), ("a", "3", "x"), ("b", "1", "x"), ("b", "2", "x"), ("b", "3", "x")]
    assert loads.rows() == expected
    loads.run(full=True)
    assert sorted(accounts.asked) == [("a", None), ("b", None)]
    assert loads.rows() == expected


def test_an_account_that_was_down_gets_what_it_missed(two: tuple[Accounts, Loads]) -> None:
    """Though the others have moved on, past what it missed: on day 9 it changed, and they are at day 10."""
    accounts, loads = two
    loads.run()
    accounts.records["a"].append(user("9", 10))
    accounts.records["b"].append(user("9", 9, "missed"))
    accounts.down = {"b": 412}
    loads.run()
    assert loads.rows("resource, account_id, user_id, error, status", "failed_lists") == [
        ("users", "b", None, "PreconditionFailedError", 412)
    ]
    accounts.down = {}
    loads.run()
    assert sorted(accounts.asked) == [("a", "2026-01-09T23:50:00.000Z"), ("b", "2026-01-03T23:50:00.000Z")]
    assert [row[:2] for row in loads.rows()] == [
        *(("a", id) for id in ("1", "2", "3", "9")),
        *(("b", id) for id in ("1", "2", "9")),
    ]
    assert len(loads.rows("*", "failed_lists")) == 1


@pytest.mark.thorough
def test_a_list_that_broke_off_keeps_its_mark(two: tuple[Accounts, Loads]) -> None:
    """What came of it is loaded; the next run asks for all of it again."""
    accounts, loads = two
    whole = accounts._answer  # pyright: ignore[reportPrivateUsage]

    def breaks_off(sent: SentRequest) -> Any:
        return answer({"message": "no"}, 503) if sent.query.get("next") and sent.account_id == "a" else whole(sent)

    accounts._transport = InMemoryTransport().reply("GET", "/unified/lms/users", breaks_off)  # pyright: ignore[reportPrivateUsage]
    loads.run()
    assert [row[:2] for row in loads.rows()] == [("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")]
    accounts._transport = InMemoryTransport().reply("GET", "/unified/lms/users", whole)  # pyright: ignore[reportPrivateUsage]
    loads.run()
    assert sorted(accounts.asked) == [("a", None), ("b", "2026-01-03T23:50:00.000Z")]
    assert len(loads.rows()) == 5


@pytest.mark.thorough
def test_an_account_with_a_user_that_cannot_be_read_keeps_its_mark(tmp_path: Path) -> None:
    """The lists of the other users are loaded, and all of them are asked for again."""
    asked: list[str | None] = []
    status = 403

    def completions(sent: SentRequest) -> Any:
        asked.append(sent.query.get("filter[updated_after]"))
        if status != 200 and "/b/" in sent.path:
            return answer({"message": "no"}, status)
        return answer({"data": [{"id": sent.path.split("/")[-2], "updated_at": day(1)}], "next": None})

    transport = InMemoryTransport().reply("GET", re.compile(r".*/completions"), completions)
    transport.reply("GET", "/unified/lms/users", {"data": [{"id": "a"}, {"id": "b"}], "next": None})

    class Here:
        def client(self) -> SyncClient:
            return SyncClient("key", transport=transport, rate_limit=None, retry=1)

    loads = Loads(tmp_path, Accounts())
    connect: Any = Here()

    def run() -> list[str | None]:
        asked.clear()
        loads.pipeline.run(stackone_lms(["1"], "users.completions", connect=connect))
        return asked

    from stackone_lms.dlt import stackone_lms

    assert run() == [None, None]
    assert loads.rows("id", "user_completions") == [("a",)]
    assert loads.rows("resource, user_id, status", "failed_lists") == [("users.completions", "b", 403)]
    status = 200
    assert run() == [None, None]
    assert loads.rows("id, of_user_id", "user_completions") == [("a", "a"), ("b", "b")]
    assert run() == ["2025-12-31T23:50:00.000Z"] * 2


def test_raise_loads_nothing_and_moves_nothing(two: tuple[Accounts, Loads]) -> None:
    accounts, loads = two
    accounts.down = {"b": 503}
    with pytest.raises(Exception, match="503"):
        loads.run(on_error="raise")
    accounts.down = {}
    loads.run()
    assert sorted(accounts.asked) == [("a", None), ("b", None)]
    assert len(loads.rows()) == 5


def test_where_all_lists_fail_the_run_fails_unless_no_provider_has_them(two: tuple[Accounts, Loads]) -> None:
    accounts, loads = two
    accounts.down = {"a": 503, "b": 501}
    with pytest.raises(Exception, match="503"):
        loads.run()
    accounts.down = {"a": 501, "b": 501}
    loads.run()
    assert [row[0] for row in loads.rows("account_id", "failed_lists")] == ["a", "b"]


@pytest.mark.thorough
def test_a_record_that_comes_twice_is_one_and_its_later_version_comes_with_the_next_run(
    two: tuple[Accounts, Loads],
) -> None:
    """Its list was read while it moved: what was left must not be passed over."""
    accounts, loads = two
    accounts.records["a"] += [user("1", 5, "later"), user("4", 6)]
    loads.run()
    assert ("a", "1", "x") in loads.rows()
    accounts.records["a"] = [user("2", 2), user("3", 3), user("1", 5, "later"), user("4", 6)]
    loads.run()
    assert ("a", "2026-01-04T23:50:00.000Z") in accounts.asked
    assert [row for row in loads.rows() if row[0] == "a"] == [
        ("a", "1", "later"),
        *(("a", id, "x") for id in ("2", "3", "4")),
    ]


@pytest.mark.thorough
def test_records_without_an_id_or_a_date(two: tuple[Accounts, Loads], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an id they are told by their content; without a date their list is read whole now and then."""
    accounts, loads = two
    accounts.records["a"] += [user(None, 3, "p"), user(None, 3, "q"), user("5", None)]
    loads.run()
    accounts.records["a"].insert(0, user("0", 1))
    loads.run(full=True)
    ids = [id for account, id, _ in loads.rows() if account == "a"]
    assert Counter(id[:8] for id in ids) == {"0": 1, "1": 1, "2": 1, "3": 1, "5": 1, "content:": 2}
    later = datetime.now(UTC) + timedelta(days=6)

    class Clock:
        fromisoformat = datetime.fromisoformat

        @staticmethod
        def now(_: Any) -> datetime:
            return later

    monkeypatch.setattr("stackone_lms.dlt.datetime", Clock)
    loads.run()
    assert dict(accounts.asked)["a"] is not None
    later += timedelta(days=2)
    loads.run()
    assert dict(accounts.asked) == {"a": None, "b": "2026-01-03T23:50:00.000Z"}
    loads.run(full_every=timedelta(0))
    assert dict(accounts.asked) == {"a": None, "b": None}


@pytest.mark.thorough
def test_a_clock_that_runs_ahead_hides_nothing(two: tuple[Accounts, Loads]) -> None:
    accounts, loads = two
    accounts.records["a"].append({"id": "f", "updated_at": "9999-12-31T23:59:59.999-12:00"})
    began = datetime.now(UTC) - timedelta(minutes=11)
    loads.run()
    loads.run()
    asked = dict(accounts.asked)["a"]
    assert asked is not None
    assert began < datetime.fromisoformat(asked) < datetime.now(UTC)


@pytest.mark.thorough
def test_every_list_is_a_table_with_the_rows_of_a_scan(client: SyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """With a table named for SQL; the values as DuckDB has them."""
    from stackone_lms.dlt import stackone_lms

    class Here:
        def client(self) -> SyncClient:
            return client

    connect: Any = Here()
    loads = Loads(tmp_path, Accounts())
    loads.pipeline.run(stackone_lms(sandbox.account_ids, sorted(resources()), connect=connect))
    duckdb = import_module("duckdb")
    for name, resource in resources().items():
        whole: Any = scan(name, sandbox.account_ids, client=client).read_all()
        with loads.pipeline.sql_client() as sql:
            columns = ", ".join(f'cast("{column}" as varchar)' for column in whole.schema.names)
            loaded = sql.execute_sql(f"select {columns} from {resource.sql_name} order by all")
        with duckdb.connect() as connection:
            connection.execute("set timezone = 'UTC'")
            expected = connection.sql(f"select {columns} from whole order by all").fetchall()
        assert len(loaded) == len(expected) > 0
        plain = [
            name for name in whole.schema.names if not str(whole.schema.field(name).type).startswith(("list", "time"))
        ]
        for column, values in enumerate(zip(*loaded, strict=True)):
            if whole.schema.names[column] in plain:
                assert Counter(values) == Counter(row[column] for row in expected), (name, whole.schema.names[column])


@pytest.mark.thorough
@pytest.mark.timeout(600)
@pytest.mark.parametrize("stop", [12, *(pytest.param(stop, marks=pytest.mark.thorough) for stop in (1, 5, 20, 25))])
def test_a_kill_in_the_extraction_loses_and_doubles_nothing(stop: int, sandbox: Sandbox, tmp_path: Path) -> None:
    if os.name != "posix":
        pytest.skip("needs SIGKILL")
    script = Path(__file__).with_name("dlt_load.py")
    arguments = [sandbox.url, sandbox.api_key, str(tmp_path)]

    def load(stop: int) -> int:
        command = [sys.executable, str(script), *arguments, str(stop), *sandbox.account_ids]
        return subprocess.run(command, check=False, timeout=280, capture_output=True).returncode

    assert load(stop) == -signal.SIGKILL
    assert load(0) == 0
    connection = import_module("duckdb").connect(str(tmp_path / "loaded.duckdb"))
    with connection:
        found = connection.sql("select account_id, id from lms.user_completions").fetchall()
    expected = [(account, id) for account in sandbox.account_ids for id in sandbox.ids("completions", account)]
    assert Counter(found) == Counter(expected)


def test_delta_tables_are_merged(tmp_path: Path) -> None:
    """A record that comes twice in one run does not break the merge."""
    pytest.importorskip("deltalake")
    accounts = Accounts(a=[user("1", 1), user("2", 2), user("1", 3, "later")], b=[user("1", 1)])
    loads = Loads(tmp_path, accounts)
    loads.pipeline = dlt.pipeline(
        "lake",
        pipelines_dir=str(tmp_path / "pipelines"),
        destination=dlt.destinations.filesystem((tmp_path / "lake").as_uri()),
        dataset_name="lms",
    )

    def rows() -> list[tuple[str, str, str]]:
        table: Any = import_module("deltalake").DeltaTable(str(tmp_path / "lake" / "lms" / "users"))
        found = table.to_pyarrow_table().select(["account_id", "id", "name"]).to_pylist()
        return sorted(tuple(row.values()) for row in found)

    from stackone_lms.dlt import stackone_lms

    for _ in range(2):
        connect: Any = accounts
        loads.pipeline.run(stackone_lms(["a", "b"], "users", connect=connect), table_format="delta")
        assert len(rows()) == 3
        accounts.records["a"] = [user("2", 9, "new"), user("1", 3, "later")]
    assert rows() == [("a", "1", "later"), ("a", "2", "new"), ("b", "1", "x")]


def test_plain_files_are_refused_before_anything_is_asked_for(two: tuple[Accounts, Loads], tmp_path: Path) -> None:
    accounts, loads = two
    loads.pipeline = dlt.pipeline(
        "files",
        pipelines_dir=str(tmp_path / "pipelines"),
        destination=dlt.destinations.filesystem((tmp_path / "lake").as_uri()),
        dataset_name="lms",
    )
    with pytest.raises(Exception, match=r"cannot merge the table users: .*table_format='delta'"):
        loads.run()
    assert not accounts.asked


def test_a_resource_can_be_looked_at_without_a_pipeline(two: tuple[Accounts, Loads]) -> None:
    from stackone_lms.dlt import stackone_lms

    connect: Any = two[0]
    found = list(stackone_lms(["a", "b"], "users", connect=connect))
    assert sum(batch.num_rows for batch in found) == 5


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"accounts": ["a", "a"]}, "'a' is given twice"),
        ({"accounts": []}, "at least one account"),
        ({"resources": ["users", "nothing"]}, "nothing"),
        ({"resources": []}, "at least one resource"),
        ({"on_error": "ignore"}, "skip or raise"),
        ({"overlap": "soon"}, "overlap"),
        ({"full_every": "soon"}, "full_every"),
        ({"at_once": 0}, "at_once"),
    ],
)
def test_what_cannot_be_is_told_when_the_source_is_made(given: dict[str, Any], named: str) -> None:
    from stackone_lms.dlt import stackone_lms

    with pytest.raises(InvalidArgumentError, match=named):
        source: Any = stackone_lms
        source(**{"accounts": ["a"], **given})


def test_the_key_stands_in_the_secrets_of_dlt_or_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from stackone_lms.dlt import key_of_secrets

    with pytest.raises(ConfigurationError, match=r"sources\.stackone_lms\.api_key.*STACKONE_API_KEY"):
        key_of_secrets()
    monkeypatch.setenv("STACKONE_API_KEY", "of-the-environment")
    assert key_of_secrets() == "of-the-environment"
    monkeypatch.setenv("SOURCES__STACKONE_LMS__API_KEY", "of-the-secrets")
    assert key_of_secrets() == "of-the-secrets"
    assert Connect(key_from="stackone_lms.dlt:key_of_secrets").client().base_url


def test_a_missing_dlt_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlt", None)
    monkeypatch.delitem(sys.modules, "stackone_lms.dlt", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'stackone-lms\[dlt\]'"):
        import_module("stackone_lms.dlt")
