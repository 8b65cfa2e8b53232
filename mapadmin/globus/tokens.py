"""Tokens of Globus Auth: kept in a file of mode 0600, renewed when they have lapsed, by one thread.

The SDK's own apps are documented as not to be shared by threads; this is.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mapadmin.core.errors import MapadminError, SettingsError
from mapadmin.core.files import make_private_folder, write_atomic
from mapadmin.globus.refusals import LOGIN, offline, refused_login

AUTH = "auth.globus.org"
TRANSFER = "transfer.api.globus.org"
_TRANSFER_SCOPE = "urn:globus:auth:scope:transfer.api.globus.org:all"
_EARLY = 60.0  # seconds before its end that a token is renewed


class Token(msgspec.Struct):
    """Of one service. `until` is Unix time; without `refresh` it lapses then."""

    access: str
    until: float
    refresh: str = ""

    def __repr__(self) -> str:
        return f"Token(until={self.until})"


class Kept(msgspec.Struct):
    """The file. `consents` are collections whose data_access was asked for."""

    client: str
    tokens: dict[str, Token] = msgspec.field(default_factory=dict)
    consents: list[str] = msgspec.field(default_factory=list)


def scopes(consents: list[str]) -> str:
    """What a login asks for, as a scope string."""
    data = " ".join(f"*https://auth.globus.org/scopes/{c}/data_access" for c in consents)
    return f"openid profile email {_TRANSFER_SCOPE}" + (f"[{data}]" if data else "")


class TokenFile:
    """Where the tokens of one site and one client lie."""

    def __init__(self, path: Path, client: str) -> None:
        self.path = path
        self.client = client

    def load(self) -> Kept:
        """What is kept; empty when there is none, or another client's. Raises SettingsError."""
        try:
            kept = msgspec.json.decode(self.path.read_bytes(), type=Kept)
        except FileNotFoundError:
            return Kept(self.client)
        except (OSError, msgspec.DecodeError) as error:
            raise SettingsError(
                f"Cannot read the Globus tokens in {self.path}: {error}.",
                remedy=f"Remove it, then run: {LOGIN}",
            ) from None
        return kept if kept.client == self.client else Kept(self.client)

    def save(self, kept: Kept) -> None:
        make_private_folder(self.path.parent)
        write_atomic(self.path, json.dumps(msgspec.to_builtins(kept)) + "\n", mode=0o600)

    def delete(self) -> None:
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise MapadminError(f"Cannot delete {self.path}: {error.strerror}.") from None


def keep(kept: Kept, by_server: Mapping[str, Mapping[str, Any]]) -> None:
    """Take over what a token answer of the SDK says."""
    for server, data in by_server.items():
        old = kept.tokens.get(server)
        refresh = data.get("refresh_token") or (old.refresh if old else "")
        kept.tokens[server] = Token(
            str(data["access_token"]), float(data["expires_at_seconds"]), str(refresh or "")
        )


class Renewer:
    """A valid token whenever one is asked for, to any number of threads."""

    def __init__(self, file: TokenFile, client: Callable[[], Any], *, by_secret: bool) -> None:
        """`client` makes the SDK's login client: it takes long to import, and is rarely needed.

        With `by_secret` the application acts as itself, rather than for a person.
        """
        self.file = file
        self.by_secret = by_secret
        self._client = client
        self._lock = threading.Lock()
        self._kept = file.load()
        self._refused = ""

    def consents(self) -> list[str]:
        return list(self._kept.consents)

    def until(self, server: str) -> float | None:
        """When the token of a service lapses; None without any."""
        token = self._kept.tokens.get(server)
        return token.until if token else None

    def can_refresh(self, server: str) -> bool:
        token = self._kept.tokens.get(server)
        return self.by_secret or (token is not None and token.refresh != "")

    def header(self, server: str) -> str:
        """The Authorization header. Raises SettingsError when nobody is logged in."""
        with self._lock:
            token = self._kept.tokens.get(server)
            if token is None or token.until < time.time() + _EARLY:
                token = self._renew(server)
            return f"Bearer {token.access}"

    def refused(self, server: str, header: str) -> bool:
        """The service has refused this header: is there a newer one to try?"""
        with self._lock:
            token = self._kept.tokens.get(server)
            if token is not None and f"Bearer {token.access}" != header:
                return True  # another thread has renewed it meanwhile
            if not self.can_refresh(server) or self._refused == header:
                return False
            self._refused = header
            self._renew(server)
            return True

    def _renew(self, server: str) -> Token:
        import globus_sdk

        token = self._kept.tokens.get(server)
        try:
            if self.by_secret:
                answer: Any = self._client().oauth2_client_credentials_tokens(
                    requested_scopes=scopes(self._kept.consents)
                )
            elif token is None:
                raise SettingsError("Nobody is logged in to Globus.", remedy=f"Run: {LOGIN}")
            elif not token.refresh:
                raise SettingsError("The login to Globus has lapsed.", remedy=f"Run: {LOGIN}")
            else:
                answer = self._client().oauth2_refresh_token(token.refresh)
        except globus_sdk.AuthAPIError as error:
            raise refused_login(error, by_secret=self.by_secret) from None
        except globus_sdk.NetworkError as error:
            raise offline(error) from None
        keep(self._kept, answer.by_resource_server)
        self.file.save(self._kept)
        return self._kept.tokens[server]
