"""What findings are, and the facts that they are drawn from."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from functools import cached_property

from mapadmin.db.effective import PUBLIC
from mapadmin.db.grants import (
    Account,
    AccountState,
    Grants,
    GrantTables,
    Level,
    Privileges,
    Scope,
)
from mapadmin.db.matching import literal_prefix, matches
from mapadmin.db.policy import Wanted, is_system, own_pattern
from mapadmin.db.state import Managed
from mapadmin.db.statements import describe_grants
from mapadmin.site import DatabaseSettings

_FEW = 3  # names that stand for many in a sentence


class Severity(StrEnum):
    """How bad it is: `critical` is an open door, `info` is worth knowing."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """One thing that is not as it should be. `subject` is an account, a pattern, a role …"""

    id: str
    severity: Severity
    subject: str
    detail: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Rule:
    """What can be found. `id` is stable: scripts look for it."""

    id: str
    remedy: str

    def found(self, severity: Severity, subject: object, detail: str) -> AuditFinding:
        return AuditFinding(self.id, severity, str(subject) or "(anonymous)", detail, self.remedy)


@dataclass(frozen=True)
class Facts:
    """What is and what is wanted.

    `wanted` are the accounts of people.toml (none without that file), `own` is mapadmin's account,
    `roles` what the site's roles give.
    """

    settings: DatabaseSettings
    tables: GrantTables
    own: Account
    today: date
    managed: Mapping[Account, Managed] = field(default_factory=dict)
    wanted: Mapping[Account, Wanted] = field(default_factory=dict)
    roles: Mapping[str, Grants] = field(default_factory=dict)
    every_privilege: Privileges = frozenset()

    @cached_property
    def logins(self) -> Mapping[Account, AccountState]:
        """All that somebody could log in as, but for the server's own accounts."""
        return {
            account: state
            for account, state in self.tables.accounts.items()
            if not state.is_role and account != PUBLIC and not is_system(account.user)
        }

    @cached_property
    def audited(self) -> Mapping[Account, AccountState]:
        """Of these, those whose grants are this site's business."""
        ignored = set(self.settings.ignore_accounts)
        return {
            account: state
            for account, state in self.logins.items()
            if account != self.own and account.user and account.user not in ignored
        }

    @cached_property
    def owners(self) -> Mapping[str, Account]:
        """Who owns the schemas that start with their name, by name, each with one account."""
        out = {}
        for holders in (self.wanted, self.audited):
            for account, one in holders.items():
                if Scope(Level.DATABASE, own_pattern(account.user)) in one.grants:
                    out.setdefault(account.user, account)
        return out

    @cached_property
    def schemas(self) -> Schemas:
        return Schemas(self.tables.schemas)

    def expects(self, account: Account, scope: Scope, privileges: Privileges) -> bool:
        """Whether the site itself says that this account holds this."""
        wanted = self.wanted.get(account)
        return wanted is not None and privileges <= wanted.grants.get(scope, frozenset())

    def described(self, grants: Grants) -> str:
        """Grants in a few words."""
        few = dict(sorted(grants.items())[:_FEW])
        more = len(grants) - len(few)
        text = describe_grants(few, self.every_privilege)
        return f"{text}; and {more} more" if more else text


class Schemas:
    """The existing schemas, sorted, so that those of one prefix are found at once."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = sorted(names, key=str.encode)
        self._keys = [name.encode() for name in self._names]
        self._found: dict[str, list[str]] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __contains__(self, name: str) -> bool:
        return bool(self.matching(literal(name)))

    def matching(self, pattern: str) -> list[str]:
        """The schemas that a stored pattern matches."""
        if pattern not in self._found:
            prefix = literal_prefix(pattern)
            found = []
            for index in range(bisect_left(self._keys, prefix), len(self._keys)):
                if not self._keys[index].startswith(prefix):
                    break
                if matches(pattern, self._names[index]):
                    found.append(self._names[index])
            self._found[pattern] = found
        return self._found[pattern]


def literal(name: str) -> str:
    """A name as a stored pattern that matches nothing else."""
    return "".join(f"\\{char}" if char in "\\_%" else char for char in name)


def few(names: Collection[object]) -> str:
    """`a, b, c and 7 more`."""
    shown = ", ".join(str(name) for name in list(names)[:_FEW])
    more = len(names) - _FEW
    return f"{shown} and {more} more" if more > 0 else shown
