"""The fault suite again, in short, on other event loops, with the other parser, and on other Pythons.

Of the fault suite each run takes what its surroundings bear on: the tests marked `parser`, or those marked `loop`.
Other interpreters are tried with `STACKONE_LMS_ALL_PYTHONS=1` only: each
needs an environment of its own, made once in the user's cache folder, which takes half a minute, 70 MB and a package
index.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stackone_lms.transport import aiohttp_internals as private

ROOT = Path(__file__).parents[2]
SUITE = ("-m", "pytest", "tests/faults", "-q", "-p", "no:cacheprovider", "-o", "timeout=60", "-m")
LEAST = {"parser": 250, "loop": 80, "parser or loop": 330}
"""How many tests each choice has at least, so that none is empty unnoticed."""
TOOLS = ("pytest>=9", "pytest-asyncio>=1.5", "pytest-timeout>=2.4", "hypothesis>=6.170", "psutil>=7", "trustme>=1.2")
"""What the marked tests need of the test group, which as a whole is half a gigabyte."""
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
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    return subprocess.run(
        [python, *arguments],
        cwd=ROOT,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )


def assert_suite_passes(python: str, flags: tuple[str, ...], marked: str, **environment: str) -> None:
    finished = run(python, *flags, *SUITE, marked, within=300, **environment)
    assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-2000:]
    passed = int(finished.stdout.splitlines()[-1].partition(" passed")[0].rpartition(" ")[2])
    assert passed >= LEAST[marked], finished.stdout[-500:]


@pytest.mark.timeout(310)
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
    made_of = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + str(ROOT).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "stackone-lms-tests" / f"{name}-{made_of}"
    own = folder / "bin" / "python"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        for command in (
            (python, "-m", "venv", str(folder)),
            (str(own), "-m", "pip", "install", "--quiet", "--upgrade", "pip"),
            (str(own), "-m", "pip", "install", "--quiet", "--editable", ".", *TOOLS, *requirements),
        ):
            done = run(*command, within=600)
            assert done.returncode == 0, done.stderr[-2000:]
        (folder / "ready").touch()
    return str(own)


further = pytest.mark.skipif(
    not os.environ.get("STACKONE_LMS_ALL_PYTHONS"),
    reason="STACKONE_LMS_ALL_PYTHONS is not set; each further environment costs half a minute and 70 MB the first time",
)


@pytest.mark.timeout(1500)
@further
@pytest.mark.parametrize("version", [v for v in PYTHONS if v != f"{sys.version_info.major}.{sys.version_info.minor}"])
def test_the_suite_on_another_python(version: str) -> None:
    """As above, plain and in development mode."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    own = environment_of(python, version)
    for flags in ((), ("-X", "dev")):
        assert_suite_passes(own, flags, "parser or loop")


@pytest.mark.timeout(1500)
@further
def test_the_suite_on_the_oldest_aiohttp() -> None:
    """The lean transport uses what is not public in aiohttp, so both ends of the supported range are tested."""
    oldest = ".".join(map(str, private.BEGIN))
    own = environment_of(sys.executable, f"aiohttp-{oldest}", f"aiohttp=={oldest}")
    assert run(own, "-c", "import aiohttp; print(aiohttp.__version__)", within=20).stdout.strip() == oldest
    assert_suite_passes(own, (), "parser or loop")
