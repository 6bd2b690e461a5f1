"""`stackone-lms export`, `export verify` and `report`."""

from __future__ import annotations

import io
import json
import re
import shlex
import signal
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

import stackone_lms.client
from stackone_lms import AsyncClient, RateLimit
from stackone_lms.cli import export_display
from stackone_lms.export import ExportProgress, ExportResult, ListOutcome
from stackone_lms.export.state.manifest import SkippedUser
from stackone_lms.sandbox import Sandbox

from ..cli.canned import canned
from ..cli.program import Run, environment, program, runner, settings, start
from ..soak import further
from .datasets import lines, records, sent


@pytest.fixture
def run(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the program with the sandbox as its server, and no account by default."""
    variables = settings(sandbox)
    del variables["STACKONE_ACCOUNT_ID"]
    return runner(monkeypatch, capsys, {**variables, "COLUMNS": "120"})


def test_export_verify_and_report(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    """From accounts to a page: data in the folder, a summary on stderr, nothing on stdout."""
    data, page = tmp_path / "lms", tmp_path / "report.html"
    first, second = sandbox.account_ids
    ended = run("export", "completions", "courses", "--account", first, "--account", second, "--out", str(data))
    assert (ended.code, ended.out) == (0, "")
    assert "676 records in" in ended.err
    assert ended.err.count("complete") >= 4
    assert first in ended.err
    ended = run("export", "verify", str(data))
    assert (ended.code, ended.err) == (0, "4 files, 676 records: all as exported\n")
    ended = run("report", str(data), "--out", str(page))
    assert ended.code == 0
    assert "660 completions" in ended.err
    assert page.stat().st_size > 1_000_000


def test_verify_finds_damage(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    """Exit code 1, and what is wrong."""
    run("export", "users", "--account", sandbox.account_ids[0], "--out", str(tmp_path), "--format", "jsonl")
    (path,) = tmp_path.glob("resource=users/*/*")
    path.write_bytes(b"{}\n")
    ended = run("export", "verify", str(tmp_path))
    assert ended.code == 1
    assert "not as it was written" in ended.err


def test_a_failed_account_makes_exit_code_1(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    """The others are complete; the reason and the id of the request are told, and what to do."""
    file = tmp_path / "accounts.txt"
    file.write_text("\n".join([sandbox.account_ids[0], "", sandbox.inactive_account_id, sandbox.account_ids[1]]))
    data = tmp_path / "lms"
    command = ["export", "users", "--accounts-file", str(file), "--out", str(data), "--format", "jsonl"]
    ended = run(*command)
    assert ended.code == 1
    assert re.search(r"PreconditionFailedError: .*412", ended.err)
    assert "request id 0" in ended.err
    assert "not complete: 1 of 3 lists; the same command fetches what is missing" in ended.err
    assert records(data) == sent(sandbox, "users")
    assert run(*command, "--fields", "name").code == 1, "nothing stands in the way of another command"


def test_options_reach_the_export(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    """Fields, the moment, provider calls, users, page size, and the forms of files."""
    account = sandbox.account_ids[0]
    data = tmp_path / "lms"
    options = ["--account", account, "--out", str(data), "--format", "jsonl", "--raw", "--page-size", "7"]
    user = sandbox.ids("users")[0]
    more = ["--fields", "result,score", "--since", "2024-06-01", "--user", user]
    assert run("export", "users.completions", *options, *more).code == 0
    found = [json.loads(line) for line in lines(data)["users.completions", account]]
    assert found
    assert all(set(one) == {"id", "result", "score", "updated_at", "of_user_id"} for one in found)
    assert {one["of_user_id"] for one in found} == {user}
    assert lines(data)["users.completions.calls", account]
    before = sandbox.request_count
    again = [*options, "--fields", "result,score", "--user", user, "--incremental"]
    assert run("export", "users.completions", *again).code == 0
    assert sandbox.request_count - before == 1


def test_a_database_as_the_target(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    """`--to` instead of `--out`."""
    file = tmp_path / "lms.db"
    assert run("export", "users", "--account", sandbox.account_ids[0], "--to", f"sqlite:{file}").code == 0
    connection = sqlite3.connect(file)
    assert connection.execute("SELECT count(*) FROM users").fetchall() == [(20,)]
    connection.close()


def test_the_account_of_the_environment(
    run: Run, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --account it is STACKONE_ACCOUNT_ID, as with the other commands."""
    monkeypatch.setenv("STACKONE_ACCOUNT_ID", sandbox.account_ids[1])
    assert run("export", "skills", "--out", str(tmp_path), "--format", "csv").code == 0
    (job,) = json.loads((tmp_path / "_manifest.json").read_text())["lists"]
    assert job["account_id"] == sandbox.account_ids[1]


def test_the_limit_of_requests(run: Run, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--rate-limit is the client's, for all accounts together; its former name works too."""
    given: list[Any] = []
    whole = stackone_lms.client.AsyncClient

    def recording(**options: Any) -> Any:
        given.append(options["rate_limit"])
        return whole(**options)

    monkeypatch.setattr(stackone_lms.client, "AsyncClient", recording)
    command = ["export", "skills", "--account", sandbox.account_ids[0], "--out", str(tmp_path), "--format", "csv"]
    assert run(*command, "--max-requests-per-minute", "120").code == 0
    assert run(*command, "--rate-limit", "120").code == 0
    assert run(*command, "--rate-limit", "10/1").code == 0
    assert given == [RateLimit(120), RateLimit(120), RateLimit(10, per=1.0)]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["users", "--account", "a"], "either --out DIR or --to KIND:FILE"),
        (["users", "--account", "a", "--out", "x", "--to", "sqlite:y"], "either --out DIR or --to KIND:FILE"),
        (["users", "--out", "x"], "no account"),
        (["people", "--account", "a", "--out", "x", "--format", "csv"], "no resource 'people'"),
        (["completion", "--account", "a", "--out", "x"], "did you mean completions?"),
        (["users", "--account", "a", "--out", "x", "--format", "xlsx"], "xlsx"),
        (["users", "--account", "a", "--out", "sqlite:x"], "--to sqlite:x"),
        (["users", "--account", "a", "--out", __file__], "is a file"),
        (["users", "--account", "a", "--to", "postgres:x"], "none of duckdb:FILE"),
        (["users", "--account", "a", "--to", "sqlite"], "none of duckdb:FILE"),
        (["users", "--account", "a", "--to", "sqlite:x", "--format", "csv"], "--format"),
        (["users", "--account", " ", "--out", "x"], "an account id is empty"),
        (["users", "--account", "a", "--out", "x", "--since", "2026-01-31", "--incremental"], "exclude each other"),
        (["users", "--account", "a", "--out", "x", "--user", "u"], "lists of users only"),
        (["users", "--account", "a", "--out", "x", "--max-requests-per-minute", "0"], "--max-requests-per-minute"),
        (
            ["users", "--account", "a", "--out", "x", "--since", "soon"],
            "--since: 'soon' is not a day such as 2026-01-31",
        ),
        (["users", "--account", "a", "--out", "x", "--filter", "status=x"], "--since DATE"),
        (["users", "--account", "a", "--out", "x", "--max-failures", "few"], "--max-failures must be a number"),
        (["users", "--account", "a", "--out", "x", "--max-failures", "101%"], "--max-failures must be a number"),
        (["users", "--account", "a", "--out", "x", "--resume-within", "soon"], "span of time"),
        (["users", "--account", "a", "--out", "x", "--full-every", "7d"], "incremental"),
        (["users", "--account", "a", "--out", "s3://bucket/x"], "a target in a store needs work"),
        (["users", "--account", "a", "--to", "duckdb:md:x"], "duckdb: needs a file"),
        (["users", "--account", "a", "--to", "sqlite::memory:"], "sqlite: needs a file"),
        (["users", "--accounts-file", "not-there", "--out", "x"], "--accounts-file: 'not-there' cannot be read"),
        (["users", "--account", "a", "--out", "x", "--page-size", "0"], "--page-size"),
        (["--account", "a", "--out", "x"], "RESOURCE"),
        (["verify"], "TARGET"),
        (["verify", "abfss://bucket/x"], "abfss:// is no target"),
        (["verify", "duckdb:not-there.db"], "not-there.db"),
        (["verify", __file__, "--account", ""], "is empty"),
        (["forget", "x"], "--account"),
        (["forget", "not-there", "--account", "a"], "not-there"),
        (["users", "--account", "a", "--out", "x", "--retry-failed", "--prune"], "exclude each other"),
        (["verify", "not-there"], "not-there"),
    ],
)
def test_wrong_usage(
    arguments: list[str], told: str, run: Run, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2, one line that tells what is wrong, nothing sent and nothing written."""
    monkeypatch.chdir(tmp_path)
    ended = run("export", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err
    assert sandbox.request_count == 0
    assert not list(tmp_path.iterdir())


def test_a_field_that_no_record_has(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    """The API passes over it, so the program tells; those that are known are not named."""
    command = ["export", "completions", "--account", sandbox.account_ids[0], "--out", str(tmp_path)]
    ended = run(*command, "--fields", "id,tile,score.percentage")
    assert ended.code == 0
    assert "misspelt: tile\n" in ended.err


def test_a_user_that_is_not_there(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    """Its list is told of: the user may have been deleted, or misspelt."""
    options = ["--account", sandbox.account_ids[0], "--out", str(tmp_path / "data"), "--user", "not-there"]
    ran = run("export", "users.completions", *options)
    assert ran.code == 0
    assert f"users.completions, account {sandbox.account_ids[0]}" in ran.err
    assert ": 1 of the users not found\n" in ran.err


def test_help_tells_of_verify(run: Run) -> None:
    """Both forms explain themselves."""
    assert "export verify lms" in run("export", "--help").out
    assert "checksum" in run("export", "verify", "--help").out
    assert "--out" in run("report", "--help").out
    assert "Usage: stackone-lms export [OPTIONS] {RESOURCE}..." in run("export", "--help").out
    commands = run("--help").out
    assert commands.index(" export ") < commands.index(" report ") < commands.index(" operations ")


def test_lines_where_there_is_no_terminal(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    """One for each list as it ends, failed ones too, with the ids of accounts."""
    good, bad = sandbox.account_ids[0], sandbox.inactive_account_id
    command = ["export", "skills", "users", "--account", good, "--account", bad, "--out", str(tmp_path)]
    ended = run(*command, "--format", "jsonl")
    lines = [line for line in ended.err.splitlines() if line.startswith("[")]
    assert [line[:5] for line in lines] == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]
    told = {line[6:] for line in lines}
    assert f"users, account {good}: done, 20 records fetched" in told
    assert f"users, account {bad}: failed, 0 records fetched" in told


def test_lists_under_way_are_told_of_now_and_then(
    run: Run, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads a log sees that it goes on."""
    monkeypatch.setattr(export_display, "_EVERY", 0.0)
    command = ["export", "completions", "--account", sandbox.account_ids[0], "--out", str(tmp_path)]
    ended = run(*command, "--format", "jsonl")
    assert re.search(
        r"^0 of 1 accounts, 0 of 1 lists; 100 records, [\d,]+ a second; [\d,]+ of 1,000 requests a minute",
        ended.err,
        re.MULTILINE,
    )
    assert "1 of 1 accounts, 1 of 1 lists; 330 records" in ended.err


def test_many_lists_are_summed_up(run: Run, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By resource, and not more failures are told of than people read."""
    monkeypatch.setattr(export_display, "_MOST_ROWS", 3)
    monkeypatch.setattr(export_display, "_MOST_LINES", 3)
    accounts = [*sandbox.account_ids, sandbox.inactive_account_id]
    given = [word for account in accounts for word in ("--account", account)]
    ended = run("export", "users", "skills", *given, "--out", str(tmp_path), "--format", "jsonl")
    assert ended.code == 1
    assert re.search(r"^users +3 +40 +40 +\d+ +\d+ +[\d.]+ +1 failed", ended.err, re.MULTILINE)
    assert len(re.findall(r"^\[", ended.err, re.MULTILINE)) == 2, "a line for each failure only"
    manifest = json.loads((tmp_path / "_manifest.json").read_text())
    assert sum(one["error"] is not None for one in manifest["lists"]) == 2


def test_a_folder_that_is_no_export(run: Run, tmp_path: Path) -> None:
    """Exit code 1 from both commands that read one."""
    assert run("export", "verify", str(tmp_path)).code == 1
    ended = run("report", str(tmp_path), "--out", str(tmp_path / "report.html"))
    assert ended.code == 1
    assert "ExportError" in ended.err


def test_the_commands_of_the_guide(run: Run, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other in one folder, as somebody who reads the page does."""
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "guide" / "export.md").read_text()
    for name, account in zip(("$ACCOUNT_A", "$ACCOUNT_B"), sandbox.account_ids, strict=True):
        page = page.replace(name, account)
    commands = re.findall(r"^stackone-lms (.+)$", page, re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        ended = run(*shlex.split(command, comments=True))
        assert ended.code == 0, (command, ended.err)
    assert {path.name for path in tmp_path.iterdir()} >= {"lms", "lms.duckdb", "report.html"}


def test_failures_are_told_once_and_named_in_a_file(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    """Grouped by what happened, with all ids; the file is one for --accounts-file, and goes when nothing fails."""
    good, bad = sandbox.account_ids[0], [sandbox.inactive_account_id, "unknown-1", "unknown-2", "unknown-3"]
    given = [word for account in [good, *bad] for word in ("--account", account)]
    command = ["export", "users", "--out", str(tmp_path / "lms"), "--format", "jsonl"]
    ended = run(*command, *given)
    assert ended.code == 1
    assert ended.err.count("error: ") == 2
    assert "users, 3 accounts (unknown-1, unknown-2, unknown-3):" in ended.err
    file = tmp_path / "lms" / "_failed-accounts.txt"
    assert {line.split()[0] for line in file.read_text().splitlines()} == set(bad)
    several = run("export", "users", "courses", "skills", "--out", str(tmp_path / "several"), "--account", bad[1])
    assert several.err.count("error: ") == 1
    assert "users, courses, skills, account unknown-1:" in several.err
    before = sandbox.request_count
    assert run(*command, "--accounts-file", str(file)).code == 1
    assert run(*command, "--retry-failed").code == 1
    assert sandbox.request_count - before == 8
    assert records(tmp_path / "lms") == {key: some for key, some in sent(sandbox, "users").items() if key[1] == good}


@pytest.mark.parametrize(("allowed", "code"), [("0", 1), ("1", 0), ("33%", 1), ("34%", 0), ("100%", 0)])
def test_some_accounts_may_fail(allowed: str, code: int, run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    """--max-failures: exit code 0, with a warning, while no more accounts than that failed."""
    accounts = [*sandbox.account_ids, sandbox.inactive_account_id]
    given = [word for account in accounts for word in ("--account", account)]
    ended = run("export", "users", "courses", *given, "--out", str(tmp_path), "--max-failures", allowed)
    assert ended.code == code
    assert ("warning: 1 of the accounts failed, which --max-failures" in ended.err) == (code == 0)


def test_a_summary_for_programs(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    """One JSON object, in a file and on stdout: every list, and each failure with what support asks for."""
    good, bad, file = sandbox.account_ids[0], sandbox.inactive_account_id, tmp_path / "summary.json"
    command = ["export", "users", "--account", good, "--account", bad, "--out", str(tmp_path / "lms")]
    ended = run(*command, "--summary", str(file), "--output", "json")
    told = json.loads(ended.out)
    assert told == json.loads(file.read_text())
    assert (told["ok"], told["records"], told["failed_accounts"]) == (False, 20, [bad])
    first, second = told["lists"]
    assert (first["state"], first["records"], first["fetched"], first["failure"]) == ("complete", 20, 20, None)
    assert first.keys() >= {"new", "changed", "undated", "skipped_users", "whole_because", "seconds"}
    assert second["state"] == "failed"
    assert second["failure"].keys() == {"type", "message", "status", "request_id", "account_id"}
    assert (second["failure"]["status"], second["failure"]["account_id"]) == (412, bad)


def test_all_lists_by_the_names_of_other_commands(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    """`all`, `--field`, `--filter updated_after=`, accounts from stdin, and the home folder."""
    command = ["export", "all", "--account", sandbox.account_ids[0], "--out", str(tmp_path), "--format", "jsonl"]
    assert run(*command, "--field", "id,name", "--field", "title", "--filter", "updated_after=2020-01-01").code == 0
    assert len(list(tmp_path.glob("resource=*/account=*/part-0.jsonl"))) == 7
    assert {name for line in lines(tmp_path)["users", sandbox.account_ids[0]] for name in json.loads(line)} == {
        "id", "name", "updated_at",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["lms", "sqlite", *further("duckdb", "delta")])
def test_accounts_leave(kind: str, run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    """`--prune`, `export forget`, and `verify` and `report` of any target and of one account."""
    first, second = sandbox.account_ids
    target = str(tmp_path / "lms") if kind == "lms" else f"{kind}:{tmp_path / 'lms.db'}"
    command = ["export", "completions", "--out" if kind == "lms" else "--to", target, "--account", first]
    assert run(*command, "--account", second).code == 0
    assert "330 records: all as exported" in run("export", "verify", target, "--account", second).err
    assert "330 completions" in run("report", target, "--out", str(tmp_path / "page"), "--account", second).err
    ended = run(*command, "--prune")
    assert (ended.code, f"data removed that are not asked for any more: account {second}\n" in ended.err) == (0, True)
    ended = run("export", "verify", target, "--account", second)
    assert (ended.code, f"nothing of these accounts was exported there: {second}" in ended.err) == (1, True)
    ended = run("export", "forget", target, "--account", first, "--account", second)
    assert (ended.code, ended.err.splitlines()) == (0, [
        f"account {first}: 1 list with 330 records; nothing of it is left",
        f"account {second}: no complete list of it was there (expected one? check the id); nothing of it is left",
    ])  # fmt: skip
    assert "0 records: all as exported" in run("export", "verify", target).err


def test_progress_of_what_failed_last(
    run: Run, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `--retry-failed` nobody names accounts: how many there are is known when the export begins."""
    monkeypatch.setattr(export_display, "_EVERY", -1.0)
    given = [word for account in (sandbox.inactive_account_id, "unknown") for word in ("--account", account)]
    command = ["export", "users", "courses", "--out", str(tmp_path), "--format", "jsonl"]
    assert "2 of 2 accounts, 4 of 4 lists" in run(*command, *given).err
    ended = run(*command, "--retry-failed")
    assert "0 of 2 accounts, 0 of 4 lists" in ended.err
    assert "2 of 2 accounts, 4 of 4 lists" in ended.err
    assert "4 lists failed" in ended.err


def test_lines_about_failures_come_to_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    """Where every account fails, cron is not sent a line for each of them; the end names them all."""
    watch = export_display.Lines(export_display.Tally()).watch
    for n in range(300):
        watch(ExportProgress(resource="users", account_id=f"a{n}", state="failed", records=0, accounts=300,
                             accounts_done=n + 1, lists=300, lists_done=n + 1))  # fmt: skip
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 21
    assert told[-1] == "what else fails is told at the end"


def test_what_befell_many_accounts_is_told_in_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """However many accounts have users that cannot be read, records without a date, files that are damaged."""
    skipped = (SkippedUser(user="u", type="PermissionDeniedError", message="no", status=403),)
    lists = tuple(
        ListOutcome(
            resource="users.completions", account_id=f"a{n}", records=900, fetched=900, skipped_users=skipped,
            undated=n + 1, missing_users=n + 2, whole_because=f"account=a{n}/part-0.csv: missing",
        )
        for n in range(300)
    )  # fmt: skip
    export_display.summarize(ExportResult(lists=lists, seconds=1.0), "failed-accounts.txt")
    told = capsys.readouterr().err.splitlines()
    assert len(told) < 60
    assert sum("1 user could not be read: 'u' (403)" in line for line in told) == 20
    assert "280 more lists have users that could not be read, in the manifest" in told
    assert "280 more lists were fetched whole, for reasons that the summary (--summary FILE) tells" in told
    (undated,) = [line for line in told if "do not tell when they were changed" in line]
    assert undated.endswith("and 280 more, in the manifest): 45,150 records do not tell when they were changed")
    (missing,) = [line for line in told if "users not found" in line]
    assert missing.endswith(": 45,450 of the users not found")


def test_a_narrow_terminal_shows_all_of_the_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures and the time left stand at the end of the line about the whole: it is broken, not cut."""
    tally = export_display.Tally()
    line = "3 of 7 accounts, 3 of 7 lists; 18,000 records, 1,948 a second; 1 list failed; about 0:05 left"
    monkeypatch.setattr(tally, "line", lambda: line)
    screen = export_display._screen(tally, 40)  # pyright: ignore[reportPrivateUsage]
    assert max(map(len, screen)) <= 40
    assert " ".join(screen) == line


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({}, []),
        ({"waiting": 2}, []),  # for others of the account
        ({"waiting": 2, "tokens": 0.4}, ["waiting for the limit"]),
        ({"waiting": 2, "tokens": 0.4, "paused_for": 8.2}, ["waiting 0:08 more, as the server asks"]),
        ({"paused_for": 0.2}, ["waiting 0:01 more, as the server asks"]),
    ],
)
async def test_the_line_says_what_is_waited_for(state: dict[str, Any], told: list[str]) -> None:
    async with AsyncClient("key") as client:
        stats = structs.replace(client.stats(), used=17, tokens=3.0)
    tally = export_display.Tally()
    tally.stats = lambda: structs.replace(stats, **state)
    assert tally.line().split("; ")[2:] == ["17 of 1,000 requests a minute", *told]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(4.6, "0:05"), (3599, "59:59"), (3600, "1 h 0 min"), (11840, "3 h 17 min")]
)
def test_the_time_that_is_left_in_minutes_or_hours(seconds: float, shown: str) -> None:
    assert export_display._span(seconds) == shown  # pyright: ignore[reportPrivateUsage]


def test_seconds_of_lists_that_ran_side_by_side_are_not_added_up(capsys: pytest.CaptureFixture[str]) -> None:
    """What 100 lists took together is longer than the export; the slowest of them is worth a look."""
    lists = tuple(
        ListOutcome(resource="users", account_id=f"a{n}", records=1, fetched=1, seconds=float(n)) for n in range(100)
    )
    export_display.summarize(ExportResult(lists=lists, seconds=99.5), "failed-accounts.txt")
    header, row, *_ = capsys.readouterr().err.splitlines()
    assert re.split(r"  +", header.strip())[-2:] == ["slowest (s)", "result"]
    assert row.split() == ["users", "100", "100", "100", "0", "0", "99.0", "complete"]


def test_half_a_character_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """However many lists and records have one."""
    lists = tuple(
        ListOutcome(resource=name, account_id=account, records=9, fetched=9, replaced=2)
        for name in ("users", "courses")
        for account in ("a", "b")
    )
    export_display.summarize(ExportResult(lists=lists, seconds=1.0), "failed-accounts.txt")
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "U+FFFD" in line]
    assert line == "8 records held half of a character, replaced by U+FFFD: 2 accounts (a, b)"


def test_half_characters_on_many_pages_are_told_once(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In the summary; the log of each page is for `--verbose`."""
    pages = [rb'{"data":[{"id":"%d","name":"x\ud83d"}],"next":"%d"}' % (n, n) for n in range(3)]
    command = ["export", "users", "--account", "a", "--out", str(tmp_path), "--format", "jsonl"]
    for verbose, logged in ([], 0), (["--verbose"], 3):
        caplog.clear()
        with canned(*pages, b'{"data":[]}') as url:
            ended = run(*command, "--base-url", url, *verbose)
        assert ended.code == 0
        assert ended.err.count("U+FFFD") == 1 + logged
        assert caplog.text.count("U+FFFD") == logged


def test_accounts_from_stdin(sandbox: Sandbox, tmp_path: Path) -> None:
    """`--accounts-file -`."""
    command = ["export", "users", "--accounts-file", "-", "--out", str(tmp_path), "--format", "jsonl"]
    given = ("# all\r\n" + "\r\n".join(sandbox.account_ids)).encode("utf-16")
    ended = program(*command, env=environment(**settings(sandbox)), given=given)
    assert ended.code == 0, ended.err
    assert records(tmp_path) == sent(sandbox, "users")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (b"account-\xff\n", "stdin, line 1: neither UTF-8"),
        (b"name,account_id\nx\n", "stdin, line 2: there is no account_id"),
        (b"# nobody\n", "there is no account id in stdin"),
    ],
)
def test_what_is_wrong_with_accounts_is_told_by_the_option(
    given: bytes, told: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From stdin as from a file."""
    path = tmp_path / "accounts.txt"
    path.write_bytes(given)
    for file, named in (
        ("-", told),
        (str(path), told.replace("in stdin", f"in {str(path)!r}").replace("stdin", str(path))),
    ):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
        ended = run("export", "users", "--accounts-file", file, "--out", str(tmp_path / "data"))
        assert ended.code == 2
        assert f"--accounts-file: {named}" in ended.err


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
@pytest.mark.parametrize(("blow", "code"), [(signal.SIGINT, 130), *further((signal.SIGTERM, 143))])
def test_ctrl_c_and_the_same_command_again(
    blow: signal.Signals, code: int, run: Run, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Its exit code, no traceback, and the same command goes on where it stopped; SIGTERM is like Ctrl-C."""
    command = ["export", "completions", "--out", str(tmp_path), "--format", "jsonl", "--page-size", "20"]
    for account in sandbox.account_ids:
        command += ["--account", account]
    with start(*command, env=environment(**settings(sandbox))) as process:
        deadline = time.monotonic() + 30
        while sandbox.request_count < 6 and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(blow)
        _, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert "the same command goes on where this one stops" in err
    assert run(*command).code == 0
    assert records(tmp_path) == sent(sandbox, "completions")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal")
def test_progress_on_a_terminal(tmp_path: Path) -> None:
    """The whole in a line, and each account under way in one."""
    from ..cli.terminal import on_terminal  # which Windows has none of

    with Sandbox.in_thread(latency=0.1, completions=330) as sandbox:  # several times as long as it takes to draw
        account = sandbox.account_ids[0]
        command = ["export", "completions", "--account", account, "--out", str(tmp_path), "--format", "csv"]
        ended = on_terminal(*command, "--page-size", "25", env=environment(**settings(sandbox), COLUMNS="120"))
    assert ended.code == 0
    assert "0 of 1 accounts, 0 of 1 lists" in ended.err
    assert "of 1,000 requests a minute" in ended.err
    assert f"{account}: completions, " in ended.err
