"""An account that does not see everything removes nobody: what it misses would be lost."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mapadmin.core.errors import SettingsError
from mapadmin.db.grants import GLOBAL, Account, AccountState, Flavour, GrantTables
from mapadmin.db.sight import SHOWS, require_sight
from tests.db.leaving import PLAIN, accounts_of, manifest, plain, prepare
from tests.db.test_offboard import refused
from tests.lab import Lab

TRIGGER = "CREATE {definer} TRIGGER tr_1 BEFORE INSERT ON {on} FOR EACH ROW SET NEW.id = 1"


@contextmanager
def without(lab: Lab, privilege: str) -> Iterator[None]:
    """mapadmin's own account, less one privilege."""
    lab.server.sql(f"REVOKE {privilege} ON *.* FROM {lab.user}@'%'")
    try:
        yield
    finally:
        lab.server.sql(f"GRANT {privilege} ON *.* TO {lab.user}@'%' WITH GRANT OPTION")


@pytest.mark.parametrize("privilege", ["TRIGGER", "EVENT", "SHOW VIEW"])
def test_nobody_is_removed_by_who_does_not_see_what_is_lost(
    lab: Lab, privilege: str, tmp_path: Path
) -> None:
    plain(lab, prepare(lab))
    lab.server.sql(f"USE {PLAIN}", TRIGGER.format(definer="", on="t"))
    archives = ["--archive", str(tmp_path / "archives")]
    with without(lab, privilege):
        for options in ([], ["--drop-schemas"], archives):
            complaint = refused(lab, "alice", *options, code=3)
            assert f"lacks {privilege} on *.*" in complaint
            assert f"Grant it to {lab.user}@%" in complaint
        assert not (tmp_path / "archives").exists()
        (row,) = [
            row for row in lab.run("db", "check", "--json").json if row["name"] == "privileges"
        ]
        assert row["state"] == "warn"
        assert f"lacks {privilege} (to see" in row["detail"]
    lab.ok("db", "remove-user", "alice", *archives, "--yes")
    dump = tmp_path / "archives" / manifest(tmp_path / "archives")[PLAIN]["file"]
    assert b"tr_1" in gzip.decompress(dump.read_bytes())


def test_prune_does_not_miss_what_a_leaver_defines(lab: Lab) -> None:
    prepare(lab, people='[people.bob]\nrole = "reader"\n')
    lab.server.sql("USE map_lab", TRIGGER.format(definer="DEFINER = alice@'%'", on="session"))
    lab.write_people('[people.bob]\nrole = "reader"\n')
    with without(lab, "TRIGGER"):
        ran = lab.run("db", "apply", "--prune", "--force", "--yes")
        assert ran.code == 3
        assert "lacks TRIGGER" in ran.err
    assert accounts_of(lab.server) == ["%"]
    ran = lab.ok("db", "apply", "--prune", "--force", "--yes")
    assert "alice@% stays: it is the definer of trigger map_lab.tr_1" in ran.err


def test_a_privilege_taken_back_on_one_schema_counts() -> None:
    """MySQL's partial revokes."""
    own = Account("boss")
    state = AccountState(own, {GLOBAL: frozenset(SHOWS)})
    tables = GrantTables(
        Flavour.MYSQL, (8, 4, 1), {own: state}, schemas=frozenset({"map_lab", "mysql"}),
        partial_revokes=True, database_privileges=frozenset(SHOWS),
    )  # fmt: skip
    require_sight(tables, own)

    def restricted(schema: str) -> GrantTables:
        from msgspec.structs import replace

        less = replace(state, restrictions={schema: frozenset({"TRIGGER"})})
        return replace(tables, accounts={own: less})

    require_sight(restricted("mysql"), own)
    with pytest.raises(SettingsError, match="lacks TRIGGER on map_lab"):
        require_sight(restricted("map_lab"), own)
