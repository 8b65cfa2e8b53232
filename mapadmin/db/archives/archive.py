"""Archives of schemas: dumped, verified by loading the dump, and only then dropped.

A run that is cut short leaves either no archive of a schema or a verified one. The next run keeps
a verified one if the schema still holds what is in it.
"""

from __future__ import annotations

import shlex
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mapadmin.core.errors import MapadminError, UsageError
from mapadmin.core.files import make_private_folder, sync_folder
from mapadmin.core.identity import whoami
from mapadmin.core.plan import Kind, Step
from mapadmin.core.report import Report
from mapadmin.core.text import human_bytes
from mapadmin.db.archives.contents import Contents, differences, read_contents
from mapadmin.db.archives.dumping import Dumping
from mapadmin.db.archives.manifest import Archived, Folder, TableFacts, sha256
from mapadmin.db.archives.programs import find_programs
from mapadmin.db.archives.scratch import clear, scratch
from mapadmin.db.statements import Sql, drop_schema

if TYPE_CHECKING:
    from mapadmin.db.database import Database

_SHOWN = 5  # differences in a message
_IDLE = 7 * 86400  # seconds that the server lets mapadmin's own connection rest meanwhile


class ArchiveSchema(Step, frozen=True, kw_only=True):
    """Dump a schema into the archive folder and verify the dump."""

    schema: str


class DropArchived(Step, frozen=True, kw_only=True):
    """Drop a schema whose archive holds all of it.

    `circular`: others that are dropped with it refer to it.
    """

    schema: str
    circular: bool = False


