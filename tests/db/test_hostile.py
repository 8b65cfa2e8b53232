"""Hostile names and passwords: what was asked is what the server then holds, on both servers.

People's names are kept to a strict form before it comes to this. These tests go below that, to what
must be right for any account that a server can hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mapadmin.core.secret import Secret
from mapadmin.db.grants import Account, Level, Privileges, Scope
from mapadmin.db.inspect import inspect
from mapadmin.db.passwords import checked_password
from mapadmin.db.server import Server, connect
from mapadmin.db.statements import (
    SqlStep,
    create_locked,
    drop_account,
    grant,
    revoke,
    set_locked,
    set_password,
)
from mapadmin.site import DatabaseSettings
from tests.servers import RunningServer

ACCOUNTS = 40  # in one example: they are made together, as `apply` does
EXAMPLES = 60
SYSTEM = {"mysql", "mariadb", "root", "admin"}

# Everything that a name can hold in mysql.user (utf8mb3) without being changed on its way: the
# columns are CHAR and VARCHAR, which drop or ignore spaces at the end.
hostile = st.text(
    st.one_of(
        st.sampled_from("'\"`\\%_;-#@/*?[]().,\n\t "),
        st.characters(min_codepoint=33, max_codepoint=0xFFFD, exclude_categories=["Cs", "Cn"]),
    ),
    min_size=1,
    max_size=20,
).filter(lambda text: text.strip() == text and "\0" not in text)
hosts = st.sampled_from(
    ["%", "localhost", "10.0.0.%", "192.168.0.0/255.255.0.0", "a-b.example.org"]
)
privileges = st.frozensets(
    st.sampled_from(["SELECT", "INSERT", "CREATE", "DROP", "REFERENCES", "TRIGGER"]), min_size=1
)
passwords = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=30)


@st.composite
def people(draw: st.DrawFn) -> dict[Account, tuple[Scope, Privileges, str]]:
    """Accounts with one grant each, and a password. No two names that the server takes for one."""
    names = draw(st.lists(hostile, min_size=ACCOUNTS, max_size=ACCOUNTS, unique_by=str.casefold))
    out = {}
    for name in names:
        scope = Scope(Level.DATABASE, draw(hostile.filter(lambda text: not text.endswith("\\"))))
        account = Account(f"h{name}", draw(hosts))
        out[account] = (scope, draw(privileges), draw(passwords))
    return out


@pytest.fixture(scope="module")
def connection(server: RunningServer, master: tuple[str, str]) -> Iterator[Server]:
    server.wipe()
    user, password = master
    config = DatabaseSettings(
        host=server.host, port=server.port, user=user, password="env:X",
        ca=str(server.ca), project_prefix="map",
    )  # fmt: skip
    opened = connect(config, Secret(password), Path("/"))
    yield opened
    opened.close()
    server.wipe()


def steps(*statements: object) -> list[SqlStep]:
    return [SqlStep(action="test", target="", statements=(one,)) for one in statements]  # type: ignore[arg-type]


def carry_out(connection: Server, *statements: object) -> None:
    done = steps(*statements)
    assert sum(1 for _ in connection.execute(done)) == len(done)


@settings(
    max_examples=EXAMPLES,
    deadline=timedelta(seconds=60),
    suppress_health_check=list(HealthCheck),
)
@given(asked=people())
def test_what_was_asked_is_what_the_server_holds(
    connection: Server, asked: dict[Account, tuple[Scope, Privileges, str]]
) -> None:
    flavour = connection.flavour
    plugin = inspect(connection).default_plugin
    accounts = list(asked)
    try:
        carry_out(connection, *(create_locked(a, flavour, plugin, tls=False) for a in accounts))
        carry_out(connection, *(grant(a, *asked[a][:2]) for a in accounts))
        carry_out(
            connection,
            *(
                set_password(a, flavour, checked_password(asked[a][2]), plugin=plugin, unlock=True)
                for a in accounts
            ),
        )
        found = inspect(connection)
        for account, (scope, held, _) in asked.items():
            state = found.accounts[account]
            assert state.grants == {scope: held}
            assert not state.locked
            assert state.auth
        carry_out(connection, *(set_locked(a, locked=True) for a in accounts))
        carry_out(connection, *(revoke(a, *asked[a][:2]) for a in accounts))
        found = inspect(connection)
        for account in asked:
            assert found.accounts[account].grants == {}
            assert found.accounts[account].locked
    finally:
        there = inspect(connection).accounts
        carry_out(connection, *(drop_account(a) for a in accounts if a in there))


@settings(max_examples=40, deadline=timedelta(seconds=60), suppress_health_check=list(HealthCheck))
@given(password=passwords)
def test_every_password_that_is_accepted_logs_in(
    connection: Server, server: RunningServer, password: str
) -> None:
    account = Account("login")
    plugin = inspect(connection).default_plugin
    if account not in inspect(connection).accounts:
        carry_out(connection, create_locked(account, connection.flavour, plugin, tls=False))
    secret = checked_password(password)
    carry_out(
        connection, set_password(account, connection.flavour, secret, plugin=plugin, unlock=True)
    )
    server.connect("login", password).close()
