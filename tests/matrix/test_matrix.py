"""The fault suite again, in short, on other event loops, with the other parser, on other Pythons; `make matrix`.

Of the fault suite each run takes what its surroundings bear on: the tests marked `parser`, or those marked `loop`.
Another interpreter, or the oldest aiohttp, needs an environment of its own, made once inside of `.venv`; that
takes half a minute, 70 MB and a package index. Where one of them is not to be had, the test is skipped.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from textwrap import dedent

import pytest

from stackone_lms.transport import aiohttp_internals as internals
from tests.edges.test_secrets import TYPER, check_what_typer_showed, key_of
from tests.surroundings import GIVEN

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(3000)]

ROOT = Path(__file__).parents[2]
EDGES = [f"tests/edges/test_{name}.py" for name in ("exit", "names", "loops", "contexts", "heads", "dead_connections")]
SUITE = ("-m", "pytest", "tests/faults", *EDGES, "-q", "-p", "no:cacheprovider")
TOOLS = (
    *("pytest>=9", "pytest-asyncio>=1.5", "pytest-timeout>=2.4", "pytest-xdist>=3.8"),
    *("hypothesis>=6.170", "psutil>=7", "trustme>=1.2"),
)
"""What the marked tests need of the test group, which as a whole is half a gigabyte."""
SOON = {"PIP_RETRIES": "1", "PIP_DEFAULT_TIMEOUT": "15", "UV_HTTP_TIMEOUT": "15"}
"""Where there is no network, that is known in seconds."""
PYTHONS = ("3.11", "3.12", "3.13", "3.14")

VARIANTS: dict[str, tuple[tuple[str, ...], dict[str, str], str]] = {
    "dev": (("-X", "dev"), {}, "parser"),
    "debug": ((), {"PYTHONASYNCIODEBUG": "1"}, "loop"),
    "pure": ((), {"AIOHTTP_NO_EXTENSIONS": "1"}, "parser"),
    "uvloop": ((), {"STACKONE_LMS_TEST_LOOP": "uvloop"}, "loop"),
}
"""Flags of the interpreter, environment, and which tests. `-X dev` makes aiohttp's parser stricter; the pure-Python
parser is what Pythons without wheels get."""


def run(python: str, *arguments: str, within: float, **environment: str) -> subprocess.CompletedProcess[str]:
    # As it was given: a proxy may lead to the package index. The suite leaves it aside by itself.
    inherited = {name: value for name, value in GIVEN.items() if not name.startswith(("PYTEST_", "COV_"))}
    return subprocess.run(
        [python, *arguments],
        cwd=ROOT,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )


@cache
def collected(marked: str) -> int:
    """Return how many tests there are of a choice."""
    found = run(sys.executable, *SUITE, "--collect-only", "-m", marked, within=1200)
    assert found.returncode == 0, found.stdout[-4000:] + found.stderr[-2000:]
    counted = re.match(r"(\d+)(?:/\d+)? tests? collected", found.stdout.splitlines()[-1])
    assert counted is not None, found.stdout[-500:]
    return int(counted[1])


def assert_suite_passes(python: str, flags: tuple[str, ...], choice: str, **environment: str) -> None:
    marked = f"({choice}) and not (soak or thorough)"
    finished = run(python, *flags, *SUITE, "-n", "auto", "-m", marked, within=1200, **environment)
    assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-2000:]
    ended = {kind: int(count) for count, kind in re.findall(r"(\d+) (passed|skipped)", finished.stdout)}
    # Nothing is left out unnoticed: some are skipped where the lean transport, or a system call, is not there.
    assert ended["passed"] + ended.get("skipped", 0) == collected(marked), finished.stdout[-500:]
    assert ended["passed"] > 0.5 * collected(marked)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_suite_on_this_python(variant: str) -> None:
    """The same faults, the same outcomes."""
    if variant == "uvloop":
        pytest.importorskip("uvloop")
    flags, environment, marked = VARIANTS[variant]
    assert_suite_passes(sys.executable, flags, marked, **environment)


def interpreter(version: str) -> str | None:
    """Return the path of a Python of this version, None if there is none."""
    candidates: list[str | Path | None] = [shutil.which(f"python{version}")]
    candidates += sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"), reverse=True)
    for candidate in filter(None, candidates):
        found = run(str(candidate), "-c", "import sys; print('%d.%d' % sys.version_info[:2])", within=20)
        if found.stdout.strip() == version:
            return str(candidate)
    return None


def environment_of(python: str, name: str, *requirements: str) -> str:
    """Return the Python of an environment with this package and its test tools, made if it is not there yet."""
    package = (".[shared-limit]", *TOOLS, *requirements)
    made_of = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + repr((ROOT, package)).encode())
    folder = ROOT / ".venv" / "matrix" / f"{name}-{made_of.hexdigest()[:12]}"
    own = folder / "bin" / "python"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        made = run(python, "-m", "venv", str(folder), within=600)
        if made.returncode != 0:
            pytest.skip(f"{python} makes no environment: {made.stdout[-300:]}{made.stderr[-300:]}")
        filled = run(str(ROOT / ".ci" / "install"), str(own), "--editable", *package, within=900, **SOON)
        if "Retrying" in filled.stderr and filled.returncode != 0:
            pytest.skip("no package index can be reached")
        assert filled.returncode == 0, filled.stderr[-2000:]
        (folder / "ready").touch()
    return str(own)


@pytest.mark.parametrize("version", [v for v in PYTHONS if v != f"{sys.version_info.major}.{sys.version_info.minor}"])
def test_the_suite_on_another_python(version: str) -> None:
    """As above."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    assert_suite_passes(environment_of(python, version), (), "parser or loop")


def test_the_suite_on_the_oldest_aiohttp() -> None:
    """The lean transport uses what is not public in aiohttp, so both ends of the supported range are tested."""
    oldest = ".".join(map(str, internals.BEGIN))
    own = environment_of(sys.executable, f"aiohttp-{oldest}", f"aiohttp=={oldest}")
    assert run(own, "-c", "import aiohttp; print(aiohttp.__version__)", within=20).stdout.strip() == oldest
    assert_suite_passes(own, (), "parser or loop")


@pytest.mark.parametrize("how", ["hook", "refused"])
def test_an_older_typer_shows_no_piece_of_the_key(how: str) -> None:
    """It shows local variables unless it is told not to."""
    own = environment_of(sys.executable, "typer-0.16", "typer==0.16.*", "rich>=14")
    for length in (40, 72, 120):
        key = key_of(length)
        ended = run(own, "-c", dedent(TYPER), how, key, within=120)
        check_what_typer_showed(key, how, ended.returncode, ended.stderr)
