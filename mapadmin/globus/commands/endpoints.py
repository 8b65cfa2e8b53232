"""`endpoints`: the site's collections, or what a search finds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import Annotated, Any

import msgspec
import typer

from mapadmin.admin import Admin
from mapadmin.core.errors import ExitCode, MapadminError, SettingsError
from mapadmin.core.report import Report
from mapadmin.core.tables import Column
from mapadmin.globus.commands._app import app
from mapadmin.globus.refusals import ConsentError, OfflineError
from mapadmin.globus.session import Globus, open_globus
from mapadmin.options import Json

SOON = 30  # days before an owner's account lapses that it counts as a problem


class CollectionRow(msgspec.Struct, frozen=True):
    """One collection. `problem` is empty when all is well; `reachable` None when not tried."""

    name: str
    id: str
    display_name: str | None = None
    kind: str | None = None
    owner: str | None = None
    subscription: str | None = None
    roles: tuple[str, ...] = ()
    reachable: bool | None = None
    owner_until: date | None = None
    problem: str = ""


@app.command("endpoints")
def endpoints(
    ctx: typer.Context,
    search: Annotated[
        str, typer.Argument(metavar="[WORDS]", help="Search Globus instead of the site file.")
    ] = "",
    as_json: Json = False,
) -> None:
    """The site's collections: what they are, whose, whether they can be reached.

    Exits with 1 when one of the site's cannot be used, or its owner's account lapses within 30
    days (as far as the site file says when).
    """
    globus = open_globus(ctx.ensure_object(Admin))
    report = Report(as_json=as_json)
    if search:
        rows = [_row(c["display_name"], c) for c in globus.service.search(search)]
        report.rows(rows, _FOUND, empty="Globus knows no such collection.")
        return
    _ = globus.service  # one login, before several threads use it
    names = list(globus.settings.collections)
    with ThreadPoolExecutor(max_workers=8) as pool:
        rows = list(pool.map(lambda name: _look(globus, name), names))
    report.rows(rows, _SITE, empty="The site file names no collections.")
    for row in rows:
        if row.problem and not as_json:
            report.say(f"{row.name}: {row.problem}")
    if any(row.problem for row in rows):
        raise typer.Exit(ExitCode.FAILED)


def _look(globus: Globus, name: str) -> CollectionRow:
    settings = globus.settings.collections[name]
    try:
        row = _row(name, globus.service.endpoint(settings.id))
    except MapadminError as error:
        _raise_if_common(error)
        return CollectionRow(name, settings.id, reachable=False, problem=str(error))
    problem, reachable = "", True
    try:
        globus.service.stat(settings.id, settings.path)
    except MapadminError as error:
        _raise_if_common(error)
        problem, reachable = str(error), False
    until = settings.owner_until
    if until is not None and not problem:
        days = (until - datetime.now(UTC).date()).days
        if days <= 0:
            problem = f"The owner's account lapsed on {until}."
        elif days <= SOON:
            problem = f"The owner's account lapses on {until}, in {days} days."
    return msgspec.structs.replace(row, reachable=reachable, owner_until=until, problem=problem)


def _raise_if_common(error: MapadminError) -> None:
    """No login, or no answer at all, is no one collection's problem."""
    if isinstance(error, OfflineError) or (
        isinstance(error, SettingsError) and not isinstance(error, ConsentError)
    ):
        raise error


def _row(name: str, data: dict[str, Any]) -> CollectionRow:
    kind = str(data.get("entity_type") or "").removeprefix("GCSv5_").removeprefix("GCP_")
    return CollectionRow(
        name=name, id=str(data["id"]), display_name=data.get("display_name"),
        kind=kind.replace("_", " "), owner=data.get("owner_string"),
        subscription=data.get("subscription_id"),
        roles=tuple(data.get("my_effective_roles") or ()),
    )  # fmt: skip


_SITE = [
    Column("name", lambda r: r.name),
    Column("kind", lambda r: (r.kind or "").replace(" collection", "")),
    Column("owner", lambda r: r.owner, fit=True),
    Column("managed", lambda r: bool(r.subscription)),
    Column("reachable", lambda r: r.reachable),
    Column("until", lambda r: r.owner_until),
]
_FOUND = [
    Column("id", lambda r: r.id),
    Column("name", lambda r: r.name),
    Column("owner", lambda r: r.owner, fit=True),
]
