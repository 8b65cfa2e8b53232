"""Writes a schema into a compressed file with the dump program, and loads one with the client."""

from __future__ import annotations

import gzip
import io
import os
import re
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mapadmin.core.errors import MapadminError
from mapadmin.core.secret import Secret
from mapadmin.db.archives.dumpfile import Seen, for_scratch, with_rows
from mapadmin.db.archives.exact_rows import exact_rows
from mapadmin.db.archives.programs import Login, Programs, Running, running
from mapadmin.db.grants import Flavour
from mapadmin.db.server import LOCK_WAIT

if TYPE_CHECKING:
    from mapadmin.db.archives.scratch import Scratch
    from mapadmin.db.server import Server

_BEAT = 30.0  # seconds between two signs of life on mapadmin's own connection
_BUFFER = 1 << 20  # bytes
_PACKET = "--max-allowed-packet=1G"
_CHARSET = "--default-character-set=utf8mb4"
# No comments: the names of tables would be in them as they are, line breaks and all.
_DUMP = (
    "--single-transaction", "--routines", "--events", "--triggers", "--hex-blob",
    "--no-tablespaces", "--skip-comments", _CHARSET, _PACKET,
)  # fmt: skip
_DUMP_MYSQL = ("--set-gtid-purged=OFF", "--loose-column-statistics=0")
# Binary mode: whatever stands in the file, the client itself obeys nothing but DELIMITER. Without
# `--comments` it would take the comments out of routines.
CLIENT_OPTIONS = ("--binary-mode", "--comments")
_LOAD = ("--batch", *CLIENT_OPTIONS, _CHARSET, _PACKET)
_TOO_LARGE = (
    "A row with a large blob takes twice its size as text. Raise max_allowed_packet on the server "
    "(it is dynamic), then run this again."
)
_REMEDIES = {
    "1153": _TOO_LARGE,
    "2006": f"Either the server went away, or: {_TOO_LARGE}",
    "2013": f"Either the server went away, or: {_TOO_LARGE}",
    "1205": "Somebody holds a table that it refers to: see `mapadmin db processes`.",
    "1418": "Set log_bin_trust_function_creators = 1 on the server, then run this again.",
    "1419": "Set log_bin_trust_function_creators = 1 on the server, then run this again.",
}


class Dumping:
    """The two programs at work for one server."""

    def __init__(self, server: Server, programs: Programs, folder: Path, password: Secret) -> None:
        self._server = server
        self._programs = programs
        self._folder = folder
        self._password = password
        self._beaten = time.monotonic()

    @property
    def load_command(self) -> str:
        """The client program as a person calls it to load a dump."""
        return " ".join([self._programs.client.name, *CLIENT_OPTIONS])

    def dump(self, schema: str, path: Path) -> None:
        """Write a schema into a new compressed file (0600), and onto the disk.

        Raises MapadminError when the dump program fails, or the disk is full.
        """
        more = _DUMP_MYSQL if self._server.flavour is Flavour.MYSQL else ()
        arguments = [*_DUMP, *more, "--databases", schema]
        login = self._login(self._server.settings.user, self._password)
        with running(self._programs.dump, arguments, login) as program:
            lines = with_rows(self._lines(program), exact_rows(self._server, schema))
            with _explained(f"Cannot write {path}"):
                _write(path, lines)

    def load(self, path: Path, schema: str, scratch: Scratch) -> Seen:
        """Load a dump of `schema` into its scratch schema; what was not loaded with it.

        Raises MapadminError when the file is damaged or the client program fails.
        """
        arguments = [
            *_LOAD, f"--init-command=SET SESSION lock_wait_timeout = {LOCK_WAIT}",
            f"--database={scratch.name}",
        ]  # fmt: skip
        login = self._login(scratch.account.user, scratch.password)
        seen = Seen()
        with running(self._programs.client, arguments, login, feed=True) as program:
            with _explained(f"Cannot read {path}"), gzip.open(path) as lines:
                self._feed(program, for_scratch(lines, schema, scratch.name, seen))
            try:
                program.finish(self.beat)
            except MapadminError as error:
                code = re.search(r"ERROR (\d+)", error.message)
                raise MapadminError(
                    f"The dump of {schema} cannot be loaded: {error.message}",
                    remedy=_REMEDIES.get(code[1], "") if code else "",
                ) from None
        return seen

    def beat(self) -> None:
        """Show now and then that mapadmin's own connection is in use, and notice its loss."""
        if time.monotonic() - self._beaten > _BEAT:
            self._beaten = time.monotonic()
            self._server.query("DO 1")

    def _lines(self, program: Running) -> Iterator[bytes]:
        for line in program.pipe:
            self.beat()
            yield line
        program.finish(self.beat)

    def _feed(self, program: Running, lines: Iterable[bytes]) -> None:
        try:
            for line in lines:
                self.beat()
                program.pipe.write(line)
        except BrokenPipeError:
            return  # it has ended, and its exit code says why

    def _login(self, user: str, password: Secret) -> Login:
        return Login(self._server.settings, self._server.flavour, self._folder, user, password)


def _write(path: Path, lines: Iterable[bytes]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        with gzip.GzipFile(
            filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0
        ) as packed:
            buffer = io.BufferedWriter(cast("io.RawIOBase", packed), _BUFFER)
            buffer.writelines(lines)
            buffer.flush()
            buffer.detach()
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """What goes wrong with a file, as one sentence."""
    try:
        yield
    except (EOFError, zlib.error) as error:
        raise MapadminError(f"{what}: {error}.") from None
    except OSError as error:
        raise MapadminError(f"{what}: {error.strerror or error}.") from None
