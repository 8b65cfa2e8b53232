"""Reads the publication tables: what the pipeline says is archived.

Names of schemas, tables and columns are settings. Nothing is written, and DataJoint is not used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from mapadmin.core.errors import SettingsError

if TYPE_CHECKING:
    from mapadmin.admin import Queries
    from mapadmin.site import ArchiveSettings


class Catalog:
    """The tables that `settings` name, of the project whose schemas start with `prefix`."""

    def __init__(self, server: Queries, settings: ArchiveSettings, prefix: str) -> None:
        self._server = server
        self._is = settings
        self.schema = settings.schema or f"{prefix}_publication"
        schema, dot, table = (settings.ephys or f"{prefix}_ephys.probe_insertion").partition(".")
        if not dot:
            raise SettingsError(
                f"globus.archive.ephys must be schema.table, not {settings.ephys!r}."
            )
        self._ephys = (schema, table)

    def check(self) -> None:
        """Raises SettingsError for a table or column that the database does not have."""
        one = self._is
        pair = [one.alias_column, one.name_column]
        wanted = [
            ("locations", self.schema, one.locations,
             [one.alias_column, one.endpoint_column, one.path_column]),
            ("data_sets", self.schema, one.data_sets, pair),
            ("files", self.schema, one.files, [*pair, one.subpath_column]),
            *(("archived", self.schema, table, [*one.session_columns, *pair])
              for table in one.archived),
            ("ephys", *self._ephys, one.session_columns),
        ]  # fmt: skip
        for setting, schema, table, columns in wanted:
            rows = self._server.query(
                "SELECT COLUMN_NAME FROM information_schema.COLUMNS "
                "WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
                [schema, table],
            )
            if not rows:
                raise SettingsError(
                    f"The database has no table `{schema}`.`{table}`, or it may not be read.",
                    remedy=f"Check globus.archive.{setting} and globus.archive.schema.",
                )
            if missing := [name for name in columns if (name,) not in rows]:
                raise SettingsError(
                    f"The table `{schema}`.`{table}` has no column {missing[0]!r}.",
                    remedy="Check the columns' names in [globus.archive].",
                )

    def locations(self) -> list[tuple[str, str, str]]:
        """Alias, collection and path of each storage location."""
        one = self._is
        return [
            (str(alias), str(endpoint), str(path))
            for alias, endpoint, path in self._rows(
                [one.alias_column, one.endpoint_column, one.path_column], one.locations
            )
        ]

    def data_sets(self) -> Iterator[tuple[str, str]]:
        """Alias and name of each data set."""
        one = self._is
        for alias, name in self._rows([one.alias_column, one.name_column], one.data_sets):
            yield str(alias), str(name)

    def files(self) -> Iterator[tuple[str, str, str]]:
        """Alias, data set and path of each file; as they come, for there may be a million."""
        one = self._is
        columns = [one.alias_column, one.name_column, one.subpath_column]
        for alias, name, subpath in self._rows(columns, one.files):
            yield str(alias), str(name), str(subpath)

    def claims(self) -> Iterator[tuple[str, str, str]]:
        """Session, alias and data set of everything that is called archived."""
        one = self._is
        columns = [*one.session_columns, one.alias_column, one.name_column]
        for table in one.archived:
            for *session, alias, name in self._rows(columns, table):
                yield _session(session), str(alias), str(name)

    def sessions_without_archive(self) -> Iterator[str]:
        """Sessions that have ephys and are not in the table of archived ephys."""
        if not self._is.archived:
            return
        columns = ", ".join(f"e.{_quoted(name)}" for name in self._is.session_columns)
        same = " AND ".join(
            f"a.{_quoted(name)} = e.{_quoted(name)}" for name in self._is.session_columns
        )
        ephys, archived = _table(*self._ephys), _table(self.schema, self._is.archived[0])
        for row in self._server.stream(
            f"SELECT DISTINCT {columns} FROM {ephys} AS e WHERE NOT EXISTS"
            f" (SELECT 1 FROM {archived} AS a WHERE {same}) ORDER BY {columns}"
        ):
            yield _session(row)

    def _rows(self, columns: Iterable[str], table: str) -> Iterator[tuple[object, ...]]:
        names = ", ".join(_quoted(name) for name in columns)
        return self._server.stream(f"SELECT {names} FROM {_table(self.schema, table)}")


def _session(values: Iterable[object]) -> str:
    return " ".join(str(value) for value in values)


def _table(schema: str, table: str) -> str:
    return f"{_quoted(schema)}.{_quoted(table)}"


def _quoted(name: str) -> str:
    """An identifier; `stream` wants percent signs doubled."""
    return "`" + name.replace("`", "``").replace("%", "%%") + "`"
