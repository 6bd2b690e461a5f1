"""The package: what the sdist holds, what the wheel says of itself, and what the Dockerfile installs."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
import tarfile
import tomllib
from email import message_from_string
from operator import attrgetter
from pathlib import Path
from zipfile import ZipFile

import pytest

from stackone_lms import __version__
from stackone_lms.export import _RENAMED as FORMER_OPTIONS  # pyright: ignore[reportPrivateUsage]

from ..matrix.test_matrix import PYTHONS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
BOUNDED = (
    "tests/unit/test_layers.py",
    "tests/unit/test_operation.py",
    "tests/contract/test_models.py",
    "tests/docs/test_make.py",
)
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")


def build(kind: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.iterdir()
    return built


def test_the_wheel_says_what_it_is(tmp_path: Path) -> None:
    with ZipFile(build("wheel", tmp_path)) as wheel:
        names = wheel.namelist()
        about = message_from_string(wheel.read(next(n for n in names if n.endswith("/METADATA"))).decode())
    assert "stackone_lms/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"stackone_lms"}
    assert {f"stackone_lms/export/report/page.{kind}" for kind in ("css", "html", "js")} <= set(names)
    assert about["License-Expression"] == "MIT"
    assert about.get_all("License-File") == PROJECT["license-files"]
    assert about["Requires-Python"] == ">=3.11"
    urls = dict(line.split(", ", 1) for line in about.get_all("Project-URL") or [])
    assert urls.keys() == {"Homepage", "Documentation", "Changelog", "Issues", "Source"}
    assert about["Keywords"]
    assert set(about.get_all("Provides-Extra") or []) == set(PROJECT["optional-dependencies"])
    assert about["Description-Content-Type"] == "text/markdown"


def test_classifiers_name_pythons_that_the_tests_are_run_on() -> None:
    """The oldest of them is what the package asks for."""
    named = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", c)]
    assert PROJECT["requires-python"] == f">={named[0]}"
    assert set(named) <= set(PYTHONS)


def test_names_that_work_for_one_release_more_are_in_the_notes_on_upgrading() -> None:
    notes = (ROOT / "UPGRADING.md").read_text("utf-8")
    former = set(FORMER_OPTIONS)
    source = (ROOT / "stackone_lms/cli/export.py").read_text("utf-8")
    former |= set(re.findall(r'typer\.Option\("--([\w-]+)", hidden=True', source))
    former -= {"updated_after", "filter"}  # the names that lists have
    assert len(former) == 4
    for name in former:
        assert re.search(rf"`(--)?{name}=?` \|", notes), name


def test_the_changelog_begins_with_what_is_unreleased_and_the_version_that_this_is() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert versions[0] == "[Unreleased]"
    dated = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - 20\d\d-\d\d-\d\d", version) for version in versions[1:]]
    assert [one[1] if one else None for one in dated] == [__version__, "0.1.0"]
    for section in text.split("\n## ")[1:]:
        groups = re.findall(r"^### (.+)$", section, re.MULTILINE)
        assert groups == [group for group in ("Added", "Changed", "Removed", "Fixed") if group in groups]


def test_the_notes_on_upgrading_are_about_this_version_and_name_what_there_is() -> None:
    """Of a renamed Python name the new one is there; the former one is gone, or works for one release more."""
    notes = (ROOT / "UPGRADING.md").read_text("utf-8")
    assert re.findall(r"^## To (.+)$", notes, re.MULTILINE)[0] == __version__
    gone = notes.partition("### Names that were removed")[2].partition("###")[0]
    where, checked = "", 0
    for line in gone.splitlines()[4:]:
        if not line:
            continue
        first, old, new = (cell.strip() for cell in line.split("|")[1:4])
        where = re.findall(r"stackone_lms[\w.]*", first)[-1] if "stackone_lms" in first else where if not first else ""
        if where:
            module = importlib.import_module(where)
            for name in re.findall(r"`([A-Z][\w.]*)", new):
                assert attrgetter(name)(module) is not None, line
                checked += 1
            for name in re.findall(r"`([A-Z][\w.]*)", old):
                with pytest.raises(AttributeError):
                    attrgetter(name)(module)
    assert checked >= 7


@pytest.mark.thorough
@pytest.mark.timeout(600)
def test_the_sdist_has_what_its_tests_need(tmp_path: Path) -> None:
    """Unpacked elsewhere it collects all tests, and some that read other files of it pass."""
    with tarfile.open(build("sdist", tmp_path / "built")) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.glob("stackone_lms-*")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    for name in tracked.stdout.split() if tracked.returncode == 0 else []:
        assert (folder / name).is_file(), name
    env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    env["PYTHONPATH"] = str(folder)
    for arguments in (["--collect-only", "-q"], ["-q", *BOUNDED]):
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=250, check=False)
        assert done.returncode == 0, done.stdout[-3000:]


def test_the_image_installs_extras_that_are_there_from_files_that_it_is_given() -> None:
    (extras,) = re.findall(r"pip install --no-cache-dir '\.\[([\w,-]+)\]'", DOCKERFILE)
    assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys()
    copied = [
        name for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()
    ]
    for name in ("pyproject.toml", PROJECT["readme"], *PROJECT["license-files"], "stackone_lms"):
        assert {name, name.partition("/")[0]} & set(copied), name
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")]
    assert sorted(allowed) == sorted(copied)
    assert all((ROOT / name).exists() for name in copied)


def test_the_image_runs_the_program_as_nobody_in_particular() -> None:
    lines = DOCKERFILE.splitlines()
    (entry,) = (line for line in lines if line.startswith("ENTRYPOINT "))
    assert shlex.split(entry)[1] == "[stackone-lms]"
    assert "stackone-lms" in PROJECT["scripts"]
    (user,) = (line.split()[1] for line in lines if line.startswith("USER "))
    assert user != "root"
    assert f" {user} " in DOCKERFILE.partition("USER")[0]
    assert all(line.split()[1].endswith("-slim") for line in lines if line.startswith("FROM "))
    (python,) = re.findall(r"^ARG PYTHON=(.+)$", DOCKERFILE, re.MULTILINE)
    assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]
