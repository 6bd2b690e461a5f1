"""The recipes for schedulers, each run by its scheduler, which runs the program: `make schedulers`."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from stackone_lms.sandbox import Sandbox

from ..surroundings import GIVEN

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "docs" / "examples" / "schedulers"
PYTHON = Path(os.environ.get("SCHEDULERS_PYTHON") or ROOT / ".venv" / "schedulers" / "bin" / "python")

pytestmark = [pytest.mark.engines, pytest.mark.timeout(600)]

EXPECTED = {
    "airflow_dag.py": r"state=success",
    "dagster_asset.py": r"'records': IntMetadataValue\(value=180\).*'failed accounts': IntMetadataValue\(value=0\)",
    "prefect_flow.py": r"\{'emea': 180, 'amer': 180\}",
}


def test_every_recipe_is_run() -> None:
    assert {path.name for path in RECIPES.glob("*.py")} == set(EXPECTED)


@pytest.mark.parametrize("recipe", EXPECTED)
def test_a_recipe_runs(recipe: str, tmp_path: Path) -> None:
    if not PYTHON.exists():
        pytest.skip("there is no environment with the schedulers: make schedulers")
    with Sandbox.in_thread(accounts=2, users=50) as sandbox:
        surroundings = {
            **GIVEN,
            "PATH": f"{ROOT / '.venv' / 'bin'}{os.pathsep}{GIVEN['PATH']}",
            "HOME": str(tmp_path),
            **dict.fromkeys(("STACKONE_API_KEY", "STACKONE_API_KEY_EMEA", "STACKONE_API_KEY_AMER"), sandbox.api_key),
            "STACKONE_BASE_URL": sandbox.url,
            "AIRFLOW_HOME": str(tmp_path / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(RECIPES),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "PREFECT_HOME": str(tmp_path / "prefect"),
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
            "DO_NOT_TRACK": "1",
        }

        def run(*command: str) -> subprocess.CompletedProcess[str]:
            return _run(command, surroundings, tmp_path)

        if recipe == "airflow_dag.py":
            assert run(str(PYTHON.parent / "airflow"), "db", "migrate").returncode == 0
        done = run(str(PYTHON), str(RECIPES / recipe))
    assert done.returncode == 0, done.stderr
    assert re.search(EXPECTED[recipe], done.stdout), done.stdout
    assert sandbox.api_key not in done.stdout + done.stderr


def _run(command: Sequence[str], surroundings: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=surroundings, capture_output=True, text=True, timeout=500, check=False
    )
