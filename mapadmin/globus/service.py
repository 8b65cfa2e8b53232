"""The Transfer and Auth services: the only module here that talks to the Globus SDK for work.

One client is shared by all threads; every request, a retried one included, waits for its turn.
Errors come as MapadminError, never as the SDK's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mapadmin.core.errors import MapadminError
from mapadmin.globus.model import Entry, entry_of
from mapadmin.globus.pace import Pace
from mapadmin.globus.refusals import explain, offline
from mapadmin.globus.tokens import AUTH, TRANSFER, Renewer

if TYPE_CHECKING:
    from globus_sdk import TransferClient
    from globus_sdk.transport import RetryContext

    from mapadmin.site import GlobusSettings

Json = dict[str, Any]
ENTRIES = 100_000  # of one listing, which is what the service gives at most
MOST = 1000  # what the paginated lists of tasks and events end at
_RETRIES = 6
_LONGEST = 60.0  # seconds that a Retry-After is heeded


class Service:
    """Globus, as one login sees it. `nickname` calls a collection what the site calls it."""

    def __init__(
        self, settings: GlobusSettings, renewer: Renewer, nickname: Callable[[str], str]
    ) -> None:
        self.renewer = renewer
        self.nickname = nickname
        self._client = make_client(settings, renewer)

    # --- folders --------------------------------------------------------------------------------

    def ls(self, collection: str, path: str, *, hidden: bool = True) -> list[Entry]:
        """All entries of a folder. Raises MissingError, NotFolderError, DeniedError.

        One request, if the service allows: for every further one it lists the whole folder again,
        and what changes between two may be lost. When numbers do not agree, MapadminError.
        """
        found: list[Entry] = []
        totals: set[int] = set()
        what = f"{self.nickname(collection)}:{path}"
        with self._told(what):
            while True:
                answer = self._client.operation_ls(
                    collection, path=path, show_hidden=hidden, limit=ENTRIES, offset=len(found)
                ).data
                rows = answer["DATA"]
                found += [entry_of(row, path) for row in rows]
                total = answer.get("total")
                if total is not None:
                    totals.add(int(total))
                whole = len(rows) < ENTRIES if total is None else len(found) >= int(total)
                if whole or not rows:
                    break
        names = {entry.path for entry in found}
        if len(names) != len(found) or totals - {len(found)}:
            said = max(totals, default=len(names))
            raise MapadminError(
                f"{what}: Globus listed {len(names)} of {said} entries.",
                remedy="If the folder was being changed, try again.",
            )
        return found

    def stat(self, collection: str, path: str) -> Entry:
        """One entry. Raises MissingError."""
        with self._told(f"{self.nickname(collection)}:{path}"):
            answer = self._client.operation_stat(collection, path=path).data
            return entry_of({**answer, "name": ""}, path) if path == "/" else _renamed(answer, path)

    def mkdir(self, collection: str, path: str) -> None:
        with self._told(f"{self.nickname(collection)}:{path}"):
            self._client.operation_mkdir(collection, path=path)

    def rename(self, collection: str, old: str, new: str) -> None:
        with self._told(f"{self.nickname(collection)}:{old}"):
            self._client.operation_rename(collection, oldpath=old, newpath=new)

    # --- tasks ----------------------------------------------------------------------------------

    def submission_id(self) -> str:
        """An id that makes submitting twice the same as once."""
        with self._told("a new task"):
            return str(self._client.get_submission_id()["value"])

    def submit(self, kind: str, document: Json) -> str:
        """Submit a `transfer` or `delete` document; the task's id."""
        with self._told(f"the {kind}"):
            send = (
                self._client.submit_transfer if kind == "transfer" else self._client.submit_delete
            )
            return str(send(document)["task_id"])

    def tasks(self, query: str, *, most: int) -> list[Json]:
        """Own tasks, newest first; windows of time, since the service stops at a thousand."""
        found: list[Json] = []
        seen: set[str] = set()
        before = ""
        while len(found) < most:
            window = "/".join(part for part in (query, before) if part)
            with self._told("tasks"):
                rows = list(
                    self._client.paginated.task_list(
                        limit=MOST, filter=window, orderby="request_time DESC"
                    ).items()
                )  # fmt: skip
            new = [row for row in rows if row["task_id"] not in seen]
            seen.update(str(row["task_id"]) for row in new)
            found += new
            if len(rows) < MOST or not new:
                break
            before = f"request_time:,{_next_second(str(rows[-1]['request_time']))}"
        return found[:most]

    def all_tasks(self, *, collection: str = "", most: int) -> list[Json]:
        """Tasks of all users where this login has the monitor's role, newest first.

        Those of one collection, or all that are not over: Globus answers nothing wider.
        """
        query = (
            {"filter_endpoint": collection} if collection else {"filter_status": "ACTIVE,INACTIVE"}
        )
        found: list[Json] = []
        with self._told("other people's tasks"):
            for page in self._client.paginated.endpoint_manager_task_list(**query):
                found += page["DATA"]
                if len(found) >= most:
                    break
        return found[:most]

    def task(self, number: str) -> Json:
        """Raises MissingError."""
        with self._told(f"task {number}"):
            return dict(self._client.get_task(number).data)

    def events(self, number: str, *, most: int, managed: bool = False) -> list[Json]:
        """The newest events of a task, newest first; of others' tasks as their monitor."""
        ask = (
            self._client.endpoint_manager_task_event_list if managed
            else self._client.task_event_list
        )  # fmt: skip
        with self._told(f"task {number}"):
            answer = ask(number, limit=min(most, MOST))
            return list(answer["DATA"])

    def succeeded(self, number: str) -> Iterator[Json]:
        """Files that a task has transferred; the service forgets them after 30 days."""
        with self._told(f"task {number}"):
            yield from self._client.paginated.task_successful_transfers(number).items()

    def skipped(self, number: str) -> list[Json]:
        with self._told(f"task {number}"):
            return list(self._client.paginated.task_skipped_errors(number).items())

    def cancel(self, number: str) -> str:
        """The service's word for what came of it, such as Canceled or TaskComplete."""
        with self._told(f"task {number}"):
            return str(self._client.cancel_task(number)["code"])

    # --- collections, access, people ------------------------------------------------------------

    def endpoint(self, collection: str) -> Json:
        with self._told(self.nickname(collection)):
            return dict(self._client.get_endpoint(collection).data)

    def search(self, words: str) -> list[Json]:
        """Collections that fit; at most a hundred."""
        with self._told("the search"):
            return list(self._client.endpoint_search(words, limit=100)["DATA"])

    def rules(self, collection: str) -> list[Json]:
        """Access rules of a guest collection."""
        with self._told(self.nickname(collection)):
            return list(self._client.endpoint_acl_list(collection)["DATA"])

    def add_rule(self, collection: str, rule: Json) -> None:
        with self._told(self.nickname(collection)):
            self._client.add_endpoint_acl_rule(collection, rule)

    def change_rule(self, collection: str, number: str, rule: Json) -> None:
        with self._told(self.nickname(collection)):
            self._client.update_endpoint_acl_rule(collection, number, rule)

    def remove_rule(self, collection: str, number: str) -> None:
        with self._told(self.nickname(collection)):
            self._client.delete_endpoint_acl_rule(collection, number)

    def identities(self, *, ids: Iterable[str] = (), names: Iterable[str] = ()) -> list[Json]:
        """Identities by id or user name, 100 a request; those that are not known are left out."""
        found: list[Json] = []
        for key, values in (("ids", list(ids)), ("usernames", list(names))):
            for begin in range(0, len(values), 100):
                part = ",".join(values[begin : begin + 100])
                found += self._ask_auth("/v2/api/identities", {key: part})["identities"]
        return found

    def userinfo(self) -> Json:
        """Whose login this is."""
        return self._ask_auth("/v2/oauth2/userinfo", {})

    def _ask_auth(self, path: str, query: Mapping[str, str]) -> Json:
        import globus_sdk

        with self._told("Globus Auth"), globus_sdk.AuthClient(
            base_url=_auth_url(self._client), authorizer=make_authorizer(self.renewer, AUTH)
        ) as client:  # fmt: skip
            client.retry_config.max_retries = 2
            return dict(client.get(path, query_params=dict(query)).data)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """The SDK's errors as sentences about `what`."""
        import globus_sdk

        try:
            yield
        except globus_sdk.NetworkError as error:
            raise offline(error) from None
        except globus_sdk.GlobusAPIError as error:
            raise explain(error, what) from None


