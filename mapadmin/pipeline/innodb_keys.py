"""Foreign keys as InnoDB itself lists them: all there are, whatever this account may see.

information_schema shows an account the keys of those tables only that it has privileges on. A key
that it does not show may still delete rows inside the server (ON DELETE CASCADE).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import msgspec

from mapadmin.core.errors import ExitCode, MapadminError
from mapadmin.db.grants import Flavour
from mapadmin.db.usage import schema_of_file
from mapadmin.pipeline.cascade import ForeignKey
from mapadmin.pipeline.names import TableName

if TYPE_CHECKING:
    from mapadmin.db.server import Server

_CHANGES_CHILD = 1 | 2  # of TYPE: ON DELETE CASCADE, ON DELETE SET NULL


class InnodbKey(msgspec.Struct, frozen=True):
    """`changes_child`: deleting a parent row deletes or changes the rows that refer to it."""

    child: TableName
    parent: TableName
    changes_child: bool


def innodb_keys(server: Server) -> list[InnodbKey]:
    """Every foreign key of the server. Raises MapadminError without PROCESS."""
    name = "INNODB_SYS_FOREIGN" if server.flavour is Flavour.MARIADB else "INNODB_FOREIGN"
    rows = server.query(f"SELECT FOR_NAME, REF_NAME, TYPE FROM information_schema.{name}")
    return [
        InnodbKey(_table(child), _table(parent), bool(int(kind) & _CHANGES_CHILD))
        for child, parent, kind in rows
    ]


def refuse_unsafe(
    every: Sequence[InnodbKey], seen: Sequence[ForeignKey], parents: Collection[TableName],
    ours: Collection[str],
) -> None:  # fmt: skip
    """Make sure that deleting rows of `parents` does nothing that was not counted.

    Raises MapadminError when a key that refers to one of them is out of sight (exit code 3), or
    when one of a table outside the schemas `ours` deletes or changes its rows by itself.
    """
    wanted = {_folded(table) for table in parents}
    concerned = [key for key in every if _folded(key.parent) in wanted]
    quiet = sorted({key.child for key in concerned if key.changes_child
                    and key.child.schema not in ours})  # fmt: skip
    if quiet:
        raise MapadminError(
            f"a foreign key of {_listed(quiet)}, outside the pipeline, is ON DELETE CASCADE or "
            "SET NULL: the server itself would delete or change rows there.",
            remedy="Nothing was deleted. Ask whoever owns the table to make the key RESTRICT.",
        )
    known = [key for key in seen if _folded(key.parent) in wanted]
    # By number: of a few alphabets, MariaDB has codes in file names which are not decoded here.
    if len(concerned) > len(known):
        children = {_folded(key.child) for key in known}
        hidden = sorted({key.child for key in concerned if _folded(key.child) not in children})
        raise MapadminError(
            "mapadmin's account cannot see every table that refers to what it would delete "
            f"({_listed(hidden)}): whose rows hang on it, nobody could tell.",
            remedy="Nothing was deleted. Grant it SELECT on *.*, as an RDS master user has it.",
            exit_code=ExitCode.SETTINGS,
        )


def _listed(tables: Sequence[TableName]) -> str:
    return ", ".join(f"{table.schema}.{table.table}" for table in tables[:3])


def _table(name: str) -> TableName:
    """Of `schema/table`, written as in the file system or as it is."""
    schema, _, table = name.partition("/")
    return TableName(schema_of_file(schema), schema_of_file(table))


def _folded(table: TableName) -> tuple[str, str]:
    """The server may fold names in one place and not in another."""
    return table.schema.lower(), table.table.lower()
