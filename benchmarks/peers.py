"""The clients that are measured, each doing the same work: headers, query, status check, typed decoding."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from . import data

Call = Callable[[], Awaitable[Any]]
"""Makes one request and decodes its answer."""

HEADERS = {
    "Authorization": "Basic " + base64.b64encode(f"{data.KEY}:".encode()).decode(),
    "x-account-id": data.ACCOUNT,
    "Accept": "application/json",
    "User-Agent": "benchmark",
}


@contextlib.asynccontextmanager
async def stackone(url: str, pages: bool, **options: Any) -> AsyncIterator[Call]:
    """This package, everything switched on: limiter, retries, deadline, body cap, depth guard, id check."""
    from stackone_lms import AsyncClient, RateLimit

    limit = RateLimit(10**9, per=60.0)  # on, and never in the way
    async with AsyncClient(
        data.KEY, data.ACCOUNT, base_url=url, rate_limit=limit, max_concurrency=1000, **options
    ) as c:
        query: Any = {"raw": True, "fields": "id,result,score", "proxy": {"include": "x"}}

        async def get() -> Any:
            return await c.completions.get(data.ID, **query)

        async def page() -> Any:
            return await c.completions.list(page_size=100).first_page()

        yield page if pages else get


@contextlib.asynccontextmanager
async def stackone_session(url: str, pages: bool) -> AsyncIterator[Call]:
    """This package through `aiohttp.ClientSession`, as when a session is given, mocked or traced."""
    async with stackone(url, pages, transport="aiohttp") as call:
        yield call


@contextlib.asynccontextmanager
async def aiohttp_plain(url: str, pages: bool) -> AsyncIterator[Call]:
    """aiohttp as most people use it; answers stay dicts."""
    import aiohttp

    target, params = (data.LIST, {"page_size": "100"}) if pages else (data.PATH, data.QUERY)
    async with aiohttp.ClientSession(headers=HEADERS, connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call() -> Any:
            async with session.get(url + target, params=params) as response:
                response.raise_for_status()
                return await response.json()

        yield call


def _tuned(decode: Callable[[bytes], Any]) -> Callable[[str, bool], contextlib.AbstractAsyncContextManager[Call]]:
    @contextlib.asynccontextmanager
    async def tuned(url: str, pages: bool) -> AsyncIterator[Call]:
        import aiohttp
        from yarl import URL

        query = "page_size=100" if pages else "raw=true&fields=id%2Cresult%2Cscore&proxy%5Binclude%5D=x"
        target = URL(f"{url}{data.LIST if pages else data.PATH}?{query}", encoded=True)
        async with aiohttp.ClientSession(
            headers=HEADERS,
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            read_bufsize=2**18,
        ) as session:

            async def call() -> Any:
                response = await session.get(target, allow_redirects=False)
                body = await response.read()
                if response.status != 200:
                    raise RuntimeError(response.status)
                return decode(body)

            yield call

    return tuned


@contextlib.asynccontextmanager
async def aiohttp_msgspec(url: str, pages: bool) -> AsyncIterator[Call]:
    """aiohttp tuned with public knobs, decoding into bare msgspec Structs."""
    from . import structs

    async with _tuned(structs.decode_page if pages else structs.decode_one)(url, pages) as call:
        yield call


@contextlib.asynccontextmanager
async def httpx_pydantic(url: str, pages: bool) -> AsyncIterator[Call]:
    """httpx and pydantic, the pair that most generated SDKs are made of."""
    import httpx

    from . import pydantics

    target, params = (data.LIST, {"page_size": "100"}) if pages else (data.PATH, data.QUERY)
    model = pydantics.Page if pages else pydantics.Result
    limits = httpx.Limits(max_connections=1000, max_keepalive_connections=1000)
    async with httpx.AsyncClient(base_url=url, headers=HEADERS, limits=limits, timeout=60) as client:

        async def call() -> Any:
            response = await client.get(target, params=params)
            response.raise_for_status()
            return model.model_validate_json(response.content)

        yield call


@contextlib.asynccontextmanager
async def niquests_msgspec(url: str, pages: bool) -> AsyncIterator[Call]:
    """niquests (HTTP/1.1) decoding into bare msgspec Structs."""
    import niquests

    from . import structs

    target, params = (data.LIST, {"page_size": "100"}) if pages else (data.PATH, data.QUERY)
    decode = structs.decode_page if pages else structs.decode_one
    async with niquests.AsyncSession(pool_connections=10, pool_maxsize=1000) as session:
        session.headers.update(HEADERS)

        async def call() -> Any:
            response = await session.get(url + target, params=params)
            if response.status_code != 200:
                raise RuntimeError(response.status_code)
            return decode(response.content or b"")

        yield call


@contextlib.asynccontextmanager
async def pyreqwest_msgspec(url: str, pages: bool) -> AsyncIterator[Call]:
    """pyreqwest, a client in Rust, decoding into bare msgspec Structs."""
    from pyreqwest.client import ClientBuilder

    from . import structs

    target, params = (data.LIST, {"page_size": "100"}) if pages else (data.PATH, data.QUERY)
    decode = structs.decode_page if pages else structs.decode_one
    async with ClientBuilder().default_headers(HEADERS).build() as client:

        async def call() -> Any:
            response = await client.get(url + target).query(params).build().send()
            if response.status != 200:
                raise RuntimeError(response.status)
            return decode(bytes(await response.bytes()))

        yield call


ASYNC: dict[str, Callable[[str, bool], contextlib.AbstractAsyncContextManager[Call]]] = {
    "stackone-lms": stackone,
    "stackone-lms session": stackone_session,
    "aiohttp": aiohttp_plain,
    "aiohttp tuned + msgspec": aiohttp_msgspec,
    "pyreqwest + msgspec": pyreqwest_msgspec,
    "niquests + msgspec": niquests_msgspec,
    "httpx + pydantic": httpx_pydantic,
}
_NEEDS = {"pyreqwest + msgspec": "pyreqwest", "niquests + msgspec": "niquests", "httpx + pydantic": "httpx"}


def available() -> list[str]:
    """Return the asynchronous peers whose packages are installed."""
    return [name for name in ASYNC if name not in _NEEDS or importlib.util.find_spec(_NEEDS[name])]


@contextlib.contextmanager
def sync_stackone(url: str) -> Iterator[Callable[[], Any]]:
    """`SyncClient`, everything switched on."""
    from stackone_lms import RateLimit, SyncClient

    query: Any = {"raw": True, "fields": "id,result,score", "proxy": {"include": "x"}}
    with SyncClient(data.KEY, data.ACCOUNT, base_url=url, rate_limit=RateLimit(10**9)) as client:
        yield lambda: client.completions.get(data.ID, **query)


@contextlib.contextmanager
def sync_requests(url: str) -> Iterator[Callable[[], Any]]:
    """requests with a session; answers stay dicts."""
    import requests

    with requests.Session() as session:
        session.headers.update(HEADERS)

        def call() -> Any:
            response = session.get(url + data.PATH, params=data.QUERY, timeout=60)
            response.raise_for_status()
            return response.json()

        yield call


@contextlib.contextmanager
def sync_httpx(url: str) -> Iterator[Callable[[], Any]]:
    """httpx and pydantic, blocking."""
    import httpx

    from . import pydantics

    with httpx.Client(base_url=url, headers=HEADERS, timeout=60) as client:

        def call() -> Any:
            response = client.get(data.PATH, params=data.QUERY)
            response.raise_for_status()
            return pydantics.Result.model_validate_json(response.content)

        yield call


SYNC: dict[str, Callable[[str], contextlib.AbstractContextManager[Callable[[], Any]]]] = {
    "stackone-lms SyncClient": sync_stackone,
    "requests": sync_requests,
    "httpx + pydantic": sync_httpx,
}