def make_authorizer(renewer: Renewer, server: str) -> Any:
    """An authorizer of the SDK's on top of a Renewer, for any number of threads."""
    import threading

    from globus_sdk.authorizers import GlobusAuthorizer

    class Authorizer(GlobusAuthorizer):
        def __init__(self) -> None:
            self._sent = threading.local()  # the header that was refused is this thread's

        def get_authorization_header(self) -> str:
            self._sent.header = renewer.header(server)
            return str(self._sent.header)

        def handle_missing_authorization(self) -> bool:
            return renewer.refused(server, self._sent.header)

    return Authorizer()


def make_client(settings: GlobusSettings, renewer: Renewer) -> TransferClient:
    """A TransferClient for many threads, paced, that heeds Retry-After for all of them."""
    import globus_sdk
    import requests
    from globus_sdk.transport import RequestsTransport, RetryConfig

    pace = Pace(settings.requests_per_second)

    def back_off(context: RetryContext) -> float:
        seconds = context.backoff or 0.2 * 2**context.attempt
        if context.response is not None and context.response.status_code in (429, 503):
            pace.rest(min(seconds, _LONGEST))
        return seconds

    # Until something has answered, give up soon: a dead service is told within a second.
    retries = RetryConfig(max_retries=2, max_sleep=_LONGEST, backoff=back_off)

    class Paced(requests.adapters.HTTPAdapter):
        def send(self, *args: Any, **keywords: Any) -> requests.Response:
            pace.wait()
            response = super().send(*args, **keywords)
            retries.max_retries = _RETRIES
            return response

    transport = RequestsTransport(http_timeout=settings.timeout)
    for scheme in ("http://", "https://"):
        transport.session.mount(scheme, Paced(pool_maxsize=64))
    return globus_sdk.TransferClient(
        base_url=settings.service_url or None, authorizer=make_authorizer(renewer, TRANSFER),
        transport=transport, retry_config=retries, app_name="mapadmin",
    )  # fmt: skip


def _auth_url(client: TransferClient) -> str | None:
    """Auth beside a Transfer service that is not the real one; None: as the SDK finds it."""
    url = str(client.base_url)
    return url if url.startswith("http://127.0.0.1:") else None


def _renamed(answer: Mapping[str, Any], path: str) -> Entry:
    folder, _, name = path.rpartition("/")
    return entry_of({**answer, "name": name}, folder or "/")


def _next_second(text: str) -> str:
    from datetime import datetime, timedelta

    return (datetime.fromisoformat(text) + timedelta(seconds=1)).isoformat()[:19]
