"""What a command about one person or service wants of people.toml and the server. No SQL is sent.

One piece for all such commands, so that each looks at the same things: whether there is a
people.toml (without it, mapadmin's own schema remembers role, expiry and kind, and nothing else),
whether the account is managed, and whether anybody has its password yet.
"""

from __future__ import annotations

import msgspec

from mapadmin.core.errors import UsageError
from mapadmin.core.plan import Plan
from mapadmin.core.secret import Secret
from mapadmin.db.database import Database, EditPeople
from mapadmin.db.diff import Changes
from mapadmin.db.grants import Account
from mapadmin.db.names import off_limits
from mapadmin.db.policy import Wanted, is_expired
from mapadmin.db.state import Managed, Stage
from mapadmin.people_file import entry_values
from mapadmin.site import Person


def known_person(database: Database, name: str, asked: Person, *, service: bool) -> Person | None:
    """What is known of somebody with what was asked for added; None for somebody new.

    Raises UsageError where the two contradict each other.
    """
    entry, is_service = recall(database, name)
    if entry is None:
        return None
    if service != is_service:
        raise UsageError(f"{name} is a {'service' if is_service else 'person'} already.")
    if entry.role != asked.role:
        raise UsageError(
            f"{name} has the role {entry.role or 'none'!r} already.",
            remedy=f"Change it with: mapadmin db set-role {name} {asked.role}",
        )
    hosts = entry.hosts if asked.hosts[0] in entry.hosts else [*entry.hosts, *asked.hosts]
    return msgspec.structs.replace(
        entry, hosts=hosts, email=asked.email or entry.email, expires=asked.expires or entry.expires
    )


def find_person(database: Database, name: str) -> tuple[Person, bool]:
    """Somebody who is known, and whether it is a service. Raises UsageError for anybody else."""
    person, service = recall(database, name)
    if person is None:
        raise UsageError(
            f"mapadmin does not manage anybody called {name!r}.",
            remedy="`mapadmin db users` lists the accounts, `mapadmin db import` takes one over.",
        )
    return person, service


def recall(database: Database, name: str) -> tuple[Person | None, bool]:
    """The entry of people.toml, else what the server remembers; and whether it is a service.

    Raises UsageError for a name whose accounts are never changed.
    """
    site = database.site
    _refuse_off_limits(database, name)
    person = site.everyone().get(name)
    if person is not None:
        return person, name in site.people.services
    known = [one for one in database.managed.values() if one.account.user == name]
    if not known:
        return None, False
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
    _refuse_off_limits(database, name)
    host = host if host is None else host.lower()
    accounts = [
        account
        for account in sorted(database.managed)
        if account.user == name
        and account in database.tables.accounts
        and host in (None, account.host)
    ]
    if not accounts:
        at = f" at {host!r}" if host else ""
        remedy = "`mapadmin db users` lists the accounts, `mapadmin db import` takes one over."
        if not host and name in database.site.everyone():
            remedy = f"{name} is in people.toml: `mapadmin db apply` makes the account."
        raise UsageError(f"mapadmin manages no account of {name!r}{at}.", remedy=remedy)
    return accounts


def _refuse_off_limits(database: Database, name: str) -> None:
    if reason := off_limits(name, database.site, database.own):
        raise UsageError(f"{name} is never changed: {reason}.")


def edit_entry(
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


def create_or_change(
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


def change_plan(database: Database, name: str, changed: Person, *, service: bool) -> Plan:
    """Somebody's entry as it shall be: people.toml, then what differs on managed accounts.

    Raises UsageError for an account that nobody can use yet: a change would count it as finished.
    """
    changes = Changes()
    edit = edit_entry(database, name, changed, service=service, changes=changes)
    for wanted in database.policy.wanted(name, changed, service=service):
        known = database.managed.get(wanted.account)
        if wanted.account not in database.tables.accounts:
            changes.notes.append(
                f"{wanted.account} is not on the server, so nothing is changed there"
            )
            continue
        if known is None:
            changes.notes.append(
                f"{wanted.account} is not managed, and is left alone "
                f"(`mapadmin db import {name}` takes it over)"
            )
            continue
        require_finished(database, known)
        database.differ.change(wanted, known, changes)
    return Plan(tuple(edit)) + changes.plan()


def require_finished(database: Database, known: Managed) -> None:
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
