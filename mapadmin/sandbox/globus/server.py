"""The emulator's HTTP server: routes, errors, and a line in requests.log for each request."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from mapadmin.sandbox.globus.answers import Answer, ApiError, Request, not_found
from mapadmin.sandbox.globus.auth import TRANSFER, AuthApi
from mapadmin.sandbox.globus.tasks import Tasks
from mapadmin.sandbox.globus.transfer import TransferApi
from mapadmin.sandbox.globus.world import World

LOG = "requests.log"
BASE = "/v0.10/"


class Service:
    """Answers requests; knows nothing of sockets."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        self.auth = AuthApi(self.world)
        api = TransferApi(self.world, Tasks(self.world))
        self._routes = [(method, re.compile(text), call) for method, text, call in api.routes()]
        self._auth: dict[tuple[str, str], Callable[[Request], Answer]] = {
            ("GET", "/v2/oauth2/authorize"): self.auth.authorize,
            ("POST", "/v2/oauth2/token"): self.auth.token,
            ("POST", "/v2/oauth2/token/revoke"): self.auth.revoke,
            ("GET", "/v2/oauth2/userinfo"): self.auth.userinfo,
            ("GET", "/v2/api/identities"): self.auth.identities,
        }
        self._log = folder / LOG

    def answer(self, request: Request, target: str) -> Answer:
        """What to send back, errors included; logged."""
        begun = time.time()
        try:
            answer = self._answer(request, target)
        except ApiError as error:
            headers = dict(error.more.pop("headers", {}))  # type: ignore[call-overload]
            answer = Answer(error.body(request.path), status=error.status, headers=headers)
            if request.path.startswith("/v2/"):
                answer.data["error"] = error.code
        line = [round(begun, 3), request.method, target, answer.status]
        with self._log.open("a", encoding="utf-8") as log:  # one write, so no lock
            log.write(json.dumps(line) + "\n")
        return answer

    def _answer(self, request: Request, target: str) -> Answer:
        if handler := self._auth.get((request.method, request.path)):
            self.world.faults.meet(f"{request.method} {target}")
            return handler(request)
        if not request.path.startswith(BASE):
            raise not_found("resource")
        self.world.faults.meet(f"{request.method} {target}")
        request.caller = self.auth.caller(request, TRANSFER)
        rest = request.path.removeprefix(BASE)
        for method, pattern, call in self._routes:
            if method == request.method and (found := pattern.fullmatch(rest)):
                return call(request, *found.groups())
        raise not_found("resource")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: Service
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        request = Request(
            method=self.command, path=parts.path, headers=dict(self.headers.items()),
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            body=self.rfile.read(length) if length else b"",
        )  # fmt: skip
        answer = self.service.answer(request, self.path)
        data = answer.html.encode() if answer.html else json.dumps(answer.data).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "text/html" if answer.html else "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815  http.server's names

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr: requests.log has it."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; anything else is a fault of the emulator's."""
        import sys

        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def make_server(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server on 127.0.0.1 for the emulator in this folder; 0: any free port."""
    handler = type("Handler", (_Handler,), {"service": Service(folder)})
    return _Server(("127.0.0.1", port), handler)
