"""The lean transport is used only with an aiohttp that it knows, and with both of its parsers."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from stackone_lms.errors import ConfigurationError
from stackone_lms.transport import aiohttp_internals as internals
from stackone_lms.transport.lean import LeanTransport

from ..soak import further

PACKAGE = Path(internals.__file__).parents[1]


def test_installed_aiohttp_can_be_used() -> None:
    assert internals.check() is None


@pytest.mark.parametrize("version", ["3.14.3", "3.13.5", "3.15.0", "3.15.0a1", "4.0.0a2.dev0"])
def test_other_version_is_named_in_the_reason(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(aiohttp, "__version__", version)
    reason = internals.check()
    assert reason is not None
    assert version in reason


@pytest.mark.parametrize("version", ["3.14.4", "3.14.5", "3.14.17", "3.14.6.dev0"])
def test_versions_of_the_same_series_are_fine(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(aiohttp, "__version__", version)
    assert internals.check() is None


def _private_names_of_aiohttp() -> set[str]:
    folder = Path(aiohttp.__file__).parent
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        found |= set(re.findall(r"(?<![\w])_[a-z]\w*", path.read_text("utf-8")))
    return found - {"_getframe"}  # which is Python's


def _used(path: Path) -> set[str]:
    """Return the names with an underscore that a module takes of things that are not its own.

    These are attributes, what is overridden or set in a class of aiohttp's, and strings.
    """
    found: set[str] = set()

    def visit(node: ast.AST, inside: bool) -> None:
        if isinstance(node, ast.ClassDef):
            inside = any("aiohttp" in name or name == "ResponseHandler" for name in map(ast.unparse, node.bases))
            found.update(
                each.name for each in node.body if inside and isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
            )
        elif isinstance(node, ast.Attribute):
            if inside or not (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}):
                found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("aiohttp"):
            found.update(alias.name for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(path.read_text("utf-8")), False)
    return {name for name in found if re.fullmatch(r"_[a-z]\w*", name)}


def _own_names() -> set[str]:
    """Return the names with an underscore that the package itself defines, which aiohttp may happen to have too."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and ast.unparse(node.value) in {"self", "cls"}
            ):
                found.add(node.attr)
    return found


@pytest.mark.thorough
def test_all_private_names_of_aiohttp_stand_in_one_module() -> None:
    private = _private_names_of_aiohttp()
    assert _used(Path(internals.__file__)) & private == set(internals.NAMES)
    assert len(internals.NAMES) <= 20
    own = _own_names()
    for path in PACKAGE.rglob("*.py"):
        if path.parts[-2] == "sandbox" or path == Path(internals.__file__):
            continue
        taken = _used(path) & private
        # Outside of the transports nothing of aiohttp is in reach; a name that is ours is ours.
        assert not (taken if path.parent.name == "transport" else taken - own), path


@pytest.mark.parametrize("name", [*internals.NAMES[:2], *further(*internals.NAMES[2:])])
def test_a_name_that_aiohttp_calls_otherwise_is_noticed_and_done_without(name: str) -> None:
    """The plain session takes over, with one warning, for reads, writes on a kept connection, and cut answers."""
    reason, warnings, *_, end = _with_renamed(name)
    assert reason.startswith(f"aiohttp {aiohttp.__version__} lacks ")
    assert warnings == f"1 the lean transport is not used: {reason}"
    assert end == "works"


@pytest.mark.parametrize(
    "name", ["_should_close", *further("_payload", "_parser", "_tail", "_upgraded", "_reading_paused")]
)
def test_what_is_private_and_not_used_may_change(name: str) -> None:
    assert _with_renamed(name) == ["None", "0", "works"]


def _with_renamed(name: str) -> list[str]:
    # The compiled parser has no such names, and needs none: that in Python has, and is used where nothing is compiled.
    without = {"AIOHTTP_NO_EXTENSIONS": "1"} if name == "_lines" else {}
    run = subprocess.run(
        [sys.executable, "-m", "tests.transport.renamed", name],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **without},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def test_lean_transport_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internals, "UNUSABLE", "aiohttp 9 is not known")
    with pytest.raises(ConfigurationError, match="aiohttp 9 is not known"):
        LeanTransport("http://127.0.0.1:1")


@pytest.mark.thorough
def test_the_same_holds_with_the_parser_in_python() -> None:
    """aiohttp parses in Python where it has no compiled parser; that one lets more pass."""
    here = Path(__file__)
    modules = [str(here.with_name(f"test_{name}.py")) for name in ("requests", "answers", "connections")]
    options = ["-q", "-x", "-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:xdist"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-k", "not no-http and not two-lengths", *modules],
        cwd=here.parents[2],
        env={**os.environ, "AIOHTTP_NO_EXTENSIONS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-4000:]
