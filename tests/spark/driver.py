"""A driver of Spark: it does what its first argument says, tells what it found, and ends. Run by test_cluster.py."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import runpy
import sys
from importlib import import_module
from typing import Any

from stackone_lms.spark import register


def tell(**found: Any) -> None:
    """Write a line for the test."""
    print(json.dumps(found), flush=True)


def announce(**what: Any) -> None:
    """Write a line for the test, and wait until it lets the driver go on."""
    tell(**what)
    sys.stdin.readline()


class Driver:
    """A session, and the sources that it reads.

    Args:
        given: What the test says: `master`, `events`, `folder`, and what the job needs.
    """

    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given
        settings = {
            "spark.master": given["master"],
            "spark.app.name": given["job"],
            "spark.ui.enabled": "false",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.eventLog.enabled": "true",
            "spark.eventLog.dir": f"file://{given['events']}",
            "spark.eventLog.compress": "false",
            "spark.executor.memory": "640m",
            "spark.driver.memory": "640m",
            "spark.sql.shuffle.partitions": "2",
            "spark.sql.session.timeZone": "Asia/Kolkata",
            "spark.ui.showConsoleProgress": "false",
            "spark.sql.warehouse.dir": f"{given['folder']}/warehouse",
            **given.get("settings", {}),
        }
        builder = import_module("pyspark.sql").SparkSession.builder
        for name, value in settings.items():
            builder = builder.config(name, value)
        self.spark: Any = builder.getOrCreate()
        register(self.spark)

    def with_options(self, reader: Any, **options: Any) -> Any:
        """Return a reader of the source."""
        sandbox = self.given["sandbox"]
        reader = reader.format("stackone_lms").option("apiKey", os.environ["FROM_A_SECRET_SCOPE"])
        reader = reader.option("baseUrl", sandbox["url"]).option("accounts", ",".join(sandbox["accounts"]))
        for name, value in options.items():
            reader = reader.option(name, value)
        return reader

    def of(self, sandbox: str) -> Driver:
        """Return it for another server, by its name in what the test says."""
        other = copy.copy(self)
        other.given = {**self.given, "sandbox": self.given[sandbox]}
        return other

    def batch(self, **options: Any) -> Any:
        """Return a reader of a batch."""
        return self.with_options(self.spark.read, **options)


def batches(driver: Driver) -> None:
    """Read every list; look at plans and mistakes; then write twice, while the test kills something."""
    everybody, driver = driver, driver.of("small")
    given, fast = driver.given, {"requestsPerMinute": 999_999_999}
    counts: dict[str, Any] = {}
    for resource in given["resources"]:
        frame = driver.batch(**fast).load(resource)
        rows = frame.select("account_id", "id").collect()
        counts[resource] = [len(rows), len(set(rows))]
    tell(counts=counts)

    frame = driver.batch(**fast).load("users")
    plan = io.StringIO()
    with contextlib.redirect_stdout(plan):
        frame.explain(True)
        frame.explain("formatted")
    tell(plan=plan.getvalue() + frame._jdf.queryExecution().toString())

    narrow = driver.batch(**fast).schema("updated_at timestamp, id string, account_id string").load("users")
    tell(columns=narrow.columns, first=[str(value) for value in narrow.orderBy("account_id", "id").first()])

    mistakes: dict[str, str] = {}
    for name, options, schema in given["mistakes"]:
        try:
            reader = driver.batch(**options)
            (reader.schema(schema) if schema else reader).load("users").count()
            mistakes[name] = "nothing was said"
        except Exception as error:
            mistakes[name] = str(error)
    tell(mistakes=mistakes)

    filtered = driver.batch(**fast, pushdown=True).load("users")
    try:
        filtered.count()
        tell(pushed="nothing was said")
    except Exception as error:
        tell(pushed=str(error))
    driver.spark.conf.set("spark.sql.python.filterPushdown.enabled", "true")
    only = filtered.where(f"account_id = '{given['small']['accounts'][0]}' and updated_at > '2026-02-01'")
    everything = driver.batch(**fast).load("users")
    same = everything.where(f"account_id = '{given['small']['accounts'][0]}' and updated_at > '2026-02-01'")
    tell(filtered=[sorted(row.id for row in one.select("id").collect()) for one in (only, same)])

    for name, options in given["writes"].items():
        announce(writing=name)
        target = f"{given['folder']}/{name}"
        everybody.batch(**options).load("completions").write.parquet(target)
        written = driver.spark.read.parquet(target).select("account_id", "id")
        tell(written=name, rows=written.count(), distinct=written.distinct().count())


def cached(driver: Driver) -> None:
    """Look twice at what is kept; the size of a page tells its requests from those of others."""
    frame = driver.batch(requestsPerMinute=999_999_999, pageSize=7).load("completions").cache()
    tell(cached=[frame.count(), frame.where("id is not null").count()])
    frame.unpersist()


def refused(driver: Driver) -> None:
    """Read while the server refuses an account."""
    announce(refusing=403)
    frame = driver.batch(onError="row").load("users")
    failures = [json.loads(row._failure) for row in frame.where("_failure is not null").collect()]
    try:
        said = f"{driver.batch().load('users').count()} rows"
    except Exception as error:
        said = str(error)
    tell(forbidden=said, rows=failures)
    announce(refusing=429)
    tell(throttled=driver.batch().load("users").count())


def start_stream(driver: Driver, name: str, checkpoint: str, resource: str, **options: Any) -> Any:
    """Start a query that writes into files."""
    available: Any = {"availableNow": True} if options.pop("availableNow", False) else {"processingTime": "0 seconds"}
    frame = driver.with_options(driver.spark.readStream, lag="0s", **options).load(resource)
    writer = frame.writeStream.format("parquet").option("checkpointLocation", f"{driver.given['folder']}/{checkpoint}")
    return writer.trigger(**available).start(f"{driver.given['folder']}/{name}")


def told_by(query: Any) -> Any:
    """Return the offset of the last progress of a query."""
    progress = query.lastProgress
    offset: Any = None if progress is None else progress["sources"][0]["endOffset"]
    return json.loads(offset) if isinstance(offset, str) else offset


def stream(driver: Driver) -> None:
    """Go on with a stream into files; to its end if the test does not kill it."""
    announce(streaming=True)
    given = driver.given
    options = {"requestsPerMinute": given["limit"], "accountsAtOnce": 2, "batchRows": given["rows"]}
    query = start_stream(driver, "stream", "checkpoint", "completions", **options)
    query.processAllAvailable()
    offset = told_by(query)
    query.stop()
    written = driver.spark.read.parquet(f"{given['folder']}/stream").select("account_id", "id")
    tell(rows=written.count(), distinct=written.distinct().count(), offset=offset)


def streams(driver: Driver) -> None:
    """Streams of an account that is refused, of two queries, and with Trigger.AvailableNow."""

    def rows(name: str) -> list[str]:
        frame = driver.spark.read.parquet(f"{driver.given['folder']}/{name}")
        return sorted(row.id + row.account_id for row in frame.select("id", "account_id").collect())

    announce(refusing="stream")
    query = start_stream(driver, "refused", "refused-checkpoint", "users", availableNow=True)
    query.awaitTermination()
    tell(behind=told_by(query)["behind"], rows=rows("refused"))
    announce(refusing="nobody")
    start_stream(driver, "refused", "refused-checkpoint", "users", availableNow=True).awaitTermination()
    tell(caught_up=rows("refused"))

    first = start_stream(driver, "two", "two-checkpoint", "users", pollInterval="1h")
    first.processAllAvailable()
    driver.spark.conf.set("spark.sql.streaming.stopActiveRunOnRestart", "false")
    try:
        start_stream(driver, "two", "two-checkpoint", "users", availableNow=True).awaitTermination()
        said = "nothing was said"
    except Exception as error:
        said = str(error)
    driver.spark.conf.unset("spark.sql.streaming.stopActiveRunOnRestart")
    start_stream(driver, "own", "own-checkpoint", "users", availableNow=True).awaitTermination()
    active = [first.isActive]
    start_stream(driver, "two", "two-checkpoint", "users", availableNow=True).awaitTermination()
    tell(two=said, active=[*active, first.isActive], rows=[rows("two"), rows("own")])


def shared(driver: Driver) -> None:
    """Stream with the checkpoint of another driver, which does the same; say how that ended."""
    given = driver.given
    announce(sharing=given["name"])
    options = {"batchRows": 200, "pollInterval": "1h", "accounts": given["sandbox"]["accounts"][0]}
    query = start_stream(driver, "shared", "shared-checkpoint", "completions", **options)
    try:
        query.processAllAvailable()
        said = None
    except Exception as error:
        said = str(error)
    query.stop()
    written = driver.spark.read.parquet(f"{given['folder']}/shared").select("account_id", "id")
    tell(shared=said, rows=written.count(), distinct=written.distinct().count())


def limited(driver: Driver) -> None:
    """Ask for a few rows of a server that stops answering after some pages."""
    announce(limiting=True)
    tell(limited=len(driver.batch(batchRows=100).load("completions").limit(5).collect()))


def first(driver: Driver) -> None:
    """All of a batch, and the beginning of a stream."""
    batches(driver)
    cached(driver.of("small"))
    refused(driver.of("troubled"))
    tell(read=True)
    stream(driver)


def last(driver: Driver) -> None:
    """Go on with the stream to its end; then other streams, and the script of the guide."""
    stream(driver)
    limited(driver)
    streams(driver.of("troubled"))
    said = io.StringIO()
    os.chdir(driver.given["folder"])
    with contextlib.redirect_stdout(said):
        runpy.run_path(driver.given["script"], run_name="__main__")
    tell(example=said.getvalue())


def delta(driver: Driver) -> None:
    """Read a Delta table, by Spark's own package."""
    rows = driver.spark.read.format("delta").load(driver.given["table"]).select("id", "account_id").collect()
    tell(delta=sorted(row.id + row.account_id for row in rows))


def main() -> None:
    """Do a job."""
    given = json.loads(sys.argv[1])
    driver = Driver(given)
    tell(started=True)
    {"first": first, "stream": stream, "last": last, "shared": shared, "delta": delta}[given["job"]](driver)
    driver.spark.stop()


if __name__ == "__main__":
    main()
