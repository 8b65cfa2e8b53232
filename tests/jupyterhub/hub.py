"""A real JupyterHub with its real proxy, whose users' servers are processes of this machine."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, OpenerDirector, Request, build_opener

from tests.cached import cached, python_with
from tests.lab import Ran
from tests.zygote import run_mapadmin

VERSION = "6.1.1"
PROXY = "configurable-http-proxy@5.3.0"
TOKEN = "the-token-of-mapadmin-the-service"
SPY = Path(__file__).with_name("spy.py")
COMPUTE = Path(__file__).with_name("compute.py")
TEMPLATES = Path(__file__).parents[2] / "templates" / "jupyterhub"
SCOPES = (
    "list:users", "read:users:activity", "read:servers", "delete:servers", "start:servers",
    "tokens", "read:hub",
)  # fmt: skip

CONFIG = """
import sys
sys.path.insert(0, {templates!r})
import mapadmin_hub
c = get_config()
c.JupyterHub.bind_url = "http://127.0.0.1:{port}/lab/"
c.JupyterHub.hub_ip = "127.0.0.1"
c.JupyterHub.hub_port = {hub_port}
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api_port}"
c.JupyterHub.db_url = "sqlite:///{folder}/hub.sqlite"
c.JupyterHub.cookie_secret_file = "{folder}/cookie"
from jupyterhub.auth import DummyAuthenticator
c.JupyterHub.authenticator_class = mapadmin_hub.only_allowed(
    DummyAuthenticator, "{folder}/shared/allowed.json")
c.Authenticator.allow_all = True
c.Authenticator.auth_refresh_age = 1
c.Authenticator.refresh_pre_spawn = True
c.Authenticator.auth_refresh_strict = True
c.Authenticator.allowed_users = set({users!r})
c.Authenticator.admin_users = {{"boss"}}
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = "{folder}/homes/{{username}}"
c.Spawner.environment = {{"JUPYTERHUB_SINGLEUSER_APP": "jupyter_server.serverapp.ServerApp"}}
c.Spawner.args = ["--allow-root"]
c.Spawner.http_timeout = 60
c.Spawner.start_timeout = 60
c.JupyterHub.allow_named_servers = True

async def before(spawner):
    if spawner.user.name == "unlucky":
        raise RuntimeError("the disk of unlucky is full")
    if spawner.user.name == "spy":
        spawner.cmd = [sys.executable, {spy!r}, "{folder}/shown"]
        spawner.args = []
c.Spawner.pre_spawn_hook = before

c.JupyterHub.services = [
    {{"name": "mapadmin", "api_token": {token!r}}},
    {{"name": "tester", "api_token": "tester-" + {token!r}}},
    {{"name": "lesser", "api_token": "lesser-" + {token!r}}},
]
c.JupyterHub.load_roles = [
    {{"name": "mapadmin", "services": ["mapadmin"], "scopes": {scopes!r}}},
    {{"name": "tester", "services": ["tester"], "scopes": ["admin:users", "admin:servers",
     "access:servers", "tokens"]}},
    {{"name": "lesser", "services": ["lesser"], "scopes": ["list:users", "read:servers"]}},
]
c.JupyterHub.template_vars = {{"announcement": mapadmin_hub.Notice("{folder}/shared/notice.json")}}
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


def _install_hub(folder: Path) -> None:
    python_with(f"jupyterhub=={VERSION}", "jupyter_server", "ipykernel")(folder)
    subprocess.run(
        ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), PROXY],
        check=True, capture_output=True,
    )  # fmt: skip


