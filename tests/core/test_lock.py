"""One at a time: real processes contend for a lock."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from mapadmin.core.errors import ExitCode, MapadminError
from mapadmin.core.identity import whoami
from mapadmin.core.lock import Holder, LockedError, file_lock
from tests.core.processes import end, read_line, run_python, start_python

HOLD = """
    import sys
    from pathlib import Path
    from mapadmin.core.lock import file_lock
    with file_lock(Path(sys.argv[1]), command="mapadmin db apply", wait=5):
        print("held", flush=True)
        sys.stdin.readline()
    print("released", flush=True)
    sys.stdin.readline()
"""


def test_second_one_is_told_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    process = start_python(HOLD, path)
    assert read_line(process) == "held"
    with pytest.raises(LockedError) as caught, file_lock(path, command="mine"):
        pass
    me = whoami()
    assert str(caught.value).startswith(
        f"Another mapadmin is at work: {me.who} on {me.host} (process {process.pid}) has been "
        "running `mapadmin db apply` for 0 min "
    )
    assert str(caught.value).endswith("Wait for it to finish, then run this again.")
    assert caught.value.exit_code is ExitCode.FAILED
    end(process)


def test_waits_for_its_turn(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = start_python(HOLD, path)
    assert read_line(holder) == "held"
    waiting = start_python(HOLD, path)
    assert holder.stdin is not None
    holder.stdin.write("\n")
    holder.stdin.flush()
    assert read_line(waiting) == "held"
    with pytest.raises(LockedError, match=f"process {waiting.pid}"), file_lock(path, command=""):
        pass
    end(holder)
    end(waiting)


def test_waits_no_longer_than_asked(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    process = start_python(HOLD, path)
    assert read_line(process) == "held"
    begun = time.monotonic()
    with pytest.raises(LockedError), file_lock(path, command="mine", wait=0.2):
        pass
    assert 0.2 <= time.monotonic() - begun < 2
    end(process)


def test_dies_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    process = start_python(HOLD, path)
    assert read_line(process) == "held"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with file_lock(path, command="mine"):
        pass


def test_ends_with_its_body(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with pytest.raises(ZeroDivisionError), file_lock(path, command="mine"):
        raise ZeroDivisionError
    for _ in range(3):
        with file_lock(path, command="mine"):
            pass
    assert len(os.listdir("/proc/self/fd")) == descriptors  # noqa: PTH208
    assert path.stat().st_mode & 0o777 == 0o600


def test_is_no_longer_its_children_s(tmp_path: Path) -> None:
    """A program that was started, and outlives us, does not hold the lock."""
    path = tmp_path / "lock"
    code = """
        import subprocess, sys
        from pathlib import Path
        from mapadmin.core.lock import file_lock
        with file_lock(Path(sys.argv[1]), command="x"):
            child = subprocess.Popen(["sleep", "20"], stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL)
            print(child.pid, flush=True)
            sys.stdin.readline()
    """
    process = start_python(code, path)
    child = int(read_line(process))
    end(process)
    try:
        with file_lock(path, command="mine"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"who": 1}', b"\xff" * 5000])
def test_holder_that_cannot_be_read_is_still_a_holder(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    process = start_python(HOLD, path)
    assert read_line(process) == "held"
    path.write_bytes(content)
    with pytest.raises(LockedError, match=f"at work: {path}"), file_lock(path, command="mine"):
        pass
    end(process)


def test_lock_that_cannot_be_opened(tmp_path: Path) -> None:
    with (
        pytest.raises(MapadminError, match=f"Cannot open the lock {tmp_path}/a/b: No such file"),
        file_lock(tmp_path / "a" / "b", command="mine"),
    ):
        pass


def test_full_disk_does_not_stop_it(tmp_path: Path) -> None:
    code = """
        import resource, sys
        from pathlib import Path
        from mapadmin.core.lock import LockedError, file_lock
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        path = Path(sys.argv[1])
        with file_lock(path, command="x"):
            try:
                with file_lock(path, command="y"):
                    pass
            except LockedError as error:
                print(error.message)
    """
    done = run_python(code, tmp_path / "lock")
    assert (done.stdout, done.stderr) == (f"Another mapadmin is at work: {tmp_path}/lock.\n", "")


@pytest.mark.parametrize(
    ("seconds", "age"),
    [(0, "0 min 0 s"), (61, "1 min 1 s"), (7300, "121 min 40 s"), (-50, "0 min")],
)
def test_holder_s_age(seconds: int, age: str) -> None:
    holder = Holder("ann", "host", 7, "mapadmin x", time.time() - seconds)
    assert f"ann on host (process 7) has been running `mapadmin x` for {age}" in str(holder)
