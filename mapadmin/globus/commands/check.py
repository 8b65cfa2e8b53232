"""`check`: transfers, and whether the archive holds what the database says."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from mapadmin.admin import Admin
from mapadmin.core.errors import ExitCode, UsageError
from mapadmin.core.files import write_atomic, write_out_atomic
from mapadmin.core.report import Report
from mapadmin.core.tables import Column
from mapadmin.core.text import count, human_bytes
from mapadmin.globus.archive import DataSet, Problem, Wrong, by_kind
from mapadmin.globus.catalog import Catalog
from mapadmin.globus.commands._app import app
from mapadmin.globus.commands.tasks import MOST_TASKS, gather
from mapadmin.globus.examine import Examination, Wishes
from mapadmin.globus.records import records_of
from mapadmin.globus.session import open_globus
from mapadmin.options import Json


class Line(msgspec.Struct, frozen=True):
    """Findings of one kind about one data set, or one that is about none."""

    kind: Wrong
    about: str
    detail: str
    number: int


@app.command("check")
def check(
    ctx: typer.Context,
    location: Annotated[
        str, typer.Option(metavar="ALIAS", help="Only this storage location of the database.")
    ] = "",
    days: Annotated[int, typer.Option(min=0, help="How long failed transfers count.")] = 7,
    everybody: Annotated[
        bool, typer.Option("--all-users", help="Others' transfers too, with the monitor's role.")
    ] = False,
    manifest: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CSV or JSON lines: path, size, checksum.")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Compare with what was saved there.")
    ] = None,
    save_baseline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Save what is there, for later checks.")
    ] = None,
    transfers: Annotated[
        bool, typer.Option("--records", help="Use Globus's own records (30 days) as well.")
    ] = False,
    local: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A local tree to compare sizes with.")
    ] = None,
    resubmit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Batch of what DIR has and Globus lacks.")
    ] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="All findings as CSV.")
    ] = None,
    html_file: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="A report to be read and passed on."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Does the archive hold what the database says?

    Transfers that failed, are inactive or stalled; then each storage location, listed once: files
    of data sets that are missing, empty or no files, files and folders of no data set, data sets
    without files or that no session calls archived, sessions with ephys but no archive. Sizes and
    checksums are not in the database: they are compared with a manifest, a baseline, a local tree
    (DIR, or DIR/ALIAS) or Globus's records. Changes nothing. Exits with 1 when it finds anything.

    A local file goes into the batch for what is missing or empty in the archive, and in place of
    another size only if a manifest, a baseline or Globus's records say that its size is the right
    one. Mend what is missing: --local DIR --resubmit FILE, then `mapadmin globus transfer
    NAME:DIR COLLECTION:/ --batch FILE`.
    """
    admin = ctx.ensure_object(Admin)
    if resubmit is not None and local is None:
        raise UsageError("--resubmit takes files from a local tree.", remedy="Add --local DIR.")
    globus = open_globus(admin)
    prefix = admin.site.database.project_prefix
    catalog = Catalog(admin.connect_database(admin), globus.settings.archive, prefix)
    wishes = Wishes(location, manifest, baseline, save_baseline, local, resubmit)
    report = Report(as_json=as_json)
    found = Examination(globus, catalog, wishes)
    rows = gather(globus, report, everybody=everybody, active=False, most=MOST_TASKS)
    since = (datetime.now(UTC) - timedelta(days=days)).isoformat(sep=" ")
    oldest = min((row.requested for row in rows), default="")
    if len(rows) >= MOST_TASKS and oldest > since:
        report.say(f"Note: only the newest {MOST_TASKS} tasks count, back to {oldest[:19]}.")
    if transfers:
        places = [place.place for place in found.archive.locations.values()]
        found.records = records_of(globus, rows, places)
    with report.progress("Listing the archive", unit="entries") as progress:
        found.run(rows, days, progress)
    document = _document(found, admin.site.name)
    if csv_file is not None:
        _write_csv(csv_file, document["findings"])
    if html_file is not None:
        _write_html(html_file, found, document)
    if as_json:
        report.document(document)
    else:
        _show(report, found, document)
    if document["findings"] or not found.complete:
        raise typer.Exit(ExitCode.FAILED)


def _document(found: Examination, site: str) -> dict[str, Any]:
    """The answer as `--json` gives it; files and bytes are those of data sets."""
    archive = found.archive
    sets = sorted(archive.data_sets.values(), key=lambda d: (d.alias, d.name))
    problems = archive.sorted_problems()
    return {
        "site": site, "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "locations": {alias: str(loc.place) for alias, loc in sorted(archive.locations.items())},
        "complete": found.complete, "folders": archive.folders, "entries": archive.entries,
        "files": sum(d.files for d in sets), "present": sum(d.present for d in sets),
        "bytes": sum(d.bytes for d in sets), "compared": found.compared,
        "checksums_compared": found.compared_checksums,
        "resubmitted": found.resubmitted, "held_back": found.held_back,
        "counts": by_kind(problems), "data_sets": sets, "findings": problems,
    }  # fmt: skip