class Archive:
    """A folder of archives, and what it takes to make them.

    `reads` are schema patterns whose functions the views in them may call.
    """

    def __init__(self, database: Database, path: Path, reads: Sequence[str]) -> None:
        site = database.site
        self.folder = Folder(path)
        self._database = database
        self._reads = reads
        self._dumping = Dumping(
            database.server,
            find_programs(site.database, database.server.flavour, site.folder),
            site.folder,
            site.secret(site.database.password, "database.password"),
        )

    @property
    def kinds(self) -> dict[type[Step], Kind]:
        """The executors of the steps."""
        return {ArchiveSchema: Kind(self._archive_all), DropArchived: Kind(self._drop_all)}

    def check(self, schemas: Sequence[str]) -> None:
        """Refuse a folder that cannot take these archives. Raises MapadminError."""
        path = self.folder.path
        if path.exists():
            if not path.is_dir():
                raise UsageError(f"{path} is not a folder.")
            if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise UsageError(
                    f"{path} can be written by others, who could exchange an archive.",
                    remedy=f"Run: chmod go-w {path}",
                )
        for schema in schemas:
            if self.folder.read(schema) is None and self.folder.file(schema).exists():
                raise UsageError(
                    f"{self.folder.file(schema)} exists, and no manifest beside it knows it.",
                    remedy="Name another folder.",
                )

    # --- archiving ------------------------------------------------------------------------------

    def _archive_all(self, steps: Sequence[ArchiveSchema]) -> Iterator[None]:
        make_private_folder(self.folder.path)
        self._database.server.query("SET SESSION wait_timeout = %s", [_IDLE])
        for step in steps:
            self._archive(step.schema)
            yield

    def _archive(self, schema: str) -> None:
        server = self._database.server
        clear(self._database, schema)
        before = read_contents(server, schema)
        if self._is_archived(schema, before):
            Report().say(f"{schema}: the archive that is there holds all of it.")
            return
        file = self.folder.file(schema)
        part = file.with_name(f".{file.name}.part")
        try:
            self._dumping.dump(schema, part)
            after = read_contents(server, schema)
            if after.digest != before.digest:
                changed = _some(differences(before, after)) or "who defines what, or its events"
                raise MapadminError(
                    f"Somebody still writes to {schema}: {changed} changed while it was archived.",
                    remedy="See `mapadmin db processes`; then run this again.",
                )
            self._verify(schema, part, before)
            archived = self._describe(schema, part, before)
            # The manifest first: a file under its final name is always a verified one.
            self.folder.write(archived)
            part.replace(file)
            sync_folder(file.parent)
        except OSError as error:
            raise MapadminError(f"Cannot write {file}: {error.strerror}.") from None
        finally:
            part.unlink(missing_ok=True)
        Report().say(f"{schema}: archived and verified, {file} ({human_bytes(archived.bytes)}).")

    def _is_archived(self, schema: str, now: Contents) -> bool:
        """Whether an archive of exactly this is there. Raises MapadminError for another one."""
        archived = self.folder.read(schema)
        file = self.folder.file(schema)
        if archived is None or not file.exists():
            return False
        if not self.folder.is_whole(archived):
            raise MapadminError(
                f"{file} is not the file that was verified on {archived.made}.",
                remedy="Move it away, or name another folder.",
            )
        if archived.digest != now.digest:
            raise MapadminError(
                f"{file} is an archive of {schema} with other content, made on {archived.made}.",
                remedy="Move it away, or name another folder.",
            )
        return True

    def _verify(self, schema: str, part: Path, wanted: Contents) -> None:
        """Load a dump and compare the copy with the schema. Raises MapadminError."""
        with scratch(
            self._database, schema, wanted.charset, wanted.collation, self._reads
        ) as place:
            seen = self._dumping.load(part, schema, place)
            copy = read_contents(self._database.server, place.name, as_name=schema)
        wrong = differences(wanted, copy)
        if Counter(seen.definers) != Counter(wanted.definers):
            wrong.append("the definers")
        if seen.enabled_events != len(wanted.enabled):
            wrong.append("the events that are enabled")
        if wrong:
            raise MapadminError(
                f"The dump of {schema} does not give the same schema back: {_some(wrong)}.",
                remedy="Nothing was dropped. Archive this schema by hand, or keep it.",
            )

    def _describe(self, schema: str, part: Path, held: Contents) -> Archived:
        server = self._database.server
        me = whoami()
        file = self.folder.file(schema)
        return Archived(
            schema=schema, file=file.name, bytes=part.stat().st_size, sha256=sha256(part),
            made=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            who=me.who, on=me.host, server=f"{server.settings.host}:{server.settings.port}",
            version=server.version_text, charset=held.charset, collation=held.collation,
            counts=held.counts,
            tables={
                name: TableFacts(table.rows, table.checksum) for name, table in held.tables.items()
            },
            definers=list(held.definers), digest=held.digest,
            load=f"gunzip -c {shlex.quote(file.name)} | {self._dumping.load_command}",
        )  # fmt: skip

    # --- dropping -------------------------------------------------------------------------------

    def _drop_all(self, steps: Sequence[DropArchived]) -> Iterator[None]:
        for step in steps:
            self._drop(step)
            yield

    def _drop(self, step: DropArchived) -> None:
        server = self._database.server
        archived = self.folder.read(step.schema)
        if archived is None or not self.folder.is_whole(archived):
            raise MapadminError(
                f"The archive of {step.schema} is not in {self.folder.path} any more: it stays."
            )
        if read_contents(server, step.schema).digest != archived.digest:
            raise MapadminError(
                f"{step.schema} has changed since it was archived, and was not dropped.",
                remedy=f"Move {self.folder.file(step.schema)} away, then run this again.",
            )
        for sql in drops(step.schema, circular=step.circular):
            server.run(sql)


def drops(schema: str, *, circular: bool) -> tuple[Sql, ...]:
    """The statements that drop a schema; `circular` ones although others refer to it."""
    if not circular:
        return (drop_schema(schema),)
    switch = "SET SESSION foreign_key_checks = "
    return Sql(f"{switch}0"), drop_schema(schema), Sql(f"{switch}1")


def _some(differences: list[str]) -> str:
    more = f" and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
    return ", ".join(differences[:_SHOWN]) + more
