"""Apache Airflow 3: an export for each API key, every night. The program has its own environment."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta

from airflow.sdk import dag, task

KEYS = {"emea": "STACKONE_API_KEY_EMEA", "amer": "STACKONE_API_KEY_AMER"}
"""The variable with the key of each data set. Airflow's secrets can set it."""


@dag(schedule="0 2 * * *", start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False, max_active_runs=1)
def stackone_lms() -> None:
    @task(retries=2, retry_delay=timedelta(minutes=5))
    def export(name: str, variable: str) -> int:
        command = ["stackone-lms", "export", "users", "courses", "--all-accounts", "--out", name, "--incremental"]
        done = subprocess.run(
            [*command, "--max-failures", "5%", "--output", "json"],
            env={**os.environ, "STACKONE_API_KEY": os.environ[variable]},
            stdout=subprocess.PIPE,
            check=True,  # a retry of the task resumes where this one stopped
        )
        return sum(one["records"] for one in json.loads(done.stdout)["lists"])

    for name, variable in KEYS.items():
        export.override(task_id=f"export_{name}")(name, variable)


stackone_lms_dag = stackone_lms()

if __name__ == "__main__":
    stackone_lms_dag.test()
