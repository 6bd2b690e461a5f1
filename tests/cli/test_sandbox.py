"""`stackone-lms sandbox`."""

from __future__ import annotations

import inspect
import json
import shlex
import shutil
import signal
import socket
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import typer

from stackone_lms.cli import sandbox
from stackone_lms.cli.app import app
from stackone_lms.sandbox import Sandbox

from .program import LONGEST, Ended, Environment, Run, Running, environment, program, start

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

SMALL = ("--completions", "30")


class Served:
    """A sandbox that runs in a process of its own."""

    def __init__(self, process: Running) -> None:
        self.process = process
        assert process.stdout is not None
        self.exports = [process.stdout.readline() for _ in range(3)]
        self.env: Environment = {}
        for line in self.exports:
            export, assignment = shlex.split(line)
            name, _, value = assignment.partition("=")
            assert export == "export"
            self.env[name] = value

    def end(self) -> Ended:
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=LONGEST)
        return Ended(self.process.wait(), out, err)


@contextmanager
def serving(*arguments: str) -> Generator[Served]:
    process = start("sandbox", *arguments, env=environment())
    try:
        yield Served(process)
    finally:
        process.kill()
        process.communicate()


def test_sigterm_ends_it_like_ctrl_c() -> None:
    """As the first process of a container, too, where SIGTERM is ignored unless it is taken; exit code 143."""
    with serving(*SMALL) as served:
        served.process.send_signal(signal.SIGTERM)
        _, err = served.process.communicate(timeout=LONGEST)
        assert served.process.returncode == 143
        assert "The sandbox ends after" in err
        assert "Traceback" not in err


@pytest.mark.thorough
def test_of_many_accounts_the_first_are_listed_and_each_is_small() -> None:
    """All of them have room on a laptop."""
    with serving("--accounts", "2000") as served:
        listed = program("list", "completions", "--all", env=environment(**served.env))
        ended = served.end()
    assert listed.out.count("\n") == 50
    assert "account 10 " in ended.err
    assert "account 11 " not in ended.err
    assert "and 1,990 more: stackone-lms accounts" in ended.err


def test_serves_until_ctrl_c_and_prints_what_leads_to_it() -> None:
    """stdout has lines for the shell only; stderr has the rest, with accounts and a curl line."""
    with serving(*SMALL) as served:
        assert set(served.env) == {"STACKONE_BASE_URL", "STACKONE_API_KEY", "STACKONE_ACCOUNT_ID"}
        listed = program("list", "completions", "--all", env=environment(**served.env))
        ended = served.end()
    assert listed.code == 0
    assert listed.out.count("\n") == 30
    assert (ended.code, ended.out) == (130, "")
    assert served.env["STACKONE_BASE_URL"] in ended.err
    assert served.env["STACKONE_API_KEY"] in ended.err
    assert "account 3 " in ended.err
    assert 'curl -u "$STACKONE_API_KEY:" -H "x-account-id: $STACKONE_ACCOUNT_ID"' in ended.err
    assert "ends after" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_curl_line_works() -> None:
    with serving(*SMALL) as served:
        assert served.process.stderr is not None
        line = next(line for line in served.process.stderr if "curl" in line)
        ended = program(env=environment(**served.env), command=["bash", "-c", line[line.index("curl") :]])
    assert len(json.loads(ended.out)["data"]) == 2


def test_takes_port_accounts_seed_latency_and_rate_limit() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ("--port", str(port), "--accounts", "1", "--seed", "7", "--latency", "0.3", "--rate-limit", "1/3600")
    with serving(*SMALL, *options) as served:
        env = environment(**served.env)
        begun = time.monotonic()
        with pytest.raises(HTTPError, match="401") as refused:
            urlopen(served.env["STACKONE_BASE_URL"] + "/unified/lms/users")
        refused.value.close()
        assert time.monotonic() - begun > 0.3
        first = program("list", "users", "--page-size", "1", env=env)
        second = program("list", "users", "--page-size", "1", env=env)
        ended = served.end()
    assert served.env["STACKONE_BASE_URL"] == f"http://127.0.0.1:{port}"
    assert json.loads(first.out)["id"]
    assert second.code == 1
    assert "RateLimitError: users.list: 429" in second.err
    assert "account 1 " in ended.err
    assert "account 2 " not in ended.err


def test_a_port_that_is_taken_is_a_failure_in_a_line(run_alone: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = run_alone("sandbox", *SMALL, "--port", str(taken.getsockname()[1]))
    assert (ended.code, ended.out) == (1, "")
    assert "address already in use" in ended.err.lower()
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    "arguments",
    [["--accounts", "0"], ["--port", "70000"], ["--latency", "-1"], ["--rate-limit", "0/60"], ["--completions", "-1"]],
)
def test_options_that_cannot_be_met_exit_2(run_alone: Run, arguments: list[str]) -> None:
    ended = run_alone("sandbox", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert arguments[0] in ended.err


def test_few_accounts_are_those_of_the_constructor_and_many_hold_less() -> None:
    """The help names the default, which is that of `Sandbox`."""
    whole = {name: parameter.default for name, parameter in inspect.signature(Sandbox).parameters.items()}
    for accounts in (1, 20):
        sizes = sandbox.sizes_of(Sandbox, accounts, None)
        assert sizes == {name: whole[name] for name in sizes}
        assert sandbox.sizes_of(Sandbox, accounts, 7) == {**sizes, "completions": 7}
    assert sandbox.sizes_of(Sandbox, 40, None)["completions"] == whole["completions"] / 2
    assert sandbox.sizes_of(Sandbox, 2000, None)["completions"] == 50
    assert len(sizes) == 5
    program: Any = typer.main.get_command(app)
    option = next(p for p in program.commands["sandbox"].params if p.name == "completions")
    assert f"Default: {whole['completions']};" in option.help
