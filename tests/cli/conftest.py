from collections.abc import Iterator

import pytest

from stackone_lms.sandbox import Sandbox

from .program import Environment, Run, environment, runner, settings


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A small sandbox of one's own."""
    with Sandbox.in_thread(users=12, courses=8, contents=20, assignments=40, completions=60) as sandbox:
        yield sandbox


@pytest.fixture
def env(sandbox: Sandbox) -> Environment:
    """An environment that leads to the sandbox."""
    return environment(**settings(sandbox))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sandbox: Sandbox) -> Run:
    """The program, run inside of the test against the sandbox."""
    return runner(monkeypatch, capsys, settings(sandbox))


@pytest.fixture
def run_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The program, run inside of the test without anything in the environment."""
    return runner(monkeypatch, capsys, {})
