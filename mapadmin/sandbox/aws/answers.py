"""Recorded answers: operations that moto does not know, in the words of the services' own APIs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from xml.sax.saxutils import escape

RECORDED = "x-mapadmin-recorded"
_XML = "text/xml"
_JSON = "application/x-amz-json-1.1"


def _rds(operation: str, result: str) -> str:
    return (
        f'<{operation}Response xmlns="http://rds.amazonaws.com/doc/2014-10-31/">'
        f"<{operation}Result>{result}</{operation}Result>"
        "<ResponseMetadata><RequestId>recorded</RequestId></ResponseMetadata>"
        f"</{operation}Response>"
    )


def _maintenance(form: dict[str, str]) -> tuple[str, str]:
    del form
    after = (datetime.now(UTC) + timedelta(days=20)).strftime("%Y-%m-%dT07:00:00Z")
    action = (
        "<PendingMaintenanceAction><Action>system-update</Action>"
        f"<AutoAppliedAfterDate>{after}</AutoAppliedAfterDate>"
        "<Description>New Operating System update is available</Description>"
        "</PendingMaintenanceAction>"
    )
    return _XML, _rds(
        "DescribePendingMaintenanceActions",
        "<PendingMaintenanceActions><ResourcePendingMaintenanceActions>"
        "<ResourceIdentifier>arn:aws:rds:us-east-1:123456789012:db:map-db</ResourceIdentifier>"
        f"<PendingMaintenanceActionDetails>{action}</PendingMaintenanceActionDetails>"
        "</ResourcePendingMaintenanceActions></PendingMaintenanceActions>",
    )


def _versions(form: dict[str, str]) -> tuple[str, str]:
    """Dates of the RDS User Guide, "Supported MySQL major versions on Amazon RDS", of May 2026."""
    supports = {
        "8.0": ("2026-07-31", "2029-07-31"),
        "8.4": ("2029-07-31", "2032-07-31"),
    }
    wanted = form.get("MajorEngineVersion", "")
    versions = "".join(
        "<DBMajorEngineVersion><Engine>mysql</Engine>"
        f"<MajorEngineVersion>{version}</MajorEngineVersion><SupportedEngineLifecycles>"
        + "".join(
            "<SupportedEngineLifecycle>"
            f"<LifecycleSupportName>open-source-rds-{name}-support</LifecycleSupportName>"
            f"<LifecycleSupportEndDate>{end}T23:59:59Z</LifecycleSupportEndDate>"
            "</SupportedEngineLifecycle>"
            for name, end in zip(("standard", "extended"), ends, strict=True)
        )
        + "</SupportedEngineLifecycles></DBMajorEngineVersion>"
        for version, ends in supports.items()
        if wanted in ("", version)
    )
    return _XML, _rds(
        "DescribeDBMajorEngineVersions",
        f"<DBMajorEngineVersions>{versions}</DBMajorEngineVersions>",
    )


# name: value, apply type, modifiable, allowed values
_DEFAULTS = {
    "sql_mode": ("NO_ENGINE_SUBSTITUTION", "dynamic", True, ""),
    "max_allowed_packet": ("", "dynamic", True, "1024-1073741824"),
    "wait_timeout": ("", "dynamic", True, "1-31536000"),
    "interactive_timeout": ("", "dynamic", True, "1-31536000"),
    "net_read_timeout": ("", "dynamic", True, "1-31536000"),
    "net_write_timeout": ("", "dynamic", True, "1-31536000"),
    "lock_wait_timeout": ("", "dynamic", True, "1-31536000"),
    "innodb_lock_wait_timeout": ("", "dynamic", True, "1-1073741824"),
    "innodb_rollback_on_timeout": ("", "static", True, "0,1"),
    "performance_schema": ("0", "static", True, "0,1"),
    "innodb_buffer_pool_size": ("{DBInstanceClassMemory*3/4}", "dynamic", True, ""),
    "innodb_redo_log_capacity": ("", "dynamic", False, ""),
    "max_connections": ("{DBInstanceClassMemory/12582880}", "dynamic", True, "1-100000"),
}


def _defaults(form: dict[str, str]) -> tuple[str, str]:
    family = escape(form.get("DBParameterGroupFamily", "mysql8.0"))
    parameters = "".join(
        f"<Parameter><ParameterName>{name}</ParameterName>"
        + (f"<ParameterValue>{value}</ParameterValue>" if value else "")
        + f"<Source>engine-default</Source><ApplyType>{kind}</ApplyType>"
        f"<IsModifiable>{str(modifiable).lower()}</IsModifiable>"
        + (f"<AllowedValues>{allowed}</AllowedValues>" if allowed else "")
        + "</Parameter>"
        for name, (value, kind, modifiable, allowed) in _DEFAULTS.items()
    )
    return _XML, _rds(
        "DescribeEngineDefaultParameters",
        f"<EngineDefaults><DBParameterGroupFamily>{family}</DBParameterGroupFamily>"
        f"<Parameters>{parameters}</Parameters></EngineDefaults>",
    )


_MONTHLY = {
    "Amazon Relational Database Service": 312.40,
    "Amazon Elastic Compute Cloud - Compute": 146.02,
    "Amazon Simple Storage Service": 88.17,
    "EC2 - Other": 31.55,
}


def _costs(form: dict[str, str]) -> tuple[str, str]:
    """Three months and this one's first days, each a little dearer than the one before."""
    del form
    today = datetime.now(UTC).date()
    starts = [today.replace(day=1)]
    for _ in range(3):
        starts.insert(0, (starts[0] - timedelta(days=1)).replace(day=1))
    ends: list[date] = [*starts[1:], today]
    months = [
        {
            "TimePeriod": {"Start": str(start), "End": str(end)},
            "Groups": [
                {
                    "Keys": [service],
                    "Metrics": {
                        "UnblendedCost": {
                            "Amount": f"{amount * (0.9 + 0.05 * i) * (end - start).days / 30:.4f}",
                            "Unit": "USD",
                        }
                    },
                }
                for service, amount in _MONTHLY.items()
            ],
            "Estimated": i == 3,
        }
        for i, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]
    return _JSON, json.dumps({"ResultsByTime": months})


