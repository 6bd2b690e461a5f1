"""A bare HTTP client for these tests: they must not depend on the SDK."""

from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from json import dumps, loads
from typing import Any

import aiohttp
from yarl import URL

from stackone_lms.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return loads(self.body)

    @property
    def data(self) -> Any:
        return self.json["data"]


def credentials(sandbox: Sandbox, account: int = 0) -> dict[str, str]:
    """Return the headers that let a request in."""
    key = b64encode(f"{sandbox.api_key}:".encode()).decode()
    return {"Authorization": f"Basic {key}", "x-account-id": sandbox.account_ids[account]}


class Client:
    """Sends requests below `/unified/lms/`, with good credentials unless told otherwise."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.session = session

    async def __call__(
        self,
        method: str,
        path: str,
        query: str = "",
        *,
        json: object = None,
        data: bytes | BytesIO | None = None,
        headers: Mapping[str, str | None] | None = None,
        account: int = 0,
    ) -> Response:
        sent: dict[str, str | None] = {
            **credentials(self.sandbox, account),
            "User-Agent": "tests",
            "Content-Type": None if json is None else "application/json",
            **(headers or {}),
        }
        sent_json = None if json is None else dumps(json).encode()
        root = "" if path.startswith("/") else "/unified/lms/"
        url = URL(f"{self.sandbox.url}{root}{path}{'?' if query else ''}{query}", encoded=True)
        async with self.session.request(
            method,
            url,
            data=data if sent_json is None else BytesIO(sent_json),
            headers={name: value for name, value in sent.items() if value is not None},
            skip_auto_headers=("User-Agent", "Content-Type"),
        ) as answer:
            return Response(answer.status, answer.headers, await answer.read())

    async def get(self, path: str, query: str = "", *, account: int = 0) -> Response:
        return await self("GET", path, query, account=account)

    async def pages(self, path: str, query: str = "", *, account: int = 0) -> AsyncIterator[Any]:
        """Yield the pages of a list until its cursor ends."""
        cursor = ""
        for _ in range(1000):
            reply = await self.get(path, "&".join(filter(None, (query, cursor))), account=account)
            assert reply.status == 200, reply.body
            page = reply.json
            yield page
            if page["next"] is None:
                return
            cursor = f"next={page['next']}"
        raise AssertionError("the list never ends")

    async def all(self, path: str, query: str = "page_size=100", *, account: int = 0) -> list[Any]:
        """Return the records of all pages of a list."""
        return [item async for page in self.pages(path, query, account=account) for item in page["data"]]
