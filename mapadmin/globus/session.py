"""Globus as commands use it: the site's settings, a login, places by name, plans carried out."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mapadmin.admin import Admin, Mode
from mapadmin.core.errors import UsageError
from mapadmin.globus.model import Place, is_uuid, normal, split
from mapadmin.globus.service import Service
from mapadmin.globus.submitted import Submitted
from mapadmin.globus.tokens import Renewer, TokenFile

if TYPE_CHECKING:
    from mapadmin.core.plan import Outcome, Plan
    from mapadmin.core.secret import Secret
    from mapadmin.site import GlobusSettings

TOKENS = "globus-tokens.json"
SUBMITTED = "globus-submitted.json"


class Globus:
    """One run's way to Globus; nothing is connected before it is needed."""

    def __init__(self, admin: Admin) -> None:
        self.admin = admin
        self.settings: GlobusSettings = admin.site.globus
        self.file = TokenFile(admin.site.state_folder / TOKENS, self.settings.client_id)

    @cached_property
    def secret(self) -> Secret | None:
        """The application's own secret, when the site has one."""
        reference = self.settings.client_secret
        return self.admin.site.secret(reference, "globus.client_secret") if reference else None

    @cached_property
    def login_client(self) -> Any:
        """The SDK's client of Globus Auth for this application."""
        import globus_sdk

        url: dict[str, Any] = (
            {"base_url": self.settings.service_url} if self.settings.service_url else {}
        )
        if self.secret is None:
            client: Any = globus_sdk.NativeAppAuthClient(self.settings.client_id, **url)
        else:
            client = globus_sdk.ConfidentialAppAuthClient(
                self.settings.client_id, self.secret.reveal(), **url
            )
        client.retry_config.max_retries = 2
        self.admin.at_exit(client.close)
        return client

    @cached_property
    def renewer(self) -> Renewer:
        by_secret = bool(self.settings.client_secret)
        return Renewer(self.file, lambda: self.login_client, by_secret=by_secret)

    @cached_property
    def service(self) -> Service:
        return Service(self.settings, self.renewer, self.nickname)

    def nickname(self, collection: str) -> str:
        """What the site calls a collection; its id when it has no name here."""
        known = self.settings.collections.items()
        return next((name for name, c in known if c.id.lower() == collection.lower()), collection)

    def place(self, text: str, *, search: bool = False) -> Place:
        """`NAME:/path`, `NAME:path`, `NAME`; the collection by site name or UUID.

        With `search`, which is for commands that only look, also by what Globus calls it: a search
        finds strangers' collections, and a slip of the finger must not change one of those. Raises
        UsageError when the collection is not known, or several are.
        """
        name, path = split(text)
        if (known := self.settings.collections.get(name)) is not None:
            full = path if path.startswith("/") else posixpath.join(known.path, path)
            return Place(name, known.id, normal(full))
        if is_uuid(name):
            return Place(self.nickname(name), name.lower(), normal(path))
        if search:
            return Place(name, self._searched(name), normal(path))
        known_names = ", ".join(self.settings.collections) or "none"
        raise UsageError(
            f"The site file has no collection {name!r}, and only commands that look search Globus.",
            remedy=f"Collections of the site: {known_names}. Or write the UUID, which"
            " `mapadmin globus endpoints WORDS` finds.",
        )

    def moved(self) -> dict[str, Place]:
        """Where storage locations are, by alias, of which the database's word is out of date."""
        settings = self.settings.archive
        return {alias: self.place(text, search=True) for alias, text in settings.moved.items()}

    def _searched(self, name: str) -> str:
        found = self.service.search(name)
        exact = [c for c in found if str(c["display_name"]).lower() == name.lower()]
        if len(exact) == 1:
            return str(exact[0]["id"])
        if found:
            some = "; ".join(f"{c['display_name']} ({c['id']})" for c in (exact or found)[:5])
            raise UsageError(
                f"{name!r} could be several collections: {some}.", remedy="Use the UUID."
            )
        known = ", ".join(self.settings.collections) or "none"
        raise UsageError(
            f"There is no collection {name!r}, neither in the site file nor at Globus.",
            remedy=f"Collections of the site: {known}.",
        )

    def perform(
        self, plan: Plan, mode: Mode, *, question: str = "",
        after: Callable[[Outcome], None] | None = None,
    ) -> Outcome:  # fmt: skip
        """Carry out a plan at Globus; see `Admin.perform`."""
        from mapadmin.globus.changes import kinds  # not for what only looks

        how = kinds(self.service, self.submitted)
        return self.admin.perform(plan, how, mode, question=question, after=after)

    @property
    def submitted(self) -> Submitted:
        """The tasks that were submitted from here."""
        return Submitted(self.state_folder / SUBMITTED)

    @property
    def state_folder(self) -> Path:
        return self.admin.site.state_folder


def open_globus(admin: Admin) -> Globus:
    """As the site file says. Raises SettingsError when it says nothing of Globus."""
    return Globus(admin)
