"""Who may import whom: each module only what stands before it, so that every part can be read from below."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import stackone_lms

ROOT = Path(stackone_lms.__file__).parent

FLOORS = """
    _version _lazy
    calls engine bulk api
    errors safe_json options threads calls.outcomes bulk.ids
    models engine.concurrency engine.retry engine.rate_limit shared_limit transport.base
    calls.query models.extras models.decode engine.deadlines
    transport transport.connections transport.errors transport.aiohttp_internals transport.session
    transport.aiohttp transport.lean transport.auto
    calls.operation engine.admission engine.stats bulk.progress engine.responses engine.call
    calls.lists calls.writes
    bulk.stream bulk.workers bulk.merge bulk.list_strategy bulk.get_many
    api.resources api.operations api.accounts
    configuration client sync webhooks
    export.records.columns export.records.arrow export arrow testing cli
"""
ORDER = FLOORS.split()
"""All modules, from the ground up; a package stands for what is in it and not named itself."""

OUTSKIRTS = frozenset({"sandbox", "shared_limit", "arrow", "export", "testing", "cli"})
"""What may need an extra."""

OURS = {"msgspec": "", "anyio": "sync", "aiohttp": "transport.", "multidict": "transport.", "yarl": "transport."}
"""The run-time dependencies, and where they may be imported: everywhere, or only in modules of that name."""


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(path: Path) -> Iterator[str]:
    """Return what a module imports when it runs, at whatever place: dotted, those of the package with a leading dot."""
    package = path.relative_to(ROOT).parts[:-1]

    def visit(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and not child.level:
                yield child.module or ""
            elif isinstance(child, ast.ImportFrom):
                base = package[: len(package) - child.level + 1]
                for alias in child.names:
                    name = child.module or ("_version" if alias.name == "__version__" else alias.name)
                    yield "." + ".".join([*base, name])
            yield from visit(child)

    return visit(ast.parse(path.read_text("utf-8")))


def floor(module: str) -> int:
    """Return where a module stands; the longest name in ORDER counts."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in ORDER:
            return ORDER.index(name)
    raise AssertionError(f"{module} has no place in ORDER yet")


@pytest.mark.parametrize(
    ("module", "path"),
    [(m, p) for m, p in modules() if m and not m.startswith("sandbox")],
    ids=str,
)
def test_a_module_imports_only_what_stands_below(module: str, path: Path) -> None:
    own = floor(module)
    for imported in imports(path):
        if imported.startswith(".sandbox"):
            assert ORDER[own] in {"testing", "cli"}, f"{module} imports the sandbox"
        elif imported.startswith("."):
            assert floor(imported[1:]) <= own, f"{module} imports {imported}"


@pytest.mark.parametrize(("module", "path"), [(m, p) for m, p in modules() if m.startswith("sandbox")], ids=str)
def test_the_sandbox_is_a_second_reading_of_the_document(module: str, path: Path) -> None:
    """It shares nothing with the client, so that one checks the other."""
    shared = [name for name in imports(path) if name.startswith((".", "stackone_lms"))]
    assert [name for name in shared if not name.startswith(".sandbox")] == []


@pytest.mark.parametrize(
    ("module", "path"),
    [(m, p) for m, p in modules() if m and m.partition(".")[0] not in OUTSKIRTS],
    ids=str,
)
def test_the_core_needs_three_packages_each_in_its_place(module: str, path: Path) -> None:
    for imported in imports(path):
        name = imported.partition(".")[0]
        if not name or name in sys.stdlib_module_names:
            continue
        assert name in OURS, f"{module} imports {name}"
        assert module.startswith(OURS[name]), f"{module} imports {name}"


def test_nothing_of_the_order_is_out_of_date() -> None:
    there = {module for module, _ in modules()}
    assert [name for name in ORDER if name not in there] == []
    assert len(ORDER) == len(set(ORDER))


def test_the_check_sees_what_it_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports in functions count, those for type checkers do not."""
    monkeypatch.setattr("tests.unit.test_layers.ROOT", tmp_path)
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "x.py"
    path.write_text(
        "import a.b\nfrom ..c import d\nfrom . import e\nfrom .f import g\n"
        "if TYPE_CHECKING:\n    from ..no import no\ndef h():\n    from .. import i\n"
    )
    assert list(imports(path)) == ["a.b", ".c", ".models.e", ".models.f", ".i"]
