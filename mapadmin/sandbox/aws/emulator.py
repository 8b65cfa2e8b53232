"""`python -m mapadmin.sandbox.aws.emulator --port=N --folder=DIR`: AWS on a loopback port.

moto keeps everything in memory: what was changed is gone when this process ends. Operations that
moto does not know are answered with `answers`, and such an answer has a header that says so. The
account is filled when the first request comes, which waits for it: many a sandbox never needs it.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from mapadmin.sandbox.aws.answers import ANSWERS, RECORDED, complete
from mapadmin.sandbox.aws.seed import INSTANCE, LOST, SEEDER, seed
from mapadmin.sandbox.processes import started_at

HOST = "127.0.0.1"
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def operation_of(environ: dict[str, Any], body: bytes) -> tuple[str, dict[str, str]]:
    """The operation that a request asks for, and its parameters if it is a form; "" for S3."""
    target = str(environ.get("HTTP_X_AMZ_TARGET", ""))
    if target:
        return target.rpartition(".")[2], {}
    path = str(environ.get("PATH_INFO", ""))
    if "/operation/" in path:
        return path.rpartition("/")[2], {}
    if str(environ.get("CONTENT_TYPE", "")).startswith("application/x-www-form-urlencoded"):
        form = {key: values[0] for key, values in parse_qs(body.decode()).items()}
        return form.get("Action", ""), form
    return "", {}


def take_body(environ: dict[str, Any]) -> bytes:
    """The request's body, left in place for whoever comes next."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = bytes(environ["wsgi.input"].read(length)) if length else b""
    if length:
        environ["wsgi.input"] = io.BytesIO(body)
    return body


def with_answers(app: Wsgi, database: int | None) -> Wsgi:
    """moto's application, with recorded answers in front."""

    def front(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        operation, form = operation_of(environ, take_body(environ))
        if operation in ANSWERS:
            kind, answer = ANSWERS[operation](form)
            start("200 OK", [("Content-Type", kind), (RECORDED, "all")])
            return [answer.encode()]
        if operation != "DescribeDBInstances":
            return app(environ, start)
        status: list[Any] = []
        text = b"".join(app(environ, lambda *args: status.extend(args)))
        headers = [(k, v) for k, v in status[1] if k.lower() != "content-length"]
        start(status[0], [*headers, (RECORDED, "CertificateDetails")])
        return [complete(text, database)]

    return front


class Seeded:
    """An application that is made, and filled by requests to itself, when it is first asked."""

    def __init__(self, make: Callable[[], Wsgi]) -> None:
        self._make = make
        self._app: Wsgi | None = None
        self._lock = threading.Lock()
        self._full = False
        self.port = 0

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if SEEDER not in str(environ.get("HTTP_USER_AGENT", "")):
            with self._lock:
                if self._app is None or not self._full:
                    self._app = self._make()
                    seed(f"http://{HOST}:{self.port}")
                    self._full = True
        app = self._app
        if app is None:
            start("503 Service Unavailable", [])
            return []
        return app(environ, start)


def make_app(database: int | None) -> Wsgi:
    """moto, with four changes.

    What is restored from a snapshot can be deleted, as on RDS. Its own figures of buckets are left
    out: they would be mixed with the 90 days that `seed` puts. And the server has the same id each
    time, because the site file names it. The parts of
    the upload that is left over are as old as moto says of all uploads that they are.
    """
    from moto.ec2.models import instances
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from moto.rds.models import RDSBackend
    from moto.s3.models import FakeMultipart, S3Backend

    restore: Any = RDSBackend.restore_db_instance_from_db_snapshot

    def restored(self: Any, *args: Any, **keywords: Any) -> Any:
        made = restore(self, *args, **keywords)
        made.deletion_protection = False
        return made

    RDSBackend.restore_db_instance_from_db_snapshot = restored  # type: ignore[method-assign]

    put: Any = FakeMultipart.set_part

    def put_part(self: Any, *args: Any) -> Any:
        part = put(self, *args)
        if self.key_name == LOST:
            part.last_modified = datetime(2010, 11, 10)  # noqa: DTZ001  as moto has them
        return part

    FakeMultipart.set_part = put_part  # type: ignore[method-assign,assignment]
    S3Backend.get_cloudwatch_metrics = classmethod(  # type: ignore[method-assign,assignment]
        lambda cls, account_id, region: []
    )
    made: Any = instances
    chosen, ids = made.random_instance_id, iter([INSTANCE])
    made.random_instance_id = lambda: next(ids, None) or chosen()
    moto: Wsgi = DomainDispatcherApplication(create_backend_app)
    return with_answers(moto, database)


def main(wrap: Callable[[Wsgi], Wsgi] = lambda app: app) -> None:
    """Serve until SIGTERM; DIR/emulator.json says where, as soon as it answers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--database", type=int, help="port of the server behind the RDS instance")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    from werkzeug.serving import WSGIRequestHandler, make_server

    WSGIRequestHandler.protocol_version = "HTTP/1.1"  # connections are kept
    seeded = Seeded(lambda: make_app(arguments.database))
    server = make_server(HOST, arguments.port, wrap(seeded), threaded=True)
    seeded.port = server.server_port
    me = os.getpid()
    ready = {"pid": me, "started": started_at(me), "port": server.server_port}
    path = arguments.folder / "emulator.json"
    path.with_suffix(".new").write_text(json.dumps(ready))
    path.with_suffix(".new").replace(path)
    server.serve_forever()


if __name__ == "__main__":
    main()
