"""`python -m benchmarks.volume`: how many requests, hours and bytes the lists of many accounts are.

One account of the sandbox, with made-up data, is exported to Parquet. The bytes of its answers and files are counted,
and multiplied by the number of accounts. The hours follow from the number of requests and the limit of a key.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from stackone_lms import HookResponse, SyncClient
from stackone_lms.export import export_sync
from stackone_lms.sandbox import Sandbox

COMMAND = "python -m benchmarks.volume"
PER_MINUTE = 1000
"""Requests that a key allows."""
PAGE, DEFAULT_PAGE = 100, 25
KEYS = (1, 10, 100)
LISTS = ("users", "completions")


def measure(users: int, completions: int) -> tuple[int, int]:
    """Export one account; return the bytes of its answers and of its Parquet files."""
    received = 0

    def count(response: HookResponse) -> None:
        nonlocal received
        received += len(response.body)

    with (
        tempfile.TemporaryDirectory() as folder,
        Sandbox.in_thread(users=users, completions=completions, courses=500, contents=500, assignments=0) as sandbox,
        SyncClient(sandbox.api_key, base_url=sandbox.url, rate_limit=None, on_response=count) as client,
    ):
        result = export_sync(client, LISTS, folder, accounts=[sandbox.account_ids[0]])
        if result.records != users + completions:
            raise RuntimeError(f"{result.records} records: {result.failures[:3]}")
        return received, sum(file.stat().st_size for file in Path(folder).rglob("*.parquet"))


def duration(minutes: float) -> str:
    """Return it in the unit that suits it."""
    if minutes < 1:
        return f"{minutes * 60:.0f} seconds"
    if minutes < 50:
        return f"{minutes:.0f} minutes"
    hours = minutes / 60
    if hours >= 500:
        return f"{hours / 24:.0f} days"
    return f"{hours:.1f} hours" if hours < 10 else f"{hours:.0f} hours"


def size(count: float) -> str:
    """Return bytes, to two digits, in MB, GB or TB."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9)):
        if count >= factor:
            return f"{float(f'{count / factor:.2g}'):g} {unit}"
    return f"{float(f'{count / 1e6:.2g}'):g} MB"


def main() -> None:
    """Measure one account, and print the table."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--users", type=int, default=5_000, help="of each account")
    parser.add_argument("--completions", type=int, default=50_000, help="of each account")
    asked = parser.parse_args()
    counts: tuple[int, int] = (asked.users, asked.completions)
    accounts: int = asked.accounts

    def requests(page: int) -> int:
        return accounts * sum(-(-count // page) for count in counts)

    received, written = measure(*counts)
    print(f"\n{accounts * sum(counts):,} records, {requests(PAGE):,} requests with pages of {PAGE}")
    print(f"a record: {received / sum(counts):,.0f} bytes of JSON, {written / sum(counts):,.0f} of Parquet\n")
    rows = {
        f"everything, with pages of {PAGE}": [duration(requests(PAGE) / PER_MINUTE / keys) for keys in KEYS],
        f"everything, with pages of {DEFAULT_PAGE}": [
            duration(requests(DEFAULT_PAGE) / PER_MINUTE / keys) for keys in KEYS
        ],
        "changes only, one request a list": [duration(accounts * len(LISTS) / PER_MINUTE / keys) for keys in KEYS],
        "`users.completions`, one request a user": [
            duration(accounts * asked.users / PER_MINUTE / keys) for keys in KEYS
        ],
        "JSON received, uncompressed": [size(received * accounts)] * len(KEYS),
        "JSON a second": [
            size(received * accounts / (requests(PAGE) / PER_MINUTE / keys * 60)) + "/s" for keys in KEYS
        ],
        "Parquet written": [size(written * accounts)] * len(KEYS),
    }
    print("| | " + " | ".join(f"{keys} key{'s' if keys > 1 else ''}" for keys in KEYS) + " |")
    print("| --- " * (len(KEYS) + 1) + "|")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
