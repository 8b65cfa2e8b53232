"""`mapadmin db …`: parses, asks the modules beside it, prints.

Each module adds its commands to `app`; importing it here is what makes them known.
"""

from mapadmin.db.commands._app import app
from mapadmin.db.commands import accounts  # noqa: F401  # isort: skip
from mapadmin.db.commands import converge  # noqa: F401  # isort: skip
from mapadmin.db.commands import look  # noqa: F401  # isort: skip
from mapadmin.db.commands import sessions  # noqa: F401  # isort: skip
from mapadmin.db.commands import check  # noqa: F401  # isort: skip
from mapadmin.db.commands import audit  # noqa: F401  # isort: skip

__all__ = ["app"]
