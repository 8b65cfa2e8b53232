"""Carrying out a plan as a command does: what follows a run is never cut off."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.core.processes import read_line, start_python

HAND_OVER = """
    import sys, time
    from pathlib import Path
    from mapadmin.admin import Admin, Mode, error_boundary
    from mapadmin.core.plan import Kind, Plan, Step
    from mapadmin.site import Site, SiteFile, SiteSettings
    import threading
    from mapadmin.core import interruption

    interruption.install()
    # The kernel gives a signal to any thread that does not block it.
    threading.Thread(target=time.sleep, args=(3,), daemon=True).start()
    folder = Path(sys.argv[1])
    fails = sys.argv[2]

    def execute(steps):
        for _ in steps:
            yield

    def hand_over(outcome):
        print("begun", flush=True)
        time.sleep(0.4)
        print("the password", flush=True)
        if fails == "after":
            raise RuntimeError("no room")

    admin = Admin(command="mapadmin x")
    admin.site = Site(folder, SiteFile(site=SiteSettings(name="x", state="state")), None)
    with error_boundary(admin):
        if fails == "journal":
            from mapadmin.core import journal
            from mapadmin.core.errors import MapadminError
            end = journal.Journal.end
            def full(self, *args):
                raise MapadminError("Cannot write the journal.")
            journal.Journal.end = full
        plan = Plan((Step(action="set password", target="alice@%"),))
        admin.perform(plan, {Step: Kind(execute)}, Mode(), after=hand_over)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_waits_for_the_password_to_be_handed_over(
    number: signal.Signals, tmp_path: Path
) -> None:
    process = start_python(HAND_OVER, tmp_path, "nothing")
    assert read_line(process) == "begun"
    process.send_signal(number)
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "the password\n")
    assert errors == "Done: 1 step.\nInterrupted.\n"
    events = [
        json.loads(line) for line in (tmp_path / "state/journal.jsonl").read_text().splitlines()
    ]
    assert (events[-1]["event"], events[-1]["detail"]) == ("end", "done")


@pytest.mark.parametrize(
    ("what", "said"), [("after", "RuntimeError: no room"), ("journal", "Cannot write the journal.")]
)
def test_a_run_is_reported_whatever_fails_behind_it(what: str, said: str, tmp_path: Path) -> None:
    process = start_python(HAND_OVER, tmp_path, what)
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "the password" in out
    assert "1 step done" in errors or errors.startswith("Done: 1 step.\n")
    assert said in errors
