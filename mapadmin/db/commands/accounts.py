"""Commands that change one person's or service's account."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from mapadmin.admin import Admin, Mode
from mapadmin.core.errors import UsageError
from mapadmin.core.plan import Outcome, Plan
from mapadmin.core.secret import Secret, generate_password
from mapadmin.db import statements
from mapadmin.db.commands._app import app
from mapadmin.db.database import Database, EditPeople, changing
from mapadmin.db.diff import Changes
from mapadmin.db.grants import Account, Flavour
from mapadmin.db.names import check_host, check_new_name
from mapadmin.db.passwords import DataJoint, Handover, read_password
from mapadmin.db.policy import Wanted, is_expired
from mapadmin.db.site_entries import entry_values
from mapadmin.db.state import Managed, Stage
from mapadmin.db.statements import SqlStep
from mapadmin.options import DryRun, Json
from mapadmin.site import Person, require_role

PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from stdin's first line.")
]
Prompt = Annotated[bool, typer.Option("--prompt", help="Ask for the password on the terminal.")]
PasswordFile = Annotated[
    Path | None, typer.Option(help="Write the password to a new file (0600), not the terminal.")
]
DjConfig = Annotated[
    Path | None, typer.Option(help="Write a DataJoint configuration with the password (0600).")
]
DjVersion = Annotated[DataJoint, typer.Option(help="DataJoint's generation, for --dj-config.")]


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
    check_host(host)
    handover = Handover(password_file, dj_config, dj_version, given=password_stdin or prompt)
    handover.check(as_json=as_json)
    asked = Person(
        role=role, email=email, expires=expires.date() if expires else None, hosts=[host]
    )
    with changing(admin, mode) as database:
        known = _known_person(database, name, asked, service=service)
        if known is None:
            check_new_name(
                name, admin.site, database.tables, database.own, service=service,
                allow_underscore=allow_underscore, adopt_schemas=adopt_schemas,
            )  # fmt: skip
        person = known or asked
        (wanted,) = database.policy.wanted(
            name, msgspec.structs.replace(person, hosts=[host]), service=service
        )
        password = read_password(from_stdin=password_stdin, prompt=prompt)
        changes = Changes()
        edit = _edit_entry(database, name, person, service=service, changes=changes)
        _create_or_change(database, wanted, changes, password)
        database.perform(
            changes.plan(*edit), mode, after=database.hand_over(handover, [wanted], changes)
        )


def _known_person(database: Database, name: str, asked: Person, *, service: bool) -> Person | None:
    """The entry of people.toml with what was asked for added; None when there is none.

    Raises UsageError where the two contradict each other.
    """
    site = database.site
    entry = site.everyone().get(name)
    if entry is None:
        return None
    if service != (name in site.people.services):
        raise UsageError(f"{name} is a {'person' if service else 'service'} in {site.people_path}.")
    if entry.role != asked.role:
        raise UsageError(
            f"{name} has the role {entry.role or 'none'!r} in {site.people_path}.",
            remedy=f"Change it with: mapadmin db set-role {name} {asked.role}",
        )
    hosts = entry.hosts if asked.hosts[0] in entry.hosts else [*entry.hosts, *asked.hosts]
    return msgspec.structs.replace(
        entry, hosts=hosts, email=asked.email or entry.email, expires=asked.expires or entry.expires
    )


def _edit_entry(
    database: Database, name: str, person: Person, *, service: bool, changes: Changes
) -> list[EditPeople]:
    """The edit of people.toml that an account needs; a note where there is no such file."""
    site = database.site
    if not site.has_people_file:
        changes.notes.append(
            f"there is no {site.people_path}, so {name} is remembered on the server only "
            "(`mapadmin db import` writes the file)"
        )
        return []
    entry = site.everyone().get(name)
    before = entry_values(entry) if entry is not None else None
    values = entry_values(person)
    if before == values:
        return []
    values = {**dict.fromkeys(before or ()), **values}  # a key that is back at its default goes
    section = "services" if service else "people"
    return [
        EditPeople(
            action="write people.toml", target=name, detail=f"[{section}.{name}]",
            section=section, name=name, values=values,
        )
    ]  # fmt: skip


def _create_or_change(
    database: Database, wanted: Wanted, changes: Changes, password: Secret | None
) -> None:
    known = database.managed.get(wanted.account)
    exists = wanted.account in database.tables.accounts
    if exists and known is None:
        raise UsageError(
            f"The account {wanted.account} exists already, and mapadmin does not manage it.",
            remedy=f"`mapadmin db import {wanted.account.user}` takes it over as it is.",
        )
    if exists and known is not None and known.stage is Stage.MANAGED:
        if password is not None:
            raise UsageError(
                f"The account {wanted.account} exists already.",
                remedy=f"Change its password with: mapadmin db set-password {wanted.account.user}",
            )
        database.differ.change(wanted, known, changes)
    else:
        database.differ.create(wanted, changes, password)


@app.command("set-role")
def set_role(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="User name.")],
    role: Annotated[str, typer.Argument(help="A role of mapadmin.toml.")],
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Give a person or service another role; open sessions have the new access at once.

    What both roles allow is never interrupted: the new grants come first, the old ones go last.
    """
    admin = ctx.ensure_object(Admin)
    mode = Mode(dry_run=dry_run, as_json=as_json)
    require_role(admin.site, role)
    with changing(admin, mode) as database:
        person, service = find_person(database, name)
        changed = msgspec.structs.replace(person, role=role)
        database.perform(_change(database, name, changed, service=service), mode)


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
        plan = _change(database, name, changed, service=service)
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


