"""The Transfer service: folders, tasks, collections, access rules, and what managers see."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from mapadmin.sandbox.globus import files
from mapadmin.sandbox.globus.answers import (
    Answer,
    ApiError,
    Json,
    Request,
    bad_request,
    marked_page,
    page,
)  # fmt: skip
from mapadmin.sandbox.globus.tasks import Tasks
from mapadmin.sandbox.globus.world import Collection, World, new_id

Handler = Callable[..., Answer]
_MOST = 100_000  # entries of one listing


class TransferApi:
    """Handlers below /v0.10; `routes` says which is for what."""

    def __init__(self, world: World, tasks: Tasks) -> None:
        self.world = world
        self.tasks = tasks

    def routes(self) -> Iterable[tuple[str, str, Handler]]:
        """Method, pattern of the path (its groups are the handler's arguments), handler."""
        one = "([^/]+)"
        at = f"operation/endpoint/{one}"
        yield "GET", f"{at}/ls", self.ls
        yield "GET", f"{at}/stat", self.stat
        yield "POST", f"{at}/mkdir", self.mkdir
        yield "POST", f"{at}/rename", self.rename
        yield "GET", "submission_id", self.submission_id
        yield "POST", "(transfer|delete)", self.submit
        yield "GET", "task_list", self.task_list
        yield "GET", "endpoint_manager/task_list", self.all_tasks
        yield "GET", "endpoint_manager/monitored_endpoints", self.monitored
        for prefix in ("", "endpoint_manager/"):
            yield "GET", f"{prefix}task/{one}", self.task
            yield "GET", f"{prefix}task/{one}/event_list", self.events
            yield "GET", f"{prefix}task/{one}/successful_transfers", self.succeeded
            yield "GET", f"{prefix}task/{one}/skipped_errors", self.skipped
            yield "GET", f"{prefix}task/{one}/pause_info", self.pause_info
        yield "POST", f"task/{one}/cancel", self.cancel
        yield "GET", "endpoint_search", self.search
        yield "GET", f"endpoint/{one}", self.endpoint
        yield "GET", f"endpoint/{one}/access_list", self.rules
        yield "POST", f"endpoint/{one}/access", self.add_rule
        yield "GET", f"endpoint/{one}/access/{one}", self.rule
        yield "PUT", f"endpoint/{one}/access/{one}", self.change_rule
        yield "DELETE", f"endpoint/{one}/access/{one}", self.remove_rule

    # --- folders --------------------------------------------------------------------------------

    def ls(self, request: Request, key: str) -> Answer:
        path = files.normal(request.query.get("path", "/"))
        found = files.listing(self.world.usable(key, request.caller, path), path)
        if request.query.get("show_hidden") in ("0", "false", "False"):
            found = [entry for entry in found if not str(entry["name"]).startswith(".")]
        found = files.filtered(found, request.query.get("filter", ""))
        offset = request.number("offset", 0)
        limit = min(request.number("limit", _MOST), int(self.world.faults.setting("most", _MOST)))
        total = {"none": {}, "wrong": {"total": len(found) + 1}}.get(
            self.world.faults.setting("total", ""), {"total": len(found)}
        )
        part = found[offset : offset + limit]
        return Answer(
            {"DATA_TYPE": "file_list", "DATA": part, "path": path.rstrip("/") + "/",
             "absolute_path": path, "endpoint": key, "length": len(part), **total,
             "offset": offset, "limit": limit, "rename_supported": True}
        )  # fmt: skip

    def stat(self, request: Request, key: str) -> Answer:
        path = request.query.get("path", "/")
        return Answer(files.one(self.world.usable(key, request.caller, path), path))

    def mkdir(self, request: Request, key: str) -> Answer:
        path = str(request.json().get("path", ""))
        files.make(self.world.usable(key, request.caller, path, write=True), path)
        return _done("DirectoryCreated", "mkdir_result", "The directory was created successfully")

    def rename(self, request: Request, key: str) -> Answer:
        body = request.json()
        old, new = str(body.get("old_path", "")), str(body.get("new_path", ""))
        files.rename(self.world.usable(key, request.caller, old, write=True), old, new)
        return _done("FileRenamed", "result", "File or directory renamed successfully")

    # --- tasks ----------------------------------------------------------------------------------

    def submission_id(self, request: Request) -> Answer:
        return Answer({"DATA_TYPE": "submission_id", "value": new_id()})

    def submit(self, request: Request, kind: str) -> Answer:
        body = request.json()
        names = ("source_endpoint", "destination_endpoint") if kind == "transfer" else ("endpoint",)
        for name in names:
            self.world.collection(str(body.get(name)))
        return Answer(self.tasks.submit(kind, request.caller, body), status=202)

    def task_list(self, request: Request) -> Answer:
        own = [t for t in self.world.state.tasks.values() if t["owner"] == request.caller]
        return Answer(_task_page(own, request))

    def all_tasks(self, request: Request) -> Answer:
        self._want_manager(request)
        found = list(self.world.state.tasks.values())
        wanted = set(filter(None, request.query.get("filter_status", "").split(",")))
        place = request.query.get("filter_endpoint")
        if not place and not (wanted and wanted <= {"ACTIVE", "INACTIVE"}):
            raise bad_request("filter_endpoint is required, unless filter_status is of what runs")
        ends = ("source_endpoint_id", "destination_endpoint_id")
        rows = [
            row for task in reversed(found) for row in [task["document"]]
            if (not wanted or row["status"] in wanted)
            and (not place or place in [row[end] for end in ends])
        ]  # fmt: skip
        begin = int(request.query.get("last_key") or 0)
        more = begin + 100 < len(rows)
        return Answer(
            {"DATA_TYPE": "task_list", "DATA": rows[begin : begin + 100], "has_next_page": more,
             "last_key": str(begin + 100) if more else None}
        )  # fmt: skip

    def monitored(self, request: Request) -> Answer:
        self._want_manager(request)
        rows = [self._document(found, request.caller) for found in self.world.config.collections]
        return Answer({"DATA_TYPE": "monitored_endpoint_list", "DATA": rows})

    def task(self, request: Request, number: str) -> Answer:
        return Answer(dict(self.tasks.find(number, request.caller)["document"]))

    def events(self, request: Request, number: str) -> Answer:
        rows = list(self.tasks.find(number, request.caller)["events"])
        return Answer(page(rows, request, "event_list"))

    def succeeded(self, request: Request, number: str) -> Answer:
        rows = list(self.tasks.find(number, request.caller)["succeeded"])
        return Answer(marked_page(rows, request, "successful_transfers"))

    def skipped(self, request: Request, number: str) -> Answer:
        rows = list(self.tasks.find(number, request.caller)["skipped"])
        return Answer(marked_page(rows, request, "skipped_errors"))

    def pause_info(self, request: Request, number: str) -> Answer:
        self.tasks.find(number, request.caller)
        none: Json = {
            "pause_rules": [],
            "source_pause_message": None,
            "destination_pause_message": None,
        }
        return Answer({"DATA_TYPE": "pause_info_limited", **none})

    def cancel(self, request: Request, number: str) -> Answer:
        code = self.tasks.cancel(self.tasks.find(number, request.caller))
        return _done(code, "result", "The task has been cancelled successfully")

    # --- collections and access -----------------------------------------------------------------

    def search(self, request: Request) -> Answer:
        words = request.query.get("filter_fulltext", "").lower().split()
        scope = request.query.get("filter_scope", "all")
        rows = [
            self._document(found, request.caller)
            for found in self.world.config.collections
            if all(w in found.name.lower() or w in found.owner.lower() for w in words)
            and (scope == "all" or self._owns(found, request.caller))
        ]
        return Answer(page(rows, request, "endpoint_list"))

    def endpoint(self, request: Request, key: str) -> Answer:
        return Answer(self._document(self.world.collection(key), request.caller))

    def rules(self, request: Request, key: str) -> Answer:
        self._administered(request, key)
        return Answer({"DATA_TYPE": "access_list", "endpoint": key,
                       "DATA": self.world.rules(key)})  # fmt: skip

    def rule(self, request: Request, key: str, number: str) -> Answer:
        self._administered(request, key)
        return Answer(self.world.rule(key, number))

    def add_rule(self, request: Request, key: str) -> Answer:
        self._administered(request, key)
        body = request.json()
        path = str(body.get("path", ""))
        if not re.fullmatch(r"/(.*/)?", path, re.DOTALL) or body.get("permissions") not in (
            "r",
            "rw",
        ):
            raise bad_request("path must begin and end with a slash, permissions be r or rw")
        with self.world.lock:
            for known in self.world.rules(key):
                if (known["principal"], known["path"]) == (body.get("principal"), path):
                    raise ApiError(409, "Exists", "This principal has a rule on this path")
            rule = {
                "DATA_TYPE": "access", "id": new_id(), "role_id": None, "role_type": None,
                "principal_type": body.get("principal_type"), "principal": body.get("principal"),
                "path": path, "permissions": body["permissions"], "create_time": None,
                "expiration_date": body.get("expiration_date"),
            }  # fmt: skip
            self.world.state.rules.setdefault(key, []).append(rule)
            self.world.save()
        return Answer({"DATA_TYPE": "access_create_result", "code": "Created", "resource": key,
                       "message": "Access rule created successfully.",
                       "request_id": "emulator0", "access_id": rule["id"]}, status=201)  # fmt: skip

    def change_rule(self, request: Request, key: str, number: str) -> Answer:
        self._administered(request, key)
        with self.world.lock:
            rule = self.world.rule(key, number)
            body = request.json()
            rule.update({n: body[n] for n in ("permissions", "expiration_date") if n in body})
            self.world.save()
        return _done("Updated", "access_update_result", "Access rule updated successfully.")

    def remove_rule(self, request: Request, key: str, number: str) -> Answer:
        self._administered(request, key)
        with self.world.lock:
            rule = self.world.rule(key, number)
            self.world.state.rules[key].remove(rule)
            self.world.save()
        return _done("Deleted", "result", "Access rule deleted successfully.")

    # --- what they need -------------------------------------------------------------------------

    def _administered(self, request: Request, key: str) -> Collection:
        found = self.world.collection(key)
        if not self._owns(found, request.caller):
            raise ApiError(403, "PermissionDenied", "Only its administrators may do that")
        if not found.guest:
            raise ApiError(409, "Conflict", "Only guest collections have access rules")
        return found

    def _owns(self, found: Collection, caller: str) -> bool:
        who = self.world.identity(caller)
        return who is not None and who.username in (found.owner, *self.world.config.managers)

    def _want_manager(self, request: Request) -> None:
        if not self.world.is_manager(request.caller):
            raise ApiError(403, "PermissionDenied", "You have no role on any managed endpoint")

    def _document(self, found: Collection, caller: str) -> Json:
        owner = self.world.identity(found.owner)
        roles = ["administrator"] if self._owns(found, caller) else []
        return {
            "DATA_TYPE": "endpoint", "id": found.id, "display_name": found.name,
            "entity_type": "GCP_guest_collection" if found.guest else "GCP_mapped_collection",
            "owner_id": owner.id if owner else "", "owner_string": found.owner,
            "default_directory": "/", "subscription_id": found.subscription,
            "gcp_connected": found.connected, "gcp_paused": False, "is_globus_connect": True,
            "host_endpoint_id": found.id if found.guest else None, "acl_available": found.guest,
            "my_effective_roles": roles, "canonical_name": f"{found.owner}#{found.id}",
            "description": None, "public": False, "shareable": not found.guest, "keywords": None,
            "info_link": None, "contact_email": None, "organization": None, "department": None,
            "contact_info": None, "force_encryption": False, "local_user_info_available": None,
            "https_server": None, "tlsftp_server": None, "high_assurance": False,
            "non_functional": False, "disable_verify": False, "username": found.owner, "DATA": [],
        }  # fmt: skip


def _task_page(tasks: list[Json], request: Request) -> Json:
    rows = [task["document"] for task in reversed(tasks)]
    for clause in filter(None, request.query.get("filter", "").split("/")):
        field, _, value = clause.partition(":")
        if field in ("type", "status", "task_id"):
            rows = [row for row in rows if str(row[field]) in value.split(",")]
        elif field == "label":
            rows = [row for row in rows if files.fits(str(row["label"] or ""), value)]
        elif field in ("request_time", "completion_time"):
            begin, _, end = value.partition(",")
            rows = [
                row for row in rows if row[field] is not None
                and (not begin or row[field] >= begin.replace("T", " "))
                and (not end or row[field] < end.replace("T", " "))
            ]  # fmt: skip
    return page(rows[:1000], request, "task_list")


def _done(code: str, kind: str, message: str) -> Answer:
    return Answer({"DATA_TYPE": kind, "code": code, "message": message,
                   "request_id": "emulator0", "resource": "/"})  # fmt: skip
