"""Who may reach a collection: `permissions`, `grant`, `revoke`, and people.toml."""

from __future__ import annotations

import shlex
from datetime import UTC, date, datetime, timedelta

import pytest

from mapadmin.globus.access import Rule, Wanted, differences, expiration, last_day
from tests.globus.emulator import OTHER, RIG
from tests.globus.site import GlobusLab

ROLES = '[roles.reader]\n"map_*" = ["SELECT"]\n[roles.writer]\n"map_*" = ["ALL"]\n'


def test_grant_and_revoke_end_to_end(lab: GlobusLab) -> None:
    (lab.emulator.rig / "data" / "a").mkdir(parents=True)
    day = (datetime.now(UTC) + timedelta(days=9)).date()
    assert "Done: 1 step." in lab.ok("grant", "rig:a", "bob@example.org").err
    assert "Nothing to do." in lab.ok("grant", "rig:a", "bob@example.org").err
    # globus-cli sees the same, and the one who was let in gets in, there and nowhere else.
    assert (
        "bob@example.org | /data/a/" in lab.emulator.cli("endpoint", "permission", "list", RIG).out
    )
    lab.ok("grant", "rig:a", OTHER, "--until", str(day))
    assert lab.emulator.cli("ls", f"{RIG}:/data/a/", client=OTHER).code == 0
    assert lab.emulator.cli("ls", f"{RIG}:/data/", client=OTHER).code == 1
    assert lab.emulator.cli("mkdir", f"{RIG}:/data/a/new", client=OTHER).code == 1
    dry = lab.ok("grant", "rig:a", OTHER, "--write", "--dry-run", "--json").json
    assert [step["action"] for step in dry["steps"]] == ["change access"]
    lab.ok("grant", "rig:a", OTHER, "--write", "--until", str(day))
    assert lab.emulator.cli("mkdir", f"{RIG}:/data/a/new", client=OTHER).code == 0
    rows = lab.ok("permissions", "rig", "--json").json
    assert [(r["who"].partition("@")[0], r["permissions"], r["path"]) for r in rows] == [
        ("bob", "r", "/data/a/"), (OTHER, "rw", "/data/a/"),
    ]  # fmt: skip
    assert str(day) in lab.ok("permissions", "rig").out
    refused = lab.run("revoke", "rig:a", OTHER)
    assert refused.code == 2
    assert "--yes" in refused.err
    lab.ok("grant", "rig:a/new", OTHER)
    told = lab.ok("revoke", "rig:a/new", OTHER, "--yes").err
    assert "still reaches it through rig:/data/a/" in told
    lab.ok("revoke", "rig:a", OTHER, "--yes")
    assert lab.emulator.cli("ls", f"{RIG}:/data/a/", client=OTHER).code == 1
    assert "Nothing to do." in lab.ok("revoke", "rig:a", OTHER, "--yes").err


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("grant", "rig:gone", "bob@example.org"), 1, "there is no such thing"),
        (("grant", "rig:file", "bob@example.org"), 2, "is a file"),
        (("grant", "rig:", "nobody@example.org"), 1, "does not know"),
        (("grant", "rig:", "bob@example.org,alice@example.org"), 2, "name one at a time"),
        (("revoke", "rig:", "bob@example.org,alice@example.org"), 2, "name one at a time"),
        (("grant", "rig:", "carol"), 2, "does not say who carol is"),
        (("grant", "rig:", "bob@example.org", "--until", "2020-01-01"), 2, "is over"),
        (("grant", "rig:", "friends", "--group"), 2, "no group's id"),
        (("permissions", "archive"), 1, "this login may not do that"),
        (("permissions", "rig", "--check"), 2, "does not say who is to have access"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    lab: GlobusLab, args: tuple[str, ...], code: int, words: str
) -> None:
    (lab.emulator.rig / "data").mkdir()
    (lab.emulator.rig / "data" / "file").touch()
    lab.emulator.managers = []
    lab.emulator.write()
    lab.write("people.toml", '[people.carol]\nemail = "c@example.org"\n')
    ran = lab.run(*args)
    assert (ran.code, words in ran.err) == (code, True), ran.err


def test_the_difference_with_people_toml_and_how_to_mend_it(lab: GlobusLab) -> None:
    (lab.emulator.rig / "data").mkdir()
    lab.write_site('[globus.collections.shared]\nid = "' + RIG + '"\npath = "/data"\n'
                   'access = { reader = "r", writer = "rw" }\n' + ROLES)  # fmt: skip
    lab.write(
        "people.toml",
        """
[people.alice]
role = "writer"
globus = "alice@example.org"
expires = 2099-01-31
[people.bob]
role = "reader"
globus = "bob@example.org"
[people.gone]
role = "reader"
globus = "operator@example.org"
expires = 2020-01-01
""",
    )
    lab.ok("grant", "shared:", "alice")
    lab.ok("grant", "shared:", "operator@example.org")
    ran = lab.run("permissions", "shared", "--check", "--json")
    assert ran.code == 5
    assert {(d["kind"], d["who"].partition("@")[0]) for d in ran.json} == {
        ("differs", "alice"), ("missing", "bob"), ("nobody's", "operator"),
    }  # fmt: skip
    for difference in ran.json:
        _, _, *args = shlex.split(difference["command"])
        lab.ok(*args, *(["--yes"] if args[0] == "revoke" else []))
    assert "as people.toml says" in lab.ok("permissions", "shared", "--check").err


