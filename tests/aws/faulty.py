"""`python -m tests.aws.faulty --port=N --folder=DIR`: the sandbox's AWS, and faults on demand.

POST /_faults sets what goes wrong; GET /_calls tells which operations were asked for.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from mapadmin.sandbox.aws.emulator import Wsgi, main, operation_of, take_body

# method and what is in the query -> S3's operation, for those that mapadmin asks for
_S3 = {
    ("GET", "list-type"): "ListObjectsV2", ("GET", "versioning"): "GetBucketVersioning",
    ("GET", "encryption"): "GetBucketEncryption", ("GET", "lifecycle"): "GetBucketLifecycle",
    ("GET", "publicAccessBlock"): "GetPublicAccessBlock",
    ("GET", "uploads"): "ListMultipartUploads",
    ("GET", "policyStatus"): "GetBucketPolicyStatus", ("PUT", "lifecycle"): "PutBucketLifecycle",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
}  # fmt: skip


def _operation(environ: dict[str, Any]) -> str:
    operation, _ = operation_of(environ, take_body(environ))
    if operation:
        return operation
    query = {part.partition("=")[0] for part in str(environ.get("QUERY_STRING", "")).split("&")}
    method = str(environ["REQUEST_METHOD"])
    return next((name for (m, key), name in _S3.items() if m == method and key in query), "other")


def faulty(app: Wsgi) -> Wsgi:
    faults: list[dict[str, Any]] = []
    made: list[str] = []
    lock = threading.Lock()

    def front(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/_faults":
            with lock:
                faults[:] = json.loads(take_body(environ))
                made.clear()
            start("200 OK", [("Content-Length", "0")])
            return []
        if environ["PATH_INFO"] == "/_calls":
            text = json.dumps(made).encode()
            start("200 OK", [("Content-Length", str(len(text)))])
            return [text]
        operation = _operation(environ)
        with lock:
            made.append(operation)
            fault = next(
                (f for f in faults if f["operation"] in ("*", operation) and f.get("times", 99)),
                None,
            )
            if fault is not None:
                fault["times"] = fault.get("times", 99) - 1
        if fault is None:
            return app(environ, start)
        time.sleep(fault.get("delay", 0))
        if "body" in fault:
            body = str(fault["body"]).encode()
            start("200 OK", [("Content-Type", "text/xml"), ("Content-Length", str(len(body)))])
            return [body]
        if "status" not in fault:
            return app(environ, start)
        return _refusal(fault, environ, start)

    return front


def _refusal(
    fault: dict[str, Any], environ: dict[str, Any], start: Callable[..., Any]
) -> list[bytes]:
    """An error in the words of the protocol that was asked in."""
    code, said = fault["code"], fault.get("message", "refused by the test")
    kind, headers = "text/xml", []
    if environ.get("HTTP_X_AMZ_TARGET"):
        kind, text = "application/x-amz-json-1.1", json.dumps({"__type": code, "message": said})
        body = text.encode()
    else:
        inner = f"<Error><Code>{code}</Code><Message>{said}</Message></Error>"
        form = str(environ.get("CONTENT_TYPE", "")).startswith("application/x-www-form")
        if b"ec2" in str(environ.get("HTTP_AUTHORIZATION", "")).encode():
            inner = f"<Response><Errors>{inner}</Errors></Response>"
        elif form:
            inner = f"<ErrorResponse>{inner}</ErrorResponse>"
        body = inner.encode()
    headers += [("Content-Type", kind), ("Content-Length", str(len(body)))]
    start(f"{fault['status']} Refused", headers)
    return [body]


if __name__ == "__main__":
    main(faulty)
