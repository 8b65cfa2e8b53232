"""What remains of partial revokes (MySQL) when roles are active.

A restriction takes a privilege that is held globally away on one schema. With roles the server
merges the holders one after the other: a privilege that one of them holds without the restriction
lifts it, and so does a grant on exactly that schema. The steps follow
`DB_restrictions_aggregator::aggregate_restrictions` of MySQL 8.0 to 9.x.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from mapadmin.db.grants import Privileges

_NONE: Privileges = frozenset()
BySchema = dict[str, Privileges]


class Holding(msgspec.Struct, frozen=True):
    """What one account or role holds: `schemas` only those named without wildcard characters."""

    everywhere: Privileges
    restrictions: Mapping[str, Privileges]
    schemas: Mapping[str, Privileges]


def aggregate(holdings: Iterable[Holding]) -> tuple[BySchema, BySchema]:
    """Restrictions and schema privileges of a session that unites several holders, in order."""
    everywhere = _NONE
    restricted: BySchema = {}
    schemas: BySchema = {}
    for holding in holdings:
        for schema, privileges in holding.schemas.items():
            schemas[schema] = schemas.get(schema, _NONE) | privileges
        if restricted:
            restricted, schemas = _lifted(restricted, schemas)
        if restricted or holding.restrictions:
            restricted = _merged(restricted, everywhere, holding, schemas)
        everywhere |= holding.everywhere
    return restricted, schemas


def _lifted(restricted: BySchema, schemas: BySchema) -> tuple[BySchema, BySchema]:
    """A grant on the schema itself cancels a restriction, and is used up by that."""
    kept = {name: lost - schemas.get(name, _NONE) for name, lost in restricted.items()}
    rest = {name: have - restricted.get(name, _NONE) for name, have in schemas.items()}
    return kept, {name: have for name, have in rest.items() if have}


def _merged(
    restricted: BySchema, everywhere: Privileges, new: Holding, schemas: BySchema
) -> BySchema:
    if not new.restrictions:
        return _not_empty({name: lost - new.everywhere for name, lost in restricted.items()})
    if new.everywhere <= everywhere and not restricted:
        return {}
    merged: BySchema = {}
    remaining = dict(restricted)
    for name, lost in new.restrictions.items():
        if name in remaining:
            both = lost & everywhere & remaining[name] & new.everywhere
            merged[name] = ((lost & new.everywhere) - everywhere) | both
        else:
            merged[name] = (lost & new.everywhere) - schemas.get(name, _NONE) - everywhere
    for name, lost in remaining.items():
        merged[name] = merged.get(name, _NONE) | (lost - new.everywhere)
    return _not_empty(merged)


def _not_empty(by_schema: BySchema) -> BySchema:
    return {name: privileges for name, privileges in by_schema.items() if privileges}
