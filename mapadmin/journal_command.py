"""`mapadmin journal`: who changed what, from this machine's journal and the one on the server."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Annotated

import msgspec
import typer

from mapadmin.admin import Admin
from mapadmin.core.errors import MapadminError
from mapadmin.core.journal import Entry, read_entries
from mapadmin.core.report import Report
from mapadmin.core.tables import Column
from mapadmin.options import Json

app = typer.Typer(rich_markup_mode=None, help="Who changed what, when.")

_OPENING = ("begin", "step")  # written before something happens; shown only when nothing followed


@app.command()
def journal(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="Newest entries to show.")] = 50,
    local: Annotated[bool, typer.Option("--local", help="Only this machine's journal.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Also the entries written before each step.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Who changed what, when: the newest entries, oldest first.

    A step that was begun and of which nothing more is known (the machine died) is shown as
    `unfinished`.
    """
    admin = ctx.ensure_object(Admin)
    # Twice as many lines as asked for, since each step has one before and one after it.
    entries = {(e.run, e.seq): e for e in _local_entries(admin, 3 * limit)}
    if not local and admin.site.settings.database is not None:
        entries.update({(e.run, e.seq): e for e in _shared_entries(admin, 3 * limit)})
    ordered = sorted(entries.values(), key=lambda e: (e.time, e.run, e.seq))
    shown = ordered if everything else condense(ordered)
    Report(as_json=as_json).rows(
        shown[-limit:],
        [
            Column("time (UTC)", lambda e: e.time[:16].replace("T", " ")),
            Column("who", lambda e: f"{e.who}@{e.host}"),
            Column("what", lambda e: e.action or e.command),
            Column("on", lambda e: e.target),
            Column("detail", lambda e: e.detail),
            Column("result", lambda e: f"{e.event}: {e.error}" if e.error else e.event),
        ],
        empty="The journal is empty: nothing has been changed yet.",
    )


def condense(entries: Iterable[Entry]) -> list[Entry]:
    """One entry a step: its outcome, or `unfinished` when its run ended without one."""
    out: list[Entry] = []
    waiting: dict[tuple[str, str, str, str], list[int]] = {}  # places in `out`, oldest first
    for entry in entries:
        key = (entry.run, entry.action, entry.target, entry.detail)
        if entry.event == "begin":
            continue
        if entry.event == "step":
            waiting.setdefault(key, []).append(len(out))
            out.append(_unfinished(entry))
        elif waiting.get(key):
            out[waiting[key].pop(0)] = entry
        elif entry.event == "end" and entry.error == "" and entry.detail == "done":
            continue
        else:
            out.append(entry)
    return out


def _unfinished(entry: Entry) -> Entry:
    return msgspec.structs.replace(entry, event="unfinished")


def _local_entries(admin: Admin, limit: int) -> Iterable[Entry]:
    return deque((entry for _, entry in read_entries(admin.journal_path)), maxlen=limit)


def _shared_entries(admin: Admin, limit: int) -> list[Entry]:
    from mapadmin.db.database import open_database

    try:
        return open_database(admin).shared_journal(limit=limit)
    except MapadminError as error:
        Report().say(f"Note: only this machine's journal is shown. {error.message}")
        return []
