"""`effective` against both servers: random accounts log in and try everything, no difference."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from pymysql.connections import Connection
from pymysql.err import MySQLError

from mapadmin.db.effective import Resolver, Session
from mapadmin.db.grants import Account, Flavour, GrantTables
from mapadmin.db.inspect import inspect
from tests.db.effective_world import PASSWORD, SCHEMAS, World, clean, make_schemas, run

Login = Callable[[str, str], "Connection[Any]"]


class Reader:
    """Queries on a PyMySQL connection, counted."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        self.count = 0

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        self.count += 1
        return run(self._connection, sql)


@dataclass
class Counts:
    """What was compared: one case is one privilege of one session on one schema."""

    sessions: int = 0
    cases: int = 0
    ambiguous: int = 0  # sessions and schemas with several outcomes: the server must show one

    def __str__(self) -> str:
        return f"{self.cases} cases of {self.sessions} sessions, {self.ambiguous} ambiguous"


class Comparison:
    """One world: logs in as everybody and compares."""

    def __init__(self, world: World, login: Login, counts: Counts) -> None:
        self.world = world
        self.login = login
        self.counts = counts
        self.tables = inspect(Reader(world.root))
        self.resolver = Resolver(self.tables)

    def compare_all(self) -> None:
        for user in self.world.users:
            try:
                connection = self.login(user, PASSWORD)
            except MySQLError as error:  # no account of the user lets this client in
                assert error.args[0] == 1045
                continue
            with closing(connection):
                self._compare_user(connection, user)

    def _compare_user(self, connection: Connection[Any], user: str) -> None:
        session = self._session(connection)
        expected = self.resolver.default_session(session.account, "127.0.0.1")
        assert session == expected, f"roles after login: {session} {expected}"
        self._compare(connection, session)
        for roles in self.world.roles_to_try(user):
            try:
                run(connection, f"SET ROLE {roles}")
            except MySQLError as error:  # granted to another account of the user only
                assert error.args[0] in (3530, 1959), error
                continue
            self._compare(connection, self._session(connection))

    def _session(self, connection: Connection[Any]) -> Session:
        ((account, role),) = run(connection, "SELECT CURRENT_USER(), CURRENT_ROLE()")
        user, _, host = account.rpartition("@")
        return Session(Account(user, host), "127.0.0.1", self._active(role))

    def _active(self, text: str | None) -> frozenset[Account]:
        if text in (None, "NONE"):
            return frozenset()
        assert text is not None
        if not self.world.mysql:
            return frozenset({Account(text, "")})
        parts = [part.strip("`").split("`@`") for part in text.split(",")]
        return frozenset(Account(user, host) for user, host in parts)

    def _compare(self, connection: Connection[Any], session: Session) -> None:
        self.counts.sessions += 1
        probes = self.world.probes
        for schema in SCHEMAS:
            seen = self.world.try_all(connection, schema)
            outcomes = [
                frozenset(outcome).intersection(probes)
                for outcome in self.resolver.outcomes(session, schema)
            ]
            self.counts.cases += len(probes)
            self.counts.ambiguous += len(set(outcomes)) > 1
            assert seen in outcomes, self._explain(session, schema, seen, outcomes)
            together = frozenset(self.resolver.effective(session, schema)).intersection(probes)
            assert together == frozenset().union(*outcomes)

    def _explain(self, session: Session, schema: str, seen: object, outcomes: object) -> str:
        lines = [f"{session} on {schema}:", f"server  {seen}", f"outcomes {outcomes}"]
        for account, state in self.tables.accounts.items():
            if account.user.startswith("eff") or account.user == "PUBLIC":
                grants = {
                    f"{scope.level.name} {scope.schema}": sorted(held)
                    for scope, held in state.grants.items()
                }
                roles = [str(role) for role in state.roles]
                lines.append(f"{account}: {grants} {roles} {dict(state.restrictions)}")
        lines.append(f"orphans: {self.tables.orphans}")
        return "\n".join(lines)


def compare_worlds(
    root: Connection[Any], flavour: Flavour, login: Login, seed: int, worlds: int, **options: bool
) -> Counts:
    """Make and try `worlds` random worlds; the seed of a world that differs is in the error."""
    counts = Counts()
    make_schemas(root)
    try:
        for number in range(seed, seed + worlds):
            clean(root, flavour)
            world = World(root, flavour, random.Random(number))
            world.make(**options)
            try:
                Comparison(world, login, counts).compare_all()
            except AssertionError as error:
                raise AssertionError(f"seed {number}: {error}") from error
    finally:
        clean(root, flavour, SCHEMAS)
    return counts
