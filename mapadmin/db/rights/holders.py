"""Whose grants count for a session: its account's, its namesakes', its roles', PUBLIC's. Pure."""

from __future__ import annotations

from mapadmin.db.grants import Account, Flavour, Grants, GrantTables
from mapadmin.db.rights.effective import PUBLIC, Session
from mapadmin.db.rights.matching import client_of, host_matches, row_rank


class Holders:
    """All accounts and roles of a server, and those that do not exist but have grants."""

    def __init__(self, tables: GrantTables) -> None:
        self._tables = tables
        self._grants: dict[Account, Grants] = dict(tables.orphans)
        self._grants |= {account: state.grants for account, state in tables.accounts.items()}
        self._by_user: dict[str, list[Account]] = {}
        for account in self._grants:
            self._by_user.setdefault(account.user, []).append(account)

    def grants(self, holder: Account) -> Grants:
        return self._grants.get(holder, {})

    def namesakes(self, session: Session) -> list[Account]:
        """All whose rows might be found for a session: those of its user and the anonymous one."""
        user = session.account.user
        return [one for name in {user, ""} for one in self._by_user.get(name, ())]

    def by_name(self, session: Session) -> list[Account]:
        """The accounts whose rows the server finds by name and client, the first one first."""
        account, flavour = session.account, self._tables.flavour
        if session.roles and flavour is Flavour.MYSQL:
            return [account]
        client = client_of(
            session.client, account.host, names_resolved=not self._tables.skip_name_resolve
        )
        found = [
            other
            for other in self._by_user.get(account.user, ())
            if other == account or host_matches(flavour, other.host, client)
        ]
        return sorted(found, key=lambda one: row_rank(flavour, one.user, one.host, ""))

    def lent(self, session: Session) -> list[Account]:
        """The active roles with all that is granted to them, and MariaDB's PUBLIC."""
        queue = sorted(session.roles)
        if self._tables.flavour is Flavour.MARIADB:
            queue.append(PUBLIC)
        for role in queue:
            state = self._tables.accounts.get(role)
            queue.extend(sorted((state.roles if state else frozenset()) - set(queue)))
        return queue

    def held(self, session: Session, holder: Account) -> str:
        """What a holder is to a session: `own`, `role`, `public` or `other`."""
        if holder == session.account:
            return "own"
        if holder == PUBLIC and self._tables.flavour is Flavour.MARIADB:
            return "public"
        return "role" if holder in self.lent(session) else "other"
