"""Dead or alive: cases of the rule."""

from __future__ import annotations

import pytest

from mapadmin.pipeline.inventory import Column, classify
from mapadmin.pipeline.layout import Layout
from mapadmin.pipeline.liveness import Reservation, Verdict, judge
from mapadmin.pipeline.local import LocalProcess, local_processes
from mapadmin.pipeline.threads import Sessions, Thread, WorkerName, worker_name

NOW = 1_000_000.0
AGE = 3600.0
RESERVED = NOW - AGE
TABLE = classify("map_lab", "~jobs", [Column(name, "text") for name in ("table_name", "key_hash")])


def reservation(**changes: object) -> Reservation:
    """Reserved an hour ago by process 42 of node-a, over connection 7."""
    row = {"user": "worker@10.0.0.5", "host": "node-a", "pid": 42, "connection_id": 7, **changes}
    return Reservation(Layout(TABLE), "__spikes", "0" * 32, AGE, row)


def thread(number: int = 8, **changes: object) -> Thread:
    """Somebody else's, unless told otherwise."""
    fields = {"user": "worker", "address": "10.0.0.5", "pid": 99, "worker": None, **changes}
    return Thread(id=number, **fields)  # type: ignore[arg-type]


ME = WorkerName("node-a", 42)
OTHER = WorkerName("node-a", 43)

CASES = [
    ("nobody", [], Verdict.DEAD),
    ("its own connection", [thread(7)], Verdict.CONNECTED),
    ("its number, but another user's", [thread(7, user="alice")], Verdict.DEAD),
    ("reconnected, by name", [thread(worker=ME)], Verdict.NAMED),
    ("reconnected from elsewhere, by name", [thread(worker=ME, address="::1")], Verdict.NAMED),
    ("by name, as another user", [thread(worker=ME, user="alice")], Verdict.NAMED),
    ("another named worker", [thread(worker=OTHER)], Verdict.DEAD),
    (
        "another container's named worker, with the same number",
        [thread(pid=42, worker=WorkerName("box-2", 42))],
        Verdict.DEAD,
    ),
    (
        "the same container, started again since",
        [thread(pid=42, worker=WorkerName("node-a", 42, RESERVED + 600))],
        Verdict.DEAD,
    ),
    (
        "the same container, started before",
        [thread(pid=42, worker=WorkerName("node-a", 42, RESERVED - 60))],
        Verdict.NAMED,
    ),
    (
        "started by a clock that is minutes ahead",
        [thread(worker=WorkerName("node-a", 42, RESERVED + 170))],
        Verdict.NAMED,
    ),
    ("reconnected, unnamed", [thread(pid=42)], Verdict.PROCESS),
    ("the same number elsewhere", [thread(pid=42, address="10.0.0.6")], Verdict.DEAD),
    ("the same number, another user", [thread(pid=42, user="alice")], Verdict.DEAD),
    ("a client that tells no number", [thread(pid=None)], Verdict.UNTOLD),
    ("one of another address that tells none", [thread(pid=None, address="b")], Verdict.DEAD),
    ("other workers of the host", [thread(n, pid=n) for n in range(100, 120)], Verdict.DEAD),
]


@pytest.mark.parametrize(("what", "threads", "verdict"), CASES)
def test_cases(what: str, threads: list[Thread], verdict: Verdict) -> None:
    found = judge(reservation(), Sessions(tuple(threads)), [], uptime=1e9, now=NOW)
    assert found is verdict, what


UNSEEN = [
    ("nobody", [], Verdict.DEAD),
    ("its own connection", [thread(7, pid=None)], Verdict.CONNECTED),
    ("somebody of its account", [thread(pid=None)], Verdict.UNTOLD),
    ("of its account, elsewhere", [thread(pid=None, address="b")], Verdict.UNTOLD),
    ("another account", [thread(pid=None, user="alice")], Verdict.DEAD),
]


@pytest.mark.parametrize(("what", "threads", "verdict"), UNSEEN)
def test_where_nobody_can_say_who_they_are(
    what: str, threads: list[Thread], verdict: Verdict
) -> None:
    sessions = Sessions(tuple(threads), introduced=False)
    assert judge(reservation(), sessions, [], uptime=1e9, now=NOW) is verdict, what
    # It is never less careful than where they can.
    seen = judge(reservation(), Sessions(tuple(threads)), [], uptime=1e9, now=NOW)
    assert verdict is not Verdict.DEAD or seen is Verdict.DEAD, what


def test_connection_numbers_begin_anew_with_the_server() -> None:
    """Number 7 is somebody else's since the server was started half an hour ago."""
    other = thread(7, pid=99)
    assert judge(reservation(), Sessions((other,)), [], uptime=AGE / 2, now=NOW) is Verdict.DEAD
    assert (
        judge(reservation(), Sessions((other,)), [], uptime=AGE * 2, now=NOW) is Verdict.CONNECTED
    )


@pytest.mark.parametrize(
    ("process", "verdict"),
    [
        (LocalProcess("node-a", 42, RESERVED - 60), Verdict.LOCAL),
        (LocalProcess("node-a", 42, RESERVED + 60), Verdict.DEAD),  # took over the number
        (LocalProcess("node-a", 43, RESERVED - 60), Verdict.DEAD),
        (LocalProcess("node-b", 42, RESERVED - 60), Verdict.DEAD),
    ],
)
def test_processes_of_this_machine(process: LocalProcess, verdict: Verdict) -> None:
    assert judge(reservation(), Sessions(()), [process], uptime=1e9, now=NOW) is verdict


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("mapadmin-worker:node-a:42", ME),
        ("mapadmin-worker:node-a:42:17.5", WorkerName("node-a", 42, 17.5)),
        ("mapadmin-worker:node-a:42:soon", ME),
        ("mapadmin-worker:node-a", None),
        ("mapadmin-worker:node-a:x", None),
        ("mapadmin", None),
        ("", None),
    ],
)
def test_names(text: str, name: WorkerName | None) -> None:
    assert worker_name(text) == name


def test_this_process_is_among_those_of_the_machine() -> None:
    import os
    import platform
    import time

    (me,) = [
        one for one in local_processes() if (one.host, one.pid) == (platform.node(), os.getpid())
    ]
    assert me.started < time.time() + 1
