"""[globus]: how mapadmin logs in there, the site's collections, and what the archive is to hold."""

from __future__ import annotations

import re
from datetime import date

import msgspec

from mapadmin.site.base import RefusedError, Settings

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class CollectionSettings(Settings, frozen=True, kw_only=True):
    """[globus.collections.<name>]"""

    id: str
    """The collection's UUID."""
    path: str = "/"
    """Where `<name>:path` starts from; `<name>:/path` is from the collection's root."""
    owner_until: date | None = None
    """When the account of a guest collection's owner lapses; it stops working on that day."""
    data_access: bool = False
    """A mapped collection that wants a consent of its own: `login` asks for it."""
    access: dict[str, str] = msgspec.field(default_factory=dict)
    """Role -> "r" or "rw" at `path`: what people.toml gives to whom; see `permissions --check`."""

    def __post_init__(self) -> None:
        if wrong := [value for value in self.access.values() if value not in ("r", "rw")]:
            raise RefusedError("access", f'has {wrong[0]!r}, and must be "r" or "rw"')
        if not _UUID.fullmatch(self.id):
            raise RefusedError("id", f"{self.id!r} must be a UUID")
        if not self.path.startswith("/"):
            raise RefusedError("path", f"{self.path!r} must begin with a slash")


class ArchiveSettings(Settings, frozen=True, kw_only=True):
    """[globus.archive]: the tables that say what is archived; the defaults are MAP's."""

    schema: str = ""
    """Schema of the publication tables; default: <project_prefix>_publication."""
    locations: str = "#globus_storage_location"
    """Table of storage locations."""
    alias_column: str = "globus_alias"
    endpoint_column: str = "globus_endpoint"
    path_column: str = "globus_path"
    data_sets: str = "data_set"
    """Table of data sets."""
    name_column: str = "dataset_name"
    files: str = "data_set__physical_file"
    """Table of the data sets' files."""
    subpath_column: str = "file_subpath"
    """The file's path, from the location's on, with or without a leading slash."""
    archived: list[str] = msgspec.field(
        default_factory=lambda: ["_archived_raw_ephys", "_archived_tracking_video"]
    )
    """Tables that call a data set archived for a session; the first is that of ephys."""
    session_columns: list[str] = msgspec.field(default_factory=lambda: ["subject_id", "session"])
    """The primary key of a session."""
    ephys: str = ""
    """Schema and table of what has ephys; default: <project_prefix>_ephys.probe_insertion."""
    moved: dict[str, str] = msgspec.field(default_factory=dict)
    """Location -> "collection:/path", where the database's own word is out of date."""
    ignore: list[str] = msgspec.field(default_factory=list)
    """Patterns (`*`, `?`) of paths below a location that are nobody's business."""
    stalled_hours: float = 1.0
    """A transfer without progress for that long, whose last event is an error, is stalled."""


class GlobusSettings(Settings, frozen=True, kw_only=True):
    """[globus]"""

    client_id: str
    """The application that is registered at Globus for this site."""
    client_secret: str = ""
    """A reference, for cron: the application acts as itself. Without one, a person logs in."""
    requests_per_second: float = 19.0
    """At most so many; Globus allows 20 a second over 10 s. 0: no limit."""
    in_flight: int = 16
    """Folders that are listed at the same time."""
    timeout: float = 60.0
    """Seconds without an answer after which a request counts as failed."""
    service_url: str = ""
    """Another service than the real one, such as the sandbox's."""
    collections: dict[str, CollectionSettings] = msgspec.field(default_factory=dict)
    archive: ArchiveSettings = msgspec.field(default_factory=ArchiveSettings)

    def __post_init__(self) -> None:
        local = re.match(r"http://(127\.0\.0\.1|localhost|\[::1\])[:/]", self.service_url)
        names_ok = all(re.fullmatch(r"[A-Za-z0-9_.-]+", name) for name in self.collections)
        for name, good, rule in (
            ("client_id", _UUID.fullmatch(self.client_id), "must be a UUID"),
            ("requests_per_second", 0 <= self.requests_per_second <= 1000, "must be 0 to 1000"),
            ("in_flight", 1 <= self.in_flight <= 64, "must be 1 to 64"),
            ("timeout", 0 < self.timeout <= 600, "must be 1 to 600 seconds"),
            (
                "service_url",
                not self.service_url or local or self.service_url.startswith("https://"),
                "must begin with https://, or be on this machine",
            ),
            ("collections", names_ok, "must have names of letters, digits, - and _"),
        ):
            if not good:
                raise RefusedError(name, rule)
