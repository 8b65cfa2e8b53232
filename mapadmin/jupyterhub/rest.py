"""Requests to JupyterHub's REST API, and its refusals in one sentence.

The token goes where the site file says and nowhere else: redirections are not followed.
https://jupyterhub.readthedocs.io/en/stable/reference/rest-api.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from mapadmin.core.errors import MapadminError, SettingsError, UnreachableError, UsageError

if TYPE_CHECKING:
    from urllib3 import PoolManager
    from urllib3.response import BaseHTTPResponse

    from mapadmin.core.secret import Secret

AT_ONCE = 8  # connections
_PAGES = {"Accept": "application/jupyterhub-pagination+json"}


class Answer(msgspec.Struct, frozen=True):
    """What came back: `data` is its JSON, None for nothing or for what is none."""

    status: int
    data: Any
    is_json: bool

    @property
    def said(self) -> str:
        """The hub's own words."""
        text = self.data.get("message") if isinstance(self.data, dict) else ""
        return " ".join(str(text or "").split()).rstrip(".")


class Rest:
    """The REST API of the hub at `url`. Nothing is connected before it is needed."""

    def __init__(self, url: str, token: Secret, *, ca: str, timeout: float) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._ca = ca
        self._timeout = timeout

    @cached_property
    def _pool(self) -> PoolManager:
        import urllib3

        return urllib3.PoolManager(maxsize=AT_ONCE, retries=False, ca_certs=self._ca or None)

    def close(self) -> None:
        self._pool.clear()

    def api(self, path: str) -> str:
        return f"{self.url}/hub/api{path}"

    def ask(self, method: str, path: str, data: object = None) -> Any:
        """The JSON of a good answer, None for an empty one. Raises a MapadminError for others."""
        body = None if data is None else json.dumps(data).encode()
        return self.good(parse(self.send(method, self.api(path), body=body)))

    def pages(self, path: str) -> Iterator[dict[str, Any]]:
        """All items of a list that comes in pages; `path` may have a query."""
        following: dict[str, Any] | None = {"url": path}
        while following:
            # The hub writes addresses as it sees itself, which may be behind the proxy.
            query = urlsplit(following["url"]).query
            url = self.api(f"{urlsplit(path).path}?{query}")
            page = self.good(parse(self.send("GET", url, headers=_PAGES)))
            yield from page["items"]
            following = page["_pagination"]["next"]

    def send(
        self, method: str, url: str, *, body: bytes | None = None,
        headers: dict[str, str] | None = None, timeout: float = 0, token: Secret | None = None,
    ) -> BaseHTTPResponse:  # fmt: skip
        """Any answer, whatever its status; `token` is shown instead of ours.

        Raises UnreachableError when nobody answers, SettingsError for a wrong certificate.
        """
        from urllib3.exceptions import HTTPError, SSLError

        try:
            return self._pool.request(
                method, url, redirect=False, timeout=timeout or self._timeout, body=body,
                headers={
                    "Authorization": f"token {(token or self._token).reveal()}", **(headers or {})
                },
            )  # fmt: skip
        except SSLError as error:
            raise SettingsError(
                f"The certificate of {self.url} is not accepted: {_reason(error)}.",
                remedy="Set jupyterhub.ca to the certificate authority's file.",
            ) from None
        except (HTTPError, OSError) as error:
            raise UnreachableError(
                f"JupyterHub at {self.url} does not answer: {_reason(error)}.",
                remedy="Is the hub up, and jupyterhub.url right?",
            ) from None

    def good(self, answer: Answer) -> Any:
        """Its data. Raises a MapadminError for all but a good answer."""
        if answer.status in (200, 201, 202, 204) and answer.is_json:
            return answer.data
        if answer.status in (401, 403):
            raise _not_allowed(answer.said)
        if answer.status == 404 and answer.is_json:
            raise UsageError(
                "The hub knows no such user.",
                remedy="`mapadmin jupyterhub users` lists them; the first login makes one.",
            )
        if answer.status >= 500:
            raise UnreachableError(
                f"JupyterHub at {self.url} answered {answer.status}: {answer.said or 'no reason'}.",
                remedy="Is the hub itself up behind its proxy? Its log has more.",
            )
        if answer.said:
            raise MapadminError(f"JupyterHub refused: {answer.said}.")
        raise self.no_hub()

    def no_hub(self) -> SettingsError:
        return SettingsError(
            f"What answers at {self.url} is no JupyterHub.",
            remedy="jupyterhub.url is where users find it, with the base_url if it has one.",
        )


def parse(response: BaseHTTPResponse) -> Answer:
    """An empty body counts as JSON."""
    try:
        return Answer(response.status, json.loads(response.data) if response.data else None, True)
    except ValueError:
        return Answer(response.status, None, False)


def _not_allowed(said: str) -> SettingsError:
    if needs := re.search(r"requires any of \[(.*)\]", said):
        return SettingsError(
            f"The hub's token lacks a scope: one of {needs[1]}.",
            remedy="`mapadmin jupyterhub status` says what the service's role must have.",
        )
    return SettingsError(
        "The hub does not accept jupyterhub.token.",
        remedy="It must be the api_token of a service in the hub's configuration.",
    )


def _reason(error: Exception) -> str:
    """The driver's innermost words, without its objects."""
    text = str(getattr(error, "reason", None) or error)
    text = re.sub(r"<[^>]*>(, |: )?|\w+\(host=[^)]*\): |\[Errno -?\d+\] ", "", text)
    return text.strip(" '\"(),").rstrip(".") or "no reason given"
