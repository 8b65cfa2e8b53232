"""Somebody who leaves a site: an account with schemas that hold everything a schema can hold."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path
from typing import Any

from tests.lab import Lab
from tests.servers import RunningServer

PROGRAMS = ("dump_program", "client_program")

RICH = "alice_Rich %`data` é"  # a schema's name, as hostile as a person could make it
PLAIN = "alice_plain"

_EVERYTHING = (
    (
        "CREATE TABLE `#look up` (id INT PRIMARY KEY, `a``b` VARCHAR(20) DEFAULT 'it''s %s',"
        " UNIQUE KEY `k``1` (`a``b`)) COMMENT='100 % of it'"
    ),
    "INSERT INTO `#look up` VALUES (1, 'one'), (2, 'zwölf \\\\ \\' \\\" \\n \\r \\t')",
    (
        "CREATE TABLE `__tab%le é` (id INT NOT NULL AUTO_INCREMENT, ref INT, mine INT, f FLOAT,"
        " d DOUBLE, g FLOAT GENERATED ALWAYS AS (f * 2) STORED, n DECIMAL(20,10), b LONGBLOB,"
        " t LONGTEXT, bits BIT(9), ts TIMESTAMP(6) NULL, ti TIME(3), y YEAR, e ENUM('a','b''c'),"
        " s SET('x','y'),"
        " j JSON, p POINT, PRIMARY KEY (id), KEY (n), FOREIGN KEY (ref) REFERENCES `#look up` (id),"
        " CONSTRAINT `into project` FOREIGN KEY (mine) REFERENCES map_lab.session (id)"
        " ON DELETE CASCADE) AUTO_INCREMENT=77"
    ),
    "CREATE TABLE only_doubles (id INT PRIMARY KEY, d DOUBLE) ENGINE=MyISAM",
    "INSERT INTO only_doubles VALUES (1, 0.1), (2, 2.2250738585072014e-308)",
    "CREATE TABLE `empty floats` (f FLOAT, `c,(` FLOAT(7,3))",
    "CREATE VIEW own AS SELECT id, f FROM `__tab%le é`",
    (
        "CREATE VIEW `mixed %` AS SELECT x.id, s.note, 'a\nUSE `alice_plain`;' AS lit"
        " FROM `__tab%le é` x JOIN map_lab.session s ON s.id = x.mine"
    ),
    "CREATE VIEW on_view AS SELECT id, lit FROM `mixed %`",
    "CREATE FUNCTION plus_one(a INT) RETURNS INT DETERMINISTIC RETURN a + 1",
    "CREATE VIEW calls AS SELECT plus_one(id) AS k FROM `#look up`",
    (
        "CREATE PROCEDURE `p``roc`(IN a INT, OUT b TEXT) COMMENT 'of no use'\nBEGIN\n"
        "-- a remark\n/* ; */INSERT INTO `__tab%le é` VALUES (1);\nCREATE DATABASE `alice_plain`;\n"
        "SELECT 'x;;y\n/*!50013 DEFINER=`x`@`y` SQL SECURITY DEFINER */\nDELIMITER ;\n';\nEND"
    ),
    "CREATE TRIGGER `tri``g` BEFORE UPDATE ON `__tab%le é` FOR EACH ROW SET NEW.t = 'touched'",
    (
        "CREATE EVENT `ev %` ON SCHEDULE EVERY 1 SECOND ON COMPLETION PRESERVE ENABLE"
        " COMMENT 'ENABLE' DO DELETE FROM `__tab%le é` WHERE id < 0"
    ),
    "CREATE EVENT later ON SCHEDULE AT '2030-01-01 00:00:00' DISABLE DO DELETE FROM `#look up`",
    # Objects that were made before this remember another default character set.
    "ALTER DATABASE CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
)
_ROWS = "INSERT INTO `__tab%%le é` (ref, mine, f, d, n, b, t, bits, ts, ti, y, e, s, j, p) VALUES "
_VALUES = (
    "(%s, 1, %s, %s, 1.5, %s, %s, b'101010101', '2020-01-01 00:00:00.123456', '-12:34:56.789',"
    " 2020, 'b''c', 'x,y', '{\"a\": [1, 2.5]}', POINT(1.5, -2))"
)
_NULLS = "(NULL, NULL, NULL, 0.1, NULL, '', '', NULL, NULL, NULL, NULL, NULL, '', NULL, NULL)"
_EVERY_BYTE = bytes(range(256))
_TEXT = "quotes ' \" ` backslash \\ percent % %s \0 \x1a \r\n tab\t é 😀 ;; -- /* */"


def prepare(lab: Lab, *, role: str = "experimenter", people: str = "") -> str:
    """A project, and alice; her password."""
    if not lab.folder.joinpath("people.toml").exists():
        lab.write_people(people)
    lab.write_site(
        dump_program=str(lab.server.programs.dump), client_program=str(lab.server.programs.client)
    )
    if lab.server.flavour == "mysql":  # as a site must have it whose people make triggers
        lab.server.sql("SET GLOBAL log_bin_trust_function_creators = 1")
    lab.server.sql(
        "CREATE DATABASE map_lab",
        "CREATE TABLE map_lab.session (id INT PRIMARY KEY, note VARCHAR(20)) ENGINE=InnoDB",
        "INSERT INTO map_lab.session VALUES (1, 'first'), (2, 'second')",
    )
    return lab.password_of(lab.ok("db", "add-user", "alice", "--role", role))


def fill(lab: Lab, password: str, schema: str = RICH) -> None:
    """Make a schema that holds everything, as alice herself."""
    with lab.login("alice", password) as alice, alice.cursor() as cursor:
        quoted = schema.replace("`", "``")
        cursor.execute(f"CREATE DATABASE `{quoted}` CHARACTER SET latin1")
        alice.select_db(schema)
        cursor.execute("SET SESSION sql_mode = 'NO_ENGINE_SUBSTITUTION'")
        cursor.execute("ALTER DATABASE CHARACTER SET utf8mb4")
        for statement in _EVERYTHING[:-1]:
            cursor.execute(statement)
        for number, value in enumerate((0.123456789, 16777217, -1.17549435e-38, 3.14159265), 1):
            cursor.execute(
                _ROWS + _VALUES,
                (1 + number % 2, value, value, _EVERY_BYTE * number, _TEXT * number),
            )
        cursor.execute(_ROWS + _NULLS, ())
        cursor.execute("SET SESSION sql_mode = 'ANSI_QUOTES'")
        cursor.execute('CREATE PROCEDURE "ansi %"() SELECT "id" FROM "#look up"')
        cursor.execute(_EVERYTHING[-1])
        alice.commit()


def plain(lab: Lab, password: str, schema: str = PLAIN) -> None:
    """A small schema of alice's."""
    with lab.login("alice", password) as alice, alice.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE `{schema}`")
        cursor.execute(f"CREATE TABLE `{schema}`.t (id INT PRIMARY KEY, b LONGBLOB) ENGINE=InnoDB")
        cursor.execute(f"INSERT INTO `{schema}`.t VALUES (1, %s), (2, '')", [_EVERY_BYTE])
        alice.commit()


