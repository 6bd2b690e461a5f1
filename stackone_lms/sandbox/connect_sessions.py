"""Connect sessions: links with which a customer links an account of his own."""

from datetime import datetime, timedelta
from random import Random

from .identifiers import base64url
from .problems import Problem
from .store import Record
from .times import stamp

_LIFETIME = 1800
_SHOWN = (
    "origin_owner_id", "origin_owner_name", "categories", "provider", "origin_username", "account_id", "label",
    "metadata", "type", "integration_id",
)  # fmt: skip
_SECRET = ("token", "auth_link_url")


class ConnectSessions:
    """The sessions that were created."""

    def __init__(self, seed: int) -> None:
        self._rng = Random(f"{seed}/connect")
        self._sessions: dict[str, tuple[Record, datetime]] = {}

    def create(self, body: Record, now: datetime) -> Record:
        """Create a session from a body that was checked."""
        token = base64url(self._rng.getrandbits(256).to_bytes(32, "big"))
        lifetime: float = body.get("expires_in") or _LIFETIME
        session: Record = {
            "id": len(self._sessions) + 1,
            "organization_id": 1,
            "project_id": "sandbox-project",
            **dict.fromkeys(_SHOWN),
            "type": "production",
            **{name: body[name] for name in _SHOWN if body.get(name) is not None},
            "created_at": stamp(now),
            "external_trigger_token": base64url(self._rng.getrandbits(128).to_bytes(16, "big")),
            "token": token,
            "auth_link_url": f"https://connect.sandbox.example/link/{token}",
        }
        self._sessions[token] = session, now + timedelta(seconds=lifetime)
        return session

    def authenticate(self, token: str, now: datetime) -> Record:
        """Return the session of a token, without its secrets.

        Raises:
            Problem: 404 for a token that is unknown or no longer valid.
        """
        session, ends = self._sessions.get(token, (None, now))
        if session is None or ends <= now:
            raise Problem(404, "Not Found: the token is unknown, or has expired")
        return {name: value for name, value in session.items() if name not in _SECRET}
