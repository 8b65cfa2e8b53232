"""`ls`, `du`, `stat`: what there is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Annotated

import typer

from mapadmin.admin import Admin
from mapadmin.core.errors import ExitCode, SettingsError
from mapadmin.core.progress import Progress
from mapadmin.core.report import Report
from mapadmin.core.tables import Column
from mapadmin.core.text import count, human_bytes, one_line
from mapadmin.globus.commands._app import app
from mapadmin.globus.model import Entry, Place
from mapadmin.globus.refusals import NotFolderError, OfflineError
from mapadmin.globus.session import Globus, open_globus
from mapadmin.globus.usage import Usage
from mapadmin.globus.walk import Listing, walk
from mapadmin.options import Json

Where = Annotated[str, typer.Argument(metavar="NAME:PATH", help="A collection and a path on it.")]
FATAL = (OfflineError, SettingsError)


@app.command("ls")
def ls(
    ctx: typer.Context,
    where: Where,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="All below it.")] = False,
    depth: Annotated[
        int | None, typer.Option(min=0, help="Only so many levels of folders, with -r.")
    ] = None,
    long: Annotated[bool, typer.Option("--long", "-l", help="Sizes, times, links.")] = False,
    pattern: Annotated[
        str, typer.Option("--filter", metavar="GLOB", help="Only names like this (`*`, `?`).")
    ] = "*",
    hidden: Annotated[
        bool, typer.Option("--all", help="Also names that begin with a dot.")
    ] = False,
    as_json: Json = False,
) -> None:
    """What lies in a folder, or with -r in the tree below it, as it is found; a line each.

    NAME is a collection of the site file, a UUID, or what Globus calls it. Nothing is left out
    silently: a folder that cannot be listed is reported, and the exit code is 1. Links are shown,
    and not followed. With --json a document a line.
    """
    globus = open_globus(ctx.ensure_object(Admin))
    place = globus.place(where, search=True)
    report = Report(as_json=as_json)
    most = depth if recursive else 0
    tree = Tree(globus, place, most, hidden=hidden)
    prefix = place.path.rstrip("/") + "/"

    def line(entry: Entry) -> str:
        name = entry.path.removeprefix(prefix) + ("/" if entry.is_folder else "")
        if not long:
            return name
        link = f" -> {entry.link}" if entry.link is not None else ""
        size = "-" if entry.is_folder else human_bytes(entry.size)
        return f"{size:>10}  {(entry.modified or '-')[:16]}  {name}{link}"

    if sys.stdout.isatty():  # what is listed is progress enough, and a bar would be in its way
        report.stream(tree.entries(pattern), line)
    else:
        with report.progress("Listing", unit="entries") as progress:
            report.stream(tree.entries(pattern, progress), line)
    tree.finish(report)


class Tree:
    """A walk with what it could not list. `folders` and `problems` are complete at its end."""

    def __init__(
        self, globus: Globus, place: Place, depth: int | None, *, hidden: bool = True
    ) -> None:
        self.globus = globus
        self.place = place
        self.depth = depth
        self.hidden = hidden
        self.folders = 0
        self.problems: list[str] = []

    def listings(self) -> Iterator[Listing]:
        """Folder by folder; one that cannot be listed is remembered, and told without entries."""
        service, collection = self.globus.service, self.place.collection
        at_once = 1 if self.depth == 0 else self.globus.settings.in_flight
        found = walk(
            lambda path: service.ls(collection, path, hidden=self.hidden),
            self.place.path, depth=self.depth, at_once=at_once, fatal=FATAL,
        )  # fmt: skip
        for listing in found:
            self.folders += 1
            if listing.error is not None:
                self.problems.append(listing.error.message)
            yield listing

    def entries(self, pattern: str, progress: Progress | None = None) -> Iterator[Entry]:
        """All entries whose names are like `pattern`; a file by itself is its own only entry."""
        try:
            for listing in self.listings():
                if progress is not None:
                    progress.advance(len(listing.entries), note=one_line(listing.path))
                yield from (e for e in listing.entries if fnmatchcase(e.name, pattern))
        except NotFolderError:
            yield self.globus.service.stat(self.place.collection, self.place.path)

    def finish(self, report: Report) -> None:
        """Say what is missing from what was shown. Raises typer.Exit (1) when something is."""
        for problem in self.problems:
            report.say(f"Error: {problem}")
        if self.problems:
            could = count(len(self.problems), "folder")
            report.say(f"Not complete: {could} could not be listed.")
            raise typer.Exit(ExitCode.FAILED)


@app.command("du")
def du(
    ctx: typer.Context,
    where: Where,
    depth: Annotated[int, typer.Option(min=0, help="Levels of folders that are shown.")] = 1,
    as_json: Json = False,
) -> None:
    """Bytes and files of each folder with all below it, biggest first.

    The whole tree is listed, whatever the depth. A link counts as one file of no size.
    """
    globus = open_globus(ctx.ensure_object(Admin))
    place = globus.place(where, search=True)
    report = Report(as_json=as_json)
    tree = Tree(globus, place, None)
    usage = Usage(place.path, depth)
    with report.progress("Listing", unit="entries") as progress:
        for listing in tree.listings():
            progress.advance(len(listing.entries), note=one_line(listing.path))
            usage.add(listing)
    columns = [
        Column("size", lambda r: human_bytes(r.bytes), right=True),
        Column("files", lambda r: f"{r.files:,}", right=True),
        Column("folders", lambda r: f"{r.folders:,}", right=True),
        Column("folder", lambda r: r.path),
    ]
    report.rows(usage.rows(), columns, empty="There is nothing.")
    tree.finish(report)


@app.command("stat")
def stat(ctx: typer.Context, where: Where, as_json: Json = False) -> None:
    """One file or folder; a path that is not there is an error."""
    globus = open_globus(ctx.ensure_object(Admin))
    place = globus.place(where, search=True)
    entry = globus.service.stat(place.collection, place.path)
    report = Report(as_json=as_json)
    if as_json:
        report.document(entry)
        return
    size = f"{human_bytes(entry.size)} ({entry.size:,} bytes)" if entry.size is not None else None
    facts = {
        "path": str(place), "type": entry.type + (" (a link)" if entry.link is not None else ""),
        "size": size,
        "modified": entry.modified or "-", "permissions": entry.permissions or "-",
        "owner": f"{entry.user or '-'}, group {entry.group or '-'}", "link": entry.link,
    }  # fmt: skip
    for label, value in facts.items():
        if value is not None:
            report.text(f"{label:<12} {one_line(value)}")
