"""What the audit finds beside the difference from people.toml. Pure: it asks the server nothing.

A finding has a rule with a stable id and a remedy. A theme is a module with one function for each
rule (or two that are hard to tell apart); adding a rule is adding a function to a module's `ALL`.
"""

from __future__ import annotations

from mapadmin.db.findings import logins, patterns, power, reach, server
from mapadmin.db.findings.model import AuditFinding, Facts, Severity

__all__ = ["AuditFinding", "Facts", "Severity", "find"]

_ALL = (*server.ALL, *logins.ALL, *patterns.ALL, *power.ALL, *reach.ALL)


def find(facts: Facts) -> list[AuditFinding]:
    """Everything that is found, the worst first."""
    found = [finding for finder in _ALL for finding in finder(facts)]
    return sorted(found, key=lambda one: (one.severity.rank, one.id, one.subject, one.detail))
