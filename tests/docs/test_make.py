"""`make demo` on a machine where something is missing or broken; Pythons are small scripts here."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEW = """#!/bin/sh
case "$*" in
  *sys.version_info*) exit {version_code} ;;
  --version) echo "Python {version}" ;;
  *ensurepip*) exit {venv_code} ;;
  "-m uv pip install "*) exit {uv_code} ;;
  "-m pip install "*--editable*) echo "installed by pip" ;;
  "-m venv "*)
    mkdir -p "$3/bin"; cp "$0" "$3/bin/python"
    printf '#!/bin/sh\\necho the demo ran' > "$3/bin/stackone-lms"; chmod +x "$3/bin/stackone-lms" ;;
esac
exit 0
"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("Makefile", ".ci/venv", ".ci/install", "pyproject.toml", "stackone_lms/_version.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def put(file: Path, *, version: str = "3.12.1", venv: bool = True, uv: bool = True) -> None:
    """Put a Python there that answers what the Makefile asks."""
    file.parent.mkdir(parents=True, exist_ok=True)
    old = tuple(map(int, version.split(".")))[:2] < (3, 11)
    codes = {"version_code": int(old), "venv_code": int(not venv), "uv_code": int(not uv)}
    file.write_text(NEW.format(version=version, **codes))
    file.chmod(0o755)


def make_demo(checkout: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    path = f"{checkout / 'bin'}:{os.defpath}"
    return subprocess.run(
        ["make", "demo", *settings],
        cwd=checkout,
        env={"PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_fresh_machine_runs_the_demo(checkout: Path) -> None:
    put(checkout / "bin/python3")
    done = make_demo(checkout)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "the demo ran"), done.stderr
    assert ".ci/install" in done.stdout
    again = make_demo(checkout)
    assert (again.returncode, ".ci/install" in again.stdout) == (0, False)


@pytest.mark.parametrize("uv", [True, False])
def test_what_uv_cannot_install_is_installed_by_pip(checkout: Path, uv: bool) -> None:
    """It does not know pip's settings, an index of the house for example."""
    put(checkout / "bin/python3", uv=uv)
    done = make_demo(checkout)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "the demo ran"), done.stderr
    assert ("installed by pip" in done.stdout) == (not uv)


@pytest.mark.parametrize("newer", [None, "python3.13"])
def test_an_old_python_is_named_and_what_to_do(checkout: Path, newer: str | None) -> None:
    put(checkout / "bin/python3", version="3.9.2")
    if newer:
        put(checkout / "bin" / newer, version="3.13.0")
    done = make_demo(checkout)
    assert done.returncode == 2
    assert "error: python3 is Python 3.9.2, and 3.11 or newer is needed\nhint: make PYTHON=" in done.stderr
    assert newer is None or f"PYTHON={newer} demo" in done.stderr
    assert not (checkout / ".venv").exists()


def test_no_python_is_told(checkout: Path) -> None:
    done = make_demo(checkout, "PYTHON=python3.99")
    assert done.returncode == 2
    assert "error: there is no python3.99\nhint: install Python 3.11 or newer" in done.stderr


def test_a_missing_venv_module_is_told_with_the_package_that_has_it(checkout: Path) -> None:
    put(checkout / "bin/python3", venv=False)
    done = make_demo(checkout)
    assert done.returncode == 2
    assert "error: python3 has no venv module\nhint: on Debian and Ubuntu: apt install python3-venv" in done.stderr


@pytest.mark.parametrize("broken", ["gone", "moved", "old", "empty"])
def test_a_broken_environment_is_made_anew(checkout: Path, broken: str) -> None:
    """Its Python was removed, or belongs to a folder that was moved, or is too old; or it is half made."""
    put(checkout / "bin/python3")
    assert make_demo(checkout).returncode == 0
    python = checkout / ".venv/bin/python"
    (checkout / ".venv/left-over").touch()
    python.unlink()
    if broken == "gone":
        python.symlink_to("/nowhere/python3")
    elif broken == "moved":
        python.write_text("#!/nowhere/python\n")
        python.chmod(0o755)
    elif broken == "old":
        put(python, version="3.9.2")
        (checkout / ".venv/.run").unlink()
    done = make_demo(checkout)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "the demo ran"), done.stderr
    assert ".venv does not work: it is made anew" in done.stdout
    assert not (checkout / ".venv/left-over").exists()
