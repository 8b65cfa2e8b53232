"""Workers that are drained at any moment: nothing is lost, nothing is left."""

from __future__ import annotations

import random
import signal
import sys
import time
from collections import Counter

import pytest

from tests.workers.running import Laboratory, Worker, counted


def drained_at_random(laboratory: Laboratory, rounds: int) -> dict[str, int]:
    """Workers that are drained at any moment of their lives, two at a time; what was counted."""
    laboratory.sessions = [(number, random.choice([0, 0.1, 0.4])) for number in range(1000)]
    workers: list[Worker] = []
    signals = 0
    for turn in range(rounds):
        pair = [laboratory.start(pause=random.choice([0.01, 6])) for _ in range(2)]
        for worker in pair:
            worker.saw("ready" if turn else "begin")  # at least once there is something to lose
        time.sleep(random.uniform(0, 2))
        number = random.choice([signal.SIGUSR1, signal.SIGTERM])
        for worker in pair:
            for _ in range(random.randrange(1, 4)):
                worker.drain(number)
                signals += 1
                time.sleep(random.choice([0, 0.001, 0.05]))
        for worker in pair:
            assert worker.ended() == 0, turn
        workers += pair
    events = counted(*workers)
    left = laboratory.jobs()
    ends = Counter(n for w in workers for event, n, _ in w.events() if event == "end")
    return {
        "signals": signals, "workers": len(workers), "began": events["begin"],
        "lost": events["begin"] - events["end"], "twice": sum(n - 1 for n in ends.values()),
        "reserved": left["reserved"], "errors": left["error"],
    }  # fmt: skip


def nothing_lost(counts: dict[str, int]) -> bool:
    return not any(counts[name] for name in ("lost", "twice", "reserved", "errors"))


def test_signals_at_random(laboratory: Laboratory) -> None:
    counts = drained_at_random(laboratory, 1)
    assert counts["began"] > 0
    assert nothing_lost(counts), counts


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_many_signals_at_random(laboratory: Laboratory) -> None:
    counts = drained_at_random(laboratory, 40)
    sys.stdout.write(f"\ndatajoint generation {laboratory.generation}: {counts}\n")
    assert nothing_lost(counts), counts
