"""What years of administration by hand leave on a server, at random but from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.servers import RunningServer

PASSWORD = "Pw-12345678"
SCHEMAS = ("map_lab", "map_ephys", "mapXlab", "shared_stuff", "test")
_NAMES = ("ann", "bob", "cyn", "dan", "eve", "fay", "gil", "hal", "ian", "jo", "kim", "leo", "mia")
_ODD_NAMES = (
    "al_ice",
    "we ird",
    'q"uote',
    "back`tick",
    "dot.ted",
    "st*r",
    "[br]",
    "é-tienne",
    "ö%",
)
_SERVICES = ("worker", "webgui", "backup", "monitor")
_HOSTS = ("%", "%", "%", "%", "localhost", "10.1.%", "10.2.0.0/255.255.0.0", "lab.example.org")
_OWN = (r"{0}\_%", r"{0}\_%", r"{0}\_%", "{0}_%", "{0}%")
_PROJECT = (r"map\_%", r"map\_%", r"map\_%", "map_%", "map%", r"map\_lab", "map_lab", "%")
_PRIVILEGES = (
    "SELECT", "SELECT", "SELECT, REFERENCES", "SELECT, REFERENCES", "ALL", "INSERT",
    "SELECT, INSERT, UPDATE, DELETE", "SELECT, INSERT", "SELECT, SHOW VIEW, EXECUTE",
)  # fmt: skip
_ELSEWHERE = (
    "GRANT SELECT ON `shared\\_stuff`.* TO {}",
    "GRANT SELECT ON `gone`.* TO {}",
    "GRANT SELECT, INSERT ON map_lab.subject TO {}",
    "GRANT SELECT (id), UPDATE (id) ON map_lab.subject TO {}",
    "GRANT EXECUTE ON PROCEDURE map_lab.tidy TO {}",
    "GRANT PROCESS ON *.* TO {}",
    "GRANT SELECT ON *.* TO {}",
    "GRANT SELECT ON `map\\_lab`.* TO {} WITH GRANT OPTION",
    "GRANT PROXY ON nobody@'%' TO {}",
    "GRANT analyst TO {}",
    "REVOKE INSERT ON `map\\_%`.* FROM {}",
)
_ATTRIBUTES = ("", "", "", "", " REQUIRE SSL", " ACCOUNT LOCK")


def prepare(server: RunningServer) -> None:
    """The schemas and objects that histories are about."""
    server.sql(
        *(f"CREATE DATABASE `{schema}`" for schema in SCHEMAS),
        "CREATE TABLE map_lab.subject (id INT PRIMARY KEY)",
        "CREATE PROCEDURE map_lab.tidy() SELECT 1",
        "CREATE USER nobody@'%' ACCOUNT LOCK",
        "CREATE ROLE analyst",
        "GRANT SELECT ON `map\\_%`.* TO analyst",
    )


def live_through(server: RunningServer, seed: int) -> None:
    """Make the accounts of a history."""
    from pymysql.err import MySQLError

    refused = (1141, 1410, 1133, 1396)  # nothing to revoke, or a name that the server will not have
    with server.root() as connection, connection.cursor() as cursor:
        for statement in history(seed):
            try:
                cursor.execute(statement)
            except MySQLError as error:
                if error.args[0] not in refused:
                    raise


def history(seed: int) -> Iterator[str]:
    """The statements of one history."""
    chance = random.Random(seed)
    usual = [(chance.choice(_PROJECT), chance.choice(_PRIVILEGES)) for _ in range(3)]
    for name in _NAMES + tuple(chance.sample(_ODD_NAMES, 4)) + _SERVICES:
        hosts = chance.sample(sorted(set(_HOSTS)), 2) if chance.random() < 0.2 else ["%"]
        attributes = chance.choice(_ATTRIBUTES)
        statements = list(_grants(chance, name, usual, person=name not in _SERVICES))
        for host in hosts:
            account = f"{_quoted(name)}@'{host}'"
            if chance.random() < 0.05:
                attributes = chance.choice(_ATTRIBUTES)
            yield f"CREATE USER {account} IDENTIFIED BY '{PASSWORD}'{attributes}"
            for statement in statements:
                if len(hosts) == 1 or chance.random() < 0.97:
                    yield statement.replace("{}", account)


def _grants(
    chance: random.Random, name: str, usual: list[tuple[str, str]], *, person: bool
) -> Iterator[str]:
    if person and chance.random() < 0.9:
        own = chance.choice(_OWN).format(name.replace("_", r"\_").replace("%", r"\%"))
        what = "ALL" if chance.random() < 0.85 else "SELECT, CREATE, INSERT"
        yield f"GRANT {what} ON {_identifier(own)}.* TO {{}}"
    if chance.random() < 0.85:
        pattern, privileges = (
            chance.choice(usual)
            if chance.random() < 0.8
            else (chance.choice(_PROJECT), chance.choice(_PRIVILEGES))
        )
        yield f"GRANT {privileges} ON {_identifier(pattern)}.* TO {{}}"
    while chance.random() < 0.25:
        yield f"GRANT SELECT, INSERT ON {_identifier(chance.choice(_PROJECT))}.* TO {{}}"
    while chance.random() < 0.25:
        yield chance.choice(_ELSEWHERE)


def _quoted(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"


def _identifier(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
