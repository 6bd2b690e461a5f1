"""The pytest plugin, in runs of pytest of its own."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import stackone_lms

pytest_plugins = ["pytester"]

PLUGIN = "stackone_lms.testing.plugin"
ROOT = Path(stackone_lms.__file__).parents[1]
ASYNCIO = (
    "-p",
    "pytest_asyncio.plugin",
    "-o",
    "asyncio_mode=auto",
    "-o",
    "asyncio_default_fixture_loop_scope=function",
)

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run pytest in a process of its own, with this plugin and no other; warnings are errors."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini("[pytest]\nfilterwarnings = error\n")

    def start(*args: str) -> pytest.RunResult:
        return pytester.runpytest_subprocess("--strict-markers", "-p", PLUGIN, *args, timeout=60)

    return start


def test_the_plugin_comes_with_the_package() -> None:
    """pytest finds it by its entry point."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"stackone_lms": PLUGIN}


def test_nothing_is_imported_where_no_test_is(pytester: pytest.Pytester, run: Run) -> None:
    """The plugin is loaded in every run of pytest, so it is free; here a conftest looks at the end of one."""
    pytester.makeconftest(
        """
        import sys

        def pytest_unconfigure(config):
            assert "stackone_lms.testing.plugin" in sys.modules
            ours = {name for name in sys.modules if name.startswith("stackone_lms")}
            assert ours == {
                "stackone_lms", "stackone_lms._lazy", "stackone_lms._version",
                "stackone_lms.testing", "stackone_lms.testing.plugin",
            }, ours
            foreign = {"aiohttp", "anyio", "msgspec", "multidict", "yarl"} & sys.modules.keys()
            assert not foreign, foreign
            print("nothing was imported")
        """
    )
    result = run("--collect-only", "-s")
    result.stdout.fnmatch_lines(["*no tests collected*", "nothing was imported"])
    assert not result.errlines


def test_fixtures_serve_tests_of_every_kind(pytester: pytest.Pytester, run: Run) -> None:
    """Async and plain tests, markers and overridden options, the environment, aioresponses: without a warning."""
    pytester.makepyfile(
        test_clients="""
        import asyncio
        import pytest
        from aioresponses import aioresponses
        from stackone_lms import AsyncClient, ClientClosedError, SyncClient, UnprocessableEntityError
        from stackone_lms.sandbox import Sandbox

        kept = []

        async def test_async(stackone_client, stackone_sandbox):
            id = stackone_sandbox.ids("completions")[0]
            first, second = await asyncio.gather(*[stackone_client.completions.get(id) for _ in range(2)])
            assert first.data == second.data
            assert type(stackone_client) is AsyncClient
            kept.append(stackone_client)

        def test_closed_afterwards():
            assert kept[0].closed

        def test_async_client_on_a_loop_of_the_test(stackone_client, stackone_sandbox):
            id = stackone_sandbox.ids("completions")[0]
            assert asyncio.run(stackone_client.completions.get(id)).data.id == id

        async def test_many_calls_are_not_limited(stackone_client, stackone_sandbox):
            async with asyncio.timeout(5):
                for id in stackone_sandbox.ids("completions")[:60]:
                    await stackone_client.completions.get(id)
            assert stackone_sandbox.request_count == 60

        def test_sync(stackone_sync_client, stackone_sandbox):
            id = stackone_sandbox.ids("completions")[0]
            assert stackone_sync_client.completions.get(id).data.id == id
            assert type(stackone_sync_client) is SyncClient
            kept.append(stackone_sync_client)

        def test_sync_closed_afterwards(stackone_sandbox):
            assert kept[-1].closed
            assert stackone_sandbox.request_count == 0

        def test_environment(stackone_env):
            assert isinstance(stackone_env, Sandbox)
            with SyncClient() as client:
                assert client.users.list(max_items=1).collect()
            assert stackone_env.request_count == 1

        async def test_aioresponses(aioresponses_compat):
            with aioresponses() as mock:
                mock.get("https://api.stackone.com/unified/lms/completions/1", payload={"data": {"id": "1"}})
                async with AsyncClient("key", "account") as client:
                    assert (await client.completions.get("1")).data.id == "1"
        """,
        test_options="""
        import time
        import pytest

        pytestmark = pytest.mark.stackone_sandbox(accounts=2, completions=9)

        @pytest.fixture
        def stackone_sandbox_options():
            return {"users": 7, "completions": 8}

        def test_fixture_and_marker_add_up(stackone_sandbox):
            assert len(stackone_sandbox.ids("users")) == 7
            assert len(stackone_sandbox.ids("completions")) == 9
            assert len(stackone_sandbox.account_ids) == 2

        @pytest.mark.stackone_sandbox(latency=0.2, accounts=1)
        def test_the_nearest_marker_wins(stackone_sandbox, stackone_sync_client):
            assert len(stackone_sandbox.account_ids) == 1
            began = time.monotonic()
            stackone_sync_client.users.list().first_page()
            assert time.monotonic() - began >= 0.2
        """,
        test_wrong="""
        import pytest

        @pytest.mark.stackone_sandbox(3)
        def test_positional(stackone_sandbox):
            pass

        @pytest.mark.stackone_sandbox(colour="red")
        def test_unknown(stackone_sandbox):
            pass
        """,
    )
    result = run(*ASYNCIO)
    result.assert_outcomes(passed=10, errors=2)
    result.stdout.fnmatch_lines(["*takes options of Sandbox by keyword only*", "*'colour'*"])


@pytest.mark.thorough
def test_the_async_client_serves_anyios_runner(pytester: pytest.Pytester, run: Run) -> None:
    """The fixture does not depend on pytest-asyncio, and leaves no connection open on anyone's loop."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.mark.anyio
        async def test_async(stackone_client, stackone_sandbox):
            id = stackone_sandbox.ids("completions")[0]
            assert (await stackone_client.completions.get(id)).data.id == id
        """
    )
    run("-p", "anyio.pytest_plugin").assert_outcomes(passed=1)


@pytest.mark.thorough
def test_fixtures_and_marker_are_announced(run: Run) -> None:
    """`pytest --fixtures` and `--markers` say what there is."""
    result = run("--fixtures", "-q")
    for name in ("stackone_sandbox", "stackone_env", "stackone_client", "stackone_sync_client", "aioresponses_compat"):
        result.stdout.fnmatch_lines([f"{name} --*"])
    run("--markers").stdout.fnmatch_lines(["@pytest.mark.stackone_sandbox(*"])
