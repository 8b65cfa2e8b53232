"""`python -m tests.aws.stub_s3 CONFIG.json`: a store that lists, with a set latency and faults.

Only ListObjectsV2 (and HeadBucket), for any bucket, over keys that the configuration describes.
moto takes minutes to list what this answers at once. It is the server's side of S3's API reference,
written without looking at the client: prefix, start-after, continuation-token, delimiter, max-keys,
encoding-type; and signatures of version 4, by the reference "Authenticating requests".
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlsplit
from xml.sax.saxutils import escape

import msgspec


class Config(msgspec.Struct):
    """`shape` names one of SHAPES; `fail` statuses are answered to every `fail_every`-th page."""

    ready: str
    shape: str = "balanced"
    count: int = 1000
    latency: float = 0.0
    fail: list[int] = msgspec.field(default_factory=list)
    fail_every: int = 0
    lost: str = ""  # the page that would hold this key is never answered but with 500
    torn_every: int = 0  # every so many pages are cut in half, under a correct length
    forbidden: bool = False
    short: bool = False  # a page leaves out a key, and does not say so


def size_of(key: str) -> int:
    """Bytes of an object: anything, but the same each time."""
    return (len(key) * 7919 + sum(key.encode()[-3:]) * 104_729) % 5_000_000


def class_of(key: str) -> str:
    return ("STANDARD", "GLACIER", "DEEP_ARCHIVE")[sum(key.encode()[-2:]) % 3]


ODD = (
    "a b", "a+b", "a&b", "a<b>", "a%20b", "a\nb", "a\rb", "a\tb", "größe/ä", "日本/語", "a\u0001b",
    "x\U0010ffff", "x\U0010ffff/1", "x\U0010ffffy", "'quoted\"", "a//b", "/a", "..", "]]>",
    "emoji/🧠",
)  # fmt: skip

SHAPES: dict[str, Callable[[int], list[str]]] = {
    # folders of a session each, as a pipeline makes them
    "balanced": lambda n: [
        f"sub-{440956 + i // 1000}/ses-{i // 50 % 20:02}/trial_{i % 50:04}.npy" for i in range(n)
    ],
    # nine tenths in one folder, numbered
    "skewed": lambda n: [
        f"raw/one/huge/folder/trial_{i:07}.dat" if i % 10 else f"sub-{i:06}/x.meta"
        for i in range(n)
    ],
    "flat": lambda n: [f"{i:08}" for i in range(n)],
    "hashed": lambda n: [f"blobs/{(i * 2654435761) % 2**32:08x}{i:08x}" for i in range(n)],
    "long": lambda n: ["k" * 900 + f"{i:0124}" for i in range(n)],
    "odd": lambda n: [f"{odd}{i:05}" for i in range(n // len(ODD)) for odd in ODD],
}  # fmt: skip


SECRET = "s"  # of whoever may list


def is_signed(method: str, target: str, headers: dict[str, str]) -> bool:
    """Does the Authorization header prove knowledge of SECRET, for this very request?"""
    scheme, _, fields = headers.get("authorization", "").partition(" ")
    given = dict(field.strip().split("=", 1) for field in fields.split(",") if "=" in field)
    if scheme != "AWS4-HMAC-SHA256" or "host" not in given["SignedHeaders"].split(";"):
        return False
    scope = given["Credential"].split("/", 1)[1]
    path, _, query = target.partition("?")
    pairs = sorted(part if "=" in part else f"{part}=" for part in query.split("&") if part)
    lines = [f"{name}:{' '.join(headers[name].split())}" for name in
             given["SignedHeaders"].split(";")]  # fmt: skip
    request = "\n".join([
        method, path, "&".join(pairs), *lines, "", given["SignedHeaders"],
        headers["x-amz-content-sha256"],
    ])  # fmt: skip
    text = "\n".join([
        scheme, headers["x-amz-date"], scope, hashlib.sha256(request.encode()).hexdigest()
    ])  # fmt: skip
    key = b"AWS4" + SECRET.encode()
    for word in scope.split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    return hmac.compare_digest(hmac.digest(key, text.encode(), "sha256").hex(), given["Signature"])


class Stub:
    """Keys in the order of their UTF-8, which is Python's own order of text."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.keys = sorted(set(SHAPES[config.shape](config.count)))
        self.rendered: dict[bool, list[bytes]] = {}
        self.pages = self.most = self.open = 0

    def render(self, url: bool) -> list[bytes]:
        """Each object's XML, made once: a slow stub would be what is measured."""
        if url not in self.rendered:
            self.rendered[url] = [
                f"<Contents><Key>{quote_plus(key, safe='/') if url else escape(key)}</Key>"
                "<LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                f"<ETag>&quot;0&quot;</ETag><Size>{size_of(key)}</Size>"
                f"<StorageClass>{class_of(key)}</StorageClass></Contents>".encode()
                for key in self.keys
            ]
        return self.rendered[url]

    def answer(self, target: str) -> tuple[int, bytes]:
        query = {k: v[0] for k, v in parse_qs(urlsplit(target).query).items()}
        self.pages += 1
        config = self.config
        if config.forbidden:
            return 403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
        if config.fail_every and self.pages % config.fail_every == 0:
            status = config.fail[self.pages // config.fail_every % len(config.fail)]
            return status, b"<Error><Code>SlowDown</Code><Message>slow</Message></Error>"
        prefix = query.get("prefix", "")
        token = bytes.fromhex(query.get("continuation-token", "")).decode()  # opaque to clients
        after = max(query.get("start-after", ""), token)
        most = min(1000, int(query.get("max-keys", 1000)))
        begin = max(bisect_right(self.keys, after) if after else 0, bisect_left(self.keys, prefix))
        stop = bisect_left(self.keys, prefix + "\U0010ffff" * 300, lo=min(begin, len(self.keys)))
        end = min(begin + most, stop)
        if config.lost and config.lost in self.keys[begin:end]:
            return 500, b"<Error><Code>InternalError</Code><Message>lost</Message></Error>"
        body = b"".join(self.render(query.get("encoding-type") == "url")[begin:end])
        number = max(0, end - begin)
        if config.short and number > 3:
            body = b"".join(self.render(query.get("encoding-type") == "url")[begin : end - 1])
        more = end < stop
        token = (
            f"<NextContinuationToken>{self.keys[end - 1].encode().hex()}</NextContinuationToken>"
        )
        text = (
            b'<?xml version="1.0" encoding="UTF-8"?>'
            b'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>'
            + f"<KeyCount>{number}</KeyCount><MaxKeys>{most}</MaxKeys>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token if more else ''}".encode()
            + body + b"</ListBucketResult>"
        )  # fmt: skip
        if config.torn_every and self.pages % config.torn_every == 0:
            text = text[: len(text) // 2]
        return 200, text

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                headers = {}
                while header := (await reader.readline()).decode().strip():
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                method, target, _ = line.decode().split(" ")
                if target.startswith("http://"):  # as a proxy is asked
                    target = "/" + target.split("/", 3)[3]
                if target == "/_counts":
                    status, body = 200, json.dumps([self.pages, self.most]).encode()
                elif not is_signed(method, target, headers):
                    status, body = 403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>"
                elif method == "HEAD":
                    status, body = 200, b""
                else:
                    self.open += 1
                    self.most = max(self.most, self.open)
                    await asyncio.sleep(self.config.latency)
                    status, body = self.answer(target)
                    self.open -= 1
                writer.write(
                    f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n"
                    "Content-Type: application/xml\r\nx-amz-bucket-region: us-east-1\r\n\r\n"
                    .encode() + body
                )  # fmt: skip
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def _main(path: Path) -> None:
    config = msgspec.json.decode(path.read_bytes(), type=Config)
    stub = Stub(config)
    stub.render(url=True)
    server = await asyncio.start_server(stub.serve, "127.0.0.1", 0, backlog=256)
    port: Any = server.sockets[0].getsockname()[1]
    ready = Path(config.ready)
    ready.with_suffix(".new").write_text(str(port))
    ready.with_suffix(".new").replace(ready)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
