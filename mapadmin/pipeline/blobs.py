"""What DataJoint packed into a blob of its job tables: keys and stacks."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any


def unpack_key(blob: bytes | None) -> dict[str, Any]:
    """A job's key; without what cannot be read, which is then told as `?`."""
    value = _unpack(blob)
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    names = getattr(getattr(value, "dtype", None), "names", None)
    if names:  # mYm's structure, of MATLAB and of early versions
        return {name: _plain(value[name]) for name in names}
    return {} if blob is None else {"?": "not readable"}


def unpack_text(blob: bytes | str | None) -> str:
    """An error's stack."""
    if blob is None or isinstance(blob, str):
        return blob or ""
    value = _unpack(blob)
    return value if isinstance(value, str) else "(not readable)"


def _unpack(blob: bytes | None) -> Any:
    if not blob:
        return None
    try:
        return _unpacker()(blob)
    except Exception:  # noqa: BLE001  what a broken blob makes DataJoint raise is anybody's guess
        return None


@cache
def _unpacker() -> Callable[[bytes], Any]:
    """`datajoint.blob.unpack`, imported without a word about configurations it finds."""
    logging.getLogger("datajoint").disabled = True
    absent = "matplotlib" not in sys.modules
    if absent:  # for diagrams only, and half a second
        sys.modules["matplotlib"] = None  # type: ignore[assignment]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from datajoint import blob
    finally:
        if absent:
            del sys.modules["matplotlib"]
    unpack: Callable[[bytes], Any] = blob.unpack
    return unpack


def _plain(value: Any) -> Any:
    """numpy's scalars as Python's."""
    while getattr(value, "shape", None) is not None and getattr(value, "size", 0) == 1:
        value = value.item()
    return value.tolist() if hasattr(value, "tolist") else value
