"""Commands that change one person's or service's account."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

import msgspec
import typer

from mapadmin.admin import Admin, Mode
from mapadmin.core.errors import UsageError
from mapadmin.core.plan import Plan
from mapadmin.db import statements
from mapadmin.db.commands._app import app
from mapadmin.db.commands._options import (
    DjConfig,
    DjVersion,
    PasswordFile,
    PasswordStdin,
    Prompt,
)
from mapadmin.db.database import changing
from mapadmin.db.diff import Changes
from mapadmin.db.ending import kept_access
from mapadmin.db.names import check_host, check_new_name
from mapadmin.db.passwords import DataJoint, Handover, read_password
from mapadmin.db.persons import (
    change_plan,
    create_or_change,
    edit_entry,
    find_person,
    known_person,
    managed_accounts,
    require_finished,
)
from mapadmin.db.policy import is_expired
from mapadmin.db.statements import SqlStep
from mapadmin.options import DryRun, Json
from mapadmin.site import Person, require_role


@app.command("add-user")
def add_user(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="User name; owns the schemas `NAME_*`.")],
    role: Annotated[str, typer.Option(help="A role of mapadmin.toml.")],
    host: Annotated[str, typer.Option(help="From where they log in.")] = "%",
    expires: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day of the account.")
    ] = None,
    email: Annotated[str, typer.Option(help="Kept in people.toml.")] = "",
    service: Annotated[
        bool, typer.Option("--service", help="A service: owns no schemas of its own.")
    ] = False,
    allow_underscore: Annotated[
        bool, typer.Option("--allow-underscore", help="Permit `_` in the name.")
    ] = False,
    adopt_schemas: Annotated[
        bool, typer.Option("--adopt-schemas", help="Schemas `NAME_*` exist and become theirs.")
    ] = False,
    password_stdin: PasswordStdin = False,
    prompt: Prompt = False,
    password_file: PasswordFile = None,
    dj_config: DjConfig = None,
    dj_version: DjVersion = DataJoint.V0,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Add a person or a service: account, own schemas, the role's grants, password.

    The account is made locked and is unlocked last, when its grants are there. If the command is
    cut short, the same command finishes the work, with a new password.
    """
    admin = ctx.ensure_object(Admin)
    mode = Mode(dry_run=dry_run, as_json=as_json)
    require_role(admin.site, role)
    host = check_host(host)
    handover = Handover(password_file, dj_config, dj_version, given=password_stdin or prompt)
    handover.check(as_json=as_json)
    asked = Person(
        role=role, email=email, expires=expires.date() if expires else None, hosts=[host]
    )
    with changing(admin, mode) as database:
        require_role(admin.site, role)  # again: it may have been changed meanwhile
        known = known_person(database, name, asked, service=service)
        if known is None:
            check_new_name(
                name, admin.site, database.tables, database.own, service=service,
                allow_underscore=allow_underscore, adopt_schemas=adopt_schemas,
            )  # fmt: skip
        person = known or asked
        (wanted,) = database.policy.wanted(
            name, msgspec.structs.replace(person, hosts=[host]), service=service
        )
        handover.check_files(database.unfinished([wanted]), admin.site.database)
        password = read_password(from_stdin=password_stdin, prompt=prompt)
        changes = Changes()
        edit = edit_entry(database, name, person, service=service, changes=changes)
        create_or_change(database, wanted, changes, password)
        database.perform(
            changes.plan(*edit), mode, after=database.hand_over(handover, [wanted], changes)
        )


@app.command("set-role")
def set_role(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="User name.")],
    role: Annotated[str, typer.Argument(help="A role of mapadmin.toml.")],
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Give a person or service another role, which open sessions have at once.

    But in its default schema a session keeps the access that it had until it ends: such sessions
    are named. What both roles allow is never interrupted: the new grants come first, the old ones
    go last.
    """
    admin = ctx.ensure_object(Admin)
    mode = Mode(dry_run=dry_run, as_json=as_json)
    require_role(admin.site, role)
    with changing(admin, mode) as database:
        require_role(admin.site, role)  # again: it may have been changed meanwhile
        person, service = find_person(database, name)
        changed = msgspec.structs.replace(person, role=role)
        plan = change_plan(database, name, changed, service=service)
        database.perform(plan + kept_access(database.server, plan), mode)


@app.command("set-expiry")
def set_expiry(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="User name of a person.")],
    last_day: Annotated[
        str, typer.Argument(metavar="date", help="Last day (YYYY-MM-DD), or `never`.")
    ],
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Let a person's account end later, earlier, or never.

    An account whose last day is over is locked, and one that is extended is unlocked, unless
    `lock` locked it, too. Open sessions go on: see `processes` and `kill`.
    """
    admin = ctx.ensure_object(Admin)
    mode = Mode(dry_run=dry_run, as_json=as_json)
    expires = _parse_last_day(last_day)
    with changing(admin, mode) as database:
        person, service = find_person(database, name)
        if service:
            raise UsageError(
                f"{name} is a service, and set-expiry is for people.",
                remedy="Edit its `expires` in people.toml, then run: mapadmin db apply",
            )
        changed = msgspec.structs.replace(person, expires=expires)
        plan = change_plan(database, name, changed, service=service)
        if person.locked and not is_expired(changed, database.today):
            note = f"{name} stays locked (`mapadmin db unlock {name}` ends that)"
            plan += Plan(notes=(note,))
        database.perform(plan, mode)


def _parse_last_day(text: str) -> date | None:
    if text == "never":
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is not a day.", remedy="Write it as 2027-06-30, or `never`."
        ) from None


@app.command("lock")
def lock(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="User name.")],
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Keep a person or service from logging in. Open sessions go on: see `processes` and `kill`."""
    _set_locked(ctx, name, Mode(dry_run=dry_run, as_json=as_json), locked=True)


@app.command("unlock")
def unlock(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="User name.")],
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Let a locked person or service log in again, with the password they had."""
    _set_locked(ctx, name, Mode(dry_run=dry_run, as_json=as_json), locked=False)


def _set_locked(ctx: typer.Context, name: str, mode: Mode, *, locked: bool) -> None:
    admin = ctx.ensure_object(Admin)
    with changing(admin, mode) as database:
        accounts = managed_accounts(database, name, None)
        person, service = find_person(database, name)
        if not locked and is_expired(person, database.today):
            raise UsageError(
                f"{name} expired on {person.expires}.",
                remedy=f"Extend it: mapadmin db set-expiry {name} DATE",
            )
        for account in accounts:
            if not locked:
                require_finished(database, database.managed[account])
        changes = Changes()
        changed = msgspec.structs.replace(person, locked=locked)
        edit = edit_entry(database, name, changed, service=service, changes=changes)
        for account in accounts:
            if database.tables.accounts[account].locked != locked:
                changes.attributes.append(
                    SqlStep(
                        action="lock account" if locked else "unlock account", target=str(account),
                        statements=(statements.set_locked(account, locked=locked),),
                    )
                )  # fmt: skip
        database.perform(changes.plan(*edit), mode)
