"""What managed accounts really reach, by the server's own rules, beyond what the site wants.

The rules are costly to follow for every account and schema, and nearly all accounts hold exactly
what is wanted and nothing else counts for them. Only where something does (a grant too many, a
row of another account of that name, a native role) are they followed, and for the schemas that it
is about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mapadmin.db.findings.model import AuditFinding, Facts, Rule, Severity, few
from mapadmin.db.findings.power import granted
from mapadmin.db.grants import GLOBAL, Account, Flavour, Grants, Level, Privileges
from mapadmin.db.names import own_scope
from mapadmin.db.policy import Wanted
from mapadmin.db.privileges import READING
from mapadmin.db.rights.effective import PUBLIC, Resolver, Session

_NOTHING: Privileges = frozenset()

BEYOND = Rule(
    "reaches-beyond",
    "`mapadmin db show-user NAME` says where each privilege comes from: revoke it there, or let "
    "people.toml say that it is wanted.",
)


def beyond(facts: Facts) -> Iterator[AuditFinding]:
    """Managed accounts that reach schemas of others, or of the project, as nobody wanted."""
    holders = _Holders(facts)
    suspects = {
        account: schemas
        for account, wanted in facts.wanted.items()
        if account in facts.managed
        and account in facts.tables.accounts
        and (schemas := _suspected(facts, wanted, holders.foreign(wanted)))
    }
    resolver = Resolver(facts.tables) if suspects else None
    for account, schemas in suspects.items():
        assert resolver is not None  # noqa: S101  there are suspects
        found: dict[tuple[Privileges, tuple[Account, ...]], list[str]] = {}
        for schema in schemas:
            for key in _too_much(facts, resolver, facts.wanted[account], schema):
                found.setdefault(key, []).append(schema)
        for (privileges, via), where in found.items():
            yield _finding(account, privileges, via, where)


def _finding(
    account: Account, privileges: Privileges, via: Iterable[Account], schemas: list[str]
) -> AuditFinding:
    others = [str(one) for one in via if one != account]
    return BEYOND.found(
        Severity.MEDIUM if privileges <= READING else Severity.HIGH, account,
        f"it has {', '.join(sorted(privileges))} on {few(schemas)}, which people.toml does not "
        "give it" + (f"; that comes from {few(others)}" if others else ""),
    )  # fmt: skip


class _Holders:
    """Whose rows may count for whom."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._by_user: dict[str, list[Grants]] = {}
        for account, state in facts.tables.accounts.items():
            self._by_user.setdefault(account.user, []).append(state.grants)
        for account, grants in facts.tables.orphans.items():
            self._by_user.setdefault(account.user, []).append(grants)

    def foreign(self, wanted: Wanted) -> list[Grants]:
        """Everything that may count for an account and is not simply what is wanted."""
        namesakes = self._by_user.get(wanted.account.user, ())
        held = [grants for grants in namesakes if grants != wanted.grants]
        roles = self._facts.tables.accounts[wanted.account].roles
        for role in roles | self._facts.tables.mandatory_roles:
            if not wanted.native_roles & {role.user, str(role)}:
                held.append(granted(self._facts, role))
        return held


def _suspected(facts: Facts, wanted: Wanted, foreign: Iterable[Grants]) -> list[str]:
    """The schemas on which foreign grants may give more than is wanted; not the person's own."""
    own = own_scope(wanted.account.user, facts.tables).schema
    patterns = {
        scope.schema
        for grants in foreign
        for scope, privileges in grants.items()
        if scope.level is Level.DATABASE
        and scope.schema != own
        and privileges - wanted.grants.get(scope, _NOTHING)
    }
    schemas = {schema for pattern in patterns for schema in facts.schemas.matching(pattern)}
    return sorted(schema for schema in schemas if not facts.schemas.match(own, schema))


def _too_much(
    facts: Facts, resolver: Resolver, wanted: Wanted, schema: str
) -> Iterator[tuple[Privileges, tuple[Account, ...]]]:
    """What an account has on a schema and should not have, by whom it is lent."""
    allowed = _allowed(facts, wanted, schema)
    found: dict[tuple[Account, ...], set[str]] = {}
    for session in _sessions(facts, resolver, wanted):
        for privilege, sources in resolver.effective(session, schema).items():
            # What holds everywhere, and what everybody has, are findings of their own.
            via = sorted(
                {
                    source.via
                    for source in sources
                    if source.scope != GLOBAL and source.via.user and source.via != PUBLIC
                }
            )
            if via and privilege not in allowed:
                found.setdefault(tuple(via), set()).add(privilege)
    for lenders, privileges in found.items():
        yield frozenset(privileges), lenders


def _allowed(facts: Facts, wanted: Wanted, schema: str) -> Privileges:
    """What is wanted on a schema: the policy's patterns add up."""
    return _NOTHING.union(
        *(
            privileges
            for scope, privileges in wanted.grants.items()
            if scope == GLOBAL
            or (scope.level is Level.DATABASE and facts.schemas.match(scope.schema, schema))
        )
    )


def _sessions(facts: Facts, resolver: Resolver, wanted: Wanted) -> Iterator[Session]:
    """A session after login, and with the roles that it may activate."""
    account = wanted.account
    yield resolver.default_session(account)
    roles = facts.tables.accounts[account].roles | facts.tables.mandatory_roles
    existing = roles.intersection(facts.tables.accounts)
    if existing and facts.tables.flavour is Flavour.MYSQL:
        yield Session(account, None, existing)
    elif existing:
        yield from (Session(account, None, frozenset({role})) for role in sorted(existing))


ALL = (beyond,)