@dataclass
class RunningHub:
    """A hub at `url`; `users` exist before anybody has logged in."""

    folder: Path
    url: str
    python: Path
    users: list[str]
    process: subprocess.Popen[bytes]

    @property
    def shared(self) -> Path:
        return self.folder / "shared"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def api(self, method: str, path: str, data: object = None) -> Any:
        """Asked as an administrator would, by another client than mapadmin."""
        body = None if data is None else json.dumps(data).encode()
        request = Request(
            f"{self.url}{path}", body, {"Authorization": f"token tester-{TOKEN}"}, method=method
        )
        with build_opener().open(request, timeout=60) as response:
            text = response.read()
        return json.loads(text) if text else None

    def log_in(self, user: str) -> OpenerDirector:
        """A browser of somebody who has given name and password; whether that was enough is seen
        by what the hub then shows.
        """
        browser = build_opener(HTTPCookieProcessor(CookieJar()))
        with browser.open(f"{self.url}/hub/login", timeout=60) as response:
            form = response.read().decode()
        token = re.search(r'name="_xsrf"\s+value="([^"]+)"', form)
        assert token, form
        data = urlencode({"username": user, "password": "any", "_xsrf": token[1]}).encode()
        with suppress(HTTPError):  # 403: refused
            browser.open(f"{self.url}/hub/login", data, timeout=60).close()
        return browser

    def page(self, user: str, browser: OpenerDirector | None = None) -> str:
        """The hub's home page for a user, who logs in unless there is a browser already."""
        browser = browser or self.log_in(user)
        with browser.open(f"{self.url}/hub/home", timeout=60) as response:
            text: str = response.read().decode()
        return text

    def start(self, user: str, name: str = "") -> None:
        """A ready server."""
        path = f"/hub/api/users/{user}/server" + (f"s/{name}" if name else "")
        self.api("POST", path, {})
        wait_until(lambda: self.ready(user, name), f"{user}'s server is ready")

    def ready(self, user: str, name: str = "") -> bool:
        servers = self.api("GET", f"/hub/api/users/{user}")["servers"]
        return bool(servers.get(name, {}).get("ready"))

    def servers(self, user: str) -> set[str]:
        return set(self.api("GET", f"/hub/api/users/{user}")["servers"])

    def kernel(self, user: str, *, busy: bool) -> None:
        """A new kernel, which computes for minutes or has nothing to do any more."""
        kernel: str = self.api("POST", f"/user/{user}/api/kernels", {})["id"]
        (file,) = (self.folder / "homes" / user).rglob(f"kernel-{kernel}.json")
        code = ["import time; time.sleep(300)"] if busy else ["1 + 1", "--wait"]
        subprocess.run(
            [str(self.python), str(COMPUTE), str(file), *code], check=True, timeout=90,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)}, capture_output=True,
        )  # fmt: skip
        state = "busy" if busy else "idle"
        path = f"/user/{user}/api/kernels/{kernel}"
        wait_until(lambda: self.api("GET", path)["execution_state"] == state, f"it is {state}")

    def stop_all(self) -> None:
        for user in self.api("GET", "/hub/api/users?state=active&limit=200"):
            for name in user["servers"]:
                path = f"/hub/api/users/{user['name']}/server" + (f"s/{name}" if name else "")
                self.api("DELETE", path)
        wait_until(lambda: not self.api("GET", "/hub/api/users?state=active"), "all have stopped")


def allow(folder: Path, users: list[str]) -> None:
    """As mapadmin writes it, but not by mapadmin."""
    (folder / "allowed.json").write_text(json.dumps({"users": users}))


def wait_until(look: Any, what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if look():
            return
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds:g} s: {what}")


@contextmanager
def running_hub(folder: Path, users: list[str]) -> Iterator[RunningHub]:
    """A hub with these users; it ends with its proxy and all servers."""
    programs = cached(f"jupyterhub-{VERSION}", _install_hub)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "shared").mkdir()
    allow(folder / "shared", users)
    port, hub_port, api_port = free_port(), free_port(), free_port()
    (folder / "jupyterhub_config.py").write_text(
        CONFIG.format(
            templates=str(TEMPLATES), spy=str(SPY), port=port, hub_port=hub_port, api_port=api_port,
            folder=folder, users=users, token=TOKEN, scopes=list(SCOPES),
        )
    )  # fmt: skip
    path = os.pathsep.join(
        [str(programs / "bin"), str(programs / "node_modules" / ".bin"), os.environ["PATH"]]
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(programs / "bin" / "jupyterhub"), "-f", "jupyterhub_config.py"], cwd=folder,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={"PATH": path, "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}/lab"
    hub = RunningHub(folder, url, programs / "bin" / "python", users, process)
    try:
        wait_until(lambda: _answers(hub), "the hub answers")
        yield hub
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(hub: RunningHub) -> bool:
    assert hub.process.poll() is None, hub.log
    try:
        return bool(hub.api("GET", "/hub/api/")["version"])
    except OSError:
        return False


@dataclass
class HubLab:
    """A site with a hub."""

    folder: Path
    hub: RunningHub
    token: str = TOKEN
    settings: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write()

    def write(self, people: str = "", **settings: object) -> None:
        self.settings.update(settings)
        values = {
            "url": self.hub.url, "token": "env:HUB_TOKEN", "folder": str(self.hub.shared),
            **self.settings,
        }  # fmt: skip
        text = '[site]\nname = "lab"\nstate = "state"\n[roles.reader]\n"map_*" = ["SELECT"]\n'
        text += "[jupyterhub]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in values.items())
        for name, content in (("mapadmin.toml", text), ("people.toml", people)):
            (self.folder / name).write_text(content)
            (self.folder / name).chmod(0o644)

    def run(self, *args: str) -> Ran:
        """Run `mapadmin jupyterhub ARGS…` to its end."""
        env = {
            **os.environ, "MAPADMIN_SITE": str(self.folder), "HUB_TOKEN": self.token,
            "PYTHONWARNINGS": "error", "COLUMNS": "80",
        }  # fmt: skip
        done = run_mapadmin("jupyterhub", *args, env=env)
        assert "Traceback" not in done.stderr, done.stderr
        journal = self.folder / "state" / "journal.jsonl"
        written = journal.read_text() if journal.exists() else ""
        assert self.token not in done.stdout + done.stderr + written
        return Ran(done.returncode, done.stdout, done.stderr)

    def ok(self, *args: str) -> Ran:
        ran = self.run(*args)
        assert ran.code == 0, f"{args}: exit {ran.code}\n{ran.out}\n{ran.err}"
        return ran
