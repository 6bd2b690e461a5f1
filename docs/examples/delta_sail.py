"""Delta tables that an export writes, read by the Spark API without Java: Sail, an engine that speaks Spark Connect."""

import os
from pathlib import Path

from pysail.spark import SparkConnectServer
from pyspark.sql import SparkSession

from stackone_lms import SyncClient
from stackone_lms.export import export_sync

ACCOUNTS = [os.environ["ACCOUNT_A"], os.environ["ACCOUNT_B"]]

with SyncClient() as client:
    export_sync(client, "users", "delta:lake", accounts=ACCOUNTS[:1])
    export_sync(client, "users", "delta:lake", accounts=ACCOUNTS, incremental=True)

server = SparkConnectServer()
server.start(background=True)
_, port = server.listening_address
spark = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").getOrCreate()
users = spark.read.format("delta").load(str(Path("lake/users").absolute()))
print(users.select("account_id", "id").distinct().count(), "users")
spark.stop()
server.stop()
