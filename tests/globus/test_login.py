"""`login`, `logout`, `whoami`, and what is said when a login or a consent is missing."""

from __future__ import annotations

import re
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.globus.emulator import APP, CRON, MAPPED, OPERATOR, OTHER
from tests.globus.site import GlobusLab
from tests.lab import Ran
from tests.zygote import MAPADMIN


def tokens(lab: GlobusLab) -> Path:
    return lab.folder / "state" / "globus-tokens.json"


def log_in(lab: GlobusLab, *options: str, user: str = OPERATOR) -> Ran:
    """As a person: read the address, open it elsewhere, paste the code."""
    with subprocess.Popen(
        [MAPADMIN, "globus", "login", *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env=lab.environment,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        said = ""
        while "  http" not in said:
            said += process.stderr.readline()
        address = said.split()[-1]
        with urllib.request.urlopen(f"{address}&user={user}") as answer:
            code = re.findall("<code>(.*)</code>", answer.read().decode())[0]
        out, err = process.communicate(f"{code}\n", timeout=30)
    return Ran(process.returncode, out, err)


def test_a_person_logs_in_stays_so_and_logs_out(lab: GlobusLab) -> None:
    lab.write_site(client=APP, by_secret=False)
    ran = lab.run("ls", "archive:/")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == "Error: Nobody is logged in to Globus.\n  Run: mapadmin globus login\n"
    assert lab.run("login", "--check").code == 3
    done = log_in(lab)
    assert (done.code, done.out) == (0, f"{OPERATOR}\n")
    assert "the login renews itself" in done.err
    assert tokens(lab).stat().st_mode & 0o777 == 0o600
    assert lab.ok("whoami", "--json").json["application"] is False
    lab.ok("ls", "archive:/")
    # Its tokens lapse: they are renewed by themselves.
    lab.emulator.control(expired_before=9e9)
    assert lab.run("ls", "archive:/").code == 3
    lab.emulator.control()
    lab.ok("ls", "archive:/")
    kept = tokens(lab).read_text()
    secrets = re.findall(r'"(?:access|refresh)": "([^"]+)"', kept)
    assert len(secrets) == 4
    lab.ok("logout")
    assert not tokens(lab).exists()
    assert lab.run("whoami").code == 3
    assert "Nobody was logged in." in lab.ok("logout").err
    # What a thief has copied is of no use any more.
    tokens(lab).write_text(kept)
    assert lab.run("whoami").code == 3
    assert not any(secret in done.out + done.err for secret in secrets)


@pytest.mark.parametrize(
    ("code", "exit_code", "words"),
    [("", 2, "No code was given."), ("wrong\n", 3, "does not accept this code")],
)
def test_a_code_that_is_none(lab: GlobusLab, code: str, exit_code: int, words: str) -> None:
    lab.write_site(client=APP, by_secret=False)
    ran = lab.run("login", stdin=code)
    assert (ran.code, words in ran.err) == (exit_code, True)
    assert not tokens(lab).exists()


def test_the_application_logs_in_as_itself_for_cron(lab: GlobusLab) -> None:
    assert lab.ok("whoami").out == f"{CRON}@clients.auth.globus.org\n"
    lab.ok("whoami")
    assert lab.emulator.calls("/v2/oauth2/token") == 1  # the second run has its token still
    # Another client's tokens are never used.
    lab.write_site(client=OTHER)
    assert lab.ok("whoami").out == f"{OTHER}@clients.auth.globus.org\n"


def test_a_wrong_secret(lab: GlobusLab) -> None:
    ran = lab.run("ls", "rig:/", GLOBUS_SECRET="wrong")
    assert ran.code == 3
    assert "Check globus.client_id and globus.client_secret." in ran.err
    assert "wrong" not in ran.err


def test_a_missing_consent_names_the_command_that_gives_it(lab: GlobusLab) -> None:
    ran = lab.run("ls", "campus:/")
    assert ran.code == 3
    remedy = f"mapadmin globus login --consent {MAPPED}"
    assert remedy in ran.err
    lab.ok(*remedy.split()[2:])
    lab.ok("ls", "campus:/")
    assert lab.ok("whoami", "--json").json["consents"] == [MAPPED]


def test_a_token_file_that_is_broken_or_cannot_be_read(lab: GlobusLab) -> None:
    lab.ok("whoami")
    tokens(lab).write_text("{")
    ran = lab.run("whoami")
    assert ran.code == 3
    assert "Remove it, then run: mapadmin globus login" in ran.err


def test_auth_that_does_not_answer(lab: GlobusLab) -> None:
    lab.emulator.control(failures=[{"match": "token", "status": 503}])
    assert lab.run("whoami").code == 4


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('[globus.collections.x]\nid = "12"\n', "globus.collections.x.id '12' must be a UUID"),
        ('[globus.collections.x]\nid = "{0}"\npath = "x"\n', "must begin with a slash"),
        ('[globus.collections.x]\nid = "{0}"\naccess = {{ a = "w" }}\n', 'must be "r" or "rw"'),
        ('[globus.collections."a:b"]\nid = "{0}"\n', "must have names of letters"),
        ("[globus.archive]\nfile = 3\n", "has no setting 'file'"),
    ],
)
def test_settings_that_cannot_be(lab: GlobusLab, more: str, words: str) -> None:
    lab.write_site(more.format(MAPPED))
    ran = lab.run("whoami")
    assert (ran.code, words in ran.err) == (3, True), ran.err


def test_a_site_without_globus(lab: GlobusLab) -> None:
    lab.write("mapadmin.toml", '[site]\nname = "lab"\n')
    ran = lab.run("ls", "rig:/")
    assert ran.code == 3
    assert "has no [globus] section" in ran.err
