"""A text file for Prometheus' node exporter (`--collector.textfile.directory`)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mapadmin.core.errors import MapadminError
from mapadmin.core.files import write_atomic

if TYPE_CHECKING:
    from mapadmin.cleanup.runner import Run

# metric -> (what it is, type); the names of node exporter's own style, in base units
_METRICS = {
    "last_run_timestamp_seconds": ("When the part ran last", "gauge"),
    "last_success_timestamp_seconds": ("When the part last ran without a failure", "gauge"),
    "duration_seconds": ("How long its last run took", "gauge"),
    "items": ("Things that its last run cleaned up", "gauge"),
    "bytes": ("Bytes that its last run freed", "gauge"),
    "failures": ("Failures of its last run", "gauge"),
    "finished": ("0 when its last run stopped at a limit", "gauge"),
}


def write_metrics(path: Path, memory: Path, run: Run) -> None:
    """Write what is known of every part of the site, of earlier runs as well.

    `memory` is where that is kept. Raises MapadminError when a file cannot be written; the file at
    `path` is replaced in one step, as the exporter wants it.
    """
    known = _remembered(memory)
    for part in run.parts:
        now = time.time()
        before = known.get(part.part, {})
        success = now if part.ok else before.get("last_success_timestamp_seconds", 0)
        known[part.part] = {
            "last_run_timestamp_seconds": now,
            "last_success_timestamp_seconds": success,
            "duration_seconds": part.seconds,
            "items": part.items,
            "bytes": part.bytes,
            "failures": len(part.failures),
            "finished": int(part.finished),
            **{f"details_{name}": value for name, value in part.details.items()},
        }
    write_atomic(memory, json.dumps(known), mode=0o600)
    write_atomic(path, "".join(f"{line}\n" for line in _lines(run.site, known)))


def _remembered(memory: Path) -> dict[str, dict[str, float]]:
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise MapadminError(f"Cannot read {memory}: {error}.", remedy="Remove it.") from None
    return known if isinstance(known, dict) else {}


def _lines(site: str, known: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for metric, (what, kind) in _METRICS.items():
        yield f"# HELP mapadmin_cleanup_{metric} {what}."
        yield f"# TYPE mapadmin_cleanup_{metric} {kind}"
        for part, values in sorted(known.items()):
            labels = f'site="{site}",part="{part}"'
            yield f"mapadmin_cleanup_{metric}{{{labels}}} {_number(values.get(metric, 0))}"
    yield "# HELP mapadmin_cleanup_details Numbers of the part's own, of its last run."
    yield "# TYPE mapadmin_cleanup_details gauge"
    for part, values in sorted(known.items()):
        for name in sorted(name for name in values if name.startswith("details_")):
            labels = f'site="{site}",part="{part}",what="{name.removeprefix("details_")}"'
            yield f"mapadmin_cleanup_details{{{labels}}} {_number(values[name])}"


def _number(value: float) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
