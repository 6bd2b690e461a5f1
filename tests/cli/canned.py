"""A server that answers what it was told to, for what the sandbox never sends."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class Canned(str):
    """The base URL of the server, and what it was asked."""

    def __new__(cls, url: str, asked: list[str]) -> Self:
        new = super().__new__(cls, url)
        new.asked = asked
        return new

    asked: list[str]

    def wait_for(self, requests: int) -> None:
        """Wait until so many requests have arrived."""
        end = time.monotonic() + 20
        while len(self.asked) < requests:
            assert time.monotonic() < end, f"only {len(self.asked)} requests came"
            time.sleep(0.01)


@contextmanager
def canned(*bodies: bytes, status: int = 200, stall: bool = False, request_id: str = "") -> Generator[Canned]:
    """Answer the first request with the first body, and so on, the last body for ever.

    Args:
        bodies: What to answer.
        status: The status of all answers.
        stall: Whether to answer nothing more, ever, after the last body.
        request_id: The `x-request-id` of all answers.

    Yields:
        The base URL, which also knows what was asked.
    """
    left = list(bodies)
    asked: list[str] = []
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append(self.path)
            if stall and not left:
                ended.wait(30)
                return
            body = left.pop(0) if stall or len(left) > 1 else left[0]
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if request_id:
                self.send_header("x-request-id", request_id)
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield Canned(f"http://127.0.0.1:{server.server_port}", asked)
        finally:
            ended.set()
            server.shutdown()
            thread.join()
