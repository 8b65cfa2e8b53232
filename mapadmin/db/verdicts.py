"""What the checks of the database server make of what they find. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date

import msgspec

from mapadmin.core.checks import Finding, fail, ok, warn
from mapadmin.core.text import human_seconds
from mapadmin.db.grants import GRANT_OPTION, Flavour, Grants, Level, Privileges, Scope
from mapadmin.db.rights.patterns import contains
from mapadmin.db.sight import SHOWS

_CLOCK_FINE, _CLOCK_BAD = 2.0, 60.0  # seconds
_CERTIFICATE_SOON = 30  # days
_LOCAL = ("localhost", "127.0.0.1", "::1")
_OWN_SCHEMA = frozenset({"CREATE", "SELECT", "INSERT", "UPDATE", "DELETE"})
_ENDS_SESSIONS = frozenset({"SUPER", "CONNECTION ADMIN", "CONNECTION_ADMIN"})
_USED_FOR = {
    "PROCESS": "to see sessions",
    "SHOW DATABASES": "to see all schemas",
    # Without these nobody is removed and nothing is archived.
    **{name: f"to see {what}" for name, what in SHOWS.items()},
}


# --- connection --------------------------------------------------------------------------------


class TlsState(msgspec.Struct, frozen=True):
    """The connection to `host`: `protocol` is empty without TLS, `until` the certificate's end."""

    host: str
    protocol: str = ""
    verified: bool = False
    until: date | None = None


def tls(state: TlsState, today: date) -> Finding:
    """Whether anybody in between could read or change what is said."""
    if not state.protocol:
        if state.host in _LOCAL:
            return ok("not encrypted, and it does not leave this machine")
        return warn("not encrypted: passwords go in clear", 'Set database.tls = "verify".')
    if not state.verified:
        return warn(
            f"{state.protocol}, but whose certificate it is was not verified",
            'Set database.tls = "verify", and database.ca to the authority\'s certificate.',
        )
    detail = f"{state.protocol}, certificate and name verified"
    if state.until is None:
        return ok(detail)
    days = (state.until - today).days
    detail += f", valid until {state.until}"
    if days < _CERTIFICATE_SOON:
        return warn(detail, f"The server needs a new certificate within {days} days.")
    return ok(detail)


def clock(ahead: float) -> Finding:
    """`ahead`: seconds by which the server's clock is ahead of this machine's."""
    if abs(ahead) <= _CLOCK_FINE:
        return ok(f"{abs(ahead):.1f} s apart")
    detail = f"the server is {human_seconds(abs(ahead))} {'ahead' if ahead > 0 else 'behind'}"
    remedy = "Let both machines set their clocks by NTP."
    return (warn if abs(ahead) <= _CLOCK_BAD else fail)(detail, remedy)


# --- server ------------------------------------------------------------------------------------


def version(flavour: Flavour, number: tuple[int, ...]) -> Finding:
    """Whether mapadmin knows this server's rules."""
    name = {Flavour.MYSQL: "MySQL", Flavour.MARIADB: "MariaDB"}[flavour]
    detail = f"{name} {'.'.join(map(str, number))}"
    oldest, newest = {
        Flavour.MYSQL: ((8, 0), (9,)),
        Flavour.MARIADB: ((10, 6), (11,)),
    }[flavour]
    if number < oldest:
        return fail(
            f"{detail} is older than what mapadmin supports",
            f"Upgrade it to {name} {'.'.join(map(str, oldest))} or newer.",
        )
    if number[:1] > newest:
        return warn(f"{detail} is newer than what mapadmin was made for", "Look for an update.")
    if flavour is Flavour.MYSQL and number < (8, 0, 30):
        return warn(
            f"{detail} counts privileges of native roles differently from what mapadmin shows",
            "Upgrade it to 8.0.30 or newer.",
        )
    return ok(detail)


def partial_revokes(variables: Mapping[str, str]) -> Finding:
    """With it, a pattern like `alice_*` is taken for the name of one schema."""
    if variables.get("partial_revokes") == "ON":
        return fail(
            "ON: grants on patterns like `alice_*` open nothing",
            "Set partial_revokes = OFF in the server's parameters.",
        )
    return ok("off" if "partial_revokes" in variables else "this server has none")


