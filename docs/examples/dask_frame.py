"""Users as a Dask data frame, with a partition for each account. Each compute fetches again: persist or write first."""

import os

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa

from stackone_lms import RateLimit
from stackone_lms.batches import Connect, Slice, batches, schema

COLUMNS = ["account_id", "id", "name", "active", "updated_at"]
ACCOUNTS = [os.environ["ACCOUNT_A"], os.environ["ACCOUNT_B"]]
WORKERS = 2

# Every worker process has its own client, with its part of the limit of the key.
connect = Connect(key_env="STACKONE_API_KEY", rate_limit=RateLimit(1000, share=1 / WORKERS))


def read(what: Slice) -> pd.DataFrame:
    """Runs in a worker."""
    data = [batch.data for batch in batches(connect.client(), what)]
    return pa.Table.from_batches(data, schema=schema(what.resource, what.columns)).to_pandas()


def main() -> None:
    meta = schema("users", COLUMNS).empty_table().to_pandas()
    users = dd.from_map(read, [Slice("users", account, columns=COLUMNS) for account in ACCOUNTS], meta=meta)
    print(users.groupby("account_id").id.count().compute(scheduler="processes", num_workers=WORKERS).sum(), "users")


if __name__ == "__main__":
    main()
