"""The grant tables of a server, read whole, in seven queries however many accounts there are.

SHOW GRANTS is never parsed: MySQL expands a global ALL into a list, ANSI_QUOTES changes its
quotes, and role lines vary. SELECT on `mysql.*` is all that is needed; to list every schema the
server also wants SHOW DATABASES.

The columns of single characters (`Y`, `N`) that hold most privileges arrive as one string for
each row. There are few distinct ones, so ten thousand accounts share a handful of sets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from mapadmin.core.errors import ExitCode, MapadminError
from mapadmin.db.gather import Flags, Gathered, Row, of_column
from mapadmin.db.global_priv import parse
from mapadmin.db.grants import (
    GRANT_OPTION,
    Account,
    AccountState,
    Flavour,
    GrantTables,
    Privileges,
)
from mapadmin.db.server import flavour_of, version_of

Rows = Sequence[Row]

# SHOW, not a table: it needs no privilege and leaves out what a server does not have.
_VARIABLES = """SHOW GLOBAL VARIABLES WHERE Variable_name IN
('version', 'sql_mode', 'partial_revokes', 'activate_all_roles_on_login', 'mandatory_roles',
'activate_mandatory_roles', 'lower_case_table_names', 'skip_name_resolve',
'require_secure_transport',
'authentication_policy', 'default_authentication_plugin')"""
_COLUMNS = r"""SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = 'mysql' AND table_name IN ('user', 'db')
AND (column_name LIKE '%\_priv' OR column_name = 'User_attributes')
ORDER BY table_name, ordinal_position"""
_NAMES = """SELECT 'schema', schema_name FROM information_schema.schemata
UNION ALL SELECT 'plugin', plugin_name FROM information_schema.plugins
WHERE plugin_type = 'AUTHENTICATION' AND plugin_status = 'ACTIVE'"""
_DATABASES = "SELECT User, Host, Db, CONCAT({flags}) FROM mysql.db"
_OBJECTS = """
SELECT 'TABLE', User, Host, Db, Table_name, '', Table_priv FROM mysql.tables_priv
UNION ALL
SELECT 'COLUMN', User, Host, Db, Table_name, Column_name, Column_priv FROM mysql.columns_priv
UNION ALL SELECT Routine_type, User, Host, Db, Routine_name, '', Proc_priv FROM mysql.procs_priv
UNION ALL SELECT 'PROXY', User, Host, Proxied_user, Proxied_host, '',
IF(With_grant, 'Proxy,Grant', 'Proxy') FROM mysql.proxies_priv"""
_MYSQL_ACCOUNTS = """SELECT User, Host, CONCAT({flags}), account_locked, password_expired, plugin,
HEX(authentication_string), ssl_type, {attributes} FROM mysql.user"""
_MARIADB_ACCOUNTS = "SELECT User, Host, Priv FROM mysql.global_priv"
_MYSQL_ROLES = """
SELECT 'role', TO_USER, TO_HOST, FROM_USER, FROM_HOST, WITH_ADMIN_OPTION FROM mysql.role_edges
UNION ALL SELECT 'default', USER, HOST, DEFAULT_ROLE_USER, DEFAULT_ROLE_HOST, 'N'
FROM mysql.default_roles
UNION ALL SELECT 'dynamic', USER, HOST, PRIV, '', WITH_GRANT_OPTION FROM mysql.global_grants"""
_MARIADB_ROLES = "SELECT 'role', User, Host, Role, '', Admin_option FROM mysql.roles_mapping"

# 'name'@'host', either of them quoted in any of the three ways or not at all.
_PART = r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|[^\s,@'"`]+"""
_AUTH_ID = re.compile(rf"\s*({_PART})\s*(?:@\s*({_PART})\s*)?(?:,|$)")


class Queries(Protocol):
    """What is read from: rows come as plain tuples, text as str (utf8mb4)."""

    def query(self, sql: str, /) -> Rows: ...


