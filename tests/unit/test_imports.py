"""What importing the package loads, and what it offers."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest

import stackone_lms
from stackone_lms import (
    errors,
    models,
    options,
    testing,
)
from stackone_lms.bulk import progress
from stackone_lms.calls import outcomes
from stackone_lms.engine import stats

ROOT = Path(stackone_lms.__file__).parents[1]
WATCHED = ("aiohttp", "anyio", "msgspec", "asyncio", "typer", "rich", "pytest")
STEPS = {
    "package": "import stackone_lms",
    "error": "stackone_lms.NotFoundError",
    "client": "client = stackone_lms.AsyncClient('key', 'account')",
    "webhooks": "stackone_lms.webhooks.unwrap",
    "sync": "stackone_lms.SyncClient('key', 'account').close()",
    "testing": "import stackone_lms.testing; stackone_lms.testing.InMemoryTransport()",
    "call": """
import asyncio
async def call():
    async with stackone_lms.AsyncClient('key', 'account', base_url='http://127.0.0.1:9',
                                        retry=stackone_lms.RetryPolicy(attempts=1)) as client:
        await client.completions.get('1')
try:
    asyncio.run(call())
except stackone_lms.ConnectError:
    pass""",
}


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[str]]:
    """What was loaded after each step, in an interpreter of its own."""
    lines = ["import sys, json", "seen = {}"]
    for name, step in STEPS.items():
        lines += [step, f"seen[{name!r}] = [m for m in {WATCHED!r} if m in sys.modules]"]
    lines.append("print(json.dumps(seen))")
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    seen: dict[str, list[str]] = json.loads(done.stdout)
    return {name: set(modules) for name, modules in seen.items()}


def test_the_package_loads_nothing(loaded: dict[str, set[str]]) -> None:
    """`import stackone_lms` is nearly free."""
    assert loaded["package"] == set()


def test_errors_load_nothing(loaded: dict[str, set[str]]) -> None:
    """Code that only handles errors pays for nothing else."""
    assert loaded["error"] == set()


def test_a_client_is_made_without_aiohttp(loaded: dict[str, set[str]]) -> None:
    """Constructing needs msgspec and asyncio; aiohttp comes with the first call."""
    assert loaded["client"] == {"asyncio", "msgspec"}


def test_webhooks_need_no_client(loaded: dict[str, set[str]]) -> None:
    """A service that only receives webhooks loads no aiohttp."""
    assert "aiohttp" not in loaded["webhooks"]


def test_only_the_blocking_client_needs_anyio(loaded: dict[str, set[str]]) -> None:
    """anyio comes with SyncClient; aiohttp still does not."""
    assert "anyio" not in loaded["webhooks"]
    assert loaded["sync"] == {"asyncio", "msgspec", "anyio"}


def test_the_in_memory_transport_needs_no_aiohttp(loaded: dict[str, set[str]]) -> None:
    """Tests without a network load none."""
    assert loaded["testing"] == loaded["sync"]


def test_the_first_call_loads_aiohttp(loaded: dict[str, set[str]]) -> None:
    """And even then nothing of the command line or of pytest."""
    assert loaded["call"] == {"asyncio", "msgspec", "anyio", "aiohttp"}


@pytest.mark.parametrize("package", [stackone_lms, testing], ids=lambda p: p.__name__)
def test_every_public_name_is_there(package: Any) -> None:
    """`__all__` is complete and true: each name is found, listed by dir(), and named as it is defined."""
    assert sorted(set(package.__all__)) == sorted(package.__all__)
    for name in package.__all__:
        found = getattr(package, name)
        assert name in dir(package)
        if inspect.isclass(found) or inspect.isfunction(found):
            assert found.__name__ == name
            assert found.__module__.startswith("stackone_lms.")
        elif inspect.ismodule(found):
            assert found.__name__ == f"stackone_lms.{name}"


PUBLIC = {
    "arrow": {"Errors", "Scan", "scan", "to_arrow"},
    "batches": {"Batch", "Connect", "Failure", "Slice", "batches", "gather", "schema"},
    "errors": {"APIStatusError", "ConfigurationError", "NotFoundError", "StackOneError"},
    "export": {"ExportOptions", "ExportResult", "export", "export_sync", "forget", "verify"},
    "models": {"Completion", "CompletionResult", "Page", "encode"},
    "sandbox": {"Sandbox"},
    "shared_limit": {"SharedLimit"},
    "testing": {"InMemoryTransport"},
    "webhooks": {"CompletionEvent", "parse", "sign", "unwrap", "verify"},
}
"""Modules that users import from, wherever what is in them is defined."""


@pytest.mark.parametrize("module", PUBLIC)
def test_a_public_module_has_its_names(module: str) -> None:
    found = import_module(f"stackone_lms.{module}")
    listed: set[str] = set(getattr(found, "__all__", PUBLIC[module]))
    assert listed >= PUBLIC[module]
    assert {name for name in listed if not hasattr(found, name)} == set()


def test_all_errors_are_public() -> None:
    """Every exception class of `errors` is offered at the top."""
    ours = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.StackOneError) and not name.startswith("_")
    }
    assert len(ours) > 30
    assert ours <= set(stackone_lms.__all__)


def test_records_and_answers_are_public() -> None:
    """What operations take and return is offered at the top."""
    kinds = (models.Result, models.Body, models.Answer)
    wanted = {
        name for name in models.__all__ if inspect.isclass(value := getattr(models, name)) and issubclass(value, kinds)
    } - {"Answer", "Body", "CreateCategory", "CreateContent", "CreateSkill", "Result"}
    assert len(wanted) > 15
    assert wanted <= set(stackone_lms.__all__)


def test_what_clients_tell_of_themselves_is_public() -> None:
    """Options, outcomes, progress, statistics and what they are made of can be imported from the top."""
    wanted = {
        name
        for module in (options, outcomes, progress, stats)
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, msgspec.Struct) and value.__module__ == module.__name__
    }
    assert {"AccountStats", "Choice", "Outcome", "Progress", "RetryPolicy"} <= wanted
    assert wanted | {"Accounts", "Strategy"} <= set(stackone_lms.__all__)


def test_other_names_are_attribute_errors() -> None:
    """A misspelt name says so, and what is imported inside does not leak."""
    for name in ("AsyncClinet", "Any", "Mapping", "msgspec", "_BY_STATUS"):
        with pytest.raises(AttributeError, match=f"module 'stackone_lms' has no attribute '{name}'"):
            getattr(stackone_lms, name)
    with pytest.raises(AttributeError, match="no attribute 'deque'"):
        getattr(testing, "deque")  # noqa: B009 (type checkers know that it is not there)


def test_a_name_listed_and_not_defined_is_told_apart() -> None:
    """A slip in `__all__` is found, not taken for a misspelling of the user."""
    from stackone_lms._lazy import attributes

    find, _ = attributes("stackone_lms", ["Nowhere"], ("errors",))
    with pytest.raises(AttributeError, match="'Nowhere' is listed as public"):
        find("Nowhere")


def test_names_are_found_once() -> None:
    """After the first access a name is an ordinary attribute."""
    assert stackone_lms.Timeout is vars(stackone_lms)["Timeout"]


def test_star_import_brings_all_of_it() -> None:
    """`from stackone_lms import *` works, although nothing is there yet."""
    namespace: dict[str, Any] = {}
    exec("from stackone_lms import *", namespace)
    assert set(stackone_lms.__all__) <= namespace.keys()