def everything(server: RunningServer, schema: str) -> dict[str, Any]:
    """All that a schema holds, read in a way of the tests' own: rows, and SHOW CREATE of all."""
    quoted = "`" + schema.replace("`", "``") + "`"
    out: dict[str, Any] = {}
    with server.root(schema) as root, root.cursor() as cursor:

        def ask(sql: str, *args: object) -> Any:
            cursor.execute(sql, args or None)
            return cursor.fetchall()

        out["schema"] = ask(f"SHOW CREATE DATABASE {quoted}")
        for name, kind in ask("SHOW FULL TABLES"):
            table = "`" + name.replace("`", "``") + "`"
            out[name] = ask(f"SHOW CREATE TABLE {table}")
            if kind == "BASE TABLE":
                out[f"{name}: rows"] = sorted(map(repr, ask(f"SELECT {_exact(ask, schema, name)}")))
                out[f"{name}: checksum"] = ask(f"CHECKSUM TABLE {table}")
        for kind in ("PROCEDURE", "FUNCTION"):
            for row in ask(f"SHOW {kind} STATUS WHERE Db = %s", schema):
                routine = "`" + row[1].replace("`", "``") + "`"
                created = ask(f"SHOW CREATE {kind} {routine}")[0]
                # The client programs put a space behind a comment in it.
                out[f"{kind} {row[1]}"] = [str(text).replace("*/ ", "*/") for text in created]
        for row in ask("SHOW TRIGGERS"):
            trigger = "`" + row[0].replace("`", "``") + "`"
            out[f"trigger {row[0]}"] = ask(f"SHOW CREATE TRIGGER {trigger}")[0][:6]
        for row in ask("SHOW EVENTS"):
            event = "`" + row[1].replace("`", "``") + "`"
            out[f"event {row[1]}"] = ask(f"SHOW CREATE EVENT {event}")
    return out


def _exact(ask: Any, schema: str, table: str) -> str:
    """A select list and table: FLOAT as the double that it is, which shows all its digits."""
    columns = ask(
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
        schema, table,
    )  # fmt: skip
    listed = []
    for name, kind in columns:
        quoted = "`" + name.replace("`", "``") + "`"
        listed.append(f"{quoted} * 1e0" if kind == "float" else quoted)
    return f"{', '.join(listed)} FROM `{table.replace('`', '``')}`"


def load(lab: Lab, archive: Path, into: RunningServer | None = None) -> None:
    """Load an archive as a person would: with the client program, as root."""
    server = into or lab.server
    done = subprocess.run(
        [
            str(server.programs.client), "--no-defaults", f"--host={server.host}",
            f"--port={server.port}", "--protocol=tcp", "--user=root",
            f"--password={server.root_password}", f"--ssl-ca={server.ca}", "--binary-mode",
            "--comments",
        ],
        input=gzip.decompress(archive.read_bytes()), capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()


def manifest(folder: Path) -> Any:
    """What the manifest says of the archives in a folder, by schema."""
    return json.loads((folder / "manifest.json").read_text())["archives"]


def leftovers(server: RunningServer) -> list[str]:
    """Scratch schemas and accounts of verifications."""
    rows = server.sql(
        "SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE '%verify%'"
        " UNION ALL SELECT user FROM mysql.user WHERE user LIKE '%verify%'"
    )
    return [str(name) for (name,) in rows]


def schemas_of(server: RunningServer, prefix: str = "alice_") -> list[str]:
    rows = server.sql("SELECT schema_name FROM information_schema.schemata ORDER BY schema_name")
    return [str(name) for (name,) in rows if str(name).startswith(prefix)]


def accounts_of(server: RunningServer, name: str = "alice") -> list[str]:
    rows = server.sql(f"SELECT host FROM mysql.user WHERE user = '{name}' ORDER BY host")
    return [str(host) for (host,) in rows]
