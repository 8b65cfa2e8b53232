"""Random accounts, roles and grants on a real server."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pymysql.err import MySQLError

from mapadmin.db.grants import Flavour
from tests.db.probes import MARIADB_PROBES, PASSWORD, PROBES, SCHEMAS, allowed, quoted, run

if TYPE_CHECKING:
    from pymysql.connections import Connection

USERS = ("eff_u0", "eff_u1", "effu2", "effé")
ROLES = ("eff_r0", "eff_r1", "eff_r2", "effé_r3")
HOSTS = (
    "%", "127.0.0.1", "127.%", "localhost", "127.0.0.0/255.0.0.0", "127.0.0._", "loc%", "_ocalhost",
    "127.0.0.0/255.255.255.0",
)  # fmt: skip
MYSQL_HOSTS = (*HOSTS, "127.0.0.0/8", "127.0.0.1/32")


class World:
    """One random state of the grant tables, made on a server, and the logins that it allows."""

    def __init__(self, root: Connection[Any], flavour: Flavour, rng: random.Random) -> None:
        self.root = root
        self.flavour = flavour
        self.rng = rng
        self.mysql = flavour is Flavour.MYSQL
        self.probes = PROBES if self.mysql else MARIADB_PROBES
        self.restricted = False
        self.mandatory: list[str] = []
        self.users: dict[str, list[str]] = {}
        self.granted: dict[str, list[str]] = {}  # user to roles granted to one of its accounts

    # --- making ----------------------------------------------------------------------------

    def make(self, *, restrictions: bool = False) -> None:
        """Accounts, roles and grants; `restrictions` needs `partial_revokes`."""
        self.restricted = restrictions
        self._make_accounts()
        roles = self._make_roles()
        holders = [self._account(user, host) for user in self.users for host in self.users[user]]
        everyone = [*holders, *roles]
        if not self.mysql:
            everyone.append("PUBLIC")
        for _ in range(self.rng.randint(10, 60)):
            self._grant(self.rng.choice(everyone))
        for holder in everyone:
            if self.rng.random() < (0.7 if restrictions else 0.15):
                self._sql(f"GRANT {self._some_privileges()} ON *.* TO {holder}")
                if restrictions:
                    self._restrict(holder)
        if self.rng.random() < 0.4:
            self._stray_rows()
        if self.rng.random() < 0.4:
            self._sql("FLUSH PRIVILEGES")

    def _make_accounts(self) -> None:
        hosts = MYSQL_HOSTS if self.mysql else HOSTS
        for user in self.rng.sample(USERS, self.rng.randint(2, len(USERS))):
            self.users[user] = self.rng.sample(hosts, self.rng.randint(1, 4))
            for host in self.users[user]:
                self._sql(f"CREATE USER {self._account(user, host)} IDENTIFIED BY '{PASSWORD}'")

    def _make_roles(self) -> list[str]:
        roles = []
        for name in ROLES[: self.rng.randint(0, len(ROLES))]:
            host = f"@{quoted(self.rng.choice(('%', 'localhost')))}" if self.mysql else ""
            roles.append(quoted(name) + host)
            self._sql(f"CREATE ROLE {roles[-1]}")
            if not self.mysql and self.rng.random() < 0.2:  # found along with the role
                self._sql(f"CREATE USER {quoted(name)}@'%'")
                self._grant(f"{quoted(name)}@'%'")
        for index, role in enumerate(roles):
            for other in roles[index + 1 :]:
                if self.rng.random() < 0.3:
                    self._sql(f"GRANT {other} TO {role}")
        for user, hosts in self.users.items():
            for host in hosts:
                self._give_roles(user, self._account(user, host), roles)
        self._give_everybody(roles)
        return roles

    def _give_everybody(self, roles: list[str]) -> None:
        if roles and not self.mysql and self.rng.random() < 0.3:
            self._sql(f"GRANT {self.rng.choice(roles)} TO PUBLIC")
        if self.mysql and self.rng.random() < 0.3:
            mandatory = self.rng.sample([*roles, "eff_none"], 1)
            self.mandatory = [role for role in mandatory if role != "eff_none"]
            run(self.root, "SET GLOBAL mandatory_roles = %s", [",".join(mandatory)])
            for variable in ("activate_all_roles_on_login", "activate_mandatory_roles"):
                self._sql(f"SET GLOBAL {variable} = {self.rng.choice(('ON', 'OFF'))}")

    def _give_roles(self, user: str, account: str, roles: list[str]) -> None:
        mine = [role for role in roles if self.rng.random() < 0.5]
        for role in mine:
            self._sql(f"GRANT {role} TO {account}")
        self.granted.setdefault(user, []).extend(mine)
        if mine and self.rng.random() < 0.5:
            if self.mysql:
                some = ", ".join(self.rng.sample(mine, self.rng.randint(1, len(mine))))
                self._sql(f"SET DEFAULT ROLE {some} TO {account}")
            else:
                self._sql(f"SET DEFAULT ROLE {self.rng.choice(mine)} FOR {account}")

    def _grant(self, holder: str) -> None:
        option = " WITH GRANT OPTION" if self.rng.random() < 0.1 else ""
        pattern = quoted(self.pattern())
        self._sql(f"GRANT {self._some_privileges()} ON {pattern}.* TO {holder}{option}")

    def _restrict(self, holder: str) -> None:
        for schema in self.rng.sample(SCHEMAS, self.rng.randint(0, 3)):
            try:
                self._sql(f"REVOKE {self._some_privileges()} ON {quoted(schema)}.* FROM {holder}")
            except MySQLError as error:  # 1141: it holds nothing of that
                if error.args[0] != 1141:
                    raise

    def _stray_rows(self) -> None:
        """Rows of the anonymous user and of accounts that do not exist."""
        for _ in range(self.rng.randint(1, 5)):
            user = self.rng.choice(("", *self.users))
            host = self.rng.choice(("%", "127.%", "localhost"))
            columns = self.rng.sample(("Select", "Insert", "Update", "Drop", "Event"), 2)
            names = ", ".join(f"{column}_priv" for column in columns)
            self._sql(
                f"INSERT IGNORE INTO mysql.db (Host, Db, User, {names})"
                f" VALUES (%s, %s, %s{', %s' * len(columns)})",
                [host, self.pattern(), user, *("Y" for _ in columns)],
            )
        self._sql("FLUSH PRIVILEGES")

    def _some_privileges(self) -> str:
        if self.rng.random() < 0.1:
            return "ALL" if self.rng.random() < 0.3 else "SELECT"
        names = list(self.probes)
        return ", ".join(self.rng.sample(names, self.rng.randint(1, 6)))

    def pattern(self) -> str:
        """A schema pattern, nearly always one that matches some of the schemas."""
        name = self.rng.choice(SCHEMAS)
        if self.restricted and self.rng.random() < 0.7:  # names are literal then
            return name
        escaped = "".join(f"\\{char}" if char in "\\_%" else char for char in name)
        cut = self.rng.randint(0, len(name))
        chars = list(name)
        chars[self.rng.randrange(len(name))] = self.rng.choice(("_", "%", "__", "%%", "_%"))
        candidates = [
            name,
            escaped,
            f"{name[:cut]}%",
            f"{name[:cut]}%{name[cut:]}",
            f"%{name[cut:]}",
            f"%{name[cut : cut + 1]}%",
            "".join(chars),
            f"{escaped[: self.rng.randint(0, len(escaped))]}%",
            f"{name[:cut]}\\{name[cut:]}",
            f"{name[:cut]}{'_' * len(name[cut:].encode())}",
            "%",
        ]
        found = self.rng.choice(candidates)
        return found if len(found) <= 64 and found else "eff%"

    def _account(self, user: str, host: str) -> str:
        return f"{quoted(user)}@{quoted(host)}"

    def _sql(self, sql: str, args: Sequence[object] | None = None) -> None:
        run(self.root, sql, args)

    # --- trying ----------------------------------------------------------------------------

    def roles_to_try(self, user: str) -> Iterator[str]:
        """What to say after SET ROLE: once each role that the user has, and some of them."""
        mine = sorted({*self.granted.get(user, ()), *self.mandatory})
        yield "NONE"
        if self.mysql and mine:
            yield ", ".join(self.rng.sample(mine, self.rng.randint(1, len(mine))))
        elif mine:
            yield from mine

    def try_all(self, connection: Connection[Any], schema: str) -> frozenset[str]:
        """The privileges of which each makes its probe work."""
        return frozenset(
            name
            for name, probe in self.probes.items()
            if allowed(connection, probe.format(quoted(schema)))
        )
