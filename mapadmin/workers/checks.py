"""The checks of what workers need, for `mapadmin workers check` and before `up`.

Each kind of workers has a container of its own that looks around, once for all of its checks; what
it found is judged here.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence

from mapadmin.admin import Admin
from mapadmin.core.checks import Check, Finding, State, fail, ok, run_checks, unknown, warn
from mapadmin.core.errors import MapadminError
from mapadmin.core.text import count
from mapadmin.workers.inside import SECONDS, Inside, look_inside
from mapadmin.workers.manager import Manager

# What DataJoint does in schemas that it fills, its own tables (which it makes when first needed)
# included; and what it does where it only looks up what they refer to.
FILLING = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "REFERENCES"})
READING = frozenset({"SELECT"})
_LEAST = (8, 0, 13)  # MySQL, for DataJoint 2.x


class Looking:
    """One look from inside, which the first check that asks takes for all."""

    def __init__(self, look: Callable[[], Inside]) -> None:
        self._look = look
        self._lock = threading.Lock()
        self._found: Inside | MapadminError | None = None

    def __call__(self) -> Inside:
        with self._lock:
            if self._found is None:
                try:
                    self._found = self._look()
                except MapadminError as error:
                    self._found = error
        if isinstance(self._found, MapadminError):
            raise self._found
        return self._found


def checks_of(admin: Admin, manager: Manager) -> list[Check]:
    """All checks, in the order in which they are shown. Raises when there is no such image."""
    from mapadmin.pipeline.inventory import like, project_schemas

    definition = manager.definition()
    if definition is None:
        return [Check("image", _not_built)]
    patterns = [like(pattern) for pattern in project_schemas(admin.site)]
    modules = list(admin.site.settings.pipeline.modules)
    checks: list[Check] = []
    for kind in sorted(manager.settings.kinds):

        def look(kind: str = kind) -> Inside:
            return look_inside(manager.docker, definition, kind, modules=modules, schemas=patterns)

        checks += _of_kind(admin, kind, Looking(look), manager.settings.account)
    return checks


def require_ready(admin: Admin, manager: Manager) -> None:
    """Raises MapadminError with all that would keep workers from their work."""
    results = run_checks(checks_of(admin, manager))
    failed = [one for one in results if one.state is State.FAIL]
    if failed:
        lines = "".join(f"\n  {one.name}: {one.detail}" for one in failed)
        raise MapadminError(
            f"Workers could not do their work:{lines}",
            remedy="`mapadmin workers check` says what to do about each.",
        )


def _not_built() -> Finding:
    return unknown("has not been built yet", "`mapadmin workers up` builds it, and checks it then")


def _of_kind(admin: Admin, kind: str, inside: Looking, account: str) -> list[Check]:
    def check(name: str, judge: Callable[[Inside], Finding]) -> Check:
        return Check(f"{kind}: {name}", lambda: judge(inside()), limit=SECONDS + 5)

    return [
        check("container", judge_container),
        check("datajoint", judge_datajoint),
        check("connection", lambda found: judge_connection(found, account)),
        check("privileges", lambda found: _judge_privileges(admin, found)),
        check("stores", judge_stores),
        check("modules", judge_modules),
    ]


# --- judgements: pure ----------------------------------------------------------------------------


def judge_container(found: Inside) -> Finding:
    missing = [f"{name} {problem}" for name, problem in found.scripts.items() if problem]
    if missing:
        return fail(
            "; ".join(missing), "Build the image with it, or mend the command in the site file."
        )
    return ok(f"Python {found.python}, {', '.join(found.scripts)}")


def judge_datajoint(found: Inside) -> Finding:
    """Whether the image's DataJoint suits the server, and the job tables that are there."""
    if found.no_datajoint:
        return fail(
            found.no_datajoint, "Install the pipeline's DataJoint into the image; or is [workers]"
            " python another one than the image's Python with DataJoint?",
        )  # fmt: skip
    new = int(found.datajoint.split(".")[0]) >= 2
    detail = f"DataJoint {found.datajoint}"
    if not found.server:
        return ok(detail)
    if new and not _suits(found.server):
        return fail(
            f"{detail} does not support the server's {found.server}",
            "It wants MySQL 8.0.13 or newer; DataJoint 0.14 supports MariaDB, too.",
        )
    other = [
        schema for schema, tables in sorted(found.tables.items())
        if (tables.jobs and not tables.jobs_2 if new else tables.jobs_2 and not tables.jobs)
    ]  # fmt: skip
    if other:
        return warn(
            f"{detail}; the job tables of {_named(other)} are of {'0.x' if new else '2.x'}",
            "Workers with another generation of DataJoint do not see the jobs of these.",
        )
    return ok(f"{detail} on {found.server}")


