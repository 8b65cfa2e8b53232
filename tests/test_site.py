"""Whatever is wrong with a site folder is one sentence that names the file, the key and the fix."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from textwrap import dedent

import pytest

from mapadmin.core.errors import ExitCode, SettingsError, UsageError
from mapadmin.site import Site, Tls, find_site, load_site, require_role, role_names
from tests.core.processes import environment

SITE = """\
[site]
name = "map"

[database]
host = "db.example.org"
password = "env:PASSWORD"
project_prefix = "map"

[roles.reader]
"map_*" = ["SELECT", "REFERENCES"]
[roles.worker]
"map_*" = ["ALL"]
"""
PEOPLE = """\
[people.alice]
role = "reader"
expires = 2027-06-30
[services.worker]
role = "worker"
"""


def write(folder: Path, site: str | bytes = SITE, people: str | bytes | None = PEOPLE) -> Path:
    """A site folder with these files in it."""
    folder.mkdir(mode=0o755, exist_ok=True)
    for name, content in (("mapadmin.toml", site), ("people.toml", people)):
        if content is not None:
            data = content if isinstance(content, bytes) else content.encode()
            (folder / name).write_bytes(data)
            (folder / name).chmod(0o644)
    return folder


def refusal(folder: Path) -> str:
    """The sentence by which a site folder is refused, with FOLDER for its path."""
    with pytest.raises(SettingsError) as caught:
        load_site(folder)
    assert caught.value.exit_code is ExitCode.SETTINGS
    said = str(caught.value)
    assert "\n" not in said
    assert "`" not in said.replace("`mapadmin", "")  # no word of msgspec's
    return said.replace(str(folder), "FOLDER")


# --- what is right -----------------------------------------------------------------------------


def test_a_site(tmp_path: Path) -> None:
    site = load_site(write(tmp_path / "site"))
    assert site.name == "map"
    assert site.database.tls is Tls.VERIFY
    assert (site.database.port, site.database.user) == (3306, "mapadmin")
    assert list(site.settings.roles) == ["reader", "worker"]
    assert site.has_people_file
    assert list(site.everyone()) == ["alice", "worker"]
    assert site.everyone()["alice"].expires == date(2027, 6, 30)
    assert site.everyone()["alice"].hosts == ["%"]
    assert site.owns_schemas("alice")
    assert not site.owns_schemas("worker")
    assert role_names(site) == "reader, worker"


def test_who_owns_schemas_can_be_said(tmp_path: Path) -> None:
    people = "[people.alice]\nown_schemas = false\n[services.worker]\nown_schemas = true\n"
    site = load_site(write(tmp_path / "site", people=people))
    assert not site.owns_schemas("alice")
    assert site.owns_schemas("worker")


def test_a_site_without_people_or_database(tmp_path: Path) -> None:
    site = load_site(write(tmp_path / "site", '[site]\nname = "x"\n', people=None))
    assert not site.has_people_file
    assert not site.everyone()
    assert role_names(site) == "none"
    with pytest.raises(SettingsError, match=r"x has no \[database\] section in .*mapadmin.toml"):
        _ = site.database


def test_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def of(line: str) -> Path:
        site = SITE.replace('name = "map"', f'name = "map"\n{line}')
        return load_site(write(tmp_path / "site", site)).state_folder

    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert of("") == Path("/home/ann/.local/state/mapadmin/map")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert of("") == Path("/state/mapadmin/map")
    assert of('state = "var"') == tmp_path / "site" / "var"
    assert of('state = "/var/x"') == Path("/var/x")
    assert of('state = "~/x"') == Path("/home/ann/x")
    with pytest.raises(SettingsError, match=r"site\.state: ~no-such-user-here/x"):
        of('state = "~no-such-user-here/x"')


def test_secret_names_its_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = load_site(write(tmp_path / "site"))
    monkeypatch.setenv("PASSWORD", "x")
    assert site.secret(site.database.password, "database.password").reveal() == "x"
    with pytest.raises(SettingsError, match=r"toml: database\.password must be a reference"):
        site.secret("hunter2", "database.password")


def test_role_that_is_asked_for(tmp_path: Path) -> None:
    site = load_site(write(tmp_path / "site"))
    require_role(site, "reader")
    for role, said in (("raeder", "Did you mean 'reader'?"), ("boss", "Roles: reader, worker.")):
        with pytest.raises(UsageError) as caught:
            require_role(site, role)
        assert (
            str(caught.value)
            == f"There is no role {role!r} in {tmp_path}/site/mapadmin.toml. {said}"
        )


# --- mistakes in mapadmin.toml -----------------------------------------------------------------


def changed(old: str, new: str) -> str:
    assert old in SITE
    return SITE.replace(old, new, 1)


def with_setting(line: str) -> str:
    return changed("[database]\n", f"[database]\n{line}\n")


PORT = "database.port must be between 1 and 65535."
SHARE = "database.prune_limit must be a share between 0 and 1."
CONNECT = "database.connect_timeout must be 1 to 3600 seconds."
READ = "database.read_timeout must be 1 to 86400 seconds."
SCHEMA = "database.schema must be 1 to 64 letters, digits and underscores."
SECTIONS = "aws, cleanup, database, globus, jupyterhub, pipeline, roles, site, stores, workers"
SITE_MISTAKES: list[tuple[str, str]] = [
    # keys
    (changed("[site]", "[sites]"), "the file has no setting 'sites'. Did you mean 'site'?"),
    (
        f"zebra = 1\n{SITE}",
        f"the file has no setting 'zebra'. Settings there: {SECTIONS}.",
    ),
    (
        changed('name = "map"', 'name = "map"\nnane = "x"'),
        "[site] has no setting 'nane'. Did you mean 'name'?",
    ),
    (with_setting('hots = "x"'), "[database] has no setting 'hots'. Did you mean 'host'?"),
    ("", "the file lacks the setting 'site'. Add [site]."),
    ("[site]\n", "[site] lacks the setting 'name'. Add name = … to [site]."),
    (
        changed('host = "db.example.org"\n', ""),
        "[database] lacks the setting 'host'. Add host = … to [database].",
    ),
    # types
    ('site = "x"', "site must be a section, not text in quotes."),
    (with_setting('port = "1"'), "database.port must be a whole number, not text in quotes."),
    (with_setting("port = 3306.5"), "database.port must be a whole number, not a number."),
    (with_setting("port = true"), "database.port must be a whole number, not true or false."),
    (with_setting("user = 5"), "database.user must be text in quotes, not a whole number."),
    (
        with_setting('require_tls = "yes"'),
        "database.require_tls must be true or false, not text in quotes.",
    ),
    (
        with_setting('ignore_accounts = "root"'),
        "database.ignore_accounts must be a list in brackets, not text in quotes.",
    ),
    (
        with_setting('ignore_accounts = ["a", 5]'),
        "database.ignore_accounts[1] must be text in quotes, not a whole number.",
    ),
    (
        with_setting('tls = "maybe"'),
        "database.tls is 'maybe', and must be one of: verify, require, off.",
    ),
    (
        f'{SITE}"map_lab" = "SELECT"\n',
        "roles.worker.map_lab must be a list in brackets, not text in quotes.",
    ),
    (
        f'{SITE}"a.b*" = ["SELECT", 1]\n',
        'roles.worker."a.b*"[1] must be text in quotes, not a whole number.',
    ),
    (
        "[roles]\nreader = 5\n" + changed("[roles.reader]", "[roles.other]"),
        "roles.reader must be a section, not a whole number.",
    ),
    # bounds
    *((with_setting(f"port = {n}"), PORT) for n in (0, 65536, -1)),
    *((with_setting(f"prune_limit = {n}"), SHARE) for n in ("-0.1", "20", "nan")),
    *((with_setting(f"connect_timeout = {n}"), CONNECT) for n in ("0", "3601", "inf", "nan")),
    *((with_setting(f"read_timeout = {n}"), READ) for n in ("0", "-1", "inf", "nan")),
    *((with_setting(f'schema = "{n}"'), SCHEMA) for n in ("map-admin", "", "x" * 65, "a\\n")),
    (with_setting('user = ""'), "database.user must not be empty."),
    (changed('"db.example.org"', '" "'), "database.host must not be empty."),
]


@pytest.mark.parametrize(("text", "said"), SITE_MISTAKES)
def test_mistakes_in_the_site_file(text: str, said: str, tmp_path: Path) -> None:
    assert refusal(write(tmp_path / "site", text)) == f"FOLDER/mapadmin.toml: {said}"


BROKEN: list[tuple[str, str]] = [
    (f"{SITE}x = = 1\n", "Invalid value (at line 13, column 5)"),
    (f"{SITE}[site]\n", "Cannot declare ('site',) twice (at line 13, column 6)"),
    (f'{SITE}x = "a', "Unterminated string (at end of document)"),
    ("x = " + "[" * 50_000, "maximum recursion depth exceeded"),
]


@pytest.mark.parametrize(("text", "said"), BROKEN)
def test_broken_toml(text: str, said: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "site", text)
    assert refusal(folder) == f"FOLDER/mapadmin.toml is not valid TOML: {said}."
    write(folder, people=text.replace("[site]", "[people]"))
    assert refusal(folder).startswith("FOLDER/people.toml is not valid TOML: ")


@pytest.mark.parametrize("name", ["Map", "", "../x", "a\n", "a" * 33, "-a", "m\u00e4p"])
def test_site_names(name: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "site", changed('"map"', json.dumps(name, ensure_ascii=False)))
    assert refusal(folder) == (
        f"FOLDER/mapadmin.toml: site.name {name!r} must be 1 to 32 lower-case letters, digits, "
        "- or _."
    )


@pytest.mark.parametrize("prefix", ["", "map_", "map_*", "map%", "m\u00e4p", "a b", "_", "x" * 61])
def test_project_prefixes_that_would_miss_the_project(prefix: str, tmp_path: Path) -> None:
    text = changed('project_prefix = "map"', f'project_prefix = "{prefix}"')
    assert refusal(write(tmp_path / "site", text)) == (
        f"FOLDER/mapadmin.toml: database.project_prefix {prefix!r} must be letters, digits and "
        "underscores, and end in a letter or digit. Write it without its last underscore or "
        'wildcard, for example "map".'
    )


GOOD_BOUNDS = [
    "port = 1", "port = 65535", "prune_limit = 0", "prune_limit = 1", "connect_timeout = 0.5",
    "connect_timeout = 3600", "read_timeout = 1", f'schema = "{"x" * 64}"', 'tls = "off"',
]  # fmt: skip


@pytest.mark.parametrize("line", GOOD_BOUNDS)
def test_bounds_are_inside(line: str, tmp_path: Path) -> None:
    assert isinstance(load_site(write(tmp_path / "site", with_setting(line))), Site)


# --- mistakes in people.toml -------------------------------------------------------------------

BOB = "[people.bob]\n[people.alice]\n"  # the mistake is in the second of two entries
KEYS = (
    "email, expires, github, globus, grants, hosts, locked, native_roles, own_schemas, "
    "require_tls, role"
)
HOSTS = 'alice has no hosts, or an empty one. Use hosts = ["%"].'
UNDEFINED = "which mapadmin.toml does not define."
PEOPLE_MISTAKES: list[tuple[str, str]] = [
    ("[peopel.alice]", "the file has no setting 'peopel'. Did you mean 'people'?"),
    (BOB + 'rol = "x"', "[people.alice] has no setting 'rol'. Did you mean 'role'?"),
    (BOB + "zebra = 1", f"[people.alice] has no setting 'zebra'. Settings there: {KEYS}."),
    (
        '[services."a.b\'c"]\nrol = "x"',
        "[services.\"a.b'c\"] has no setting 'rol'. Did you mean 'role'?",
    ),
    (
        '[people."m\u00fcller"]\nhosts = 1',
        'people."m\u00fcller".hosts must be a list in brackets, not a whole number.',
    ),
    ("[people]\nalice = 1", "people.alice must be a section, not a whole number."),
    (BOB + 'hosts = "%"', "people.alice.hosts must be a list in brackets, not text in quotes."),
    (BOB + 'hosts = ["%", 1]', "people.alice.hosts[1] must be text in quotes, not a whole number."),
    (BOB + "hosts = []", HOSTS),
    (BOB + 'hosts = ["%", ""]', HOSTS),
    (
        BOB + "expires = 2027-01-01T00:00:00",
        "people.alice.expires must be a date, not a datetime.",
    ),
    (BOB + 'expires = "soon"', "people.alice.expires must be a date such as 2027-06-30."),
    (BOB + 'locked = "no"', "people.alice.locked must be true or false, not text in quotes."),
    (
        BOB + '[people.alice.grants]\nx = ["SELECT"]\n"map_*" = ["SELECT", 4]',
        'people.alice.grants."map_*"[1] must be text in quotes, not a whole number.',
    ),
    (
        BOB + 'role = "raeder"',
        f"alice has the role 'raeder', {UNDEFINED} Did you mean 'reader'?",
    ),
    (BOB + 'role = "boss"', f"alice has the role 'boss', {UNDEFINED} Roles: reader, worker."),
    (BOB + "[services.alice]", "alice is both a person and a service."),
    ('[people.""]', "there is an entry without a name. Remove it."),
]


@pytest.mark.parametrize(("text", "said"), PEOPLE_MISTAKES)
def test_mistakes_in_the_people_file(text: str, said: str, tmp_path: Path) -> None:
    assert refusal(write(tmp_path / "site", people=text)) == f"FOLDER/people.toml: {said}"


# --- files that cannot be trusted or read ------------------------------------------------------


@pytest.mark.parametrize("name", ["mapadmin.toml", "people.toml"])
def test_not_utf8(name: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "site")
    (folder / name).write_bytes(SITE.encode() + b"# \xff\n")
    assert refusal(folder) == f"FOLDER/{name} is not UTF-8 text."


@pytest.mark.parametrize("name", ["mapadmin.toml", "people.toml"])
@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o620, 0o602])
def test_file_that_others_can_write(name: str, mode: int, tmp_path: Path) -> None:
    folder = write(tmp_path / "site")
    (folder / name).chmod(mode)
    assert refusal(folder) == (
        f"FOLDER/{name} can be written by others (mode {mode:04o}). Run: chmod go-w FOLDER/{name}"
    )


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777, 0o1777])
def test_folder_that_others_can_write(mode: int, tmp_path: Path) -> None:
    folder = write(tmp_path / "site")
    folder.chmod(mode)
    assert refusal(folder) == (
        f"FOLDER can be written by others (mode {mode:04o}). Run: chmod go-w FOLDER"
    )


def test_missing_and_misplaced(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    assert refusal(folder) == "Cannot read FOLDER: No such file or directory."
    write(folder, people=None)
    (folder / "people.toml").mkdir(mode=0o755)
    assert refusal(folder) == "Cannot read FOLDER/people.toml: Is a directory."


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter, unlike pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="mapadmin-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


# Loads a site as a user who is neither root nor, when root runs the tests, the files' owner.
AS_NOBODY = """
    import os, sys
    from pathlib import Path
    from mapadmin import site
    from mapadmin.core.errors import SettingsError
    import tomllib
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    try:
        folder = Path(sys.argv[1]) if sys.argv[2:] else site.find_site(sys.argv[1])
        print(site.load_site(folder).name)
    except SettingsError as error:
        print(error)
