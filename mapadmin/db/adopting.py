"""A site's files, from what is on its server. Reads only."""

from __future__ import annotations

import msgspec

from mapadmin.admin import Admin
from mapadmin.db.adopt import Adopter, Adoption
from mapadmin.db.database import open_database
