"""A file is the old one or the new one, whatever happens to its writer."""

from __future__ import annotations

import os
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapadmin.core.errors import MapadminError
from mapadmin.core.files import make_private_folder, sync_folder, write_atomic, write_new
from tests.core.processes import end, read_line, run_python, start_python


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask() -> Iterator[None]:
    """The most permissive one, so that a mode that is right is no accident."""
    before = os.umask(0)
    yield
    os.umask(before)


# --- write_atomic ------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_text_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.txt"
    write_atomic(path, text)
    assert path.read_bytes() == text.encode()


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_mode_is_the_one_asked_for(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o666)
    write_atomic(path, "new", mode=mode)
    assert (path.read_text(), mode_of(path)) == ("new", mode)


def test_link_stays_a_link(tmp_path: Path) -> None:
    real = tmp_path / "real" / "people.toml"
    real.parent.mkdir()
    real.write_text("old")
    link = tmp_path / "people.toml"
    link.symlink_to("real/people.toml")
    write_atomic(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert [p.name for p in real.parent.iterdir()] == ["people.toml"]


def test_link_to_nothing_makes_its_target(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("later")
    write_atomic(link, "new")
    assert link.is_symlink()
    assert (tmp_path / "later").read_text() == "new"


@pytest.mark.parametrize(
    ("name", "reason"),
    [("gone/file", "No such file or directory"), ("file/x", "Not a directory")],
)
def test_refusal_says_where_and_why(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(MapadminError, match=f"Cannot write {tmp_path}/{name}: {reason}"):
        write_atomic(tmp_path / name, "new")


@pytest.mark.parametrize("write", [write_atomic, write_new])
def test_text_that_is_no_unicode(write: type, tmp_path: Path) -> None:
    with pytest.raises(MapadminError, match="the text is not valid Unicode"):
        write(tmp_path / "file", "\udcff")
    assert list(tmp_path.iterdir()) == []


# A full disk, by a limit on the size of files: Python turns SIGXFSZ into an OSError.
FULL = """
    import resource, sys
    from pathlib import Path
    from mapadmin.core.errors import MapadminError
    from mapadmin.core.files import write_atomic, write_new
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        {"atomic": write_atomic, "new": write_new}[sys.argv[1]](Path(sys.argv[2]), "n" * 5000)
    except MapadminError as error:
        print(error)
"""


def test_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    done = run_python(FULL, "atomic", path)
    assert (done.stdout, done.stderr) == (f"Cannot write {path}: File too large.\n", "")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_leaves_no_part_of_a_new_file(tmp_path: Path) -> None:
    done = run_python(FULL, "new", tmp_path / "passwords")
    assert (done.stdout, done.stderr) == (
        f"Cannot write {tmp_path}/passwords: File too large.\n",
        "",
    )
    assert list(tmp_path.iterdir()) == []


WRITER = """
    import sys
    from pathlib import Path
    from mapadmin.core.files import write_atomic
    print("ready", flush=True)
    while True:
        for letter in "abc":
            write_atomic(Path(sys.argv[1]), letter * 200_000 + "end")
"""


def test_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    seen = set()
    for delay in range(8):
        process = start_python(WRITER, path)
        assert read_line(process) == "ready"
        until = time.monotonic() + 0.005 + delay * 0.004
        while not path.exists() or time.monotonic() < until:
            if path.exists():  # a reader beside the writer sees whole files, too
                seen.add(path.read_text())
        end(process)
        seen.add(path.read_text())
    assert seen <= {letter * 200_000 + "end" for letter in "abc"}


# --- write_new ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("umask")
def test_new_file_is_private(tmp_path: Path) -> None:
    write_new(tmp_path / "passwords", "geheim\u00fc\n")
    assert (tmp_path / "passwords").read_bytes() == "geheim\u00fc\n".encode()
    assert mode_of(tmp_path / "passwords") == 0o600


@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling link"])
def test_new_file_replaces_nothing(kind: str, tmp_path: Path) -> None:
    path, other = tmp_path / "passwords", tmp_path / "other"
    if kind == "file":
        path.write_text("old")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(other)
    if kind == "link":
        other.write_text("old")
    with pytest.raises(MapadminError, match=f"{path} exists already; name another file"):
        write_new(path, "new")
    assert not other.exists() or other.read_text() == "old"
    assert path.is_symlink() or path.is_dir() or path.read_text() == "old"


# --- folders -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("umask")
def test_private_folder(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    assert make_private_folder(path) == path
    assert mode_of(path) == 0o700
    assert make_private_folder(path) == path


def test_private_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(MapadminError, match=f"Cannot create {tmp_path}/file: File exists"):
        make_private_folder(tmp_path / "file")
    with pytest.raises(MapadminError, match="Not a directory"):
        make_private_folder(tmp_path / "file" / "x")


def test_sync_leaves_no_file_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    sync_folder(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "gone")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_files_do_not_pass_to_children(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file", "x")
    listed = subprocess.run(
        ["ls", "-l", "/proc/self/fd"], capture_output=True, text=True, check=True
    )
    assert str(tmp_path) not in listed.stdout
