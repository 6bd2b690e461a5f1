"""Every code block of the README and of the documentation runs, against the sandbox."""

from __future__ import annotations

import ast
import asyncio
import inspect
import logging
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from stackone_lms import SyncClient
from stackone_lms.api.operations import operations
from stackone_lms.batches import connect
from stackone_lms.sandbox import Sandbox

from ..cli.program import program
from .table import ROWS, call_each_line

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(?P<language>[\w{}-]*)[^\n]*\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
RUN = {"python", "console"}
SHOWN = {"text", "toml", "json", "", "{toctree}", "{eval-rst}", "{literalinclude}", "ini"}  # nothing to run


class Block(NamedTuple):
    language: str
    code: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [Block(m["language"], m["code"], text.count("\n", 0, m.start()) + 2) for m in FENCE.finditer(text)]


def test_only_known_languages_are_used() -> None:
    """A block in a language that nobody runs would escape the tests."""
    found = {(page.name, block.language) for page in PAGES for block in blocks(page)}
    assert {language for _, language in found} <= RUN | SHOWN, found


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sandbox]:
    monkeypatch.setattr(connect, "_clients", {})  # those of a process outlive the server of a page
    monkeypatch.setattr(logging.getLogger("stackone_lms"), "handlers", [])  # blocks add some, as programs do
    with Sandbox.in_thread() as running:
        monkeypatch.setenv("STACKONE_API_KEY", running.api_key)
        monkeypatch.setenv("STACKONE_ACCOUNT_ID", running.account_ids[0])
        monkeypatch.setenv("STACKONE_BASE_URL", running.url)
        for number, account in enumerate(running.account_ids):
            monkeypatch.setenv(f"ACCOUNT_{'ABC'[number]}", account)
        monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "dlt"))
        monkeypatch.chdir(tmp_path)
        yield running


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_blocks_run(page: Path, sandbox: Sandbox) -> None:
    """The Python blocks of a page run one after the other, as one program."""
    code = [block for block in blocks(page) if block.language == "python"]
    if not code:
        assert not re.search(r"^```py", page.read_text(), re.MULTILINE)
        return
    namespace: dict[str, object] = {"__name__": "__main__"}
    with asyncio.Runner() as runner:
        for block in code:
            padded = "\n" * (block.line - 1) + block.code
            compiled = compile(padded, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            if compiled.co_flags & inspect.CO_COROUTINE:
                runner.run(eval(compiled, namespace))
            else:
                exec(compiled, namespace)


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


@pytest.mark.parametrize("command", OURS, ids=lambda c: f"{c[0].name}:{c[2]}")
def test_commands_run(command: tuple[Path, str, int], sandbox: Sandbox, tmp_path: Path) -> None:
    """Each command line of our program does what the page says: it ends with 0."""
    line = command[1]
    for name in ("ACCOUNT_A", "ACCOUNT_B", "ACCOUNT_C"):
        line = line.replace(f"${name}", os.environ[name])
    if " COMPLETION_ID" in line:
        line = line.replace("COMPLETION_ID", sandbox.ids("completions")[0])
    words = shlex.split(line)
    if words[1] == "sandbox":
        words.append("--help")  # it would run until it is interrupted
    done = program(*words[1:], env=dict(os.environ))
    assert done.code == 0, f"{line}\n{done.out}\n{done.err}"


def test_the_table_of_operations_is_complete() -> None:
    """Every operation has a line, and those that left the API carry the mark."""
    assert {(id, removed) for id, removed, _ in ROWS} == {(o.id, o.removed is not None) for _, _, o in operations()}
    assert len(ROWS) == len(operations())


def test_each_line_of_the_table_does_its_operation(sandbox: Sandbox) -> None:
    """The code of each line runs, and it is the operation of that line that the server gets."""
    with SyncClient() as client:
        assert len(call_each_line(client, sandbox)) == 28
