"""Accounts, scopes and privileges: the values that everything else in this folder compares.

What is read from a server and what a site wants are the same types, so a difference is a
comparison of dictionaries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import IntEnum, StrEnum

import msgspec

GRANT_OPTION = "GRANT OPTION"


class Flavour(StrEnum):
    """Which of the two servers answers; they differ in most of what concerns accounts."""

    MYSQL = "mysql"
    MARIADB = "mariadb"


class Account(msgspec.Struct, frozen=True, order=True):
    """A user at a host pattern, as the server knows it. A MariaDB role has the host ''."""

    user: str
    host: str = "%"

    def __str__(self) -> str:
        return f"{self.user}@{self.host}" if self.host else self.user


class Level(IntEnum):
    """Where a privilege is held, from the widest to the narrowest."""

    GLOBAL = 0
    DATABASE = 1
    TABLE = 2
    COLUMN = 3
    PROCEDURE = 4
    FUNCTION = 5
    PROXY = 6
    LIBRARY = 7  # MySQL 9.2
    PACKAGE = 8  # MariaDB, also the next
    PACKAGE_BODY = 9


ROUTINES = (Level.PROCEDURE, Level.FUNCTION, Level.LIBRARY, Level.PACKAGE, Level.PACKAGE_BODY)


class Scope(msgspec.Struct, frozen=True, order=True):
    """What a privilege is held on.

    `schema` is the stored pattern, verbatim, at the DATABASE level (there `_` and `%` are
    wildcards and a backslash escapes them) and a literal name at every other level.
    `name` is the table or routine; for PROXY, `schema` and `name` are user and host of the
    account that may be impersonated.
    """

    level: Level
    schema: str = ""
    name: str = ""
    column: str = ""

    def __str__(self) -> str:
        """As a site file writes it; see `parse_scope`."""
        match self.level:
            case Level.GLOBAL:
                return "*.*"
            case Level.DATABASE:
                return pattern_to_glob(self.schema)
            case Level.COLUMN:
                return f"{self.schema}.{self.name}({self.column})"
            case level if level in ROUTINES:
                return f"{level.name.lower().replace('_', ' ')} {self.schema}.{self.name}"
            case Level.PROXY:
                return f"proxy for {self.schema}@{self.name}"
            case _:
                return f"{self.schema}.{self.name}"


GLOBAL = Scope(Level.GLOBAL)
Privileges = frozenset[str]
Grants = Mapping[Scope, Privileges]


class AccountState(msgspec.Struct, frozen=True):
    """Everything the server holds about one account (or role)."""

    account: Account
    grants: Grants = msgspec.field(default_factory=dict)
    is_role: bool = False
    locked: bool = False
    plugin: str = ""
    auth: str = ""  # the stored hash, as hexadecimal digits; never a password
    tls: bool = False
    expired: bool = False
    roles: frozenset[Account] = frozenset()
    default_roles: frozenset[Account] = frozenset()
    restrictions: Mapping[str, Privileges] = msgspec.field(
        default_factory=dict
    )  # partial revokes, by schema
    comment: str = ""
    admin_roles: frozenset[Account] = frozenset()  # those of `roles` held WITH ADMIN OPTION
    grantable: Privileges = frozenset()  # MySQL's dynamic privileges held WITH GRANT OPTION
    other_auth: tuple[tuple[str, str], ...] = ()  # MariaDB's further ways in: plugin, hash
    second_password: bool = False  # MySQL: the one before still works (RETAIN CURRENT PASSWORD)


class GrantTables(msgspec.Struct, frozen=True):
    """The grant tables of a server at one moment, for all accounts at once.

    `orphans` are grants of accounts that do not exist. `schemas` are the existing ones.
    """

    flavour: Flavour
    version: tuple[int, ...]
    accounts: Mapping[Account, AccountState]
    orphans: Mapping[Account, Grants] = msgspec.field(default_factory=dict)
    schemas: frozenset[str] = frozenset()
    partial_revokes: bool = False
    activate_all_roles: bool = False
    mandatory_roles: frozenset[Account] = frozenset()
    lower_case_table_names: int = 0
    database_privileges: Privileges = frozenset()  # what ALL means on one schema here
    sql_mode: str = ""
    skip_name_resolve: bool = False
    activate_mandatory_roles: bool = False  # MySQL 9.5, where it is on unless switched off
    secure_transport: bool = False  # nobody may connect in clear, except through a local socket
    plugins: frozenset[str] = frozenset()  # ways to log in that the server knows
    default_plugin: str = "mysql_native_password"  # of a new account for which none is named

    @property
    def folds(self) -> bool:
        """Whether the server compares schemas and tables in lower case, and stores grants so."""
        return self.lower_case_table_names > 0

    def stored(self, scope: Scope) -> Scope:
        """A scope as this server stores it, however its name was written."""
        if not self.folds or scope.level in (Level.GLOBAL, Level.PROXY):
            return scope
        name = scope.name if scope.level in ROUTINES else scope.name.lower()
        return Scope(scope.level, scope.schema.lower(), name, scope.column)


# --- schema patterns ---------------------------------------------------------------------------
# People write globs (`map_*`); the server stores LIKE patterns (`map\_%`). The two translate into
# each other without loss, so that whatever is found on a server can be written into a site file.

_GLOB = re.compile(r"\[(.)\]|(.)", re.DOTALL)
_SPECIAL = ("*", "?", "[", ".", "(", ")")  # a dot would be read as schema.table
_STORED = re.compile(r"\\(.)|(.)", re.DOTALL)


def pattern_tokens(pattern: str) -> list[tuple[str, str]]:
    """The characters of a stored pattern: (escaped, "") or ("", as it stands)."""
    return _STORED.findall(pattern)


def has_wildcard(pattern: str) -> bool:
    """Whether a stored pattern can match more than one name."""
    return any(char in ("%", "_") for _, char in pattern_tokens(pattern))


def glob_to_pattern(glob: str) -> str:
    r"""`map_*` to `map\_%`: `*` any text, `?` one character, `[x]` that character itself.

    MySQL's own escaping is done here and nowhere else: the backslash first, then `_` and `%`.
    """
    out = []
    for literal, char in _GLOB.findall(glob):
        if literal:
            out.append(_escape(literal))
        elif char == "*":
            out.append("%")
        elif char == "?":
            out.append("_")
        else:
            out.append(_escape(char))
    return "".join(out)


def pattern_to_glob(pattern: str) -> str:
    """The inverse of `glob_to_pattern`."""
    out = []
    for escaped, char in pattern_tokens(pattern):
        if (escaped or char) in _SPECIAL:
            out.append(f"[{escaped or char}]")
        elif escaped:
            out.append(escaped)
        else:
            out.append({"%": "*", "_": "?"}.get(char, char))
    return "".join(out)


def _escape(char: str) -> str:
    return f"\\{char}" if char in "\\_%" else char


# --- scopes in site files ----------------------------------------------------------------------

_ROUTINE = re.compile(r"(procedure|function|library|package body|package) ([^.]+)\.([^.]+)")
_TABLE = re.compile(r"([^.()\[\]*?]+)\.([^.()\[\]*?]+)(?:\(([^()]+)\))?")


def parse_scope(text: str) -> Scope:
    """What a site file means by the left side of a grant.

    `map_*` is a schema pattern, `map_lab.subject` a table, `map_lab.subject(name)` a column,
    `procedure map_lab.tidy` a routine, `*.*` the whole server. Raises ValueError for others.
    """
    if text == "*.*":
        return GLOBAL
    if routine := _ROUTINE.fullmatch(text):
        return Scope(Level[routine[1].upper().replace(" ", "_")], routine[2], routine[3])
    if table := _TABLE.fullmatch(text):
        level = Level.COLUMN if table[3] else Level.TABLE
        return Scope(level, table[1], table[2], table[3] or "")
    bare = re.sub(r"\[.\]", "x", text)
    if not text or any(char in bare for char in ".()[") or text.startswith("proxy for "):
        raise ValueError(f"{text!r} is neither a schema pattern nor schema.table nor *.*")
    return Scope(Level.DATABASE, glob_to_pattern(text))
