"""`permissions`, `grant`, `revoke`: who may reach a guest collection."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from mapadmin.admin import Admin, Mode
from mapadmin.core.errors import ExitCode, MapadminError, UsageError
from mapadmin.core.plan import Plan
from mapadmin.core.report import Report
from mapadmin.core.tables import Column
from mapadmin.globus.access import (
    OF_ALL,
    Rule,
    differences,
    expiration,
    last_day,
    rule_of,
    same,
    wanted,
)
from mapadmin.globus.changes import RuleStep
from mapadmin.globus.commands._app import app
from mapadmin.globus.model import Place, is_uuid
from mapadmin.globus.session import Globus, open_globus
from mapadmin.options import DryRun, Json, Yes

Where = Annotated[str, typer.Argument(metavar="NAME:PATH", help="A folder of a collection.")]
Who = Annotated[str, typer.Argument(help="A name of people.toml, or a Globus user name.")]
Group = Annotated[bool, typer.Option("--group", help="WHO is the id of a Globus group.")]


@app.command("permissions")
def permissions(
    ctx: typer.Context,
    where: Annotated[str, typer.Argument(metavar="NAME", help="A guest collection.")],
    check: Annotated[
        bool, typer.Option("--check", help="The difference with people.toml; 5 if there is one.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Who may read or write what on a guest collection, until when.

    With --check, what is not as people.toml and the collection's `access` in the site file say,
    and the command that mends it.
    """
    globus = open_globus(ctx.ensure_object(Admin))
    place = globus.place(where, search=True)
    rules = _rules(globus, place)
    report = Report(as_json=as_json)
    if not check:
        columns = [
            Column("who", lambda r: r.who, fit=True), Column("may", lambda r: r.words),
            Column("below", lambda r: r.path), Column("until", lambda r: last_day(r.until)),
            Column("person", lambda r: r.person),
        ]  # fmt: skip
        report.rows(rules, columns, empty="Nobody but its owner may use it.")
        return
    settings = globus.settings.collections.get(place.name)
    if settings is None or not settings.access:
        raise UsageError(
            f"The site file does not say who is to have access to {place.name}.",
            remedy=f'Add access = {{ ROLE = "r" }} to [globus.collections.{place.name}].',
        )
    people = globus.admin.site.everyone()
    want = wanted(people, settings, datetime.now(UTC).date())
    folder = settings.path.rstrip("/") + "/"
    found = differences(rules, want, f"{place.name}:{folder}", folder)
    columns = [
        Column("drift", lambda d: d.kind.value), Column("who", lambda d: d.who),
        Column("below", lambda d: d.path), Column("detail", lambda d: d.detail),
    ]  # fmt: skip
    report.rows(found, columns, empty="Access is as people.toml says.")
    if found:
        if not as_json:
            report.say("To mend it:")
            for difference in found:
                report.say(f"  {difference.command}")
        raise typer.Exit(ExitCode.DRIFT)


