"""Prefect 3: a flow with a task for each API key. The tasks run concurrently, each within the limit of its key."""

from __future__ import annotations

import json
import os
import subprocess

from prefect import flow, task

KEYS = {"emea": "STACKONE_API_KEY_EMEA", "amer": "STACKONE_API_KEY_AMER"}
"""The variable with the key of each data set. A Secret block can set it."""


@task(retries=2, retry_delay_seconds=300)
def export(name: str, variable: str) -> int:
    command = ["stackone-lms", "export", "users", "courses", "--all-accounts", "--out", name, "--incremental"]
    done = subprocess.run(
        [*command, "--max-failures", "5%", "--output", "json"],
        env={**os.environ, "STACKONE_API_KEY": os.environ[variable]},
        stdout=subprocess.PIPE,
        check=True,  # a retry of the task resumes where this one stopped
    )
    return sum(one["records"] for one in json.loads(done.stdout)["lists"])


@flow
def stackone_lms() -> dict[str, int]:
    running = {name: export.submit(name, variable) for name, variable in KEYS.items()}
    return {name: future.result() for name, future in running.items()}


if __name__ == "__main__":
    print(stackone_lms())
