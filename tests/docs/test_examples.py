"""Every code block of the README and of the documentation runs, against the sandbox."""

from __future__ import annotations

import ast
import contextlib
import json
import logging
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from stackone_lms import SyncClient
from stackone_lms.api.operations import operations
from stackone_lms.batches import connect
from stackone_lms.sandbox import Sandbox

from ..cli.program import program
from ..export import s3
from .table import ROWS, call_each_line

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(?P<language>[\w{}-]*)(?P<mark>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
STORES = ROOT / "docs/guide/object-stores.md"
"""The page that needs a store."""
RUN = {"python", "console"}
SHOWN = {
    "text",
    "toml",
    "json",
    "",
    "{toctree}",
    "{eval-rst}",
    "{literalinclude}",
    "{include}",
    "ini",
}  # nothing to run


class Block(NamedTuple):
    language: str
    code: str
    line: int
    mark: str
    """`fragment`: it does not run; `cell`: it is one of a notebook."""

    @property
    def script(self) -> bool:
        return not self.mark


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(m["language"], m["code"], text.count("\n", 0, m.start()) + 2, m["mark"].strip())
        for m in FENCE.finditer(text)
    ]


def test_only_known_languages_are_used() -> None:
    """A block in a language that nobody runs would escape the tests."""
    found = {(page.name, block.language) for page in PAGES for block in blocks(page)}
    assert {language for _, language in found} <= RUN | SHOWN, found


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    monkeypatch.setattr(connect, "_clients", {})  # those of a process outlive the server of a page
    monkeypatch.setattr(logging.getLogger("stackone_lms"), "handlers", [])  # blocks add some, as programs do
    with contextlib.ExitStack() as stack:
        # Some pages of each list: examples stop within the assignments and go on.
        small = Sandbox.in_thread(users=60, courses=30, contents=60, assignments=200, completions=200)
        running = stack.enter_context(small)
        if getattr(request.node, "callspec", None) and request.node.callspec.params.get("page") == STORES:
            for name, value in stack.enter_context(s3.running()).environment.items():
                monkeypatch.setenv(name, value)
        monkeypatch.setenv("STACKONE_API_KEY", running.api_key)
        monkeypatch.setenv("STACKONE_ACCOUNT_ID", running.account_ids[0])
        monkeypatch.setenv("STACKONE_BASE_URL", running.url)
        # The limit of a real API would have the exports wait for minutes, all pages together.
        monkeypatch.setenv("STACKONE_REQUESTS_PER_MINUTE", "1000000")
        for number, account in enumerate(running.account_ids):
            monkeypatch.setenv(f"ACCOUNT_{'ABC'[number]}", account)
        monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "dlt"))
        monkeypatch.chdir(tmp_path)
        yield running


def python_blocks(page: Path) -> list[Block]:
    found = [block for block in blocks(page) if block.language == "python"]
    assert found or not re.search(r"^```py", page.read_text(), re.MULTILINE)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_blocks_are_scripts(page: Path, sandbox: Sandbox) -> None:
    """Each Python block runs as it stands, as a script: with its own imports, and no name of the block above it.

    Those of a page run in one folder, so that one may read the files that another, or a command, has made.
    """
    for block in python_blocks(page):
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT if block.mark == "cell" else 0
        compiled = compile("\n" * (block.line - 1) + block.code, str(page), "exec", flags)
        if block.script:
            exec(compiled, {"__name__": "__main__"})


