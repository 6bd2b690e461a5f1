"""A local server of the XML API of Google Cloud Storage, as far as exports use it, with its generations and conditions.

https://cloud.google.com/storage/docs/xml-api/overview
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Generator, Iterable
from email.utils import formatdate
from itertools import count
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

BUCKET = "lake"


class GCS:
    """The server.

    Attributes:
        url: Where it listens.
        objects: What it holds: bytes and generation by name.
        unseen: Objects that the next reading misses, as if they were written just after it.
        refused: Writes whose condition did not hold.
    """

    def __init__(self) -> None:
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.objects: dict[str, tuple[bytes, int]] = {}
        self.unseen: set[str] = set()
        self.refused = 0
        self._generations = count(1_700_000_000_000_001)
        self._one_by_one = threading.Lock()
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def options(self) -> dict[str, str]:
        """Options to reach it: a service account of an emulator, as object_store has it."""
        account = {"gcs_base_url": self.url, "disable_oauth": True}
        key = {"client_email": "nobody@example.org", "private_key": "none", "private_key_id": "none"}
        return {"service_account_key": json.dumps({**account, **key}), "allow_http": "true"}

    def _answer(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        method, name = environ["REQUEST_METHOD"], environ["PATH_INFO"].removeprefix(f"/{BUCKET}").lstrip("/")
        sent = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        with self._one_by_one:
            status, headers, body = self._carry_out(method, name, environ, sent)
        start(status, [*headers.items(), ("Content-Length", str(len(body)))])
        return [] if method == "HEAD" else [body]

    def _carry_out(
        self, method: str, name: str, environ: dict[str, Any], sent: bytes
    ) -> tuple[str, dict[str, str], bytes]:
        if not name:
            return "200 OK", {"Content-Type": "application/xml"}, self._list(environ["QUERY_STRING"])
        there = self.objects.get(name)
        if method == "PUT":
            wanted = environ.get("HTTP_X_GOOG_IF_GENERATION_MATCH")
            if wanted is not None and int(wanted) != (0 if there is None else there[1]):
                self.refused += 1
                return "412 Precondition Failed", {}, b"<Error><Code>PreconditionFailed</Code></Error>"
            there = self.objects[name] = sent, next(self._generations)
            return "200 OK", self._headers(there), b""
        if there is None or name in self.unseen:
            self.unseen.discard(name)
            return "404 Not Found", {}, b"<Error><Code>NoSuchKey</Code></Error>"
        if method == "DELETE":
            del self.objects[name]
            return "204 No Content", {}, b""
        return "200 OK", self._headers(there), there[0]

    def _headers(self, there: tuple[bytes, int]) -> dict[str, str]:
        generation = str(there[1])
        return {
            "ETag": f'"{generation}"',
            "x-goog-generation": generation,
            "Last-Modified": formatdate(usegmt=True),
            "x-goog-stored-content-length": str(len(there[0])),
        }

    def _list(self, query: str) -> bytes:
        prefix = parse_qs(query).get("prefix", [""])[0]
        contents = "".join(
            f'<Contents><Key>{escape(name)}</Key><Size>{len(body)}</Size><ETag>"{generation}"</ETag>'
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for name, (body, generation) in sorted(self.objects.items())
            if name.startswith(prefix)
        )
        return f"<?xml version='1.0'?><ListBucketResult><Name>{BUCKET}</Name>{contents}</ListBucketResult>".encode()


@contextlib.contextmanager
def running() -> Generator[GCS]:
    server = GCS()
    try:
        yield server
    finally:
        server.close()
