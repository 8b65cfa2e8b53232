"""`mapadmin db …`: parses, asks the modules beside it, prints.

Each module adds its commands to `app`; `COMMANDS` in `_app.py` says which module has which.
"""

from mapadmin.db.commands._app import app

__all__ = ["app"]
