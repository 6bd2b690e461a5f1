"""Who may import whom: each room only what stands on a floor below it, and nobody in a circle.

Imports in functions and those for type checkers count like all others. A room is a folder of the package, or a module
beside them.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

import stackone_lms

ROOT = Path(stackone_lms.__file__).parent

FLOORS = """
    errors _version _lazy
    checks safe_json threads logs
    options
    transport models
    calls
    engine
    bulk
    api
    configuration shared_limit
    network
    diagnosis profiles
    base_client webhooks
    client
    sync
    export testing otel
    batches
    arrow cli dlt spark
    __main__
"""
"""The rooms from the ground up; those in one line do not know of each other. `sandbox` stands apart."""

OUTSKIRTS = frozenset(
    {
        "sandbox",
        "shared_limit",
        "profiles",
        "arrow",
        "batches",
        "dlt",
        "export",
        "otel",
        "spark",
        "testing",
        "cli",
        "__main__",
    }
)
"""What may need an extra."""

OURS = {
    "msgspec": "",
    "anyio": "sync",
    "aiohttp": "transport.",
    "multidict": "transport.",
    "yarl": "transport.",
    "truststore": "transport.aiohttp",  # an extra
    "pydantic_core": "models.pydantic",  # imported only when pydantic asks
}
"""The run-time dependencies, and where they may be imported: everywhere, or only in modules of that name."""


@cache
def modules(root: Path = ROOT) -> dict[str, Path]:
    """Return the path of every module of the package by its dotted name; the package itself has an empty one."""
    found: dict[str, Path] = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, root: Path = ROOT) -> Iterator[str]:
    """Return what a module imports, at whatever place: dotted, what is of the package with a leading dot."""
    package = path.relative_to(root).parts[:-1]
    there = modules(root)
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            home = ".".join(filter(None, base))
            for alias in node.names:
                name = "_version" if alias.name == "__version__" else alias.name
                inside = f"{home}.{name}".lstrip(".")
                yield f".{inside if inside in there else home}"


def room(module: str) -> str:
    return module.partition(".")[0]


def floor(module: str) -> int:
    """Return the floor of a module's room."""
    for number, line in enumerate(FLOORS.strip().splitlines()):
        if room(module) in line.split():
            return number
    raise AssertionError(f"{room(module)} has no floor in FLOORS yet")


def circles(graph: Mapping[str, Iterable[str]]) -> list[set[str]]:
    """Return the groups of nodes of which each is reached from each other one."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            new = set(graph.get(waiting.pop(), ())) - seen
            seen |= new
            waiting += new
        return seen

    reach = {node: reached(node) for node in graph}
    found: list[set[str]] = []
    for node in graph:
        circle = {other for other in reach[node] if node in reach.get(other, ())}
        if circle and circle not in found:
            found.append(circle)
    return found


@cache
def graph() -> Mapping[str, frozenset[str]]:
    """Return what each module imports of the package."""
    return {
        module: frozenset(name[1:] for name in imports(path) if name.startswith(".") and name[1:] != module)
        for module, path in modules().items()
    }


@pytest.mark.parametrize("module", [m for m in modules() if m and room(m) != "sandbox"])
def test_a_module_imports_only_rooms_below_its_own(module: str) -> None:
    for imported in graph()[module]:
        if room(imported) == "sandbox":
            assert room(module) in {"testing", "cli"}, f"{module} imports the sandbox"
        elif imported and room(imported) != room(module):
            assert floor(imported) < floor(module), f"{module} imports {imported}"


def test_no_modules_import_each_other() -> None:
    assert circles(graph()) == []


def test_no_folders_import_each_other() -> None:
    """Folders inside of folders, too: `export/records`, `export/formats`."""
    folders: dict[str, set[str]] = {}
    homes = {module: path.parent.relative_to(ROOT).as_posix() for module, path in modules().items()}
    for module, imported in graph().items():
        folders.setdefault(homes[module], set()).update(homes[name] for name in imported)
    # Its parent folder is where a folder's door is, and what both share.
    apart = {
        name: {o for o in others if o != name and not name.startswith(f"{o}/") and not o.startswith(f"{name}/")}
        for name, others in folders.items()
        if name != "."
    }
    assert circles(apart) == []


@pytest.mark.parametrize("module", [m for m in modules() if room(m) == "sandbox"])
def test_the_sandbox_is_a_second_reading_of_the_document(module: str) -> None:
    """It shares nothing with the client, so that one checks the other."""
    names = [name for name in imports(modules()[module]) if name.startswith((".", "stackone_lms"))]
    assert [name for name in names if room(name[1:]) != "sandbox"] == []


@pytest.mark.parametrize("module", [m for m in modules() if m and room(m) not in OUTSKIRTS])
def test_the_core_needs_three_packages_each_in_its_place(module: str) -> None:
    for imported in imports(modules()[module]):
        name = imported.partition(".")[0]
        if not name or name in sys.stdlib_module_names or _for_type_checkers(module, name):
            continue
        assert name in OURS, f"{module} imports {name}"
        assert module.startswith(OURS[name]), f"{module} imports {name}"


def _for_type_checkers(module: str, name: str) -> bool:
    """Tell whether a package is imported under TYPE_CHECKING only, which needs no installation."""
    tree = ast.parse(modules()[module].read_text("utf-8"))
    guarded = [
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    ]
    importing = [
        node
        for node in ast.walk(tree)
        if (isinstance(node, ast.Import) and any(room(alias.name) == name for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and not node.level and room(node.module or "") == name)
    ]
    return all(node in guarded for node in importing)


def test_every_room_of_the_floors_is_there() -> None:
    names = FLOORS.split()
    assert set(names) - {room(module) for module in modules()} == set()
    assert len(names) == len(set(names))


def test_the_check_sees_what_it_should(tmp_path: Path) -> None:
    """Imports in functions count, and so do those for type checkers."""
    (tmp_path / "models").mkdir()
    for name in ("models/e.py", "c.py", "models/f.py", "i.py", "yes.py"):
        (tmp_path / name).touch()
    path = tmp_path / "models" / "x.py"
    path.write_text(
        "import a.b\nfrom ..c import d\nfrom . import e\nfrom .f import g\n"
        "if TYPE_CHECKING:\n    from ..yes import h\ndef h():\n    from .. import i\n"
    )
    assert set(imports(path, tmp_path)) == {"a.b", ".c", ".models.e", ".models.f", ".yes", ".i"}
    assert circles({"a": ["b"], "b": ["c"], "c": ["a", "d"], "d": ["d"], "e": ["a"]}) == [{"a", "b", "c"}, {"d"}]
    with pytest.raises(AssertionError, match="no floor"):
        floor("nowhere.at_all")
