"""[database]: the server, and mapadmin's own account on it."""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

from mapadmin.site.base import RefusedError, Settings


class Tls(StrEnum):
    """`verify` checks the server's certificate and name, `require` only encrypts."""

    VERIFY = "verify"
    REQUIRE = "require"
    OFF = "off"


class DatabaseSettings(Settings, frozen=True, kw_only=True):
    """[database]"""

    host: str
    """Name or address of the MySQL or MariaDB server."""
    port: int = 3306
    user: str = "mapadmin"
    """mapadmin's own account: may create users and grant what the roles need."""
    password: str
    """A reference: env:, file:, command: or aws-secret:."""
    tls: Tls = Tls.VERIFY
    ca: str = ""
    """File with the certificate authorities to trust; default: the system's."""
    project_prefix: str
    """Schemas of the project start with this and an underscore; no person may own them."""
    require_tls: bool = False
    """Accounts may log in over TLS only."""
    schema: str = "mapadmin"
    """mapadmin's own schema: what it manages, the shared journal."""
    ignore_accounts: list[str] = msgspec.field(default_factory=list)
    """Names of accounts that belong to others; the audit does not call them unknown."""
    prune_limit: float = 0.2
    """`apply --prune` refuses to remove more than this share of the accounts without --force."""
    connect_timeout: float = 10.0
    """Seconds."""
    read_timeout: float = 600.0
    """Seconds without an answer after which a connection counts as lost."""
    dump_program: str = ""
    """mysqldump or mariadb-dump of the server's flavour; default: found on PATH."""
    client_program: str = ""
    """mysql or mariadb, which loads dumps; default: found on PATH."""

    def __post_init__(self) -> None:
        prefix = self.project_prefix
        if not re.fullmatch(r"[A-Za-z0-9_]{0,59}[A-Za-z0-9]", prefix):
            # With "map_" the project's schemas would be map__*, and map_lab would be nobody's.
            raise RefusedError(
                "project_prefix",
                f"{prefix!r} must be letters, digits and underscores, and end in a letter or digit",
                'Write it without its last underscore or wildcard, for example "map".',
            )
        for name, good, rule in (
            ("host", self.host.strip() != "", "must not be empty"),
            ("user", self.user != "", "must not be empty"),
            (
                "schema",
                re.fullmatch(r"[A-Za-z0-9_]{1,64}", self.schema) is not None,
                "must be 1 to 64 letters, digits and underscores",
            ),
            ("port", 0 < self.port < 65536, "must be between 1 and 65535"),
            ("prune_limit", 0 <= self.prune_limit <= 1, "must be a share between 0 and 1"),
            ("connect_timeout", 0 < self.connect_timeout <= 3600, "must be 1 to 3600 seconds"),
            ("read_timeout", 0 < self.read_timeout <= 86400, "must be 1 to 86400 seconds"),
        ):
            if not good:
                raise RefusedError(name, rule)
