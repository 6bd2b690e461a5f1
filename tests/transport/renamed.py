"""Runs a client with an aiohttp in which one private name is another one.

Usage: python -m tests.transport.renamed NAME. It prints why the lean transport is not used ("None" if it is), and
"works" at the end.
"""

from __future__ import annotations

import asyncio
import importlib.abc
import importlib.machinery
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType


class _Loader(importlib.machinery.SourceFileLoader):
    name = ""

    def get_code(self, fullname: str) -> CodeType:
        """Compile the changed source, past the cache."""
        text = re.sub(rf"(?<!\w){self.name}(?!\w)", f"{self.name}_renamed", Path(self.path).read_text("utf-8"))
        return compile(text, self.path, "exec")


class _Renaming(importlib.abc.MetaPathFinder):
    """Loads the modules of aiohttp with a name replaced in their source."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find modules of aiohttp that are written in Python."""
        found = importlib.machinery.PathFinder.find_spec(fullname, path) if fullname.startswith("aiohttp") else None
        if found is None or not str(found.origin).endswith(".py"):
            return None
        found.loader = loader = _Loader(fullname, str(found.origin))
        loader.name = self._name
        return found


async def _use() -> None:
    from stackone_lms import AsyncClient, RetryPolicy
    from stackone_lms.errors import ConnectionLostError
    from tests.transport.server import Peer, answer, serving

    created = b'{"statusCode":201,"message":"Created","timestamp":"2026-01-01T00:00:00.000Z","data":{"id":"n"}}'

    async def script(peer: Peer) -> None:
        while request := await peer.request():
            if b"/cut" in request.line:
                await peer.send(answer()[:-5])
                return
            await peer.send(answer(created, "201 Created") if request.line.startswith(b"POST") else answer())

    async with serving(script) as server, AsyncClient("key", "a", base_url=server.url) as client:
        async with asyncio.timeout(20):
            for _ in range(3):
                assert (await client.users.get("x")).data.id == "x"
                await client.users.completions.create("u", learning_object_external_reference="c")
            assert len(server.peers) == 1
            try:
                await client.with_options(retry=RetryPolicy(attempts=1)).users.get("cut")
            except ConnectionLostError:
                pass
            else:
                raise AssertionError("a cut answer passed")


def main() -> None:
    """Rename, import, use."""
    if sys.argv[1:]:
        sys.meta_path.insert(0, _Renaming(sys.argv[1]))
    warnings: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: warnings.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("stackone_lms").addHandler(handler)
    for _ in range(2):
        asyncio.run(_use())
    from stackone_lms.transport.aiohttp_internals import UNUSABLE

    print(UNUSABLE)
    print(len(warnings), *warnings)
    print("works")


if __name__ == "__main__":
    main()
