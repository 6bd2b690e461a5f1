"""The untyped decoder, and the guard against nesting."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackone_lms import safe_json as guard
from stackone_lms.errors import DecodeError
from stackone_lms.safe_json import (
    MAX_DEPTH,
    brackets,
    parse,
    too_deep,
)

from ..soak import further

PIECES = st.sampled_from(['"', "\\", "[", "]", "{", "}", "a", ",", "é", "\n", "\x00", "/"])
STRINGS = st.text(PIECES, max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | STRINGS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(STRINGS, inner, max_size=3),
    max_leaves=20,
)


def depth_of(value: Any) -> int:
    """Return how deep plain values nest."""
    if isinstance(value, dict):
        value = list(cast("dict[str, Any]", value).values())
    return 1 + max(map(depth_of, cast("list[Any]", value)), default=0) if isinstance(value, list) else 0


def nested(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    return (opening * depth + closing * depth).encode()


@given(JSON)
def test_the_brackets_outside_of_strings_are_found(value: Any) -> None:
    expected = json.dumps(value, ensure_ascii=False)
    # Written again with every string emptied, what is left of the brackets is all there is.
    bare = json.dumps(json.loads(expected, object_pairs_hook=lambda pairs: [v for _, v in pairs]))
    left = "".join(c for c in json.dumps(_emptied(json.loads(bare))) if c in "[]")
    assert brackets(expected.encode()).decode() == left


def _emptied(value: Any) -> Any:
    if isinstance(value, list):
        return [_emptied(item) for item in cast("list[Any]", value)]
    return "" if isinstance(value, str) else value


@given(JSON, st.integers(0, 100))
def test_brackets_of_a_cut_text_are_the_beginning_of_those_of_the_whole(value: Any, cut: int) -> None:
    text = json.dumps(value).encode()
    assert brackets(text).startswith(brackets(text[:cut]))


def test_strings_that_span_the_chunks_are_still_strings(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"a":["[[","]]",{"{":"}"}],"b":"' + b"[]" * 50 + b'"}'
    expected = brackets(body)
    assert expected == b"[[[]]]"
    for size in range(1, 20):
        monkeypatch.setattr(guard, "_CHUNK", size)
        assert brackets(body) == expected


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_exactly_max_depth_levels_are_allowed(opening: str, closing: str) -> None:
    each = opening.count("[") + opening.count("{")
    assert not too_deep(nested(MAX_DEPTH // each, opening, closing))
    assert too_deep(nested(MAX_DEPTH // each + 1, opening, closing))
    beside = b"[" + b"[]," * 500
    assert not too_deep(beside + nested((MAX_DEPTH - 1) // each, opening, closing) + b"]")
    assert too_deep(beside + nested(MAX_DEPTH // each, opening, closing) + b"]")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'["]",' * 100_000,
        b'["]","\\"]",' * 100_000,
        b'{"}":' * 100_000,
        b'["\\\\","]",' * 100_000,
        b"[[]," * 100_000,
        b'{"data":{"id":"x","unknown":' + b"[" * 100_000,
    ],
    ids=lambda body: body[:12].decode(),
)
def test_nesting_is_seen_through_strings_that_look_like_closing_brackets(body: bytes) -> None:
    assert too_deep(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]" * 10_000,
        b'["' + b"[" * 10_000 + b'"]',
        b'["\\"' + b"{" * 10_000 + b'"]',
        b'["\\\\",' + b'"[",' * 10_000 + b"1]",
        b'{"text":"' + b":-[ " * 10_000 + b'"}',
        json.dumps([{"a": [1], "b": {"c": ["]", "["]}}] * 1000).encode(),
    ],
    ids=lambda body: body[:12].decode(),
)
def test_brackets_beside_each_other_or_in_strings_are_no_nesting(body: bytes) -> None:
    assert not too_deep(body)


@given(JSON)
def test_flat_documents_are_never_too_deep(value: Any) -> None:
    assert not too_deep(json.dumps(value).encode())
    assert depth_of(value) < MAX_DEPTH


@pytest.mark.parametrize(
    "body",
    [
        b'"' + b'\\"' * 500_000,
        b'"' * 1_000_001,
        b"\\" * 1_000_001,
        b'"[' * 500_000,
        b'"[",' * 250_000,
        b'{"a":"' + b"x" * 1_000_000 + b'"}',
        b"[" * 500_000 + b"]" * 500_000,
    ],
    ids=lambda body: body[:6].decode(),
)
def test_a_megabyte_of_anything_is_looked_through_at_once(body: bytes) -> None:
    """A regular expression over strings took time without end here, and a hundred times the memory."""
    started = time.process_time()
    too_deep(body)
    brackets(body)
    assert time.process_time() - started < 2.0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "does not decode"),
        (b"{", "does not decode"),
        (b"{} x", "trailing"),
        ("{}".encode("utf-16"), "malformed"),
        (b'"\xff"', "UTF-8"),
        (b'{"a\xff":1}', "UTF-8"),
        (b"NaN", "malformed"),
        (b"1e999", "out of range"),
        (b"9" * 5000, "out of range"),
        (b"[" * 1_000_000, "nests too deep"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_whatever_is_wrong_is_a_decode_error_with_the_body(body: bytes, message: str) -> None:
    with pytest.raises(DecodeError, match=message) as caught:
        parse(body)
    assert caught.value.body == body
    assert caught.value.path == "$"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@given(st.binary(max_size=60))
def test_no_bytes_make_anything_but_values_or_a_decode_error(body: bytes) -> None:
    try:
        value = parse(body)
    except DecodeError:
        return
    assert value is None or isinstance(value, bool | int | float | str | list | dict)


@given(JSON)
def test_what_is_json_is_decoded(value: Any) -> None:
    assert parse(json.dumps(value).encode()) == value


def _in_thread(function: Callable[[], Any], stack: int = 0) -> Any:
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(function())
        except DecodeError as error:
            found.append(error)

    before = threading.stack_size(stack)
    try:
        thread = threading.Thread(target=run)
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    return found[0]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the stack of a thread is not known")
@pytest.mark.parametrize(("mebibytes", "says"), [(1, "deeper than 128"), (3, "deeper than 128"), (5, "ok"), (16, "ok")])
def test_the_stack_of_a_thread_is_what_the_system_says(mebibytes: int, says: str) -> None:
    """In a process of its own: a C library may give a new thread the larger stack of one that has ended."""
    source = f"""
        import threading
        from stackone_lms.safe_json import parse

        def decode():
            try:
                parse(b"[" * 129 + b"]" * 129)
                print("ok")
            except Exception as error:
                print(error)

        threading.stack_size({mebibytes} * 1024 * 1024)
        threading.Thread(target=decode).start()
    """
    command = [sys.executable, "-c", textwrap.dedent(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert says in done.stdout


@pytest.mark.parametrize("missing", ["pthread_getattr_np", "the module"])
def test_a_thread_whose_stack_cannot_be_told_refuses_nesting(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on systems without that function, and with a Python without ctypes."""
    if missing == "the module":
        monkeypatch.setitem(sys.modules, "ctypes", None)
    else:
        monkeypatch.setattr("ctypes.CDLL", str)  # which has none of its functions
    assert isinstance(_in_thread(lambda: parse(nested(MAX_DEPTH + 1)), 16 * 1024 * 1024), DecodeError)
    assert _in_thread(lambda: parse(nested(MAX_DEPTH)), 16 * 1024 * 1024)


