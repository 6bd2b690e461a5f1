"""Where in an object store a target is, and how it is reached: all that is said before anything is asked of it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, cast
from urllib.parse import urlsplit

from ...configuration import is_loopback
from ...errors import InvalidArgumentError

SCHEMES: Final = ("s3", "gs", "az")
_ENDPOINTS: Final[Mapping[str, tuple[str, ...]]] = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,220}")


class Address(NamedTuple):
    """A place in an object store."""

    scheme: str
    """`s3`, `gs` or `az`."""
    bucket: str
    """The bucket; of Azure the container."""
    prefix: str
    """What the names of all objects begin with, without a slash at its end; may be empty."""

    def __str__(self) -> str:
        return f"{self.scheme}://{'/'.join(filter(None, (self.bucket, self.prefix)))}"


class StoreAccess(NamedTuple):
    """What a target in an object store is given besides its URL. Its text shows no values of options."""

    work: Path | None = None
    """The folder on this machine for the journals."""
    options: Mapping[str, str] = {}
    """Options of obstore, such as `endpoint`; they may hold secrets."""
    break_lock: bool = False
    """Whether to take the place of an export that holds the target."""

    def __repr__(self) -> str:
        return f"StoreAccess(work={self.work!r}, options={[*self.options]}, break_lock={self.break_lock})"


DIRECT: Final = StoreAccess()
"""Of a target that is in no store."""


def is_store(target: str) -> bool:
    """Tell whether a target is meant to be in an object store."""
    return target.partition("://")[0].lower() in SCHEMES and "://" in target


def parse_address(url: str) -> Address:
    """Read the URL of a place in a store.

    Raises:
        InvalidArgumentError: It is none; what it says is not repeated where it may hold a secret.
    """
    scheme, _, rest = url.partition("://")
    scheme, (bucket, _, prefix) = scheme.lower(), rest.partition("/")
    example = f"such as {scheme}://bucket/prefix"
    if "@" in bucket or "?" in rest or "#" in rest:
        raise InvalidArgumentError(
            f"the URL of a store is a bucket and a prefix, {example}: credentials and options go into the environment, "
            "or into store options"
        )
    if not _NAME.fullmatch(bucket):
        raise InvalidArgumentError(f"{url!r:.200} names no bucket, {example}")
    prefix = prefix.removesuffix("/")
    parts = prefix.split("/") if prefix else []
    if not prefix or any(part in ("", ".", "..") or not part.isprintable() or "\\" in part for part in parts):
        raise InvalidArgumentError(f"{url!r:.200} is no place of its own for an export, {example}")
    return Address(scheme, bucket, prefix)


def store_access(
    target: str | os.PathLike[str],
    work: Path | None = None,
    store_options: Mapping[str, str] | None = None,
    *,
    break_lock: bool = False,
    write: bool,
) -> StoreAccess:
    """Return how a target is reached that may be in a store, as files or as tables.

    Args:
        target: Which.
        work: The folder for the journals.
        store_options: Options of obstore.
        break_lock: Whether to take the place of an export that holds the target.
        write: Whether something is written there.

    Raises:
        InvalidArgumentError: It is in a store, and nothing says where the journals go; or it is in none.
    """
    access = StoreAccess(work, store_options or {}, break_lock)
    place = os.fspath(target) if isinstance(target, str) else ""
    of_tables = place.startswith("delta:")
    if break_lock and of_tables:
        raise InvalidArgumentError("break_lock is for files in a store: tables have no lock")
    if not is_store(place.removeprefix("delta:")):
        if access != DIRECT and not (of_tables and "://" in place):
            raise InvalidArgumentError("work, store_options and break_lock are for a target in a store, such as s3://")
    elif write and work is None:
        raise InvalidArgumentError(
            "a target in a store needs work: a folder on this machine for the journals, such as lms-work"
        )
    return access


def read_work(name: str, value: Any) -> Path | None:
    """Read the path of a folder for journals.

    Raises:
        InvalidArgumentError: It is none.
    """
    if value is None:
        return None
    text = os.fspath(cast("os.PathLike[str]", value)) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str) or not text.strip() or "\0" in text or "://" in text:
        raise InvalidArgumentError(f"{name} must be the path of a folder on this machine, not {value!r:.200}")
    path = Path(text).expanduser()
    if path.exists() and not path.is_dir():
        raise InvalidArgumentError(f"{name}: {text!r:.200} is a file")
    return path


def read_options(name: str, value: Any) -> dict[str, str]:
    """Read options of a store.

    Raises:
        InvalidArgumentError: They are no texts by names; values are not repeated, which may be secret.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidArgumentError(f"{name} must be texts by their names, not a {type(value).__name__}")
    found = dict(cast("Mapping[Any, Any]", value))
    for key, text in found.items():
        if not isinstance(key, str) or not key.strip() or not isinstance(text, str):
            raise InvalidArgumentError(f"{name} must be texts by their names: the one called {key!r:.60} is not")
    return found


def allows_http(address: Address, options: Mapping[str, str]) -> bool:
    """Tell whether a store may be reached without TLS, as one on this machine is.

    Raises:
        InvalidArgumentError: It would be, though it is on another machine and nobody has allowed that.
    """
    given = [text for name, text in options.items() if "endpoint" in name.lower() or "base_url" in name.lower()]
    endpoints = given or [text for name in _ENDPOINTS[address.scheme] if (text := os.environ.get(name))]
    plain = [url for url in map(urlsplit, endpoints[:1]) if url.scheme.lower() == "http"]
    allowed = {name.lower().removeprefix("aws_"): text for name, text in options.items()}.get("allow_http")
    if (allowed or os.environ.get("AWS_ALLOW_HTTP", "")).lower() in ("true", "1"):
        return True  # where it is may stand elsewhere, as in the file of a service account
    if not plain:
        return False
    if not is_loopback(plain[0].hostname or ""):
        raise InvalidArgumentError(
            f"the store at {plain[0].hostname} is reached without TLS: name its https endpoint, or allow that with the "
            "store option allow_http=true"
        )
    return True
