"""A pipeline's publication tables as MAP has them, made by the real DataJoint, and their archive.

    python -P -m tests.globus.publication < parameters.json

makes the tables, in a process of its own: DataJoint keeps configurations and connections for good.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.globus.emulator import ARCHIVE
from tests.lab import ROLES
from tests.servers import RunningServer

ROOT = Path(__file__).parents[2]
RAW_EPHYS, RAW_VIDEO = "/4ElectrodeRig_Ephys", "/Video Archive"

# schema, class, tier, definition; parents first. The definitions are those of MAP's pipeline.
TABLES = (
    ("map_experiment", "Session", "Manual", """
        subject_id : int
        session : smallint
        """),
    ("map_ephys", "ProbeInsertion", "Manual", """
        -> Session
        insertion_number : tinyint
        """),
    ("map_publication", "GlobusStorageLocation", "Lookup", """
        globus_alias : varchar(32)
        ---
        globus_endpoint : varchar(255)
        globus_path : varchar(1024)
        """),
    ("map_publication", "DataSetType", "Lookup", "dataset_type : varchar(64)"),
    ("map_publication", "FileType", "Lookup", "file_type : varchar(32)"),
    ("map_publication", "DataSet", "Manual", """
        -> GlobusStorageLocation
        dataset_name : varchar(128)
        ---
        -> DataSetType
        """),
    ("map_publication", "ArchivedRawEphys", "Imported", """
        -> Session
        -> DataSet
        probe_folder : tinyint
        """),
    ("map_publication", "ArchivedTrackingVideo", "Imported", """
        -> Session
        -> DataSet
        """),
)  # fmt: skip


@dataclass
class Published:
    """What the database is to say: rows of each table, built up by the tests."""

    sessions: list[tuple[int, int]] = field(default_factory=list)
    ephys: list[tuple[int, int]] = field(default_factory=list)
    locations: list[tuple[str, str, str]] = field(
        default_factory=lambda: [
            ("raw-ephys", ARCHIVE, RAW_EPHYS), ("raw-video", ARCHIVE, RAW_VIDEO),
        ]
    )  # fmt: skip
    data_sets: list[tuple[str, str]] = field(default_factory=list)
    files: list[tuple[str, str, str]] = field(default_factory=list)
    archived_ephys: list[tuple[int, int, str, str]] = field(default_factory=list)
    archived_video: list[tuple[int, int, str, str]] = field(default_factory=list)

    def session(
        self, subject: int, number: int, *, ephys: Sequence[str] = (), video: Sequence[str] = ()
    ) -> None:
        """A session with these archived files."""
        self.sessions.append((subject, number))
        if ephys:
            self.ephys.append((subject, number))
        for alias, files, table in (
            ("raw-ephys", ephys, self.archived_ephys), ("raw-video", video, self.archived_video),
        ):  # fmt: skip
            if files:
                name = f"{subject}_{number}_{alias}"
                self.data_sets.append((alias, name))
                self.files += [(alias, name, path) for path in files]
                table.append((subject, number, alias, name))

    def make(self, server: RunningServer, user: str, password: str, folder: Path) -> None:
        """Make the tables on an empty server, with these rows."""
        parameters = {
            "host": server.host, "port": server.port, "user": user, "password": password,
            "ca": str(server.ca),
            "rows": {
                "Session": self.sessions, "ProbeInsertion": [(*key, 1) for key in self.ephys],
                "GlobusStorageLocation": self.locations, "DataSetType": [("any",)],
                "FileType": [("any",)], "DataSet": [(*row, "any") for row in self.data_sets],
                "PhysicalFile": [(*row, "any") for row in self.files],
                "ArchivedRawEphys": [(*row, 0) for row in self.archived_ephys],
                "ArchivedTrackingVideo": self.archived_video,
            },
        }  # fmt: skip
        folder.mkdir(exist_ok=True)  # empty: DataJoint reads configurations where it runs
        done = subprocess.run(
            [sys.executable, "-P", "-m", "tests.globus.publication"], cwd=folder, text=True,
            input=json.dumps(parameters), capture_output=True, timeout=120, check=False,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


def database_section(server: RunningServer, user: str) -> str:
    """[database] of a site on this server, and its roles."""
    return f"""
[database]
host = "{server.host}"
port = {server.port}
user = "{user}"
password = "env:LAB_PASSWORD"
ca = "{server.ca}"
project_prefix = "map"
{ROLES}
"""


def make_tables(
    host: str, port: int, user: str, password: str, ca: str, rows: dict[str, list[Any]]
) -> None:
    """In the child process: declare all tables and fill them."""
    sys.modules["matplotlib"] = None  # type: ignore[assignment]
    import datajoint as dj

    dj.config["loglevel"] = "WARNING"
    connection = dj.Connection(host, user, password, port=port, use_tls={"ca": ca})
    known: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for schema, name, tier, definition in TABLES:
        if schema not in schemas:
            schemas[schema] = dj.Schema(schema, known, connection=connection)
        body: dict[str, Any] = {"definition": definition}
        if name == "DataSet":
            part = {"definition": "-> master\nfile_subpath : varchar(128)\n---\n-> FileType"}
            body["PhysicalFile"] = type("PhysicalFile", (dj.Part,), part)
        known[name] = schemas[schema](type(name, (getattr(dj, tier),), body))
        known[name]().insert(rows[name], allow_direct_insert=True)
    known["DataSet"].PhysicalFile().insert(rows["PhysicalFile"])
    connection.close()


if __name__ == "__main__":
    make_tables(**json.load(sys.stdin))
