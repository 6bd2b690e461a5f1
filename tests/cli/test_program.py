"""The program as a whole: what it needs, what it says of itself, and how it is interrupted."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from stackone_lms import __version__
from stackone_lms.sandbox import Sandbox

from ..soak import further
from .canned import canned
from .program import LONGEST, MODULE, Environment, Run, environment, program, settings, start


def python(code: str) -> list[str]:
    return [sys.executable, "-W", "error", "-c", code]


@pytest.mark.parametrize("missing", ["typer", *further("rich")])
def test_without_the_extra_it_says_what_to_install(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None\nfrom stackone_lms.cli import main\nsys.exit(main())"
    ended = program("demo", env=environment(), command=python(code))
    assert ended == (2, "", f"stackone-lms needs {missing}: pip install 'stackone-lms[cli]'\n")


def test_another_missing_module_is_not_taken_for_the_extra() -> None:
    code = "import sys; sys.modules['msgspec'] = None\nfrom stackone_lms.cli import main\nsys.exit(main())"
    ended = program("--version", env=environment(), command=python(code))
    assert ended.code == 1
    assert "msgspec" in ended.err
    assert "pip install" not in ended.err


def test_importing_the_package_needs_neither_the_extra_nor_aiohttp() -> None:
    code = (
        "import sys, stackone_lms.cli, stackone_lms\n"
        "print([name for name in ('typer', 'rich', 'aiohttp') if name in sys.modules])"
    )
    assert program(env=environment(), command=python(code)).out == "[]\n"


@pytest.mark.parametrize("arguments", [["--help"], *further(["--version"], ["list", "--help"])])
def test_help_loads_no_client(arguments: list[str]) -> None:
    """So that it comes at once."""
    code = (
        f"import sys; sys.argv[1:] = {arguments!r}\n"
        "from stackone_lms.cli import main\n"
        "code = main()\n"
        "heavy = ('aiohttp', 'stackone_lms.client', 'stackone_lms.models', 'stackone_lms.sandbox')\n"
        "print(code, [name for name in heavy if name in sys.modules])"
    )
    ended = program(env=environment(), command=python(code))
    assert ended.out.splitlines()[-1] == "0 []", ended.err


def test_version() -> None:
    """With the environment: what a report of a problem needs."""
    ended = program("--version", env=environment())
    own, python, where, packages = ended.out.splitlines()
    assert (ended.code, ended.err, own) == (0, "", f"stackone-lms {__version__}")
    assert python.startswith(f"{platform.python_implementation()} {platform.python_version()} on ")
    assert where == f"at {sys.executable}"
    assert f"aiohttp {metadata.version('aiohttp')}, msgspec {metadata.version('msgspec')}, " in packages


def test_the_package_itself_can_be_run() -> None:
    command = (sys.executable, "-W", "error", "-m", "stackone_lms")
    assert program("--version", env=environment(), command=command).out.startswith(f"stackone-lms {__version__}\n")


def test_help_names_all_commands_and_exit_codes(run_alone: Run) -> None:
    ended = run_alone("--help")
    assert ended.code == 0
    for word in ("demo", "sandbox", "get", "list", "upsert", "delete", "batch-upsert", "operations", "130 interrupted"):
        assert word in ended.out


def test_help_shows_brackets_as_they_are(run_alone: Run) -> None:
    """They are markup to rich."""
    assert "--proxy 'filter[eq][age]=25'" in run_alone("get", "--help", COLUMNS="120").out


def test_help_says_where_the_key_belongs(run_alone: Run) -> None:
    shown = " ".join(run_alone("get", "--help", COLUMNS="200").out.split())
    assert "Prefer STACKONE_API_KEY" in shown


@pytest.mark.parametrize("arguments", [[], ["fly"], ["--fly"], ["get"]])
def test_wrong_command_lines_exit_2(run_alone: Run, arguments: list[str]) -> None:
    ended = run_alone(*arguments)
    assert ended.code == 2
    assert ended.out + ended.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--profile", "x", "doctor"], "options stand behind the command: stackone-lms COMMAND --profile ..."),
        (["--nope", "list", "users"], "stackone-lms --help shows what is allowed"),
    ],
)
def test_an_option_before_its_command_is_led_there(run_alone: Run, arguments: list[str], told: str) -> None:
    assert run_alone(*arguments).err.splitlines() == [f"error: No such option: {arguments[0]}", f"hint: {told}"]


@pytest.mark.parametrize("form", ["jsonl", *further("json", "table")])
def test_a_closed_pipe_ends_it_quietly(env: Environment, form: str) -> None:
    """As behind `| head -1`: far more is written than a pipe holds."""
    with Sandbox.in_thread(completions=3000, users=5, courses=2, contents=2, assignments=2) as sandbox:
        shell = f'"$@" list completions --all --page-size 100 --output {form} | head -1; echo "${{PIPESTATUS[@]}}"'
        ended = program(env={**env, **settings(sandbox)}, command=["bash", "-c", shell, "bash", *MODULE])
        assert sandbox.request_count < 30
    lines = ended.out.splitlines()
    assert lines[-1] == "0 0"
    assert len(lines) == 2
    assert "Traceback" not in ended.err
    assert "Broken" not in ended.err


@pytest.mark.parametrize("arguments", ["--help", *further("--version", "operations", "list --help")])
def test_a_reader_that_never_reads_is_fine(arguments: str) -> None:
    shell = f'{{ sleep 0.1; "$@" {arguments}; echo "$?" >&2; }} | true'
    ended = program(env=environment(), command=["bash", "-c", shell, "bash", *MODULE])
    assert ended.err == "0\n"


def test_a_closed_stdout_is_a_failure_in_one_line() -> None:
    ended = program(env=environment(), command=["bash", "-c", '"$@" operations >&-', "bash", *MODULE])
    assert ended == (1, "", "error: stdout is closed, so there is nowhere to write to\n")


def test_ctrl_c_while_it_starts_exits_130(monkeypatch: pytest.MonkeyPatch) -> None:
    from stackone_lms.cli import app, main

    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "run", interrupted)
    assert main() == 130


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full disk")
@pytest.mark.parametrize("unbuffered", ["", *further("1")])
def test_a_full_disk_is_a_failure_in_one_line(env: Environment, unbuffered: str) -> None:
    """Also where the interpreter still has something in its buffer, which it writes once more at its end."""
    env = {**env, "PYTHONUNBUFFERED": unbuffered}
    ended = program(env=env, command=["bash", "-c", '"$@" operations > /dev/full', "bash", *MODULE])
    assert ended.code == 1
    assert ended.err.startswith("error: OSError: ")
    assert len(ended.err.splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_during_a_get_exits_130() -> None:
    with canned(stall=True) as url:
        env = environment(STACKONE_BASE_URL=url, STACKONE_API_KEY="k", STACKONE_ACCOUNT_ID="a")
        process = start("get", "courses", "1", env=env)
        url.wait_for(1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LONGEST)
    assert (process.returncode, out) == (130, "")
    assert err == "interrupted\n"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_during_a_list_tells_where_to_go_on() -> None:
    with canned(b'{"data":[{"id":"1"}],"next":"further"}', stall=True) as url:
        env = environment(STACKONE_BASE_URL=url, STACKONE_API_KEY="k", STACKONE_ACCOUNT_ID="a")
        process = start("list", "courses", "--all", env=env)
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"id": "1"}
        url.wait_for(2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LONGEST)
    assert (process.returncode, out) == (130, "")
    assert err == "1 item so far: --next further\ninterrupted\n"


@pytest.mark.thorough
def test_output_is_utf_8_in_any_locale(env: Environment, sandbox: Sandbox) -> None:
    user = next(id for id in sandbox.ids("users") if not str(sandbox.record("users", id)["name"]).isascii())
    ascii_only = {**env, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [*MODULE, "get", "users", user], env=ascii_only, capture_output=True, timeout=LONGEST, check=True
    )
    assert json.loads(done.stdout.decode("utf-8"))["data"]["name"] == sandbox.record("users", user)["name"]
    table = program("get", "users", user, "--output", "table", env=ascii_only)
    assert table.code == 0
    assert "\\x" in table.out


def test_it_runs_as_installed(env: Environment) -> None:
    """The entry point is what pyproject names: `stackone_lms.cli:main`."""
    import tomllib

    document = Path(__file__).parents[2] / "pyproject.toml"
    if not document.exists():
        pytest.skip("runs in the source tree only")
    scripts = tomllib.loads(document.read_text("utf-8"))["project"]["scripts"]
    module, _, function = scripts["stackone-lms"].partition(":")
    code = f"import sys, {module}\nsys.exit({module}.{function}())"
    ended = program("operations", "--output", "jsonl", env=env, command=python(code))
    assert ended.code == 0
    assert ended.out.count(os.linesep) == 28
