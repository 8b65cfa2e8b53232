"""Whose a schema is; on hand-made grant tables."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mapadmin.db.grants import Account
from mapadmin.db.ownership import OwnerKind, Owners
from mapadmin.site import People, Person, Site, SiteFile
from tests.db.effective_tables import MYSQL, account, tables


def owners(lower_case: int = 0) -> Owners:
    settings = {
        "site": {"name": "lab"},
        "database": {"host": "h", "password": "env:X", "project_prefix": "map"},
    }
    people = People(
        people={"alice": Person(), "al": Person(), "guest": Person(own_schemas=False)},
        services={"worker": Person(), "keeper": Person(own_schemas=True)},
    )
    held = {r"bob\_%": "SELECT"}, {"dora_%": "SELECT"}, {r"other\_%": "SELECT"}
    state = tables(
        MYSQL,
        account(Account("bob"), held[0]),
        account(Account("dora"), held[1]),
        account(Account("eve"), held[2]),
        lower_case_table_names=lower_case,
    )
    return Owners(Site(Path("site"), msgspec.convert(settings, SiteFile), people), state)


@pytest.mark.parametrize(
    ("schema", "kind", "name"),
    [
        ("alice_own", "user", "alice"),
        ("al_own", "user", "al"),
        ("al_ice_x", "user", "al"),
        ("alice", "nobody", ""),
        ("guest_x", "nobody", ""),
        ("worker_x", "nobody", ""),
        ("keeper_x", "user", "keeper"),
        ("bob_x", "user", "bob"),  # not in people.toml, but holds the grant
        ("dora_x", "user", "dora"),  # the same as people write it
        ("eve_x", "nobody", ""),
        ("map", "project", ""),
        ("map_lab", "project", ""),
        ("mapper", "nobody", ""),
        ("mapadmin", "mapadmin", ""),
        ("mysql", "system", ""),
        ("SYS", "system", ""),
        ("Alice_x", "nobody", ""),
    ],
)
def test_whose_a_schema_is(schema: str, kind: str, name: str) -> None:
    owner = owners().owner(schema)
    assert (owner.kind, owner.name) == (OwnerKind(kind), name)


def test_where_names_are_folded_case_does_not_matter() -> None:
    assert owners(1).owner("Alice_x").name == "alice"


def test_schemas_by_user() -> None:
    assert owners().schemas_by_user(["map_x", "bob_2", "bob_1", "al_x", "none"]) == {
        "al": ["al_x"],
        "bob": ["bob_1", "bob_2"],
    }
