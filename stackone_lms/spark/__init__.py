"""A source for Apache Spark: lists of many accounts as DataFrames and streams; needs pyspark 4 or newer, and pyarrow.

    from stackone_lms.spark import register

    register(spark)
    reader = spark.read.format("stackone_lms").option("allAccounts", True).option("apiKey", key)
    reader.load("completions").write.parquet("completions")

The package has to be installed where the driver and the executors run. The guide has a page about it.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

__all__ = ["register"]

_OLDEST = 4


def register(spark: Any) -> None:
    """Make the format `stackone_lms` known to a Spark session, for `spark.read` and `spark.readStream`.

    Args:
        spark: The `SparkSession`, of Spark Connect too.

    Raises:
        ImportError: pyspark is missing, or older than 4.
    """
    try:
        version: str = import_module("pyspark").__version__
    except ImportError:
        raise ImportError("stackone_lms.spark needs pyspark 4 or newer: pip install 'pyspark>=4'") from None
    found = re.match(r"\d+", version)
    if found is None or int(found[0]) < _OLDEST:
        raise ImportError(f"stackone_lms.spark needs pyspark 4 or newer; this is {version:.40}")
    from .source import StackOneDataSource  # noqa: PLC0415 (imports pyspark)

    spark.dataSource.register(StackOneDataSource)
