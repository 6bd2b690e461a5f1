"""The map in CONTRIBUTING.md is the tree."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import stackone_lms

ROOT = Path(stackone_lms.__file__).parent
ROW = re.compile(r"^\| `(?P<folder>[\w/]+)/` \| [^|]+ \| (?P<modules>[^|]+) \|$", re.MULTILINE)


def test_what_the_recipes_name_is_there() -> None:
    """Files of the package or of the repository, and nothing that has moved."""
    text = (ROOT.parent / "CONTRIBUTING.md").read_text("utf-8")
    recipes = text.partition("\n## Recipes\n")[2].partition("\n## ")[0]
    assert len(re.findall(r"^\*\*(?:A|An|The) [a-z ]+\.\*\*", recipes, re.MULTILINE)) == 5
    named = {name for name in re.findall(r"`([\w./]+)`", recipes) if "/" in name or name.endswith((".py", ".json"))}
    assert len(named) > 10
    assert [name for name in sorted(named) if not any((top / name).exists() for top in (ROOT, ROOT.parent))] == []


def test_the_map_names_every_module_once() -> None:
    found: Counter[Path] = Counter()
    for row in ROW.finditer((ROOT.parent / "CONTRIBUTING.md").read_text("utf-8")):
        folder = ROOT / row["folder"].removeprefix("stackone_lms")
        found.update(folder / f"{module}.py" for module in re.findall(r"`(\w+)`", row["modules"]))
    there = {path for path in ROOT.rglob("*.py") if path.name != "__init__.py"}
    assert set(found) == there
    assert set(found.values()) == {1}
