"""What takes a real database server and RDS's API: parameters, and restoring a snapshot."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mapadmin.aws.execute import AwsStep
from mapadmin.aws.session import Aws, Options
from mapadmin.db.parameters import Change, Kept, Row, State, changes, compare, load, normal
from mapadmin.rds.group import ParameterGroup
from mapadmin.sandbox.aws.seed import GROUP
from mapadmin.site import AwsSettings, Site, SiteFile, SiteSettings
from tests.aws.cloud import AwsLab, Cloud, running_cloud
from tests.lab import Ran
from tests.servers import RunningServer

NEEDED = {row.name or key for key, row in load().items()}


class RdsLab(AwsLab):
    """A site whose RDS instance, to the emulator, is a real server."""

    password: str

    def run(self, *args: str, **environment: str) -> Ran:
        return super().run(*args, LAB_PASSWORD=self.password, **environment)

    def rows(self, *args: str) -> dict[str, dict[str, str | None]]:
        ran = self.run("db", "params", "--json", *args)
        assert ran.code in (0, 5), ran.err
        return {row["name"]: row for row in ran.json}


def rds_lab(folder: Path, cloud: Cloud, server: RunningServer, user: str, password: str) -> RdsLab:
    lab = RdsLab(
        folder, cloud,
        f'[database]\nhost = "{server.host}"\nport = {server.port}\nuser = "{user}"\n'
        f'password = "env:LAB_PASSWORD"\nca = "{server.ca}"\nproject_prefix = "map"\n',
    )  # fmt: skip
    lab.password = password
    return lab


@pytest.fixture(scope="module")
def here(
    tmp_path_factory: pytest.TempPathFactory, server: RunningServer, master: tuple[str, str]
) -> Iterator[RdsLab]:
    """Each of the two servers in turn, as the RDS instance."""
    folder = tmp_path_factory.mktemp(f"rds-{server.flavour}")
    server.wipe()  # the schemas are counted
    server.sql(
        "CREATE DATABASE IF NOT EXISTS map_rds", "CREATE TABLE IF NOT EXISTS map_rds.one (a INT)",
        "INSERT INTO map_rds.one VALUES (1)", "CREATE TABLE IF NOT EXISTS map_rds.`two%s` (a INT)",
    )  # fmt: skip
    with running_cloud(folder / "cloud", f"--database={server.port}") as cloud:
        yield rds_lab(folder / "lab", cloud, server, *master)
    server.sql("DROP DATABASE IF EXISTS map_rds", "DROP DATABASE IF EXISTS mapadmin")


def variables(server: RunningServer) -> dict[str, str]:
    return {str(name): str(value) for name, value in server.sql("SHOW GLOBAL VARIABLES")}


def test_the_parameter_group_three_ways(here: RdsLab, server: RunningServer) -> None:
    rows = here.rows()
    assert set(rows) == NEEDED
    assert rows["max_allowed_packet"]["kept"] == "67108864"
    assert rows["wait_timeout"]["kept"] is None
    assert here.run("db", "params").code == 5
    plan = here.run("db", "params", "--apply", "--dry-run", "--json").json
    assert here.rows() == rows
    steps = [s for s in plan["steps"] if s["action"] == "set parameters"]
    assert [s["target"] for s in steps] == [GROUP]
    assert "in force after a reboot of the instance: innodb_rollback" in " ".join(plan["notes"])
    ran = here.run("db", "params", "--apply")
    assert ran.code == 0, ran.err
    group = here.cloud.clients.rds.describe_db_parameters(DBParameterGroupName=GROUP)
    put = {p["ParameterName"]: p for p in group["Parameters"]}
    assert put["max_allowed_packet"]["ParameterValue"] == str(512 * 1024**2)
    assert put["max_allowed_packet"]["ApplyMethod"] == "immediate"
    assert put["innodb_rollback_on_timeout"]["ApplyMethod"] == "pending-reboot"
    after = here.rows()
    assert after["innodb_rollback_on_timeout"]["state"] == "needs a restart"
    assert after["wait_timeout"]["state"] == "kept, not live"  # moto tells no server of it
    again = here.run("db", "params", "--apply")
    assert (again.code, "Nothing to do." in again.err) == (0, True)
    del server


def test_another_host_is_not_rds(here: RdsLab, server: RunningServer) -> None:
    """The instance answers elsewhere: its group is left out, and that is said."""
    site = here.folder / "mapadmin.toml"
    text = site.read_text()
    try:
        site.write_text(text.replace(f'host = "{server.host}"', 'host = "localhost"'))
        ran = here.run("db", "params")
        assert "its parameter group is left out" in ran.err
    finally:
        site.write_text(text)


def test_off_rds_the_server_keeps_them(
    here: RdsLab, server: RunningServer, master: tuple[str, str]
) -> None:
    denied = here.run("db", "params", "--off-rds", "--apply")
    assert (denied.code, "--my-cnf" in denied.err) == (3, True)
    user = f"'{master[0]}'@'%'"
    names = sorted(NEEDED - {"innodb_rollback_on_timeout", "performance_schema"})
    before = variables(server)
    rights = (
        "SYSTEM_VARIABLES_ADMIN, PERSIST_RO_VARIABLES_ADMIN"
        if server.flavour == "mysql" else "SUPER"
    )  # fmt: skip
    server.sql(f"GRANT {rights} ON *.* TO {user}")
    try:
        ran = here.run("db", "params", "--off-rds", "--apply")
        assert ran.code == 0, ran.err
        rows = here.rows("--off-rds")
        assert {rows[name]["state"] for name in names} == {"ok"}
        live = variables(server)
        assert live["max_allowed_packet"] == str(512 * 1024**2)
        assert "STRICT_ALL_TABLES" in live["sql_mode"]
        rollback = rows["innodb_rollback_on_timeout"]
        if server.flavour == "mysql":
            assert rollback["state"] == "needs a restart"
            again = here.run("db", "params", "--off-rds", "--apply")
            assert "Nothing to do." in again.err
        else:
            assert rollback["state"] == "differs"
            assert "only by my.cnf" in ran.err
    finally:
        if server.flavour == "mysql":
            server.sql("RESET PERSIST")
        for name in names:
            value = before[name]
            shown = value if value.isdigit() else f"'{value}'"
            server.sql(f"SET GLOBAL {name} = {shown}")
        server.sql(f"REVOKE {rights} ON *.* FROM {user}")


def test_the_option_file_is_one(here: RdsLab, server: RunningServer, tmp_path: Path) -> None:
    """The server itself reads it."""
    ran = here.run("db", "params", "--off-rds", "--my-cnf")
    assert ran.code == 0, ran.err
    path = tmp_path / "my.cnf"
    path.write_text(ran.out)
    argv = [str(server.programs.server), f"--defaults-file={path}", "--user=nobody"]
    argv += (
        ["--secure-file-priv=NULL", "--validate-config"]
        if server.flavour == "mysql"
        else ["--help", "--verbose"]
    )
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    if server.flavour == "mariadb":
        assert "max-allowed-packet" in done.stdout
        (line,) = [x for x in done.stdout.splitlines() if x.startswith("max-allowed-packet ")]
        assert line.split()[1] == str(512 * 1024**2)


def test_a_snapshot_is_restored_read_and_deleted(here: RdsLab) -> None:
    ran = here.run("aws", "snapshot-check", "map-db-before-upgrade")
    assert ran.code == 0, ran.err
    assert "is good: 2 tables of 1 schema read, 1 not empty." in ran.err
    rds = here.cloud.clients.rds
    names = {i["DBInstanceIdentifier"] for i in rds.describe_db_instances()["DBInstances"]}
    assert names == {"map-db"}


def test_a_snapshot_that_cannot_be_read_is_said_and_leaves_nothing(here: RdsLab) -> None:
    right, here.password = here.password, "wrong"
    try:
        ran = here.run("aws", "snapshot-check", "map-db-before-upgrade")
    finally:
        here.password = right
    assert ran.code == 1
    assert "did not pass" in ran.err
    rds = here.cloud.clients.rds
    names = {i["DBInstanceIdentifier"] for i in rds.describe_db_instances()["DBInstances"]}
    assert names == {"map-db"}


def test_only_its_own_temporary_instance_is_deleted(here: RdsLab) -> None:
    rds = here.cloud.clients.rds
    rds.create_db_instance(
        DBInstanceIdentifier="map-db-check", DBInstanceClass="db.t3.micro", Engine="mysql"
    )
    try:
        ran = here.run("aws", "snapshot-check", "map-db-before-upgrade")
        assert (ran.code, "that no check has made" in ran.err) == (1, True)
        assert rds.describe_db_instances(DBInstanceIdentifier="map-db-check")["DBInstances"]
        rds.add_tags_to_resource(
            ResourceName="arn:aws:rds:us-east-1:123456789012:db:map-db-check",
            Tags=[{"Key": "mapadmin", "Value": "snapshot-check"}],
        )
        dry = here.run("aws", "snapshot-check", "map-db-before-upgrade", "--dry-run", "--json")
        assert [step["action"] for step in dry.json["steps"]] == [
            "delete instance", "restore", "read", "delete instance"
        ]  # fmt: skip
    finally:
        rds.delete_db_instance(DBInstanceIdentifier="map-db-check", SkipFinalSnapshot=True)


# --- pure --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [("512M", "536870912"), ("ON", "1"), ("off", "0"), (" 2g ", str(2 * 1024**3)), ("a", "A")],
)
def test_ways_of_writing(one: str, other: str) -> None:
    assert normal(one) == normal(other)


SETTINGS = AwsSettings(account="123456789012")
LIVE = dict.fromkeys(NEEDED, "0")


def row(name: str, live: str, kept: Kept | None = None, flavour: str = "mysql") -> Row:
    rows = compare(flavour, (8, 4), {**LIVE, name: live}, {name: kept} if kept else {})
    return next(each for each in rows if each.name == name)


@pytest.mark.parametrize(
    ("name", "live", "kept", "state"),
    [
        ("wait_timeout", "86400", None, State.OK),
        ("wait_timeout", "28800", None, State.DIFFERS),
        ("wait_timeout", "28800", Kept("86400"), State.LATE),
        ("wait_timeout", "86400", Kept("28800"), State.DIFFERS),  # right until the next restart
        ("wait_timeout", "28800", Kept(None, changeable=False), State.FIXED),
        ("innodb_rollback_on_timeout", "OFF", Kept("1"), State.WAITS),
        ("innodb_rollback_on_timeout", "ON", None, State.OK),
        ("wait_timeout", "28800", Kept("86400", restart=True), State.WAITS),
        ("sql_mode", "ONLY_FULL_GROUP_BY,STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ANSI", None,
         State.OK),
        ("sql_mode", "STRICT_ALL_TABLES", None, State.DIFFERS),
    ],
)  # fmt: skip
def test_states(name: str, live: str, kept: Kept | None, state: State) -> None:
    assert row(name, live, kept).state is state


def test_a_parameter_group_is_changed_twenty_at_a_time() -> None:
    instance = {
        "DBParameterGroups": [{"DBParameterGroupName": "own"}],
        "Engine": "mysql", "EngineVersion": "8.4.3",
    }  # fmt: skip
    wanted = [Change(f"p{n}", str(n), restart=n == 41, shown=str(n)) for n in range(45)]
    aws = Aws(Site(Path(), SiteFile(site=SiteSettings(name="x"), aws=SETTINGS), None), Options())
    plan = ParameterGroup(aws, instance).plan(wanted)
    calls = [step.parameters["Parameters"] for step in plan.steps if isinstance(step, AwsStep)]
    assert [len(some) for some in calls] == [20, 20, 5]
    put = {p["ParameterName"]: p["ApplyMethod"] for some in calls for p in some}
    assert put == {c.name: "pending-reboot" if c.restart else "immediate" for c in wanted}
    assert plan.notes == ("in force after a reboot of the instance: p41",)


def test_what_was_set_beyond_stays() -> None:
    (change,) = changes([row("sql_mode", "ANSI_QUOTES,STRICT_ALL_TABLES")])
    assert change == Change(
        "sql_mode",
        "ANSI_QUOTES,STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ONLY_FULL_GROUP_BY",
        restart=False, shown="+NO_ENGINE_SUBSTITUTION,ONLY_FULL_GROUP_BY",
    )  # fmt: skip
    assert "NO_AUTO_CREATE_USER" in row("sql_mode", "", None, "mariadb").wanted
