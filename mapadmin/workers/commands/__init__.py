"""`mapadmin workers ...`: each module holds some of its commands, imported when one is used."""

from mapadmin.workers.commands._app import app

__all__ = ["app"]
