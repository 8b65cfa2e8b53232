"""Runs `mapadmin` with an S3 that misleads it: `python misled.py HOW ARGS…`.

`upload`: somebody writes each file anew when it has been copied. `denied`: each delete takes place,
and the answer says of the first file that it did not. `silent`: S3 takes the files and then answers
no more, so the run counts what is asked of it. What it counts is printed to stderr.
"""

from __future__ import annotations

import sys
from typing import Any

import botocore.client
from botocore.exceptions import EndpointConnectionError

from mapadmin.cli import main

_real: Any = botocore.client.BaseClient._make_api_call
_asked_in_vain = 0
_taken = False


def upload(client: Any, operation: str, given: dict[str, Any]) -> Any:
    source = given.get("CopySource", {})  # which botocore rewrites
    answer = _real(client, operation, given)
    if operation == "CopyObject":
        new = {"Bucket": source["Bucket"], "Key": source["Key"], "Body": b"new contents"}
        _real(client, "PutObject", new)
    return answer


def denied(client: Any, operation: str, given: dict[str, Any]) -> Any:
    answer = _real(client, operation, given)
    if operation == "DeleteObjects":
        key = given["Delete"]["Objects"][0]["Key"]
        if ".mapadmin-trash" not in key:
            answer["Errors"] = [{"Key": key, "Code": "InternalError", "Message": "Try again."}]
    return answer


def silent(client: Any, operation: str, given: dict[str, Any]) -> Any:
    global _asked_in_vain, _taken  # noqa: PLW0603
    if _taken:
        _asked_in_vain += 1
        raise EndpointConnectionError(endpoint_url="s3")
    answer = _real(client, operation, given)
    if operation == "DeleteObjects":
        _taken = True
        raise EndpointConnectionError(endpoint_url="s3")
    return answer


if __name__ == "__main__":
    how = {"upload": upload, "denied": denied, "silent": silent}[sys.argv.pop(1)]
    botocore.client.BaseClient._make_api_call = how
    try:
        main()
    finally:
        print(f"asked in vain: {_asked_in_vain}", file=sys.stderr)
