"""`db check` on both servers: what it finds, and how it exits."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mapadmin.admin import Admin
from mapadmin.core.checks import State, run_checks
from mapadmin.db.health import database_checks
from tests.lab import Lab, Ran

NAMES = [
    "connection", "TLS", "server", "privileges", "roles", "clock", "partial_revokes", "sql_mode",
    "read_only", "schema",
]  # fmt: skip


def states(ran: Ran) -> dict[str, str]:
    return {row["name"]: row["state"] for row in ran.json}


def test_all_is_well_with_an_account_like_an_rds_masters(lab: Lab) -> None:
    if lab.server.flavour == "mariadb":
        lab.server.sql("SET GLOBAL sql_mode = CONCAT(@@sql_mode, ',NO_AUTO_CREATE_USER')")
    ran = lab.ok("db", "check", "--json")
    assert states(ran) == dict.fromkeys(NAMES, "ok")
    details = {row["name"]: row["detail"] for row in ran.json}
    assert "certificate and name verified" in details["TLS"]
    assert "is not there yet" in details["schema"]
    assert lab.server.sql("SHOW DATABASES LIKE 'mapadmin'") == ()
    lab.write_people("[people]\n")
    lab.ok("db", "add-user", "alice", "--role", "reader")
    assert "layout" in lab.ok("db", "check").out


def test_tls_that_nobody_verified_is_told_from_tls_that_was(lab: Lab) -> None:
    lab.write_site(tls="require")
    assert states(lab.ok("db", "check", "--json"))["TLS"] == "warn"
    lab.write_site(tls="off")
    assert "not encrypted" in lab.ok("db", "check").out


def test_the_authoritys_certificate_may_be_in_the_home_folder(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(lab.server.ca.read_bytes())
    lab.write_site(ca="~/ca.pem")
    assert states(lab.run("db", "check", "--json", HOME=str(tmp_path)))["TLS"] == "ok"
    lab.write_site(ca="~nobody-here/ca.pem")
    ran = lab.run("db", "users")
    assert ran.code == 3
    assert "database.ca: ~nobody-here/ca.pem" in ran.err


@contextmanager
def setting(lab: Lab, name: str, value: str) -> Iterator[None]:
    ((before,),) = lab.server.sql(f"SELECT @@GLOBAL.{name}")
    lab.server.sql(f"SET GLOBAL {name} = {value}")
    try:
        yield
    finally:
        lab.server.sql(f"SET GLOBAL {name} = {before!r}")


def test_a_server_that_cannot_be_administered_fails(lab: Lab) -> None:
    with setting(lab, "read_only", "ON"):
        ran = lab.run("db", "check", "--json")
        assert (ran.code, states(ran)["read_only"]) == (1, "fail")
    if lab.server.flavour == "mysql":
        with setting(lab, "partial_revokes", "ON"):
            ran = lab.run("db", "check", "--json")
            assert (ran.code, states(ran)["partial_revokes"]) == (1, "fail")
    else:
        with setting(lab, "sql_mode", "''"):
            ran = lab.run("db", "check", "--json")
            assert (ran.code, states(ran)["sql_mode"]) == (0, "warn")


def test_an_account_that_may_too_little(lab: Lab) -> None:
    lab.server.sql("CREATE USER small@'%' IDENTIFIED BY 'Small-1'")
    lab.password = "Small-1"
    lab.write_site(user="small")
    ran = lab.run("db", "check", "--json")
    found = {row["name"]: row for row in ran.json}
    assert found["connection"]["state"] == "ok"
    assert (found["privileges"]["state"], ran.code) == ("fail", 1)
    assert "SELECT on mysql.*" in found["privileges"]["remedy"]
    assert found["read_only"]["state"] == "ok"
    lab.server.sql("GRANT SELECT ON *.* TO small@'%'")
    ran = lab.run("db", "check", "--json")
    found = {row["name"]: row for row in ran.json}
    assert found["privileges"]["state"] == "warn"
    assert "change nothing" in found["privileges"]["detail"]
    assert "SELECT on map_* (role reader)" in found["roles"]["detail"]


def test_without_a_connection_the_others_are_unknown(lab: Lab) -> None:
    def failing(code: int, **changes: object) -> str:
        lab.write_site(**changes)
        ran = lab.run("db", "check", "--json")
        assert (ran.code, states(ran)) == (
            code, dict.fromkeys(NAMES, "unknown") | {"connection": "fail"},
        )  # fmt: skip
        return str(ran.json[0]["detail"])

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert "cannot be reached" in failing(4, port=port)
    assert "password" in failing(3, port=lab.server.port, user="nobody")
    assert "certificate is not accepted" in failing(3, user=lab.user, ca="")
    lab.write_site(ca=str(lab.server.ca))
    lab.password = "wrong"
    assert "password" in failing(3)


def test_the_checks_can_be_run_with_others(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `status` does: all at once, in threads, over one connection."""
    monkeypatch.setenv("LAB_PASSWORD", lab.password)
    admin = Admin(site_option=str(lab.folder))
    try:
        results = run_checks([*database_checks(admin), *database_checks(admin)])
    finally:
        admin.close()
    assert [result.name for result in results] == NAMES * 2
    assert {result.state for result in results} <= {State.OK, State.WARN}
