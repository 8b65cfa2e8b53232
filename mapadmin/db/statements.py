"""SQL for accounts, as data: what is planned can be shown, compared, merged and carried out.

Values are driver parameters (account names and passwords are literals in these statements);
identifiers go through `identifier`; privileges come from an allowlist (`privileges`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from mapadmin.core.errors import MapadminError
from mapadmin.core.plan import Step
from mapadmin.core.secret import Secret
from mapadmin.db.grants import (
    GRANT_OPTION,
    ROUTINES,
    Account,
    Flavour,
    Grants,
    Level,
    Privileges,
    Scope,
)
from mapadmin.db.hashes import NATIVE, SHA2, Hashed, nobodys
from mapadmin.db.privileges import check_privileges

_ESCAPES = str.maketrans(
    {"\\": "\\\\", "'": "\\'", "\0": "\\0", "\n": "\\n", "\r": "\\r", "\x1a": "\\Z"}
)


class Sql(msgspec.Struct, frozen=True):
    """One statement: `head + item + tail`, with driver parameters for the `%s` in `item`.

    Neighbours with the same head and tail can be sent as one statement with several items, which
    saves the server a commit for each.
    """

    head: str
    item: str = ""
    tail: str = ""
    args: tuple[str | int | Secret | None, ...] = ()

    @property
    def text(self) -> str:
        return self.head + self.item + self.tail

    def mergeable(self, other: Sql) -> bool:
        return bool(self.item) and (self.head, self.tail) == (other.head, other.tail)

    def __str__(self) -> str:
        """For reading, in `--dry-run` and errors; secrets are stars."""
        shown = tuple(repr(str(arg)) for arg in self.args)
        return self.text % shown if self.args else self.text.replace("%%", "%")


class SqlStep(Step, frozen=True, kw_only=True):
    """A step that consists of SQL statements."""

    statements: tuple[Sql, ...]


def merge(statements: Iterable[Sql]) -> Iterator[tuple[Sql, int]]:
    """Neighbours that can be one statement, joined; each with the number that it stands for."""
    current: Sql | None = None
    items: list[str] = []
    args: list[str | int | Secret | None] = []
    for sql in statements:
        if current is not None and current.mergeable(sql):
            items.append(sql.item)
            args.extend(sql.args)
            continue
        if current is not None:
            yield (
                msgspec.structs.replace(current, item=", ".join(items), args=tuple(args)),
                len(items),
            )
        current, items, args = sql, [sql.item], list(sql.args)
    if current is not None:
        yield msgspec.structs.replace(current, item=", ".join(items), args=tuple(args)), len(items)


def identifier(name: str) -> str:
    """A quoted identifier for a statement with driver parameters (so `%` is doubled)."""
    if not name or "\0" in name:
        raise MapadminError(f"{name!r} cannot be the name of a schema or table.")
    return "`" + name.replace("`", "``").replace("%", "%%") + "`"


def literal(value: str) -> str:
    """A text literal in a dump, for a session in which a backslash escapes."""
    return f"'{value.translate(_ESCAPES)}'"


# --- accounts ----------------------------------------------------------------------------------


def create_locked(account: Account, flavour: Flavour, plugin: str, *, tls: bool) -> Sql:
    """Create an account that nobody can use yet: locked, its password known to nobody.

    `plugin` is the server's default for new accounts. The stored hash is random text of the right
    form, for which nobody knows a password; neither side need compute one.
    """
    tail = f"{_require(tls)} ACCOUNT LOCK"
    if (form := nobodys(flavour, plugin)) is None:
        return Sql("CREATE USER ", "%s@%s", tail, (account.user, account.host))
    item = f"%s@%s {_identified(flavour, plugin)}"
    return Sql("CREATE USER ", item, tail, (account.user, account.host, form))


def set_password(
    account: Account,
    flavour: Flavour,
    password: Secret,
    *,
    plugin: str,
    unlock: bool,
    keep_old: bool = False,
) -> Sql:
    """Set a password and, in the same statement, unlock the account.

    The server is sent the hash, except where only it can hash (`plugin` is another than the usual
    ones) or where it wants the password itself (to keep the old one beside it): MySQL then hides
    the password from its logs, but shows it in the process list while the statement runs.
    """
    tail = " ACCOUNT UNLOCK" if unlock else ""
    hashed = flavour is Flavour.MARIADB or (plugin in (NATIVE, SHA2) and not keep_old)
    if hashed:
        item = f"%s@%s {_identified(flavour, plugin)}"
        form = Hashed(password, NATIVE if flavour is Flavour.MARIADB else plugin)
        return Sql("ALTER USER ", item, tail, (account.user, account.host, form))
    item = "%s@%s IDENTIFIED BY %s" + (" RETAIN CURRENT PASSWORD" if keep_old else "")
    return Sql("ALTER USER ", item, tail, (account.user, account.host, password))


def _identified(flavour: Flavour, plugin: str) -> str:
    if flavour is Flavour.MARIADB:
        return f"IDENTIFIED VIA {NATIVE} USING %s"
    return f"IDENTIFIED WITH {plugin} AS %s"


def discard_old_password(account: Account) -> Sql:
    return Sql("ALTER USER ", "%s@%s DISCARD OLD PASSWORD", "", (account.user, account.host))


def set_locked(account: Account, *, locked: bool) -> Sql:
    tail = f" ACCOUNT {'LOCK' if locked else 'UNLOCK'}"
    return Sql("ALTER USER ", "%s@%s", tail, (account.user, account.host))


def set_tls(account: Account, *, tls: bool) -> Sql:
    return Sql("ALTER USER ", "%s@%s", _require(tls), (account.user, account.host))


def drop_account(account: Account) -> Sql:
    return Sql("DROP USER ", "%s@%s", "", (account.user, account.host))


def clear_leftovers(account: Account) -> Sql:
    """Delete the grants of an account that does not exist, which only this statement finds."""
    return Sql("DROP USER IF EXISTS ", "%s@%s", "", (account.user, account.host))


def drop_schema(schema: str) -> Sql:
    return Sql(f"DROP DATABASE {identifier(schema)}")


def _require(tls: bool) -> str:
    return " REQUIRE SSL" if tls else " REQUIRE NONE"


# --- grants ------------------------------------------------------------------------------------


def grant(account: Account, scope: Scope, privileges: Privileges) -> Sql:
    """GRANT of all the given privileges on one scope, in one statement: atomic for a session."""
    check_privileges(privileges)
    plain = sorted(privileges - {GRANT_OPTION}) or ["USAGE"]
    tail = " WITH GRANT OPTION" if GRANT_OPTION in privileges else ""
    head = f"GRANT {_privilege_list(scope, plain)} ON {_on(scope)} TO "
    if scope.level is Level.PROXY:
        return Sql(head + "%s@%s", "", tail, (*_proxied(scope), account.user, account.host))
    return Sql(head, "%s@%s", tail, (account.user, account.host))


def revoke(account: Account, scope: Scope, privileges: Privileges) -> Sql:
    """REVOKE of the given privileges on one scope, with the stored pattern repeated verbatim."""
    check_privileges(privileges)
    head = f"REVOKE {_privilege_list(scope, sorted(privileges))} ON {_on(scope)} FROM "
    if scope.level is Level.PROXY:
        return Sql(
            f"REVOKE PROXY ON {_on(scope)} FROM %s@%s",
            args=(*_proxied(scope), account.user, account.host),
        )
    return Sql(head, "%s@%s", "", (account.user, account.host))


def revoke_native_role(account: Account, role: Account, flavour: Flavour) -> Sql:
    """Take a role of the server's own from an account."""
    if flavour is Flavour.MARIADB:
        return Sql(f"REVOKE {identifier(role.user)} FROM %s@%s", args=(account.user, account.host))
    return Sql("REVOKE %s@%s FROM %s@%s", args=(role.user, role.host, account.user, account.host))


