"""From what accounts hold on the project to the roles of a site. Pure.

People who were given the same by hand, one after the other, had the same role in somebody's mind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from mapadmin.db.grants import GRANT_OPTION, Grants, Level, Privileges, Scope

_NOTHING: Privileges = frozenset()
_READS = frozenset(
    ("SELECT", "SHOW VIEW", "REFERENCES", "EXECUTE", "LOCK TABLES", "CREATE TEMPORARY TABLES",
     "SHOW CREATE ROUTINE")
)  # fmt: skip
_CHANGES_TABLES = frozenset(("CREATE", "DROP", "ALTER", GRANT_OPTION))
_FIRST = ("SELECT", "SHOW VIEW", "REFERENCES", "INSERT", "UPDATE", "DELETE")


class Holding(msgspec.Struct, frozen=True):
    """What one person or service holds beyond their own schemas.

    `shared` is the part on the project's schemas, `preferred` a role that somebody has named.
    """

    name: str
    service: bool
    grants: Grants
    shared: Grants
    preferred: str = ""


class Roles(msgspec.Struct):
    """`new` are the roles that are to be made, `of` says who has which, new or not."""

    new: dict[str, Grants] = msgspec.field(default_factory=dict)
    of: dict[str, str] = msgspec.field(default_factory=dict)


def infer(
    holdings: Sequence[Holding],
    known: Mapping[str, Grants],
    every_privilege: Privileges,
    project_prefix: str,
) -> Roles:
    """Who has which role; `known` are the site's own, with privileges added up.

    A known role is taken where it says exactly what is held on the project. What several hold
    alike is a role, and so is what one alone holds if there is a usual name for it. Whoever is
    left gets the largest role that gives nothing they do not have, or none.
    """
    roles = Roles()
    groups: dict[frozenset[tuple[Scope, Privileges]], list[Holding]] = {}
    for one in holdings:
        exact = {role: grants for role, grants in known.items() if is_within(one.shared, grants)}
        if role := _largest(exact, one):
            roles.of[one.name] = role
        elif one.shared:
            groups.setdefault(frozenset(one.shared.items()), []).append(one)
    alone: list[Holding] = []
    for members in sorted(groups.values(), key=lambda group: (-len(group), group[0].name)):
        usual = _usual_name(members, every_privilege, project_prefix)
        if len(members) == 1 and (not usual or usual in {**known, **roles.new}):
            alone += members
            continue
        role = _free_name(usual or "role", {**known, **roles.new})
        roles.new[role] = members[0].shared
        roles.of |= {one.name: role for one in members}
    for one in alone:
        if role := _largest({**known, **roles.new}, one):
            roles.of[one.name] = role
    return roles


def is_within(grants: Grants, other: Grants) -> bool:
    """Whether `other` gives all that `grants` give, scope by scope."""
    return all(held <= other.get(scope, _NOTHING) for scope, held in grants.items())


def beyond(grants: Grants, other: Grants) -> dict[Scope, Privileges]:
    """What `grants` give and `other` do not."""
    rest = {scope: held - other.get(scope, _NOTHING) for scope, held in grants.items()}
    return {scope: held for scope, held in rest.items() if held}


def privilege_names(scope: Scope, privileges: Privileges, every_privilege: Privileges) -> list[str]:
    """Privileges as a person would write them: ALL where it is, else the usual ones first."""
    if scope.level is Level.DATABASE and every_privilege and privileges >= every_privilege:
        return ["ALL", *sorted(privileges - every_privilege)]
    return [*filter(privileges.__contains__, _FIRST), *sorted(privileges.difference(_FIRST))]


def _largest(roles: Mapping[str, Grants], holding: Holding) -> str:
    """The role that gives most, among those that give nothing which is not held."""
    fitting = {
        role: sum(map(len, grants.values()))
        for role, grants in roles.items()
        if grants and is_within(grants, holding.grants)
    }
    if holding.preferred in fitting:
        return holding.preferred
    return max(sorted(fitting), key=fitting.__getitem__, default="")


def _usual_name(
    members: Iterable[Holding], every_privilege: Privileges, project_prefix: str
) -> str:
    """What somebody called it, or people call what gives this on the whole project, and only it."""
    first, *others = members
    if first.preferred and all(one.preferred == first.preferred for one in others):
        return first.preferred
    if len(first.shared) != 1:
        return ""
    ((scope, held),) = first.shared.items()
    if scope.schema.replace("\\", "") not in (f"{project_prefix}_%", f"{project_prefix}%"):
        return ""
    if every_privilege and held >= every_privilege:
        return "worker" if all(one.service for one in (first, *others)) else "full"
    if "SELECT" in held and held <= _READS:
        return "reader"
    return "experimenter" if {"SELECT", "INSERT"} <= held and not held & _CHANGES_TABLES else ""


def _free_name(base: str, taken: Iterable[str]) -> str:
    names = set(taken)
    if base != "role" and base not in names:
        return base
    number = 1 if base == "role" else 2
    while f"{base}-{number}" in names:
        number += 1
    return f"{base}-{number}"
