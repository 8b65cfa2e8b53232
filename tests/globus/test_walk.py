"""The walk: complete, in order, as parallel as told, in bounded memory, whatever fails."""

from __future__ import annotations

import random
import threading
import time

import pytest

from mapadmin.core.errors import MapadminError, SettingsError
from mapadmin.globus import walk as walking
from mapadmin.globus.model import Entry
from mapadmin.globus.pace import BURST, Pace
from mapadmin.globus.walk import walk

Tree = dict[str, list[Entry]]


def make_tree(seed: int, folders: int = 60, files: int = 3) -> Tree:
    """A random tree: folder -> entries."""
    draw = random.Random(seed)
    tree: Tree = {"/": []}
    for number in range(folders):
        above = draw.choice(list(tree))
        path = f"{above.rstrip('/')}/{draw.choice('aÄ b')}{number}"
        tree[above].append(Entry(path, "dir"))
        tree[path] = [Entry(f"{path}/f{n}", "file", n) for n in range(draw.randrange(files))]
    for entries in tree.values():
        draw.shuffle(entries)
    return tree


def in_order(tree: Tree, path: str = "/") -> list[str]:
    """What a walk without threads would say."""
    found = [path]
    for entry in sorted(tree[path], key=lambda e: e.path):
        if entry.is_folder:
            found += in_order(tree, entry.path)
    return found


@pytest.mark.parametrize("seed", range(25))
def test_every_folder_once_and_in_order_however_late_answers_come(seed: int) -> None:
    tree = make_tree(seed)
    draw = random.Random(seed)

    def fetch(path: str) -> list[Entry]:
        time.sleep(draw.random() / 500)
        return tree[path]

    listings = [
        (found.path, [e.path for e in found.entries])
        for found in walk(fetch, "/", at_once=1 + seed % 16)
    ]
    assert [path for path, _ in listings] == in_order(tree)
    for path, names in listings:
        assert names == sorted(e.path for e in tree[path])


def test_depth() -> None:
    tree = {f"/{'d/' * n}".rstrip("/") or "/": [Entry(f"/{'d/' * n}d", "dir")] for n in range(9)}
    for depth in range(5):
        assert [f.depth for f in walk(tree.__getitem__, "/", depth=depth)] == list(range(depth + 1))


def test_links_are_not_followed_unless_told() -> None:
    tree = {"/": [Entry("/round", "dir", link="/"), Entry("/real", "dir")], "/real": []}
    assert [f.path for f in walk(tree.__getitem__, "/")] == ["/", "/real"]
    tree["/round"] = []
    told = walk(tree.__getitem__, "/", descend=lambda e: e.is_folder)
    assert [f.path for f in told] == ["/", "/real", "/round"]


@pytest.mark.parametrize("at_once", [1, 4, 16])
def test_as_many_at_once_as_told(at_once: int) -> None:
    tree: Tree = {"/": [Entry(f"/{n:03}", "dir") for n in range(64)]}
    lock, now, most = threading.Lock(), 0, 0

    def fetch(path: str) -> list[Entry]:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        return tree.get(path, [])

    assert len(list(walk(fetch, "/", at_once=at_once))) == 65
    assert most == at_once


def test_memory_is_bounded_when_the_reader_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "AHEAD", 100)
    tree: Tree = {"/": [Entry(f"/{n:03}", "dir") for n in range(100)]}
    fetched = 0

    def fetch(path: str) -> list[Entry]:
        nonlocal fetched
        found = tree.get(path) or [Entry(f"{path}/{n}", "file") for n in range(50)]
        fetched += len(found)
        return found

    told = 0
    for listing in walk(fetch, "/", at_once=8):
        time.sleep(0.002)
        # What waits: at most 100, and what the 8 threads were in the middle of.
        assert fetched - told <= 100 + 9 * 50 + 100
        told += len(listing.entries)
    assert told == 100 + 100 * 50


def test_a_branch_that_fails_is_told_and_the_rest_goes_on() -> None:
    tree = make_tree(7)
    bad = in_order(tree)[5]

    def fetch(path: str) -> list[Entry]:
        if path == bad:
            raise MapadminError("no")
        return tree[path]

    found = list(walk(fetch, "/"))
    assert [f.path for f in found if f.error] == [bad]
    below = [p for p in in_order(tree) if not p.startswith(f"{bad}/")]
    assert [f.path for f in found] == below


@pytest.mark.parametrize("error", [MapadminError("start"), ValueError("a bug")])
def test_an_error_of_the_start_is_raised(error: Exception) -> None:
    def fetch(path: str) -> list[Entry]:
        raise error

    with pytest.raises(type(error)):
        list(walk(fetch, "/"))


def test_what_is_fatal_ends_the_walk() -> None:
    tree = make_tree(3)
    bad = in_order(tree)[-1]

    def fetch(path: str) -> list[Entry]:
        if path == bad:
            raise SettingsError("no login")
        return tree[path]

    with pytest.raises(SettingsError):
        list(walk(fetch, "/", fatal=(SettingsError,)))


def test_a_walk_that_is_left_leaves_no_threads() -> None:
    before = threading.active_count()
    tree = make_tree(1)
    listings = walk(tree.__getitem__, "/", at_once=16)
    next(listings)
    listings.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 5
    while threading.active_count() > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_pace_is_kept_by_many_threads() -> None:
    pace = Pace(200.0)
    begun = time.monotonic()

    def ask() -> None:
        for _ in range(10):
            pace.wait()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - begun >= (80 - BURST - 1) / 200


def test_a_rest_holds_up_everybody() -> None:
    pace = Pace(0)
    begun = time.monotonic()
    pace.rest(0.2)
    pace.wait()
    assert time.monotonic() - begun >= 0.2
