"""What findings are, and the facts that they are drawn from."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping
from datetime import date
from enum import StrEnum
from functools import cached_property

import msgspec

from mapadmin.db.grants import (
    GLOBAL,
    Account,
    AccountState,
    Grants,
    GrantTables,
    Privileges,
    Scope,
)
from mapadmin.db.names import is_system, own_scope
from mapadmin.db.policy import Wanted
from mapadmin.db.rights.effective import PUBLIC
from mapadmin.db.rights.matching import literal_prefix, matches
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


class AuditFinding(msgspec.Struct, frozen=True):
    """One thing that is not as it should be. `subject` is an account, a pattern, a role …"""

    id: str
    severity: Severity
    subject: str
    detail: str
    remedy: str


class Rule(msgspec.Struct, frozen=True):
    """What can be found. `id` is stable: scripts look for it."""

    id: str
    remedy: str

    def found(self, severity: Severity, subject: object, detail: str) -> AuditFinding:
        return AuditFinding(self.id, severity, str(subject), detail, self.remedy)


class Facts(msgspec.Struct, dict=True, frozen=True):
    """What is and what is wanted.

    `wanted` are the accounts of people.toml (none without that file), `own` is mapadmin's account,
    `roles` what the site's roles give.
    """

    settings: DatabaseSettings
    tables: GrantTables
    own: Account
    today: date
    managed: Mapping[Account, Managed] = msgspec.field(default_factory=dict)
    wanted: Mapping[Account, Wanted] = msgspec.field(default_factory=dict)
    roles: Mapping[str, Grants] = msgspec.field(default_factory=dict)
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
    def owners(self) -> frozenset[str]:
        """The names of those who own the schemas that start with them, or are to own them."""
        holders: list[Mapping[Account, Wanted] | Mapping[Account, AccountState]]
        holders = [self.wanted, self.audited]
        return frozenset(
            account.user
            for accounts in holders
            for account, one in accounts.items()
            if own_scope(account.user, self.tables) in one.grants
        )

    @cached_property
    def schemas(self) -> Schemas:
        return Schemas(self.tables)

    @cached_property
    def sees_schemas(self) -> bool:
        """Whether the server shows all schemas to mapadmin's account."""
        state = self.tables.accounts.get(self.own)
        if state is None or state.roles:
            return True  # it may well hold the privilege in a way that is not looked at here
        showing = self.tables.database_privileges | {"SHOW DATABASES"}
        return bool(showing & state.grants.get(GLOBAL, frozenset()))

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

    def __init__(self, tables: GrantTables) -> None:
        self._flavour = tables.flavour
        self._folds = tables.folds
        self._names = sorted(map(self._fold, tables.schemas), key=str.encode)
        self._keys = [name.encode() for name in self._names]
        self._found: dict[str, list[str]] = {}

    def exists(self, name: str) -> bool:
        key = self._fold(name).encode()
        place = bisect_left(self._keys, key)
        return self._keys[place : place + 1] == [key]

    def matching(self, pattern: str) -> list[str]:
        """The schemas that a stored pattern matches, sorted."""
        if pattern not in self._found:
            self._found[pattern] = list(self._look(self._fold(pattern)))
        return self._found[pattern]

    def match(self, pattern: str, name: str) -> bool:
        """Whether a stored pattern matches one schema."""
        return matches(self._flavour, self._fold(pattern), self._fold(name))

    def _look(self, pattern: str) -> Iterator[str]:
        prefix = literal_prefix(pattern)
        for place in range(bisect_left(self._keys, prefix), len(self._keys)):
            if not self._keys[place].startswith(prefix):
                return
            if matches(self._flavour, pattern, self._names[place]):
                yield self._names[place]

    def _fold(self, name: str) -> str:
        return name.lower() if self._folds else name


def few(names: Collection[object]) -> str:
    """`a, b, c and 7 more`."""
    shown = ", ".join(str(name) for name in list(names)[:_FEW])
    more = len(names) - _FEW
    return f"{shown} and {more} more" if more > 0 else shown
