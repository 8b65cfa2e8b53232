"""Entries of people.toml for accounts that exist, tried before they are believed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import msgspec

from mapadmin.core.errors import SettingsError
from mapadmin.db.adoption.role_inference import Holding, Roles, beyond, infer, privilege_names
from mapadmin.db.compare import differences, is_same
from mapadmin.db.grants import Account, AccountState, Grants, GrantTables, Level, Privileges
from mapadmin.db.names import own_scope
from mapadmin.db.policy import Policy, Wanted, is_expired
from mapadmin.db.rights.patterns import overlap
from mapadmin.db.state import Managed
from mapadmin.site import Person, Site

RoleText = dict[str, list[str]]


class Draft(msgspec.Struct, frozen=True):
    """The accounts of one user name that are alike, on their way into people.toml.

    `grants` are without what the ownership of schemas (`owns`) gives; `known` is what mapadmin
    remembers of them.
    """

    name: str
    accounts: tuple[Account, ...]
    state: AccountState
    known: Managed | None
    service: bool
    owns: bool
    grants: Grants


class Settled(msgspec.Struct):
    """The roles to be made, and each draft's entry with the accounts that it gives."""

    roles: dict[str, RoleText] = msgspec.field(default_factory=dict)
    entries: list[tuple[Draft, Person, list[Wanted]]] = msgspec.field(default_factory=list)
    failed: dict[str, str] = msgspec.field(default_factory=dict)  # name: why


class Settler:
    """Finds roles and entries that give exactly what the server holds."""

    def __init__(self, site: Site, tables: GrantTables, own: Account, today: date) -> None:
        self._site = site
        self._tables = tables
        self._own = own
        self._today = today
        policy = self._policy({})
        self._every: Privileges = policy.every_privilege
        self._known = {role: _role(policy, role) for role in site.settings.roles}

    def settle(self, drafts: Sequence[Draft]) -> Settled:
        """Find roles, try what comes of it, and leave out whom it does not fit, until all fit."""
        failed: dict[str, str] = {}
        while True:
            out = self._attempt([draft for draft in drafts if draft.name not in failed])
            if not out.failed:
                out.failed = failed
                return out
            failed |= out.failed

    def _attempt(self, drafts: Sequence[Draft]) -> Settled:
        roles = infer(
            list(map(self._holding, drafts)), self._known, self._every,
            self._site.database.project_prefix,
        )  # fmt: skip
        out = Settled({role: self._texts(grants) for role, grants in roles.new.items()})
        policy = self._policy(out.roles)
        for draft in drafts:
            person = self._person(draft, roles, policy)
            reason, wanted = self._tried(draft, person, policy)
            if reason:
                out.failed[draft.name] = reason
            else:
                out.entries.append((draft, person, wanted))
        return out

    def _policy(self, roles: Mapping[str, RoleText]) -> Policy:
        settings = self._site.settings
        trial = msgspec.structs.replace(settings, roles={**settings.roles, **roles})
        site = Site(self._site.folder, trial, self._site.people)
        return Policy(site, self._tables, self._own, self._today)

    def _holding(self, draft: Draft) -> Holding:
        project = own_scope(self._site.database.project_prefix, self._tables).schema
        shared = {
            scope: held
            for scope, held in draft.grants.items()
            if scope.level is Level.DATABASE
            and scope != own_scope(draft.name, self._tables)
            and overlap(scope.schema, project)
        }
        preferred = draft.known.role if draft.known else ""
        return Holding(draft.name, draft.service, draft.grants, shared, preferred)

    def _person(self, draft: Draft, roles: Roles, policy: Policy) -> Person:
        role = roles.of.get(draft.name, "")
        tls = draft.state.tls
        person = Person(
            role=role,
            hosts=[account.host for account in draft.accounts],
            own_schemas=None if draft.owns != draft.service else draft.owns,
            grants=self._texts(beyond(draft.grants, _role(policy, role))),
            native_roles=sorted(map(str, draft.state.roles)),
            require_tls=None if tls == self._site.database.require_tls else tls,
            expires=draft.known.expires if draft.known else None,
        )
        over = is_expired(person, self._today)
        return msgspec.structs.replace(person, locked=draft.state.locked and not over)

    def _tried(self, draft: Draft, person: Person, policy: Policy) -> tuple[str, list[Wanted]]:
        """Why an entry would not give what is there, or else what it gives."""
        try:
            wanted = policy.wanted(draft.name, person, service=draft.service)
        except SettingsError as error:
            return f"it cannot be written: {error.message.partition(f'{draft.name}: ')[2]}", []
        for one in wanted:
            state = self._tables.accounts[one.account]
            if not is_same(one, state):
                found = differences(one, state, self._every)[0]
                return f"privileges add up in people.toml, and as they would it {found}", []
        return "", wanted

    def _texts(self, grants: Grants) -> RoleText:
        return {
            str(scope): privilege_names(scope, held, self._every)
            for scope, held in sorted(grants.items())
        }


def _role(policy: Policy, role: str) -> Grants:
    """What a role gives, added up; nothing if its own patterns contradict each other."""
    try:
        (wanted,) = policy.wanted("", Person(role=role), service=True)
    except SettingsError:
        return {}
    return wanted.grants
