"""mapadmin.toml, whole. Each subsystem's section is a module beside this one and a line below."""

from __future__ import annotations

import re
from itertools import permutations

import msgspec

from mapadmin.site.aws import AwsSettings
from mapadmin.site.base import RefusedError, Settings
from mapadmin.site.cleanup import CleanupSettings
from mapadmin.site.database import DatabaseSettings
from mapadmin.site.globus import GlobusSettings
from mapadmin.site.jupyterhub import HubSettings
from mapadmin.site.pipeline import PipelineSettings
from mapadmin.site.stores import StoreSettings, is_within
from mapadmin.site.workers import WorkersSettings


class SiteSettings(Settings, frozen=True, kw_only=True):
    """[site]"""

    name: str
    """What this site is called: in the journal, in locks, in messages."""
    state: str = ""
    """Folder of the journal and other state; default: $XDG_STATE_HOME/mapadmin/<name>."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", self.name):
            raise RefusedError(
                "name", f"{self.name!r} must be 1 to 32 lower-case letters, digits, - or _"
            )


class SiteFile(Settings, frozen=True, kw_only=True):
    """mapadmin.toml"""

    site: SiteSettings
    database: DatabaseSettings | None = None
    aws: AwsSettings | None = None
    globus: GlobusSettings | None = None
    jupyterhub: HubSettings | None = None
    roles: dict[str, dict[str, list[str]]] = msgspec.field(default_factory=dict)
    """Role -> schema pattern -> privileges (or ["ALL"])."""
    pipeline: PipelineSettings = PipelineSettings()
    cleanup: CleanupSettings = CleanupSettings()
    stores: dict[str, StoreSettings] = msgspec.field(default_factory=dict)
    """External stores by the name that DataJoint's configuration gives them."""
    workers: WorkersSettings | None = None

    def __post_init__(self) -> None:
        for (name, store), (other, inner) in permutations(self.stores.items(), 2):
            place = (inner.protocol, inner.bucket)
            if (
                store.trash
                and (store.protocol, store.bucket) == place
                and is_within(inner.location, store.trash)
            ):
                raise RefusedError(
                    f"stores.{name}.trash", f"must not be where the store {other} is"
                )
