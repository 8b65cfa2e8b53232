"""Grants that say something else than was meant, or that nobody meant any more."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mapadmin.db.findings.model import AuditFinding, Facts, Rule, Severity, few
from mapadmin.db.grants import Account, Level, Scope
from mapadmin.db.names import own_scope
from mapadmin.db.privileges import READING
from mapadmin.db.rights.effective import PUBLIC

_ESCAPED_OR_BARE = re.compile(r"\\.|_", re.DOTALL)

UNESCAPED = Rule(
    "unescaped-underscore",
    r"In a grant on a schema `_` stands for any character: grant on the name with `\_` instead, "
    "then revoke this one. In people.toml and mapadmin.toml such a character is written `?`: "
    "write `_` there and run `mapadmin db apply`.",
)
DANGLING = Rule(
    "grant-on-nothing",
    "Whoever makes a schema of that name opens it to this account: revoke the grant, or write it "
    "into people.toml if it is meant for the future.",
)
ORPHAN = Rule(
    "orphan-grants",
    "DROP USER 'NAME'@'HOST' takes them away, although there is no such account. While they are "
    "there, they count for others of that name, and no account can be made in their place.",
)
COLLISION = Rule(
    "prefix-collision",
    "Two owners of the same schemas: rename one of the two (a name without `_` is safe).",
)
NO_SCHEMA = Rule(
    "role-on-nothing", "Check the pattern in mapadmin.toml, if schemas should be there by now."
)
OPENED = Rule(
    "own-schema-open",
    "Whoever can change mapadmin's schema decides whose account is managed and what the journal "
    "says: grant on a narrower pattern (`map_*`), or use another database.schema.",
)
HIDDEN = Rule("schemas-not-visible", "Grant SHOW DATABASES to mapadmin's account.")


def unescaped(facts: Facts) -> Iterator[AuditFinding]:
    """`map_lab` also opens `mapXlab`. One finding for each pattern, whoever holds it."""
    if facts.tables.partial_revokes:
        return  # every name is literal there
    holders: dict[str, list[Account]] = {}
    for account, state in facts.audited.items():
        for scope in state.grants:
            if scope.level is Level.DATABASE and meant(scope.schema) != scope.schema:
                holders.setdefault(scope.schema, []).append(account)
    for pattern, accounts in holders.items():
        opened = [
            schema
            for schema in facts.schemas.matching(pattern)
            if not facts.schemas.match(meant(pattern), schema)
        ]
        scope = Scope(Level.DATABASE, pattern)
        expected = all(
            facts.expects(one, scope, facts.tables.accounts[one].grants[scope]) for one in accounts
        )
        worse, better = (
            (Severity.HIGH, Severity.MEDIUM) if opened else (Severity.MEDIUM, Severity.LOW)
        )
        yield UNESCAPED.found(
            better if expected else worse, pattern,
            (f"it also opens {few(opened)}" if opened else "it opens no schema beyond it yet")
            + f"; held by {few(sorted(accounts))}",
        )  # fmt: skip


def meant(pattern: str) -> str:
    r"""A pattern with every `_` taken for that character: `map_%` as `map\_%`."""
    return _ESCAPED_OR_BARE.sub(lambda found: r"\_" if found[0] == "_" else found[0], pattern)


def dangling(facts: Facts) -> Iterator[AuditFinding]:
    """No schema matches, and the site does not say that one may."""
    if not facts.sees_schemas:
        return
    for account, state in facts.audited.items():
        for scope, privileges in state.grants.items():
            if (
                scope.level not in (Level.GLOBAL, Level.PROXY)
                and not facts.expects(account, scope, privileges)
                and not _is_own(facts, account, scope)
                and not _exists(facts, scope)
            ):
                held = facts.described({scope: privileges})
                yield DANGLING.found(
                    Severity.MEDIUM, account, f"it holds {held}, and there is no such schema"
                )


def _is_own(facts: Facts, account: Account, scope: Scope) -> bool:
    own = own_scope(account.user, facts.tables).schema
    return scope.level is Level.DATABASE and meant(scope.schema) in (own, own.replace(r"\_%", "%"))


def _exists(facts: Facts, scope: Scope) -> bool:
    if scope.level is Level.DATABASE:
        return bool(facts.schemas.matching(scope.schema))
    return facts.schemas.exists(scope.schema)


def orphans(facts: Facts) -> Iterator[AuditFinding]:
    """Grants of accounts that do not exist. (Those of the anonymous user are everybody's.)"""
    ignored = {"", *facts.settings.ignore_accounts}
    for account, grants in facts.tables.orphans.items():
        # An installation of MariaDB leaves proxy rows of root at hosts that there are not.
        only_proxies = all(scope.level is Level.PROXY for scope in grants)
        if account.user not in ignored and account != PUBLIC:
            yield ORPHAN.found(
                Severity.LOW if only_proxies else Severity.MEDIUM, account,
                f"there is no such account, but it holds {facts.described(grants)}",
            )  # fmt: skip


def opened(facts: Facts) -> Iterator[AuditFinding]:
    """Grants by which mapadmin's schema can be changed; by name, they may be meant."""
    own = facts.settings.schema
    for account, state in facts.audited.items():
        for scope, privileges in sorted(state.grants.items()):
            held = privileges - READING
            if (
                held
                and scope.level in (Level.DATABASE, Level.TABLE, Level.COLUMN)
                and facts.schemas.match(scope.schema, own)
            ):
                meant_so = facts.expects(account, scope, privileges)
                yield OPENED.found(
                    Severity.LOW if meant_so else Severity.CRITICAL, account,
                    f"it can change {own} by {facts.described({scope: held})}",
                )  # fmt: skip


def collisions(facts: Facts) -> Iterator[AuditFinding]:
    r"""`al\_%` are also the schemas of al_ice, and of the project if it is called al."""
    project = facts.settings.project_prefix
    names = {name.lower(): name for name in facts.owners}
    for owner in facts.owners:
        if owner.lower() == project.lower() or owner.lower().startswith(f"{project.lower()}_"):
            yield COLLISION.found(
                Severity.HIGH, owner, f"{owner}_* are schemas of the project ({project}_*)"
            )
    for other in (*facts.owners, project):
        for place in re.finditer("_", other):
            short = names.get(other[: place.start()].lower())
            if short is not None:
                whose = "the project" if other == project else other
                yield COLLISION.found(
                    Severity.HIGH, short, f"{short}_* include the schemas of {whose} ({other}_*)"
                )


def empty_roles(facts: Facts) -> Iterator[AuditFinding]:
    """Roles of the site are about schemas of which there are none."""
    if not facts.sees_schemas:
        yield HIDDEN.found(
            Severity.INFO, facts.own,
            "the server shows it only some of the schemas: findings about others are missing",
        )  # fmt: skip
        return
    roles: dict[Scope, list[str]] = {}
    for role, grants in facts.roles.items():
        for scope in grants:
            if scope.level not in (Level.GLOBAL, Level.PROXY):
                roles.setdefault(scope, []).append(role)
    for scope, names in sorted(roles.items()):
        if not _exists(facts, scope):
            which = "role" if len(names) == 1 else "roles"
            yield NO_SCHEMA.found(
                Severity.INFO, str(scope), f"{which} {few(names)}: there is no such schema"
            )


ALL = (unescaped, dangling, orphans, opened, collisions, empty_roles)
