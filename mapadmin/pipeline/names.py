"""Tables by the names that people use for them: `UnitStat`, `map_ephys.UnitStat`, `__unit_stat`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

import msgspec

from mapadmin.core.errors import UsageError


class TableName(msgspec.Struct, frozen=True, order=True):
    """A table of the pipeline. `table` is as the server names it (`__unit_stat`), or without its
    leading underscores where only DataJoint 2.x's job table tells of it."""

    schema: str
    table: str

    @property
    def class_name(self) -> str:
        """As DataJoint's classes are called: `UnitStat`, `Report.Part`."""
        return ".".join(_camel(part) for part in self.table.lstrip("#_~").split("__") if part)

    def __str__(self) -> str:
        return f"{self.schema}.{self.class_name}"

    def fits(self, pattern: str) -> bool:
        """Whether a person means this table, by name, class or a pattern with `*`."""
        schema, _, table = pattern.partition(".")
        names = (self.table, self.table.lstrip("#_~"), self.class_name)
        if table and fnmatchcase(self.schema, schema) and _any_fits(names, table):
            return True
        return _any_fits(names, pattern)


def _any_fits(names: Iterable[str], pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in names)


def _camel(name: str) -> str:
    return re.sub(r"(?:^|_)([a-z0-9])", lambda m: m[1].upper(), name)


def choose(names: Iterable[TableName], pattern: str | None) -> set[TableName]:
    """The tables that a person means; all of them when nothing is said.

    Raises UsageError, with what is near, when there is none.
    """
    known = set(names)
    if pattern is None:
        return known
    if chosen := {name for name in known if name.fits(pattern)}:
        return chosen
    from difflib import get_close_matches

    words = [word for name in known for word in (name.class_name, str(name), name.table)]
    near = get_close_matches(pattern, words, n=1)
    raise UsageError(
        f"No job table knows a table {pattern!r}.",
        remedy=f"Did you mean {near[0]}?" if near else "`mapadmin workers jobs` lists them.",
    )
