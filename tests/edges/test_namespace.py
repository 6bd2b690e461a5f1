"""With a name server and a link of our own, in a network namespace."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@cache
def entering() -> list[str]:
    """Return the command that runs another in a network of its own; skips where the system has none."""
    program = shutil.which("unshare")
    if program is None:
        pytest.skip("there is no unshare here")
    for options in (["--net", "--mount"], ["--user", "--map-root-user", "--net", "--mount"]):
        command = [program, *options]
        if subprocess.run([*command, "true"], capture_output=True, check=False, timeout=60).returncode == 0:
            return command
    pytest.skip("namespaces are not allowed here")


def within(what: str, tmp_path: Path) -> list[str]:
    """Run a part of `namespace.py`, and return the lines that it printed."""
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:30 attempts:1\n")
    if Path("/etc/nsswitch.conf").exists():
        (tmp_path / "nsswitch.conf").write_text("hosts: files dns\n")
    done = subprocess.run(
        [*entering(), sys.executable, "-m", "tests.edges.namespace", what, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    if done.returncode == 77:
        pytest.skip("nothing can be mounted here")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_name_server(tmp_path: Path) -> None:
    found = json.loads(within("names", tmp_path)[0])
    assert found["api.test"] == found["again"] == "ok 1"
    assert found["two.test"] == "ok 1"  # nothing listens at the first of its addresses
    assert found["failing.test"] == "ok 2"
    assert found["none.test"] == "ConnectError 1: users.get: the name none.test does not resolve"
    assert found["silent.test"].startswith("APITimeoutError 3: users.get: no connection was made in time")
    assert found["asked"] == 2  # once for each kind of address: the second call has a connection


@pytest.mark.thorough
def test_work_that_goes_on_after_the_main_thread_has_ended_finds_names(tmp_path: Path) -> None:
    assert within("late", tmp_path) == ['"done"'] * 10


@pytest.mark.thorough
@pytest.mark.skipif(not os.access("/dev/net/tun", os.R_OK | os.W_OK), reason="there is no /dev/net/tun here")
def test_a_link_that_loses_packets_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Eight in a hundred, and an answer has a second: requests are repeated, writes are not."""
    found = json.loads(within("lossy", tmp_path)[0])
    assert found.pop("told") > 50
    assert found == {"missing": [], "doubled": 0, "created twice": [], "told but not created": [], "lost": True}
