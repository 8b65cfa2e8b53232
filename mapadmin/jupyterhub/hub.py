"""A hub: its users, their servers and kernels, servers started and stopped.

Written for JupyterHub 2 to 6; the token is a service's, with the scopes of `model.NEEDED_SCOPES`
and no others.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import msgspec

from mapadmin.core.errors import MapadminError, UnreachableError
from mapadmin.core.secret import Secret
from mapadmin.jupyterhub.model import Kernels, Server, User, parse_kernels, parse_user
from mapadmin.jupyterhub.rest import AT_ONCE, Rest, parse

if TYPE_CHECKING:
    from pathlib import Path

    from mapadmin.site import HubSettings

PAGE = 200  # the most that JupyterHub gives at once
KEY_SECONDS = 60  # for which we may look into a server
KERNEL_SECONDS = 5.0  # a server that hangs must not keep us from seeing the others
POLL_SECONDS = 0.5


class Hub:
    """One hub, asked over HTTP. Nothing is connected before it is needed."""

    def __init__(self, settings: HubSettings, token: Secret, folder: Path) -> None:
        self.settings = settings
        ca = str(folder / settings.ca) if settings.ca else ""
        self.rest = Rest(settings.url, token, ca=ca, timeout=settings.timeout)

    def close(self) -> None:
        self.rest.close()

    # --- looking --------------------------------------------------------------------------------

    def version(self) -> str:
        """The hub's version, which it tells everybody. Raises SettingsError for what is no hub."""
        data = self.rest.ask("GET", "/")
        if not isinstance(data, dict) or not isinstance(data.get("version"), str):
            raise self.rest.no_hub()
        return str(data["version"])

    def info(self) -> dict[str, Any]:
        """Its authenticator and spawner (class and version)."""
        data = self.rest.ask("GET", "/info")
        return data if isinstance(data, dict) else {}

    def scopes(self) -> list[str]:
        """What the token may do."""
        data = self.rest.ask("GET", "/user")
        return [str(scope) for scope in data.get("scopes", [])] if isinstance(data, dict) else []

    def users(self, *, active: bool = False) -> list[User]:
        """All users, or those with a server, page by page."""
        query = f"?limit={PAGE}" + ("&state=active" if active else "")
        return [parse_user(item) for item in self.rest.pages(f"/users{query}")]

    def user(self, name: str) -> User:
        """One user. Raises UsageError for nobody."""
        return parse_user(self.rest.ask("GET", f"/users/{quote(name, safe='')}"))

    def servers(self, *, kernels: bool = True) -> list[Server]:
        """The servers of all users; `kernels` asks each that is ready for its own, side by side."""
        servers = [server for user in self.users(active=True) for server in user.servers]
        return self.with_kernels(servers) if kernels else servers

    def with_kernels(self, servers: Sequence[Server]) -> list[Server]:
        """The same servers, with the kernels of those that answer."""
        with ThreadPoolExecutor(AT_ONCE) as threads:
            return list(threads.map(self._with_kernels, servers))

    def _with_kernels(self, server: Server) -> Server:
        if server.pending:
            return server
        return msgspec.structs.replace(server, kernels=self.kernels(server))

    def kernels(self, server: Server) -> Kernels | None:
        """Of one server; None when it does not answer as it should, or may not be asked.

        A server is its user's: it is not shown our token, but one of the user's own that opens
        nothing else, and is over within a minute.
        """
        user = quote(server.user, safe="")
        scope = f"access:servers!server={server.user}/{server.name}"
        wish = {"note": "mapadmin", "expires_in": KEY_SECONDS, "scopes": [scope]}
        try:
            key = self.rest.ask("POST", f"/users/{user}/tokens", wish)
        except MapadminError:
            return None
        try:
            return parse_kernels(
                *(self._ask(server, what, key) for what in ("kernels", "terminals"))
            )
        except (UnreachableError, TypeError):
            return None
        finally:
            with suppress(MapadminError):  # it ends by itself
                self.rest.ask("DELETE", f"/users/{user}/tokens/{key['id']}")

    def _ask(self, server: Server, what: str, key: dict[str, str]) -> Any:
        """The JSON of one of a server's lists; None when it has no such list."""
        parts = urlsplit(self.rest.url)
        url = f"{parts.scheme}://{parts.netloc}{server.path}api/{what}"
        answer = parse(
            self.rest.send("GET", url, timeout=KERNEL_SECONDS, token=Secret(key["token"]))
        )
        return answer.data if answer.status == 200 else None

    # --- changing -------------------------------------------------------------------------------

    def start(self, user: str, name: str = "") -> None:
        """Start a server and wait until it is ready.

        Raises MapadminError with the hub's word for why it does not start.
        """
        answer = parse(self.rest.send("POST", self.rest.api(self._server_path(user, name))))
        if answer.status == 500:  # its own words for a spawner that raises at once
            raise _does_not_start(user, answer.said)
        if answer.status == 403 and "auth has expired" in answer.said:
            raise _does_not_start(user, "the hub lets this user in no more")
        self.rest.good(answer)
        deadline = time.monotonic() + self.settings.start_timeout
        while True:
            found = self._find(user, name)
            if found is not None and found.state == "ready":
                return
            if found is None or found.state == "failed":
                raise _does_not_start(user, self._why(user, name))
            self._wait(deadline, f"The server of {user} has not started")

    def stop(self, user: str, name: str = "") -> None:
        """Stop a server and wait until it is gone; does nothing for one that is not there."""
        self.rest.ask("DELETE", self._server_path(user, name))
        deadline = time.monotonic() + self.settings.start_timeout
        while self._find(user, name) is not None:
            self._wait(deadline, f"The server of {user} has not stopped")

    def _find(self, user: str, name: str) -> Server | None:
        return next((one for one in self.user(user).servers if one.name == name), None)

    def _wait(self, deadline: float, what: str) -> None:
        if time.monotonic() > deadline:
            raise UnreachableError(
                f"{what} within {self.settings.start_timeout:g} s.",
                remedy="`mapadmin jupyterhub servers` shows what became of it.",
            )
        time.sleep(POLL_SECONDS)

    def _why(self, user: str, name: str) -> str:
        """The last failure that the hub tells of; its progress is a stream of events."""
        path = f"{self._server_path(user, name)}/progress"
        try:
            response = self.rest.send("GET", self.rest.api(path), timeout=KERNEL_SECONDS)
        except UnreachableError:
            return ""
        said = re.findall(rb'^data: (\{.*"failed": true.*\})\s*$', response.data, re.MULTILINE)
        message = json.loads(said[-1]).get("message") if said else ""
        return " ".join(str(message).split()).rstrip(".")

    def _server_path(self, user: str, name: str) -> str:
        path = f"/users/{quote(user, safe='')}/server"
        return f"{path}s/{quote(name, safe='')}" if name else path


def _does_not_start(user: str, why: str) -> MapadminError:
    return MapadminError(
        f"The server of {user} does not start: {why or 'the hub does not say why'}.",
        remedy="The hub's log has more.",
    )
