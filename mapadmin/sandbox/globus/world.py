"""What there is in the emulator: clients, identities and collections; and what clients made."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import msgspec

from mapadmin.core.errors import MapadminError
from mapadmin.core.files import write_atomic
from mapadmin.sandbox.globus.answers import ApiError, Json, not_found
from mapadmin.sandbox.globus.faults import Faults

CONFIG = "globus.json"
CONTROL = "control.json"
STATE = "state.json"


class Collection(msgspec.Struct, frozen=True):
    """A folder that clients see as `id:/`. `owner` is a user name.

    `guest` ones have access rules; to a mapped one with `data_access` an application must have been
    given consent. One that is not `connected` cannot be reached.
    """

    id: str
    name: str
    root: str
    owner: str
    guest: bool = True
    data_access: bool = False
    connected: bool = True
    subscription: str | None = None


class Identity(msgspec.Struct, frozen=True):
    """A person or an application, as Globus Auth knows it."""

    id: str
    username: str
    name: str = ""


class Config(msgspec.Struct, frozen=True):
    """globus.json. `clients` are the SHA-256 of their secrets by id; `operator` is who logs in.

    `managers` are the user names with the activity monitor's role on every collection.
    """

    clients: dict[str, str]
    identities: list[Identity]
    collections: list[Collection]
    operator: str
    managers: list[str] = msgspec.field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Config:
        """Raises MapadminError for what is no such file."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError) as error:
            raise MapadminError(f"Cannot read {path}: {error}.") from None


class State(msgspec.Struct):
    """state.json: all that must outlive a restart."""

    tokens: dict[str, Json] = msgspec.field(default_factory=dict)
    refresh: dict[str, Json] = msgspec.field(default_factory=dict)
    codes: dict[str, Json] = msgspec.field(default_factory=dict)
    consents: dict[str, list[str]] = msgspec.field(default_factory=dict)
    rules: dict[str, list[Json]] = msgspec.field(default_factory=dict)
    tasks: dict[str, Json] = msgspec.field(default_factory=dict)


class World:
    """The emulator's whole state; `lock` is held while it is read or changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self.faults = Faults(folder / CONTROL)
        self._config: Config | None = None
        self._config_seen = (0, 0)
        path = folder / STATE
        self.state = (
            msgspec.json.decode(path.read_bytes(), type=State) if path.exists() else State()
        )

    @property
    def config(self) -> Config:
        """globus.json, read again when it has changed."""
        found = (self.folder / CONFIG).stat()
        seen = (found.st_mtime_ns, found.st_ino)
        with self.lock:
            if self._config is None or seen != self._config_seen:
                self._config, self._config_seen = Config.read(self.folder / CONFIG), seen
            return self._config

    def save(self) -> None:
        """Write state.json; a power cut may lose the newest, being killed does not."""
        with self.lock:
            text = json.dumps(msgspec.to_builtins(self.state))
            write_atomic(self.folder / STATE, text, mode=0o600)

    # --- who ------------------------------------------------------------------------------------

    def identities(self) -> list[Identity]:
        """Everybody: people, and the clients as applications."""
        apps = [Identity(c, f"{c}@clients.auth.globus.org", "app") for c in self.config.clients]
        return [*self.config.identities, *apps]

    def identity(self, key: str) -> Identity | None:
        """By id or user name."""
        return next((i for i in self.identities() if key in (i.id, i.username)), None)

    def is_manager(self, caller: str) -> bool:
        found = self.identity(caller)
        return found is not None and found.username in self.config.managers

    def knows_secret(self, client: str, secret: str) -> bool:
        return self.config.clients.get(client) == hashlib.sha256(secret.encode()).hexdigest()

    # --- collections ----------------------------------------------------------------------------

    def collection(self, key: str) -> Collection:
        """By id. Raises ApiError."""
        for found in self.config.collections:
            if found.id == key:
                return found
        raise ApiError(404, "EndpointNotFound", f"No such endpoint '{key}'")

    def usable(self, key: str, caller: str, path: str, *, write: bool = False) -> Collection:
        """A collection that this caller may use at this path. Raises ApiError."""
        found = self.collection(key)
        if not found.connected:
            raise ApiError(
                502, "ExternalError.DirListingFailed.GCDisconnected",
                f"The endpoint '{found.name}' is not connected",
            )  # fmt: skip
        if found.data_access and key not in self.state.consents.get(caller, []):
            scope = f"https://auth.globus.org/scopes/{key}/data_access"
            raise ApiError(
                403, "ConsentRequired", "Missing required data_access consent",
                required_scopes=[f"urn:globus:auth:scope:transfer.api.globus.org:all[*{scope}]"],
            )  # fmt: skip
        if not self._may(found, caller, path, write=write):
            raise ApiError(403, "EndpointPermissionDenied", f"Denied by endpoint: {path}")
        return found

    def _may(self, collection: Collection, caller: str, path: str, *, write: bool) -> bool:
        who = self.identity(caller)
        if who is not None and who.username in (collection.owner, *self.config.managers):
            return True
        return any(
            (write is False or rule["permissions"] == "rw")
            and (rule["principal"] == caller or rule["principal_type"] != "identity")
            and f"{path.rstrip('/')}/".startswith(rule["path"])
            for rule in self.rules(collection.id)
        )

    def rules(self, key: str) -> list[Json]:
        """The access rules that have not expired."""
        with self.lock:
            now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
            kept = [
                rule for rule in self.state.rules.get(key, [])
                if not rule.get("expiration_date") or str(rule["expiration_date"])[:19] > now
            ]  # fmt: skip
            self.state.rules[key] = kept
            return kept

    def rule(self, key: str, number: str) -> Json:
        for rule in self.rules(key):
            if rule["id"] == number:
                return rule
        raise not_found("access rule")


def new_id() -> str:
    return str(uuid.uuid4())


def config_text(config: Config) -> str:
    """A Config as the text of globus.json."""
    data: Any = msgspec.to_builtins(config)
    return json.dumps(data, indent=1) + "\n"
