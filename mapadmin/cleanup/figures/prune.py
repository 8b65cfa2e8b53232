"""Takes unused files away, in the one order that loses none: see `docs/architecture.md`.

For each batch: copies, where the store has no rename. BEGIN. The rows are locked, but those that
somebody else has locked, and so is using, are left out. The references are looked at again: nobody
can add one to a row that is locked. The rows are deleted, the foreign keys being the last guard.
The files go to the trash. COMMIT. Only then does a worker who makes the same file see that there is
no row, and upload it; see `restore` for those that upload without looking.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from mapadmin.cleanup.figures.backend import Failed, Fresh, Kept, Missing, Trouble, new_run
from mapadmin.cleanup.figures.restore import Watch
from mapadmin.cleanup.figures.scan import Unused, still_unused
from mapadmin.cleanup.figures.store import Store, select
from mapadmin.cleanup.parts import Item
from mapadmin.core.errors import MapadminError, UnreachableError
from mapadmin.core.interruption import held_back
from mapadmin.core.text import count, human_bytes
from mapadmin.db.server import StatementError
from mapadmin.pipeline.inventory import OwnTable
from mapadmin.pipeline.stores import is_unused
from mapadmin.pipeline.stores_layout import Tracked

if TYPE_CHECKING:
    from mapadmin.cleanup.parts import PartResult, Work
    from mapadmin.core.progress import Progress
    from mapadmin.db.server import Server

BATCH = 500  # files whose rows are locked together: well below a second, on a network as well
_REFERENCED = 1451
_BUSY = {1205, 1213}  # a lock that was not to be had, a deadlock: nothing was changed


class Pruner:
    """One run over one store. `before` is the moment of `scan.oldest_moment`."""

    def __init__(self, work: Work, store: Store, before: str, result: PartResult) -> None:
        self._work = work
        self._store = store
        self._server: Server = work.database.server
        self._before = before
        self._cutoff = time.time() - store.settings.grace_days * 86_400
        self._result = result
        self._bytes_left = store.settings.max_bytes or None
        self._too_big = 0  # files
        self._number = 0  # of the batch, in this run
        self.run = new_run(time.time(), store.name)
        self._watch = Watch(self._server, store, self.run, result)

    def prune(self, found: Sequence[Unused], progress: Progress) -> None:
        """Take the files that were found, if still nobody uses them, until time or a limit."""
        try:
            for unused in found:
                for hashes in unused.batches(BATCH):
                    if self._work.out_of_time or self._bytes_left == 0:
                        self._result.finished = False
                        break
                    self._batch(unused.table, hashes)
                    progress.advance(len(hashes))
        except BaseException:
            with suppress(MapadminError):
                self._watch.look()  # the next run looks again, and at everything
            raise
        self._watch.settle()
        note_too_big(self._store, self._too_big, self._result)

    # --- a batch --------------------------------------------------------------------------------

    def _batch(self, table: OwnTable, hashes: Sequence[bytes]) -> None:
        rows, staying = still_unused(
            self._server, self._store, table, hashes, self._before, self._result
        )
        rows = {key: row for key, row in rows.items() if self._within_bytes(row)}
        if not rows:
            return
        self._number += 1
        backend, store = self._store.backend, self._store
        backend.note(self.run, self._number, _lines(table, rows))
        sizes = {key: row.size for key, row in rows.items() if key not in staying}
        troubles = backend.prepare(self.run, sizes, self._cutoff)
        troubles |= dict.fromkeys(staying, Kept())
        size = sum(row.size for row in rows.values())
        item = Item(
            action="remove unused files", target=str(table), count=len(rows), bytes=size,
            detail=f"{count(len(rows), 'file')}, {human_bytes(size)}, to the trash {self.run} of "
            f"{store.name}", destroys=True,
        )  # fmt: skip
        with self._work.journalled([item]):
            taken = self._remove(table, rows, troubles)
        self._watch.taken([key for key in taken if key not in troubles])
        self._count(taken, troubles)
        backend.drop(self.run, [key for key in sizes if key not in taken])

    def _within_bytes(self, row: Tracked) -> bool:
        if self._bytes_left is None:
            return True
        if row.size > self._store.settings.max_bytes:  # never: so it keeps no other from going
            self._too_big += 1
            return False
        if row.size > self._bytes_left:
            self._bytes_left = 0
            self._result.finished = False
            return False
        self._bytes_left -= row.size
        return True

    def _unused(self, table: OwnTable) -> str:
        return is_unused(self._store.references(table), "t")

    # --- the transaction ------------------------------------------------------------------------

    def _remove(
        self, table: OwnTable, rows: Mapping[str, Tracked], troubles: dict[str, Trouble]
    ) -> dict[str, Tracked]:
        """Delete these rows and take their files; returns those that are gone.

        `troubles` gets what could not be taken. When the server refuses a batch, which it does as
        one, its halves are tried.
        """
        rows = {key: row for key, row in rows.items() if not isinstance(troubles.get(key), _LEFT)}
        if not rows:
            return {}
        try:
            return self._transaction(table, rows, troubles)
        except StatementError as error:
            if error.code in _BUSY:
                self._result.count("in_use", len(rows))
                return {}
            if error.code != _REFERENCED:
                raise
        if len(rows) == 1:
            troubles[next(iter(rows))] = Failed("a table that this account cannot see refers to it")
            return {}
        keys = list(rows)
        taken: dict[str, Tracked] = {}
        for half in (keys[: len(keys) // 2], keys[len(keys) // 2 :]):
            taken |= self._remove(table, {key: rows[key] for key in half}, troubles)
        return taken

    def _transaction(
        self, table: OwnTable, rows: Mapping[str, Tracked], troubles: dict[str, Trouble]
    ) -> dict[str, Tracked]:
        server, backend = self._server, self._store.backend
        with held_back():  # a transaction is over in a moment
            # Each statement sees what was committed before it, so the second look does not see
            # what was true before the rows were locked.
            server.query("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", [])
            server.query("START TRANSACTION", [])
            keys: list[str] = []
            try:
                rows = self._lock(table, rows)
                gone = [key for key in rows if isinstance(troubles.get(key), Missing)]
                todo = [key for key in rows if key not in troubles]
                server.query("SAVEPOINT mapadmin", [])
                self._delete(table, rows.values())
                keys = todo
                new = backend.take(self.run, keys, self._cutoff)
                gone += [key for key, trouble in new.items() if isinstance(trouble, Missing)]
                if gone and not self._is_there():
                    new |= {key: Failed("its file is not there") for key in gone}
                troubles |= new
                if left := {key for key in rows if isinstance(troubles.get(key), _LEFT)}:
                    server.query("ROLLBACK TO SAVEPOINT mapadmin", [])
                    rows = {key: row for key, row in rows.items() if key not in left}
                    self._delete(table, rows.values())
                server.query("COMMIT", [])
            except BaseException:
                # It is not known whether a COMMIT whose answer was lost took place. A file without
                # a row does no harm; a row without a file does.
                try:
                    self._give_back(keys)
                finally:
                    with suppress(MapadminError):
                        server.query("ROLLBACK", [])
                raise
        return dict(rows)

    def _give_back(self, keys: Iterable[str]) -> None:
        """Put files back as far as it goes: rows are locked meanwhile, so not for long.

        From a store that answers no more, the next run does it.
        """
        for key in keys:
            try:
                self._store.backend.give_back(self.run, key)
            except UnreachableError:
                return
            except MapadminError:
                continue

    def _lock(self, table: OwnTable, rows: Mapping[str, Tracked]) -> dict[str, Tracked]:
        """Those of the rows that are ours now, unchanged and unused."""
        hashes = [row.hash for row in rows.values()]
        # An uncommitted row that refers to one of these holds a lock on it.
        locked = {row.hash: row for row in select(
            self._server, table, hashes, more="FOR UPDATE SKIP LOCKED"
        )}  # fmt: skip
        unused = {
            row.hash for row in select(
                self._server, table, list(locked), more=f"AND {self._unused(table)}"
            )
        }  # fmt: skip
        mine = {
            key: row for key, row in rows.items()
            if row.hash in unused and locked[row.hash] == row
        }  # fmt: skip
        self._result.count("in_use", len(rows) - len(mine))
        return mine

    def _delete(self, table: OwnTable, rows: Iterable[Tracked]) -> None:
        hashes = [row.hash for row in rows]
        if hashes:
            places = ", ".join(["%s"] * len(hashes))
            self._server.query(f"DELETE FROM {table.sql} WHERE `hash` IN ({places})", hashes)

    def _is_there(self) -> bool:
        """Whether the store is, so that a file that is not found is really gone."""
        try:
            self._store.prove_reachable(self._server)
        except UnreachableError:
            return False
        return True

    # --- counting -------------------------------------------------------------------------------

    def _count(self, taken: Mapping[str, Tracked], troubles: Mapping[str, Trouble]) -> None:
        self._result.items += len(taken)
        for key, row in taken.items():
            trouble = troubles.get(key)
            if isinstance(trouble, Missing):
                self._result.count("without_file")
            elif isinstance(trouble, Kept):
                self._result.count("file_kept")
            else:
                self._result.bytes += row.size
        for key, trouble in troubles.items():
            if isinstance(trouble, Fresh):
                self._result.count("fresh", 1)
            elif isinstance(trouble, Failed):
                self._result.failures.append(f"{self._store.backend.where}/{key}: {trouble.why}")


def note_too_big(store: Store, number: int, result: PartResult) -> None:
    """Tell of files that no run ever takes, being larger than all that one may take."""
    if number:
        result.finished = False
        result.notes.append(
            f"{store.name}: {count(number, 'file')} larger than max_bytes "
            f"({human_bytes(store.settings.max_bytes)}): left where they are"
        )


_LEFT = Fresh | Failed


def _lines(table: OwnTable, rows: Mapping[str, Tracked]) -> str:
    """Rows as they were, a JSON document each, with binary columns in hexadecimal."""
    return "".join(
        json.dumps({
            "table": str(table), "key": key,
            **{
                name: value.hex() if isinstance(value, bytes) else value
                for name, value in msgspec.structs.asdict(row).items()
            },
        }) + "\n"
        for key, row in rows.items()
    )  # fmt: skip
