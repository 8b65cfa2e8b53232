"""Which workers have a session on the site's database, as their own names tell."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from mapadmin.core.errors import MapadminError, UnreachableError

if TYPE_CHECKING:
    from mapadmin.admin import Admin
    from mapadmin.db.server import Server


class Sessions:
    """Asked again and again during a roll-out; a connection that is lost is made again."""

    def __init__(self, admin: Admin) -> None:
        self.admin = admin
        self.server: Server | None = None
        self.blind = False

    def require(self) -> None:
        """Raises UnreachableError or SettingsError where no worker could work either.

        An account that may not see other sessions is no error: then the heartbeats must do.
        """
        from mapadmin.pipeline.threads import require_sight

        try:
            require_sight(self._connect())
        except UnreachableError:
            raise
        except MapadminError:
            if self.server is None:
                raise
            self.blind = True

    def hosts(self) -> set[str] | None:
        """The host names of connected workers; none while the database is away; None if unknown."""
        from mapadmin.pipeline.threads import read_threads

        if self.blind:
            return None
        try:
            return read_threads(self.server or self._connect()).worker_hosts
        except UnreachableError:
            self.server = None
            return set()

    def _connect(self) -> Server:
        from mapadmin.db.server import connect

        site = self.admin.site
        password = site.secret(site.database.password, "database.password")
        self.server = connect(site.database, password, site.folder)
        self.admin.at_exit(partial(_close, self.server))
        return self.server


def _close(server: Server) -> None:
    with suppress(MapadminError):
        server.close()
