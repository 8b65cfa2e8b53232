"""The sandbox's database server, with mapadmin's own account on it."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mapadmin.core.errors import UsageError
from mapadmin.core.files import write_atomic
from mapadmin.core.secret import Secret
from mapadmin.sandbox.master import make_master
from mapadmin.sandbox.parts import PartState, PartStatus, Work
from mapadmin.sandbox.programs import TITLES, find_programs
from mapadmin.sandbox.server import PrivateServer

if TYPE_CHECKING:
    from mapadmin.sandbox.processes import Process

USER = "mapadmin"
PASSWORD = "database-password"  # noqa: S105  its file in the site's secrets/

# A power cut may lose what was done here last, which makes it faster; being killed loses nothing.
_OPTIONS = (
    "--innodb-flush-method=nosync",
    "--innodb-flush-log-at-trx-commit=2",
    "--sync-binlog=0",
)


class DatabasePart:
    """A private MySQL or MariaDB in a folder of its own."""

    name = "database"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = PrivateServer(folder, options=_OPTIONS)

    @property
    def root_options(self) -> Path:
        """An option file (0600) with which the server's own client logs in as root."""
        return self.folder / "root.cnf"

    def choose(self, flavour: str | None) -> None:
        """Settle which programs `up` uses. Raises MapadminError when there are none to be had."""
        found = PrivateServer(self.folder).created_flavour()  # once: it may be deleted just now
        if found is not None and flavour not in (None, found):
            raise UsageError(
                f"{self.folder} holds a {TITLES[found]} server already.",
                remedy="Give another DIR, or remove this one: mapadmin sandbox down DIR --delete",
            )
        self.server = PrivateServer(self.folder, find_programs(found or flavour), options=_OPTIONS)

    def up(self, work: Work) -> bool:
        """Make and start the server, and mapadmin's account on it."""
        server = self.server
        running = server.running()
        if not server.exists():
            work.say(f"Making a {self._title()} server.")
            server.create()
        if not running:
            work.say(f"Starting the {self._title()} server.")
        server.start()  # it may be starting still, or stopping
        changed = work.site.contribute(
            "database",
            {
                "host": server.host,
                "port": server.port,
                "dump_program": str(server.programs.dump),
                "client_program": str(server.programs.client),
            },
        )
        changed |= self._write_root_options()
        changed |= self._ensure_account(work.site.secret(PASSWORD))
        return changed or not running

    def down(self) -> bool:
        """Stop the server."""
        return self.server.stop()

    def status(self) -> PartStatus:
        """Where it runs, since when, and what its data takes."""
        server = self.server
        if not server.exists():
            return PartStatus(self.name, PartState.MISSING)
        process = server.process()
        state = PartState.RUNNING if process else PartState.STOPPED
        size = disk_usage(self.folder)
        title = TITLES[server.flavour]
        if process is None:
            return PartStatus(self.name, state, title, size=size)
        return PartStatus(
            self.name, state, self._title(), server.host, process.port, process.pid,
            started_at_utc(process), size,
        )  # fmt: skip

    def _title(self) -> str:
        programs = self.server.programs
        number = re.match(r"[\d.]+", programs.version)
        return f"{TITLES[programs.flavour]} {number[0] if number else programs.version}"

    def _ensure_account(self, password: Secret) -> bool:
        from pymysql.err import OperationalError

        try:
            self.server.connect(USER, password.reveal()).close()
        except OperationalError:
            with self.server.connect() as root:
                make_master(root, self.server.flavour, USER, password)
            return True
        return False

    def _write_root_options(self) -> bool:
        server = self.server
        verify = (
            "ssl-mode=VERIFY_IDENTITY" if server.flavour == "mysql" else "ssl-verify-server-cert"
        )
        lines = [
            f"# Log in as root: {server.programs.client.name} --defaults-file={self.root_options}",
            "[client]",
            "user=root",
            f"password={server.root_password}",
            f"host={server.host}",
            f"port={server.port}",
            "protocol=tcp",
            f"ssl-ca={_quoted(server.ca)}",
            verify,
        ]
        text = "\n".join(lines) + "\n"
        if self.root_options.is_file() and self.root_options.read_text() == text:
            return False
        write_atomic(self.root_options, text, mode=0o600)
        return True


def _quoted(path: Path) -> str:
    """As a value in an option file, where backslashes begin escapes."""
    return '"' + str(path).replace("\\", "\\\\").replace("\n", "\\n") + '"'


def disk_usage(folder: Path) -> int:
    """Bytes that a folder takes on disk, with all below it; files that vanish meanwhile count 0."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(where, name).lstat().st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def started_at_utc(process: Process) -> str | None:
    """When the kernel says it started, in UTC."""
    boot = re.search(r"^btime (\d+)$", Path("/proc/stat").read_text(), re.MULTILINE)
    if boot is None:
        return None
    seconds = int(boot[1]) + process.started / os.sysconf("SC_CLK_TCK")
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
