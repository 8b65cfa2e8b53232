"""What the site wants: from people.toml and the roles to accounts with their grants. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import msgspec

from mapadmin.core.errors import SettingsError
from mapadmin.db.grants import (
    GLOBAL,
    GRANT_OPTION,
    Account,
    Grants,
    GrantTables,
    Level,
    Privileges,
    Scope,
    has_wildcard,
    parse_scope,
)
from mapadmin.db.names import MAX_PATTERN, SYSTEM_SCHEMAS, own_scope
from mapadmin.db.privileges import (
    GLOBAL_PRIVILEGES,
    HOLDABLE,
    READING,
    STATIC_PRIVILEGES,
    canonical,
    check_privileges,
)
from mapadmin.db.rights.matching import literal_prefix, matches
from mapadmin.db.rights.patterns import add_up
from mapadmin.site import SITE_FILE, Person, Site


class Wanted(msgspec.Struct, frozen=True):
    """One account as the site wants it."""

    account: Account
    grants: Grants = msgspec.field(default_factory=dict)
    role: str = ""
    service: bool = False
    locked: bool = False
    expired: bool = False
    """That is why it is locked."""
    tls: bool = False
    native_roles: frozenset[str] = frozenset()
    expires: date | None = None


class Policy:
    """A site's rules against one server: `wanted` gives the accounts of a person.

    `every_privilege` is what ALL means on a schema: what the server knows there and mapadmin's
    own account may grant (an RDS master may not grant everything).
    """

    def __init__(self, site: Site, tables: GrantTables, own: Account, today: date) -> None:
        self.site = site
        self.today = today
        self._tables = tables
        self._guarded = [
            (schema, (schema.lower() if tables.folds else schema).encode())
            for schema in (site.database.schema, *sorted(SYSTEM_SCHEMAS))
        ]
        self.every_privilege = grantable(tables, own)
        self._roles = {name: self._role(name) for name in site.settings.roles}

    def wanted(self, name: str, person: Person, *, service: bool) -> list[Wanted]:
        """The accounts of one person or service. Raises SettingsError naming the entry."""
        own = not service if person.own_schemas is None else person.own_schemas
        grants = self._grants(name, person, own=own)
        tls = person.require_tls
        return [
            Wanted(
                account=Account(name, host),
                grants=grants,
                role=person.role,
                service=service,
                locked=person.locked or is_expired(person, self.today),
                expired=is_expired(person, self.today),
                tls=self.site.database.require_tls if tls is None else tls,
                native_roles=frozenset(person.native_roles),
                expires=person.expires,
            )
            for host in person.hosts
        ]

    def everyone(self) -> dict[Account, Wanted]:
        """All accounts of people.toml."""
        wanted = {}
        for name, person in self.site.everyone().items():
            for one in self.wanted(name, person, service=name in self.site.people.services):
                wanted[one.account] = one
        return wanted

    def role_grants(self, role: str) -> dict[Scope, Privileges]:
        """What a role gives, ALL spelled out."""
        return self._roles[role]

    def _role(self, name: str) -> dict[Scope, Privileges]:
        return self._parse(self.site.settings.roles[name], f"{SITE_FILE}: roles.{name}")

    def _grants(self, name: str, person: Person, *, own: bool) -> dict[Scope, Privileges]:
        grants = dict(self._roles[person.role]) if person.role else {}
        where = f"{self.site.people_path}: {name}"
        for scope, privileges in self._parse(person.grants, where).items():
            grants[scope] = grants.get(scope, frozenset()) | privileges
        if own:
            scope = own_scope(name, self._tables)
            grants[scope] = grants.get(scope, frozenset()) | self.every_privilege
        self._refuse_others(grants, where)
        try:
            return add_up(grants, self._tables.flavour)
        except ValueError as error:
            raise SettingsError(
                f"{where}: {error}.", remedy="Write patterns of which one contains the other."
            ) from None

    def _refuse_others(self, grants: Grants, where: str) -> None:
        """No wildcard may let anybody change what is mapadmin's or the server's own."""
        own = self.site.database.schema
        if self._tables.partial_revokes:
            return  # every name is literal there
        for scope, privileges in grants.items():
            if scope.level is Level.DATABASE and not privileges <= READING:
                opened = self._opened(scope.schema)
                if opened:
                    whose = "mapadmin's" if opened == own else "the server's"
                    raise SettingsError(
                        f"{where}: a grant on {scope} would also open {opened}, {whose} own "
                        "schema.",
                        remedy="Write a narrower pattern, or a name without wildcards"
                        + (", or use another database.schema." if opened == own else "."),
                    )

    def _opened(self, pattern: str) -> str:
        """The schema of mapadmin's or the server's that a pattern matches by a wildcard, or ""."""
        start = literal_prefix(pattern)  # a quick look, which is enough for nearly all
        for schema, stored in self._guarded:
            if (
                stored.startswith(start)
                and has_wildcard(pattern)  # a name without one was meant
                and matches(self._tables.flavour, pattern, stored.decode())
            ):
                return schema
        return ""

    def _parse(self, grants: Mapping[str, Sequence[str]], where: str) -> dict[Scope, Privileges]:
        out: dict[Scope, Privileges] = {}
        for text, names in grants.items():
            try:
                scope = self._tables.stored(parse_scope(text))
            except ValueError as error:
                raise SettingsError(f"{where}: {error}.") from None
            if scope.level is Level.DATABASE and len(scope.schema) > MAX_PATTERN:
                raise SettingsError(
                    f"{where}: {text!r} is stored as {len(scope.schema)} characters, and the "
                    f"server takes {MAX_PATTERN}."
                )
            held = self._privileges(scope, names, f"{where}: {text!r}")
            out[scope] = out.get(scope, frozenset()) | held
        return out

    def _privileges(self, scope: Scope, names: Iterable[str], where: str) -> Privileges:
        privileges = frozenset(canonical(name, self._tables.flavour) for name in names)
        if privileges & {"ALL", "ALL PRIVILEGES"}:
            if scope.level is not Level.DATABASE:
                raise SettingsError(f"{where}: ALL is for schemas only.", remedy="Name privileges.")
            privileges = privileges - {"ALL", "ALL PRIVILEGES"} | self.every_privilege
        for privilege in sorted(privileges):
            _check_privilege(scope, privilege, where)
        check_privileges(privileges)
        if not privileges:
            raise SettingsError(f"{where} has no privileges.", remedy='For example: ["SELECT"].')
        return privileges


def _check_privilege(scope: Scope, privilege: str, where: str) -> None:
    """Refuse what no server grants there, or what no server remembers."""
    anywhere = scope == GLOBAL and privilege != "USAGE"  # that is to have none
    if privilege not in STATIC_PRIVILEGES and not anywhere:
        raise SettingsError(f"{where}: {privilege!r} is not a privilege.")
    if scope != GLOBAL and privilege in GLOBAL_PRIVILEGES:
        raise SettingsError(
            f"{where}: {privilege} cannot be had on single schemas.",
            remedy=f'It is granted on everything: "*.*" = ["{privilege}"].',
        )
    holdable = HOLDABLE.get(scope.level)
    if holdable is not None and privilege not in holdable:
        what = scope.level.name.lower().replace("_", " ")
        raise SettingsError(f"{where}: {privilege} cannot be had on a {what}.")


def is_expired(person: Person, today: date) -> bool:
    """Whether the last day of an account is over."""
    return person.expires is not None and person.expires < today


def grantable(tables: GrantTables, own: Account) -> Privileges:
    """The schema privileges that `own` may hand on; all of them when its row is not known.

    An account that only reads cannot say what the one that grants means by ALL: then it is what
    most people hold on the schemas that are their own.
    """
    state = tables.accounts.get(own)
    if state is None:
        return tables.database_privileges
    held = state.grants.get(GLOBAL, frozenset())
    if GRANT_OPTION in held:
        return tables.database_privileges & held
    if any(GRANT_OPTION in privileges for privileges in state.grants.values()):
        return tables.database_privileges
    usual = Counter(
        tables.database_privileges & one.grants.get(own_scope(account.user, tables), frozenset())
        for account, one in tables.accounts.items()
    )
    del usual[frozenset()]
    return max(usual, key=usual.__getitem__, default=tables.database_privileges)
