"""From what is and what is wanted to a plan. Pure, and the same for one account or ten thousand.

The order keeps access whole: everything is granted before anything is revoked, and a session never
loses what it had before and shall have afterwards. New accounts are made locked, and are unlocked
by the statement that sets their password, after their grants are there; one that was locked is
unlocked last, when it no longer has what it shall not have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from mapadmin.core.plan import Plan, Step
from mapadmin.core.secret import Secret, generate_password
from mapadmin.db.grants import Account, AccountState, Flavour, GrantTables, Level, Privileges, Scope
from mapadmin.db.hashes import password_plugin
from mapadmin.db.policy import Wanted
from mapadmin.db.rights.matching import specificity
from mapadmin.db.state import Managed, Stage, State
from mapadmin.db.statements import (
    Sql,
    SqlStep,
    clear_leftovers,
    create_locked,
    describe,
    grant,
    revoke,
    revoke_native_role,
    set_locked,
    set_password,
    set_tls,
)

_NOTHING: Privileges = frozenset()


class Changes(msgspec.Struct):
    """The steps of many accounts by phase; `plan` puts the phases in their order.

    Phases, not accounts, come one after the other, because neighbouring statements of one form are
    sent as one (see `statements.merge`): a thousand accounts cost a few dozen statements.
    """

    marks: list[Step] = msgspec.field(default_factory=list)
    creates: list[Step] = msgspec.field(default_factory=list)
    grants: list[SqlStep] = msgspec.field(default_factory=list)
    passwords_set: list[Step] = msgspec.field(default_factory=list)
    attributes: list[Step] = msgspec.field(default_factory=list)
    revokes: list[Step] = msgspec.field(default_factory=list)
    unlocks: list[Step] = msgspec.field(default_factory=list)
    passwords: dict[Account, Secret] = msgspec.field(default_factory=dict)
    notes: list[str] = msgspec.field(default_factory=list)

    def plan(self, *before_unlock: Step) -> Plan:
        """All phases in order; `before_unlock` goes in just before an account becomes usable."""
        steps = (
            *self.marks, *self.creates, *_alike_together(self.grants), *before_unlock,
            *self.passwords_set, *self.attributes, *self.revokes, *self.unlocks,
        )  # fmt: skip
        return Plan(steps, tuple(self.notes))


class Differ:
    """Compares accounts of one server.

    `own` is mapadmin's own account, `state` is where managed accounts are marked.
    """

    def __init__(
        self, tables: GrantTables, own: Account, state: State, every_privilege: Privileges
    ) -> None:
        self._tables = tables
        self._own = own
        self._state = state
        self._every = every_privilege

    @property
    def flavour(self) -> Flavour:
        return self._tables.flavour

    def create(self, wanted: Wanted, changes: Changes, password: Secret | None = None) -> None:
        """An account that is not there, or whose creation was cut short."""
        account = wanted.account
        current = self._tables.accounts.get(account)
        name = str(account)
        changes.marks.append(self.mark(wanted, Stage.CREATING))
        if account in self._tables.orphans:
            changes.creates.append(
                SqlStep(
                    action="clear leftovers", target=name,
                    detail="grants of an account that is gone; the server refuses a new one",
                    statements=(clear_leftovers(account),),
                )
            )  # fmt: skip
        if current is None:
            changes.creates.append(
                SqlStep(
                    action="create account", target=name,
                    detail="locked" + (", TLS required" if wanted.tls else ""),
                    statements=(
                        create_locked(
                            account, self.flavour, self._tables.default_plugin, tls=wanted.tls
                        ),
                    ),
                )
            )  # fmt: skip
        else:
            # Its password may be set, so it may be unlocked already.
            self._compare_attributes(wanted, current, changes.creates)
        self._compare_grants(wanted, current, changes)
        secret = password or generate_password()
        changes.passwords[account] = secret
        changes.passwords_set.append(
            SqlStep(
                action="set password", target=name,
                detail="stays locked" if wanted.locked else "and unlock",
                statements=(
                    set_password(
                        account, self.flavour, secret,
                        plugin=password_plugin(current, self._tables),
                        unlock=not wanted.locked,
                    ),
                ),
            )
        )  # fmt: skip

    def change(self, wanted: Wanted, known: Managed, changes: Changes) -> None:
        """An existing, managed account: whatever differs, and nothing else."""
        current = self._tables.accounts[wanted.account]
        if (known.role, known.service, known.expires) != (
            wanted.role,
            wanted.service,
            wanted.expires,
        ):
            changes.marks.append(self.mark(wanted, Stage.MANAGED))
        self._compare_grants(wanted, current, changes)
        self._compare_attributes(wanted, current, changes.attributes)
        if current.locked and not wanted.locked:
            changes.unlocks.append(
                SqlStep(
                    action="unlock account", target=str(wanted.account),
                    statements=(set_locked(wanted.account, locked=False),),
                )
            )  # fmt: skip

    def mark(self, wanted: Wanted, stage: Stage) -> SqlStep:
        """The step that remembers an account as it is wanted."""
        return SqlStep(
            action="record", target=str(wanted.account),
            detail=f"managed, role {wanted.role or 'none'}",
            statements=(self._state.mark(_entry(wanted, stage)),),
        )  # fmt: skip

    def _compare_attributes(self, wanted: Wanted, current: AccountState, steps: list[Step]) -> None:
        """Locking and TLS; unlocking has its own place."""
        name = str(wanted.account)
        if wanted.locked and not current.locked:
            steps.append(
                SqlStep(
                    action="lock account", target=name,
                    detail="expired" if wanted.expired else "",
                    statements=(set_locked(wanted.account, locked=True),),
                )
            )  # fmt: skip
        if current.tls != wanted.tls:
            steps.append(
                SqlStep(
                    action="require TLS" if wanted.tls else "allow without TLS", target=name,
                    statements=(set_tls(wanted.account, tls=wanted.tls),),
                )
            )  # fmt: skip

    def _compare_grants(
        self, wanted: Wanted, current: AccountState | None, changes: Changes
    ) -> None:
        account = wanted.account
        held = current.grants if current is not None else {}
        if held != wanted.grants:
            for scope, privileges in wanted.grants.items():
                if missing := privileges - held.get(scope, _NOTHING):
                    changes.grants.append(self._grant_step(account, scope, missing))
            for scope in _narrowest_last(held, self.flavour):
                if extra := held[scope] - wanted.grants.get(scope, _NOTHING):
                    changes.revokes.append(self._revoke_step(account, scope, extra))
        for role in sorted(current.roles if current is not None else ()):
            if not wanted.native_roles & {role.user, str(role)}:
                self._revoke_role(account, role, changes)

    def _revoke_role(self, account: Account, role: Account, changes: Changes) -> None:
        own = self._tables.accounts.get(self._own)
        if self.flavour is Flavour.MARIADB and own and role not in own.admin_roles:
            # To MariaDB, only a role's administrators may take it from somebody (1698 otherwise).
            changes.notes.append(
                f"{account} has the native role {role}, which only an administrator of that role "
                f"can take away: REVOKE {role} FROM {account}"
            )
            return
        changes.revokes.append(
            SqlStep(
                action="revoke native role", target=str(account), detail=str(role),
                statements=(revoke_native_role(account, role, self.flavour),),
            )
        )  # fmt: skip

    def _grant_step(self, account: Account, scope: Scope, privileges: Privileges) -> SqlStep:
        return SqlStep(
            action="grant", target=str(account),
            detail=f"{describe(privileges, self._every)} on {scope}",
            statements=(grant(account, scope, privileges),),
        )  # fmt: skip

    def _revoke_step(self, account: Account, scope: Scope, privileges: Privileges) -> SqlStep:
        return SqlStep(
            action="revoke", target=str(account),
            detail=f"{describe(privileges, self._every)} on {scope}",
            statements=(revoke(account, scope, privileges),),
        )  # fmt: skip

    def remember(self, wanted: Wanted) -> Sql:
        """The statement that ends the creation of an account whose password was handed over."""
        return self._state.mark(_entry(wanted, Stage.MANAGED))


def _alike_together(steps: Iterable[SqlStep]) -> Iterator[SqlStep]:
    """The same grant to many becomes one statement, if nothing stands in between."""
    groups: dict[tuple[str, str], list[SqlStep]] = {}
    for step in steps:
        (sql,) = step.statements
        groups.setdefault((sql.head, sql.tail), []).append(step)
    for group in groups.values():
        yield from group


def _entry(wanted: Wanted, stage: Stage) -> Managed:
    return Managed(wanted.account, stage, wanted.role, wanted.service, wanted.expires)


def _narrowest_last(grants: Iterable[Scope], flavour: Flavour) -> list[Scope]:
    """The order of revoking: a narrow row hides the wide ones while it exists, and goes last.

    Were it the other way round, a name could for a moment fall to a wide old row that gives less
    than what was there before and will be there after.
    """
    databases = [scope for scope in grants if scope.level is Level.DATABASE]
    others = sorted(scope for scope in grants if scope.level is not Level.DATABASE)
    return sorted(databases, key=lambda scope: specificity(flavour, scope.schema)) + others
