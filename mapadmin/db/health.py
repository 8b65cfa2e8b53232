"""The checks of the database server, for `mapadmin db check` and every wider look at the site.

All of them ask over one connection, which the first one opens: a driver's connection is not made
for several threads, and ten logins would say no more than one.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property

from mapadmin.admin import Admin
from mapadmin.core.checks import Check, Finding, fail, ok, unknown, warn
from mapadmin.core.errors import ExitCode, MapadminError, SettingsError
from mapadmin.db import verdicts
from mapadmin.db.database import Database, open_database
from mapadmin.db.processes import has_rds_procedures
from mapadmin.db.rights.reach import Reacher
from mapadmin.db.state import LAYOUT_VERSION
from mapadmin.db.verdicts import Rights, TlsState

_PATIENCE = 10.0  # seconds for an answer, once connected
_VARIABLES = """SHOW GLOBAL VARIABLES WHERE Variable_name IN
('read_only', 'super_read_only', 'innodb_read_only', 'partial_revokes', 'sql_mode')"""


class Facts:
    """What the checks ask for, each read once."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @property
    def server(self) -> str:
        settings = self.database.site.database
        return f"{settings.host}:{settings.port}"

    @cached_property
    def variables(self) -> dict[str, str]:
        return dict(self.database.server.query(_VARIABLES))

    @cached_property
    def rights(self) -> Rights:
        """What mapadmin's own account may do."""
        database = self.database
        if database.own not in database.tables.accounts:
            raise MapadminError(f"the grant tables do not name its account {database.own}.")
        reacher = Reacher(database.tables)
        schema = database.site.database.schema
        return Rights(
            account=str(database.own),
            everywhere=reacher.everywhere(database.own),
            grants=database.tables.accounts[database.own].grants,
            own_schema=reacher.on_schema(database.own, schema),
            rds_kill=has_rds_procedures(database.server),
        )

    @property
    def tls(self) -> TlsState:
        sock = self.database.server.tls_socket
        host = self.database.site.database.host
        if sock is None:
            return TlsState(host)
        context = sock.context
        verified = context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
        ends = (sock.getpeercert() or {}).get("notAfter")
        until = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(ends)), UTC) if ends else None
        return TlsState(host, str(sock.version()), verified, until and until.date())

    @property
    def clock_ahead(self) -> float:
        """Seconds by which the server's clock is ahead of this machine's."""
        begun = time.time()
        ((there,),) = self.database.server.query("SELECT UNIX_TIMESTAMP(NOW(6))")
        return float(there) - (begun + time.time()) / 2


class Probe:
    """One connection for all checks; `failure` is why there is none."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._lock = threading.Lock()
        self._facts: Facts | None = None
        self.failure: MapadminError | None = None

    def connection(self) -> Finding:
        """The check that the others depend on."""
        with self._lock:
            try:
                facts = self._connected()
            except MapadminError as error:
                return fail(error.message, error.remedy)
            return ok(f"{facts.server} as {facts.database.server.current_user}")

    def ask(self, judge: Callable[[Facts], Finding]) -> Callable[[], Finding]:
        """A check's function: it waits for its turn on the connection."""

        def run() -> Finding:
            with self._lock:
                try:
                    facts = self._connected()
                except MapadminError:
                    return unknown("there is no connection")
                try:
                    return judge(facts)
                except SettingsError as error:
                    return fail(error.message, error.remedy)

        return run

    def _connected(self) -> Facts:
        if self.failure is not None:
            raise self.failure
        if self._facts is None:
            try:
                self._facts = Facts(open_database(self._admin))
            except MapadminError as error:
                self.failure = error
                raise
        return self._facts


def database_checks(admin: Admin) -> list[Check]:
    """The checks of the site's database. Raises SettingsError when the site has none."""
    return checks_of(Probe(admin), admin)


def checks_of(probe: Probe, admin: Admin) -> list[Check]:
    """The same over a given connection; the first is the connection itself."""
    limit = admin.site.database.connect_timeout + _PATIENCE
    return [
        Check("connection", probe.connection, limit),
        *(Check(name, probe.ask(judge), limit) for name, judge in _JUDGES.items()),
    ]


def _privileges(facts: Facts) -> Finding:
    try:
        rights = facts.rights
    except MapadminError as error:
        if error.exit_code is not ExitCode.SETTINGS:
            raise
        return fail(error.message, f"Grant SELECT on mysql.* to {facts.database.own}.")
    return verdicts.privileges(rights)


def _roles(facts: Facts) -> Finding:
    database = facts.database
    wanted = {role: database.policy.role_grants(role) for role in database.site.settings.roles}
    known = database.tables.database_privileges
    return verdicts.roles(facts.rights, wanted, database.policy.every_privilege, known)


def _schema(facts: Facts) -> Finding:
    """mapadmin's own schema: what it manages, the shared journal."""
    database = facts.database
    name, state = database.site.database.schema, database.state
    try:
        steps = state.setup_steps()
    except MapadminError as error:  # made by a newer mapadmin
        return fail(error.message, error.remedy)
    if not state.exists:
        return ok(f"{name} is not there yet: the first change makes it")
    if steps:
        return warn(f"{name} is not complete", "The next change completes it.")
    return ok(f"{name}, layout {LAYOUT_VERSION}")


_JUDGES: dict[str, Callable[[Facts], Finding]] = {
    "TLS": lambda f: verdicts.tls(f.tls, datetime.now(UTC).date()),
    "server": lambda f: verdicts.version(f.database.server.flavour, f.database.server.version),
    "privileges": _privileges,
    "roles": _roles,
    "clock": lambda f: verdicts.clock(f.clock_ahead),
    "partial_revokes": lambda f: verdicts.partial_revokes(f.variables),
    "sql_mode": lambda f: verdicts.sql_mode(f.database.server.flavour, f.variables),
    "read_only": lambda f: verdicts.read_only(f.variables),
    "schema": _schema,
}