"""


def as_nobody(folder: Path, *more: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", dedent(AS_NOBODY), folder, *more],
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.strip().replace(str(folder), "FOLDER")


def test_unreadable(open_folder: Path) -> None:
    folder = write(open_folder / "site")
    assert as_nobody(folder) == "map"
    (folder / "people.toml").chmod(0o200)
    assert as_nobody(folder) == "Cannot read FOLDER/people.toml: Permission denied."
    (folder / "mapadmin.toml").chmod(0)
    assert as_nobody(folder) == "Cannot read FOLDER/mapadmin.toml: Permission denied."
    folder.chmod(0o600)
    assert as_nobody(folder) == "Cannot read FOLDER/mapadmin.toml: Permission denied."
    folder.chmod(0o755)


def test_somebody_else_s_files(open_folder: Path) -> None:
    folder = write(open_folder / "site")
    program = [sys.executable, "-c", dedent(AS_NOBODY).replace("os.geteuid() == 0", "False")]
    if os.geteuid() == 0:
        os.chown(folder, 12345, 12345)
        command = [*program, str(folder)]
    else:  # root's own folder, in a user namespace that does not know root
        command = ["unshare", "--user", "--map-user=54321", *program, "/usr", "as it is"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.partition(" ")[2] == (
        "belongs to another user, who could change what is run in your name. "
        "Use a copy of your own.\n"
    )


def test_root_s_files_are_trusted() -> None:
    """As in a site folder that an administrator installed for everybody."""
    said = as_nobody(Path("/usr"), "as it is")
    assert said == "Cannot read FOLDER/mapadmin.toml: No such file or directory."


# --- finding it --------------------------------------------------------------------------------


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three sites: one below the working directory's own, and two elsewhere."""
    for name in ("here", "named", "variable", "here/deep/site"):
        (tmp_path / name).mkdir(parents=True)
        write(tmp_path / name)
    (tmp_path / "here" / "deep" / "down").mkdir()
    monkeypatch.delenv("MAPADMIN_SITE", raising=False)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def test_the_option_comes_first(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAPADMIN_SITE", str(places / "variable"))
    assert find_site(str(places / "named")) == places / "named"
    assert find_site("../named") == places / "named"
    assert find_site("../named/mapadmin.toml") == places / "named"
    monkeypatch.setenv("HOME", str(places))
    assert find_site("~/named") == places / "named"


def test_then_the_variable(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAPADMIN_SITE", str(places / "variable"))
    assert find_site(None) == places / "variable"
    assert find_site("") == places / "variable"


def test_then_here_and_upwards(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_site(None) == places / "here"
    monkeypatch.setenv("MAPADMIN_SITE", "")
    assert find_site(None) == places / "here"
    monkeypatch.chdir(places / "here" / "deep" / "down")
    assert find_site(None) == places / "here"
    monkeypatch.chdir(places / "here" / "deep" / "site")
    assert find_site(None) == places / "here" / "deep" / "site"


def lost(given: str | None) -> str:
    with pytest.raises(SettingsError) as caught:
        find_site(given)
    return str(caught.value)


def test_nowhere(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(places)
    assert lost(None) == (
        "No site is named and there is no mapadmin.toml here. Use --site FOLDER or set "
        "MAPADMIN_SITE; `mapadmin init FOLDER` makes a site, `mapadmin sandbox up` one to try "
        "things on."
    )
    assert lost("gone") == (
        "There is no mapadmin.toml in gone. `mapadmin init gone` makes a site folder."
    )
    assert lost("~no-such-user-here/x").startswith("--site: ~no-such-user-here/x: ")
    monkeypatch.setenv("MAPADMIN_SITE", "/nonexistent")
    assert lost(None).startswith("There is no mapadmin.toml in /nonexistent.")


def test_working_directory_that_is_gone(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = places / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert lost(None) == "The working directory is gone: No such file or directory."
    monkeypatch.chdir(places)
