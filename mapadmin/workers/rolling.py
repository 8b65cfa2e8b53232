"""Carries a roll-out through: looks, asks `rollout` what is next, does it, until it is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from mapadmin.core.errors import MapadminError
from mapadmin.core.progress import Progress
from mapadmin.core.text import count, human_seconds
from mapadmin.workers.beats import Beat
from mapadmin.workers.engine import Engine, Life, Place, Worker
from mapadmin.workers.generation import discard_beat
from mapadmin.workers.rollout import Health, Moves, Policy, decide

LOOK = 0.1  # seconds between two looks
CALM = 0.5  # the same after CALMED seconds without any change: jobs may take hours
CALMED = 20.0
AGAIN = 1.0  # seconds after which one that has not heard is told again
TOLD_LINES = 8

Name = tuple[int, Place]  # generation and place: known before there is a container
Hosts = Callable[[], Collection[str] | None]
"""The host names of the workers that have a session on the database; None: that is not known."""


class RollOut:
    """One roll-out. `timeout` is in seconds; None waits for as long as the jobs take."""

    def __init__(
        self, engine: Engine, home: Path, connected: Hosts, progress: Progress, *,
        policy: Policy, start_timeout: float, timeout: float | None = None,
    ) -> None:  # fmt: skip
        self.engine = engine
        self.home = home
        self.connected = connected
        self.progress = progress
        self.policy = policy
        self.start_timeout = start_timeout
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self._well: set[str] = set()
        self._begun: dict[str, float] = {}
        self._told: dict[str, float] = {}
        self._seen: object = None
        self._changed = 0.0

    def run(self, new: Collection[Name], old: Collection[Name]) -> None:
        """Until all of `new` work and none of `old` does.

        Raises MapadminError when a new one does not come up, after all is as it was before, or
        when the time is over.
        """
        seen = self._look(old)
        goes_on = any(worker.runs for worker in (*seen, *self._look(new)))
        while True:
            workers = self.engine.workers()
            before = [w for w in workers if (w.generation, w.place) in old]
            judged = [(w, self._health(w)) for w in workers if (w.generation, w.place) in new]
            moves = decide(judged, before, self.policy)
            if moves.failed:
                reason = self._reason(moves.failed[0], goes_on)
                self._give_up(new, old if goes_on else ())
                raise reason
            if moves.finished:
                return
            self._move(moves)
            self._show(judged, before)
            self._check_time(before)
            time.sleep(self._pause(judged, before))

    def _pause(self, judged: Sequence[tuple[Worker, Health]], before: Sequence[Worker]) -> float:
        now = time.monotonic()
        view = ([(w.id, health) for w, health in judged], [(w.id, w.life) for w in before])
        if view != self._seen:
            self._seen, self._changed = view, now
        return LOOK if now < self._changed + CALMED else CALM

    def _look(self, names: Collection[Name]) -> list[Worker]:
        return [w for w in self.engine.workers() if (w.generation, w.place) in names]

    def _health(self, worker: Worker) -> Health:
        """Well is who was once: what happens later is not the roll-out's doing."""
        if worker.id in self._well:
            return Health.WELL
        beat = self.engine.beat(worker) if worker.life is not Life.CREATED else None
        if worker.runs and beat is not None and beat.works and not beat.draining:
            hosts = self.connected()
            if hosts is None or worker.host in hosts:
                self._well.add(worker.id)
                return Health.WELL
        elif worker.life in (Life.CREATED, Life.ENDED) and worker.id not in self._begun:
            return Health.WAITING  # one that had ended before will be started again
        elif not worker.runs and worker.exit_code != 0:
            return Health.FAILED
        begun = self._begun.setdefault(worker.id, time.monotonic())
        late = time.monotonic() > begun + self.start_timeout
        return Health.FAILED if late else Health.STARTING

    def _move(self, moves: Moves) -> None:
        for worker in moves.start:
            discard_beat(self.home, worker.generation, worker.place)
            self.engine.start(worker)
            self._begun[worker.id] = time.monotonic()
        now = time.monotonic()
        deaf = [w for w in moves.leave if now > self._told.get(w.id, 0.0) + AGAIN]
        if self.policy.now:
            self.engine.kill(deaf)
        else:
            deaf = [w for w in deaf if not _drains(self.engine.beat(w))]
            self.engine.drain(deaf)
        self._told.update((worker.id, now) for worker in deaf)

    def _show(self, judged: Sequence[tuple[Worker, Health]], before: Sequence[Worker]) -> None:
        staying = [worker for worker in before if worker.runs]
        well = sum(health is Health.WELL for _, health in judged)
        self.progress.total = len(judged) + len(before)
        done = well + len(before) - len(staying)
        note = ", ".join(self._doing(worker) for worker in staying[:3])
        self.progress.advance(done - self.progress.done, note=f"waiting for {note}" if note else "")

    def _doing(self, worker: Worker) -> str:
        beat = self.engine.beat(worker)
        if beat is None or not beat.jobs:
            return worker.name
        job = beat.jobs[0]
        return f"{worker.name} ({job.name} for {human_seconds(time.time() - job.since)})"

    def _check_time(self, before: Sequence[Worker]) -> None:
        if self.deadline is None or time.monotonic() < self.deadline:
            return
        staying = [worker for worker in before if worker.runs]
        lines = "".join(f"\n  {self._doing(worker)}" for worker in staying)
        raise MapadminError(
            f"The time is over, and {count(len(staying), 'worker')} still there:{lines}"
            if staying
            else "The time is over, and new workers are still starting.",
            remedy="Nothing is lost: those who were told leave when their jobs are done. The same "
            "command goes on from here; until then, a place that becomes free stays empty.",
        )

    def _reason(self, worker: Worker, goes_on: bool) -> MapadminError:
        """Why the roll-out is given up, with the end of what the new worker printed."""
        lines = "".join(f"\n  | {line}" for line in self.engine.last_lines(worker, TOLD_LINES))
        if worker.life is Life.RUNNING:
            beat = self.engine.beat(worker)
            state = "has no session on the site's database" if beat and beat.works else (
                "does not look for jobs"
            )  # fmt: skip
            what = f"{state} after {self.start_timeout:g} s"
        else:
            what = f"ended with exit code {worker.exit_code}"
        return MapadminError(
            f"The new worker {worker.name} {what}.{lines}",
            remedy="The roll-out was given up. The workers that there were go on as before."
            if goes_on
            else "It was given up, and its containers were removed.",
        )

    def _give_up(self, new: Collection[Name], old: Collection[Name]) -> None:
        """As it was before: the old ones go on, the new ones leave (after their jobs) and go."""
        before = self._look(old)
        self.engine.undrain(worker for worker in before if worker.runs and worker.id in self._told)
        for worker in before:
            if worker.life in (Life.CREATED, Life.ENDED):
                discard_beat(self.home, worker.generation, worker.place)
                self.engine.start(worker)
        while True:
            added = self._look(new)
            staying = [w for w in added if w.life in (Life.RUNNING, Life.RESTARTING)]
            if not staying:
                self.engine.remove(added)
                return
            working = [w for w in staying if _works(self.engine.beat(w))]
            self.engine.drain(working)
            self.engine.kill(w for w in staying if w not in working)
            self._show([], staying)
            time.sleep(AGAIN if working else LOOK)


def _drains(beat: Beat | None) -> bool:
    return beat is not None and beat.draining and not beat.stale


def _works(beat: Beat | None) -> bool:
    return beat is not None and beat.works