def _proxied(scope: Scope) -> tuple[str, str]:
    return scope.schema, scope.name


def _privilege_list(scope: Scope, privileges: Iterable[str]) -> str:
    if scope.level is Level.COLUMN:
        return ", ".join(f"{p} ({identifier(scope.column)})" for p in privileges)
    return ", ".join(privileges)


def _on(scope: Scope) -> str:
    match scope.level:
        case Level.GLOBAL:
            return "*.*"
        case Level.DATABASE:
            return f"{identifier(scope.schema)}.*"
        case level if level in ROUTINES:
            kind = level.name.replace("_", " ")
            return f"{kind} {identifier(scope.schema)}.{identifier(scope.name)}"
        case Level.PROXY:
            return "%s@%s"
        case _:
            return f"{identifier(scope.schema)}.{identifier(scope.name)}"


def describe(privileges: Privileges, all_privileges: Privileges = frozenset()) -> str:
    """A set of privileges for a person: `ALL` where it is all of them."""
    plain = privileges - {GRANT_OPTION}
    text = "ALL" if all_privileges and plain >= all_privileges else ", ".join(sorted(plain))
    if GRANT_OPTION in privileges:
        text = f"{text or 'USAGE'} with GRANT OPTION"
    return text


def describe_grants(grants: Grants, all_privileges: Privileges = frozenset()) -> str:
    """All grants of an account in one line."""
    return "; ".join(
        f"{describe(privileges, all_privileges)} on {scope}"
        for scope, privileges in sorted(grants.items())
    )
