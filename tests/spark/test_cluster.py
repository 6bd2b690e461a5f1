"""The source in a standalone cluster of a master and two workers, that are killed: `make spark`."""

from __future__ import annotations

import base64
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import psutil
import pytest

from stackone_lms import SyncClient
from stackone_lms.arrow import scan
from stackone_lms.export import export_sync
from stackone_lms.export.lists import resources
from stackone_lms.sandbox import Sandbox
from stackone_lms.sandbox.recording import Received

from ..shared_limit.redis_server import BINARY, redis_server
from .cluster import KEY, ROOT, Cluster, Driver, descendants, described, kill, kill_all, reason_to_skip

# All waiting has an end (`Cluster.wait`), after which nothing is left behind; pytest-timeout would leave the cluster.
pytestmark = [pytest.mark.spark, pytest.mark.timeout(0)]

ACCOUNTS, PAGES = 24, 16
LIMIT = 2400
"""Requests a minute that the source is told: 40 a second."""
ROWS = 800
"""Of a micro-batch while drivers are killed."""
MANY = 1_000_000
ALLOWED = (600, 10.0)
"""Requests and seconds that the server allows: room for those that a busy machine held up, not for a second limit."""

MISTAKES: list[tuple[str, dict[str, Any], str | None, str]] = [
    ("unknown", {"acounts": "1"}, None, "there is no option 'acounts'; there are: accounts, accountsPath, allAccounts"),
    ("nested", {}, "id string, course struct<id:string>", "users have no column 'course'; there are: account_id, id"),
]
"""Each takes Spark some seconds; all others are in test_options."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if reason := reason_to_skip():
        pytest.skip(reason)
    made = Cluster(tmp_path_factory.mktemp("spark"))
    try:
        made.start(workers=2, cores=4)
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def small() -> Iterator[Sandbox]:
    sizes: Any = {"users": 12, "courses": 8, "contents": 6, "assignments": 30, "completions": 75}
    with Sandbox.in_thread(api_key=KEY, accounts=2, odd_values=True, **sizes) as running:
        yield running


@pytest.fixture(scope="module")
def troubled() -> Iterator[Sandbox]:
    sizes: Any = {"users": 12, "courses": 1, "contents": 1, "assignments": 1, "completions": 1}
    with Sandbox.in_thread(api_key=KEY, accounts=2, **sizes) as running:
        yield running


def ids_of(sandbox: Sandbox, *accounts: str) -> list[str]:
    """Return ids and accounts of users, in one string each, in order."""
    return sorted(id + account for account in accounts for id in sandbox.ids("users", account))


class Pausing(Sandbox):
    """A sandbox that stops when it was asked so often, until it is told to go on, so that a kill costs no speed."""

    _at = 0
    _stopped, _going_on = threading.Event(), threading.Event()

    def stop_at(self, count: int) -> None:
        """Answer nobody from this request on."""
        self._stopped.clear()
        self._going_on.clear()
        self._at = count

    @property
    def stopped(self) -> bool:
        """Whether it has."""
        return self._stopped.is_set()

    def go_on(self) -> None:
        """Answer again."""
        self._at = 0
        self._going_on.set()

    def _receive(self, received: Received) -> None:
        super()._receive(received)
        if self.request_count == self._at:
            self._stopped.set()
            self._going_on.wait()


@pytest.fixture(scope="module")
def large() -> Iterator[Pausing]:
    sizes: Any = {"users": 12, "courses": 8, "contents": 6, "assignments": 30, "completions": 100 * PAGES}
    allowed: Any = {"rate_limit": ALLOWED, "empty_pages": False}
    with Pausing.in_thread(api_key=KEY, accounts=ACCOUNTS, **allowed, **sizes) as running:
        assert isinstance(running, Pausing)
        try:
            yield running
        finally:
            running.go_on()


class Environments(threading.Thread):
    """Looks at the environment and the arguments of all processes of workers, again and again."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(daemon=True)
        self._cluster, self._over = cluster, threading.Event()
        self.seen: set[int] = set()
        self.leaks: list[str] = []

    def run(self) -> None:
        while not self._over.wait(2):
            for worker in self._cluster.workers:
                for process in descendants(worker.pid):
                    try:
                        text = f"{process.environ()} {process.cmdline()}"
                    except psutil.Error:
                        continue
                    self.seen.add(process.pid)
                    if any(spelling in text for spelling in SPELLINGS):
                        self.leaks.append(process.name())

    def stop(self) -> None:
        self._over.set()
        self.join()


