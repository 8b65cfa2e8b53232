"""The SQL of every change, as text; names go in as they are and come out as they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapadmin.core.errors import MapadminError
from mapadmin.core.secret import STARS, Secret
from mapadmin.db import statements
from mapadmin.db.grants import GLOBAL, GRANT_OPTION, Account, Flavour, Level, Scope
from mapadmin.db.hashes import NATIVE, SHA2, Hashed, native, sha2
from mapadmin.db.privileges import STATIC_PRIVILEGES, check_privileges
from mapadmin.db.statements import (
    Sql,
    describe,
    describe_grants,
    grant,
    identifier,
    merge,
    revoke,
    revoke_native_role,
)

ALICE = Account("alice", "10.1.%")
PASSWORD = Secret("correct-horse-7")
# Debian's libcrypt: crypt("Hello world!", "$5$rounds=5000$saltstringsaltst")
SHA_CRYPT_OF_HELLO_WORLD = "a5C8Ofk71MUIoKve2QuP9FMl.dwNgseF5tR1LGAL7iB"


def privileges(text: str) -> frozenset[str]:
    return frozenset(text.split(",")) if text else frozenset()


# --- GRANT and REVOKE --------------------------------------------------------------------------

DATABASE = Scope(Level.DATABASE, r"map\_%")
TABLE = Scope(Level.TABLE, "map_lab", "subject")
COLUMN = Scope(Level.COLUMN, "map_lab", "subject", "name")
PROCEDURE = Scope(Level.PROCEDURE, "map_lab", "tidy")
FUNCTION = Scope(Level.FUNCTION, "map_lab", "f")
PROXY = Scope(Level.PROXY, "boss", "%")

# Scope, privileges, and what stands between GRANT (or REVOKE) and TO (or FROM).
ON: list[tuple[Scope, str, str]] = [
    (GLOBAL, "PROCESS,CREATE USER", "CREATE USER, PROCESS ON *.*"),
    (GLOBAL, "BACKUP_ADMIN", "BACKUP_ADMIN ON *.*"),
    (GLOBAL, "BINLOG MONITOR", "BINLOG MONITOR ON *.*"),
    (DATABASE, "SELECT", r"SELECT ON `map\_%%`.*"),
    (DATABASE, "UPDATE,INSERT,SELECT", r"INSERT, SELECT, UPDATE ON `map\_%%`.*"),
    (TABLE, "SELECT", "SELECT ON `map_lab`.`subject`"),
    (COLUMN, "SELECT,UPDATE", "SELECT (`name`), UPDATE (`name`) ON `map_lab`.`subject`"),
    (PROCEDURE, "EXECUTE", "EXECUTE ON PROCEDURE `map_lab`.`tidy`"),
    (FUNCTION, "EXECUTE", "EXECUTE ON FUNCTION `map_lab`.`f`"),
    (Scope(Level.LIBRARY, "a", "b"), "EXECUTE", "EXECUTE ON LIBRARY `a`.`b`"),
    (Scope(Level.PACKAGE_BODY, "a", "b"), "EXECUTE", "EXECUTE ON PACKAGE BODY `a`.`b`"),
]


@pytest.mark.parametrize(("scope", "names", "on"), ON)
def test_grant_and_revoke(scope: Scope, names: str, on: str) -> None:
    given_ = grant(ALICE, scope, privileges(names))
    assert (given_.text, given_.args) == (f"GRANT {on} TO %s@%s", ("alice", "10.1.%"))
    taken = revoke(ALICE, scope, privileges(names))
    assert (taken.text, taken.args) == (f"REVOKE {on} FROM %s@%s", ("alice", "10.1.%"))


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ("SELECT,GRANT OPTION", r"GRANT SELECT ON `map\_%%`.* TO %s@%s WITH GRANT OPTION"),
        ("GRANT OPTION", r"GRANT USAGE ON `map\_%%`.* TO %s@%s WITH GRANT OPTION"),
        ("", r"GRANT USAGE ON `map\_%%`.* TO %s@%s"),
    ],
)
def test_grant_option(names: str, text: str) -> None:
    assert grant(ALICE, DATABASE, privileges(names)).text == text


def test_revoke_grant_option_only() -> None:
    assert revoke(ALICE, DATABASE, frozenset({GRANT_OPTION})).text == (
        r"REVOKE GRANT OPTION ON `map\_%%`.* FROM %s@%s"
    )


def test_proxies() -> None:
    """Two accounts in one statement, in this order; it is never merged with another."""
    given_ = grant(ALICE, PROXY, frozenset({"PROXY", GRANT_OPTION}))
    assert given_.text == "GRANT PROXY ON %s@%s TO %s@%s WITH GRANT OPTION"
    assert given_.args == ("boss", "%", "alice", "10.1.%")
    taken = revoke(ALICE, PROXY, frozenset({"PROXY"}))
    assert taken.text == "REVOKE PROXY ON %s@%s FROM %s@%s"
    assert taken.args == ("boss", "%", "alice", "10.1.%")
    assert not given_.mergeable(given_)
    assert not taken.mergeable(taken)


def test_native_roles() -> None:
    role = Account("ro`le", "")
    maria = revoke_native_role(ALICE, role, Flavour.MARIADB)
    assert (maria.text, maria.args) == ("REVOKE `ro``le` FROM %s@%s", ("alice", "10.1.%"))
    mysql = revoke_native_role(ALICE, Account("role", "%"), Flavour.MYSQL)
    assert mysql.text == "REVOKE %s@%s FROM %s@%s"
    assert mysql.args == ("role", "%", "alice", "10.1.%")


@pytest.mark.parametrize(
    "name",
    ["", "select", "SELECT, DROP", "SELECT ON *.* TO x --", "ALL;", "SELECT\n", "SEL`ECT", "%s",
     "A B C D", "SELECT (a)", "\u0130NSERT", "1A"],
)  # fmt: skip
@pytest.mark.parametrize("make", [grant, revoke])
def test_only_privileges_are_privileges(make: type, name: str) -> None:
    with pytest.raises(MapadminError) as caught:
        make(ALICE, DATABASE, frozenset({"SELECT", name}))
    assert str(caught.value) == f"{name!r} is not a privilege."


def test_known_privileges() -> None:
    assert {"SELECT", "CREATE TEMPORARY TABLES", "SHOW VIEW", "EVENT", "UPDATE", "ALTER"} < (
        STATIC_PRIVILEGES
    )
    assert len(STATIC_PRIVILEGES) == 34
    assert all(re.fullmatch(r"[A-Z]+( [A-Z]+)*", name) for name in STATIC_PRIVILEGES)
    check_privileges(STATIC_PRIVILEGES)


# --- names -------------------------------------------------------------------------------------

HOSTILE = [
    "a`b", "`", "``", "a%b", "%s", "%%s", "%(x)s", "a\\b", "\\", "a'b", 'a"b', "a;b", "a b", " ",
    "a\nb", "a.b", "--", "/*", "m\u00fcller", "\U0001f511", "a`; DROP DATABASE x; --",
]  # fmt: skip
NAMES = st.sampled_from(HOSTILE) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1
)


def sent(sql: Sql) -> str:
    """As the driver builds it; arguments are shown as `?`."""
    text: str = sql.text % tuple("?" for _ in sql.args)
    return text


def names_in(sql: str) -> list[str]:
    """The quoted identifiers of a statement, as the server reads them."""
    return [name.replace("``", "`") for name in re.findall(r"`((?:[^`]|``)*)`", sql)]


@given(NAMES)
def test_identifier(name: str) -> None:
    quoted = identifier(name) % ()
    assert names_in(quoted) == [name]
    assert quoted == "`" + name.replace("`", "``") + "`"


@pytest.mark.parametrize("name", ["", "\0", "a\0b"])
def test_no_identifier(name: str) -> None:
    with pytest.raises(MapadminError, match="cannot be the name of a schema or table"):
        identifier(name)


LEVELS = [Level.TABLE, Level.PROCEDURE, Level.FUNCTION]


@given(NAMES, NAMES, NAMES, st.sampled_from(LEVELS))
def test_hostile_names_stay_names(schema: str, name: str, column: str, level: Level) -> None:
    some = frozenset({"SELECT"})
    for make in (grant, revoke):
        assert names_in(sent(make(ALICE, Scope(level, schema, name), some))) == [schema, name]
        assert names_in(sent(make(ALICE, Scope(Level.DATABASE, schema), some))) == [schema]
        scope = Scope(Level.COLUMN, schema, name, column)
        assert names_in(sent(make(ALICE, scope, some))) == [column, schema, name]
    outside = re.sub(r"`(?:[^`]|``)*`", "", sent(grant(ALICE, Scope(level, schema, name), some)))
    assert re.fullmatch(r"GRANT SELECT ON (PROCEDURE |FUNCTION )?\. TO \?@\?", outside)
    assert sent(statements.drop_schema(schema)) == f"DROP DATABASE {identifier(schema) % ()}"


@given(NAMES, NAMES)
def test_accounts_are_values(user: str, host: str) -> None:
    account = Account(user, host)
    for sql in (
        statements.create_locked(account, Flavour.MARIADB, "x", tls=True),
        statements.create_locked(account, Flavour.MYSQL, "caching_sha2_password", tls=True),
        statements.create_locked(account, Flavour.MYSQL, "other", tls=False),
        statements.set_password(account, Flavour.MYSQL, PASSWORD, plugin=SHA2, unlock=True),
        statements.set_locked(account, locked=True),
        statements.drop_account(account),
        grant(account, GLOBAL, frozenset({"PROCESS"})),
    ):
        assert sql.args[:2] == (user, host)
        assert sql.text.count("%s") == len(sql.args)


# --- accounts ----------------------------------------------------------------------------------

ACCOUNTS: list[tuple[Sql, str, Sequence[object]]] = [
    (statements.set_locked(ALICE, locked=True), "ALTER USER %s@%s ACCOUNT LOCK", ()),
    (statements.set_locked(ALICE, locked=False), "ALTER USER %s@%s ACCOUNT UNLOCK", ()),
    (statements.set_tls(ALICE, tls=True), "ALTER USER %s@%s REQUIRE SSL", ()),
    (statements.set_tls(ALICE, tls=False), "ALTER USER %s@%s REQUIRE NONE", ()),
    (statements.drop_account(ALICE), "DROP USER %s@%s", ()),
    (statements.discard_old_password(ALICE), "ALTER USER %s@%s DISCARD OLD PASSWORD", ()),
    (
        statements.set_password(ALICE, Flavour.MYSQL, PASSWORD, plugin=SHA2, unlock=True),
        "ALTER USER %s@%s IDENTIFIED WITH caching_sha2_password AS %s ACCOUNT UNLOCK",
        (Hashed(PASSWORD, SHA2),),
    ),
    (
        statements.set_password(ALICE, Flavour.MYSQL, PASSWORD, plugin="other", unlock=True),
        "ALTER USER %s@%s IDENTIFIED BY %s ACCOUNT UNLOCK",
        (PASSWORD,),
    ),
    (
        statements.set_password(
            ALICE, Flavour.MYSQL, PASSWORD, plugin=SHA2, unlock=False, keep_old=True
        ),
        "ALTER USER %s@%s IDENTIFIED BY %s RETAIN CURRENT PASSWORD",
        (PASSWORD,),
    ),
    (
        statements.set_password(ALICE, Flavour.MARIADB, PASSWORD, plugin=SHA2, unlock=True),
        "ALTER USER %s@%s IDENTIFIED VIA mysql_native_password USING %s ACCOUNT UNLOCK",
        (Hashed(PASSWORD, NATIVE),),
    ),
]


@pytest.mark.parametrize(("sql", "text", "more"), ACCOUNTS)
def test_accounts(sql: Sql, text: str, more: Sequence[object]) -> None:
    assert sql.text == text
    assert sql.args == ("alice", "10.1.%", *more)


CREATED: list[tuple[Flavour, str, str, str]] = [
    (
        Flavour.MARIADB,
        "",
        "CREATE USER %s@%s IDENTIFIED VIA mysql_native_password USING %s REQUIRE SSL ACCOUNT LOCK",
        r"\*[0-9A-F]{40}",
    ),
    (
        Flavour.MYSQL,
        "caching_sha2_password",
        "CREATE USER %s@%s IDENTIFIED WITH caching_sha2_password AS %s REQUIRE SSL ACCOUNT LOCK",
        r"\$A\$005\$[A-Za-z0-9]{63}",
    ),
]


@pytest.mark.parametrize(("flavour", "plugin", "text", "form"), CREATED)
def test_created_locked_with_a_password_that_nobody_has(
    flavour: Flavour, plugin: str, text: str, form: str
) -> None:
    made = [statements.create_locked(ALICE, flavour, plugin, tls=True) for _ in range(20)]
    assert {sql.text for sql in made} == {text}
    hashes = {str(sql.args[2]) for sql in made}
    assert len(hashes) == 20
    assert all(re.fullmatch(form, one) for one in hashes)


def test_created_with_the_server_s_own_plugin() -> None:
    sql = statements.create_locked(ALICE, Flavour.MYSQL, "sha256_password", tls=False)
    assert sql.text == "CREATE USER %s@%s REQUIRE NONE ACCOUNT LOCK"


def test_native() -> None:
    """The value that every MySQL and MariaDB computes for PASSWORD('password')."""
    assert native(Secret("password")) == "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"


# --- reading -----------------------------------------------------------------------------------


def test_statement_shows_no_password() -> None:
    for flavour in Flavour:
        sql = statements.set_password(ALICE, flavour, PASSWORD, plugin=SHA2, unlock=True)
        for text in (str(sql), repr(sql), f"{sql}"):
            assert PASSWORD.reveal() not in text
    shown = str(statements.set_password(ALICE, Flavour.MYSQL, PASSWORD, plugin="x", unlock=True))
    assert shown == f"ALTER USER 'alice'@'10.1.%' IDENTIFIED BY '{STARS}' ACCOUNT UNLOCK"


def test_sha2_is_the_specification_s_own() -> None:
    """With 16 characters of salt it is the SHA-crypt of every C library; the salt is prefixed."""
    stored = sha2(Secret("Hello world!"), "saltstringsaltst")
    assert stored == "$A$005$saltstringsaltst" + SHA_CRYPT_OF_HELLO_WORLD


def test_statement_reads_as_it_is_sent() -> None:
    assert str(grant(ALICE, DATABASE, frozenset({"SELECT"}))) == (
        r"GRANT SELECT ON `map\_%`.* TO 'alice'@'10.1.%'"
    )
    assert str(statements.drop_schema("100%")) == "DROP DATABASE `100%`"


ALL = privileges("SELECT,INSERT,UPDATE")


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ("SELECT", "SELECT"),
        ("UPDATE,INSERT", "INSERT, UPDATE"),
        ("SELECT,INSERT,UPDATE", "ALL"),
        ("SELECT,INSERT,UPDATE,GRANT OPTION", "ALL with GRANT OPTION"),
        ("GRANT OPTION", "USAGE with GRANT OPTION"),
        ("SELECT,GRANT OPTION", "SELECT with GRANT OPTION"),
    ],
)
def test_describe(names: str, text: str) -> None:
    assert describe(privileges(names), ALL) == text


def test_describe_grants() -> None:
    grants = {TABLE: privileges("SELECT"), DATABASE: ALL, GLOBAL: privileges("PROCESS")}
    assert describe_grants(grants, ALL) == (
        "PROCESS on *.*; ALL on map_*; SELECT on map_lab.subject"
    )
    assert describe_grants({}, ALL) == ""


# --- merging -----------------------------------------------------------------------------------

# Of two kinds that take several items, of one that does not, and with different tails.
SQLS = st.sampled_from(
    [
        Sql(head, item, tail)
        for head, items in (("A ", ["%s", "%s@%s"]), ("B ", ["%s"]), ("C ", [""]))
        for item in items
        for tail in ("", " Z")
    ]
)


@given(st.lists(SQLS, max_size=12))
def test_merge_keeps_order_and_arguments(given_: list[Sql]) -> None:
    numbers = iter(range(1000))
    numbered = [
        Sql(s.head, s.item, s.tail, tuple(next(numbers) for _ in range(s.item.count("%s"))))
        for s in given_
    ]
    merged = list(merge(numbered))
    assert sum(count for _, count in merged) == len(numbered)
    position = 0
    for sql, count in merged:
        part = numbered[position : position + count]
        position += count
        assert {(one.head, one.tail) for one in part} == {(sql.head, sql.tail)}
        assert sql.item == ", ".join(one.item for one in part)
        assert sql.args == tuple(arg for one in part for arg in one.args)
        assert count == 1 or all(one.item for one in part)
    assert not any(one.mergeable(other) for (one, _), (other, _) in pairwise(merged))


def test_merged_statements_are_statements() -> None:
    people = [Account(f"p{i}") for i in range(3)]
    sqls = [grant(one, DATABASE, frozenset({"SELECT"})) for one in people]
    sqls += [statements.set_locked(people[0], locked=True), statements.drop_schema("x")]
    sqls += [statements.drop_schema("x")]
    assert [(sql.text, count) for sql, count in merge(sqls)] == [
        (r"GRANT SELECT ON `map\_%%`.* TO %s@%s, %s@%s, %s@%s", 3),
        ("ALTER USER %s@%s ACCOUNT LOCK", 1),
        ("DROP DATABASE `x`", 1),
        ("DROP DATABASE `x`", 1),
    ]
    assert list(merge([])) == []
