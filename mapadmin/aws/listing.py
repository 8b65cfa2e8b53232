"""Every object of a bucket, listed in parallel: for `aws usage --exact`, right to the byte.

botocore resolves the endpoint, finds the credentials and signs each page's address (`presign`);
its HTTP session sends it; only how a bucket is split and how a page is read are ours.

Splitting needs no delimiter and no luck. After a page that ends at key `last`, what is left of a
prefix falls apart exactly into: what shares `last`'s beginning with the page's first key and one
character more, and for each shorter beginning, what differs from `last` right behind it. Each part
is a prefix and a key to start after, so S3 itself keeps them apart.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from os.path import commonprefix  # of any text
from typing import Any
from urllib.parse import unquote_plus

import msgspec

from mapadmin.core.errors import ExitCode, MapadminError, UnreachableError

THREADS = 32
_TRIES = 7
_LAST = "\U0010ffff"  # nothing sorts behind it
_LONGEST = 1000  # bytes; a key to start after must not be longer than 1024
_READING = threading.Lock()  # one page's tree in memory at a time: the interpreter runs one anyway
_AGAIN = {429, 500, 502, 503, 504}

# Presigned address of a page: parameters of ListObjectsV2 -> URL. And its sender: URL -> answer.
Presign = Callable[[dict[str, str]], str]
Send = Callable[[str], Any]
Tally = dict[tuple[str, str], tuple[int, int]]  # group, storage class -> objects, bytes


class Part(msgspec.Struct, frozen=True):
    """Keys that begin with `prefix` and come after `after`, but for those that begin with `but`."""

    prefix: str
    after: str = ""
    but: str = ""


class Page(msgspec.Struct):
    """What a page adds up to; `first` and `last` are its outermost keys, `more` if it is cut."""

    tally: Tally
    keys: int = 0
    first: str = ""
    last: str = ""
    more: bool = False


class ListingError(MapadminError):
    """A part of the bucket could not be listed: there is no answer at all then."""


def list_all(
    presign: Presign,
    send: Send,
    prefix: str,
    group: Callable[[str], str],
    *,
    threads: int = THREADS,
) -> Iterator[Page]:
    """All pages under a prefix, in no order, by `threads` requests at a time.

    Raises ListingError when any part of it cannot be had.
    """  # fmt: skip
    pool, stop = ThreadPoolExecutor(threads), threading.Event()
    waiting: dict[Future[Page], Part] = {}

    def ask(part: Part) -> None:
        waiting[pool.submit(_fetch, presign, send, part, group, stop)] = part

    try:
        ask(Part(prefix))
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                part, page = waiting.pop(future), future.result()
                for rest in _rest(part, page, threads - len(waiting)):
                    ask(rest)
                yield page
    finally:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _rest(part: Part, page: Page, spare: int) -> list[Part]:
    """What a page leaves of its part, for `spare` more requests; several levels make one part."""
    last, shared = page.last, len(commonprefix([page.first, page.last]))  # noqa: RUF071
    if not page.more:
        return []
    skipped = part.but != "" and last.startswith(part.but)
    if spare <= 0 or skipped or len(last.encode()) > _LONGEST or shared >= len(last):
        return [Part(part.prefix, last, part.but)]
    levels = range(len(part.prefix), shared + 1)
    step = -(-len(levels) // spare)
    groups = [levels[n : n + step] for n in range(0, len(levels), step)]
    return [
        Part(last[: shared + 1], last),
        *(Part(last[: g[0]], last[: g[-1] + 1] + _LAST, last[: g[-1] + 1]) for g in groups),
    ]


def _fetch(
    presign: Presign, send: Send, part: Part, group: Callable[[str], str], stop: threading.Event
) -> Page:
    """One page, tried again while the store is busy; a torn answer counts as none."""
    query = {"Prefix": part.prefix} | ({"StartAfter": part.after} if part.after else {})
    why = ""
    for attempt in range(_TRIES):
        if attempt and stop.wait(random.uniform(0.5, 1.0) * min(0.1 * 2**attempt, 5.0)):  # noqa: S311
            break
        try:
            answer = send(presign(query))
            if answer.status_code == 200:
                with _READING:
                    return _read(answer.content, part, group)
            why = f"HTTP {answer.status_code}"
            if answer.status_code not in _AGAIN:
                break
        except (UnreachableError, SyntaxError, ValueError) as error:  # SyntaxError: torn XML
            why = f"{type(error).__name__}: {error}"
    raise ListingError(
        f"The listing is not complete: {part.prefix!r} after {part.after!r}: {why}.",
        remedy="No figure is shown, because it would be too low. Run it again.",
        exit_code=ExitCode.SETTINGS if why == "HTTP 403" else ExitCode.FAILED,
    )


def _read(text: bytes, part: Part, group: Callable[[str], str]) -> Page:
    """A page of ListObjectsV2, by expat. ValueError for one that cannot be."""
    from xml.etree import ElementTree

    if b"<!" in text:  # S3 sends no DTD, so no entities that would make a small page a big one
        raise ValueError("the page declares a document type")
    root = ElementTree.fromstring(text)  # noqa: S314  declarations were refused above
    space = root.tag.rpartition("}")[0] + "}" if root.tag.startswith("{") else ""
    page, before = Page({}), part.after
    for item in root.iter(f"{space}Contents"):
        key = unquote_plus(item.findtext(f"{space}Key") or "")
        if not key.startswith(part.prefix) or (before and key <= before):
            raise ListingError(f"This store does not list in order ({key!r} after {before!r}).")
        before, page.keys, page.first = key, page.keys + 1, page.first or key
        if part.but and key.startswith(part.but):
            continue
        name = (group(key), item.findtext(f"{space}StorageClass") or "STANDARD")
        objects, size = page.tally.get(name, (0, 0))
        page.tally[name] = (objects + 1, size + int(item.findtext(f"{space}Size") or "?"))
    page.last, cut = before, root.findtext(f"{space}IsTruncated")
    page.more = cut == "true"
    counted = int(root.findtext(f"{space}KeyCount") or page.keys)
    if counted != page.keys or cut not in ("true", "false") or (page.more and not page.keys):
        raise ValueError(f"the page has {page.keys} keys and says {counted}, cut: {cut}")
    return page