SPELLINGS = [
    KEY,
    base64.b64encode(KEY.encode()).decode().rstrip("="),
    base64.b64encode(f"{KEY}:".encode()).decode()[:-4],
]


class Written(NamedTuple):
    """What became of a write."""

    rows: int
    distinct: int
    requests: int
    refused: int
    seconds: float = 0.0
    workers: int = 0


@pytest.fixture(scope="module")
def shared_limit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str | None]:
    """The URL of a limit in a Redis; None where there is no redis-server."""
    if BINARY is None:
        yield None
        return
    with redis_server(tmp_path_factory.mktemp("redis"), "--save", "") as server:
        yield f"{server.url}#spark"


@pytest.fixture(scope="module")
def batches(
    cluster: Cluster, small: Sandbox, troubled: Sandbox, large: Pausing, shared_limit: str | None
) -> dict[str, Any]:
    """Return what a driver tells that reads every list, and writes while something is killed; it goes on."""
    alone = {"requestsPerMinute": LIMIT}
    writes: dict[str, Any] = {"python_worker": alone}
    if shared_limit is not None:
        writes["shared"] = {**alone, "limitUrl": shared_limit}
    writes["worker"] = alone
    driver = cluster.run(
        "first",
        large,
        small=described(small),
        troubled=described(troubled),
        resources=sorted(resources()),
        mistakes=[mistake[:3] for mistake in MISTAKES],
        limit=LIMIT,
        rows=ROWS,
        writes=writes,
    )
    environments = Environments(cluster)
    environments.start()
    found: dict[str, Written] = {}

    def write(name: str, stop: int, kill_it: Callable[[], object] = lambda: None) -> None:
        driver.wait_for(f"writing {name}")
        before, refused = large.request_count, large.status_counts[429]
        large.stop_at(before + stop)
        driver.go_on()
        cluster.wait(lambda: large.stopped, driver)
        kill_it()
        large.go_on()
        found[name] = _written(driver.wait_for(f"written {name}"), large, before, refused)

    def kill_python_worker() -> None:
        kill(cluster.wait(lambda: cluster.python_workers(large), driver)[:1])

    write("python_worker", 48, kill_python_worker)
    if shared_limit is not None:
        # The seconds are those after which the first request was answered, none of which is waited for.
        workers: list[int] = []
        began = time.monotonic()
        write("shared", 16, lambda: workers.append(len(cluster.python_workers(large))))
        found["shared"] = found["shared"]._replace(seconds=time.monotonic() - began, workers=workers[0])
    # Not later: one executor may be far ahead of the other, and up to eight requests are under way.
    write("worker", 16, lambda: kill_all(cluster.workers.pop(0).pid))

    driver.wait_for("refusing 403")
    troubled.fail_next(403, times=MANY, account_id=troubled.account_ids[0])
    driver.go_on()
    driver.wait_for("refusing 429")
    troubled.reset()
    troubled.fail_next(429, times=2, retry_after=1, account_id=troubled.account_ids[0])
    driver.go_on()
    driver.wait_for("read")
    environments.stop()
    refused = troubled.status_counts[429]
    return {**driver.told, "killed": found, "environments": environments, "driver": driver, "refused": refused}


def _written(told: Any, sandbox: Sandbox, before: int, refused: int) -> Written:
    requests, refused = sandbox.request_count - before, sandbox.status_counts[429] - refused
    return Written(told["rows"], told["distinct"], requests, refused)


def _check(written: Written) -> None:
    rows, needed = ACCOUNTS * PAGES * 100, ACCOUNTS * PAGES
    print(written, "needed:", needed)
    assert (written.rows, written.distinct) == (rows, rows)
    assert needed <= written.requests <= 1.1 * needed
    assert written.refused == 0


def test_every_list(batches: dict[str, Any], small: Sandbox) -> None:
    counts = batches["counts"]["counts"]
    with SyncClient(KEY, base_url=small.url, rate_limit=None) as client:
        for resource in resources():
            table = scan(resource, small.account_ids, client=client).read_all()
            rows = zip(*(table.column(name).to_pylist() for name in ("account_id", "id")), strict=True)
            assert counts[resource] == [table.num_rows, len(set(rows))], resource


