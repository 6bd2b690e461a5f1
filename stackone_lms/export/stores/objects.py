"""What is asked of an object store, one request each, and what its refusals mean."""

from __future__ import annotations

import contextlib
import mmap
import re
from collections.abc import Generator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeAlias

from ...checks import import_extra
from ...errors import ExportError
from ..state.storage import wrap_os_errors
from .address import Address, allows_http
from .names import unknown

Version: TypeAlias = dict[str, str]
"""What tells a version of an object from all others, as the store has it."""

RETRY: Final = {"max_retries": 10, "retry_timeout": timedelta(seconds=120)}
"""How long a store may be out of order before the export gives up."""
FIRST_RETRY: Final = {"max_retries": 2, "retry_timeout": timedelta(seconds=15)}
"""The same of the first request, which finds out whether the store can be used at all."""
_TIMEOUT: Final = 60
_SLOWEST: Final = 250_000
"""Bytes a second at which a large object may be moved."""
_LARGEST_PUT: Final = 5_000_000_000
"""What a store takes in one request; S3 has 5 GiB, Azure 5,000 MiB."""
_CLASSES: Final = {"s3": "S3Store", "gs": "GCSStore", "az": "AzureStore"}
_CREDENTIALS: Final = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment, or a role of this machine; the files below "
    "~/.aws are not read",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS in the environment, or a service account of this machine",
    "az": "AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN in the environment, or "
    "an identity of this machine",
}
_BAD_CREDENTIALS: Final = {
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "InvalidSecurity",
    "AuthenticationFailed", "InvalidAuthenticationInfo", "RequestTimeTooSkewed", "TokenRefreshRequired",
}  # fmt: skip
_OTHER_REGION: Final = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}


class VersionConflictError(Exception):
    """An object is not, or not any more, as it should be for a write to go on."""


def import_obstore() -> Any:
    """Return obstore.

    Raises:
        ExportError: It is not installed.
    """
    return import_extra("obstore", "store", extra="store", needing="an export into a store needs")


