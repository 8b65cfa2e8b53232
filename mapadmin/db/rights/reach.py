"""What an account reaches, in as few lines as say it all, and where each privilege comes from.

Pure: `effective` answers for each schema; here what is alike is put together, and what an account
holds on the whole server and on single tables and routines is added.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from mapadmin.db.grants import (
    GLOBAL,
    Account,
    GrantTables,
    Level,
    Privileges,
    Scope,
    pattern_to_glob,
    pattern_tokens,
)
from mapadmin.db.rights.effective import Effective, Resolver, Session, Source
from mapadmin.db.rights.holders import Holders
from mapadmin.db.rights.matching import specificity

_RULES_OF_THEIR_OWN = ("information_schema", "performance_schema")


class Origin(msgspec.Struct, frozen=True, order=True):
    """A grant that gives a privilege: on what, and held by whom.

    `held` is `own`, `role`, `public`, or `other`: a row of another account of this name, or of the
    anonymous user, which the server finds for this account's sessions, too.
    """

    on: str
    holder: str
    held: str

    def __str__(self) -> str:
        prefix = {"own": "", "role": f"role {self.holder}: ", "public": "PUBLIC: "}
        return prefix.get(self.held, f"row of {self.holder}: ") + self.on


class Reach(msgspec.Struct, frozen=True):
    """What one grant, `origin`, gives somewhere.

    `level` is global, database, table, column, procedure and so on. At the database level `on` is a
    pattern as a site file writes it, and `schemas` the existing ones that it decides on (none, if
    there are none yet); or `on` is one schema.
    """

    user: str
    host: str
    level: str
    on: str
    schemas: tuple[str, ...]
    privileges: tuple[str, ...]
    origin: Origin


class Reacher:
    """Answers for any account of one server."""

    def __init__(self, tables: GrantTables) -> None:
        self._tables = tables
        self._resolver = Resolver(tables)
        self._schemas = sorted(tables.schemas.difference(_RULES_OF_THEIR_OWN))
        self._holders = Holders(tables)

    # --- questions -----------------------------------------------------------------------------

    def of_account(self, account: Account, *, each: bool = False) -> list[Reach]:
        """All that an account reaches right after a login.

        Schemas that are reached alike go together, and what `*.*` gives is said once; with `each`,
        every schema is by itself with all that counts there.
        """
        session = self._resolver.default_session(account)
        out = [*self._everywhere(session)]
        groups = self._alike(session)
        if each:
            single = [(schema, rights) for rights, schemas in groups for schema in schemas]
            for schema, rights in sorted(single, key=lambda pair: pair[0]):
                out += self._lines(session, schema, [schema], rights)
        shown = {""}
        for rights, schemas in groups:
            pattern = self._narrowest(rights)
            shown.add(pattern)
            if pattern and not each:
                on = pattern_to_glob(pattern)
                out += self._lines(session, on, schemas, rights, everywhere=False)
        for pattern in sorted(self._patterns(session) - shown):
            rights = self._resolver.effective(session, _sample(pattern))
            if self._narrowest(rights) == pattern:
                on = pattern_to_glob(pattern)
                out += self._lines(session, on, [], rights, everywhere=False)
        return [*out, *self._objects(session, None)]

    def active_roles(self, account: Account) -> frozenset[Account]:
        """The native roles that are active right after a login."""
        return self._resolver.default_session(account).roles

    def everywhere(self, account: Account) -> Privileges:
        """What an account holds on `*.*` right after a login, itself or through roles."""
        session = self._resolver.default_session(account)
        return frozenset(p for line in self._everywhere(session) for p in line.privileges)

    def on_schema(self, account: Account, schema: str) -> Privileges:
        """What an account may do on a schema right after a login."""
        session = self._resolver.default_session(account)
        return frozenset(self._resolver.effective(session, schema))

    def of_schema(self, schema: str, accounts: Iterable[Account]) -> list[Reach]:
        """How each of these accounts reaches one schema, or something in it."""
        out: list[Reach] = []
        existing = [schema] if schema in self._tables.schemas else []
        for account in accounts:
            session = self._resolver.default_session(account)
            rights = self._resolver.effective(session, schema)
            out += self._lines(session, schema, existing, rights)
            out += self._objects(session, schema)
        return out

    # --- whole schemas -------------------------------------------------------------------------

    def _alike(self, session: Session) -> list[tuple[Effective, list[str]]]:
        """The existing schemas that a session reaches, by what it may do there and why."""
        groups: dict[frozenset[tuple[str, frozenset[Source]]], tuple[Effective, list[str]]] = {}
        for schema in self._schemas:
            rights = self._resolver.effective(session, schema)
            if rights:
                groups.setdefault(frozenset(rights.items()), (rights, []))[1].append(schema)
        return list(groups.values())

    def _narrowest(self, rights: Effective) -> str:
        """The stored pattern that decides; '' when it is only global privileges that count."""
        patterns = {
            source.scope.schema
            for sources in rights.values()
            for source in sources
            if source.scope.level is Level.DATABASE
        }
        flavour = self._tables.flavour
        return max(patterns, key=lambda pattern: specificity(flavour, pattern), default="")

    def _patterns(self, session: Session) -> set[str]:
        """All patterns that might count for a session."""
        return {
            scope.schema
            for holder in (*self._holders.namesakes(session), *self._holders.lent(session))
            for scope in self._holders.grants(holder)
            if scope.level is Level.DATABASE
        }

    def _lines(
        self,
        session: Session,
        on: str,
        schemas: Sequence[str],
        rights: Effective,
        *,
        everywhere: bool = True,
    ) -> Iterator[Reach]:
        """One line for each grant with what it gives there; `*.*` comes last, if it is wanted."""
        given: dict[Source, list[str]] = {}
        for privilege, sources in rights.items():
            for source in sources:
                if everywhere or source.scope != GLOBAL:
                    given.setdefault(source, []).append(privilege)
        for source in sorted(given, key=lambda source: (source.scope == GLOBAL, source)):
            yield self._reach(session, source, on, given[source], schemas)

    # --- the whole server, single tables and routines ------------------------------------------

    def _everywhere(self, session: Session) -> Iterator[Reach]:
        for holder in (session.account, *self._holders.lent(session)):
            if held := self._holders.grants(holder).get(GLOBAL):
                yield self._reach(session, Source(GLOBAL, holder), str(GLOBAL), held)

    def _objects(self, session: Session, schema: str | None) -> Iterator[Reach]:
        found: dict[Scope, list[Account]] = {}
        lent = self._holders.lent(session)
        for holder in (*self._holders.by_name(session), *lent):
            for scope in self._holders.grants(holder):
                if scope.level > Level.DATABASE and self._is_in(scope, schema):
                    found.setdefault(scope, []).append(holder)
        for scope, holders in sorted(found.items()):
            # Of the rows of one name the server takes the first alone; those of roles add to it.
            first = [holder for holder in holders if holder not in lent][:1]
            for holder in (*first, *(holder for holder in holders if holder in lent)):
                held = self._holders.grants(holder)[scope]
                yield self._reach(session, Source(scope, holder), str(scope), held)

    def _is_in(self, scope: Scope, schema: str | None) -> bool:
        if schema is None or scope.level is Level.PROXY:
            return schema is None
        if self._tables.lower_case_table_names:
            return scope.schema.lower() == schema.lower()
        return scope.schema == schema

    def _reach(
        self,
        session: Session,
        source: Source,
        on: str,
        privileges: Iterable[str],
        schemas: Sequence[str] | None = None,
    ) -> Reach:
        """`schemas` is None for what is not about whole schemas."""
        level = source.scope.level if schemas is None else Level.DATABASE
        return Reach(
            session.account.user, session.account.host, level.name.lower().replace("_", " "), on,
            tuple(schemas or ()), tuple(sorted(privileges)),
            Origin(
                str(source.scope), str(source.via), self._holders.held(session, source.via)
            ),
        )  # fmt: skip


def _sample(pattern: str) -> str:
    """A name that a pattern matches, and hardly any narrower one."""
    return "".join(
        escaped or {"%": "~~", "_": "~"}.get(char, char)
        for escaped, char in pattern_tokens(pattern)
    )
