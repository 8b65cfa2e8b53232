"""Commands that only look: accounts, roles, grants, schemas."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Annotated

import msgspec
import typer

from mapadmin.admin import Admin
from mapadmin.core.errors import UsageError
from mapadmin.core.report import Report
from mapadmin.core.text import human_bytes, one_line
from mapadmin.db.commands import _columns as columns
from mapadmin.db.commands._app import app
from mapadmin.db.database import Database, open_database
from mapadmin.db.grants import Account
from mapadmin.db.names import is_system
from mapadmin.db.overview import Overview, UserRow, grant_rows, role_rows
from mapadmin.db.processes import Session
from mapadmin.db.rights.reach import Reach, Reacher
from mapadmin.options import Json


@app.command("users")
def users(
    ctx: typer.Context,
    wide: Annotated[
        bool, typer.Option("--wide", help="More columns, for a wide terminal or a pipe.")
    ] = False,
    as_json: Json = False,
) -> None:
    """All accounts: role, state, own schemas and how they grow, last activity.

    The server's own accounts and native roles are left out. Sizes are remembered once a day, and
    the growth is the difference to the oldest of the last 30 days.
    """
    database = open_database(ctx.ensure_object(Admin))
    rows = Overview(database).users()
    shown = columns.users(rows, database.today, wide=wide)
    Report(as_json=as_json).rows(rows, shown, empty="There are no accounts.")


class UserDetail(msgspec.Struct, frozen=True):
    """One account of `show-user`.

    `roles_by_default` are the native roles that are active right after a login; `taken_away` are
    partial revokes (MySQL): privileges by schema, although they are held on `*.*`.
    """

    account: UserRow
    roles_by_default: tuple[str, ...]
    taken_away: dict[str, tuple[str, ...]]
    reaches: list[Reach]
    sessions: list[Session]


@app.command("show-user")
def show_user(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="User name.")],
    everything: Annotated[
        bool, typer.Option("--all", help="Each schema by itself, also those reached by `*.*` only.")
    ] = False,
    as_json: Json = False,
) -> None:
    """One user: state, everything they reach and why, open sessions, own schemas.

    What they reach is what the server would let them do right after a login. Each line says which
    grant it comes from: their own on that pattern, a role's, PUBLIC's, or another account's whose
    row the server finds for their sessions.
    """
    database = open_database(ctx.ensure_object(Admin))
    overview = Overview(database)
    rows = [row for row in overview.users() if row.user == name]
    if not rows:
        raise UsageError(
            f"There is no account of {name!r} on the server.",
            remedy="`mapadmin db users` lists the accounts.",
        )
    reacher = Reacher(database.tables)
    details = [_detail(database, overview, reacher, row, each=everything) for row in rows]
    report = Report(as_json=as_json)
    if as_json:
        report.document({"accounts": details, "schemas": overview.owned(name)})
        return
    for detail in details:
        for label, value in _facts(database, detail):
            report.text(f"{label:<12} {one_line(value)}")
        every = database.policy.every_privilege
        report.rows(detail.reaches, columns.reaches(every, who=False), empty="Reaches nothing.")
        if detail.sessions:
            report.print_table(detail.sessions, columns.sessions(), "Open sessions")
    if owned := overview.owned(name):
        report.print_table(owned, columns.schemas(owned, owner=False), "Own schemas")


def _detail(
    database: Database, overview: Overview, reacher: Reacher, row: UserRow, *, each: bool
) -> UserDetail:
    account = Account(row.user, row.host)
    state = database.tables.accounts[account]
    return UserDetail(
        account=row,
        roles_by_default=tuple(sorted(map(str, reacher.active_roles(account)))),
        taken_away={schema: tuple(sorted(p)) for schema, p in state.restrictions.items()},
        reaches=reacher.of_account(account, each=each),
        sessions=overview.sessions(account),
    )


def _facts(database: Database, detail: UserDetail) -> Iterator[tuple[str, str]]:
    """What there is to say about an account besides what it reaches."""
    row = detail.account
    yield "account", f"{row.user}@{row.host}"
    yield "role", (row.role or "-") + (" (service)" if row.service else "")
    yield "state", columns.state_of(row, database.today) or "in use"
    yield "TLS", "required" if row.tls_required else "not required"
    yield "activity", columns.activity(row) or "-"
    size = f", {human_bytes(row.bytes)}" if row.schemas else ""
    yield "own schemas", f"{row.schemas}{size}"
    for role in row.native_roles:
        active = role in detail.roles_by_default
        yield "native role", role if active else f"{role} (only after SET ROLE)"
    for schema, privileges in detail.taken_away.items():
        yield "taken away", f"{', '.join(privileges)} on {schema}"


@app.command("roles")
def roles(ctx: typer.Context, as_json: Json = False) -> None:
    """The site's roles and who has them; then the server's own roles, which are left alone."""
    database = open_database(ctx.ensure_object(Admin))
    Report(as_json=as_json).rows(
        role_rows(database),
        columns.roles(database.policy.every_privilege),
        empty="The site defines no roles, and the server has none.",
    )


@app.command("grants")
def grants(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="[NAME|PATTERN]", help="Only users like this (`*`, `?`).")
    ] = "",
    schema: Annotated[
        str | None, typer.Option(metavar="S", help="Who can reach this schema, and how.")
    ] = None,
    as_json: Json = False,
) -> None:
    """All grants as they are stored; or, with --schema, who can reach a schema and why.

    The server's own accounts are shown when they are named. Privileges that come with native roles
    are counted by --schema, and listed at the role otherwise.
    """
    database = open_database(ctx.ensure_object(Admin))
    every = database.policy.every_privilege
    report = Report(as_json=as_json)

    def wanted(user: str) -> bool:
        return fnmatchcase(user, name) if name else not is_system(user)

    if schema is None:
        rows = [row for row in grant_rows(database.tables) if wanted(row.user)]
        report.rows(rows, columns.grants(every), empty="There are no grants.")
        return
    if schema not in database.tables.schemas:
        report.say(f"Note: there is no schema {schema!r} now; this is who could reach it.")
    accounts = [
        account
        for account, state in sorted(database.tables.accounts.items())
        if not state.is_role and wanted(account.user)
    ]
    reached = Reacher(database.tables).of_schema(schema, accounts)
    report.rows(reached, columns.reaches(every, who=True), empty=f"Nobody reaches {schema!r}.")


@app.command("schemas")
def schemas(
    ctx: typer.Context,
    pattern: Annotated[
        str, typer.Argument(metavar="[GLOB]", help="Only schemas like this (`*`, `?`).")
    ] = "*",
    as_json: Json = False,
) -> None:
    """All schemas: owner, tables, size, growth, newest change (UTC).

    The owner is whose prefix a schema has. The server estimates sizes, and forgets the time of the
    last change of rows when it is restarted.
    """
    overview = Overview(open_database(ctx.ensure_object(Admin)))
    rows = [row for row in overview.schemas() if fnmatchcase(row.schema, pattern)]
    shown = columns.schemas(rows)
    Report(as_json=as_json).rows(rows, shown, empty="There are no such schemas.")
