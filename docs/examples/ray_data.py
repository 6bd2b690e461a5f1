"""Users as a Ray dataset, with a task for each account. Each use fetches again: materialize or write first."""

import os
from collections.abc import Iterator

import pyarrow as pa
import ray

from stackone_lms import RateLimit
from stackone_lms.batches import Connect, Slice, batches

ACCOUNTS = [os.environ["ACCOUNT_A"], os.environ["ACCOUNT_B"]]
WORKERS = 2

# Every worker process has its own client, with its part of the limit of the key.
connect = Connect(key_env="STACKONE_API_KEY", rate_limit=RateLimit(1000, share=1 / WORKERS))


def read(slices: pa.Table) -> Iterator[pa.Table]:
    """Runs in a worker."""
    for text in slices.column("slice").to_pylist():
        for batch in batches(connect.client(), Slice.from_json(text)):
            yield pa.Table.from_batches([batch.data])


def main() -> None:
    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    slices = [{"slice": Slice("users", account).to_json()} for account in ACCOUNTS]
    data = ray.data.from_items(slices, override_num_blocks=len(slices))
    users = data.map_batches(read, batch_size=1, batch_format="pyarrow", concurrency=WORKERS).materialize()
    print(users.count(), "users")
    ray.shutdown()


if __name__ == "__main__":
    main()