def test_whoever_may_do_more_than_people_toml_says_is_found(lab: GlobusLab) -> None:
    (lab.emulator.rig / "data" / "a b; touch x").mkdir(parents=True)
    lab.write_site('[globus.collections.shared]\nid = "' + RIG + '"\npath = "/data"\n'
                   'access = { reader = "r" }\n' + ROLES)  # fmt: skip
    lab.write("people.toml", '[people.alice]\nrole = "reader"\nglobus = "Alice@Example.org"\n')
    lab.ok("grant", "shared:", "alice@example.org")
    assert lab.run("permissions", "shared", "--check").code == 0  # spelt otherwise, and herself
    lab.ok("grant", "shared:/", "alice@example.org")
    lab.ok("grant", "shared:a b; touch x", "alice@example.org", "--write")
    group = "99999999-0000-4000-8000-000000000009"
    for path, *who in (
        ("/", "--anonymous"), ("/data/", "--all-authenticated"), ("/", "--group", group),
    ):  # fmt: skip
        made = lab.emulator.cli(
            "endpoint", "permission", "create", f"{RIG}:{path}", "--permissions", "rw", *who
        )
        assert made.code == 0, made.err
    ran = lab.run("permissions", "shared", "--check", "--json")
    assert ran.code == 5
    assert sorted((d["kind"], d["who"], d["path"]) for d in ran.json) == [
        ("more", "alice@example.org", "/"), ("more", "alice@example.org", "/data/a b; touch x/"),
        ("nobody's", group, "/"), ("nobody's", "everybody", "/"),
        ("nobody's", "everybody with a Globus login", "/data/"),
    ]  # fmt: skip
    for difference in ran.json:
        _, _, *args = shlex.split(difference["command"])
        lab.ok(*args, "--yes")
    assert lab.run("permissions", "shared", "--check").code == 0
    rows = lab.ok("permissions", "shared", "--json").json
    assert [(r["who"], r["path"]) for r in rows] == [("alice@example.org", "/data/")]


def rule(
    who: str, permissions: str = "r", until: str | None = None, path: str = "/d/",
    kind: str = "identity",
) -> Rule:  # fmt: skip
    return Rule("1", who, kind, path, permissions, until)


@pytest.mark.parametrize(
    ("rules", "want", "kinds"),
    [
        ([], {}, []),
        ([rule("a")], {"a": Wanted("A", "r", None)}, []),
        ([rule("a")], {"a": Wanted("A", "rw", None)}, ["differs"]),
        ([rule("a")], {"a": Wanted("A", "r", date(2030, 1, 1))}, ["differs"]),
        ([rule("a", until="2030-01-02T00:00:00+00:00")],
         {"a": Wanted("A", "r", date(2030, 1, 1))}, []),
        ([], {"a": Wanted("A", "r", None)}, ["missing"]),
        ([rule("a")], {}, ["nobody's"]),
        ([rule("a", path="/d/deep/")], {"a": Wanted("A", "r", None)}, ["missing"]),
        ([rule("a"), rule("a", path="/d/deep/")], {"A": Wanted("A", "rw", None)}, ["differs"]),
        ([rule("a"), rule("a", "rw", path="/d/deep/")], {"a": Wanted("A", "r", None)}, ["more"]),
        ([rule("a", until="2030-01-02T00:00:00+00:00"), rule("a", path="/d/deep/")],
         {"a": Wanted("A", "r", date(2030, 1, 1))}, ["more"]),
        ([rule("g", kind="group", path="/e/")], {}, ["nobody's"]),
        ([rule("everybody", kind="anonymous"), rule("a")], {"a": Wanted("A", "r", None)},
         ["nobody's"]),
    ],
)  # fmt: skip
def test_differences(rules: list[Rule], want: dict[str, Wanted], kinds: list[str]) -> None:
    assert [d.kind.value for d in differences(rules, want, "c:/d/", "/d/")] == kinds


def test_the_last_day_survives_the_round_trip() -> None:
    for day in (date(2026, 2, 28), date(2028, 2, 29), date(2026, 12, 31)):
        assert last_day(expiration(day)) == day
    assert last_day(None) is None
    assert last_day("2030-01-02T00:00:00Z") == date(2030, 1, 1)
