"""A local S3 server (moto) that is strict where it counts: it knows its key, and can be told to fail."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from functools import cached_property
from importlib import import_module
from typing import Any

BUCKET = "lake"
KEY, SECRET = "AKIATESTTESTTESTTEST", "a-secret-that-nobody-prints"
OPTIONS = {"access_key_id": KEY, "secret_access_key": SECRET, "region": "us-east-1"}

Fault = Callable[[str, str], str | None]
"""Told method and key of a request: None, or what becomes of it: `503`, `lost` (done, but the answer is not sent),
`403`."""


def _unsent(status: str, headers: list[tuple[str, str]], info: Any = None) -> None:
    """Take the beginning of an answer that is not sent."""


class S3:
    """The server.

    Attributes:
        url: Where it listens.
        requests: The requests so far: method and key, `?list` for a listing.
        fault: What happens to requests.
        after: Told of a request that was carried out, before it is answered.
    """

    def __init__(self) -> None:
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.requests: list[tuple[str, str]] = []
        self.fault: Fault = lambda method, key: None
        self.after: Callable[[str, str], object] = lambda method, key: None
        moto: Any = import_module("moto.moto_server.werkzeug_app")
        self._moto = moto.DomainDispatcherApplication(moto.create_backend_app)
        self._one_by_one = threading.Lock()  # moto looks at conditions, then writes: not in one step
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self.client.close()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        import_module("moto.core.base_backend").BackendDict.reset()  # it holds the objects of all servers of a process

    def _answer(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        key = path.partition(f"/{BUCKET}/")[2] or f"?{environ.get('QUERY_STRING', '').partition('=')[0].split('-')[0]}"
        self.requests.append((method, key))
        fault = self.fault(method, key)
        if f"Credential={KEY}/" not in environ.get("HTTP_AUTHORIZATION", ""):
            fault = "403"
        if fault in ("403", "503"):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            code = {"403": "InvalidAccessKeyId", "503": "SlowDown"}[fault]
            start(f"{fault} {code}", [("Content-Type", "application/xml")])
            return [f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no {SECRET}</Message></Error>".encode()]
        with self._one_by_one:
            body = [*self._moto(environ, start if fault != "lost" else _unsent)]
        self.after(method, key)
        if fault == "lost":
            start("503 SlowDown", [])
            return []
        return body

    @property
    def options(self) -> dict[str, str]:
        """Options to reach it."""
        return {**OPTIONS, "endpoint": self.url}

    @property
    def counted(self) -> Counter[str]:
        """How many requests there were by method; deletions and listings by those names."""
        return Counter(key.strip("?") if key.startswith("?") else method for method, key in self.requests)

    @property
    def environment(self) -> dict[str, str]:
        """Variables to reach it."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
        }

    @cached_property
    def client(self) -> Any:
        """A client of boto3."""
        made: Any = import_module("boto3").client(
            "s3", endpoint_url=self.url, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1"
        )
        return made

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """Return all objects below a prefix, by their names from there on."""
        client = self.client
        names = [
            one["Key"]
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
            for one in page.get("Contents", ())
        ]
        return {
            name.removeprefix(prefix).strip("/"): client.get_object(Bucket=BUCKET, Key=name)["Body"].read()
            for name in names
        }


@contextlib.contextmanager
def running() -> Generator[S3]:
    server = S3()
    try:
        server.client.create_bucket(Bucket=BUCKET)
        server.requests.clear()
        yield server
    finally:
        server.close()
