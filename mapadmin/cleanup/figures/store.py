"""The stores of a site: which tables track files in each, and who else may track the same file."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import msgspec

from mapadmin.cleanup.figures.backend import Backend
from mapadmin.core.errors import SettingsError, UnreachableError
from mapadmin.pipeline.inventory import OwnTable
from mapadmin.pipeline.stores import NewerColumn, Reference
from mapadmin.pipeline.stores_layout import (
    COLUMNS,
    Tracked,
    filepath_key,
    hash_of,
    key_of,
    named_key,
    parse_key,
)
from mapadmin.site import StoreProtocol, StoreSettings

if TYPE_CHECKING:
    from mapadmin.db.server import Server
    from mapadmin.site import Site

AT_ONCE = 1000  # hashes in one query
_SAMPLE = 20
_PAGE = 20_000  # rows
SELECTED = ", ".join(
    f"CAST(t.`{name}` AS CHAR)" if name == "timestamp" else f"t.`{name}`" for name in COLUMNS
)


class Tracker(msgspec.Struct, frozen=True):
    """A row that tracks a certain file, and the table that it is in."""

    table: OwnTable
    row: Tracked


class _Wanted(msgspec.Struct, frozen=True):
    """A hash to look for, in the tables of one schema or (None) of all."""

    hash: bytes
    key: str
    inside: str
    """The key in the store of the table that is looked into."""
    schema: str | None


class Store:
    """One store of the site file: its files, and the project's tables that track them."""

    def __init__(
        self,
        name: str,
        site: Site,
        backend: Backend,
        everywhere: Sequence[OwnTable],
        tables: Sequence[OwnTable],
        references: Mapping[str, Sequence[Reference]],
        newer: Sequence[NewerColumn] = (),
        tidied: Iterable[OwnTable] = (),
    ) -> None:
        self.name = name
        self.settings: StoreSettings = site.settings.stores[name]
        self.backend = backend
        self.tables = tables
        """Those that are tidied: in the project's schemas, and as DataJoint makes them."""
        self.newer = newer
        """Columns of DataJoint 2.x that keep files here, too."""
        self._stores = site.settings.stores
        self._everywhere = everywhere
        self._schemas = {table.schema for table in everywhere}
        self._references = references
        self._odd: dict[str, Mapping[str, Sequence[Tracked]]] = {}  # by table
        self._tidied = {str(table) for table in (*tables, *tidied)}

    def is_tidied(self, table: OwnTable) -> bool:
        """Whether a table, of this or another store, is one that a cleanup deletes rows from."""
        return str(table) in self._tidied

    def references(self, table: OwnTable) -> Sequence[Reference]:
        """The columns in which a file of this table may be in use."""
        return self._references[str(table)]

    def key_of(self, table: OwnTable, row: Tracked) -> str | None:
        return key_of(row, table.schema, self.settings.subfolding)

    def trackers(
        self,
        server: Server,
        keys: Iterable[str],
        *,
        dirty: bool = False,
        but: OwnTable | None = None,
    ) -> dict[str, list[Tracker]]:
        """The rows, of whichever schema and store, that track these files; none: not in the answer.

        A row whose file is not certain tracks whatever its hash and its path may mean. With
        `dirty`, rows count that somebody has inserted and not committed yet. The table `but` is not
        asked, except for rows whose hash is not that of the file.
        """
        found: dict[str, list[Tracker]] = {}
        keys = list(keys)
        wanted: dict[str, list[_Wanted]] = {}  # by store
        for table in self._everywhere:
            if table.store not in wanted:
                wanted[table.store] = list(self._wanted(table, keys))
            for each in wanted[table.store]:
                for row in self._odd_rows(server, table).get(each.inside, ()):
                    _add(found, each.key, Tracker(table, row))
            if but is not None and str(table) == str(but):
                continue
            here = [each for each in wanted[table.store] if each.schema in (None, table.schema)]
            for key, tracker in self._by_hash(server, table, here, dirty=dirty):
                _add(found, key, tracker)
        return found

    def _by_hash(
        self, server: Server, table: OwnTable, wanted: Iterable[_Wanted], *, dirty: bool
    ) -> Iterator[tuple[str, Tracker]]:
        # Several files may have names of the same hash, such as a blob and what lies beside it.
        by_hash: dict[bytes, list[_Wanted]] = {}
        for each in wanted:
            by_hash.setdefault(each.hash, []).append(each)
        for row in select(server, table, list(by_hash), dirty=dirty):
            own = key_of(row, table.schema, self._folds(table))
            for each in by_hash[row.hash]:
                if own in (None, each.inside):
                    yield each.key, Tracker(table, row)

    def _odd_rows(self, server: Server, table: OwnTable) -> Mapping[str, Sequence[Tracked]]:
        """Rows that name a path which their hash is not of, by that path as a key of their store.

        Datajoint 0.11 left such rows, and a character set that could not hold a name. They are
        read once: no worker of today adds one.
        """
        if str(table) not in self._odd:
            odd: dict[str, list[Tracked]] = {}
            location = self._stores.get(table.store, self.settings).location
            for row in odd_rows(server, table):
                key = named_key(row.filepath or "", location)
                if key is not None and hash_of(key) != row.hash:
                    odd.setdefault(key, []).append(row)
            self._odd[str(table)] = odd
        return self._odd[str(table)]

    def _wanted(self, table: OwnTable, keys: Iterable[str]) -> Iterator[_Wanted]:
        """The hashes under which tables of this table's store would track files of this store.

        Two stores may lie in one another. Where the table's store is, if the site file does not
        tell, is taken to be here.
        """
        folds = self._folds(table)
        for key in keys:
            inside = self._seen_from(table, key)
            if inside is None:
                continue
            parsed = parse_key(inside, folds)
            if parsed is not None:
                yield _Wanted(parsed[1], key, inside, parsed[0])
            if parsed is None or parsed[0] not in self._schemas:
                yield _Wanted(hash_of(inside), key, inside, None)

    def _folds(self, table: OwnTable) -> Sequence[int]:
        return self._stores.get(table.store, self.settings).subfolding

    def _seen_from(self, table: OwnTable, key: str) -> str | None:
        """A key of this store as one of the table's store; None for a file that is not in that."""
        other = self._stores.get(table.store)
        if other is None or table.store == self.name:
            return key
        mine = self.settings
        if (mine.protocol, mine.bucket) != (other.protocol, other.bucket):
            return None
        full, root = PurePosixPath(_plain(mine), key), PurePosixPath(_plain(other))
        return str(full.relative_to(root)) if full.is_relative_to(root) else None

    def prove_reachable(self, server: Server) -> None:
        """Make sure that the store is there, by files that are known to be in it.

        A folder whose file system is not mounted looks like one from which all files have gone.
        Raises UnreachableError.
        """
        self.backend.check()
        keys = []
        for table in self.tables:
            rows = server.query(f"SELECT {SELECTED} FROM {table.sql} t LIMIT {_SAMPLE}", [])
            keys += [self.key_of(table, Tracked(*row)) for row in rows]
        known = [key for key in keys if key is not None]
        # All of them may be in the trash: of a run that was killed before it deleted the rows.
        files = self.backend
        if known and not (any(map(files.exists, known)) or any(map(files.has_taken, known))):
            raise UnreachableError(
                f"None of {len(known)} files that the store {self.name!r} tracks is in "
                f"{self.backend.where}: no row is deleted for a file that is not found.",
                remedy="Is the location the one of DataJoint's configuration, and mounted?",
            )


