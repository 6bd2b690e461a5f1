"""The official TypeScript SDK, when Node is there."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from . import data

NAME = "TypeScript SDK"
_FOLDER = Path(__file__).parent / "node"


def ready() -> bool:
    """Tell whether Node and the SDK are installed (`npm install` in benchmarks/node)."""
    return shutil.which("node") is not None and (_FOLDER / "node_modules" / "@stackone").is_dir()


def run(task: dict[str, Any]) -> dict[str, float]:
    """Measure once, in a Node process of its own."""
    told = json.dumps({**task, "key": data.KEY, "account": data.ACCOUNT, "id": data.ID})
    command = ["node", "bench.mjs", told]
    if shutil.which("taskset") and task.get("pin") is not None:
        command = ["taskset", "-c", str(task["pin"]), *command]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=_FOLDER, timeout=600)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures
