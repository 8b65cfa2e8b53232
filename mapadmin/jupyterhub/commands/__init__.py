"""The commands of `mapadmin jupyterhub`; each module is imported when one of them is used."""

from mapadmin.jupyterhub.commands._app import app

__all__ = ["app"]