@cache
def _plain_path(protocol: StoreProtocol, location: str) -> str:
    if protocol is StoreProtocol.FILE:
        return os.path.realpath(location)
    return posixpath.normpath("/" + location.strip("/"))


def _plain(settings: StoreSettings) -> str:
    """A location in the one way to write it. Two endpoints may be names of one service."""
    return _plain_path(settings.protocol, settings.location)


def _add(found: dict[str, list[Tracker]], key: str, tracker: Tracker) -> None:
    trackers = found.setdefault(key, [])
    if tracker not in trackers:
        trackers.append(tracker)


def odd_rows(server: Server, table: OwnTable) -> Iterator[Tracked]:
    """The rows with a path that is not the one which their hash is of, or not written plainly.

    Hashed here: MD5 is no function of every MySQL any more.
    """
    last = b""
    while rows := server.query(
        f"SELECT `hash`, `filepath` FROM {table.sql} WHERE `hash` > %s AND `filepath` <> '' "
        f"ORDER BY `hash` LIMIT {_PAGE}",
        [last],
    ):
        last = rows[-1][0]
        odd = [
            digest for digest, path in rows
            if hash_of(path) != digest or filepath_key(path) != path
        ]  # fmt: skip
        yield from select(server, table, odd)


def select(
    server: Server, table: OwnTable, hashes: Sequence[bytes], *, dirty: bool = False, more: str = ""
) -> Iterator[Tracked]:
    """The rows of these hashes; `more` are further conditions or a locking clause."""
    for start in range(0, len(hashes), AT_ONCE):
        some = hashes[start : start + AT_ONCE]
        if dirty:
            server.query("SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED", [])
        places = ", ".join(["%s"] * len(some))
        sql = f"SELECT {SELECTED} FROM {table.sql} t WHERE t.`hash` IN ({places}) {more}"
        for row in server.query(sql, some):
            yield Tracked(*row)


def make_backend(name: str, site: Site) -> Backend:
    """The files of a store of the site file."""
    settings = site.settings.stores[name]
    trashes = [
        other.trash for other in site.settings.stores.values()
        if other.trash and (other.protocol, other.bucket) == (settings.protocol, settings.bucket)
    ]  # fmt: skip
    if settings.protocol is StoreProtocol.FILE:
        from mapadmin.cleanup.figures.folder import Folder

        return Folder(name, settings.location, settings.trash, trashes)
    from mapadmin.cleanup.figures.bucket import Bucket

    keys = None
    if settings.access_key:
        keys = (
            site.secret(settings.access_key, f"stores.{name}.access_key"),
            site.secret(settings.secret_key, f"stores.{name}.secret_key"),
        )
    return Bucket(name, settings, keys, trashes)


def open_stores(server: Server, site: Site, only: str | None = None) -> list[Store]:
    """The stores of the site file, with all that tracks files in them.

    `only` names one of them. Raises SettingsError when there is none, and MapadminError when
    tracking tables may be out of sight.
    """
    from mapadmin.pipeline.inventory import project_schemas, take_inventory
    from mapadmin.pipeline.stores import by_store, find_newer, find_references, refuse_hidden

    stores = site.settings.stores
    if not stores:
        raise SettingsError(
            "The site file describes no store.",
            remedy="Add [stores.<name>] with protocol and location, as DataJoint's configuration"
            " has them.",
        )
    everywhere = take_inventory(server, ["*"]).stores
    refuse_hidden(server, everywhere)
    tidied = by_store(
        table for table in take_inventory(server, project_schemas(site)).stores if not table.problem
    )
    references = find_references(server, everywhere)
    newer = find_newer(server)
    return [
        Store(
            name, site, make_backend(name, site), everywhere, tidied.get(name, ()), references,
            (*newer.get(name, ()), *newer.get("", ())),
            [table for other, group in tidied.items() if other in stores for table in group],
        )
        for name in sorted(stores)
        if only in (None, name)
    ]  # fmt: skip