class Objects:
    """The objects below a prefix of a bucket, by their names: relative to the prefix, with `/`.

    Args:
        address: The place.
        options: Of obstore, such as `endpoint`, `region`, `access_key_id`; else it looks into the environment.
    """

    def __init__(self, address: Address, options: Mapping[str, str]) -> None:
        self.address, self._options = address, options
        self._usual: Any = None

    def __repr__(self) -> str:
        return f"<objects of {self.address}>"

    def prepare(self) -> None:
        """Do what needs no request.

        Raises:
            InvalidArgumentError: It would be reached without TLS.
            ExportError: obstore is missing, or there is no such option.
        """
        if self._usual is None:
            self._usual = self._connect(_TIMEOUT, RETRY)

    def _connect(self, seconds: float, retry: Mapping[str, Any]) -> Any:
        obstore, address = import_obstore(), self.address
        client: dict[str, Any] = {"connect_timeout": timedelta(seconds=5), "timeout": timedelta(seconds=seconds)}
        given = {name.lower() for name in self._options}
        client = {name: value for name, value in client.items() if name not in given}
        if allows_http(address, self._options):
            client["allow_http"] = True
        make = getattr(obstore.store, _CLASSES[address.scheme])
        try:
            return make(
                address.bucket,
                prefix=address.prefix or None,
                config=dict(self._options),
                client_options=client,
                retry_config=dict(retry),
            )
        except obstore.exceptions.UnknownConfigurationKeyError as error:
            name = re.search(r"key: '([^']*)'", str(error))
            text = "a store option is unknown" if name is None else unknown(name[1], address.scheme)
            raise ExportError(f"{text}; see the options of obstore") from None
        except Exception as error:
            if not _is_of_obstore(error):
                raise
            raise self._unusable(error) from None

    def _unusable(self, error: Exception) -> ExportError:
        return ExportError(f"{self.address} cannot be used: {self._reason(error)}; nothing was asked for yet")

    def _store(self, size: int = 0) -> Any:
        """Return what speaks with the store, with time enough for so many bytes."""
        self.prepare()
        if size <= _TIMEOUT * _SLOWEST:
            return self._usual
        return self._connect(_TIMEOUT + size / _SLOWEST, RETRY)

    def check_access(self) -> None:
        """Ask for the first names, with less patience than later.

        Raises:
            ExportError: The store is not there, or does not let us in.
        """
        self.prepare()
        store = self._connect(_TIMEOUT, FIRST_RETRY)
        with self._told(None):
            next(iter(import_obstore().list(store, chunk_size=1)), None)

    def list(self) -> dict[str, int]:
        """Return the sizes of all objects by their names."""
        found: dict[str, int] = {}
        with self._told("listing"):
            for chunk in import_obstore().list(self._store()):
                found.update((str(one["path"]), int(one["size"])) for one in chunk)
        return found

    def get(self, name: str) -> tuple[bytes, Version] | None:
        """Return a small object and its version; None if it is not there."""
        with self._told("reading"), contextlib.suppress(FileNotFoundError):
            found = import_obstore().get(self._store(), name)
            return bytes(found.bytes()), _version(found.meta)
        return None

    def version(self, name: str) -> Version | None:
        """Return the version of an object, None if it is not there."""
        with self._told("reading"), contextlib.suppress(FileNotFoundError):
            return _version(import_obstore().head(self._store(), name))
        return None

    def fetch(self, name: str, path: Path, size: int) -> bool:
        """Copy an object into a file of this machine; tell whether it is there."""
        with self._told("reading"), contextlib.suppress(FileNotFoundError):
            chunks = import_obstore().get(self._store(size), name).stream(min_chunk_size=1 << 20)
            with wrap_os_errors("writing"), path.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
            return True
        return False

    def put(self, name: str, data: bytes, over: Version | None) -> Version:
        """Write a small object, if it is of that version still; None: if it is not there.

        Raises:
            VersionConflictError: It is of another version, or is there.
        """
        obstore = import_obstore()
        mode: Any = "create" if over is None else over
        with self._told("writing"):
            try:
                return _version(obstore.put(self._store(len(data)), name, data, mode=mode, use_multipart=False))
            except (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError, FileNotFoundError):
                # A write whose answer was lost is tried again, and then meets itself.
                found = self.get(name)
                if found is None or found[0] != data:
                    raise VersionConflictError from None
                return found[1]

    def put_file(self, path: Path, name: str) -> None:
        """Write an object of a file of this machine: it appears whole, in place of what it was."""
        size = path.stat().st_size
        with path.open("rb") as file, self._told("writing"):
            if size > _LARGEST_PUT:
                import_obstore().put(self._store(size), name, file, chunk_size=64 << 20, max_concurrency=4)
                return
            # In one request: one that is broken off leaves nothing, as an upload in parts would. Mapped, so that its
            # pages need not stay in memory.
            body: Any = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
            import_obstore().put(self._store(size), name, body, use_multipart=False)

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects, those that are there."""
        obstore = import_obstore()
        with self._told("deleting"):
            try:
                obstore.delete(self._store(), [*names])
            except FileNotFoundError:
                for name in names:
                    with contextlib.suppress(FileNotFoundError):
                        obstore.delete(self._store(), name)

    @contextlib.contextmanager
    def _told(self, doing: str | None) -> Generator[None]:
        """Turn what the store says into an ExportError without an address that may hold a secret.

        Args:
            doing: What is being done; None: the first request, to see whether the store can be used.
        """
        try:
            yield
        except (ExportError, VersionConflictError):
            raise
        except Exception as error:
            if not _is_of_obstore(error):
                raise
            if doing is None:
                raise self._unusable(error) from None
            raise ExportError(
                f"{doing} in {self.address} failed: {self._reason(error)}; what was exported so far is kept: correct "
                "that, and the same command continues from there"
            ) from None

    def _reason(self, error: Exception) -> str:
        """Say in words what went wrong; of the store's own text only codes: it holds addresses, and those secrets."""
        text, scheme = str(error), self.address.scheme
        code = re.search(r"<Code>(\w{1,60})</Code>|\"code\": ?\"?(\w{1,60})|Code: (\w{1,60})", text)
        status = re.search(r"status code: (\d{3})|status: (\d{3})", text)
        codes = " ".join(next(filter(None, one.groups())) for one in (status, code) if one is not None)
        named = next(filter(None, code.groups()), "") if code is not None else ""
        if re.search(
            r"169\.254\.|metadata\.google|latest/api/token|Missing|/metadata/identity|access_token|oauth2", text
        ):
            return f"there are no credentials: give {_CREDENTIALS[scheme]}"
        if re.search("NoSuchBucket|ContainerNotFound|bucket does not exist", text):
            return f"there is no bucket {self.address.bucket}"
        if named in _OTHER_REGION or codes.startswith("301"):
            return f"the bucket is in another region ({codes}): name it with AWS_REGION or the store option region"
        if named in _BAD_CREDENTIALS or codes.startswith("401") or type(error).__name__ == "UnauthenticatedError":
            return f"the credentials are not accepted ({codes or 'unauthenticated'})"
        if codes.startswith("403") or type(error).__name__ == "PermissionDeniedError":
            return f"a permission is missing ({codes or 'refused'}): an export lists, reads, writes and deletes objects"
        if codes:
            return f"the store answered {codes}"
        if "Config error" in text:
            return "the value of a store option cannot be read"
        if "BadScheme" in text:
            return "it is at http://, which needs the store option allow_http=true"
        for what, kind in (("time ran out", "Timeout"), ("nothing answers there", "Connect")):
            if f"kind: {kind}" in text:
                return what
        return "the store cannot be reached" if "HTTP error" in text else type(error).__name__


def _version(meta: Any) -> Version:
    return {name: meta[name] for name in ("e_tag", "version") if meta.get(name) is not None}


def _is_of_obstore(error: Exception) -> bool:
    obstore = import_obstore()
    return isinstance(error, obstore.exceptions.BaseError | FileNotFoundError | ValueError)
