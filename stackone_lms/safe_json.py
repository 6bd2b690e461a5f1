"""The one untyped JSON decoder: it survives nesting, bad UTF-8 and everything else a body can hold."""

from __future__ import annotations

import re
import sys
import threading
from itertools import accumulate
from typing import Any

import msgspec

from .errors import DecodeError, printable

MAX_DEPTH = 128
"""Nesting allowed in an answer where the stack may be small. The API's own documents need about 10."""

_AS_SQUARE = bytes.maketrans(b"{}", b"[]")
_UP_AND_DOWN = bytes.maketrans(b"[]", b"\x01\xff")
_NEITHER_BRACKETS_NOR_QUOTES = bytes(set(range(256)) - set(b'[]{}"'))
_CHUNK = 256 * 1024
_ENOUGH_STACK = 4 * 1024 * 1024
roomy = threading.local()
"""Has `known` set where the stack of the present thread is known: True if it is large enough for any nesting."""


def stack_is_roomy() -> bool:
    """Tell whether the present thread surely has the stack on which deep nesting is a RecursionError.

    On a small stack msgspec overruns it and the process dies: seen with 256 KiB on 3.11 and 2 MiB on 3.13.
    """
    known: bool | None = getattr(roomy, "known", None)
    if known is None:
        is_main = threading.current_thread() is threading.main_thread()
        known = roomy.known = (_main_stack() if is_main else _thread_stack()) >= _ENOUGH_STACK
    return known


def _main_stack() -> int:
    if sys.platform == "win32":
        return 0
    import resource  # noqa: PLC0415 (not on Windows)

    soft, _ = resource.getrlimit(resource.RLIMIT_STACK)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def _thread_stack() -> int:
    """Return how many bytes of stack the present thread has; 0 where the system cannot be asked.

    Its default depends on the limits with which the process began, and other code may have set it meanwhile.
    """
    if sys.platform != "linux":
        return 0
    try:
        import ctypes  # noqa: PLC0415 (needed once, by the first large answer outside of the main thread)

        libc = ctypes.CDLL(None)
        libc.pthread_self.restype = ctypes.c_void_p
        attributes = ctypes.create_string_buffer(256)  # a pthread_attr_t, which has 36 to 64 bytes
        if libc.pthread_getattr_np(ctypes.c_void_p(libc.pthread_self()), attributes):
            return 0
        size = ctypes.c_size_t()
        libc.pthread_attr_getstacksize(attributes, ctypes.byref(size))
        libc.pthread_attr_destroy(attributes)
    except (ImportError, AttributeError, OSError):  # Python without ctypes, or a C library without these functions
        return 0
    return size.value


if threading.current_thread() is threading.main_thread():
    stack_is_roomy()  # known from the start, so that no call asks


def too_deep(body: bytes) -> bool:
    """Tell whether `body` nests deeper than `MAX_DEPTH`; about 5 ms per MB."""
    # After a closing bracket too many the decoder stops, so what is below zero from there does not matter.
    steps = memoryview(brackets(body).translate(_UP_AND_DOWN)).cast("b")
    return max(accumulate(steps), default=0) > MAX_DEPTH


def brackets(body: bytes) -> bytes:
    """Return the brackets of a JSON text that stand outside of strings, all as square ones.

    In linear time and little memory, whatever the body holds; it may be cut off anywhere.
    """
    left = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(_AS_SQUARE, _NEITHER_BRACKETS_NOR_QUOTES)
    left = left.replace(b'""', b"")
    outside: list[bytes] = []
    in_string = False
    for start in range(0, len(left), _CHUNK):
        parts = left[start : start + _CHUNK].split(b'"')
        outside.append(b"".join(parts[in_string::2]))
        in_string ^= len(parts) % 2 == 0
    return b"".join(outside)


def check_depth(body: bytes) -> None:
    """Raise DecodeError if `body` could overrun this thread's stack."""
    if getattr(roomy, "known", False) or body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    if not stack_is_roomy() and too_deep(body):
        raise DecodeError(f"the body nests deeper than {MAX_DEPTH} levels", body=body)


def failure(error: BaseException, body: bytes) -> DecodeError:
    """Make ours of whatever msgspec raised on `body`."""
    if isinstance(error, RecursionError):
        return DecodeError("the body nests too deep", body=body)
    if isinstance(error, UnicodeDecodeError):
        return DecodeError("the body is not valid UTF-8", body=body)
    # msgspec ends its messages with " - at `$.data[0].x`", but for the whole body; the rest names types.
    what, found, where = str(error).rpartition(" - at `$")
    if not found:
        what, where = where, ""
    for label in _QUOTING:
        if what.startswith(label):
            what = label
    return DecodeError(f"the body does not decode: {printable(what + found + where)}", path=f"${where[:-1]}", body=body)


_QUOTING = ("Invalid enum value", "Object contains unknown field")
"""Beginnings of messages that go on with what the server sent, which could be an echo of the credentials."""

FAILURES = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, MemoryError)
"""What msgspec can raise for a bad body: the three last ones escape its own DecodeError."""

decode_any = msgspec.json.Decoder[Any]().decode
"""Decodes any JSON to plain values, on a stack that is known to bear it; raises what msgspec raises."""


def parse(body: bytes | msgspec.Raw) -> Any:
    """Decode any JSON to plain values, repaired if need be, or raise DecodeError."""
    body = bytes(body)
    check_depth(body)
    try:
        return decode_any(body)
    except FAILURES as error:
        repaired = repair(body)
        if repaired is body:
            raise failure(error, body) from None
    return parse(repaired)


_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]|u[dD]([89a-fA-F]..)|.)", re.DOTALL)
"""An escape in a JSON text; with a group if it is half of a surrogate pair, as JavaScript cuts texts."""


def repair(body: bytes) -> bytes:
    """Return a JSON text without a byte-order mark, and with U+FFFD for each half of a surrogate pair.

    Returns:
        `body` itself if there is nothing to repair.
    """
    text = body.removeprefix(_BYTE_ORDER_MARK)
    if b"\\ud" in text or b"\\uD" in text:
        text = _ESCAPE.sub(lambda escape: rb"\ufffd" if escape[1] is not None else escape[0], text)
    return body if text == body else text


def spell_out_halves(text: bytes) -> bytes:
    r"""Return a JSON text in which a half of a surrogate pair is text, of the six characters that were sent for it."""
    return _ESCAPE.sub(lambda escape: escape[0] if escape[1] is None else b"\\" + escape[0], text)


def has_halves(body: bytes) -> bool:
    """Tell whether a JSON text holds half of a surrogate pair."""
    return repair(body) not in {body, body.removeprefix(_BYTE_ORDER_MARK)}
