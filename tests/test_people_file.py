"""people.toml is edited in place: what was asked for changes, and not a character more."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapadmin.core.errors import MapadminError
from mapadmin.people_file import Value, remove_entry, set_entry
from mapadmin.site import People
from tests.core.processes import end, read_line, start_python

FILE = """\
# The people of the lab.
# Ask Ann before you change it.

[people.alice]   # the boss
role   =  "reader"      # for now
email = 'a@example.org'
hosts = [
    "%",          # from anywhere
    "10.1.%",
]

# Bob is a guest
# until June
[people.bob]
role = "reader"
# email = "old@example.org"


  [people."c.d"]
  role = "reader"
[people.alice.grants]
"map_lab" = ["SELECT"]  # her own project
# Services below.
[services.worker]
role = "worker"  # trailing

# the end
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "people.toml"


def after_set(path: Path, text: str, name: str, **values: Value) -> str:
    path.write_bytes(text.encode())
    set_entry(path, "people", name, values)
    return path.read_bytes().decode()


def after_remove(path: Path, text: str, name: str, section: str = "people") -> str:
    path.write_bytes(text.encode())
    remove_entry(path, section, name)
    return path.read_bytes().decode()


def with_change(old: str, new: str, text: str = FILE) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


# --- one change, and not a character more ------------------------------------------------------

CHANGES: list[tuple[str, str, dict[str, Value], str]] = [
    ("a value", "alice", {"role": "exp"}, with_change('"reader"      #', '"exp"      #')),
    ("the same value", "alice", {"role": "reader", "hosts": ["%", "10.1.%"]}, FILE),
    (
        "a new key goes below the entry's own, above the next one's comment",
        "alice",
        {"github": "ann"},
        with_change('    "10.1.%",\n]\n', '    "10.1.%",\n]\ngithub = "ann"\n'),
    ),
    (
        "a new key goes below the entry's own comment",
        "bob",
        {"locked": True},
        with_change('"old@example.org"\n', '"old@example.org"\nlocked = true\n'),
    ),
    (
        "an indented entry",
        "c.d",
        {"email": "x"},
        with_change('  role = "reader"\n[', '  role = "reader"\n  email = "x"\n['),
    ),
    (
        "a key that goes",
        "alice",
        {"email": None},
        with_change("email = 'a@example.org'\n", ""),
    ),
    ("a key that was not there goes", "bob", {"email": None}, FILE),
    (
        "a list is written in one line",
        "alice",
        {"hosts": ["%"]},
        with_change('[\n    "%",          # from anywhere\n    "10.1.%",\n]', '["%"]'),
    ),
    (
        "a grant beside another",
        "alice",
        {"grants": {"map_lab": ["SELECT"], "map_*": ["INSERT"]}},
        with_change("# her own project\n", '# her own project\n"map_*" = ["INSERT"]\n'),
    ),
    (
        "a grant instead of another",
        "alice",
        {"grants": {"map_x": ["SELECT"]}},
        with_change('"map_lab" = ["SELECT"]  # her own project', 'map_x = ["SELECT"]'),
    ),
    (
        "grants where there were none",
        "bob",
        {"grants": {"a.b": ["SELECT"]}},
        with_change('"old@example.org"\n', '"old@example.org"\ngrants = {"a.b" = ["SELECT"]}\n'),
    ),
    (
        "several keys at once",
        "bob",
        {"role": "exp", "expires": date(2027, 6, 30), "hosts": ["%"]},
        with_change(
            'role = "reader"\n# email = "old@example.org"\n',
            'role = "exp"\n# email = "old@example.org"\nexpires = 2027-06-30\nhosts = ["%"]\n',
        ),
    ),
    (
        "a new entry goes below its section's last one",
        "zoe",
        {"role": "reader"},
        with_change(
            "# her own project\n", '# her own project\n\n[people.zoe]\nrole = "reader"\n\n'
        ),
    ),
    (
        "an entry with nothing in it",
        "zoe",
        {},
        with_change("# her own project\n", "# her own project\n\n[people.zoe]\n\n"),
    ),
]


