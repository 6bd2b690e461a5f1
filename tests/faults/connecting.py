"""Faults before the first request: no connection, no TLS."""

from __future__ import annotations

from typing import Any

from .scripts import Fault, ok


def _fault(name: str, description: str, expect: str, retried: bool | None, *also: str, **server: Any) -> Fault:
    return Fault(name, "A", description, expect, retried, ok, also=also, server=server)


_TIMEOUT = "APITimeoutError"
_CONNECT, _LOST, _TLS, _PROTOCOL = "ConnectError", "ConnectionLostError", "TLSError", "ProtocolError"

FAULTS = (
    _fault("refused", "nothing listens on the port", _CONNECT, True, accept="refused"),
    _fault("connect-hangs", "the backlog is full: the SYN is not answered", _TIMEOUT, True, accept="hang"),
    _fault("rst-on-accept", "RST as soon as connected", _LOST, True, _CONNECT, accept="rst"),
    _fault("fin-on-accept", "FIN as soon as connected", _LOST, True, _CONNECT, accept="fin"),
    _fault("never-reads", "accepts, then neither reads nor writes", _TIMEOUT, True, accept="stall"),
    _fault("tls-good", "a certificate of the known CA", "ok", False, tls="good"),
    _fault("tls-unknown-ca", "a certificate of another CA", _TLS, False, tls="unknown-ca"),
    _fault("tls-wrong-host", "a certificate for another name", _TLS, False, tls="wrong-host"),
    _fault("tls-expired", "a certificate of the past", _TLS, False, tls="expired"),
    _fault("tls-self-signed", "a certificate that signed itself", _TLS, False, tls="self-signed"),
    _fault("tls-stall", "the ClientHello is not answered", _TIMEOUT, True, accept="stall", scheme="https"),
    _fault(
        "tls-rst",
        "RST after the ClientHello",
        _CONNECT,
        True,
        _LOST,
        _TLS,
        accept="rst-hello",
        scheme="https",
    ),
    _fault(
        "tls-fin",
        "FIN after the ClientHello",
        _CONNECT,
        True,
        _LOST,
        _TLS,
        accept="fin-hello",
        scheme="https",
    ),
    _fault("https-to-http", "TLS to a plain port", _TLS, False, _PROTOCOL, scheme="https"),
    _fault("http-to-https", "plain HTTP to a TLS port", _PROTOCOL, None, _LOST, _TLS, tls="good", scheme="http"),
)
