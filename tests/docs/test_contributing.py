"""The map in CONTRIBUTING.md is the tree."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import stackone_lms

ROOT = Path(stackone_lms.__file__).parent
ROW = re.compile(r"^\| `(?P<folder>[\w/]+)/` \| [^|]+ \| (?P<modules>[^|]+) \|$", re.MULTILINE)


def test_the_map_names_every_module_once() -> None:
    found: Counter[Path] = Counter()
    for row in ROW.finditer((ROOT.parent / "CONTRIBUTING.md").read_text("utf-8")):
        folder = ROOT / row["folder"].removeprefix("stackone_lms")
        found.update(folder / f"{module}.py" for module in re.findall(r"`(\w+)`", row["modules"]))
    there = {path for path in ROOT.rglob("*.py") if path.name != "__init__.py"}
    assert set(found) == there
    assert set(found.values()) == {1}
