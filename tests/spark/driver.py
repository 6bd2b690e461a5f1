"""A driver of Spark: it does what its first argument says, tells what it found, and ends. Run by test_cluster.py."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from importlib import import_module
from typing import Any

from stackone_lms.spark import register


def tell(**found: Any) -> None:
    """Write a line for the test."""
    print(json.dumps(found), flush=True)


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

    def batch(self, **options: Any) -> Any:
        """Return a reader of a batch."""
        return self.with_options(self.spark.read, **options)


def batches(driver: Driver) -> None:
    """Read every list; look at plans and mistakes; then write twice, while the test kills something."""
    given, fast = driver.given, {"requestsPerMinute": 999_999_999}
    small = {**given, "sandbox": given["small"]}
    driver.given = small
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

    driver.given = given
    for name in given["writes"]:
        tell(writing=name)
        sys.stdin.readline()
        target = f"{given['folder']}/{name}"
        driver.batch(requestsPerMinute=given["limit"]).load("completions").write.parquet(target)
        written = driver.spark.read.parquet(target).select("account_id", "id")
        tell(written=name, rows=written.count(), distinct=written.distinct().count())


def stream(driver: Driver) -> None:
    """Go on with a stream into files; to its end if the test does not kill it."""
    given = driver.given
    reader = driver.with_options(
        driver.spark.readStream, requestsPerMinute=given["limit"], accountsAtOnce=2, batchRows=given["rows"], lag="0s"
    )
    frame = reader.load("completions")
    target = f"{given['folder']}/stream"
    writer = frame.writeStream.format("parquet").option("checkpointLocation", f"{given['folder']}/checkpoint")
    query = writer.start(target)
    query.processAllAvailable()
    progress = query.lastProgress
    query.stop()
    written = driver.spark.read.parquet(target).select("account_id", "id")
    offset: Any = None if progress is None else progress["sources"][0]["endOffset"]
    offset = json.loads(offset) if isinstance(offset, str) else offset
    tell(rows=written.count(), distinct=written.distinct().count(), offset=offset)


def main() -> None:
    """Do a job."""
    given = json.loads(sys.argv[1])
    driver = Driver(given)
    tell(started=True)
    {"batches": batches, "stream": stream}[given["job"]](driver)
    driver.spark.stop()


if __name__ == "__main__":
    main()
