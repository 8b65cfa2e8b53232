"""A small pipeline in the manner of MAP's, made by the real DataJoint: run as a child process.

    python -P -m mapadmin.sandbox.tables < parameters.json

in an empty working directory, since DataJoint picks up configurations from there. The parameters,
a JSON object with host, port, user, password, ca and the id of the collection that is the archive,
come on stdin: a password is no argument. Run again after it was killed, it makes what is missing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

SESSIONS = 12
TRIALS = 20  # a session
UNITS = 8  # a session
LOCATIONS = {"raw-ephys": "/ephys", "raw-video": "/video"}  # alias -> folder of the archive


Rows = Callable[[], Iterator[tuple[Any, ...]]]


class PartTable(NamedTuple):
    """A part of a table: its class name, DataJoint definition, and rows."""

    name: str
    definition: str
    rows: Rows


class Table(NamedTuple):
    """One table: its schema, class name, tier, DataJoint definition, rows, and part."""

    schema: str
    name: str
    tier: str
    definition: str
    rows: Rows | None = None
    part: PartTable | None = None


def _subjects() -> Iterator[tuple[Any, ...]]:
    for number in range(1, 5):
        yield 440000 + number, f"SC{number:03d}", "FM"[number % 2], f"2024-0{number}-11"


def _session_keys() -> Iterator[tuple[int, int]]:
    """(subject_id, session) of every session: three for each of the four subjects."""
    for number in range(SESSIONS):
        yield 440001 + number % 4, 1 + number // 4


def _sessions() -> Iterator[tuple[Any, ...]]:
    for number, key in enumerate(_session_keys()):
        yield *key, f"2024-09-{number + 1:02d}", ("alice", "worker")[number % 2], "audio delay"


def _trials() -> Iterator[tuple[Any, ...]]:
    for number, key in enumerate(_session_keys()):
        for trial in range(1, TRIALS + 1):
            outcome = ("hit", "hit", "miss", "ignore")[(number + 3 * trial) % 4]
            yield *key, trial, outcome, 8.5 * trial


def _insertions() -> Iterator[tuple[Any, ...]]:
    for key in _session_keys():
        yield *key, 1, "neuropixels 1.0", 2900


def _units() -> Iterator[tuple[Any, ...]]:
    import numpy as np

    for number, key in enumerate(_session_keys()):
        for unit in range(1, UNITS + 1):
            draw = np.random.default_rng([number, unit])
            spikes = np.sort(draw.uniform(0, 180, size=draw.integers(50, 400)))
            yield *key, 1, unit, ("good", "ok", "multi")[unit % 3], spikes


def _chosen() -> Iterator[tuple[Any, ...]]:
    for key in _session_keys():
        yield *key, 1, 2, "fires before the go cue"


def archived_files() -> Iterator[tuple[tuple[int, int], str, str, str]]:
    """Session, alias, data set and path below the location of every file that is archived."""
    for subject, session in _session_keys():
        h2o = f"SC{subject - 440000:03d}"
        run = f"{h2o}_s{session}"
        for ending in ("ap.bin", "ap.meta"):
            path = f"{h2o}/catgt_{run}_g0/{run}_imec0/{run}_g0_t0.imec0.{ending}"
            yield (subject, session), "raw-ephys", f"{run}_ephys", path
        yield (subject, session), "raw-video", f"{run}_video", f"{h2o}/s{session}/{run}_side.mp4"


def _archived(alias: str) -> Rows:
    """The rows of the table that calls the data sets of a location archived."""
    found = {(*key, where, name): None for key, where, name, _ in archived_files()}
    return lambda: (row for row in found if row[2] == alias)


def _make_statistics(self: Any, key: Mapping[str, Any]) -> None:
    """`make` of UnitStat."""
    parent = self.connection.schemas["map_ephys"].context["Unit"]
    spikes = (parent & key).fetch1("spike_times")
    span = float(spikes[-1] - spikes[0])
    self.insert1({**key, "spike_count": len(spikes), "avg_firing_rate": len(spikes) / span})


# Parents first. The blanks of a definition matter to nobody.
TABLES = (
    Table("map_lab", "Person", "Manual", """
        # who may do experiments
        username : varchar(24)
        ---
        fullname : varchar(60)
        """, lambda: iter([("alice", "Alice Ampere"), ("bob", "Bob Becquerel"), ("worker", "-")])),
    Table("map_lab", "Subject", "Manual", """
        subject_id : int  # as the colony numbers them
        ---
        nickname : varchar(16)
        sex : enum('F', 'M', 'Unknown')
        date_of_birth : date
        """, _subjects),
    Table("map_experiment", "Task", "Lookup", """
        task : varchar(24)
        ---
        task_description : varchar(255)
        """, lambda: iter([("audio delay", "wait, then lick"), ("multi target", "9 places")])),
    Table("map_experiment", "Session", "Manual", """
        -> Subject
        session : smallint
        ---
        session_date : date
        -> Person
        -> Task
        """, _sessions),
    Table("map_experiment", "SessionTrial", "Manual", """
        -> Session
        trial : smallint
        ---
        outcome : enum('hit', 'miss', 'ignore')
        start_time : decimal(9, 3)  # (s) from the session's beginning
        """, _trials),
    Table("map_ephys", "ProbeInsertion", "Manual", """
        -> Session
        insertion_number : tinyint
        ---
        probe_type : varchar(32)
        depth : decimal(6, 1)  # (um)
        """, _insertions),
    Table("map_ephys", "Unit", "Imported", """
        -> ProbeInsertion
        unit : int
        ---
        unit_quality : enum('good', 'ok', 'multi')
        spike_times : longblob  # (s) from the session's beginning
        """, _units),
    Table("map_ephys", "UnitStat", "Computed", """
        -> Unit
        ---
        spike_count : int
        avg_firing_rate : float  # (Hz)
        """),
    # What the archive on Globus is to hold; `mapadmin globus check` reads these.
    Table("map_publication", "GlobusStorageLocation", "Lookup", """
        globus_alias : varchar(32)
        ---
        globus_endpoint : varchar(255)
        globus_path : varchar(1024)
        """),  # its rows are the sandbox's own
    Table("map_publication", "DataSet", "Manual", """
        -> GlobusStorageLocation
        dataset_name : varchar(128)
        """, lambda: iter({(alias, name): None for _, alias, name, _ in archived_files()}),
        PartTable("PhysicalFile", """
        -> master
        file_subpath : varchar(128)
        """, lambda: ((alias, name, path) for _, alias, name, path in archived_files()))),
    Table("map_publication", "ArchivedRawEphys", "Imported", """
        -> Session
        -> DataSet
        """, _archived("raw-ephys")),
    Table("map_publication", "ArchivedTrackingVideo", "Imported", """
        -> Session
        -> DataSet
        """, _archived("raw-video")),
    # A person's own: nothing of hers may be lost sight of when hers or the project's is dropped.
    Table("alice_spikes", "ChosenUnit", "Manual", """
        -> Unit
        ---
        reason : varchar(80)
        """, _chosen),
)  # fmt: skip

SCHEMAS = tuple(dict.fromkeys(table.schema for table in TABLES))


def make_tables(
    host: str, port: int, user: str, password: str, ca: str, archive: str
) -> None:  # fmt: skip
    """Declare every table that is missing, and fill it."""
    # It is for diagrams only, and DataJoint does without: half a second less.
    sys.modules["matplotlib"] = None  # type: ignore[assignment]
    import datajoint as dj

    dj.config["loglevel"] = "WARNING"
    # Its own explicit connection; naming the authority is what makes PyMySQL verify the server.
    connection = dj.Connection(host, user, password, port=port, use_tls={"ca": ca})
    known: dict[str, Any] = {}  # definitions refer to the classes of all schemas by bare name
    schemas = {name: dj.Schema(name, known, connection=connection) for name in SCHEMAS}
    here = {"GlobusStorageLocation": [(a, archive, path) for a, path in LOCATIONS.items()]}
    for table in TABLES:
        body: dict[str, Any] = {"definition": table.definition, "make": _make_statistics}
        if part := table.part:
            body[part.name] = type(part.name, (dj.Part,), {"definition": part.definition})
        declared = schemas[table.schema](type(table.name, (getattr(dj, table.tier),), body))
        known[table.name] = declared
        if table.rows is not None or table.name in here:
            rows = table.rows() if table.rows else here[table.name]
            declared().insert(rows, skip_duplicates=True, allow_direct_insert=True)
        else:
            declared.populate()
        if part:
            getattr(declared, part.name)().insert(part.rows(), skip_duplicates=True)
    connection.close()


if __name__ == "__main__":
    make_tables(**json.load(sys.stdin))