@app.command("grant")
def grant(
    ctx: typer.Context,
    where: Where,
    who: Who,
    write: Annotated[bool, typer.Option("--write", help="And write, not only read.")] = False,
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The last day, in UTC.")
    ] = None,
    group: Group = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Let somebody read, or with --write change, a folder and all below it.

    A rule that they have on this folder already is changed to what is asked for.
    """
    globus = open_globus(ctx.ensure_object(Admin))
    place = globus.place(where)
    day = until.date() if until else None
    if day is not None and day < datetime.now(UTC).date():
        raise UsageError(f"--until {day} is over.")
    if not globus.service.stat(place.collection, place.path).is_folder:
        raise UsageError(f"{place} is a file; access is given to folders.")
    name, kind, principal = _principal(globus, who, group=group)
    folder = place.path.rstrip("/") + "/"
    may = "rw" if write else "r"
    rule = {
        "DATA_TYPE": "access", "principal_type": kind, "principal": principal, "path": folder,
        "permissions": may, "expiration_date": expiration(day),
    }  # fmt: skip
    mine = [r for r in _rules(globus, place) if r.principal == principal and r.path == folder]
    old = mine[0] if mine else None
    steps: tuple[RuleStep, ...] = ()
    if old is None or (old.permissions, last_day(old.until)) != (may, day):
        words = ("read, write" if write else "read") + (f", until {day}" if day else "")
        steps = (
            RuleStep(
                action="change access" if old else "give access", target=f"{place.name}:{folder}",
                detail=f"{name}: {words}", collection=place.collection,
                rule_id=old.id if old else "", rule=rule,
            ),
        )  # fmt: skip
    globus.perform(Plan(steps), Mode(dry_run=dry_run, as_json=as_json))


@app.command("revoke")
def revoke(
    ctx: typer.Context,
    where: Where,
    who: Who,
    group: Group = False,
    only: Annotated[
        bool, typer.Option("--only", help="Not what they have on folders below it.")
    ] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Take somebody's access to a folder away, and to all below it.

    WHO may also be `anonymous` (everybody) or `all_authenticated_users` (every Globus login).
    What they have on folders above is told, and stays.
    """
    globus = open_globus(ctx.ensure_object(Admin))
    place = globus.place(where)
    if who in OF_ALL:
        name, kind, principal = OF_ALL[who], who, ""
    else:
        name, kind, principal = _principal(globus, who, group=group)
    folder = place.path.rstrip("/") + "/"
    theirs = [
        rule for rule in _rules(globus, place) if (rule.kind, rule.principal) == (kind, principal)
    ]
    steps = tuple(
        RuleStep(action="take access", target=f"{place.name}:{rule.path}", destroys=True,
                 detail=f"{name}: {rule.words}", collection=place.collection, rule_id=rule.id)
        for rule in theirs
        if rule.path == folder or (rule.path.startswith(folder) and not only)
    )  # fmt: skip
    notes = tuple(
        f"{name} still reaches it through {place.name}:{rule.path}"
        for rule in theirs
        if folder.startswith(rule.path) and rule.path != folder
    )
    mode = Mode(dry_run=dry_run, yes=yes, as_json=as_json)
    globus.perform(Plan(steps, notes), mode, question="Take this access away?")


def _rules(globus: Globus, place: Place) -> list[Rule]:
    """All rules of a collection, by path and name."""
    documents = globus.service.rules(place.collection)
    ids = {str(d["principal"]) for d in documents if d["principal_type"] == "identity"}
    found = globus.service.identities(ids=sorted(ids)) if ids else []
    names = {str(who["id"]): str(who["username"]) for who in found}
    people = globus.admin.site.everyone()
    rules = [rule_of(document, names, people) for document in documents]
    return sorted(rules, key=lambda rule: (rule.path, rule.who))


def _principal(globus: Globus, who: str, *, group: bool) -> tuple[str, str, str]:
    """The name to show, kind and id of whom a command is about. Raises MapadminError."""
    if group or is_uuid(who):
        if not is_uuid(who):
            raise UsageError(f"{who!r} is no group's id, which is a UUID.")
        return who, "group" if group else "identity", who.lower()
    person = globus.admin.site.everyone().get(who)
    if person is not None and not person.globus:
        raise UsageError(
            f"people.toml does not say who {who} is at Globus.",
            remedy=f'Add globus = "user@example.org" to [people.{who}].',
        )
    name = person.globus if person is not None else who
    if "," in name:  # Globus would take it for several
        raise UsageError(f"{name!r} is no user name: name one at a time.")
    answer = globus.service.identities(names=[name])
    found = [one for one in answer if same(str(one["username"]), name)]
    if not found:
        raise MapadminError(
            f"Globus does not know {name!r}.", remedy="They must have logged in there once."
        )
    if len(found) > 1:
        ids = ", ".join(str(one["id"]) for one in found)
        raise MapadminError(f"Globus knows {name!r} {len(found)} times: {ids}.",
                            remedy="Write the id.")  # fmt: skip
    return name, "identity", str(found[0]["id"])
