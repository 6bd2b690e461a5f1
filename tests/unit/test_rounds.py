"""What tries more in `make thorough` is tried there: it bears the mark `rounds`, by which it is chosen."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
SOURCES = {"rounds", "SOAK"}


def names_in(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def is_marked(nodes: list[ast.expr]) -> bool:
    return any("pytest.mark.rounds" in ast.unparse(node) for node in nodes)


def depending(module: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions that use what tells how much is tried, or what was made of it."""
    names: set[str] = set()
    for node in module.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("soak"):
            names |= {alias.asname or alias.name for alias in node.names if alias.name in SOURCES}
    for _ in range(3 * bool(names)):  # what is made of what was made of it
        for node in module.body:
            if names & names_in(node):
                if isinstance(node, ast.Assign):
                    names |= {name for target in node.targets for name in names_in(target)} - {"pytestmark"}
                elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("test_"):
                    names.add(node.name)
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and names & names_in(node):
            yield node


def test_all_that_tries_more_is_marked() -> None:
    found: dict[str, list[str]] = {"marked": [], "not marked": []}
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text("utf-8")
        if "soak import" not in text:
            continue
        module = ast.parse(text)
        whole = is_marked([n.value for n in module.body if isinstance(n, ast.Assign) and "pytestmark" in names_in(n)])
        for test in depending(module):
            if not test.name.startswith("test_"):
                continue
            which = "marked" if whole or is_marked(test.decorator_list) else "not marked"
            found[which].append(f"{path.relative_to(TESTS)}::{test.name}")
    assert not found["not marked"]
    assert len({name.partition("::")[0] for name in found["marked"]}) >= 6
