"""The sandbox's people and pipeline: accounts by `mapadmin db apply`, schemas by DataJoint."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import tempfile
from pathlib import Path

from mapadmin.core.errors import MapadminError
from mapadmin.core.files import write_atomic
from mapadmin.sandbox.database import PASSWORD, USER, DatabasePart
from mapadmin.sandbox.globus.part import ARCHIVE, GlobusPart
from mapadmin.sandbox.parts import PartState, PartStatus, Work
from mapadmin.sandbox.site import SiteFolder
from mapadmin.sandbox.tables import SCHEMAS

LIMIT = 300.0  # seconds; both take a few
PASSWORDS = "initial-passwords"  # the file in the site's secrets/


class PipelinePart:
    """What is on the database server. Made once: from then on it is the user's, also to spoil."""

    name = "pipeline"

    def __init__(self, database: DatabasePart, globus: GlobusPart) -> None:
        self.database = database
        self.globus = globus

    @property
    def _mark(self) -> Path:
        """It lies beside the data, so that it goes when they go."""
        return self.database.folder / "pipeline-made"

    def up(self, work: Work) -> bool:
        """Make the accounts of people.toml, and the schemas."""
        if self._mark.is_file():
            return False
        work.say("Making the accounts of people.toml, as `mapadmin db apply` does.")
        _apply(work)
        work.say(f"Making a DataJoint pipeline: {', '.join(SCHEMAS)}.")
        self._make_tables(work)
        write_atomic(self._mark, "")
        return True

    def down(self) -> bool:
        """Nothing of it runs."""
        return False

    def status(self) -> PartStatus:
        """Whether it is complete."""
        state = PartState.MADE if self._mark.is_file() else PartState.MISSING
        return PartStatus(self.name, state, f"{len(SCHEMAS)} schemas")

    def _make_tables(self, work: Work) -> None:
        server = self.database.server
        parameters = {
            "host": server.host, "port": server.port, "ca": str(server.ca),
            "user": USER, "password": work.site.secret(PASSWORD).reveal(),
            "archive": self.globus.collection(ARCHIVE),
        }  # fmt: skip
        # DataJoint reads configurations in the working directory and at home: there are none.
        with tempfile.TemporaryDirectory(prefix="mapadmin-") as empty:
            environment = {
                name: value
                for name in ("PATH", "LANG", "LC_ALL", "TMPDIR", "TZ", "PYTHONPATH")
                if (value := os.environ.get(name)) is not None
            }
            environment |= {"HOME": empty, "PYTHONUSERBASE": site.getuserbase()}
            _run(work, "mapadmin.sandbox.tables", stdin=json.dumps(parameters), cwd=Path(empty),
                 environment=environment)  # fmt: skip


def _apply(work: Work) -> None:
    """Run the real command; the passwords that it generates are gathered in one file."""
    fresh = work.site.secret_path(f"{PASSWORDS}.new")
    _gather(work.site, fresh)  # an earlier run may have been killed before it did
    _run(
        work, "mapadmin", "--site", str(work.site.folder), "db", "apply",
        "--password-file", str(fresh),
    )  # fmt: skip
    _gather(work.site, fresh)


def _gather(folder: SiteFolder, fresh: Path) -> None:
    """Move what is in the fresh file, lines of account, tab, password, into the common one."""
    if not fresh.is_file():
        return
    path = folder.secret_path(PASSWORDS)
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    lines += fresh.read_text(encoding="utf-8").splitlines()
    # Whoever was killed in the middle of a line has not unlocked its account.
    newest = {line.partition("\t")[0]: line for line in lines if "\t" in line}
    write_atomic(path, "".join(f"{line}\n" for line in newest.values()), mode=0o600)
    fresh.unlink()


def _run(
    work: Work,
    module: str,
    *args: str,
    stdin: str = "",
    cwd: Path | None = None,
    environment: dict[str, str] | None = None,
) -> None:
    """Run one of our own modules. Raises MapadminError with the end of what it said."""
    try:
        # -P: whatever lies in the working directory is not to be imported.
        done = subprocess.run(
            [sys.executable, "-P", "-m", module, *args],
            input=stdin, capture_output=True, text=True, timeout=LIMIT, check=False, cwd=cwd,
            env=environment, pass_fds=(work.lock,),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise MapadminError(f"{module} was not done within {LIMIT:.0f} s.") from None
    if done.returncode != 0:
        said = "".join(f"\n  {line}" for line in done.stderr.splitlines()[-15:])
        what = " ".join([module, *args])
        raise MapadminError(f"`{what}` ended with {done.returncode}:{said}")
