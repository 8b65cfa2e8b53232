"""`audit`: what `apply` would do, and what else is not as it should be. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from mapadmin.admin import Admin
from mapadmin.core.errors import ExitCode
from mapadmin.core.report import Report
from mapadmin.core.tables import Column
from mapadmin.core.text import count
from mapadmin.db.commands._app import app
from mapadmin.db.commands.converge import survey
from mapadmin.db.database import Database, open_database
from mapadmin.db.findings import AuditFinding, Facts, Severity, find
from mapadmin.db.reconcile import Reconciliation
from mapadmin.options import Json

_STYLES = {
    Severity.CRITICAL: "bold red",
    Severity.HIGH: "red",
    Severity.MEDIUM: "yellow",
    Severity.LOW: "",
    Severity.INFO: "dim",
}


@app.command("audit")
def audit(
    ctx: typer.Context,
    severity: Annotated[
        Severity, typer.Option(help="Findings from this severity on count for the exit code.")
    ] = Severity.MEDIUM,
    as_json: Json = False,
) -> None:
    """What `apply` would do, and what else is not as it should be.

    Changes nothing. The exit code is 5 when `apply` would change something, when managed accounts
    have left people.toml, or when there is a finding of the given severity or worse; else 0. It
    works with a read-only account (SELECT on mysql.*), and without people.toml: then there are
    only findings.
    """
    database = open_database(ctx.ensure_object(Admin))
    found = survey(database) if database.site.has_people_file else Reconciliation()
    findings = find(gather_facts(database))
    report = Report(as_json=as_json)
    if as_json:
        report.document(_document(found, findings))
    else:
        _show(report, found, findings)
    counted = [one for one in findings if one.severity.rank <= severity.rank]
    if not as_json:
        report.say(_summary(database, found, findings, counted, severity))
    if found.plan or found.leavers or counted:
        raise typer.Exit(ExitCode.DRIFT)


def gather_facts(database: Database) -> Facts:
    """What the findings are drawn from. Without people.toml, nobody is wanted."""
    policy = database.policy
    return Facts(
        settings=database.site.database,
        tables=database.tables,
        own=database.own,
        today=database.today,
        managed=database.managed,
        wanted=database.wanted,
        roles={role: policy.role_grants(role) for role in database.site.settings.roles},
        every_privilege=policy.every_privilege,
    )


def _document(found: Reconciliation, findings: Sequence[AuditFinding]) -> dict[str, object]:
    """The one JSON shape of `audit`."""
    return {
        "drift": [
            {"action": step.action, "target": step.target, "detail": step.detail}
            for step in found.plan.steps
        ],
        "leavers": [str(account) for account in found.leavers],
        "strangers": [str(account) for account in found.strangers],
        "findings": findings,
    }


def _show(report: Report, found: Reconciliation, findings: Sequence[AuditFinding]) -> None:
    if found.plan:
        report.print_table(found.plan.steps, _drift_columns(), "`apply` would:")
    if found.leavers:
        columns = [Column("account", str)]
        report.print_table(found.leavers, columns, "Managed, but no longer in people.toml:")
        report.say("`mapadmin db apply --prune` removes them.")
    for note in found.plan.notes:
        report.say(f"Note: {note}")
    if findings:
        report.print_table(findings, _finding_columns(), "Findings:")
        for rule in dict.fromkeys(finding.id for finding in findings):
            remedy = next(finding.remedy for finding in findings if finding.id == rule)
            report.say(f"{rule}: {remedy}")


def _drift_columns() -> list[Column]:
    return [
        Column("step", lambda step: step.action),
        Column("on", lambda step: step.target),
        Column("detail", lambda step: step.detail),
    ]


def _finding_columns() -> list[Column]:
    return [
        Column("severity", lambda one: one.severity.value, style=lambda one: _STYLES[one.severity]),
        Column("finding", lambda one: one.id),
        Column("on", lambda one: one.subject),
        Column("detail", lambda one: one.detail),
    ]


def _summary(
    database: Database,
    found: Reconciliation,
    findings: Sequence[AuditFinding],
    counted: Sequence[AuditFinding],
    severity: Severity,
) -> str:
    drift = len(found.plan.steps) + len(found.leavers)
    looked = f"{len(database.tables.accounts)} accounts, {len(database.managed)} of them managed"
    words = [f"{drift} differences from people.toml" if drift else "No drift"]
    if not database.site.has_people_file:
        words = ["No people.toml to compare with"]
    if not findings:
        words.append("no findings")
    else:
        words.append(count(len(findings), "finding"))
        words.append(f"{len(counted) or 'none'} of them {severity} or worse")
    return f"{', '.join(words)}. ({looked})"