def _change(database: Database, name: str, changed: Person, *, service: bool) -> Plan:
    """Somebody's entry as it shall be: people.toml, then what differs on managed accounts.

    Raises UsageError for an account that nobody can use yet: a change would count it as finished.
    """
    changes = Changes()
    edit = _edit_entry(database, name, changed, service=service, changes=changes)
    for wanted in database.policy.wanted(name, changed, service=service):
        known = database.managed.get(wanted.account)
        if wanted.account not in database.tables.accounts:
            continue
        if known is None:
            changes.notes.append(
                f"{wanted.account} is not managed, and is left alone "
                f"(`mapadmin db import {name}` takes it over)"
            )
            continue
        _require_finished(database, known)
        database.differ.change(wanted, known, changes)
    return Plan(tuple(edit)) + changes.plan()


def _require_finished(database: Database, known: Managed) -> None:
    if known.stage is Stage.CREATING:
        account = known.account
        entry = database.site.everyone().get(account.user)
        role = entry.role if entry is not None else known.role
        more = (" --service" if known.service else "") + (
            f" --host {account.host}" if account.host != "%" else ""
        )
        raise UsageError(
            f"{account} was never finished: nobody has its password.",
            remedy=f"Run: mapadmin db add-user {account.user} --role {role}{more}",
        )


@app.command("set-password")
def set_password(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="User name.")],
    host: Annotated[str | None, typer.Option(help="Only the account at this host.")] = None,
    keep_old: Annotated[
        bool, typer.Option("--keep-old", help="The old password works, too, until --discard-old.")
    ] = False,
    discard_old: Annotated[
        bool, typer.Option("--discard-old", help="End the old password that --keep-old left.")
    ] = False,
    password_stdin: PasswordStdin = False,
    prompt: Prompt = False,
    password_file: PasswordFile = None,
    dj_config: DjConfig = None,
    dj_version: DjVersion = DataJoint.V0,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Set a new password, the same for all hosts of a person; a generated one is shown once."""
    admin = ctx.ensure_object(Admin)
    mode = Mode(dry_run=dry_run, as_json=as_json)
    handover = Handover(password_file, dj_config, dj_version, given=password_stdin or prompt)
    if keep_old and discard_old:
        raise UsageError("Choose one of --keep-old and --discard-old.")
    if not discard_old:
        handover.check(as_json=as_json)
    with changing(admin, mode) as database:
        if (keep_old or discard_old) and database.server.flavour is Flavour.MARIADB:
            raise UsageError(
                "MariaDB has no dual passwords: --keep-old needs MySQL 8.0.14 or newer."
            )
        accounts = managed_accounts(database, name, host)
        if discard_old:
            database.perform(Plan(tuple(map(_discard_step, accounts))), mode)
            return
        password = read_password(from_stdin=password_stdin, prompt=prompt) or generate_password()
        steps = tuple(_password_step(database, one, password, keep_old) for one in accounts)

        def deliver(outcome: Outcome) -> None:
            if outcome.ok and outcome.changed:
                handover.deliver({accounts[0]: password}, admin.site.database)

        database.perform(Plan(steps), mode, after=deliver)


def _password_step(
    database: Database, account: Account, password: Secret, keep_old: bool
) -> SqlStep:
    flavour = database.server.flavour
    plugin = database.tables.accounts[account].plugin
    sql = statements.set_password(
        account, flavour, password, plugin=plugin, unlock=False, keep_old=keep_old
    )
    detail = "the old one works until --discard-old" if keep_old else ""
    return SqlStep(action="change password", target=str(account), detail=detail, statements=(sql,))


def _discard_step(account: Account) -> SqlStep:
    return SqlStep(
        action="discard old password", target=str(account),
        statements=(statements.discard_old_password(account),),
    )  # fmt: skip


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
                _require_finished(database, database.managed[account])
        changes = Changes()
        changed = msgspec.structs.replace(person, locked=locked)
        edit = _edit_entry(database, name, changed, service=service, changes=changes)
        for account in accounts:
            if database.tables.accounts[account].locked != locked:
                changes.attributes.append(
                    SqlStep(
                        action="lock account" if locked else "unlock account", target=str(account),
                        statements=(statements.set_locked(account, locked=locked),),
                    )
                )  # fmt: skip
        database.perform(changes.plan(*edit), mode)


def find_person(database: Database, name: str) -> tuple[Person, bool]:
    """The entry of people.toml, else what the server remembers; and whether it is a service.

    Raises UsageError when neither knows the name.
    """
    site = database.site
    person = site.everyone().get(name)
    if person is not None:
        return person, name in site.people.services
    known = [one for one in database.managed.values() if one.account.user == name]
    if not known:
        raise UsageError(
            f"mapadmin does not manage anybody called {name!r}.",
            remedy="`mapadmin db users` lists the accounts, `mapadmin db import` takes one over.",
        )
    hosts = [one.account.host for one in known]
    first = known[0]
    person = Person(role=first.role, expires=first.expires, hosts=hosts)
    # It is not remembered whether `lock` was used; the server says so, unless the day is over.
    by_hand = not is_expired(person, database.today) and any(
        one.stage is Stage.MANAGED
        and one.account in database.tables.accounts
        and database.tables.accounts[one.account].locked
        for one in known
    )
    return msgspec.structs.replace(person, locked=by_hand), first.service


def managed_accounts(database: Database, name: str, host: str | None) -> list[Account]:
    """The existing accounts of a name that mapadmin manages. Raises UsageError without any."""
    accounts = [
        account
        for account in sorted(database.managed)
        if account.user == name
        and account in database.tables.accounts
        and host in (None, account.host)
    ]
    if not accounts:
        at = f" at {host!r}" if host else ""
        raise UsageError(
            f"mapadmin manages no account of {name!r}{at}.",
            remedy="`mapadmin db users` lists the accounts, `mapadmin db import` takes one over.",
        )
    return accounts
