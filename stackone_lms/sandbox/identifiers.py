"""StackOne ids, account ids, and the ids that providers use."""

from base64 import urlsafe_b64encode
from collections.abc import Callable
from random import Random

ProviderIds = Callable[[str, int, Random], str]
"""Makes the provider's id of one record from its table, its number in the table, and a generator."""

_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def base64url(data: bytes) -> str:
    """Encode without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


_MARK = base64url(b"so1!")


def stackone_id(remote_id: str) -> str:
    """Make the StackOne id of a record with one provider id: a mark, then base64url of `id:VALUE`."""
    value = remote_id.replace("\\", "\\\\").replace(",", "\\,").replace(":", "\\:")
    return _MARK + base64url(f"id:{value}".encode())


def _uuid(table: str, number: int, rng: Random) -> str:
    h = f"{rng.getrandbits(128):032x}"
    return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-a{h[17:20]}-{h[20:]}"


def _number(table: str, number: int, rng: Random) -> str:
    return str(sum(table.encode()) * 100_000 + number)


def _free_text(table: str, number: int, rng: Random) -> str:
    return f"{table[:3].upper()}/{2019 + int(rng.random() * 7)} #{number}:eu,{int(rng.random() * 9)}"


STYLES: tuple[ProviderIds, ...] = (_uuid, _number, _free_text)
"""Providers number their records as they like; the last style needs percent-encoding and escaping."""


def account_id(index: int, rng: Random) -> str:
    """Make an account id in one of the three forms that the API is known to use."""
    if index % 3 == 0:
        return str(45_000_000_000_000_000_000 + int(rng.random() * 10**15))
    length = 21 if index % 3 == 1 else 12
    letters = "".join(_ALPHABET[int(rng.random() * len(_ALPHABET))] for _ in range(length))
    return letters if index % 3 == 1 else f"acct_{letters}"