def _budgets(form: dict[str, str]) -> tuple[str, str]:
    del form
    budget = {
        "BudgetName": "pipeline", "BudgetType": "COST", "TimeUnit": "MONTHLY",
        "BudgetLimit": {"Amount": "700.0", "Unit": "USD"},
        "CalculatedSpend": {
            "ActualSpend": {"Amount": "402.31", "Unit": "USD"},
            "ForecastedSpend": {"Amount": "588.9", "Unit": "USD"},
        },
    }  # fmt: skip
    return _JSON, json.dumps({"Budgets": [budget]})


# What answers an operation: content type and body. moto's own budgets have spent 0 for ever.
ANSWERS: dict[str, Callable[[dict[str, str]], tuple[str, str]]] = {
    "DescribePendingMaintenanceActions": _maintenance,
    "DescribeDBMajorEngineVersions": _versions,
    "DescribeEngineDefaultParameters": _defaults,
    "GetCostAndUsage": _costs,
    "DescribeBudgets": _budgets,
}


def complete(text: bytes, database: int | None) -> bytes:
    """moto's instances with what it leaves out: the server certificate's end, and a real server.

    All of them answer at the port of the sandbox's own database, if there is one.
    """
    end = (datetime.now(UTC) + timedelta(days=400)).strftime("%Y-%m-%dT00:00:00Z")
    details = (
        "<CertificateDetails><CAIdentifier>rds-ca-rsa2048-g1</CAIdentifier>"
        f"<ValidTill>{end}</ValidTill></CertificateDetails></DBInstance>"
    )
    text = text.replace(b"</DBInstance>", details.encode())
    if database is None:
        return text
    here = f"<Endpoint><Address>127.0.0.1</Address><Port>{database}</Port></Endpoint>"
    return re.sub(rb"<Endpoint>.*?</Endpoint>", here.encode(), text, flags=re.DOTALL)
