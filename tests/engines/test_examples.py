"""The scripts of the cookbook, each in a process of an environment that has its engine: `make engines`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackone_lms.sandbox import Sandbox

from ..surroundings import GIVEN

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
PYTHON = Path(os.environ.get("ENGINES_PYTHON") or ROOT / ".venv" / "engines" / "bin" / "python")

pytestmark = [pytest.mark.engines, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox.in_thread(accounts=2, users=230) as running:
        yield running


EXPECTED = {
    "delta_sail.py": "460 users",
    "iceberg.py": "460 users,",
    "dask_frame.py": "460 users",
    "ray_data.py": "460 users",
}


def test_every_script_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(EXPECTED)


@pytest.mark.parametrize("script", EXPECTED)
def test_a_script_runs(script: str, sandbox: Sandbox, tmp_path: Path) -> None:
    if not PYTHON.exists():
        pytest.skip("there is no environment with the engines: make engines")
    one, other = sandbox.account_ids
    surroundings = {
        **GIVEN,
        "PYTHONPATH": str(ROOT),
        "STACKONE_API_KEY": sandbox.api_key,
        "STACKONE_BASE_URL": sandbox.url,
        "ACCOUNT_A": one,
        "ACCOUNT_B": other,
    }
    done = subprocess.run(
        [str(PYTHON), str(EXAMPLES / script)],
        cwd=tmp_path,
        env=surroundings,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert EXPECTED[script] in done.stdout
    asked = {request.path.rpartition("/")[2] for request in sandbox.requests}
    assert "users" in asked
