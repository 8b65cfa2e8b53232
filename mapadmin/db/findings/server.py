"""Settings of the server that undo what the site wants, and what everybody may do."""

from __future__ import annotations

from collections.abc import Iterator

from mapadmin.db.findings.model import AuditFinding, Facts, Rule, Severity, few
from mapadmin.db.grants import GLOBAL, Flavour, Grants
from mapadmin.db.privileges import READING
from mapadmin.db.rights.effective import PUBLIC

PARTIAL_REVOKES = Rule(
    "partial-revokes",
    "Set partial_revokes = OFF in the server's parameters: with it, grants on patterns like "
    "`alice_*` open nothing.",
)
AUTO_CREATE = Rule(
    "grant-makes-accounts", "Add NO_AUTO_CREATE_USER to sql_mode in the server's parameters."
)
CLEAR = Rule(
    "clear-connections",
    "Set require_tls = true under [database] of mapadmin.toml, or require_secure_transport = ON "
    "in the server's parameters.",
)
MANDATORY = Rule("mandatory-role", "Take it out of mandatory_roles in the server's parameters.")
EVERYBODY = Rule(
    "public-grants",
    "REVOKE … FROM PUBLIC (MariaDB); what the anonymous user holds goes with DROP USER ''@'HOST', "
    "even if there is no such account.",
)


def partial_revokes(facts: Facts) -> Iterator[AuditFinding]:
    """Names are compared literally: nobody reaches their own schemas."""
    if facts.tables.partial_revokes:
        yield PARTIAL_REVOKES.found(
            Severity.HIGH, "partial_revokes", "ON: schema patterns are taken literally"
        )


def auto_create(facts: Facts) -> Iterator[AuditFinding]:
    """A GRANT to a mistyped name makes an account that needs no password."""
    if facts.tables.flavour is Flavour.MARIADB:
        modes = facts.tables.sql_mode.split(",")
        if "NO_AUTO_CREATE_USER" not in modes:
            yield AUTO_CREATE.found(
                Severity.MEDIUM, "sql_mode",
                "a GRANT to a mistyped name makes an account without a password",
            )  # fmt: skip


def clear_connections(facts: Facts) -> Iterator[AuditFinding]:
    """Neither the site nor the server wants TLS."""
    if not facts.settings.require_tls and not facts.tables.secure_transport:
        yield CLEAR.found(
            Severity.INFO, "require_secure_transport",
            "OFF, and the site requires no TLS: passwords and data may cross the net in clear",
        )  # fmt: skip


def mandatory_roles(facts: Facts) -> Iterator[AuditFinding]:
    """Roles that everybody has."""
    for role in sorted(facts.tables.mandatory_roles):
        state = facts.tables.accounts.get(role)
        held = facts.described(state.grants) if state else ""
        yield MANDATORY.found(
            Severity.MEDIUM, role,
            "every account has this native role" + (f", which gives {held}" if held else ""),
        )  # fmt: skip


def everybody(facts: Facts) -> Iterator[AuditFinding]:
    """What PUBLIC may do, and the rows of the anonymous user, which count for all sessions."""
    held = {account: state.grants for account, state in facts.tables.accounts.items()}
    for account, grants in sorted({**facts.tables.orphans, **held}.items()):
        if account.user and account != PUBLIC:
            continue
        public = _beyond_login(grants, anonymous=not account.user)
        if not public:
            continue
        reading = all(privileges <= READING for privileges in public.values())
        opened = [name for scope in public for name in facts.schemas.matching(scope.schema)]
        yield EVERYBODY.found(
            Severity.MEDIUM if reading else Severity.HIGH,
            "PUBLIC" if account.user else f"''@{account.host}",
            f"everybody holds {facts.described(public)}"
            + (f" (there are {few(opened)})" if opened else ""),
        )  # fmt: skip


def _beyond_login(grants: Grants, *, anonymous: bool) -> Grants:
    """The global privileges of the anonymous user are only theirs who log in as such."""
    return {scope: held for scope, held in grants.items() if not anonymous or scope != GLOBAL}


ALL = (partial_revokes, auto_create, clear_connections, mandatory_roles, everybody)
