"""The site's workers as commands use them: engine, what there is, and how a plan is carried out."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from mapadmin.admin import Admin, Mode
from mapadmin.core.docker import Docker
from mapadmin.core.errors import Interrupted
from mapadmin.core.files import make_private_folder
from mapadmin.core.plan import Kind, Outcome, Plan, Step
from mapadmin.core.report import Report
from mapadmin.site import EngineName
from mapadmin.workers.compose import ComposeEngine
from mapadmin.workers.generation import (
    Definition,
    Generation,
    define,
    discard,
    load,
    same_secret,
)
from mapadmin.workers.plans import (
    BuildStep,
    CreateStep,
    Crew,
    RemoveStep,
    RollStep,
    plan_roll_out,
    wanted_places,
)
from mapadmin.workers.rollout import Policy

if TYPE_CHECKING:
    from mapadmin.workers.engine import Engine
    from mapadmin.workers.sessions import Sessions
    from mapadmin.workers.source import Source

LOCK = "workers.lock"


class Manager:
    """The workers of one site, for one run of a command."""

    def __init__(self, admin: Admin) -> None:
        self.admin = admin
        self.site = admin.site
        self.settings = self.site.workers
        self.home = self.site.state_folder.resolve()
        self.docker = Docker()
        self.source: Source | None = None

    @cached_property
    def engine(self) -> Engine:
        """The engine that the site file names."""
        if self.settings.engine is EngineName.SWARM:
            from mapadmin.workers.swarm import SwarmEngine

            return SwarmEngine(self.docker, self.site.name, self.home)
        return ComposeEngine(self.docker, self.site.name, self.home)

    def crew(self) -> Crew:
        """Who is there at this moment, and what they do."""
        workers = self.engine.workers()
        found = ((worker.id, self.engine.beat(worker)) for worker in workers)
        beats = {number: beat for number, beat in found if beat is not None}
        return Crew(workers=workers, beats=beats, now=time.time())

    @contextmanager
    def changing(self, mode: Mode) -> Iterator[Crew]:
        """The workers for a command that changes them: alone from the first look to the last step.

        A dry run changes nothing and waits for nobody.
        """
        from mapadmin.core.lock import file_lock

        self.engine.require()
        if mode.dry_run:
            yield self.crew()
            return
        folder = make_private_folder(self.site.state_folder)
        with file_lock(folder / LOCK, command=self.admin.command):
            yield self.crew()

    def choose(self, *, image: str = "", ref: str = "") -> Source:
        """The image that new workers are made from; see `Source`."""
        from mapadmin.workers.source import Source

        self.source = Source(self.docker, self.site, image=image, ref=ref)
        return self.source

    def definition(self) -> Definition | None:
        """What the site file says now; None as long as its image has not been built."""
        image = (self.source or self.choose()).image
        return define(self.site, image) if image is not None else None

    def kinds_of(self, generation: int) -> Collection[str]:
        """The kinds of workers that a generation's site file had; none where it is not there."""
        return load(self.home, generation).settings.kinds if generation else ()

    def is_current(self, crew: Crew, generation: int) -> bool:
        """Whether a generation is made as the site file says now."""
        definition = self.definition()
        return (
            definition is not None
            and all(worker.config == definition.config for worker in crew.of(generation))
            and same_secret(self.home, generation, definition)
        )

    def plan(
        self, crew: Crew, counts: Mapping[str, int], *, afresh: bool, now: bool = False
    ) -> Plan:
        """So many workers of each kind: as the site file says now if `afresh` or none runs.

        A roll-out that was cut short is finished, unless the site file says something else by now.
        """
        new = crew.newest == 0 or (
            not self.is_current(crew, crew.newest) if crew.unfinished or crew.stopped else afresh
        )
        target = crew.newest + 1 if new else crew.newest
        base = Crew(beats=crew.beats, now=crew.now) if new else crew
        places = wanted_places(base, counts)
        if not new:
            what = crew.of(target)[0].image
            return plan_roll_out(crew, target, places, what=what, now=now)
        source = self.source or self.choose()
        plan = plan_roll_out(crew, target, places, what=source.words, now=now)
        return Plan(source.steps() + plan.steps)

    def perform(
        self, plan: Plan, mode: Mode, *, policy: Policy | None = None,
        timeout: float | None = None, question: str = "",
        more_kinds: Mapping[type[Step], Kind] | None = None,
    ) -> Outcome:  # fmt: skip
        """Carry out a plan, or show it; see `Admin.perform`.

        `more_kinds` are for steps that one command alone has.
        """
        from mapadmin.workers.sessions import Sessions

        if policy is not None and policy.now and self.settings.engine is EngineName.SWARM:
            from mapadmin.workers.swarm import refuse_now

            refuse_now()
        sessions = Sessions(self.admin)
        if any(isinstance(step, RollStep) and step.new for step in plan.steps) and not mode.dry_run:
            sessions.require()

        def roll(steps: Sequence[RollStep]) -> Iterator[None]:
            self._roll(steps, sessions, policy or Policy(), timeout, mode)
            for _ in steps:
                yield

        kinds: dict[type[Step], Kind] = {
            BuildStep: Kind(self._build),
            CreateStep: Kind(self._create),
            RollStep: Kind(roll, batch=len(plan.steps) + 1),
            RemoveStep: Kind(self._remove),
            **(more_kinds or {}),
        }
        return self.admin.perform(plan, kinds, mode, question=question)

    def _build(self, steps: Sequence[BuildStep]) -> Iterator[None]:
        for step in steps:
            with Report().progress(f"Building {step.target}", unit="lines") as bar:
                (self.source or self.choose()).make(lambda line: bar.advance(note=line))
            yield

    def _create(self, steps: Sequence[CreateStep]) -> Iterator[None]:
        for step in steps:
            there = any(w.generation == step.generation for w in self.engine.workers())
            definition = load(self.home, step.generation) if there else self.definition()
            if definition is None:
                raise RuntimeError("containers are created from an image that is there")
            self.engine.create(Generation(step.generation, definition), step.places)
            yield

    def _roll(
        self, steps: Sequence[RollStep], sessions: Sessions, policy: Policy,
        timeout: float | None, mode: Mode,
    ) -> None:  # fmt: skip
        from mapadmin.workers.rolling import RollOut

        report = Report(as_json=mode.as_json)
        new = {step.new for step in steps if step.new is not None}
        old = {step.old for step in steps if step.old is not None}
        with report.progress("Workers", unit="places") as bar:
            roll_out = RollOut(
                self.engine, self.home, sessions.hosts, bar, policy=policy, timeout=timeout,
                start_timeout=self.settings.start_timeout,
            )  # fmt: skip
            try:
                roll_out.run(new, old)
            except Interrupted:
                report.say(
                    "Those who were told leave when their jobs are done. "
                    "The same command goes on from here."
                )
                raise
            finally:
                self._tidy()

    def _remove(self, steps: Sequence[RemoveStep]) -> Iterator[None]:
        for step in steps:
            workers = self.engine.workers()
            self.engine.remove(w for w in workers if (w.generation, w.place) in step.workers)
            self._tidy()
            yield

    def _tidy(self) -> None:
        """Whatever is left of generations without containers: their networks and folders."""
        there = {worker.generation for worker in self.engine.workers()}
        folder = self.home / "workers"
        for path in folder.glob("g*"):
            if re.fullmatch(r"g\d+", path.name) and int(path.name[1:]) not in there:
                self.engine.forget(int(path.name[1:]))
                discard(self.home, int(path.name[1:]))