@pytest.mark.parametrize(("what", "name", "values", "expected"), CHANGES)
def test_set(what: str, name: str, values: dict[str, Value], expected: str, path: Path) -> None:
    assert after_set(path, FILE, name, **values) == expected, what


REMOVALS: list[tuple[str, str, str, str]] = [
    (
        "with its sub-section, without the next one's comment",
        "people",
        "alice",
        with_change(
            FILE[FILE.index("[people.alice]") : FILE.index("# Bob")],
            "",
            with_change('[people.alice.grants]\n"map_lab" = ["SELECT"]  # her own project\n', ""),
        ),
    ),
    (
        "with the comments inside it",
        "people",
        "bob",
        with_change('[people.bob]\nrole = "reader"\n# email = "old@example.org"\n', ""),
    ),
    (
        "one that is indented",
        "people",
        "c.d",
        with_change('  [people."c.d"]\n  role = "reader"\n', ""),
    ),
    (
        "the last one of its section",
        "services",
        "worker",
        with_change('[services.worker]\nrole = "worker"  # trailing\n', ""),
    ),
    ("one that is not there", "people", "zoe", FILE),
    ("one of another section", "services", "alice", FILE),
    ("of a section that is not there", "guests", "alice", FILE),
]  # fmt: skip


@pytest.mark.parametrize(("what", "section", "name", "expected"), REMOVALS)
def test_remove(what: str, section: str, name: str, expected: str, path: Path) -> None:
    assert after_remove(path, FILE, name, section) == expected, what


LAYOUTS: list[tuple[str, str, str]] = [
    # before, after adding zoe, after removing alice
    ("", '[people.zoe]\nrole = "r"\n', ""),
    ("# x\n", '# x\n\n[people.zoe]\nrole = "r"\n', "# x\n"),
    ("# x", '# x\n\n[people.zoe]\nrole = "r"\n', "# x"),
    ("[people.alice]\n", '[people.alice]\n\n[people.zoe]\nrole = "r"\n', ""),
    ("[people.alice]", '[people.alice]\n\n[people.zoe]\nrole = "r"\n', ""),
    (
        "[people.bob]\n\n[people.alice]\n",
        '[people.bob]\n\n[people.alice]\n\n[people.zoe]\nrole = "r"\n',
        "[people.bob]\n",
    ),
    (
        "[people.alice]\n[services.w]\n",
        '[people.alice]\n\n[people.zoe]\nrole = "r"\n\n[services.w]\n',
        "[services.w]\n",
    ),
    (
        "[people.alice]\n# of w\n[services.w]\n",
        '[people.alice]\n\n[people.zoe]\nrole = "r"\n\n# of w\n[services.w]\n',
        "# of w\n[services.w]\n",
    ),
    (
        "[services.w]\n\n",
        '[services.w]\n\n[people.zoe]\nrole = "r"\n',
        "[services.w]\n\n",
    ),
    (  # not in one place
        "[people.alice]\n[services.w]\n[people.bob]\n[services.v]\n",
        '[people.alice]\n[services.w]\n[people.bob]\n\n[people.zoe]\nrole = "r"\n\n[services.v]\n',
        "[services.w]\n[people.bob]\n[services.v]\n",
    ),
    (  # in one line each
        '[people]\nalice = { role = "x" }  #\nb = {}\n[services]\n',
        '[people]\nalice = { role = "x" }  #\nb = {}\n\n[people.zoe]\nrole = "r"\n\n[services]\n',
        "[people]\nb = {}\n[services]\n",
    ),
    (  # dotted keys
        'people.alice.role = "x"\npeople.bob.role = "y"\n',
        'people.alice.role = "x"\npeople.bob.role = "y"\n\n[people.zoe]\nrole = "r"\n',
        'people.bob.role = "y"\n',
    ),
    (  # spaces and quotes in the header
        '[ people . "alice" ]\nrole = "x"\n',
        '[ people . "alice" ]\nrole = "x"\n\n[people.zoe]\nrole = "r"\n',
        "",
    ),
    (  # what looks like a header or a comment in a text of several lines
        '[people.alice]\nrole="""\n[people.b]\n# x"""\n[people.b]\n',
        '[people.alice]\nrole="""\n[people.b]\n# x"""\n[people.b]\n\n[people.zoe]\nrole = "r"\n',
        "[people.b]\n",
    ),
    (  # only a sub-section
        '[people.alice.grants]\nx = ["SELECT"]\n',
        '[people.alice.grants]\nx = ["SELECT"]\n\n[people.zoe]\nrole = "r"\n',
        "",
    ),
]


