"""[jupyterhub]: the hub, and how mapadmin talks to it."""

from __future__ import annotations

import re

from mapadmin.site.base import RefusedError, Settings, require_reference


class HubSettings(Settings, frozen=True, kw_only=True):
    """[jupyterhub]"""

    url: str
    """Where users' browsers find it: https://hub.example.org, with its base_url if it has one."""
    token: str
    """A reference to the token of the service that the hub's configuration has for mapadmin."""
    ca: str = ""
    """Certificate authority of `url`, relative to the site folder; default: the system's."""
    folder: str = ""
    """The folder that mapadmin shares with the hub (notice); relative to the site folder."""
    timeout: float = 20.0
    """Seconds without an answer after which a request counts as failed."""
    start_timeout: float = 120.0
    """Seconds that a user's server may take to start, or to stop."""

    def __post_init__(self) -> None:
        local = re.match(r"http://(127\.0\.0\.1|localhost|\[::1\])([:/]|$)", self.url)
        if not (local or re.match(r"https://[^/]", self.url)):
            raise RefusedError(
                "url", f"{self.url!r} must begin with https:// (the token goes there)"
            )
        for name, most in (("timeout", 600), ("start_timeout", 3600)):
            if not 1 <= getattr(self, name) <= most:
                raise RefusedError(name, f"must be 1 to {most} seconds")
        require_reference("token", self.token)
