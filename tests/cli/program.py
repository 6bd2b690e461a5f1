"""Running the program: as people do, and inside of the test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import pytest

from stackone_lms.sandbox import Sandbox

from . import warm

MODULE = (sys.executable, "-W", "error", "-m", "stackone_lms.cli")
LONGEST = 100.0

Environment = dict[str, str]


def environment(**variables: str) -> Environment:
    """Return this process's environment without what could change the program's behaviour, and with `variables`."""
    # Debugging, asyncio tells of every slow step on stderr.
    ours = ("STACKONE_", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM", "HTTP", "http", "PYTHONASYNCIODEBUG")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"TERM": "xterm", "PYTHONUTF8": "1", **variables}


def settings(sandbox: Sandbox) -> Environment:
    """Return the variables that lead to a sandbox."""
    return {
        "STACKONE_BASE_URL": sandbox.url,
        "STACKONE_API_KEY": sandbox.api_key,
        "STACKONE_ACCOUNT_ID": sandbox.account_ids[0],
    }


class Ended(NamedTuple):
    """How the program ended."""

    code: int
    out: str
    err: str


def program(*arguments: str, env: Environment, command: Sequence[str] = MODULE, given: bytes = b"") -> Ended:
    """Run the program in a process of its own, without a terminal; by another command than MODULE it begins cold.

    Args:
        arguments: What follows the program's name.
        env: The whole environment.
        command: What runs the program.
        given: What it reads from stdin.
    """
    if command is MODULE:
        with start(*arguments, env=env, given=given) as process:
            out, err = process.communicate(timeout=LONGEST)
        assert process.returncode is not None
        return Ended(process.returncode, out, err)
    done = subprocess.run(
        [*command, *arguments], env=env, input=given, capture_output=True, timeout=LONGEST, check=False
    )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


Running = subprocess.Popen[str] | warm.WarmProgram


def start(*arguments: str, env: Environment, given: bytes = b"") -> Running:
    """Start the program, so that Ctrl-C reaches it even where this process ignores it; as `program`."""
    if warm.possible:
        return warm.run(arguments, env=env, given=given)
    with TemporaryFile() as file:
        file.write(given)
        file.seek(0)
        return subprocess.Popen(
            [sys.executable, *MODULE[1:], *arguments],
            env=env,
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )


Run = Callable[..., Ended]


def runner(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variables: Environment) -> Run:
    """Return a function that runs the program inside of the test, without a terminal."""
    of_program = environment(**variables)  # made from what there is, so before that goes
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name, value in of_program.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str, **more: Any) -> Ended:
        from stackone_lms.cli.app import run

        for name, value in more.items():
            monkeypatch.setenv(name, value)
        code = run(arguments)
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run
