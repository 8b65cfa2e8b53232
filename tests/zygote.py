"""The installed command in a process of its own, without paying for its start each time.

A process that has imported mapadmin and its libraries (the zygote) forks one for each command line,
with the arguments, environment, folder and files that a shell would have given it. The command
itself runs none the wiser, from `main` to the interpreter's end; half of the tests' time is saved.
What a start itself does (lazy imports, the script in bin/) is tested by starting the program.

    python -m tests.zygote FD       the zygote, which is asked over the socket FD
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

MAPADMIN = str(Path(sys.executable).parent / "mapadmin")
ROOT = Path(__file__).parents[1]
# Imported beforehand, with all of mapadmin. Not datajoint, which reads settings from where it is.
LIBRARIES = (
    "boto3", "botocore.session", "cryptography.hazmat.primitives.asymmetric.rsa", "globus_sdk",
    "jinja2", "pymysql.cursors", "rich.console", "rich.live", "rich.progress", "rich.table",
    "tomlkit", "typer.rich_utils",
)  # fmt: skip
# What Python looks at as it starts: other values want another zygote.
_OF_THE_START = ("PYTHON", "LC_", "LANG", "MAPADMIN_TEST_")


def run_mapadmin(
    *arguments: str,
    env: Mapping[str, str],
    stdin: str = "",
    cwd: str | Path | None = None,
    timeout: float = 600,
) -> subprocess.CompletedProcess[str]:
    """`mapadmin ARGUMENTS` as `subprocess.run` would run it; its streams are files.

    Raises subprocess.TimeoutExpired, with the command killed.
    """
    start = {key: value for key, value in env.items() if key.startswith(_OF_THE_START)}
    zygote = _zygote(os.getpid(), tuple(sorted(start.items())))
    return zygote.run(arguments, env, stdin, str(cwd or Path.cwd()), timeout)


@cache
def _zygote(_owner: int, start: tuple[tuple[str, str], ...]) -> Zygote:
    return Zygote(dict(start))


class Zygote:
    """A running zygote; it ends with this process."""

    def __init__(self, start: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        path = os.pathsep.join(filter(None, [start.get("PYTHONPATH", ""), str(ROOT)]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.zygote", str(theirs.fileno())],
            env={"PATH": os.environ["PATH"], **start, "PYTHONPATH": path},
            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip
        theirs.close()
        self.socket = ours
        self.lock = threading.Lock()
        atexit.register(self.end)

    def end(self) -> None:
        self.socket.close()
        self.process.wait(10)

    def run(
        self, arguments: Sequence[str], env: Mapping[str, str], stdin: str, cwd: str, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        request = {"argv": [MAPADMIN, *arguments], "env": dict(env), "cwd": cwd}
        text = json.dumps(request).encode()
        streams = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
        reader, writer = os.pipe()
        try:
            os.write(streams[0], stdin.encode())
            os.lseek(streams[0], 0, os.SEEK_SET)
            with self.lock:
                socket.send_fds(self.socket, [struct.pack("!I", len(text))], [*streams, writer])
                self.socket.sendall(text)
            os.close(writer)
            writer = -1
            pid = int(_read(reader, 4, timeout, arguments))
            try:
                status = int(_read(reader, 4, timeout, arguments))
            except subprocess.TimeoutExpired:
                os.kill(pid, signal.SIGKILL)
                raise
            out, err = (_text(fd) for fd in streams[1:])
        finally:
            for fd in (*streams, reader, writer):
                if fd >= 0:
                    os.close(fd)
        code = os.waitstatus_to_exitcode(status)
        return subprocess.CompletedProcess([MAPADMIN, *arguments], code, out, err)


def _read(fd: int, size: int, timeout: float, arguments: Sequence[str]) -> int:
    end = time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        if not selector.select(max(0.0, end - time.monotonic())):
            raise subprocess.TimeoutExpired([MAPADMIN, *arguments], timeout)
    data = os.read(fd, size)
    assert len(data) == size, "the zygote has ended"
    number: int = struct.unpack("!I", data)[0]
    return number


def _text(fd: int) -> str:
    with open(fd, "rb", closefd=False) as file:
        file.seek(0)
        return file.read().decode().replace("\r\n", "\n")


# --- the zygote itself ---------------------------------------------------------------------------


def _import_all() -> None:
    import mapadmin

    for name in LIBRARIES:
        importlib.import_module(name)
    for module in pkgutil.walk_packages(mapadmin.__path__, "mapadmin."):
        if not module.name.endswith(("__main__", ".runner", ".helper")):  # those run elsewhere
            importlib.import_module(module.name)


def _serve(requests: socket.socket) -> dict[str, object]:
    """Fork a process for each request. Returns, in each of them, what is asked."""
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    waiting: dict[int, int] = {}  # process -> where its number and its end are told
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            ready = [key.fileobj for key, _ in selector.select()]
            if woken in ready:
                woken.recv(1000)
                _reap(waiting)
            if requests in ready:
                text, fds = _receive(requests)
                if not text:
                    os._exit(0)
                *streams, answer = fds
                pid = os.fork()
                if pid == 0:
                    break
                for fd in streams:
                    os.close(fd)
                os.write(answer, struct.pack("!I", pid))
                waiting[pid] = answer
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for fd in (requests.detach(), woken.detach(), waker.detach(), answer, *waiting.values()):
        os.close(fd)
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
        os.close(fd)
    request: dict[str, object] = json.loads(text)
    return request


def _receive(requests: socket.socket) -> tuple[bytes, list[int]]:
    """A request and its files; no text when nobody asks any more."""
    head, fds, _, _ = socket.recv_fds(requests, 4, 4)
    text = b""
    while head and len(text) < struct.unpack("!I", head)[0]:
        text += requests.recv(struct.unpack("!I", head)[0] - len(text))
    return text, fds


def _reap(waiting: dict[int, int]) -> None:
    while waiting:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        answer = waiting.pop(pid)
        os.write(answer, struct.pack("!I", status))
        os.close(answer)


def _become(request: dict[str, object]) -> None:
    """What a new interpreter would have found."""
    argv, env, cwd = request["argv"], request["env"], request["cwd"]
    assert isinstance(argv, list) and isinstance(env, dict) and isinstance(cwd, str)
    sys.modules["__main__"].__package__ = ""  # or usage would begin with `python -m`
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    sys.argv = argv
    for name, fd, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        errors = "backslashreplace" if fd == 2 else "strict"
        stream = open(fd, mode, encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _main() -> None:
    _import_all()
    gc.collect()
    gc.freeze()  # or each child would copy all of it when it looks for garbage
    request = _serve(socket.socket(fileno=int(sys.argv[1])))
    try:
        _become(request)
    except BaseException:  # noqa: BLE001  never back into the zygote
        traceback.print_exc()
        os._exit(120)
    os._exit(_run())


def _run() -> int:
    """As the interpreter runs it, but for giving back each object in the end: that takes longer."""
    from mapadmin.__main__ import main

    code = 1
    try:
        main()
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:  # noqa: BLE001  as the interpreter does
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code


if __name__ == "__main__":
    _main()
