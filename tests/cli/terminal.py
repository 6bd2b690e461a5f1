"""Running the program on a terminal of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Sequence

from . import warm
from .program import LONGEST, MODULE, Ended, Environment

_STYLES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def plain(text: str) -> str:
    """Return text without colours and cursor moves."""
    return _STYLES.sub("", text)


def on_terminal(
    *arguments: str, env: Environment, columns: int = 120, piped: bool = False, command: Sequence[str] = MODULE
) -> Ended:
    """Run the program with a terminal as stderr, and as stdout too unless that is piped."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    read, write = os.pipe() if piped else (-1, os.dup(theirs))
    nothing = os.open(os.devnull, os.O_RDONLY)
    process: subprocess.Popen[bytes] | warm.WarmProgram
    try:
        if command is MODULE:
            process = warm.start(arguments, env=env, stdin=nothing, stdout=write, stderr=theirs)
        else:
            process = subprocess.Popen([*command, *arguments], env=env, stdin=nothing, stdout=write, stderr=theirs)
    finally:
        for file in (theirs, write, nothing):
            os.close(file)
    shown, out = bytearray(), bytearray()
    sources: dict[int, bytearray] = {ours: shown}
    if piped:
        sources[read] = out
    end = time.monotonic() + LONGEST
    try:
        while sources:
            ready, _, _ = select.select(list(sources), [], [], max(0.0, end - time.monotonic()))
            assert ready, "the program takes too long"
            for source in ready:
                try:
                    data = os.read(source, 65536)
                except OSError:  # how a terminal ends on Linux
                    data = b""
                sources[source].extend(data)
                if not data:
                    del sources[source]
        code = process.wait(LONGEST)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        if piped:
            os.close(read)
    text = shown.decode().replace("\r\n", "\n")
    return Ended(code, out.decode() if piped else text, text)
