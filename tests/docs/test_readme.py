"""The README: its links work on a package index, its table of extras and its page of errors are complete."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

from stackone_lms import ExportError, errors
from stackone_lms.export.targets.choose import make_target

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
LINKS = re.findall(r"\]\(([^)]+)\)", README)
NAME = re.compile(r"^[\w.-]+")


def file_of(link: str) -> Path | None:
    """Return the file of the repository that a link of ours is made from."""
    urls = PROJECT["urls"]
    raw = urls["Source"].replace("github.com", "raw.githubusercontent.com")
    for base, folder in ((f"{urls['Source']}/blob/main/", "."), (f"{raw}/main/", "."), (urls["Documentation"], "docs")):
        if link.startswith(base):
            name = link.removeprefix(base).partition("#")[0]
            return ROOT / folder / re.sub(r"\.html$", ".md", name)
    return None


@pytest.mark.parametrize("link", LINKS)
def test_links_and_images_are_absolute_and_lead_to_files_of_ours(link: str) -> None:
    assert link.startswith("https://")
    file = file_of(link)
    assert file is None or file.is_file(), link
    assert file is not None or link == "https://www.stackone.com"


def test_the_order_is_that_of_a_first_reading() -> None:
    """What it is, the demo, ten lines, one's own key, the three jobs, links."""
    headings = re.findall(r"^## (.+)$", README, re.MULTILINE)
    wanted = ["See it run", "Ten lines", "From your key to your first record", "Job 1: in a service"]
    assert headings[:6] == [*wanted, "Job 2: many records", "Job 3: exports"]
    assert headings[-1] == "More"
    assert README.index("stackone-lms demo") < README.index("make demo")


def test_the_table_of_extras_is_that_of_the_package() -> None:
    rows = dict(re.findall(r"^\| `([\w-]+)` \| ([^|]+) \| [^|]*\|$", README, re.MULTILINE))
    assert list(rows) == list(EXTRAS)
    for extra, brings in rows.items():
        if extra != "all":
            assert brings.strip() == (", ".join(NAME.findall(one)[0] for one in EXTRAS[extra]) or "nothing more"), extra


TARGETS = {"duckdb": "duckdb:lms.duckdb", "delta": "delta:lake", "arrow": "lake"}


@pytest.mark.parametrize("extra", TARGETS)
def test_an_extra_brings_all_that_its_target_needs(extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    brought = {NAME.findall(one)[0] for one in EXTRAS[extra]}
    others = {NAME.findall(one)[0] for name in TARGETS for one in EXTRAS[name]} - brought
    for name in others:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.chdir(tmp_path)
    make_target(TARGETS[extra], "parquet").prepare()
    for name in brought:
        with monkeypatch.context() as patch, pytest.raises(ExportError, match="this needs"):
            patch.setitem(sys.modules, name, None)
            make_target(TARGETS[extra], "parquet").prepare()


def test_all_is_every_extra() -> None:
    (whole,) = EXTRAS["all"]
    assert whole == f"stackone-lms[{','.join(extra for extra in EXTRAS if extra != 'all')}]"


def test_the_page_of_errors_has_every_error() -> None:
    page = (ROOT / "docs/guide/errors.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \|.+\| ([^|]+) \|$", page, re.MULTILINE)
    ours = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.StackOneError)]
    kinds = {kind.__name__ for kind in ours if not any(one is not kind and issubclass(one, kind) for one in ours)}
    bases = {"AuthenticationError"}  # which is raised itself, too
    assert sorted(name for name, _ in rows) == sorted(kinds | bases)
    assert all(len(what) > 10 for _, what in rows)
