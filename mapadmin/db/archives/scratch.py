"""A schema to load a dump into, and an account that loads it and may do nothing else.

A dump holds the text of people's routines, and a text can be made that ends the statement it
stands in and begins another one. Whoever loads it with mapadmin's own account would carry that
out. The account made here owns the scratch schema, reads what the dump's views and foreign keys
refer to, and is gone afterwards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from mapadmin.core.errors import MapadminError
from mapadmin.core.secret import Secret, generate_password
from mapadmin.db.grants import GLOBAL, Account, Level, Scope
from mapadmin.db.processes import execute_kills, kill_steps, sessions_of
from mapadmin.db.statements import (
    create_locked,
    drop_account,
    drop_schema,
    grant,
    identifier,
    set_password,
)

if TYPE_CHECKING:
    from mapadmin.db.database import Database

_PREFIX = 12  # characters of mapadmin's own schema's name; 32 in all, which MySQL takes of a user's


class Scratch(msgspec.Struct, frozen=True):
    """The scratch schema of one schema, and who may load into it."""

    name: str
    account: Account
    password: Secret


def scratch_name(database: Database, schema: str) -> str:
    """The same for the same schema each time, so that what a crash left is found again."""
    own = database.site.database.schema
    digest = hashlib.sha256(f"{own}\0{schema}".encode()).hexdigest()
    return f"{own[:_PREFIX]}_verify_{digest[:_PREFIX]}"


@contextmanager
def scratch(
    database: Database, schema: str, charset: str, collation: str, reads: Iterable[str]
) -> Iterator[Scratch]:
    """An empty scratch schema for the body.

    `reads` are schema patterns (as stored) whose functions the dump's views may call.
    """
    clear(database, schema)
    made = Scratch(scratch_name(database, schema), _account(database, schema), generate_password())
    try:
        _create(database, made, charset, collation, reads)
        yield made
    except BaseException:
        with suppress(MapadminError):  # the next run clears it; what went wrong counts
            clear(database, schema)
        raise
    clear(database, schema)


def clear(database: Database, schema: str) -> None:
    """Take away a scratch schema and its account, also those that a crash left at work."""
    server = database.server
    account = _account(database, schema)
    execute = execute_kills(server, kill_steps(server, sessions_of(server, [account.user])))
    for _ in execute:
        pass
    found = server.query(
        "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = %s",
        [scratch_name(database, schema)],
    )
    for (name,) in found:
        server.run(drop_schema(name))
    rows = server.query("SELECT User, Host FROM mysql.user WHERE User = %s", [account.user])
    for user, host in rows:
        server.run(drop_account(Account(user, host)))


def _account(database: Database, schema: str) -> Account:
    """It logs in from this machine only, by the name under which the server knows it."""
    ((user,),) = database.server.query("SELECT USER()")
    return Account(scratch_name(database, schema), str(user).rpartition("@")[2])


def _create(
    database: Database, made: Scratch, charset: str, collation: str, reads: Iterable[str]
) -> None:
    server = database.server
    account = made.account
    server.query(
        f"CREATE DATABASE {identifier(made.name)} CHARACTER SET %s COLLATE %s", [charset, collation]
    )
    # Its own name unescaped, because with partial_revokes MySQL takes a pattern as it stands.
    everything = database.policy.every_privilege
    server.run(create_locked(account, server.flavour, database.tables.default_plugin, tls=False))
    server.run(grant(account, Scope(Level.DATABASE, made.name), everything))
    server.run(grant(account, GLOBAL, frozenset({"SELECT", "REFERENCES"})))
    for pattern in reads:
        server.run(grant(account, Scope(Level.DATABASE, pattern), frozenset({"EXECUTE"})))
    plugin = database.tables.default_plugin
    server.run(set_password(account, server.flavour, made.password, plugin=plugin, unlock=True))
