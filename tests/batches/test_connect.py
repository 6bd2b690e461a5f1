"""How processes reach the API: plain data that names where the key is, and one client a process."""

from __future__ import annotations

import asyncio
import base64
import multiprocessing
import os
import pickle
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stackone_lms import AsyncClient, RateLimit, RetryPolicy, Timeout
from stackone_lms.base_client import bound_executor_of
from stackone_lms.batches import Connect, Slice, batches
from stackone_lms.errors import ConfigurationError, WrongLoopError
from stackone_lms.sandbox import Sandbox
from stackone_lms.shared_limit import SharedLimit

from ..soak import further
from .task import read

KEY = "v1.eu1.a-key-that-nobody-may-see"


def the_key() -> str:
    return KEY


def no_key() -> Any:
    return 7


PLACES = [
    {"key_env": "OTHER_KEY"},
    {"key_file": "key.txt"},
    {"key_from": f"{__name__}:the_key"},
    {"profile": "prod"},
    {},
]


@pytest.fixture
def everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the key in each place."""
    monkeypatch.chdir(tmp_path)
    Path("key.txt").write_text(f" {KEY} \nmore\n")
    monkeypatch.setenv("OTHER_KEY", KEY)
    folder = tmp_path / "stackone-lms"
    folder.mkdir()
    (folder / "config.toml").write_text(f'[profile.prod]\napi_key = "{KEY}"\n')
    (folder / "config.toml").chmod(0o600)
    monkeypatch.setattr("stackone_lms.profiles.config_path", lambda: folder / "config.toml")


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.usefixtures("everywhere")
def test_the_key_is_read_where_it_is_and_held_nowhere(
    place: dict[str, str], monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    """Nor in a pickle, nor where anything is shown."""
    if not place:
        monkeypatch.setenv("STACKONE_API_KEY", KEY)
    connect = Connect(base_url=sandbox.url, **place)  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(connect)) == connect
    client = connect.client()
    try:
        sent = dict(bound_executor_of(client).settings.headers)
        assert KEY.encode() in base64.b64decode(sent["Authorization"].split()[1])
        for text in (repr(connect), str(connect), pickle.dumps(connect).decode("latin-1"), repr(client)):
            assert KEY not in text
    finally:
        client.close()


@pytest.mark.parametrize(
    ("place", "named"),
    [
        ({"key_env": "NOT_SET"}, "NOT_SET is not set"),
        ({"key_file": "not-there.txt"}, "not-there.txt.*No such file"),
        ({"key_file": "empty.txt"}, "empty.txt.*nothing in its first line"),
        ({"key_from": "nowhere.at.all:key"}, "nowhere.at.all:key cannot be imported"),
        ({"key_from": "os:nothing"}, "os:nothing cannot be imported"),
        ({"key_from": f"{__name__}:no_key"}, "returned int"),
        ({}, "STACKONE_API_KEY"),
    ],
)
def test_a_key_that_is_not_there_is_told_by_its_place(
    place: dict[str, str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STACKONE_API_KEY", raising=False)
    Path("empty.txt").touch()
    connect = Connect(**place)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=named):
        connect.client()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"key_env": "A", "profile": "b"}, "key_env and profile exclude each other"),
        ({"key_env": ""}, "key_env"),
        ({"key_env": KEY}, "name of an environment variable"),
        ({"key_from": KEY}, "package.module:function"),
        ({"profile": 7}, "profile must be a text"),
        ({"base_url": "http://example.com"}, "https"),
    ],
)
def test_what_cannot_be_is_told_when_it_is_made(given: dict[str, Any], named: str) -> None:
    """A key that was given by mistake is not in the message."""
    with pytest.raises(ConfigurationError, match=named) as caught:
        Connect(**given)
    assert KEY not in str(caught.value)


def test_there_is_no_place_for_the_key_itself() -> None:
    made: Any = Connect
    given: list[tuple[tuple[str, ...], dict[str, str]]] = [((KEY,), {}), ((), {"api_key": KEY})]
    for args, options in given:
        with pytest.raises(TypeError) as caught:
            made(*args, **options)
        assert KEY not in str(caught.value)


def test_options_are_those_of_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not given is left to the environment."""
    monkeypatch.setenv("STACKONE_API_KEY", KEY)
    monkeypatch.setenv("STACKONE_REQUESTS_PER_MINUTE", "77")
    assert Connect(max_concurrency=3).client().stats().limit == 77
    assert Connect(rate_limit=None).client().stats().limit is None
    assert Connect(rate_limit=RateLimit(5, per=2.0)).client().stats().limit == 5
    made = Connect(timeout=Timeout(total=9.0), retry=RetryPolicy(2)).client()
    settings = bound_executor_of(made).settings
    assert (settings.timeout.total, settings.retry.attempts) == (9.0, 2)


