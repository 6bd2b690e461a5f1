"""`dlt_load.py URL KEY FOLDER STOP ACCOUNT...` loads lists of users, and is killed on the way unless STOP is 0."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import dlt

from stackone_lms import SyncClient
from stackone_lms.dlt import stackone_lms


class Killed:
    """A connection whose process is killed after so many answers; 0: never."""

    def __init__(self, url: str, key: str, stop: int) -> None:
        self._url, self._key, self._left = url, key, stop

    def client(self) -> SyncClient:
        return SyncClient(self._key, base_url=self._url, rate_limit=None, on_response=self._count)

    def _count(self, _: object) -> None:
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    url, key, folder, stop, *accounts = sys.argv[1:]
    connect: Any = Killed(url, key, int(stop))
    destination = dlt.destinations.duckdb(f"{folder}/loaded.duckdb")
    pipeline = dlt.pipeline("lms", pipelines_dir=f"{folder}/pipelines", destination=destination, dataset_name="lms")
    pipeline.run(stackone_lms(accounts, "users.completions", connect=connect))


if __name__ == "__main__":
    main()