def inspect(source: Queries) -> GrantTables:
    """Everything that the server holds about accounts, roles and grants at this moment."""
    variables = {str(name): str(value) for name, value in source.query(_VARIABLES)}
    flavour = flavour_of(variables["version"])
    version = version_of(variables["version"])
    columns: dict[str, list[str]] = {"user": [], "db": []}
    for table, column in source.query(_COLUMNS):
        columns[table].append(column)
    if not columns["db"]:
        # Columns that one may not read are not listed, and the queries below would make no sense.
        raise MapadminError(
            "mapadmin's account may not read the grant tables.",
            remedy="Grant it SELECT on mysql.*; `mapadmin db check` lists what it needs.",
            exit_code=ExitCode.SETTINGS,
        )
    gathered = Gathered()
    databases = source.query(_DATABASES.format(flags=_listed(columns["db"])))
    gathered.add_databases(databases, columns["db"])
    gathered.add_objects(source.query(_OBJECTS))
    mandatory = _auth_ids(variables.get("mandatory_roles", ""))
    if flavour is Flavour.MARIADB:
        gathered.add_roles(source.query(_MARIADB_ROLES))
        accounts = _mariadb_accounts(source.query(_MARIADB_ACCOUNTS), gathered, version)
    else:
        gathered.add_roles(source.query(_MYSQL_ROLES))
        accounts = _mysql_accounts(source, columns["user"], gathered, mandatory)
    names: dict[str, set[str]] = {"schema": set(), "plugin": set()}
    for kind, name in source.query(_NAMES):
        names[kind].add(name)
    return GrantTables(
        flavour=flavour,
        version=version,
        accounts=accounts,
        orphans={key: held for key, held in gathered.scopes.items() if key not in accounts},
        schemas=frozenset(names["schema"]),
        partial_revokes=variables.get("partial_revokes") == "ON",
        activate_all_roles=variables.get("activate_all_roles_on_login") == "ON",
        activate_mandatory_roles=variables.get("activate_mandatory_roles") == "ON",
        mandatory_roles=mandatory,
        lower_case_table_names=int(variables["lower_case_table_names"]),
        database_privileges=frozenset(map(of_column, columns["db"])) - {GRANT_OPTION},
        sql_mode=variables["sql_mode"],
        skip_name_resolve=variables.get("skip_name_resolve") == "ON",
        secure_transport=variables.get("require_secure_transport") == "ON",
        plugins=frozenset(names["plugin"]),
        default_plugin=_default_plugin(flavour, variables),
    )


def _default_plugin(flavour: Flavour, variables: Mapping[str, str]) -> str:
    """How a new account's password is stored, unless something else is said."""
    if flavour is Flavour.MARIADB:
        return "mysql_native_password"
    first = variables.get("authentication_policy", "").split(",")[0].strip()
    if first and not first.startswith("*"):
        return first
    named = first.partition(":")[2]  # "*:caching_sha2_password"
    return named or variables.get("default_authentication_plugin", "caching_sha2_password")


def _mysql_accounts(
    source: Queries, columns: Sequence[str], gathered: Gathered, mandatory: frozenset[Account]
) -> dict[Account, AccountState]:
    privileges = [column for column in columns if column.endswith("_priv")]
    attributes = "User_attributes" if "User_attributes" in columns else "NULL"  # since 8.0.14
    sql = _MYSQL_ACCOUNTS.format(flags=_listed(privileges), attributes=attributes)
    flags = Flags(privileges)
    granted = mandatory | gathered.granted_roles()
    accounts = {}
    for user, host, text, locked, expired, plugin, auth, ssl_type, more in source.query(sql):
        account = Account(user, host)
        extra: dict[str, Any] = json.loads(more) if more else {}
        shut = locked == "Y" and not auth
        accounts[account] = AccountState(
            account=account,
            grants=gathered.grants_of(account, flags[text]),
            # A role is an account here. CREATE ROLE makes it locked and expired, with no password.
            is_role=shut and (expired == "Y" or account in granted),
            locked=locked == "Y",
            plugin=plugin,
            auth=auth,
            tls=ssl_type != "",
            expired=expired == "Y",
            restrictions=_restrictions(extra),
            comment=extra.get("metadata", {}).get("comment", ""),
            grantable=frozenset(gathered.grantable.get(account, ())),
            second_password="additional_password" in extra,
            **gathered.roles_of(account),
        )
    return accounts


def _restrictions(attributes: Mapping[str, Any]) -> dict[str, Privileges]:
    return {
        entry["Database"]: frozenset(entry["Privileges"])
        for entry in attributes.get("Restrictions", ())
    }


def _mariadb_accounts(
    rows: Rows, gathered: Gathered, version: tuple[int, ...]
) -> dict[Account, AccountState]:
    accounts = {}
    for user, host, text in rows:
        account = Account(user, host)
        held = parse(text, version)
        (plugin, auth), *others = held.plugins
        accounts[account] = AccountState(
            account=account,
            grants=gathered.grants_of(account, held.privileges),
            is_role=held.is_role,
            locked=held.locked,
            plugin=plugin,
            auth=auth,
            tls=held.tls,
            expired=held.expired,
            other_auth=tuple(others),
            **gathered.roles_of(account, held.default_role),
        )
    return accounts


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(f"`{column}`" for column in columns)


def _auth_ids(text: str) -> frozenset[Account]:
    """The value of `mandatory_roles`: names with or without quotes or host, in a list."""
    found = set()
    for match in _AUTH_ID.finditer(text):
        user, host = (_unquoted(part or "%") for part in match.groups())
        found.add(Account(user, host))
    return frozenset(found)


def _unquoted(name: str) -> str:
    quote = name[0]
    return name[1:-1].replace(quote * 2, quote) if quote in "'\"`" else name
