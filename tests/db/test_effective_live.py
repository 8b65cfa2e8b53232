"""`effective` against both servers: random accounts log in and try everything, no difference."""

from __future__ import annotations

import itertools
import random
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pymysql.err import MySQLError

from mapadmin.db.grants import Account, Flavour
from mapadmin.db.inspect import inspect
from mapadmin.db.rights.effective import Effective, Resolver, Session
from mapadmin.db.rights.matching import matches
from tests.db.effective_world import World
from tests.db.probes import PASSWORD, SCHEMAS, Reader, clean, make_schemas, quoted, run
from tests.servers import RunningServer, running_server

if TYPE_CHECKING:
    from pymysql.connections import Connection

SEED = 20260  # of the first world; the next one's is one more


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

    def __init__(self, world: World, server: RunningServer, counts: Counts) -> None:
        self.world = world
        self.server = server
        self.counts = counts
        self.tables = inspect(Reader(world.root))
        self.resolver = Resolver(self.tables)

    def compare_all(self) -> None:
        for user in self.world.users:
            try:
                connection = self.server.connect(user, PASSWORD)
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
            together = self.resolver.effective(session, schema)
            assert frozenset(together).intersection(probes) == frozenset().union(*outcomes)
            self._check_sources(together)

    def _check_sources(self, found: Effective) -> None:
        for privilege, sources in found.items():
            assert sources
            for source in sources:
                state = self.tables.accounts.get(source.via)
                held = state.grants if state else self.tables.orphans[source.via]
                assert privilege in held[source.scope]

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
    server: RunningServer, seed: int, worlds: int, *, restrictions: bool = False
) -> Counts:
    """Make and try `worlds` random worlds; the seed of a world that differs is in the error."""
    counts = Counts()
    flavour = Flavour(server.flavour)
    with closing(server.root()) as root:
        make_schemas(root)
        try:
            for number in range(seed, seed + worlds):
                clean(root, flavour)
                world = World(root, flavour, random.Random(number))
                world.make(restrictions=restrictions)
                try:
                    Comparison(world, server, counts).compare_all()
                except AssertionError as error:
                    raise AssertionError(f"seed {number}: {error}") from error
        finally:
            clean(root, flavour, SCHEMAS)
    return counts


def compare_restricted_worlds(server: RunningServer, seed: int, worlds: int) -> Counts:
    """The same with `partial_revokes` on, which only MySQL has."""
    server.sql("SET GLOBAL partial_revokes = ON")
    try:
        return compare_worlds(server, seed, worlds, restrictions=True)
    finally:  # refused while there is a restriction left
        server.sql("SET GLOBAL partial_revokes = OFF")


def say(capsys: pytest.CaptureFixture[str], what: str, counts: object) -> None:
    with capsys.disabled():
        print(f"\n{what}: {counts}")


def test_random_accounts_can_do_what_effective_says(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = compare_worlds(server, SEED, 16)
    say(capsys, server.flavour, counts)
    assert counts.cases > 10_000
    assert counts.ambiguous < counts.cases / 50


def test_restrictions_take_away_what_effective_says(
    mysql: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = compare_restricted_worlds(mysql, SEED, 10)
    say(capsys, "mysql with partial_revokes", counts)
    assert counts.cases > 5_000
    assert not counts.ambiguous


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_soak_random_accounts(server: RunningServer, capsys: pytest.CaptureFixture[str]) -> None:
    seed = time.time_ns() // 1000
    counts = compare_worlds(server, seed, 500)
    say(capsys, f"{server.flavour} from seed {seed}", counts)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_soak_restrictions(mysql: RunningServer, capsys: pytest.CaptureFixture[str]) -> None:
    seed = time.time_ns() // 1000
    counts = compare_restricted_worlds(mysql, seed, 300)
    say(capsys, f"mysql with partial_revokes from seed {seed}", counts)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_soak_where_names_are_folded_and_clients_not_resolved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = time.time_ns() // 1000
    options = ("--lower-case-table-names=1", "--skip-name-resolve")
    with running_server("mariadb", tmp_path, *options) as folding:
        say(capsys, f"folding mariadb from seed {seed}", compare_worlds(folding, seed, 100))


def test_every_short_pattern_matches_what_it_matches_on_the_server(server: RunningServer) -> None:
    words = itertools.chain.from_iterable(itertools.product("ab_", repeat=n) for n in (1, 2, 3))
    names = {"".join(word) for word in words} | {"a\\", "\\", "\\a", "a%", "%", "é", "aé", "aéb"}
    letters = "a_%\\b"
    patterns = ["".join(p) for n in (1, 2, 3) for p in itertools.product(letters, repeat=n)]
    patterns += ["a%_b", "%__a", "_%_%", "%_%_", "a%__", "%a%_", "%\\__", "_é", "%_é", "__b"]
    flavour = Flavour(server.flavour)
    with closing(server.root()) as root:
        try:
            run(root, f"CREATE USER eff_grid IDENTIFIED BY '{PASSWORD}'")
            for name in names:
                run(root, f"CREATE DATABASE {quoted(name)}")
            with closing(server.connect("eff_grid", PASSWORD)) as connection:
                for pattern in patterns:
                    seen = _schemas_seen(root, connection, pattern) & names
                    assert seen == {name for name in names if matches(flavour, pattern, name)}
        finally:
            clean(root, flavour, names)


def _schemas_seen(root: Connection[Any], connection: Connection[Any], pattern: str) -> set[str]:
    """The schemas that the user sees when it has a privilege on one pattern only."""
    run(root, "DELETE FROM mysql.db WHERE User = 'eff_grid'")
    row = ["%", pattern, "eff_grid"]
    run(root, "INSERT INTO mysql.db (Host, Db, User, Select_priv) VALUES (%s, %s, %s, 'Y')", row)
    run(root, "FLUSH PRIVILEGES")
    return {
        name for (name,) in run(connection, "SELECT schema_name FROM information_schema.schemata")
    }
