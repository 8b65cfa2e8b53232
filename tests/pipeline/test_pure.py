"""Names, meanings, patterns, layouts: tables of cases."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from mapadmin.core.errors import UsageError
from mapadmin.pipeline import helper
from mapadmin.pipeline.inventory import Column, TableKind, classify, like
from mapadmin.pipeline.meanings import like_fits, meaning_of
from mapadmin.pipeline.names import TableName, choose
from mapadmin.site.cleanup import GENERIC_ERRORS

JOBS = (
    "table_name", "key_hash", "status", "key", "error_message", "error_stack", "user", "host",
    "pid", "connection_id", "timestamp",
)  # fmt: skip
JOBS_2 = (
    "subject", "status", "priority", "created_time", "scheduled_time", "reserved_time",
    "completed_time", "duration", "error_message", "error_stack", "user", "host", "pid",
    "connection_id", "version",
)  # fmt: skip
STORE = ("hash", "size", "attachment_name", "filepath", "contents_hash", "timestamp")


def columns(names: tuple[str, ...]) -> list[Column]:
    return [
        Column(name, "text", primary=name in ("subject", "hash", "table_name")) for name in names
    ]


@pytest.mark.parametrize(
    ("name", "names", "kind", "problem"),
    [
        ("~jobs", JOBS, TableKind.JOBS, ""),
        ("~~unit_stat", JOBS_2, TableKind.JOBS_2, ""),
        ("~external_report_store", STORE, TableKind.STORE, ""),
        ("~log", ("timestamp", "event"), TableKind.LOG, ""),
        ("~lineage", ("a",), TableKind.LOG, ""),
        ("~something", ("a",), TableKind.UNKNOWN, ""),
        ("~jobs", JOBS[:-1], TableKind.UNKNOWN, "lacks the column timestamp"),
        ("~~unit_stat", JOBS_2[:4], TableKind.UNKNOWN, "lacks the columns completed_time, conn"),
        ("~jobs", (*JOBS, "lease_until"), TableKind.JOBS, "never changed"),
    ],
)
def test_tables_are_known_by_name_and_columns(
    name: str, names: tuple[str, ...], kind: TableKind, problem: str
) -> None:
    table = classify("map_lab", name, columns(names))
    assert (table.kind, problem in table.problem, bool(table.problem)) == (
        kind,
        True,
        bool(problem),
    )


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("__unit_stat", "UnitStat"), ("_unit", "Unit"), ("session", "Session"),
        ("#task", "Task"), ("__report__page", "Report.Page"), ("spikes2_d", "Spikes2D"),
    ],
)  # fmt: skip
def test_class_names(table: str, name: str) -> None:
    assert TableName("map_ephys", table).class_name == name


KNOWN = [TableName("map_ephys", "__unit_stat"), TableName("map_lab", "_unit_stat")]


@pytest.mark.parametrize(
    ("pattern", "number"),
    [
        (None, 2), ("UnitStat", 2), ("__unit_stat", 1), ("unit_stat", 2), ("map_lab.UnitStat", 1),
        ("map_*.UnitStat", 2), ("map_lab.*", 1), ("Unit*", 2), ("map_ephys.__unit_stat", 1),
    ],
)  # fmt: skip
def test_tables_that_a_person_means(pattern: str | None, number: int) -> None:
    assert len(choose(KNOWN, pattern)) == number


def test_a_table_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="Did you mean UnitStat"):
        choose(KNOWN, "UnitStats")


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ("InternalError: (1213, 'Deadlock found when trying to get lock')", "deadlock between"),
        ("InternalError: (1205, 'Lock wait timeout exceeded')", "lock held too long"),
        (
            "LostConnectionError: Connection was lost during a transaction.",
            "connection to the data",
        ),
        (
            "OperationalError: (2013, 'Lost connection to MySQL server')",
            "connection to the database",
        ),
        ("DuplicateError: (\"Duplicate entry '1' for key 'PRIMARY'\")", "was there already"),
        ("SystemExit: SIGTERM received", "worker was stopped"),
        ("KeyboardInterrupt", "worker was interrupted"),
        ("MaxRetryError: HTTPSConnectionPool(host='s3')", "a server did not answer"),
        (
            "DataJointError: A different version of '/a/b.png' has been stored",
            "stored file differs",
        ),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/a'", "a file is missing"),
        ("OSError: [Errno 28] No space left on device", "a disk is full"),
        ("numpy.core._exceptions.MemoryError: Unable to allocate 7 GiB", "out of memory"),
        ("ValueError: bad unit 17 in /data/a7/x.npy", "ValueError: bad unit … in /…"),
        ("KeyError: 'a'", "KeyError: …"),
        ("", "no message"),
    ],
)
def test_meanings(message: str, meaning: str) -> None:
    assert meaning in meaning_of(message)


def test_messages_that_differ_in_numbers_alone_mean_the_same() -> None:
    texts = {meaning_of(f"ValueError: unit {n} of session 0x{n:x} at /a/{n}") for n in range(50)}
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("%Deadlock%", "a deadlock found", True),
        ("InternalError: (1205%", "InternalError: (1205, 'x')", True),
        ("InternalError: (1205%", "An InternalError: (1205", False),
        ("a_c", "abc", True), ("a\\_c", "abc", False), ("a\\_c", "a_c", True),
        ("100\\%", "100%", True), ("%", "a\nb", True),
    ],
)  # fmt: skip
def test_like(pattern: str, text: str, fits: bool) -> None:
    assert like_fits(text, [pattern]) is fits


def test_the_faulty_pattern_of_map_is_mended() -> None:
    """`LostConnectionError`, without its `%`, never matched."""
    assert like_fits("LostConnectionError: Server connection lost", GENERIC_ERRORS)


def test_schema_patterns() -> None:
    assert [like(one) for one in ("map_*", "a%b", "x?")] == ["map\\_%", "a\\%b", "x_"]


def test_the_helper_is_of_python_3_6_and_the_standard_library() -> None:
    text = Path(helper.__file__).read_text(encoding="utf-8")
    tree = ast.parse(text, feature_version=(3, 6))
    names = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names - {"datajoint"} <= sys.stdlib_module_names