def test_a_narrower_schema_becomes_fields(batches: dict[str, Any], small: Sandbox) -> None:
    told = batches["columns"]
    assert told["columns"] == ["updated_at", "id", "account_id"]
    account = min(small.account_ids)
    first = small.record("users", min(small.ids("users", account)), account)
    assert told["first"][1:] == [first["id"], account]
    assert any("fields=updated_at%2Cid" in request.query for request in small.requests)


def test_filters_are_pushed_where_that_is_asked_for(batches: dict[str, Any], small: Sandbox) -> None:
    assert "DATA_SOURCE_PUSHDOWN_DISABLED" in batches["pushed"]["pushed"]
    narrowed, same = batches["filtered"]["filtered"]
    assert narrowed == same != []
    assert any("filter%5Bupdated_after%5D=2026-01-31T18%3A29%3A59" in one.query for one in small.requests)


@pytest.mark.parametrize(("name", "message"), [(name, message) for name, _, _, message in MISTAKES])
def test_mistakes_are_told_before_data_moves(name: str, message: str, batches: dict[str, Any]) -> None:
    assert message in batches["mistakes"]["mistakes"][name]


@pytest.mark.parametrize("killed", ["python_worker", "worker"])
def test_what_is_killed_costs_its_own_requests_at_most(killed: str, batches: dict[str, Any]) -> None:
    _check(batches["killed"][killed])


def test_a_limit_in_redis_is_one_for_all_workers(batches: dict[str, Any]) -> None:
    if "shared" not in batches["killed"]:
        pytest.skip("redis-server is not installed (apt-get install redis-server)")
    written: Written = batches["killed"]["shared"]
    _check(written)
    assert written.workers > 1
    # Each worker with the whole limit would take a part of it; nobody who is slow takes less.
    assert written.seconds >= 0.9 * (written.requests - LIMIT / 50 - 16) / (LIMIT / 60)


def test_what_is_cached_is_fetched_once(batches: dict[str, Any], small: Sandbox) -> None:
    assert batches["cached"]["cached"] == [150, 150]
    fetched = [request for request in small.requests if "page_size=7" in request.query.split("&")]
    assert len(fetched) >= 22
    assert {*Counter((one.headers["x-account-id"], one.query) for one in fetched).values()} == {1}


def test_an_account_that_is_refused_fails_the_query_or_is_a_row(batches: dict[str, Any], troubled: Sandbox) -> None:
    told = batches["forbidden"]
    assert "PermissionDeniedError" in told["forbidden"]
    assert [(one["error"], one["status"]) for one in told["rows"]] == [("PermissionDeniedError", 403)]


def test_an_account_that_has_to_wait_is_waited_for(batches: dict[str, Any], troubled: Sandbox) -> None:
    assert batches["throttled"]["throttled"] == len(ids_of(troubled, *troubled.account_ids))
    assert batches["refused"] == 2


def test_the_key_is_in_no_environment_of_an_executor(batches: dict[str, Any]) -> None:
    assert batches["environments"].seen
    assert batches["environments"].leaks == []


