"""`stackone-lms demo`."""

from __future__ import annotations

import re
import shlex
import signal
import sys
from pathlib import Path

import pytest

from stackone_lms.cli import tour

from .program import LONGEST, MODULE, environment, program, start
from .terminal import on_terminal, plain


def test_shows_everything_and_ends_well_without_a_terminal(tmp_path: Path) -> None:
    """Warnings are errors in this run, nothing is coloured, and settings of one's own are neither used nor needed."""
    env = environment(STACKONE_API_KEY="mine", STACKONE_ACCOUNT_ID="mine", STACKONE_BASE_URL="https://stackone.invalid")
    ended = program("demo", env=env | {"TMPDIR": str(tmp_path)})
    assert ended.code == 0, ended.err
    assert [line[:2] for line in ended.out.splitlines() if re.match(r"\d\. ", line)] == [f"{n}." for n in range(1, 9)]
    assert "\x1b" not in ended.out + ended.err
    for shown in (
        "raw=true fields=id,",
        "proxy[filter][eq][age]=25",
        "CompletionResult with data: Completion",
        "completed_at  datetime.datetime(20",
        "the provider was asked: GET",
        "equal to the one above",
        "= 200 users",
        "empty and passed over",
        "rate_limit=None",
        "fetched         5000 completions in ",
        " s, 0 failed",
        " completions a second",
        "NotFoundError: status 404",
        "status 200 at attempt 2, 1.",
        "exported        5,840 records in ",
        "Which three courses are completed most",
        "stackone_lms configure",
    ):
        assert shown in ended.out
    assert len(re.findall(r"^   (?:answer)? +\D.*: \d+ completions, \d+ %", ended.out, re.MULTILINE)) == 3
    assert re.fullmatch(r"   5000 of 5000, [\d,]+/s, 0 throttled, 0 retries", ended.err.splitlines()[-1])
    (folder,) = tmp_path.glob("lms-demo-*")
    assert (folder / "report.html").is_file()
    assert f"{folder / 'report.html'}\n" in ended.out
    paths = (line for line in ended.out.splitlines() if str(tmp_path) not in line)
    assert max(map(len, paths)) <= 80
    next_lines = ended.out.partition("What to do next")[2]
    commands = re.findall(r"^ {3}(?:.{16})?(\S+ -m stackone_lms .+)$", next_lines, re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        words = shlex.split(command)
        if words[3] == "export":
            assert program(*words[3:], env=environment()).code == 0
        elif words[3] != "--help":
            assert program(*words[3:], "--help", env=environment()).code == 0


@pytest.mark.parametrize(
    ("started", "folder", "shown"),
    [
        ("stackone-lms", "elsewhere", "stackone-lms"),
        ("checkout/.venv/bin/stackone-lms", "checkout", ".venv/bin/stackone-lms"),
        ("checkout/.venv/bin/stackone-lms", "elsewhere", "{}/checkout/.venv/bin/stackone-lms"),
        ("python -m", "elsewhere", f"{sys.executable} -m stackone_lms"),
    ],
)
def test_next_lines_work_where_the_demo_was_started(
    started: str, folder: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program is called by its name where that is found, by its path from here, or as a module."""
    on_path, local = tmp_path / "bin/stackone-lms", tmp_path / "checkout/.venv/bin/stackone-lms"
    for file in (on_path, local):
        file.parent.mkdir(parents=True)
        file.write_text("#!/bin/sh\n")
        file.chmod(0o755)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("PATH", str(on_path.parent))
    monkeypatch.chdir(tmp_path / folder)
    called = {"stackone-lms": on_path, "python -m": tmp_path / "stackone_lms/__main__.py"}.get(started, local)
    monkeypatch.setattr(sys, "argv", [str(called), "demo"])
    assert tour.program_here() == shown.format(tmp_path)


BAR = """
from stackone_lms.cli.narration import Narration
from stackone_lms.bulk.progress import Progress
show = Narration()
show.step("Bulk")
with show.progress(10) as bar:
    for done in range(1, 11):
        eta = 125.2 if done == 5 else 0.0
        bar(Progress(done=done, failed=0, total=10, retries=3, throttled=2, rate=1234.5, eta=eta))
show.row("fetched", "10")
"""


@pytest.mark.parametrize("there", [(), ("duckdb",), ("pyarrow",), ("duckdb", "pyarrow")])
def test_it_exports_into_duckdb_only_where_all_is_there_that_this_needs(
    there: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tour, "find_spec", there.__contains__)
    assert tour.kind_of_database() == ("duckdb" if len(there) == 2 else "sqlite")


@pytest.mark.parametrize("no_color", [False, True])
def test_a_terminal_gets_a_progress_bar_on_stderr(no_color: bool) -> None:
    """With NO_COLOR there is no bar either: plain lines."""
    env = environment(NO_COLOR="1") if no_color else environment()
    ended = on_terminal(env=env, piped=True, columns=80, command=[sys.executable, "-W", "error", "-c", BAR])
    assert (ended.code, ended.out) == (0, "\n1. Bulk\n   fetched         10\n")
    assert ("\u2501" in ended.err, "\x1b" in ended.err) == (not no_color, not no_color)
    assert ("10/10" in ended.err) == (not no_color)
    assert ("   5 of 10, 1,234/s, 2 throttled, 3 retries, 2:06 left\n" in ended.err) == no_color
    assert ("   10 of 10, 1,234/s, 2 throttled, 3 retries\n" in ended.err) == no_color
    assert "1,234/s, 2 throttled, 3 retries" in plain(ended.err)
    assert all(len(line) <= 80 for line in plain(ended.err).replace("\r", "\n").splitlines())


@pytest.mark.parametrize("no_color", [False, True])
def test_steps_are_coloured_on_a_terminal_only_if_wanted(no_color: bool) -> None:
    env = environment(NO_COLOR="1") if no_color else environment()
    ended = on_terminal(env=env, command=[sys.executable, "-W", "error", "-c", BAR])
    assert "1. Bulk" in plain(ended.out)
    assert ("\x1b[1m" in ended.out) == (not no_color)


@pytest.mark.thorough
def test_a_reader_that_leaves_ends_it_quietly() -> None:
    ended = program(
        env=environment(), command=["bash", "-c", '"$@" demo | head -1; echo "${PIPESTATUS[0]}"', "bash", *MODULE]
    )
    assert ended.out.splitlines()[-1] == "0"
    assert ended.err == ""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_exits_130() -> None:
    process = start("demo", env=environment())
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=LONGEST)
    assert process.returncode == 130
    assert err.endswith("interrupted\n")
    assert "Traceback" not in err