CHILD = """
    import threading
    from stackone_lms.models.decode import Decoder
    from stackone_lms.errors import DecodeError
    from stackone_lms.safe_json import parse
    from stackone_lms.models import CompletionResult, Completion, Page

    one, many = Decoder(CompletionResult), Decoder(Page[Completion])
    inner = {inner!r} * 200_000
    bodies = [inner, b'{{"data":{{"id":"x","unknown":' + inner, b'{{"data":[{{"id":{{}},"u":' + inner,
              b'{{"data":{{"id":"x"}},"raw":' + inner, b'{{"data":[{{"id":"x","u":1}},' + inner]
    refused = 0

    def attack():
        global refused
        for body in bodies:
            for decode in (parse, one, many, lambda b: one(b, keep_unknown=True), lambda b: many(b, keep_unknown=True)):
                try:
                    decode(body)
                except DecodeError:
                    refused += 1

    threading.stack_size(256 * 1024)
    thread = threading.Thread(target=attack)
    thread.start()
    thread.join()
    assert refused == 25, refused
"""


@pytest.mark.parametrize("inner", [b"[", *further(b'{"a":', b'["]",', b'{"}":[')], ids=lambda inner: inner.decode())
def test_on_a_small_stack_nesting_leaves_the_process_alive(inner: bytes) -> None:
    """msgspec overruns a stack of 256 KiB and the process dies of SIGSEGV: hence a child process."""
    child = textwrap.dedent(CHILD.format(inner=inner))
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
