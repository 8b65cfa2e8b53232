"""Every object of a bucket, listed in parallel: for `aws usage --exact`, right to the byte.

Splitting and reading pages is ours; address, credentials, signature, HTTP session are botocore's.

Splitting needs no delimiter and no luck. After a page that ends at key `last`, what is left of a
prefix falls apart exactly, at any beginnings of `last`: what shares the longest of them, and for
each two, what shares the shorter and not the longer. Each part is a prefix and a key to start
after, so S3 itself keeps them apart. Where keys were seen to fork, a cut is worth its request.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import pairwise
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

Get = Callable[[dict[str, str]], Any]  # asks for a page: query -> answer
Group = Callable[[str], str]  # key -> what it is counted under
Tally = dict[tuple[str, str], tuple[int, int]]  # group, storage class -> objects, bytes


class Part(msgspec.Struct, frozen=True):
    """Keys that begin with `prefix` and come after `after`, but for those that begin with `but`."""

    prefix: str
    after: str = ""
    but: str = ""


class Page(msgspec.Struct):
    """A page, added up; `more` if it is cut. `forks`: how many characters neighbours share."""

    tally: Tally
    keys: int = 0
    first: str = ""
    last: str = ""
    more: bool = False
    forks: set[int] = set()


class ListingError(MapadminError):
    """A part of the bucket could not be listed: there is no answer at all then."""


def list_all(get: Get, prefix: str, group: Group, *, threads: int = THREADS) -> Iterator[Page]:
    """All pages under a prefix, in no order. Raises ListingError when any part cannot be had."""
    pool, stop = ThreadPoolExecutor(threads), threading.Event()
    waiting: dict[Future[Page], Part] = {}
    forks: set[int] = set()
    rest = [Part(prefix)]
    try:
        while rest or waiting:
            waiting |= {pool.submit(_fetch, get, part, group, stop): part for part in rest}
            rest = []
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                part, page = waiting.pop(future), future.result()
                forks |= page.forks
                free = threads - len(waiting) - len(rest)
                rest += _rest(part, page, free, forks if free < threads * 3 / 4 else None)
                yield page
    finally:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _rest(part: Part, page: Page, free: int, forks: set[int] | None) -> list[Part]:
    """What a page leaves, for `free` requests at most; cut at `forks`, or (None) everywhere."""
    last, shared = page.last, len(commonprefix([page.first, page.last]))  # noqa: RUF071
    if not page.more:
        return []
    if part.but and last.startswith(part.but):
        return [Part(part.prefix, last, part.but)]
    cuts = [len(part.prefix)]
    if free > 1 and len(last.encode()) <= _LONGEST:
        most = shared if forks else min(shared + 1, len(last))
        levels = range(cuts[0] + 1, most + 1)
        cuts += [n for n in levels if forks is None or n in forks][1 - free :]
    others = [Part(last[:a], last[:b] + _LAST, last[:b]) for a, b in pairwise(cuts)]
    return [Part(last[: cuts[-1]], last), *others]


def _fetch(get: Get, part: Part, group: Group, stop: threading.Event) -> Page:
    """One page, tried again while the store is busy; a torn answer counts as none."""
    query = {"list-type": "2", "encoding-type": "url", "prefix": part.prefix}
    query |= {"start-after": part.after} if part.after else {}
    why = ""
    for attempt in range(_TRIES):
        if attempt and stop.wait(random.uniform(0.5, 1.0) * min(0.1 * 2**attempt, 5.0)):  # noqa: S311
            break
        try:
            answer = get(query)
            if answer.status_code == 200:
                with _READING:
                    return _read(answer.content, part, group)
            why = f"HTTP {answer.status_code}"
            if answer.status_code not in (429, 500, 502, 503, 504):
                break
        except (UnreachableError, SyntaxError, ValueError) as error:  # SyntaxError: torn XML
            why = f"{type(error).__name__}: {error}"
    raise ListingError(
        f"The listing is not complete: {part.prefix!r} after {part.after!r}: {why}.",
        remedy="No figure is shown, because it would be too low. Run it again.",
        exit_code=ExitCode.SETTINGS if why == "HTTP 403" else ExitCode.FAILED,
    )


def _read(text: bytes, part: Part, group: Group) -> Page:
    """A page of ListObjectsV2, by expat. ValueError for one that cannot be."""
    from xml.etree import ElementTree

    if b"<!" in text:  # S3 sends no DTD, so no entities that would make a small page a big one
        raise ValueError("the page declares a document type")
    root = ElementTree.fromstring(text)  # noqa: S314  declarations were refused above
    space = root.tag.rpartition("}")[0] + "}" if root.tag.startswith("{") else ""
    page, before, seen = Page({}), part.after, [part.after]
    for item in root.iter(f"{space}Contents"):
        key = item.findtext(f"{space}Key") or ""
        key = unquote_plus(key) if "%" in key or "+" in key else key
        if not key.startswith(part.prefix) or (before and key <= before):
            raise ListingError(f"This store does not list in order ({key!r} after {before!r}).")
        before, page.keys, page.first = key, page.keys + 1, page.first or key
        if page.keys % 64 == 1:  # some are enough to see where keys fork
            seen.append(key)
        if part.but and key.startswith(part.but):
            continue
        name = (group(key), item.findtext(f"{space}StorageClass") or "STANDARD")
        objects, size = page.tally.get(name, (0, 0))
        page.tally[name] = (objects + 1, size + int(item.findtext(f"{space}Size") or "?"))
    page.forks = {len(commonprefix(pair)) for pair in pairwise(seen)}  # noqa: RUF071
    page.last, cut = before, root.findtext(f"{space}IsTruncated")
    page.more = cut == "true"
    counted = int(root.findtext(f"{space}KeyCount") or page.keys)
    if counted != page.keys or cut not in ("true", "false") or (page.more and not page.keys):
        raise ValueError(f"the page has {page.keys} keys and says {counted}, cut: {cut}")
    return page
