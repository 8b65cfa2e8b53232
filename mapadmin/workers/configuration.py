"""What DataJoint and the runner are given: configuration files without secrets, a secret file.

DataJoint 0.x reads dotted keys from one file, 2.x a nested object from another; both are written,
so that the image may have either.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mapadmin.core.errors import SettingsError
from mapadmin.core.secret import Secret
from mapadmin.site import Site, Tls

INSIDE = "/mapadmin"  # in the containers
CA = "ca.pem"
OLD_CONFIG, NEW_CONFIG = "dj_local_conf.json", "datajoint.json"


def datajoint_files(site: Site) -> dict[str, str]:
    """DataJoint's configuration, for 0.x with dotted keys and for 2.x nested; no secrets."""
    database = site.database
    tls: object = database.tls is not Tls.OFF
    if database.tls is Tls.VERIFY and database.ca:
        tls = {"ca": f"{INSIDE}/{CA}"}
    flat: dict[str, object] = {
        "database.host": database.host, "database.port": database.port, "database.use_tls": tls,
        "database.reconnect": True,
    }  # fmt: skip
    flat.update(_extra_settings(site))
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        section, _, name = key.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[name] = value
    # 2.x takes no certificate authority here, and stops reading at one: it encrypts, no more.
    nested["database"]["use_tls"] = bool(nested["database"]["use_tls"])
    return {
        OLD_CONFIG: json.dumps(flat, indent=2, sort_keys=True) + "\n",
        NEW_CONFIG: json.dumps(nested, indent=2, sort_keys=True) + "\n",
    }


def _extra_settings(site: Site) -> dict[str, object]:
    """The site's own, dotted whatever way they are written."""
    if not (name := site.workers.datajoint):
        return {}
    path = site.folder / name
    try:
        found = json.loads(read_text(path, "workers.datajoint"))
    except ValueError as error:
        raise SettingsError(f"workers.datajoint: {path} is not JSON: {error}.") from None
    if not isinstance(found, dict):
        raise SettingsError(f"workers.datajoint: {path} must be a JSON object.")
    flat: dict[str, object] = {}
    for key, value in found.items():
        if key in ("database", "connection", "display") and isinstance(value, dict):
            flat.update({f"{key}.{name}": one for name, one in value.items()})
        else:
            flat[key] = value
    _refuse_secrets(flat, path)
    return flat


def _refuse_secrets(value: object, path: Path) -> None:
    if isinstance(value, list):
        for one in value:
            _refuse_secrets(one, path)
    if not isinstance(value, dict):
        return
    for key, one in value.items():
        if re.search(r"password|secret|access_key", str(key)) and one:
            raise SettingsError(
                f"workers.datajoint: {path} holds a secret, {key!r}.",
                remedy="The account's password is [workers] password; a store's keys are those of "
                "[stores.<name>]. The workers are given them in a file of their own.",
            )
        _refuse_secrets(one, path)


def read_text(path: Path, setting: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SettingsError(f"{setting}: cannot read {path}: {reason}.") from None


def secret_text(account: str, password: Secret, stores: Mapping[str, Mapping[str, Secret]]) -> str:
    """What the runner reads."""
    content: dict[str, object] = {"user": account, "password": password.reveal()}
    if stores:
        content["stores"] = {
            name: {key: one.reveal() for key, one in keys.items()} for name, keys in stores.items()
        }
    return json.dumps(content) + "\n"


def store_keys(site: Site) -> dict[str, dict[str, Secret]]:
    """The keys that [stores.<name>] has, of those stores that DataJoint's settings have."""
    named = _extra_settings(site).get("stores")
    found: dict[str, dict[str, Secret]] = {}
    for name, store in site.settings.stores.items():
        if store.access_key and isinstance(named, dict) and name in named:
            found[name] = {
                key: site.secret(getattr(store, key), f"stores.{name}.{key}")
                for key in ("access_key", "secret_key")
            }
    return found
