"""JupyterHub as commands use it: the site's hub, the folder shared with it, plans carried out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mapadmin.core.errors import SettingsError
from mapadmin.jupyterhub.hub import Hub
from mapadmin.site import SITE_FILE, expand

if TYPE_CHECKING:
    from mapadmin.admin import Admin


def open_hub(admin: Admin) -> Hub:
    """The site's hub. Raises SettingsError without one, or without its token."""
    settings = admin.site.jupyterhub
    hub = Hub(settings, admin.site.secret(settings.token, "jupyterhub.token"), admin.site.folder)
    admin.at_exit(hub.close)
    return hub


def shared_folder(admin: Admin) -> Path:
    """What mapadmin and the hub both see. Raises SettingsError when it is not here."""
    settings = admin.site.jupyterhub
    if not settings.folder:
        raise SettingsError(
            "The site names no folder that is shared with the hub.",
            remedy=f"Add folder = … to [jupyterhub] in {admin.site.folder / SITE_FILE}; "
            "the hub's configuration reads its notice from there.",
        )
    folder = admin.site.folder / expand(settings.folder, "jupyterhub.folder")
    if not folder.is_dir():
        raise SettingsError(
            f"jupyterhub.folder: there is no folder {folder} here.",
            remedy="This command runs on the hub's host: ssh HOST mapadmin …",
        )
    return folder
