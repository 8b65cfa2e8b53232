"""Privileges that reach further than schemas: everywhere, handed on, through native roles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mapadmin.db.findings.model import AuditFinding, Facts, Rule, Severity, few
from mapadmin.db.grants import GLOBAL, GRANT_OPTION, Account, Grants, Level, Scope

_HARMLESS = frozenset((
    "SHOW DATABASES", "REPLICATION CLIENT", "BINLOG MONITOR", "SLAVE MONITOR", "REFERENCES",
    "LOCK TABLES", "CREATE TEMPORARY TABLES",
))  # fmt: skip
# What is not listed is taken for high: it writes data everywhere, the grant tables included, or
# leads to such a privilege.
_MIDDLING = frozenset((
    "SELECT", "SHOW VIEW", "PROCESS", "EXECUTE", "REPLICATION SLAVE", "SHOW CREATE ROUTINE",
    "XA_RECOVER_ADMIN", "SHOW_ROUTINE", "INNODB_REDO_LOG_ARCHIVE", "FLUSH_STATUS",
    "FLUSH_TABLES", "FLUSH_OPTIMIZER_COSTS", "FLUSH_USER_RESOURCES", "RESOURCE_GROUP_USER",
    "TELEMETRY_LOG_ADMIN", "RELOAD", "BACKUP_ADMIN", "CONNECTION ADMIN", "CONNECTION_ADMIN",
))  # fmt: skip
_SHOWN = 6  # privileges in a sentence

GLOBAL_PRIVILEGE = Rule(
    "global-privilege",
    "They hold on every schema, also other people's: revoke them, or write them into people.toml "
    'as grants on "*.*".',
)
GRANT_OPTION_HELD = Rule(
    "grant-option",
    "Its holder can give to others what people.toml knows nothing of: REVOKE GRANT OPTION.",
)
NATIVE_ROLE = Rule(
    "native-role",
    "Give the privileges directly, by a role of mapadmin.toml, and revoke the native role; "
    "`native_roles` in people.toml leaves it as it is.",
)


def everywhere(facts: Facts) -> Iterator[AuditFinding]:
    """Privileges on the whole server; a service's are its own affair if people.toml has them."""
    for account, state in facts.audited.items():
        held = state.grants.get(GLOBAL, frozenset()) - {GRANT_OPTION}
        if not held:
            continue
        expected = facts.expects(account, GLOBAL, held)
        if expected and facts.wanted[account].service:
            continue
        yield GLOBAL_PRIVILEGE.found(
            Severity.INFO if expected else weight(held), account,
            f"it holds {_listed(held)} on everything" + _as_wanted(expected=expected),
        )  # fmt: skip


def weight(privileges: Iterable[str]) -> Severity:
    """How much some privileges on the whole server can do."""
    held = set(privileges)
    if held <= _HARMLESS:
        return Severity.LOW
    return Severity.MEDIUM if held <= _HARMLESS | _MIDDLING else Severity.HIGH


def _listed(privileges: Iterable[str]) -> str:
    """The weightiest first, and not all of many."""
    names = sorted(privileges, key=lambda name: (weight([name]).rank, name))
    more = len(names) - _SHOWN
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {more} more privileges" if more > 0 else shown


def _as_wanted(*, expected: bool) -> str:
    return ", as people.toml says" if expected else ""


def grant_option(facts: Facts) -> Iterator[AuditFinding]:
    """Who can hand on what they hold."""
    for account, state in facts.audited.items():
        scopes = [scope for scope, held in state.grants.items() if GRANT_OPTION in held]
        expected = all(facts.expects(account, scope, frozenset({GRANT_OPTION})) for scope in scopes)
        if scopes:
            severity = Severity.HIGH if GLOBAL in scopes else Severity.MEDIUM
            yield GRANT_OPTION_HELD.found(
                Severity.INFO if expected else severity, account,
                f"it can hand on its privileges on {few(sorted(scopes))}"
                + _as_wanted(expected=expected),
            )  # fmt: skip
        elif state.grantable:
            yield GRANT_OPTION_HELD.found(
                Severity.MEDIUM, account, f"it can hand on {_listed(state.grantable)}"
            )


def native_roles(facts: Facts) -> Iterator[AuditFinding]:
    """Who holds privileges through roles of the server's own, and which."""
    for account, state in facts.audited.items():
        wanted = facts.wanted.get(account)
        for role in sorted(state.roles):
            expected = wanted is not None and bool(wanted.native_roles & {role.user, str(role)})
            held = granted(facts, role)
            yield NATIVE_ROLE.found(
                Severity.INFO if expected else Severity.MEDIUM, account,
                f"it has the native role {role}, which gives {facts.described(held) or 'nothing'}"
                + _as_wanted(expected=expected),
            )  # fmt: skip


def granted(facts: Facts, role: Account) -> Grants:
    """What a role gives, with what other roles give to it."""
    queue = [role]
    out: dict[Scope, frozenset[str]] = {}
    for one in queue:
        state = facts.tables.accounts.get(one)
        if state is not None:
            queue.extend(sorted(state.roles - set(queue)))
            for scope, held in state.grants.items():
                out[scope] = out.get(scope, frozenset()) | held
    return out


def proxies(facts: Facts) -> Iterator[AuditFinding]:
    """Who may act as somebody else."""
    for account, state in facts.audited.items():
        for scope in sorted(state.grants):
            if scope.level is Level.PROXY:
                yield PROXY.found(
                    Severity.MEDIUM, account, f"it may act as {scope.schema}@{scope.name}"
                )


PROXY = Rule("proxy", "REVOKE PROXY ON 'USER'@'HOST' FROM …, by hand.")

ALL = (everywhere, grant_option, native_roles, proxies)
