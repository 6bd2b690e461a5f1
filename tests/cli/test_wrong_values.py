"""What is said of a value that an option cannot have: the value, and what is allowed, in the option's own name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from stackone_lms.cli.app import app, run


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command with the words that call it."""
    for name, command in group.commands.items():
        yield from commands(command, (*path, name)) if hasattr(command, "commands") else [((*path, name), command)]


@pytest.mark.thorough
def test_every_option_with_a_type_says_what_was_given_and_what_is_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    checked = 0
    for words, command in commands(typer.main.get_command(app)):
        for option in command.params:
            kind = option.type_descriptor
            plain = kind.annotation in {str, Path} or kind.is_list or getattr(option, "is_flag", False)
            if option.param_type_name == "argument" or (plain and kind.choices is None):
                continue
            name = max(option.opts, key=len)
            assert run([*words, name, "no such"]) == 2, (words, name)
            first, hint = capsys.readouterr().err.splitlines()
            number = r"(whole )?number( of at least \d+| from \d+ to \d+)?"
            allowed = rf"({number}|one of \w+(, \w+)*|day such as 2026-01-31)"
            assert re.fullmatch(rf"error: Invalid value for {name}: 'no such' is not (a )?{allowed}", first), first
            assert hint.startswith("hint: stackone-lms ")
            checked += 1
    assert checked > 50


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("sandbox --port 65536", "--port: '65536' is not a whole number from 0 to 65535"),
        ("list users --max-items 0", "--max-items: '0' is not a whole number of at least 1"),
        ("list users --since soon", "--since: 'soon' is not a day such as 2026-01-31, or a moment such as "),
        ("export users --out {} --since soon", "--since: 'soon' is not a day such as 2026-01-31, or a moment such as "),
        ("get users 1 --timeout 0", "--timeout: '0' is not a number above 0"),
        ("export users --out {} --lock-timeout -1", "--lock-timeout must be seconds, 0 or more, not -1.0"),
        ("export users --out {} --full-every=soon --incremental", "--full-every must be a span of time such as 90m, "),
        ("get users 1 --base-url x", "--base-url must look like https://api.stackone.com, not 'x'"),
    ],
)
def test_what_is_out_of_range_is_told_by_the_name_of_the_option(
    line: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STACKONE_API_KEY", "key")
    monkeypatch.setenv("STACKONE_ACCOUNT_ID", "account")
    assert run(line.format(tmp_path / "out").split()) == 2
    assert said in capsys.readouterr().err


def test_what_comes_from_the_environment_is_not_called_an_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STACKONE_API_KEY", "key")
    monkeypatch.setenv("STACKONE_BASE_URL", "x")
    assert run(["accounts"]) == 2
    assert "error: ConfigurationError: base_url must look like" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("verify lms", "'verify'. Did you mean 'export verify'?"),
        ("forget lms --account a", "'forget'. Did you mean 'export forget'?"),
        ("verfy lms", "'verfy'. Did you mean 'export verify'?"),
        ("users list", "'users'. Did you mean 'list users'?"),
        ("users.completions list", "'users.completions'. Did you mean 'list users.completions'?"),
        ("acounts", "'acounts'. Did you mean 'accounts'?"),
        ("nothing-like-it", "'nothing-like-it'"),
        ("export verfy lms", "'export verfy'. Did you mean 'export verify'?"),
        ("export forgt lms", "'export forgt'. Did you mean 'export forget'?"),
        ("export report lms", "'export report'. Did you mean 'stackone-lms report'?"),
    ],
)
def test_a_command_without_its_group_or_with_a_wrong_one_is_pointed_to(
    line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(line.split()) == 2
    assert capsys.readouterr().err.splitlines()[0] == f"error: No such command {said}"


def test_every_command_of_a_group_is_pointed_to_by_its_bare_name(capsys: pytest.CaptureFixture[str]) -> None:
    whole = typer.main.get_command(app)
    shown = [words for words, command in commands(whole) if len(words) > 1 and not command.hidden]
    assert shown
    for words in shown:
        assert run([words[-1]]) == 2
        assert f"Did you mean {' '.join(words)!r}?" in capsys.readouterr().err


def test_a_resource_that_is_misspelt_is_no_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["export", "completion", "--account", "a", "--out", str(tmp_path)]) == 2
    assert "there is no resource 'completion'; did you mean completions?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("http://x", "the URL of a shared limit must look like redis://"),
        ("redis://h?nonsense=1", "redis-py does not take the URL of the limit"),
    ],
)
def test_a_shared_limit_is_told_without_names_of_python(
    place: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STACKONE_API_KEY", "key")
    assert run(["accounts", "--shared-limit", place]) == 2
    told = capsys.readouterr().err
    assert f"--shared-limit: {said}" in told
    assert "SharedLimit" not in told