def test_a_limit_that_processes_share_makes_no_difference(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Copies that came to this process with each task have one client."""
    monkeypatch.setenv("SOME_KEY", KEY)
    file = SharedLimit.sqlite(tmp_path / "limit.db", requests=10)
    connect = Connect(key_env="SOME_KEY", rate_limit=file)
    client = connect.client()
    assert pickle.loads(pickle.dumps(connect)).client() is client
    for other in (
        SharedLimit.sqlite(tmp_path / "limit.db", requests=9),
        SharedLimit.sqlite(tmp_path / "x.db"),
        file.requests,
    ):
        assert file != other
        assert Connect(key_env="SOME_KEY", rate_limit=other).client() is not client


def test_a_process_has_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """For equal data, whichever copy of it, in whichever thread; a closed one is replaced."""
    monkeypatch.setenv("SOME_KEY", KEY)
    connect = Connect(key_env="SOME_KEY", rate_limit=RateLimit(9))
    client = connect.client()
    assert pickle.loads(pickle.dumps(connect)).client() is client
    assert Connect(key_env="SOME_KEY").client() is not client
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(connect.client())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [client] * 8
    client.close()
    assert connect.client() is not client
    assert not connect.client().closed


def test_the_async_client_moves_from_loop_to_loop(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    """With its limit; on two loops at once it says so."""
    monkeypatch.setenv("SOME_KEY", sandbox.api_key)
    connect = Connect(key_env="SOME_KEY", base_url=sandbox.url)
    what = Slice("users", sandbox.account_ids[0])

    async def task() -> tuple[AsyncClient, int, int]:
        client = connect.async_client()
        rows = sum([len(batch.data) async for batch in batches(client, what)])
        return client, rows, client.stats().requests

    (first, rows, sent), (second, _, sent_by_then) = asyncio.run(task()), asyncio.run(task())
    assert first is second
    assert rows == 12
    assert sent_by_then == 2 * sent

    async def beside() -> None:
        await task()
        with pytest.raises(WrongLoopError):
            await asyncio.to_thread(asyncio.run, task())
        await connect.async_client().aclose()

    asyncio.run(beside())


@pytest.mark.parametrize("method", ["fork", *further("spawn")])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_tasks_of_a_process_share_a_client(method: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """In workers that are forked after the parent used its own client, too."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"{method} is not to be had here")
    monkeypatch.setenv("SOME_KEY", sandbox.api_key)
    connect = Connect(key_env="SOME_KEY", base_url=sandbox.url)
    text = Slice("completions", sandbox.account_ids[0], page_size=50).to_json()
    mine = read(connect, text)
    with multiprocessing.get_context(method).Pool(2) as pool:
        done = pool.starmap(read, [(connect, text)] * 8, chunksize=1)
    assert mine[0] not in {pid for pid, *_ in done}
    assert all(rows == 75 for _, _, rows, _ in done)
    clients = {pid: {client for other, client, *_ in done if other == pid} for pid, *_ in done}
    assert all(len(made) == 1 for made in clients.values())
    tasks = Counter(pid for pid, *_ in done)
    for pid, count in tasks.items():  # its counters go on from task to task
        assert max(sent for other, _, _, sent in done if other == pid) == count * mine[3]
    assert read(connect, text)[:2] == mine[:2]
    connect.client().close()


def test_a_fork_while_another_thread_makes_a_client_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("there is no fork here")
    from stackone_lms.batches import connect as module

    monkeypatch.setenv("SOME_KEY", KEY)
    lock: Any = vars(module)["_lock"]
    with lock:
        child = os.fork()
        if not child:
            signal.alarm(60)
            os._exit(0 if Connect(key_env="SOME_KEY").client().stats().requests == 0 else 1)
    assert os.waitpid(child, 0)[1] == 0