@pytest.mark.parametrize(("before", "added", "removed"), LAYOUTS)
def test_layouts(before: str, added: str, removed: str, path: Path) -> None:
    assert after_set(path, before, "zoe", role="r") == added
    undone = after_remove(path, added, "zoe")
    assert list(filter(None, undone.split("\n"))) == list(filter(None, before.split("\n")))
    assert after_remove(path, before, "alice") == removed
    windows = before.replace("\n", "\r\n")
    assert after_set(path, windows, "zoe", role="r") == added.replace(
        "\n", "\r\n" if windows != before else "\n"
    )


@pytest.mark.parametrize("before", [before for before, _, _ in LAYOUTS])
def test_a_key_in_each_layout(before: str, path: Path) -> None:
    text = after_set(path, before, "alice", github="x", grants={"y": ["INSERT"]})
    entry = tomllib.loads(text)["people"]["alice"]
    assert (entry["github"], entry["grants"]) == ("x", {"y": ["INSERT"]})
    assert after_set(path, text, "alice", github="x") == text
    gone = tomllib.loads(after_set(path, text, "alice", github=None, grants=None))
    assert not {"github", "grants"} & gone.get("people", {}).get("alice", {}).keys()


@pytest.mark.parametrize(
    ("before", "name", "role"),
    [
        ('people = { alice = { role = "x" } }\n', "zoe", "r"),
        ('people.alice.role = "x"\n', "alice", None),  # it would be gone altogether
    ],
)
def test_what_cannot_be_said_in_a_layout(
    before: str, name: str, role: str | None, path: Path
) -> None:
    with pytest.raises(MapadminError) as caught:
        after_set(path, before, name, role=role)
    assert str(caught.value) == (
        f"[people.{name}] cannot be changed in {path} without disturbing the rest of it. Write "
        "each entry under a header of its own, or make this change by hand."
    )
    assert path.read_text() == before


# --- the file ----------------------------------------------------------------------------------


def test_is_made_when_it_is_not_there(path: Path) -> None:
    remove_entry(path, "people", "alice")
    assert not path.exists()
    set_entry(path, "services", "worker", {"role": "worker"})
    assert path.read_text() == '[services.worker]\nrole = "worker"\n'
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_keeps_its_mode(mode: int, path: Path) -> None:
    path.write_text(FILE)
    path.chmod(mode)
    set_entry(path, "people", "alice", {"role": "x"})
    assert path.stat().st_mode & 0o777 == mode


def test_is_not_written_when_nothing_changes(path: Path) -> None:
    path.write_text(FILE)
    before = path.stat()
    set_entry(path, "people", "bob", {"role": "reader", "email": None})
    remove_entry(path, "people", "zoe")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"x = = 1\n", "is not valid TOML: Invalid value (at line 1, column 5)."),
        (b"# \xff\n", "is not UTF-8 text."),
    ],
)
def test_cannot_be_edited(content: bytes, said: str, path: Path) -> None:
    path.write_bytes(content)
    with pytest.raises(MapadminError) as caught:
        set_entry(path, "people", "alice", {"role": "x"})
    assert str(caught.value) == f"{path} {said}"
    assert path.read_bytes() == content


