"""`import`: accounts that exist already, into people.toml and mapadmin's care, as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Annotated

import typer

from mapadmin.admin import Admin, Mode
from mapadmin.core.errors import UsageError
from mapadmin.core.plan import Plan
from mapadmin.db.adopt import Adopter, Adoption
from mapadmin.db.commands._app import app
from mapadmin.db.database import Database, changing
from mapadmin.db.policy import Policy, Wanted
from mapadmin.db.site_entries import WRITE_ENTRIES, entry_steps, prove
from mapadmin.db.state import Managed, Stage
from mapadmin.db.statements import SqlStep
from mapadmin.options import DryRun, Json
from mapadmin.site import Site


@app.command("import")
def import_accounts(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(help="User names; default: all accounts.")
    ] = None,
    as_written: Annotated[
        bool,
        typer.Option(
            "--as-written",
            help="Also take over accounts that people.toml describes otherwise: `apply` then "
            "changes them.",
        ),
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Take over accounts that exist already.

    Writes people.toml and the roles that people seem to have, and remembers the accounts as
    managed. Nothing about the accounts themselves is changed, and `apply` right afterwards has
    nothing to do. What cannot be described exactly stays as it is, and is listed with the reason.
    """
    admin = ctx.ensure_object(Admin)
    mode = Mode(dry_run=dry_run, as_json=as_json)
    with changing(admin, mode) as database:
        adoption = look(database, names or (), as_written=as_written)
        steps = entry_steps(admin.site, adoption)
        exact = [one for one in adoption.marks if one.account not in adoption.as_written]

        def policy_of(site: Site) -> Policy:
            return Policy(site, database.tables, database.own, database.today)

        prove(admin.site, steps, exact, policy_of)
        marks = [_mark(database, one) for one in adoption.marks]
        plan = Plan((*steps, *marks), notes(adoption))
        database.perform(plan, mode, more_kinds=WRITE_ENTRIES)


def look(database: Database, names: Collection[str], *, as_written: bool = False) -> Adoption:
    """What can be taken over. Raises UsageError for a name that no account has."""
    existing = {account.user for account in database.tables.accounts}
    for name in names:
        if name not in existing:
            raise UsageError(
                f"There is no account of {name!r} on the server.",
                remedy="`mapadmin db users` lists the accounts.",
            )
    adopter = Adopter(
        database.site, database.tables, database.managed, database.own, database.today
    )
    return adopter.adopt(names, as_written=as_written)


def _mark(database: Database, wanted: Wanted) -> SqlStep:
    entry = Managed(wanted.account, Stage.MANAGED, wanted.role, wanted.service, wanted.expires)
    return SqlStep(
        action="record", target=str(wanted.account),
        detail=f"managed, role {wanted.role or 'none'}",
        statements=(database.state.mark(entry),),
    )  # fmt: skip


def notes(adoption: Adoption) -> tuple[str, ...]:
    """What was found, in sentences: who gets which role, and who is left alone and why."""
    out = []
    everybody = {**adoption.people, **adoption.services}
    if everybody:
        roles = Counter(person.role for person in everybody.values())
        shares = [f"{role or 'no role'}: {count}" for role, count in roles.most_common()]
        out.append(
            f"{len(adoption.people)} people and {len(adoption.services)} services "
            f"({', '.join(shares)})"
        )
    for account in adoption.as_written:
        out.append(f"{account} is not as people.toml says: `apply` will change it")
    by_reason: dict[str, list[str]] = {}
    for account, reason in sorted(adoption.left.items()):
        by_reason.setdefault(reason, []).append(str(account) if account.user else f"''{account}")
    out += [
        f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} left alone: {reason}"
        for reason, names in by_reason.items()
    ]
    return tuple(out)