def _suits(server: str) -> bool:
    """Whether DataJoint 2.x supports a server of this version text."""
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", server)
    if "mariadb" in server.lower() or not numbers:
        return False
    return tuple(map(int, numbers.groups())) >= _LEAST


def judge_connection(found: Inside, account: str) -> Finding:
    if found.no_datajoint:
        return unknown("without DataJoint")
    if found.no_connection:
        return fail(
            found.no_connection,
            "Is the database reachable under this name from the workers' network, and does their "
            "password fit? [workers] datajoint may name another host, network another network.",
        )
    user = found.account.rpartition("@")[0]
    if user != account:
        return fail(
            f"the server takes {account} for {found.account}",
            "Give it an account of that name: `mapadmin db add-user`.",
        )
    return ok(f"as {found.account}")


def judge_privileges(found: Inside, held: Mapping[str, frozenset[str]]) -> Finding:
    """`held` are the privileges on each schema that is there."""
    missing: dict[str, list[str]] = {}
    for schema, mine in sorted(held.items()):
        tables = found.tables.get(schema)
        fills = tables is not None and (tables.computed or tables.jobs or tables.jobs_2)
        if lacking := sorted((FILLING if fills or tables is None else READING) - mine):
            missing.setdefault(", ".join(lacking), []).append(schema)
    if not missing:
        return ok(f"all that DataJoint needs, on {count(len(held), 'schema')}")
    return fail(
        "; ".join(f"lacks {what} on {_named(where)}" for what, where in missing.items()),
        "`mapadmin db set-role` gives its account a role that has them.",
    )


def judge_stores(found: Inside) -> Finding:
    if found.no_datajoint or found.no_connection:
        return unknown("without a connection")
    problems = [f"{name}: {problem}" for name, problem in found.stores.items() if problem]
    problems += [
        f"{name}: is used by the pipeline's tables, and not in the workers' configuration"
        for name in found.used_stores if name not in found.stores
    ]  # fmt: skip
    if problems:
        return fail(
            "; ".join(problems),
            "Stores are described in the file that [workers] datajoint names, folders mounted by "
            "[workers] volumes, switches set by [workers] environment.",
        )
    names = ", ".join(found.stores)
    return ok(f"{names}: a file could be written, and removed" if names else "none is used")


def judge_modules(found: Inside) -> Finding:
    if found.no_datajoint or found.no_connection:
        return unknown("without a connection")
    problems = [f"{name}: {problem}" for name, problem in found.modules.items() if problem]
    if problems:
        return fail("; ".join(problems), "Is the pipeline in the image, as [pipeline] modules say?")
    if not found.modules:
        return ok("the site file names none in [pipeline] modules")
    return ok(f"{', '.join(found.modules)} can be imported")


def _judge_privileges(admin: Admin, found: Inside) -> Finding:
    """By the server's own rules, from its grant tables, for the account that it takes ours for."""
    if not found.account:
        return unknown("without a connection")
    from mapadmin.db.database import open_database
    from mapadmin.db.grants import Account
    from mapadmin.db.rights.reach import Reacher
    from mapadmin.pipeline.inventory import project_schemas, schemas_like

    database = open_database(admin)
    user, _, host = found.account.rpartition("@")
    reacher = Reacher(database.tables)
    schemas = schemas_like(database.server, project_schemas(admin.site))
    held = {schema: reacher.on_schema(Account(user, host), schema) for schema in schemas}
    return judge_privileges(found, held)


def _named(schemas: Sequence[str]) -> str:
    """The first few."""
    more = f" and {len(schemas) - 3} more" if len(schemas) > 3 else ""
    return ", ".join(schemas[:3]) + more