def test_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(MapadminError, match=f"Cannot read {tmp_path}: Is a directory"):
        set_entry(tmp_path, "people", "alice", {})


def test_text_that_is_no_unicode_changes_nothing(path: Path) -> None:
    path.write_text(FILE)
    with pytest.raises(MapadminError, match="not valid Unicode"):
        set_entry(path, "people", "alice", {"email": "\udcff"})
    assert path.read_text() == FILE


WRITER = """
    import sys
    from pathlib import Path
    from mapadmin.people_file import remove_entry, set_entry
    path = Path(sys.argv[1])
    print("ready", flush=True)
    while True:
        for number in range(5):
            set_entry(path, "people", f"p{number}", {"role": "reader", "email": "x" * 3000})
        for number in range(5):
            remove_entry(path, "people", f"p{number}")
"""


def test_killed_in_between_leaves_a_whole_file(path: Path) -> None:
    for _ in range(4):
        path.write_text(FILE)
        process = start_python(WRITER, path)
        assert read_line(process) == "ready"
        while path.read_text() == FILE:
            pass
        end(process)
        text = path.read_text()
        people = msgspec.convert(tomllib.loads(text), People)
        assert {"alice", "bob", "c.d"} <= set(people.people)
        assert {len(p.email) for name, p in people.people.items() if name[0] == "p"} <= {3000}
        assert text.startswith("# The people of the lab.")
        assert text.endswith("# the end\n")


# --- any value ---------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        "", " ", "'", '"', '"""', "'''", "\\", "\\u0041", "\n", "\r\n", "\t", "\0", "\x1f", "\x7f",
        "\x85", "\u2028", "\ufeff", "a.b", "[people.alice]", "# x", "=", "\U0001f511", "\U0010ffff",
        "{", "]", '"\n[people.bob]\nrole = "boss"\n#',
    ]
)  # fmt: skip
NAME = TEXT.filter(bool)
LISTS = st.lists(TEXT, max_size=3)
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "role": TEXT | st.none(),
        "email": TEXT | st.none(),
        "locked": st.booleans() | st.none(),
        "expires": st.dates() | st.none(),
        "hosts": LISTS | st.none(),
        "grants": st.dictionaries(NAME, LISTS, max_size=3) | st.none(),
    },
)
EDIT = st.tuples(
    st.sampled_from(["people", "services"]),
    NAME | st.sampled_from(["alice", "bob", "worker"]),
    VALUES | st.just("remove"),
)


def apply(data: dict[str, dict[str, dict[str, object]]], edit: tuple[str, str, object]) -> None:
    """What an edit means, on plain data."""
    section, name, values = edit
    if not isinstance(values, Mapping):
        data[section].pop(name, None)
        return
    entry = {**data[section].get(name, {}), **values}
    data[section][name] = {key: value for key, value in entry.items() if value is not None}


# Without the dotted keys, where an entry cannot be there with nothing in it.
STARTS = [FILE, *(before for before, _, _ in LAYOUTS if not before.startswith("people."))]


@settings(deadline=None, max_examples=80)
@given(start=st.sampled_from(STARTS), edits=st.lists(EDIT, min_size=1, max_size=4))
def test_what_was_set_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, start: str, edits: list[tuple[str, str, object]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "people.toml"
    path.write_bytes(start.encode())
    wanted = {"people": {}, "services": {}, **tomllib.loads(start)}
    for edit in edits:
        section, name, values = edit
        if isinstance(values, Mapping):
            set_entry(path, section, name, values)
        else:
            remove_entry(path, section, name)
        apply(wanted, edit)
        found = tomllib.loads(path.read_bytes().decode())
        assert {"people": {}, "services": {}, **found} == wanted
    people = msgspec.convert(found, People)
    assert set(people.people) == set(wanted["people"])
    if all(isinstance(values, Mapping) for _, _, values in edits):
        comments = [line for line in start.splitlines() if re.match('#[^"]*$', line)]
        assert set(comments) <= set(path.read_text().splitlines())
