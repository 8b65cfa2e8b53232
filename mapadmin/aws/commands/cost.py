"""`mapadmin aws cost`: budgets, and, if it is worth a cent, what each service costs."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from mapadmin.admin import Admin
from mapadmin.aws import calls
from mapadmin.aws.commands._app import app
from mapadmin.aws.commands._open import aws_of
from mapadmin.aws.session import Aws
from mapadmin.core.errors import MapadminError
from mapadmin.core.files import make_private_folder, write_atomic
from mapadmin.core.report import Report
from mapadmin.core.tables import Column
from mapadmin.options import Json

_DAY = 86400.0


class Budget(msgspec.Struct, frozen=True):
    """Amounts in `unit` (USD), in the current period."""

    name: str
    period: str
    limit: float
    spent: float
    expected: float | None
    unit: str


class Cost(msgspec.Struct, frozen=True):
    """What a service cost in a month (its first day); `estimated`: the bill is not made yet."""

    month: str
    service: str
    amount: float
    unit: str
    estimated: bool


@app.command("cost")
def cost(
    ctx: typer.Context,
    explorer: Annotated[
        bool, typer.Option("--explorer", help="Each service's cost; a request costs 0.01 USD.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before it costs.")] = False,
    as_json: Json = False,
) -> None:
    """Budgets: spent and expected. With --explorer, the last months by service.

    Cost Explorer is paid for by request; its answer is kept for a day.
    """
    aws = aws_of(ctx, changes=True)
    report = Report(as_json=as_json)
    if explorer:
        path = ctx.ensure_object(Admin).site.state_folder / "cache" / "aws-costs.json"
        report.rows(_costs(aws, path, report, yes=yes), _COSTS, empty="Nothing was paid for.")
        recorded = aws.recorded(calls.COST)
    else:
        found = aws.pages(calls.BUDGETS, "Budgets", AccountId=aws.settings.account)
        report.rows([_budget(each) for each in found], _BUDGETS, empty="There are no budgets.")
        recorded = aws.recorded(calls.BUDGETS)
    if recorded:
        report.say("Note: a recorded answer of the sandbox.")


def _budget(found: dict[str, Any]) -> Budget:
    spend = found["CalculatedSpend"]
    ahead = spend.get("ForecastedSpend")
    return Budget(
        str(found["BudgetName"]), str(found["TimeUnit"]).lower(),
        float(found.get("BudgetLimit", {}).get("Amount", 0)), float(spend["ActualSpend"]["Amount"]),
        float(ahead["Amount"]) if ahead else None, str(spend["ActualSpend"]["Unit"]),
    )  # fmt: skip


def _costs(aws: Aws, path: Path, report: Report, *, yes: bool) -> list[Cost]:
    kept = _kept(path, aws.settings.account)
    if kept is not None:
        report.say("Note: kept from the last 24 hours.")
        return kept
    report.confirm("Ask Cost Explorer? It costs 0.01 USD.", yes=yes)
    today = datetime.now(UTC).date()
    begin = (today.replace(day=1) - timedelta(days=80)).replace(day=1)
    months: list[dict[str, Any]] = []
    more: dict[str, str] = {}
    while True:  # botocore knows no paginator for it
        answer = aws.call(
            calls.COST, TimePeriod={"Start": str(begin), "End": str(today + timedelta(days=1))},
            Granularity="MONTHLY", Metrics=["UnblendedCost"],
            GroupBy=[{"Type": "DIMENSION", "Key": "SERVICE"}], **more,
        )  # fmt: skip
        months += answer["ResultsByTime"]
        if not answer.get("NextPageToken"):
            break
        more = {"NextPageToken": answer["NextPageToken"]}
    rows = [
        Cost(
            month["TimePeriod"]["Start"], group["Keys"][0],
            round(float(group["Metrics"]["UnblendedCost"]["Amount"]), 2),
            group["Metrics"]["UnblendedCost"]["Unit"], bool(month.get("Estimated")),
        )
        for month in months for group in month.get("Groups", [])
    ]  # fmt: skip
    rows = [row for row in rows if abs(row.amount) >= 0.01]  # credits and refunds are below 0
    rows.sort(key=lambda row: (row.month, -row.amount))
    make_private_folder(path.parent)
    kept_now = {"asked": time.time(), "account": aws.settings.account,
                "rows": msgspec.to_builtins(rows)}  # fmt: skip
    write_atomic(path, json.dumps(kept_now), mode=0o600)
    return rows


def _kept(path: Path, account: str) -> list[Cost] | None:
    try:
        kept = json.loads(path.read_bytes())
        fresh = 0 <= time.time() - kept["asked"] < _DAY and kept["account"] == account
        return msgspec.convert(kept["rows"], list[Cost]) if fresh else None
    except (OSError, ValueError, KeyError, TypeError, MapadminError):
        return None


_BUDGETS = [
    Column("budget", lambda b: b.name),
    Column("period", lambda b: b.period),
    Column("limit", lambda b: f"{b.limit:,.2f}", right=True),
    Column("spent", lambda b: f"{b.spent:,.2f}", right=True),
    Column("expected", lambda b: f"{b.expected:,.2f}" if b.expected is not None else None,
           right=True),
    Column("", lambda b: b.unit),
]  # fmt: skip
_COSTS = [
    Column("month", lambda c: c.month[:7] + (" (estimated)" if c.estimated else "")),
    Column("service", lambda c: c.service),
    Column("cost", lambda c: f"{c.amount:,.2f}", right=True),
    Column("", lambda c: c.unit),
]
