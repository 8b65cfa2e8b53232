"""What goes in and out of the emulator's handlers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

Json = dict[str, Any]


class ApiError(Exception):
    """An error answer in the Transfer service's form; `more` are further keys of its body."""

    def __init__(self, status: int, code: str, message: str, **more: object) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.more = more

    def body(self, resource: str) -> Json:
        """The document that clients read: code, message, request_id, resource."""
        return {
            "DATA_TYPE": "error", "code": self.code, "message": str(self),
            "request_id": "emulator0", "resource": resource, **self.more,
        }  # fmt: skip


def not_found(what: str) -> ApiError:
    return ApiError(404, "ClientError.NotFound", f"No such {what}")


def bad_request(message: str) -> ApiError:
    return ApiError(400, "ClientError.BadRequest", message)


class Request(msgspec.Struct):
    """One request, parsed. `caller` is the identity of its token; empty for Auth's own."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    caller: str = ""

    def json(self) -> Json:
        """The body as an object. Raises ApiError."""
        try:
            data = json.loads(self.body or b"{}")
        except ValueError:
            raise bad_request("The body is not JSON") from None
        if not isinstance(data, dict):
            raise bad_request("The body is not an object")
        return data

    def number(self, name: str, default: int) -> int:
        """A whole number of the query. Raises ApiError."""
        try:
            return int(self.query.get(name, default))
        except ValueError:
            raise bad_request(f"{name} is not a number") from None


class Answer(msgspec.Struct):
    """What is sent back: JSON, or the page that shows a login code."""

    data: Json
    status: int = 200
    html: str = ""
    headers: dict[str, str] = msgspec.field(default_factory=dict)


def stamp(seconds: float) -> str:
    """A time as the service writes it: `2026-11-23 10:00:00+00:00`."""
    return datetime.fromtimestamp(int(seconds), UTC).isoformat(sep=" ")


def page(rows: list[Json], request: Request, kind: str) -> Json:
    """The part of a list that `limit` and `offset` ask for."""
    offset, limit = request.number("offset", 0), request.number("limit", 100)
    return {
        "DATA_TYPE": kind, "DATA": rows[offset : offset + limit], "offset": offset,
        "limit": limit, "length": len(rows[offset : offset + limit]), "total": len(rows),
        "has_next_page": offset + limit < len(rows),
    }  # fmt: skip


def marked_page(rows: list[Json], request: Request, kind: str) -> Json:
    """A hundred rows behind `marker`; `next_marker` as long as there are more."""
    begin = request.number("marker", 0)
    end = begin + 100
    return {
        "DATA_TYPE": kind, "DATA": rows[begin:end],
        "next_marker": str(end) if end < len(rows) else None,
    }  # fmt: skip
