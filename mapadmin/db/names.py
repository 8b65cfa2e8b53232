"""Names: which a new account may have, and whose schema is whose. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache

from mapadmin.core.errors import UsageError
from mapadmin.db.grants import Account, Flavour, GrantTables, Level, Scope, glob_to_pattern
from mapadmin.site import Site

MAX_PATTERN = 64  # characters of a schema pattern in a grant; beyond it the server says 1102
MAX_HOST = 255  # characters; 60 on MySQL before 8.0.17
MAX_USER = {Flavour.MYSQL: 32, Flavour.MARIADB: 128}

# Accounts of the server and of RDS: never listed as unknown, never touched.
_SYSTEM = re.compile(r"(rds.*|mysql\.(sys|session|infoschema)|mariadb\.sys)", re.IGNORECASE)
_RESERVED = {"root", "mysql", "mariadb", "admin", "public", "information_schema", "performance_schema", "sys", "test"}  # fmt: skip  # noqa: E501
SYSTEM_SCHEMAS = frozenset({"mysql", "information_schema", "performance_schema", "sys"})


def is_system(name: str) -> bool:
    """Whether an account belongs to the server or to RDS."""
    return _SYSTEM.fullmatch(name) is not None


@lru_cache(maxsize=65536)
def own_pattern(name: str) -> str:
    r"""The stored pattern of the schemas that a person owns: `alice\_%`."""
    literal = re.sub(r"([*?\[.()])", r"[\1]", name)
    return glob_to_pattern(f"{literal}_*")


def own_scope(name: str, tables: GrantTables) -> Scope:
    """The schemas that a person owns, as this server stores them."""
    return tables.stored(Scope(Level.DATABASE, own_pattern(name)))


class NameRules:
    """Which names new accounts may have, given a site and what is on its server.

    Everything that is compared is collected once, so that a thousand names cost little more than
    one. To the server, the schemas `al_*` of a user `al` include those of a user `al_ice`.
    """

    def __init__(self, site: Site, tables: GrantTables, own: Account) -> None:
        self._site = site
        self._tables = tables
        self._own = own
        users = {account.user for account in tables.accounts if account.user}
        self._users = {name for name in users | set(site.everyone()) if not is_system(name)} - {
            own.user
        }
        self._lower: dict[str, set[str]] = defaultdict(set)
        self._longer: dict[str, set[str]] = defaultdict(set)
        for name in self._users:
            self._lower[name.lower()].add(name)
            for head in _heads(name.lower()):
                self._longer[head].add(name)
        self._schemas: dict[str, list[str]] = defaultdict(list)
        for schema in sorted(tables.schemas):
            for head in _heads(schema.lower() if tables.folds else schema):
                self._schemas[head].append(schema)

    def check(
        self,
        name: str,
        *,
        service: bool,
        allow_underscore: bool = False,
        adopt_schemas: bool = False,
    ) -> None:
        """Refuse a name that cannot be, or would reach what is not its own. Raises UsageError."""
        complaint = (
            _ill_formed(name, self._tables.flavour, allow_underscore=allow_underscore or service)
            or taken(name, self._site, self._own)
            or (None if service else self._collision(name))
            or (None if service or adopt_schemas else self._inheritance(name))
        )
        if complaint:
            raise UsageError(f"{name!r} cannot be a user name here: {complaint}.")

    def _collision(self, name: str) -> str | None:
        """Whether its schemas would be somebody else's, or somebody else's its own."""
        project = self._site.database.project_prefix
        lower = name.lower()
        if lower in (project.lower(), *_heads(project.lower())) or project.lower() in _heads(lower):
            return f"its schemas would be the project's ({project}_*)"
        for schema in (self._site.database.schema, *sorted(SYSTEM_SCHEMAS)):
            if lower in _heads(schema.lower()):
                whose = "the server's" if schema in SYSTEM_SCHEMAS else "mapadmin's"
                return f"its schemas would include {schema}, {whose} own"
        longer = self._longer.get(lower, set()) - {name}
        if longer:
            return f"{name}_* would also be the schemas of {min(longer)}"
        shorter = [other for head in _heads(lower) for other in self._lower.get(head, ())]
        if shorter:
            return f"{min(shorter)}_* would also be the schemas of {name}"
        same = self._lower.get(lower, set()) - {name}
        if same:
            return f"there is a user {min(same)!r} already, and schema names may ignore case"
        return None

    def _inheritance(self, name: str) -> str | None:
        """Whether a new account would find schemas of its name, left by somebody before."""
        found = self._schemas.get(name.lower() if self._tables.folds else name)
        if not found or Account(name) in self._tables.accounts:
            return None
        return (
            f"schemas of that prefix exist already ({', '.join(found[:3])}); "
            "--adopt-schemas gives them to the new account"
        )


def _heads(name: str) -> Iterator[str]:
    """What stands before each underscore: `a_b_c` has the heads `a` and `a_b`."""
    place = name.find("_")
    while place >= 0:
        yield name[:place]
        place = name.find("_", place + 1)


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
    """`NameRules.check` for a single name."""
    NameRules(site, tables, own).check(
        name, service=service, allow_underscore=allow_underscore, adopt_schemas=adopt_schemas
    )


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


def taken(name: str, site: Site, own: Account) -> str | None:
    """Why a name can be no person's or service's of this site."""
    lower = name.lower()
    if is_system(name) or lower in _RESERVED:
        return "it is reserved for the server"
    if lower == own.user.lower():
        return "it is mapadmin's own account"
    if lower == site.database.schema.lower():
        return "it is the name of mapadmin's own schema"
    return None


def off_limits(user: str, site: Site, own: Account) -> str:
    """Why accounts of this name are never changed, whatever is remembered of them; else empty."""
    if user == own.user:
        return "it is mapadmin's own account"
    if is_system(user):
        return "it is an account of the server's own"
    if user in site.database.ignore_accounts:
        return "it is in database.ignore_accounts"
    return ""


def check_host(host: str) -> str:
    """A host pattern as the server stores it: in lower case.

    Raises UsageError for one that the server would refuse, or silently cut.
    """
    if not host or len(host) > MAX_HOST or not re.fullmatch(r"[A-Za-z0-9.:%_/-]+", host):
        raise UsageError(
            f"{host!r} is not a host pattern.",
            remedy="Use a name, an address, a network (10.1.0.0/255.255.0.0) or % for any.",
        )
    return host.lower()


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
