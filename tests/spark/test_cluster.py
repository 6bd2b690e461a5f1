"""The source in a standalone cluster of a master and two workers, that are killed: `make spark`."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import psutil
import pytest

from stackone_lms import SyncClient
from stackone_lms.arrow import scan
from stackone_lms.export.lists import resources
from stackone_lms.sandbox import Sandbox
from stackone_lms.sandbox.recording import Received

from .cluster import KEY, ROOT, Cluster, descendants, described, kill, kill_all, reason_to_skip

# All waiting has an end (`Cluster.wait`), after which nothing is left behind; pytest-timeout would leave the cluster.
pytestmark = [pytest.mark.spark, pytest.mark.timeout(0)]

ACCOUNTS, PAGES = 24, 16
LIMIT = 2400
"""Requests a minute that the source is told: 40 a second."""
ALLOWED = (600, 10.0)
"""Requests and seconds that the server allows: room for those that a busy machine held up, not for a second limit."""

MISTAKES: list[tuple[str, dict[str, Any], str | None, str]] = [
    ("unknown", {"acounts": "1"}, None, "there is no option 'acounts'; there are: accounts, accountsPath, allAccounts"),
    ("column", {}, "id string, nope string", "users have no column 'nope'; there are: account_id, id"),
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


@pytest.fixture(scope="module")
def batches(cluster: Cluster, small: Sandbox, large: Pausing) -> dict[str, Any]:
    """Return what a driver tells that reads every list, and writes twice while something is killed."""
    driver = cluster.run(
        "batches",
        large,
        small=described(small),
        resources=sorted(resources()),
        mistakes=[mistake[:3] for mistake in MISTAKES],
        limit=LIMIT,
        writes=["python_worker", "worker"],
    )
    environments = Environments(cluster)
    environments.start()
    found: dict[str, Written] = {}

    driver.wait_for("writing python_worker")
    before, refused = large.request_count, large.status_counts[429]
    large.stop_at(before + 48)
    driver.go_on()
    cluster.wait(lambda: large.stopped, driver)
    kill(cluster.wait(lambda: cluster.python_workers(large), driver)[:1])
    large.go_on()
    found["python_worker"] = _written(driver.wait_for("written python_worker"), large, before, refused)

    driver.wait_for("writing worker")
    worker = cluster.workers.pop(0)
    before, refused = large.request_count, large.status_counts[429]
    # Not later: one executor may be far ahead of the other, and up to eight requests are under way.
    large.stop_at(before + 16)
    driver.go_on()
    cluster.wait(lambda: large.stopped, driver)
    kill_all(worker.pid)
    large.go_on()
    found["worker"] = _written(driver.wait_for("written worker"), large, before, refused)

    driver.wait()
    environments.stop()
    return {**driver.told, "killed": found, "environments": environments}


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


def test_the_key_is_in_no_environment_of_an_executor(batches: dict[str, Any]) -> None:
    assert batches["environments"].seen
    assert batches["environments"].leaks == []


def test_a_driver_that_is_killed_twice_goes_on_in_its_checkpoint(cluster: Cluster, large: Pausing) -> None:
    """The requests of two micro-batches, and those that are ahead of them, are all that is sent again: 16 at a kill."""
    before, refused, needed = large.request_count, large.status_counts[429], ACCOUNTS * PAGES
    one_executor = {"spark.cores.max": "2", "spark.executor.cores": "2"}  # it is the driver that reads
    options = {"limit": LIMIT, "rows": 800, "settings": one_executor}
    for sent in (needed // 4, needed * 5 // 8):
        large.stop_at(before + sent)
        driver = cluster.run("stream", large, **options)
        cluster.wait(lambda: large.stopped, driver)
        driver.kill()
        large.go_on()
    driver = cluster.run("stream", large, **options)
    told = driver.wait_for("rows")
    driver.wait()
    _check(_written(told, large, before, refused))
    assert told["offset"]["started"] == ACCOUNTS
    assert told["offset"]["open"] == {}


def test_the_script_of_the_guide(cluster: Cluster, small: Sandbox) -> None:
    """It reads, joins, tells what has failed, and ends a stream with Trigger.AvailableNow."""
    one, other = small.account_ids
    (script,) = (ROOT / "docs" / "examples" / "spark").glob("*.py")
    code, said = cluster.run_example(
        script, STACKONE_API_KEY=KEY, STACKONE_BASE_URL=small.url, ACCOUNT_A=one, ACCOUNT_B=other
    )
    assert code == 0, said[-6000:]
    assert "16 courses; 0 accounts failed" in said
    assert "150 completions by the stream" in said


def test_the_key_is_nowhere(batches: dict[str, Any], cluster: Cluster) -> None:
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
