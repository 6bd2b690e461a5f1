"""Lists as DataFrames and as a stream, with Apache Spark 4."""

import os
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as f

from stackone_lms.spark import register

spark = SparkSession.builder.getOrCreate()
register(spark)
KEY = os.environ["STACKONE_API_KEY"]  # dbutils.secrets.get("stackone", "key") on Databricks
ACCOUNTS = f"{os.environ['ACCOUNT_A']},{os.environ['ACCOUNT_B']}"
LAKE = Path("lake").absolute().as_uri()


def source():
    """Return a new reader with the key and the accounts."""
    return spark.read.format("stackone_lms").option("apiKey", KEY).option("accounts", ACCOUNTS)


# batch
source().load("completions").write.mode("overwrite").parquet(f"{LAKE}/completions")
source().load("users").write.mode("overwrite").parquet(f"{LAKE}/users")

completions = spark.read.parquet(f"{LAKE}/completions")
users = spark.read.parquet(f"{LAKE}/users").withColumnRenamed("id", "user_id")
completions.join(users, ["account_id", "user_id"]).groupBy("account_id").count().show()

# schema
narrow = source().schema("account_id string, id string, result_value string, updated_at timestamp").load("completions")
narrow.where(f.col("result_value") == "Pass").write.mode("overwrite").parquet(f"{LAKE}/passed")

# failures
everything = source().option("onError", "row").load("courses")
everything.write.mode("overwrite").parquet(f"{LAKE}/courses_and_failures")
read = spark.read.parquet(f"{LAKE}/courses_and_failures")
courses, failed = read.where("_failure is null"), read.where("_failure is not null")
print(courses.count(), "courses;", failed.count(), "accounts failed")

# stream
stream = spark.readStream.format("stackone_lms").option("apiKey", KEY).option("accounts", ACCOUNTS).load("completions")
query = (
    stream.writeStream.format("parquet")
    .option("checkpointLocation", f"{LAKE}/checkpoints/completions")
    .trigger(availableNow=True)
    .start(f"{LAKE}/completions_stream")
)
query.awaitTermination()
print(spark.read.parquet(f"{LAKE}/completions_stream").count(), "completions by the stream")
spark.stop()
