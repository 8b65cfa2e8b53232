"""The commands of `mapadmin aws`; each module is imported when one of its commands is used."""

from mapadmin.aws.commands._app import app

__all__ = ["app"]
