"""What the checks of the database server make of what they find."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from mapadmin.core.checks import Finding, State
from mapadmin.db import verdicts
from mapadmin.db.grants import GRANT_OPTION, Flavour, Scope, parse_scope
from mapadmin.db.verdicts import Rights, TlsState

MYSQL, MARIADB = Flavour.MYSQL, Flavour.MARIADB
TODAY = date(2026, 5, 20)


@pytest.mark.parametrize(
    ("state", "expected", "words"),
    [
        (TlsState("db", "TLSv1.3", True, date(2030, 1, 1)), "ok", "verified, valid until 2030"),
        (TlsState("db", "TLSv1.3", True), "ok", "verified"),
        (TlsState("db", "TLSv1.3", True, date(2026, 6, 1)), "warn", "valid until 2026-06-01"),
        (TlsState("db", "TLSv1.2", False), "warn", "was not verified"),
        (TlsState("db"), "warn", "in clear"),
        (TlsState("127.0.0.1"), "ok", "does not leave this machine"),
    ],
)
def test_tls(state: TlsState, expected: str, words: str) -> None:
    says(verdicts.tls(state, TODAY), expected, words)


@pytest.mark.parametrize(
    ("ahead", "expected", "words"),
    [
        (0.2, "ok", "0.2 s apart"),
        (-1.9, "ok", "1.9 s"),
        (30, "warn", "30 s ahead"),
        (-3725, "fail", "1 h 2 min behind"),
    ],
)
def test_clock(ahead: float, expected: str, words: str) -> None:
    says(verdicts.clock(ahead), expected, words)


@pytest.mark.parametrize(
    ("flavour", "number", "expected"),
    [
        (MYSQL, (5, 7, 44), "fail"),
        (MYSQL, (8, 0, 28), "warn"),
        (MYSQL, (8, 0, 36), "ok"),
        (MYSQL, (8, 4, 1), "ok"),
        (MYSQL, (9, 7, 0), "ok"),
        (MYSQL, (10, 0, 1), "warn"),
        (MARIADB, (10, 5, 9), "fail"),
        (MARIADB, (10, 6, 1), "ok"),
        (MARIADB, (11, 8, 2), "ok"),
        (MARIADB, (12, 1, 2), "warn"),
    ],
)
def test_version(flavour: Flavour, number: tuple[int, ...], expected: str) -> None:
    says(verdicts.version(flavour, number), expected, ".".join(map(str, number)))


@pytest.mark.parametrize(
    ("finding", "expected"),
    [
        (verdicts.partial_revokes({"partial_revokes": "ON"}), "fail"),
        (verdicts.partial_revokes({"partial_revokes": "OFF"}), "ok"),
        (verdicts.partial_revokes({}), "ok"),
        (verdicts.sql_mode(MARIADB, {"sql_mode": "STRICT_ALL_TABLES"}), "warn"),
        (verdicts.sql_mode(MARIADB, {"sql_mode": "X,NO_AUTO_CREATE_USER"}), "ok"),
        (verdicts.sql_mode(MYSQL, {"sql_mode": ""}), "ok"),
        (verdicts.read_only({"read_only": "OFF", "super_read_only": "OFF"}), "ok"),
        (verdicts.read_only({"read_only": "ON", "super_read_only": "OFF"}), "fail"),
        (verdicts.read_only({"read_only": "NO_LOCK_NO_ADMIN"}), "fail"),
        (verdicts.read_only({"innodb_read_only": "ON", "sql_mode": "X"}), "fail"),
    ],
)
def test_settings(finding: Finding, expected: str) -> None:
    says(finding, expected)


def rights(everywhere: str, own_schema: str = "", **grants: str) -> Rights:
    def words(text: str) -> frozenset[str]:
        return frozenset(word.strip() for word in text.split(",") if word.strip())

    held: dict[Scope, Any] = {parse_scope(on): words(text) for on, text in grants.items()}
    return Rights("boss@%", words(everywhere), held, words(own_schema))


ENOUGH = (
    "SELECT, CREATE USER, GRANT OPTION, PROCESS, SHOW DATABASES, SHOW VIEW, TRIGGER, EVENT,"
    " CONNECTION_ADMIN"
)
OWN = "CREATE, SELECT, INSERT, UPDATE, DELETE"


@pytest.mark.parametrize(
    ("held", "expected", "words"),
    [
        (rights(ENOUGH, OWN), "ok", "all that it needs"),
        (rights("SELECT"), "warn", "may look, but change nothing"),
        (rights(ENOUGH.replace("CREATE USER, ", ""), OWN), "fail", "lacks CREATE USER"),
        (rights(ENOUGH.replace("GRANT OPTION, ", ""), OWN), "fail", "lacks GRANT OPTION"),
        (rights(ENOUGH, "SELECT"), "fail", "CREATE, DELETE, INSERT, UPDATE on mapadmin's own"),
        (rights(ENOUGH.replace("PROCESS, ", ""), OWN), "warn", "PROCESS (to see sessions)"),
        (rights(ENOUGH.replace("CONNECTION_ADMIN", ""), OWN), "warn", "to end sessions"),
        (rights(ENOUGH.replace("TRIGGER, ", ""), OWN), "warn", "TRIGGER (to see triggers)"),
    ],
)
def test_own_privileges(held: Rights, expected: str, words: str) -> None:
    says(verdicts.privileges(held), expected, words)


ALL = frozenset({"SELECT", "INSERT", "DROP"})
READER = {"reader": {parse_scope("map_*"): frozenset({"SELECT", "INSERT"})}}


@pytest.mark.parametrize(
    ("held", "expected", "words"),
    [
        (rights("SELECT, INSERT, GRANT OPTION"), "ok", "can hand on all that"),
        (rights("SELECT, INSERT"), "fail", "INSERT, SELECT on map_* (role reader)"),
        (rights("SELECT, GRANT OPTION"), "fail", "cannot hand on INSERT on map_*"),
        (rights("", **{"map*": "SELECT, INSERT, GRANT OPTION"}), "ok", "can hand on"),
        (rights("", map_lab="SELECT, INSERT, GRANT OPTION"), "fail", "cannot"),
        (rights("SELECT, GRANT OPTION", **{"map_*": "INSERT, GRANT OPTION"}), "ok", "can hand on"),
    ],
)
def test_what_it_can_hand_on(held: Rights, expected: str, words: str) -> None:
    says(verdicts.roles(held, READER, ALL, ALL), expected, words)


def test_what_all_leaves_out_is_said() -> None:
    held = rights("SELECT, INSERT, DROP, GRANT OPTION")
    says(verdicts.roles(held, READER, ALL, ALL | {"DELETE HISTORY"}), "ok", "DELETE HISTORY")


def test_privileges_on_one_table_come_from_its_schema() -> None:
    held = rights("", **{"map_*": f"SELECT, {GRANT_OPTION}"})
    assert held.can_hand_on(parse_scope("map_lab.subject")) >= {"SELECT"}
    assert held.can_hand_on(parse_scope("mapXlab.subject")) == frozenset()
    assert held.can_hand_on(parse_scope("*.*")) == frozenset()


def says(finding: Finding, state: str, words: str = "") -> None:
    assert (finding.state.value, words in finding.detail) == (state, True), finding
    assert finding.remedy or finding.state is State.OK