@pytest.fixture(scope="module")
def streams(
    cluster: Cluster, batches: dict[str, Any], small: Sandbox, troubled: Sandbox, large: Pausing
) -> dict[str, Any]:
    """Return what a driver tells that ends a stream of two that were killed, reads others, and runs the guide's."""
    before, refused = large.request_count, large.status_counts[429]
    driver: Driver = batches["driver"]
    one_executor = {"spark.cores.max": "2", "spark.executor.cores": "2"}  # it is the driver that reads

    def kill_after(sent: int) -> None:
        large.stop_at(before + sent)
        driver.go_on()
        cluster.wait(lambda: large.stopped, driver)
        driver.kill()
        large.go_on()

    kill_after(5 * ROWS // 100)
    driver = cluster.run("stream", large, limit=LIMIT, rows=ROWS, settings=one_executor)
    kill_after(11 * ROWS // 100)
    one, other = small.account_ids
    (script,) = (ROOT / "docs" / "examples" / "spark").glob("*.py")
    known = {"STACKONE_API_KEY": KEY, "STACKONE_BASE_URL": small.url, "ACCOUNT_A": one, "ACCOUNT_B": other}
    driver = cluster.run(
        "last",
        large,
        small=described(small),
        troubled=described(troubled),
        limit=LIMIT,
        rows=10_000,
        settings=one_executor,
        script=str(script),
        environment=known,
    )
    driver.go_on()
    written = _written(driver.wait_for("rows"), large, before, refused)

    driver.wait_for("limiting")
    before_limit = large.request_count
    large.stop_at(before_limit + 2 * PAGES)
    driver.go_on()
    driver.wait_for("limited")
    limited = large.request_count - before_limit
    large.go_on()

    driver.wait_for("refusing stream")
    troubled.reset()
    troubled.fail_next(403, times=MANY, account_id=troubled.account_ids[0])
    driver.go_on()
    driver.wait_for("refusing nobody")
    troubled.reset()
    troubled.fail_next(429, times=2, retry_after=1, account_id=troubled.account_ids[0])
    driver.go_on()
    driver.wait()
    return {**driver.told, "written": written, "requests for some rows": limited}


def test_a_driver_that_is_killed_twice_goes_on_in_its_checkpoint(streams: dict[str, Any]) -> None:
    """The requests of two micro-batches, and those that are ahead of them, are all that is sent again: 16 at a kill."""
    _check(streams["written"])
    assert streams["rows"]["offset"]["started"] == ACCOUNTS
    assert streams["rows"]["offset"]["open"] == {}


def test_a_limit_does_not_wait_for_the_whole_list(streams: dict[str, Any]) -> None:
    """It has its rows though the server has stopped answering; a task reads three accounts, of 16 pages each."""
    assert streams["limited"]["limited"] == 5
    assert streams["requests for some rows"] <= 2 * PAGES + 8


def test_a_stream_leaves_out_an_account_that_is_refused_and_catches_up(
    streams: dict[str, Any], troubled: Sandbox
) -> None:
    """Then it is answered 429 for a while, which nobody sees."""
    refused, other = troubled.account_ids
    assert [*streams["behind"]["behind"]] == [refused]
    assert streams["behind"]["behind"][refused]["error"].startswith("PermissionDeniedError")
    assert streams["behind"]["rows"] == ids_of(troubled, other)
    assert streams["caught_up"]["caught_up"] == ids_of(troubled, refused, other)


def test_two_queries_need_two_checkpoints(streams: dict[str, Any], troubled: Sandbox) -> None:
    """Spark refuses the second one or, by default, stops the first one: no row is lost or comes twice."""
    assert "Cannot start query with id" in streams["two"]["two"]
    assert streams["two"]["active"] == [True, False]
    everything = ids_of(troubled, *troubled.account_ids)
    assert streams["two"]["rows"] == [everything, everything]


def test_the_script_of_the_guide(streams: dict[str, Any]) -> None:
    """It reads, joins, tells what has failed, and ends a stream with Trigger.AvailableNow."""
    assert "16 courses; 0 accounts failed" in streams["example"]["example"]
    assert "150 completions by the stream" in streams["example"]["example"]


def test_a_delta_table_is_read(cluster: Cluster, troubled: Sandbox) -> None:
    """By the jars of Delta's package for Spark, which no wheel has: files here, or names in Maven."""
    jars = {
        "spark.jars": os.environ.get("SPARK_DELTA_JARS"),
        "spark.jars.packages": os.environ.get("SPARK_DELTA_MAVEN"),
    }
    given = {name: value for name, value in jars.items() if value}
    if not given:
        pytest.skip("SPARK_DELTA_JARS (files) or SPARK_DELTA_MAVEN (io.delta:delta-spark_2.13:VERSION) is not set")
    table = cluster.folder / "delta"
    with SyncClient(KEY, base_url=troubled.url, rate_limit=None) as client:
        export_sync(client, "users", f"delta:{table}", accounts=troubled.account_ids)
    settings = {
        "spark.master": "local[1]",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        **given,
    }
    driver = cluster.run("delta", troubled, table=str(table / "users"), settings=settings)
    assert driver.wait_for("delta")["delta"] == ids_of(troubled, *troubled.account_ids)
    driver.wait()


def test_the_key_is_nowhere(batches: dict[str, Any], streams: dict[str, Any], cluster: Cluster) -> None:
    """Not in plans, event logs, checkpoints, or what drivers, workers and executors have written."""
    plan = batches["plan"]["plan"]
    assert re.search(r"BatchScan stackone_lms", plan)
    events = [path for path in (cluster.folder / "events").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in events) > 100_000
    for path in cluster.folder.rglob("*"):
        if path.is_file() and path.suffix not in {".parquet", ".crc", ".jar"}:
            text = path.read_bytes()
            for spelling in SPELLINGS:
                assert spelling.encode() not in text, path
    assert not any(spelling in plan for spelling in SPELLINGS)
