"""Programs that begin warm: in forks of a process that has imported what the program needs.

Importing is nine tenths of what a short run of the program costs. Each run is a process of its own, which ends as
Python ends; what depends on how it begins (its locale, its interpreter's options) begins cold, as people start it.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Self, cast

ROOT = Path(__file__).parents[2]
MODULE = "stackone_lms.cli"

IMPORTED = (
    "aiohttp",
    "anyio._backends._asyncio",
    "pydantic",
    "rich.live",
    "rich.markup",
    "rich.pager",
    "rich.table",
    "stackone_lms.api.operations",
    "stackone_lms.cli.app",
    "stackone_lms.cli.listing",
    "stackone_lms.sync",
    "stackone_lms.transport.lean",
    "typer._adapters",
    "typer.rich_utils",
)

possible = hasattr(os, "fork")

AT_THE_BEGINNING = ("PYTHON", "LC_", "LANG", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TERMINAL_WIDTH", "TZ")
"""Begins of names of variables that the interpreter, or an import, looks at."""


def _beginning(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(AT_THE_BEGINNING)}


class WarmProgram:
    """One run of the program, with as much of `subprocess.Popen` as is needed.

    Args:
        status: Where its process id comes from, and how it ended.
        out: The reading end of a pipe that it writes its stdout into.
        err: As `out`, of its stderr.
    """

    def __init__(self, status: socket.socket, out: int | None = None, err: int | None = None) -> None:
        self._status = status
        self.pid = int.from_bytes(status.recv(8), "little")
        self.returncode: int | None = None
        self.stdout, self.stderr = (
            None if end is None else os.fdopen(end, encoding="utf-8", newline="") for end in (out, err)
        )

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return the exit code, the negative number of a signal."""
        if self.returncode is None:
            self._status.settimeout(timeout)
            try:
                ended = self._status.recv(8)
            except TimeoutError:
                raise subprocess.TimeoutExpired(MODULE, timeout or 0.0) from None
            assert ended, "the warm process is gone"
            self.returncode = os.waitstatus_to_exitcode(int.from_bytes(ended, "little"))
            self._status.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end, and return what it wrote to stdout and stderr since they were read last."""
        assert self.stdout is not None
        assert self.stderr is not None
        if self.stdout.closed:
            return "", ""
        with ThreadPoolExecutor(2) as threads:
            ends = [threads.submit(file.read) for file in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()  # which ends the two threads
                raise
        for file in (self.stdout, self.stderr):
            file.close()
        out, err = (end.result() for end in ends)
        return out, err

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it, if it still runs."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.wait()
        for file in (self.stdout, self.stderr):
            if file is not None:
                file.close()


class _Stem:
    """The process that runs of the program are forked from, which begins at the first of them."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.beginning = _beginning(env)
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.cli.warm", str(theirs.fileno())],
            cwd=ROOT,
            env=dict(env),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        atexit.register(self.end)

    def end(self) -> None:
        """End the process: it ends when nobody can reach it any more."""
        self.channel.close()
        self.process.wait()

    def start(self, arguments: Sequence[str], env: Mapping[str, str], files: Sequence[int], *ends: int) -> WarmProgram:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            asked = {"arguments": list(arguments), "env": dict(env), "cwd": os.getcwd()}  # noqa: PTH109
            socket.send_fds(self.channel, [json.dumps(asked).encode()], [*files, theirs.fileno()])
        return WarmProgram(ours, *ends)


@cache
def _stem(beginning: tuple[tuple[str, str], ...], path: str) -> _Stem:
    return _Stem({**dict(beginning), "PATH": path})


def start(arguments: Sequence[str], *, env: Mapping[str, str], stdin: int, stdout: int, stderr: int) -> WarmProgram:
    """Start the program with three open files.

    Args:
        arguments: What follows the program's name.
        env: The whole environment.
        stdin: File descriptor, as the two others.
        stdout: As above.
        stderr: As above.
    """
    stem = _stem(tuple(sorted(_beginning(env).items())), env.get("PATH", ""))
    return stem.start(arguments, env, [stdin, stdout, stderr])


def run(arguments: Sequence[str], *, env: Mapping[str, str], given: bytes = b"") -> WarmProgram:
    """Start the program without a terminal; `stdout` and `stderr` are to be read, stdin has what is given."""
    (out, theirs), (err, theirs_too) = os.pipe(), os.pipe()
    with TemporaryFile() as file:
        file.write(given)
        file.seek(0)
        stem = _stem(tuple(sorted(_beginning(env).items())), env.get("PATH", ""))
        try:
            return stem.start(arguments, env, [file.fileno(), theirs, theirs_too], out, err)
        finally:
            os.close(theirs)
            os.close(theirs_too)


def _ignore(_number: int, _frame: object) -> None:
    """Do nothing: what wakes the process up is the byte that arrives."""


def _serve(channel: socket.socket) -> dict[str, Any]:
    """Fork for each run that is asked for; return in the forks, with what was asked."""
    running: dict[int, socket.socket] = {}
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, _ignore)
    with selectors.DefaultSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is channel:
                    message, files, _, _ = socket.recv_fds(channel, 1 << 20, 4)
                    if not message:
                        for pid in running:
                            os.kill(pid, signal.SIGKILL)
                        os._exit(0)
                    status = socket.socket(fileno=files.pop())
                    pid = os.fork()
                    if not pid:
                        break
                    status.send(pid.to_bytes(8, "little"))
                    running[pid] = status
                    for file in files:
                        os.close(file)
                else:
                    with contextlib.suppress(BlockingIOError):
                        os.read(woken, 4096)
                    for pid in [*running]:
                        ended, code = os.waitpid(pid, os.WNOHANG)
                        if ended:
                            with running.pop(pid) as status, contextlib.suppress(BrokenPipeError):
                                status.send(code.to_bytes(8, "little"))
            else:
                continue
            break
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for held in (channel, status, *running.values()):
        held.close()
    os.close(woken)
    os.close(wake)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    return cast("dict[str, Any]", json.loads(message))


def _begin(asked: dict[str, Any]) -> None:
    """Be a process that has just begun."""
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = ["stackone-lms", *asked["arguments"]]
    buffered = not os.environ.get("PYTHONUNBUFFERED")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
    for number, name, errors in ((1, "stdout", "strict"), (2, "stderr", "backslashreplace")):
        file = io.FileIO(number, "w", closefd=False)
        raw = io.BufferedWriter(file) if buffered else file
        stream = io.TextIOWrapper(
            cast("BinaryIO", raw),
            getattr(sys, name).encoding,
            errors,
            line_buffering=number == 2 or file.isatty(),
            write_through=not buffered,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


if __name__ == "__main__":
    for module in IMPORTED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # so that the forks neither look at all this again nor copy it
    _begin(_serve(socket.socket(fileno=int(sys.argv[1]))))
    sys.exit(importlib.import_module(MODULE).main())
