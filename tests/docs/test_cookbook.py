"""What the pages of the cookbook show does what they say, and the reference of the program is whole."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from stackone_lms.cli.app import app as program
from stackone_lms.sandbox import Sandbox

ROOT = Path(__file__).parents[2]


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with Sandbox.in_thread(completions=30) as running:
        monkeypatch.setenv("STACKONE_API_KEY", running.api_key)
        monkeypatch.setenv("STACKONE_BASE_URL", running.url)
        yield running


def shown(page: str) -> dict[str, Any]:
    """Run the script of a page and return its names."""
    text = (ROOT / f"docs/cookbook/{page}.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"__name__": page}
    exec(compile(code, page, "exec"), names)
    return names


class Asgi:
    """Sends requests to an ASGI application, within its lifespan."""

    def __init__(self, app: Any, state: dict[str, Any]) -> None:
        self.app, self.state = app, state

    async def __call__(self, method: str, path: str, **query: str) -> tuple[int, Any]:
        sent: list[dict[str, Any]] = []
        scope: dict[str, Any] = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
            "raw_path": path.encode(), "query_string": urllib.parse.urlencode(query).encode(), "headers": [],
            "state": dict(self.state), "scheme": "http", "server": ("test", 80), "client": ("test", 1),
        }  # fmt: skip

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        body = b"".join(message.get("body", b"") for message in sent)
        return sent[0]["status"], json.loads(body) if body else None


async def test_fastapi_answers_from_the_client_of_its_lifespan(sandbox: Sandbox) -> None:
    names = shown("fastapi")
    account = sandbox.account_ids[0]
    id = sandbox.ids("completions", account)[0]
    async with names["lifespan"](names["app"]) as state:
        ask = Asgi(names["app"], state)
        status, record = await ask("GET", f"/accounts/{account}/completions/{id}")
        assert (status, record["id"]) == (200, id)
        assert (await ask("GET", f"/accounts/{account}/completions/none"))[0] == 404
        sandbox.fail_next(429, retry_after=70)
        assert (await ask("GET", f"/accounts/{account}/completions/{id}"))[0] == 503
        user = sandbox.ids("users", account)[0]
        reference = sandbox.record("courses", sandbox.ids("courses", account)[0], account)["external_reference"]
        before = len(sandbox.ids("completions", account))
        assert (await ask("POST", f"/accounts/{account}/users/{user}/completions", course=reference))[0] == 202
        assert len(sandbox.ids("completions", account)) == before + 1, "the background task ran"


def test_a_django_view_answers(sandbox: Sandbox) -> None:
    settings = importlib.import_module("django.conf").settings
    if not settings.configured:
        settings.configure()
    missing: type[Exception] = importlib.import_module("django.http").Http404
    names = shown("django")
    account = sandbox.account_ids[0]
    id = sandbox.ids("completions", account)[0]
    try:
        assert json.loads(names["completion"](None, account, id).content)["id"] == id
        with pytest.raises(missing):
            names["completion"](None, account, "none")
    finally:
        names["client"]().close()


@pytest.fixture(scope="module")
def extension() -> Any:
    """What makes the reference of the program."""
    spec = importlib.util.spec_from_file_location("program", ROOT / "docs/_extensions/program.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_has_every_command_and_option(extension: Any) -> None:
    text = "\n".join(extension.reference())
    names = [command.name for command in program.registered_commands if not command.hidden]
    names += [group.name for group in program.registered_groups]
    assert len(names) >= 17
    for name in names:
        assert f"\nstackone-lms {name}\n" in f"\n{text}"
    for part in (
        "stackone-lms export verify\n",
        "``--all-accounts``",
        "``--open``",
        "``--from DAY``",
        "Default: ``report.html``",
    ):
        assert part in text
    assert "``--fields" not in text, "hidden"


def test_the_reference_has_the_defaults_that_help_shows(extension: Any) -> None:
    """Of every command, also a default of 0 or 1."""
    parts = re.split(r"^(stackone-lms .+)\n-+$", "\n".join(extension.reference()), flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    found = set[str]()
    for called, command in extension.commands(get_command(program), "stackone-lms"):
        command.rich_markup_mode = None  # the same words without frames, which take long to draw
        shown = re.findall(
            r"\[default: (.+?)[];]", command.get_help(command.context_class(command, terminal_width=1000))
        )
        assert sorted(re.findall(r"Default: ``(.+?)``\.$", sections.pop(called), re.MULTILINE)) == sorted(shown), called
        found.update(shown)
    assert not sections
    assert {"0", "0.0", "1", "off"} <= found


@pytest.mark.thorough
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell, in a kernel of its own: tables, a bar that ends full, a frame, a plot."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    nbformat: Any = importlib.import_module("nbformat")
    notebook = nbformat.read(ROOT / "docs/examples/first_steps.ipynb", as_version=4)
    client: Any = importlib.import_module("nbclient").NotebookClient
    client(notebook, timeout=100, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs: list[Any] = [one for cell in notebook.cells if cell.cell_type == "code" for one in cell.outputs]
    kinds = [kind for output in outputs for kind in output.get("data", {})]
    assert "application/vnd.plotly.v1+json" in kinds
    assert kinds.count("text/html") >= 2
    assert any("600 records, 0 failed" in output.get("text", "") for output in outputs)
    assert not any(output.output_type == "error" for output in outputs)


def test_the_notebook_is_shipped_without_outputs() -> None:
    notebook = json.loads((ROOT / "docs/examples/first_steps.ipynb").read_text("utf-8"))
    assert all(not cell.get("outputs") for cell in notebook["cells"])
