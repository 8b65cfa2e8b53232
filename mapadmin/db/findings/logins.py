"""Who can log in, and how."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from mapadmin.db.compare import differences
from mapadmin.db.findings.model import AuditFinding, Facts, Rule, Severity, few
from mapadmin.db.grants import AccountState, Flavour
from mapadmin.db.state import Stage

# Plugins that compare a password with what is stored; an empty string stored lets everybody in.
_PASSWORD_PLUGINS = frozenset(
    ("", "mysql_native_password", "mysql_old_password", "caching_sha2_password",
     "sha256_password", "ed25519", "parsec")
)  # fmt: skip
_SOCKET_PLUGINS = frozenset(("auth_socket", "unix_socket"))  # no network, so no TLS

ANONYMOUS = Rule(
    "anonymous-account",
    "Drop them by hand, as the server's administrator: DROP USER ''@'HOST'.",
)
UNKNOWN = Rule(
    "unknown-account",
    "Take it over with `mapadmin db import NAME`, name it in database.ignore_accounts if it is "
    "somebody else's business, or drop it by hand.",
)
NOT_TAKEN_OVER = Rule(
    "not-taken-over",
    "`mapadmin db import NAME` takes it over as it is; until then `mapadmin db apply` leaves it "
    "alone. If you audit with an account that only reads: let it read mapadmin's own schema.",
)
UNFINISHED = Rule(
    "unfinished-account",
    "Nobody has its password: run the same `mapadmin db add-user` (or `apply`) again.",
)
EMPTY_PASSWORD = Rule(
    "empty-password",
    "`mapadmin db set-password NAME`, or ALTER USER by hand for an account that mapadmin does not "
    "manage.",
)
NATIVE_PASSWORD = Rule(
    "native-password",
    "`mapadmin db set-password NAME` stores the password by the server's default plugin; if that "
    "is this one, set default_authentication_plugin = caching_sha2_password first. Do it before "
    "the server is upgraded to 8.4 (off by default) or 9 (gone).",
)
MISSING_PLUGIN = Rule(
    "missing-plugin",
    "The account cannot log in: set a password with `mapadmin db set-password NAME`, or install "
    "the plugin.",
)
NO_TLS = Rule(
    "tls-not-required",
    "`mapadmin db apply` for managed accounts; for others by hand: ALTER USER … REQUIRE SSL. Or "
    "set require_secure_transport = ON for the whole server.",
)
EXPIRED = Rule("expired-account", "`mapadmin db apply` locks it; `remove-user` takes it away.")
CASE = Rule(
    "names-differ-by-case",
    "Rename one of them: to the server they are two users, and schema names may ignore case.",
)


def anonymous(facts: Facts) -> Iterator[AuditFinding]:
    """An account without a name; at localhost it also keeps real users from logging in there."""
    for account in facts.logins:
        if not account.user:
            yield ANONYMOUS.found(
                Severity.CRITICAL, f"''@{account.host}",
                "anybody can log in from there without a name, and users whose own host pattern "
                "is less specific cannot log in from there at all",
            )  # fmt: skip


def unknown(facts: Facts) -> Iterator[AuditFinding]:
    """Nobody knows whose it is."""
    for account, state in facts.audited.items():
        if account in facts.wanted or account in facts.managed:
            continue
        held = facts.described(state.grants)
        yield UNKNOWN.found(
            Severity.LOW if state.locked else Severity.MEDIUM, account,
            f"nobody knows it{' (it is locked)' if state.locked else ''}; "
            + (f"it holds {held}" if held else "it holds no grants"),
        )  # fmt: skip


def not_taken_over(facts: Facts) -> Iterator[AuditFinding]:
    """In people.toml and on the server, but not marked: `apply` does not touch it."""
    for account, wanted in facts.wanted.items():
        state = facts.tables.accounts.get(account)
        if state is None or account in facts.managed:
            continue
        unlike = differences(wanted, state, facts.every_privilege)
        detail = f"it {unlike[0]}" if unlike else "it is as it should be"
        more = f", and {len(unlike) - 1} more differences" if len(unlike) > 1 else ""
        yield NOT_TAKEN_OVER.found(
            Severity.MEDIUM if unlike else Severity.LOW, account,
            f"people.toml names it, but mapadmin does not manage it; {detail}{more}",
        )  # fmt: skip


def unfinished(facts: Facts) -> Iterator[AuditFinding]:
    """Made, but its password was never handed over."""
    for account, known in facts.managed.items():
        if known.stage is Stage.CREATING and account in facts.tables.accounts:
            yield UNFINISHED.found(Severity.MEDIUM, account, "its creation was cut short")


def empty_password(facts: Facts) -> Iterator[AuditFinding]:
    """No password at all (a socket or another service may still identify the user)."""
    for account, state in facts.logins.items():
        if not account.user or not any(_is_open(*way) for way in _ways(state)):
            continue
        if state.locked:
            yield EMPTY_PASSWORD.found(
                Severity.LOW, account, "it has no password, but it is locked"
            )
        else:
            yield EMPTY_PASSWORD.found(Severity.CRITICAL, account, "it can log in with no password")


def _ways(state: AccountState) -> Iterable[tuple[str, str]]:
    return (state.plugin, state.auth), *state.other_auth


def _is_open(plugin: str, auth: str) -> bool:
    return not auth and plugin in _PASSWORD_PLUGINS


def plugins(facts: Facts) -> Iterator[AuditFinding]:
    """Ways to log in that are outdated, or that the server no longer has."""
    known = {name.lower() for name in facts.tables.plugins}
    for account, state in facts.logins.items():
        plugin = state.plugin.lower()
        there = not known or not plugin or plugin in known
        if plugin == "mysql_native_password" and facts.tables.flavour is Flavour.MYSQL:
            gone = "" if there else ", which this server no longer has: it cannot log in"
            yield NATIVE_PASSWORD.found(
                Severity.MEDIUM, account, f"its password is stored by mysql_native_password{gone}"
            )
        elif not there:
            yield MISSING_PLUGIN.found(
                Severity.MEDIUM, account, f"the server has no plugin {state.plugin}"
            )


def without_tls(facts: Facts) -> Iterator[AuditFinding]:
    """The site requires TLS, and the account may log in without."""
    if facts.tables.secure_transport:
        return
    ignored = set(facts.settings.ignore_accounts)
    for account, state in facts.logins.items():
        if state.tls or state.locked or account.user in ignored | {""}:
            continue
        if state.plugin in _SOCKET_PLUGINS:
            continue
        wanted = facts.wanted.get(account)
        if facts.settings.require_tls if wanted is None else wanted.tls:
            yield NO_TLS.found(Severity.MEDIUM, account, "it may log in without TLS")


def expired(facts: Facts) -> Iterator[AuditFinding]:
    """Guests whose last day is over, and who can still log in."""
    days = {account: known.expires for account, known in facts.managed.items()}
    days |= {account: wanted.expires for account, wanted in facts.wanted.items()}
    for account, day in days.items():
        state = facts.tables.accounts.get(account)
        if day is not None and day < facts.today and state is not None and not state.locked:
            yield EXPIRED.found(Severity.HIGH, account, f"it expired on {day} and is not locked")


def case_clashes(facts: Facts) -> Iterator[AuditFinding]:
    """Alice and alice."""
    folds = facts.tables.lower_case_table_names > 0
    names = sorted({account.user for account in facts.logins}, key=lambda name: (_key(name), name))
    for _, group in groupby(names, key=_key):
        clash = list(group)
        if len(clash) > 1:
            owners = len(facts.owners & set(clash)) > 1
            detail = "these names differ only by case"
            if folds and owners:
                detail += ", and here each owns the other's schemas"
            yield CASE.found(
                Severity.HIGH if folds and owners else Severity.LOW, few(clash), detail
            )


def _key(name: str) -> str:
    return name.lower()


ALL = (
    anonymous, unknown, not_taken_over, unfinished, empty_password, plugins, without_tls, expired,
    case_clashes,
)  # fmt: skip