@pytest.mark.thorough
@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_blocks_run_in_a_process_each(page: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    """The same with an interpreter for each, as a reader starts them."""
    for block in python_blocks(page):
        script = tmp_path / f"line_{block.line}.py"
        script.write_text(block.code, "utf-8")
        if block.script:
            done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, f"{page}:{block.line}\n{done.stderr}"


CELLS = [page for page in PAGES if any(block.mark == "cell" for block in blocks(page))]
SHELL = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell()
for cell in json.load(sys.stdin):
    shell.run_cell(cell).raise_error()
"""


def test_marks_are_known() -> None:
    assert {block.mark for page in PAGES for block in python_blocks(page)} <= {"", "fragment", "cell"}
    assert [page.name for page in CELLS] == ["jupyter.md"]


@pytest.mark.thorough
@pytest.mark.parametrize("page", CELLS, ids=lambda p: str(p.relative_to(ROOT)))
def test_cells_of_a_page_run_one_after_the_other_in_a_notebook(page: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    cells = json.dumps([block.code for block in python_blocks(page) if block.mark == "cell"])
    env = {**os.environ, "IPYTHONDIR": str(tmp_path / "ipython")}
    command = [sys.executable, "-c", SHELL]
    done = subprocess.run(command, input=cells, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40 users, 0 failed" in done.stdout


def test_few_blocks_are_fragments() -> None:
    """A block that is no whole script is marked ```python fragment, and at most one in ten is."""
    found = [block for page in PAGES for block in python_blocks(page)]
    assert sum(block.mark == "fragment" for block in found) * 10 <= len(found)


def commands() -> list[tuple[Path, str, int]]:
    found: list[tuple[Path, str, int]] = []
    for page in PAGES:
        for block in blocks(page):
            if block.language == "console":
                lines = block.code.replace("\\\n", " ").splitlines()
                found += [(page, line.partition("#")[0].strip(), block.line) for line in lines if line.strip()]
    return [(page, command, line) for page, command, line in found if command]


COMMANDS = commands()
OURS = [c for c in COMMANDS if c[1].startswith("stackone-lms ")]


def test_other_commands_are_known() -> None:
    """What is not our own program is an install line, or a target of the Makefile."""
    makefile = (ROOT / "Makefile").read_text()
    for page, command, line in COMMANDS:
        words = shlex.split(command)
        if words[0] == "make":
            assert f"\n{words[1]}:" in makefile, (page.name, line, command)
        elif words[0] not in {"stackone-lms", "pip", "export"}:
            pytest.fail(f"{page.name}:{line}: nobody runs {command!r}")


def test_benchmarks_that_the_pages_name_are_there() -> None:
    """A figure stands beside the command that prints it."""
    found = {
        (page, module) for page in PAGES for module in re.findall(r"python -m benchmarks\.(\w+)", page.read_text())
    }
    assert len(found) >= 8
    for page, module in found:
        assert (ROOT / f"benchmarks/{module}.py").exists(), (page.name, module)


@pytest.mark.parametrize("page", sorted({page for page, *_ in OURS}), ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_run(page: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    """The commands of our program on a page end with 0, one after the other in one folder."""
    for line in (command for where, command, _ in OURS if where == page):
        for name in ("ACCOUNT_A", "ACCOUNT_B", "ACCOUNT_C"):
            line = line.replace(f"${name}", os.environ[name])  # noqa: PLW2901
        words = shlex.split(line.replace("COMPLETION_ID", sandbox.ids("completions")[0]))
        if words[1] == "sandbox":
            words.append("--help")  # it would run until it is interrupted
        done = program(*words[1:], env=dict(os.environ))
        assert done.code == 0, f"{line}\n{done.out}\n{done.err}"


def test_a_page_says_what_its_account_ids_are() -> None:
    """The tests set these variables; a reader has to be told, before the first block that needs one."""
    include = re.compile(r"^```{literalinclude} (.+)$", re.MULTILINE)
    using = 0
    for page in PAGES:
        text = include.sub(lambda m: (page.parent / m[1]).read_text("utf-8"), page.read_text("utf-8"))  # noqa: B023
        for name in ("ACCOUNT_A", "ACCOUNT_B", "ACCOUNT_C"):
            first = re.search(rf"\${name}|environ\[[\"']{name}|[\"']{name}[\"']", text)
            if first:
                using += 1
                told = text.find(f"\nexport {name}=")
                assert 0 <= told < first.start(), (page.name, name)
                assert text.find("\nstackone-lms accounts --output ids") in range(told), page.name
    assert using >= 10


def test_the_table_of_operations_is_complete() -> None:
    """Every operation has a line, and those that left the API carry the mark."""
    assert {(id, removed) for id, removed, _ in ROWS} == {(o.id, o.removed is not None) for _, _, o in operations()}
    assert len(ROWS) == len(operations())


def test_each_line_of_the_table_does_its_operation(sandbox: Sandbox) -> None:
    """The code of each line runs, and it is the operation of that line that the server gets."""
    with SyncClient() as client:
        assert len(call_each_line(client, sandbox)) == 28
