"""A static local server in a process of its own: nginx when it is there, else a plain asyncio protocol."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from . import data

_NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log crit;
events {{ worker_connections 2048; }}
http {{
  access_log off; keepalive_requests 100000000; client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  default_type application/json;
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location = {list} {{ alias {folder}/page.json; open_file_cache max=10; }}
    location / {{ rewrite ^ /one.json break; root {folder}; open_file_cache max=10; }}
  }}
}}
"""


def free_port() -> int:
    """Return a port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(*, cpu: int | None = None, plain: bool = False) -> Iterator[tuple[str, str]]:
    """Run the server; yields its URL and its name.

    Args:
        cpu: Processor to pin it to.
        plain: Do not use nginx.
    """
    nginx = None if plain else shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        if nginx:
            Path(folder, "one.json").write_bytes(data.one())
            Path(folder, "page.json").write_bytes(data.page())
            config = Path(folder, "nginx.conf")
            config.write_text(_NGINX.format(folder=folder, port=port, list=data.LIST))
            Path(folder).chmod(0o755)
            command = [
                nginx,
                "-e",
                f"{folder}/error.log",
                "-c",
                str(config),
                "-g",
                "user root;" if os.getuid() == 0 else "",
            ]
        else:
            command = [sys.executable, "-m", "benchmarks.server", str(port)]
        with subprocess.Popen(command) as process:
            try:
                if cpu is not None and hasattr(os, "sched_setaffinity"):
                    os.sched_setaffinity(process.pid, {cpu})
                _wait(port, process)
                yield f"http://127.0.0.1:{port}", "nginx" if nginx else "asyncio"
            finally:
                process.terminate()
                process.wait(5)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.05)
    raise RuntimeError("the server did not start")


class _Static(asyncio.Protocol):
    """Answers each request head with the prepared page, or with the prepared record under the id asked for."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, received: bytes) -> None:
        self._buffer += received
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            id = head[4 : head.index(b" ", 4)].partition(b"?")[0][len(_LIST) :]
            self._transport.write(_answer(_BEFORE + id + _AFTER) if id else _PAGE)


def _answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


_LIST = f"{data.LIST}/".encode()
_BEFORE, _, _AFTER = data.one().partition(data.ID.encode())
_PAGE = _answer(data.page())


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Static, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(int(sys.argv[1])))
