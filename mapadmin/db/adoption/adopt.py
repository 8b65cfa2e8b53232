"""What people.toml and the roles must say so that a server is as it is already. Pure.

Whatever is proposed is tried with the site's own rules first: an account is taken over only if
what they make of its entry is exactly what the server holds. All others stay as they are, each with
the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from datetime import date

import msgspec

from mapadmin.db.adoption.adoptable import refusal, unlike
from mapadmin.db.adoption.drafts import Draft, RoleText, Settler
from mapadmin.db.compare import differences
from mapadmin.db.grants import Account, GrantTables, Level, Scope
from mapadmin.db.names import is_system, own_scope
from mapadmin.db.policy import Policy, Wanted
from mapadmin.db.rights.effective import PUBLIC
from mapadmin.db.state import Managed, Stage
from mapadmin.site import Person, Site


class Adoption(msgspec.Struct):
    """What is to be written: new roles, new or changed entries. `left` says why others are not.

    `exact` are all accounts that these entries describe just as the server has them, `marks` those
    that mapadmin is to remember; `as_written` of them are not as the server has them.
    """

    roles: dict[str, RoleText] = msgspec.field(default_factory=dict)
    people: dict[str, Person] = msgspec.field(default_factory=dict)
    services: dict[str, Person] = msgspec.field(default_factory=dict)
    exact: list[Wanted] = msgspec.field(default_factory=list)
    marks: list[Wanted] = msgspec.field(default_factory=list)
    as_written: list[Account] = msgspec.field(default_factory=list)
    left: dict[Account, str] = msgspec.field(default_factory=dict)

    def notes(self) -> tuple[str, ...]:
        """In sentences: who gets which role, and who is left alone and why."""
        out = []
        if everybody := [*self.people.values(), *self.services.values()]:
            roles = Counter(person.role or "no role" for person in everybody)
            shares = ", ".join(f"{role}: {count}" for role, count in roles.most_common())
            people = f"{len(self.people)} {'person' if len(self.people) == 1 else 'people'}"
            services = f"{len(self.services)} service{'s' if len(self.services) != 1 else ''}"
            out.append(f"{people} and {services} ({shares})")
        for account in self.as_written:
            out.append(f"{account} is not as people.toml says: `apply` will change it")
        by_reason: dict[str, list[str]] = {}
        for account, reason in sorted(self.left.items()):
            shown = str(account) if account.user else f"''{account}"
            by_reason.setdefault(reason, []).append(shown)
        for reason, names in by_reason.items():
            verb = "is" if len(names) == 1 else "are"
            out.append(f"{', '.join(names)} {verb} left alone: {reason}")
        return tuple(out)


class Adopter:
    """Looks at one server for one site. `own` is mapadmin's account."""

    def __init__(
        self,
        site: Site,
        tables: GrantTables,
        managed: Mapping[Account, Managed],
        own: Account,
        today: date,
    ) -> None:
        self._site = site
        self._tables = tables
        self._managed = managed
        self._own = own
        self._today = today
        self._policy = Policy(site, tables, own, today)
        self._every = self._policy.every_privilege

    def adopt(self, names: Collection[str] = (), *, as_written: bool = False) -> Adoption:
        """Everything that can be taken over, or of it what has one of these user names.

        `as_written`: also those that people.toml describes otherwise; `apply` then changes them.
        """
        out = Adoption()
        drafts = []
        for name, accounts in self._by_user(names).items():
            if name in self._site.everyone():
                self._known_entry(name, accounts, out, as_written=as_written)
            elif draft := self._draft(name, accounts, out, named=name in names):
                drafts.append(draft)
        self._settle(drafts, out)
        return out

    # --- who ------------------------------------------------------------------------------------

    def _by_user(self, names: Collection[str]) -> dict[str, list[Account]]:
        """The accounts in question by user name. Those of the server and of others are left out."""
        out: dict[str, list[Account]] = {}
        for account, state in sorted(self._tables.accounts.items()):
            if names and account.user not in names:
                continue
            if state.is_role or account == PUBLIC or is_system(account.user):
                continue
            ours = account.user not in {self._own.user, *self._site.database.ignore_accounts}
            if ours or account.user in names:
                out.setdefault(account.user, []).append(account)
        return out

    def _refusal(self, account: Account) -> str:
        known = self._managed.get(account)
        unfinished = known is not None and known.stage is Stage.CREATING
        return refusal(self._tables.accounts[account], self._site, self._own, unfinished=unfinished)

    def _draft(
        self, name: str, accounts: list[Account], out: Adoption, *, named: bool
    ) -> Draft | None:
        """A user who is not in people.toml; None when there is a reason to leave them out."""
        refused = {account: why for account in accounts if (why := self._refusal(account))}
        out.left |= refused
        rest = [account for account in accounts if account not in refused]
        if not rest:
            return None
        known = [self._managed[account] for account in rest if account in self._managed]
        if reason := self._unlike(rest, known, named=named):
            out.left |= dict.fromkeys(rest, reason)
            return None
        return self._drafted(name, tuple(rest), known[0] if known else None)

    def _unlike(self, accounts: list[Account], known: list[Managed], *, named: bool) -> str:
        """Why these accounts cannot be one entry; empty when they can."""
        if known and self._site.has_people_file and not named:
            return "it left people.toml (`apply --prune` removes it, its name here takes it back)"
        if len({(one.role, one.service, one.expires) for one in known}) > 1:
            return "mapadmin remembers different things of its accounts"
        return unlike([self._tables.accounts[one] for one in accounts], self._every)

    def _drafted(self, name: str, accounts: tuple[Account, ...], known: Managed | None) -> Draft:
        state = self._tables.accounts[accounts[0]]
        own = own_scope(name, self._tables)
        # As people write it by hand: without the backslash, or without the underscore.
        by_hand = {
            self._tables.stored(Scope(Level.DATABASE, f"{name}{rest}")) for rest in ("_%", "%")
        }
        grants = dict(state.grants)
        owns = own in grants and self._every <= grants[own]
        if owns:
            grants[own] -= self._every
        return Draft(
            name=name,
            accounts=accounts,
            state=state,
            known=known,
            service=known.service if known else not {own, *by_hand} & state.grants.keys(),
            owns=owns,
            grants={scope: held for scope, held in grants.items() if held},
        )

    # --- people.toml knows them -----------------------------------------------------------------

    def _known_entry(
        self, name: str, accounts: list[Account], out: Adoption, *, as_written: bool
    ) -> None:
        """Accounts of somebody in people.toml: only to be marked, unless there is a new host."""
        service = name in self._site.people.services
        person = self._site.everyone()[name]
        hosts = list(person.hosts)
        for account in accounts:
            known = self._managed.get(account)
            if known is not None and known.stage is Stage.MANAGED:
                continue
            if reason := self._refusal(account):
                out.left[account] = reason
                continue
            here = msgspec.structs.replace(person, hosts=[account.host])
            (wanted,) = self._policy.wanted(name, here, service=service)
            differs = differences(wanted, self._tables.accounts[account], self._every)
            if differs and not (as_written and account.host in hosts):
                out.left[account] = (
                    f"it {differs[0]}, unlike its entry in people.toml (with --as-written it is "
                    "taken over all the same, and `apply` changes it)"
                )
                continue
            if differs:
                out.as_written.append(account)
            else:
                out.exact.append(wanted)
            if account.host not in hosts:
                hosts.append(account.host)
            out.marks.append(wanted)
        if hosts != person.hosts:
            section = out.services if service else out.people
            section[name] = msgspec.structs.replace(person, hosts=hosts)

    # --- everybody else -------------------------------------------------------------------------

    def _settle(self, drafts: list[Draft], out: Adoption) -> None:
        settler = Settler(self._site, self._tables, self._own, self._today)
        settled = settler.settle(drafts)
        out.roles = settled.roles
        for draft in drafts:
            if draft.name in settled.failed:
                out.left |= dict.fromkeys(draft.accounts, settled.failed[draft.name])
        for draft, person, wanted in settled.entries:
            (out.services if draft.service else out.people)[draft.name] = person
            out.exact += wanted
            out.marks += [one for one in wanted if not self._is_marked(one)]

    def _is_marked(self, wanted: Wanted) -> bool:
        known = self._managed.get(wanted.account)
        return known is not None and (known.role, known.service, known.expires) == (
            wanted.role, wanted.service, wanted.expires,
        )  # fmt: skip
