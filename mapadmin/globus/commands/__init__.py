"""`mapadmin globus …`; see `_app.COMMANDS`."""

from mapadmin.globus.commands._app import app

__all__ = ["app"]
