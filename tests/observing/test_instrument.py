"""A program under `opentelemetry-instrument`, which is not changed for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import stackone_lms
from stackone_lms.sandbox import Sandbox

ROOT = Path(stackone_lms.__file__).parent.parent

PROGRAM = """
import sys
from stackone_lms import SyncClient

with SyncClient() as client:
    ids = [user.id for user in client.users.list(max_items=3)]
    client.users.get(ids[0])
    list(client.users.get_many(ids))
print("done", file=sys.stderr)
"""


def installed(folder: Path) -> None:
    """Put the entry points of pyproject.toml there as an installer does, so that they are those of this tree."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    name = f"stackone_lms-{stackone_lms.__version__}.dist-info"
    (folder / name).mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {stackone_lms.__version__}\n"
    (folder / name / "METADATA").write_text(metadata)
    lines = [
        line
        for group, points in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{point} = {where}" for point, where in points.items()))
    ]
    (folder / name / "entry_points.txt").write_text("\n".join(lines))


def objects(text: str) -> list[dict[str, Any]]:
    """Return the JSON objects that stand one after the other in a text."""
    decoder, found, at = json.JSONDecoder(), list[dict[str, Any]](), 0
    while (at := text.find("{", at)) >= 0:
        value, at = decoder.raw_decode(text, at)
        found.append(value)
    return found


def test_a_program_is_traced_and_measured_without_a_change(tmp_path: Path) -> None:
    installed(tmp_path)
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    binaries = Path(sys.executable).parent
    with Sandbox.in_thread() as sandbox:
        done = subprocess.run(
            [binaries / "opentelemetry-instrument", sys.executable, script],
            env={
                "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
                "STACKONE_API_KEY": sandbox.api_key,
                "STACKONE_ACCOUNT_ID": sandbox.account_ids[0],
                "STACKONE_BASE_URL": sandbox.url,
                "OTEL_TRACES_EXPORTER": "console",
                "OTEL_METRICS_EXPORTER": "console",
                "OTEL_LOGS_EXPORTER": "none",
                "OTEL_SERVICE_NAME": "night",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == ["done"]
    told = objects(done.stdout)
    spans = {one["name"]: one for one in told if "context" in one}
    assert spans.keys() == {
        *("stackone users.list", "GET /unified/lms/users", "stackone users.get", "GET /unified/lms/users/{id}"),
        "stackone users.get_many",
    }
    assert spans["stackone users.get_many"]["attributes"]["stackone.done"] == 3
    assert spans["GET /unified/lms/users/{id}"]["parent_id"] == spans["stackone users.get"]["context"]["span_id"]
    metrics = {
        metric["name"]
        for one in told
        for resource in one.get("resource_metrics", ())
        for scope in resource["scope_metrics"]
        for metric in scope["metrics"]
    }
    assert {"http.client.request.duration", "stackone.client.call.duration"} <= metrics
    assert sandbox.api_key not in done.stdout
    assert sandbox.account_ids[0] not in done.stdout
