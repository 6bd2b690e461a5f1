"""Answers whose record or list stands alone, or in `{"data": ...}`: both forms are known of the accounts."""

from __future__ import annotations

from typing import TypeVar, cast

import msgspec

from ..errors import DecodeError
from ..safe_json import FAILURES
from .accounts import LinkedAccountResult
from .base import Answer, vars_of
from .decode import Decoder

R = TypeVar("R")


class _Top(msgspec.Struct):
    data: msgspec.Raw = msgspec.Raw()
    id: msgspec.Raw = msgspec.Raw()


_read_top = msgspec.json.Decoder(_Top).decode


def _has_data(body: bytes) -> bool:
    try:
        top = _read_top(body)
    except FAILURES:
        return False
    return bytes(top.data) not in (b"", b"null") and not bytes(top.id)


class UnwrappedDecoder(Decoder[R]):
    """Decodes a record or list in either form.

    What it decodes may hold secrets, so its bytes are left out when it is pickled.

    Args:
        answer: The type of the answer, with a field `data`.
    """

    def __call__(self, body: bytes, *, keep_unknown: bool = False) -> R:
        """Decode `body`; see `Decoder`.

        Raises:
            DecodeError: It does not decode, or it is no record: one without an id.
        """
        wrapped = body if _has_data(body) else b'{"data":' + body + b"}"
        answer = super().__call__(wrapped, keep_unknown=keep_unknown)
        if isinstance(answer, LinkedAccountResult) and answer.data.id is None:
            raise DecodeError("it has no id", path="$.id", body=body)
        vars_of(cast("Answer", answer))["_secret"] = True
        return answer
