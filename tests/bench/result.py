"""One measured number with what it is compared to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """`value` in `unit`, to be at most `goal`; `note` says how it was measured."""

    what: str
    value: float
    unit: str
    goal: float
    note: str = ""

    @property
    def reached(self) -> bool:
        return self.value <= self.goal


def show(results: Sequence[Result]) -> None:
    width = max(len(result.what) for result in results)
    for result in results:
        mark = "ok  " if result.reached else "MISS"
        print(
            f"{mark} {result.what:{width}}  {result.value:8.2f} {result.unit:8} "
            f"(at most {result.goal:g})  {result.note}",
            flush=True,
        )
