"""A redis-server of one's own, on a port that the system chose; and a link to it that takes long."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Generator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

BINARY = shutil.which("redis-server")


def unused_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class RedisServer:
    """A redis-server; started, killed, stopped and started again as a test likes.

    Args:
        folder: Where it keeps what it keeps.
        arguments: More of its command line.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        if BINARY is None:
            pytest.skip("redis-server is not installed (apt-get install redis-server)")
        self.folder, self._arguments = folder, arguments
        self.port = 0
        self._process: subprocess.Popen[str] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and wait until it takes connections: on the port of before, if there was one."""
        for _ in range(10):
            port = self.port or unused_port()
            options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(self.folder), *self._arguments]
            command = [str(BINARY), *options]
            self._process = process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            alarm = threading.Timer(30, process.kill)
            alarm.start()
            assert process.stdout is not None
            ready = any("Ready to accept connections" in line for line in process.stdout)
            alarm.cancel()
            if ready:
                self.port, self._reader = port, threading.Thread(target=process.stdout.read)
                self._reader.start()
                return
            process.wait()
            process.stdout.close()
        raise AssertionError("redis-server does not start")

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once: what it had not written is lost."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
            self._reader.join()
            assert process.stdout is not None
            process.stdout.close()


@contextmanager
def redis_server(folder: Path, *arguments: str) -> Generator[RedisServer]:
    server = RedisServer(folder, *arguments)
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def slow_link(port: int, seconds: float) -> Generator[int]:
    """A port that leads to another one, with so many seconds of delay in each direction."""
    listening: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def main() -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        writers: list[asyncio.StreamWriter] = []

        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(65536):
                loop.call_later(seconds, writer.write, data)

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
            writers.extend((writer, far_writer))
            with suppress(OSError):
                await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer))

        async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
            listening.set_result((server.sockets[0].getsockname()[1], loop, ended))
            await ended.wait()
            for writer in writers:
                writer.close()
            await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    own_port, loop, ended = listening.result(20)
    try:
        yield own_port
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(20)


ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
