"""Certificates, good and bad, made when first asked for."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Literal

import trustme

TLS = Literal["good", "unknown-ca", "wrong-host", "expired", "self-signed"]
_NAMES = ("127.0.0.1", "localhost")


@cache
def _authority() -> trustme.CA:
    return trustme.CA()


def ca_pem() -> str:
    """Return the certificate of the CA that a client shall know."""
    return _authority().cert_pem.bytes().decode()


def _key_and_chain(kind: TLS) -> bytes:
    if kind == "self-signed":
        own = trustme.CA()
        return own.private_key_pem.bytes() + own.cert_pem.bytes()
    signer = trustme.CA() if kind == "unknown-ca" else _authority()
    names = ("other.example",) if kind == "wrong-host" else _NAMES
    end = datetime.now(UTC) - timedelta(days=1) if kind == "expired" else None
    return signer.issue_cert(*names, not_after=end).private_key_and_cert_chain_pem.bytes()


@cache
def server_context(kind: TLS) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with trustme.Blob(_key_and_chain(kind)).tempfile() as path:
        context.load_cert_chain(path)
    return context