def _show(report: Report, found: Examination, document: dict[str, Any]) -> None:
    lines = list(_lines(document["findings"]))
    if lines:
        report.print_table(lines, [
            Column("finding", lambda line: line.kind.value, style=_style),
            Column("on", lambda line: line.about, fit=True),
            Column("detail", lambda line: line.detail),
        ])  # fmt: skip
    sets: list[DataSet] = document["data_sets"]
    report.say(
        f"{document['present']:,} of {document['files']:,} files of {count(len(sets), 'data set')} "
        f"are there, {human_bytes(document['bytes'])}; "
        f"{document['entries']:,} entries in {count(document['folders'], 'folder')} were listed."
    )
    for one in found.compared:
        report.say(f"{one.compared:,} of {count(one.lines, 'line')} of the {one.source} compared.")
    if found.wishes.save_baseline is not None:
        where = found.wishes.save_baseline
        report.say(f"The baseline is in {where}." if found.complete
                   else f"{where} is as it was: the listing is not complete.")  # fmt: skip
    if found.wishes.resubmit is not None:
        number = count(found.resubmitted, "file")
        report.say(f"{found.wishes.resubmit} has {number} to transfer again.")
        if found.held_back:
            report.say(
                f"{count(found.held_back, 'more file')} would replace another size by one that no"
                " manifest, baseline or record vouches for: not in it."
            )
    if not document["findings"]:
        report.say("No findings.")
    else:
        report.say(f"{count(len(document['findings']), 'finding')}. --json, --csv and --html have"
                   " each of them.")  # fmt: skip


def _lines(problems: list[Problem]) -> Iterator[Line]:
    """As a person reads them: files of a data set together."""
    for (kind, name), group in groupby(problems, key=lambda p: (p.kind, p.data_set)):
        members = list(group)
        if name and len(members) > 1:
            first = members[0].where.rpartition("/")[2]
            yield Line(kind, name, f"{len(members)} files, such as {first}", len(members))
        else:
            yield from (Line(kind, p.where, p.detail, 1) for p in members)


def _style(line: Line) -> str:
    soft = line.kind in (Wrong.UNKNOWN_FILE, Wrong.UNKNOWN_FOLDER, Wrong.UNCLAIMED, Wrong.NO_FILES)
    return "yellow" if soft else "bold red"


def _write_csv(path: Path, problems: list[Problem]) -> None:
    with write_out_atomic(path) as file:
        writer = csv.writer(file)
        writer.writerow(Problem.__struct_fields__)
        for problem in problems:
            writer.writerow(["" if v is None else v for v in msgspec.structs.astuple(problem)])


def _write_html(path: Path, found: Examination, document: dict[str, Any]) -> None:
    from mapadmin.core.templates import render

    groups = [
        (kind.value, _EXPLANATIONS[kind], list(members))
        for kind, members in groupby(document["findings"], key=lambda p: p.kind)
    ]
    text = render("globus/check.html", **document, groups=groups, human_bytes=human_bytes)
    write_atomic(path, text)


_EXPLANATIONS = {
    Wrong.TRANSFER: "Transfers that failed, lost their credentials or get nowhere.",
    Wrong.LOCATION: "Storage locations that cannot be listed, or that the database lacks.",
    Wrong.UNLISTED: "Folders that could not be listed: what should be below them is not judged.",
    Wrong.MISSING: "Files of data sets that are not in the archive.",
    Wrong.EMPTY: "Files of data sets that have a size of zero.",
    Wrong.NO_FILE: "Something else lies where a file should be.",
    Wrong.SIZE: "Files whose size is not the one that is known.",
    Wrong.CHECKSUM: "Files for which two sources have different checksums.",
    Wrong.CHANGED: "Files that were written again since the baseline was saved.",
    Wrong.VANISHED: "Files that a manifest or baseline has, of which nothing is left.",
    Wrong.OUTSIDE: "Lines of a manifest or baseline that are about no storage location.",
    Wrong.BAD_PATH: "Rows of the database whose path cannot be one.",
    Wrong.NO_FILES: "Data sets of the database without any file.",
    Wrong.UNCLAIMED: "Data sets that no session calls archived.",
    Wrong.NO_ARCHIVE: "Sessions that have ephys, but no archived data set.",
    Wrong.UNKNOWN_FILE: "Files that no data set has, beside files of data sets.",
    Wrong.UNKNOWN_FOLDER: "Folders in which no file belongs to any data set.",
}