def sql_mode(flavour: Flavour, variables: Mapping[str, str]) -> Finding:
    """Whether a GRANT by hand can make an account."""
    modes = variables.get("sql_mode", "").split(",")
    if flavour is Flavour.MARIADB and "NO_AUTO_CREATE_USER" not in modes:
        return warn(
            "a GRANT to a mistyped name makes an account without a password",
            "Add NO_AUTO_CREATE_USER to sql_mode in the server's parameters "
            "(mapadmin's own sessions have it).",
        )
    return ok("GRANT makes no accounts")


def read_only(variables: Mapping[str, str]) -> Finding:
    """Whether anything can be changed."""
    on = sorted(name for name, value in variables.items() if "read_only" in name and value != "OFF")
    if on:
        return fail(
            f"{', '.join(on)}: accounts cannot be changed here",
            "Use the primary server, if this is a replica.",
        )
    return ok("off")


# --- mapadmin's own account --------------------------------------------------------------------


class Rights(msgspec.Struct, frozen=True):
    """What mapadmin's account may do.

    `everywhere` is on `*.*`, `grants` all it holds itself, `own_schema` on mapadmin's schema;
    `rds_kill`: there are RDS's procedures for ending sessions.
    """

    account: str
    everywhere: Privileges = frozenset()
    grants: Grants = msgspec.field(default_factory=dict)
    own_schema: Privileges = frozenset()
    rds_kill: bool = False

    def can_hand_on(self, scope: Scope) -> Privileges:
        """The privileges that it may grant to others on a scope."""
        out = self.everywhere if GRANT_OPTION in self.everywhere else frozenset()
        for held, privileges in self.grants.items():
            if held.level is Level.DATABASE and GRANT_OPTION in privileges and _in(scope, held):
                out |= privileges
        return out


def _in(scope: Scope, held: Scope) -> bool:
    """Whether a scope is a part of the schemas that `held` is about."""
    if scope.level is Level.GLOBAL:
        return False
    literal = re.sub(r"([\\_%])", r"\\\1", scope.schema)
    return contains(held.schema, scope.schema if scope.level is Level.DATABASE else literal)


def privileges(rights: Rights) -> Finding:
    """What it lacks of what mapadmin needs; reading the grant tables has succeeded already."""
    may_grant = GRANT_OPTION in frozenset().union(rights.everywhere, *rights.grants.values())
    to_change = [name for name in ("CREATE USER",) if name not in rights.everywhere]
    to_change += [] if may_grant else [GRANT_OPTION]
    remedy = f"Grant it to {rights.account}."
    if len(to_change) == 2:
        return warn(f"may look, but change nothing: lacks {' and '.join(to_change)}", remedy)
    if missing := sorted(_OWN_SCHEMA - rights.own_schema):
        to_change.append(f"{', '.join(missing)} on mapadmin's own schema")
    to_look = [
        f"{name} ({why})" for name, why in _USED_FOR.items() if name not in rights.everywhere
    ]
    if not rights.rds_kill and not rights.everywhere & _ENDS_SESSIONS:
        to_look.append("CONNECTION_ADMIN (to end sessions)")
    lacks = to_change + to_look
    if not lacks:
        return ok("has all that it needs")
    return (fail if to_change else warn)(f"lacks {'; '.join(lacks)}", remedy)


def roles(
    rights: Rights, wanted: Mapping[str, Grants], every: Privileges, known: Privileges
) -> Finding:
    """What the site's roles give and mapadmin's account cannot hand on.

    `every` is what ALL means for mapadmin here, `known` what the server knows on a schema.
    """
    lacks = [
        f"{', '.join(sorted(missing))} on {scope} (role {role})"
        for role, grants in wanted.items()
        for scope, held in grants.items()
        if (missing := held - rights.can_hand_on(scope))
    ]
    if lacks:
        return fail(
            f"cannot hand on {'; '.join(lacks)}",
            f"Grant it to {rights.account} WITH GRANT OPTION, or take it out of the role.",
        )
    less = sorted(known - every)
    meaning = f"; ALL is without {', '.join(less)}, which it does not hold" if less else ""
    return ok(f"can hand on all that the roles give{meaning}")
