"""A network of a process's own: its name server, and a link that loses packets. Run by `test_namespace.py`.

Started as `unshare --net --mount` does it: with no network, and with mounts that nobody else sees.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import random
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor, thread
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trustme

from stackone_lms import AsyncClient, RetryPolicy, SyncClient, Timeout
from stackone_lms.errors import StackOneError
from tests.faults.children import REFUSES_THREADS
from tests.transport.server import Peer, answer

SOON = RetryPolicy(base=0.001, cap=0.001)
_UP = struct.pack("16sH14x", b"", 1)


def _set_up(name: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, name.encode().ljust(16, b"\0") + _UP[16:])  # SIOCSIFFLAGS, IFF_UP


class NameServer:
    """Answers for addresses (RFC 1035) on port 53 of loopback.

    Attributes:
        names: The addresses of each name; None for one about which it is silent. Others do not exist.
        failing: How many questions are answered with SERVFAIL before.
        asked: How often each name was asked for.
    """

    def __init__(self, names: dict[str, list[str] | None]) -> None:
        self.names, self.failing, self.asked = names, 0, Counter[str]()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            question, who = self._socket.recvfrom(4096)
            labels: list[str] = []
            at = 12
            while length := question[at]:
                labels.append(question[at + 1 : at + 1 + length].decode().lower())
                at += 1 + length
            name, kind = ".".join(labels), question[at + 2]
            self.asked[name] += 1
            known = self.names.get(name, [])
            if known is None:
                continue
            code, addresses = (0 if known else 3), known if kind == 1 else []
            if self.failing:
                self.failing -= 1
                code, addresses = 2, []
            head = question[:2] + struct.pack("!BBHHHH", 0x81, 0x80 | code, 1, len(addresses), 0, 0)
            found = b"".join(
                b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 4) + socket.inet_aton(address) for address in addresses
            )
            self._socket.sendto(head + question[12 : at + 5] + found, who)


class LossyLink:
    """A network of two addresses, `HERE` and `THERE`, both of which lead here, through a program that loses packets.

    What is sent to `THERE` comes back as from there: with the addresses swapped the checksums stay right.
    """

    HERE, THERE = "10.77.0.1", "10.77.0.2"

    def __init__(self, loss: float) -> None:
        self.loss, self.lost, self.passed = loss, 0, 0
        self._random = random.Random(7)
        self._tun = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(self._tun, 0x400454CA, struct.pack("16sH22x", b"lossy0", 0x1001))  # TUNSETIFF, TUN without a head
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            for request, address in ((0x8916, self.HERE), (0x891C, "255.255.255.0")):  # SIOCSIFADDR, SIOCSIFNETMASK
                of = struct.pack("16sHH4s8x", b"lossy0", socket.AF_INET, 0, socket.inet_aton(address))
                fcntl.ioctl(any_socket, request, of)
        _set_up("lossy0")
        threading.Thread(target=self._carry, daemon=True).start()

    def _carry(self) -> None:
        while True:
            packet = os.read(self._tun, 65_536)
            if packet[0] >> 4 != 4:
                continue
            if self._random.random() < self.loss:
                self.lost += 1
                continue
            self.passed += 1
            os.write(self._tun, packet[:12] + packet[16:20] + packet[12:16] + packet[20:])


class Api:
    """Answers gets with the id that was asked for, and counts what posts created."""

    def __init__(self) -> None:
        self.created = Counter[str]()

    async def talk(self, peer: Peer) -> None:
        while request := await peer.request():
            method, path, _ = request.line.decode().split(" ")
            if method == "POST":
                self.created[json.loads(request.body)["learning_object_external_reference"]] += 1
                await peer.send(answer(b'{"statusCode":201,"data":{"id":"n"}}', "201 Created"))
            else:
                await peer.send(answer(b'{"data":{"id":"%b"}}' % path.rpartition("/")[2].encode()))

    @asynccontextmanager
    async def serving(self, address: str, name: str) -> AsyncGenerator[tuple[str, ssl.SSLContext]]:
        """Serve at an address; yields the URL with a name, and what trusts it."""
        ca = trustme.CA()
        here, there = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.configure_trust(here)  # pyright: ignore[reportUnknownMemberType]
        ca.issue_cert(name).configure_cert(there)  # pyright: ignore[reportUnknownMemberType]
        tasks: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.add(asyncio.ensure_future(self.talk(Peer(reader, writer))))

        listener = await asyncio.start_server(accept, address, 0, ssl=there)
        try:
            yield f"https://{name}:{listener.sockets[0].getsockname()[1]}", here
        finally:
            listener.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _outcome(client: AsyncClient) -> str:
    try:
        return f"ok {(await client.users.get('x')).attempts}"
    except StackOneError as error:
        return f"{type(error).__name__} {error.attempts}: {error}"


async def names() -> dict[str, Any]:
    """Ask servers whose names are and are not there."""
    found: dict[str, Any] = {}
    server = NameServer({"api.test": ["127.0.0.1"], "two.test": ["127.0.0.9", "127.0.0.1"], "silent.test": None})
    api = Api()
    for name in ("api.test", "two.test", "none.test", "silent.test", "failing.test"):
        if name == "failing.test":
            server.names[name] = ["127.0.0.1"]
            server.failing = 2  # a question for each kind of address
        async with api.serving("127.0.0.1", name) as (url, trusted):
            limits = Timeout(connect=0.5 if name == "silent.test" else 60, total=100)
            async with AsyncClient("k", "a", base_url=url, ssl_context=trusted, retry=SOON, timeout=limits) as client:
                found[name] = await _outcome(client)
                if name == "api.test":
                    found["again"] = await _outcome(client)
                    found["asked"] = server.asked[name]
    return found


async def lossy() -> dict[str, Any]:
    """Fetch and create over a link that loses packets."""
    link, api = LossyLink(0.08), Api()
    async with api.serving(link.HERE, link.THERE) as (url, trusted):
        # The system repeats what got lost after 0.2 s and more, so that an answer is late where one packet is.
        limits = Timeout(connect=20, read=0.3, attempt=20, total=100)
        retry = RetryPolicy(attempts=50, base=0.001, cap=0.001, budget=100_000)
        async with AsyncClient(
            "k",
            "a",
            base_url=url,
            ssl_context=trusted,
            timeout=limits,
            retry=retry,
            rate_limit=None,
            max_concurrency=20,
        ) as client:
            wanted = [f"u{n}" for n in range(200)]
            got = [each.id async for each in client.users.get_many(wanted)]
            told: Counter[str] = Counter()

            async def create(n: int) -> None:
                try:
                    await client.users.completions.create("u", learning_object_external_reference=f"c{n}")
                    told[f"c{n}"] += 1
                except StackOneError:
                    pass

            await asyncio.gather(*(create(n) for n in range(100)))
    return {
        "missing": sorted(set(wanted) - set(got)),
        "doubled": len(got) - len(set(got)),
        "created twice": [name for name, times in api.created.items() if times > 1],
        "told but not created": sorted(set(told) - set(api.created)),
        "told": len(told),
        "lost": link.lost > 20,
    }


def late() -> None:
    """Leave work to a pool that begins when the main thread has ended, and needs names."""
    NameServer({"api.test": ["127.0.0.1"]})
    api, ready = Api(), threading.Event()
    at: list[tuple[str, ssl.SSLContext]] = []

    async def serve() -> None:
        async with api.serving("127.0.0.1", "api.test") as found:
            at.append(found)
            ready.set()
            await asyncio.Event().wait()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    ready.wait(60)
    client = SyncClient("k", "a", base_url=at[0][0], ssl_context=at[0][1], rate_limit=None)
    if REFUSES_THREADS:  # then: a client that was used before has its thread, and those that look names up
        client.users.get("first")

    def work(n: int) -> None:
        while not getattr(thread, "_shutdown"):  # noqa: B009 (set when the main thread has ended)
            threading.Event().wait(0.01)
        client.users.completions.create("u", learning_object_external_reference=str(n))
        os.write(1, b'"done"\n')

    pool = ThreadPoolExecutor(10)
    for n in range(10):
        pool.submit(work, n)


if __name__ == "__main__":
    what, folder = sys.argv[1], Path(sys.argv[2])
    _set_up("lo")
    for file in folder.iterdir():
        if subprocess.run(["mount", "--bind", file, f"/etc/{file.name}"], check=False).returncode != 0:
            sys.exit(77)
    if what == "late":
        late()
    else:
        print(json.dumps(asyncio.run(names() if what == "names" else lossy())))
