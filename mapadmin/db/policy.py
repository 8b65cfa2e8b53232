"""What the site wants: from people.toml and the roles to accounts with their grants. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache

from mapadmin.core.errors import SettingsError, UsageError
from mapadmin.db.grants import (
    GLOBAL,
    GRANT_OPTION,
    Account,
    Flavour,
    Grants,
    GrantTables,
    Level,
    Privileges,
    Scope,
    glob_to_pattern,
    parse_scope,
    pattern_matches,
)
from mapadmin.db.patterns import add_up
from mapadmin.db.statements import STATIC_PRIVILEGES, check_privileges
from mapadmin.site import SITE_FILE, Person, Site

MAX_PATTERN = 64  # characters of a schema pattern in a grant; beyond it the server says 1102
MAX_HOST = 255  # characters; 60 on MySQL before 8.0.17
MAX_USER = {Flavour.MYSQL: 32, Flavour.MARIADB: 128}

# Accounts of the server and of RDS: never listed as unknown, never touched.
_SYSTEM = re.compile(r"(rds.*|mysql\.(sys|session|infoschema)|mariadb\.sys)", re.IGNORECASE)
_RESERVED = {"root", "mysql", "mariadb", "admin", "public", "information_schema", "performance_schema", "sys", "test"}  # fmt: skip  # noqa: E501
SYSTEM_SCHEMAS = frozenset({"mysql", "information_schema", "performance_schema", "sys"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """One account as the site wants it."""

    account: Account
    grants: Grants = field(default_factory=dict)
    role: str = ""
    service: bool = False
    locked: bool = False
    tls: bool = False
    native_roles: frozenset[str] = frozenset()
    expires: date | None = None


def is_system(name: str) -> bool:
    """Whether an account belongs to the server or to RDS."""
    return _SYSTEM.fullmatch(name) is not None


@lru_cache(maxsize=65536)
def own_pattern(name: str) -> str:
    r"""The stored pattern of the schemas that a person owns: `alice\_%`."""
    return glob_to_pattern(f"{_literal(name)}_*")


def _literal(name: str) -> str:
    return re.sub(r"([*?\[.(])", r"[\1]", name)


class Policy:
    """A site's rules against one server: `wanted` gives the accounts of a person.

    `every_privilege` is what ALL means on a schema: what the server knows there and mapadmin's
    own account may grant (an RDS master may not grant everything).
    """

    def __init__(self, site: Site, tables: GrantTables, own: Account, today: date) -> None:
        self.site = site
        self.today = today
        self._flavour = tables.flavour
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
            scope = Scope(Level.DATABASE, own_pattern(name))
            grants[scope] = grants.get(scope, frozenset()) | self.every_privilege
        try:
            return add_up(grants, self._flavour)
        except ValueError as error:
            raise SettingsError(
                f"{where}: {error}.", remedy="Write patterns of which one contains the other."
            ) from None

    def _parse(self, grants: Mapping[str, Sequence[str]], where: str) -> dict[Scope, Privileges]:
        out: dict[Scope, Privileges] = {}
        for text, names in grants.items():
            try:
                scope = parse_scope(text)
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
        privileges = frozenset(" ".join(name.upper().split()) for name in names)
        if privileges & {"ALL", "ALL PRIVILEGES"}:
            if scope.level is not Level.DATABASE:
                raise SettingsError(f"{where}: ALL is for schemas only.", remedy="Name privileges.")
            privileges = privileges - {"ALL", "ALL PRIVILEGES"} | self.every_privilege
        known = STATIC_PRIVILEGES if scope != GLOBAL else None
        for privilege in sorted(privileges):
            if known is not None and privilege not in known:
                raise SettingsError(f"{where}: {privilege!r} is not a privilege.")
        check_privileges(privileges)
        if not privileges:
            raise SettingsError(f"{where} has no privileges.", remedy='For example: ["SELECT"].')
        return privileges


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
        tables.database_privileges
        & one.grants.get(Scope(Level.DATABASE, own_pattern(account.user)), frozenset())
        for account, one in tables.accounts.items()
    )
    del usual[frozenset()]
    return max(usual, key=usual.__getitem__, default=tables.database_privileges)


# --- names -------------------------------------------------------------------------------------


def check_new_name(
    name: str,
    site: Site,
    tables: GrantTables,
    own: Account,
    *,
    service: bool,
    allow_underscore: bool = False,
    adopt_schemas: bool = False,
) -> None:
    """Refuse a name that cannot be, or that would reach what is not its own. Raises UsageError."""
    for complaint in (
        _ill_formed(name, tables.flavour, allow_underscore=allow_underscore or service),
        _taken(name, site, own),
        None if service else _collision(name, site, tables),
        None if service or adopt_schemas else _inherits(name, tables),
    ):
        if complaint:
            raise UsageError(f"{name!r} cannot be a user name here: {complaint}.")


def _ill_formed(name: str, flavour: Flavour, *, allow_underscore: bool) -> str | None:
    if not name:
        return "it is empty"
    if len(name) > MAX_USER[flavour]:
        return f"it has {len(name)} characters, and the server takes {MAX_USER[flavour]}"
    if len(own_pattern(name)) > MAX_PATTERN:
        return f"the pattern of its schemas would be longer than {MAX_PATTERN} characters"
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        return "a name is an ASCII letter followed by letters, digits and hyphens"
    if "_" in name and not allow_underscore:
        return (
            "with an underscore, its schemas would also belong to the user "
            f"{name.partition('_')[0]!r} (--allow-underscore permits it)"
        )
    return None


def _taken(name: str, site: Site, own: Account) -> str | None:
    lower = name.lower()
    if is_system(name) or lower in _RESERVED:
        return "it is reserved for the server"
    if lower == own.user.lower():
        return "it is mapadmin's own account"
    if lower == site.database.schema.lower():
        return "it is the name of mapadmin's own schema"
    return None


def _collision(name: str, site: Site, tables: GrantTables) -> str | None:
    """Whether the name's schemas are somebody else's, or somebody else's schemas are the name's."""
    project = site.database.project_prefix
    if _prefixes(name, project) or _prefixes(project, name):
        return f"its schemas would be the project's ({project}_*)"
    others = {account.user for account in tables.accounts if account.user} | set(site.everyone())
    for other in sorted(others - {name}):
        if is_system(other):
            continue
        if _prefixes(name, other) or _prefixes(other, name):
            short, long = sorted((name, other), key=len)
            return f"{short}_* would also be the schemas of {long}"
        if other.lower() == name.lower():
            return f"there is a user {other!r} already, and schema names may ignore case"
    return None


def _inherits(name: str, tables: GrantTables) -> str | None:
    """Whether a new account would find schemas of its name, left by somebody before."""
    if Account(name) in tables.accounts:
        return None
    found = [
        schema for schema in sorted(tables.schemas) if pattern_matches(own_pattern(name), schema)
    ]
    if not found:
        return None
    return (
        f"schemas of that prefix exist already ({', '.join(found[:3])}); "
        "--adopt-schemas gives them to the new account"
    )


def _prefixes(name: str, other: str) -> bool:
    """Whether the schemas `name_*` include those of `other`."""
    return other == name or other.lower().startswith(f"{name.lower()}_")


def check_host(host: str) -> None:
    """Refuse a host pattern that the server would refuse, or silently cut. Raises UsageError."""
    if not host or len(host) > MAX_HOST or not re.fullmatch(r"[A-Za-z0-9.:%_/-]+", host):
        raise UsageError(
            f"{host!r} is not a host pattern.",
            remedy="Use a name, an address, a network (10.1.0.0/255.255.0.0) or % for any.",
        )


def owner_of(schema: str, names: Iterable[str]) -> str:
    """Whose schema this is: the longest name that is its prefix; empty when nobody's."""
    owners = [name for name in names if schema.startswith(f"{name}_")]
    return max(owners, key=len, default="")


def is_project_schema(schema: str, site: Site) -> bool:
    """Whether a schema is the project's, the server's or mapadmin's own: never dropped."""
    lower = schema.lower()
    prefix = site.database.project_prefix.lower()
    return (
        lower in SYSTEM_SCHEMAS
        or lower == site.database.schema.lower()
        or lower == prefix
        or lower.startswith(f"{prefix}_")
    )
