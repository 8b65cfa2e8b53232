"""The command of a worker's container: runs the pipeline's script, and drains when it is told to.

    python runner.py [--secret FILE] [--heartbeat FILE] SCRIPT [ARGUMENT ...]
    python runner.py [--secret FILE] [--heartbeat FILE] -m MODULE [ARGUMENT ...]

SIGUSR1 or SIGTERM drains: the job at hand is computed and committed, none is begun, and the process
leaves; at once when idle. Each may be sent again; SIGUSR2 takes it back, as long as the process is
there. The exit code is the script's own, or 0 after draining. `--secret` is a file that only its
owner can read, {"user": ..., "password": ...}: it becomes DJ_USER and DJ_PASS. It may have "stores"
as well, {NAME: {"access_key": ..., ...}}: they complete those of DataJoint's configuration.
`--heartbeat` is where the worker says what it does; see `Heartbeat`. "{host}" in it becomes the
name of this host.

It runs where the pipeline runs: Python 3.6 or newer, its standard library, and DataJoint 0.12 to
2.x, which it changes as it is imported. It is not part of mapadmin there: this file is all of it.
"""

# ruff: noqa: UP032  newer forms than Python 3.6 knows are not to be used

import atexit
import functools
import importlib.util
import json
import mmap
import os
import platform
import runpy
import signal
import stat
import sys
import threading
import time
from typing import Any, Callable, Dict, List, Optional  # noqa: UP035

IDLE = 5.0  # seconds: who sleeps this long outside populate() waits for work
SLICE = 0.2  # seconds after which a sleeper, or the heartbeat, looks again
BEAT = 5.0  # seconds between heartbeats when nothing changes
PATIENCE = 3  # SystemExits that a script may swallow
SLOTS, SLOT = 64, 4096  # processes that tell what they do, and bytes for each
BAD_SETTINGS = 3
SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)

_sleep = time.sleep


class RefusedError(Exception):
    """What is wrong with how this was started, in one sentence."""


class Board:
    """Memory that forked children share: byte 0 says whether to drain, then a slot a process."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, (SLOTS + 1) * SLOT)
        self.main = os.getpid()

    @property
    def draining(self) -> bool:
        return self.memory[0] != 0

    def drain(self, yes: bool = True) -> None:
        self.memory[0] = yes

    def write(self, entry: Dict[str, Any]) -> None:  # noqa: UP006
        """Put up what this process does. One that does not fit goes without its keys."""
        text = json.dumps(entry, default=str).encode()
        if len(text) > SLOT:
            jobs = [dict(job, key=None) for job in entry["jobs"][:8]]
            text = json.dumps(dict(entry, jobs=jobs)).encode()[:SLOT]
        pid = os.getpid()
        begin = SLOT * (1 if pid == self.main else 2 + pid % (SLOTS - 1))
        self.memory[begin : begin + SLOT] = text.ljust(SLOT, b"\0")

    def read(self) -> List[Dict[str, Any]]:  # noqa: UP006
        """What the processes that are there have put up, the main one's first."""
        found = []
        for begin in range(SLOT, SLOT * (SLOTS + 1), SLOT):
            if not self.memory[begin]:
                continue
            try:
                entry = json.loads(self.memory[begin : begin + SLOT].rstrip(b"\0").decode())
                os.kill(entry["pid"], 0)
            except (ValueError, OSError):  # being written, or its process has ended
                continue
            found.append(entry)
        return found


class Heartbeat:
    """Writes the heartbeat file: one JSON object, replaced as a whole, times in Unix seconds.

    host, pid, started; state: starting | looking (for jobs) | idle | busy | ended; since; draining;
    jobs: those of all processes, each with pid, schema, table, key, since; beat: when this was
    written; cpu: seconds that the process and its ended children have used; exit_code: when ended.
    """

    def __init__(self, path: str, board: Board) -> None:
        self.path, self.board = path, board
        self.fixed = {"host": platform.node(), "pid": os.getpid(), "started": time.time()}
        self.write()
        threading.Thread(target=self.run, name="mapadmin-heartbeat", daemon=True).start()

    def run(self) -> None:
        leave_signals_to_main_thread()
        shown, when = b"", 0.0
        while True:
            seen = self.board.memory[:]
            if seen != shown or time.time() > when + BEAT:
                self.write()
                shown, when = seen, time.time()
            _sleep(SLICE)

    def write(self, **more: Any) -> None:
        entries = self.board.read()
        now = dict(self.fixed, state="starting", since=self.fixed["started"], jobs=[])
        for entry in entries:
            if entry["pid"] == self.board.main:
                now.update(state=entry["state"], since=entry["since"])
        now["jobs"] = jobs = [dict(job, pid=one["pid"]) for one in entries for job in one["jobs"]]
        if jobs:
            now["state"] = "busy"
        used = os.times()
        cpu = used.user + used.system + used.children_user + used.children_system
        now.update(draining=self.board.draining, beat=time.time(), cpu=round(cpu, 2), **more)
        temporary = "{}.{}".format(self.path, threading.get_ident())
        try:  # a full disk must not end a worker; that the beat is old will be seen
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            try:
                os.write(fd, json.dumps(now).encode())
            finally:
                os.close(fd)
            os.rename(temporary, self.path)  # noqa: PTH104
        except OSError:
            pass


class Presence:
    """A second session of each process that connects, by the same name: one that has lost its first
    in a long job, and does not miss it yet, is still seen to be alive.

    Its thread connects as the process first did, and again when the session is lost. Nobody forks
    meanwhile: a child would inherit the locks of getaddrinfo or OpenSSL as they are at that moment.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connect: Any = None
        self.session: Any = None

    def begin(self, connect: Callable[[], Any]) -> None:
        """The process has connected; this is how. Only the first time counts."""
        if self.connect is None:
            self.connect = connect
            threading.Thread(target=self.run, name="mapadmin-presence", daemon=True).start()

    def run(self) -> None:
        leave_signals_to_main_thread()
        while True:
            with self.lock:
                self.look()
            _sleep(BEAT)

    def look(self) -> None:
        for make in (self.ping, self.connect):  # whatever either says, the next beat tries again
            try:
                self.session = make()
            except Exception:  # noqa: BLE001
                self.session = None  # whose socket is closed with it
            else:
                return

    def ping(self) -> Any:
        self.session.ping(reconnect=False)
        return self.session

    def forget(self) -> None:
        """This is a forked child: the session is its parent's, and the thread is not here."""
        self.session = self.connect = None


class Worker:
    """What this process is at, and when it may leave. A forked child begins anew with `here`."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.presence = Presence()
        self.main = os.getpid()
        self.swallowed = 0
        self.heartbeat: Optional[Heartbeat] = None  # noqa: UP045
        self.within_job = False  # forked by a make(): whatever it calls is part of that job
        self.begin()

    def begin(self) -> None:
        self.pid = os.getpid()
        self.started = time.time()
        self.depth: Dict[int, int] = {}  # noqa: UP006  thread -> calls of populate() in each other
        self.jobs: Dict[int, List[Dict[str, Any]]] = {}  # noqa: UP006  thread -> its open jobs
        self.state, self.since = "starting", self.started
        self.terminated = False

    def here(self) -> None:
        """Notice that this is a forked child: its parent's jobs are not its own."""
        if os.getpid() != self.pid:
            self.within_job = self.within_job or bool(self.jobs)
            self.begin()

    def name(self) -> str:
        """What mapadmin looks for in the server's list of sessions."""
        self.here()
        return "mapadmin-worker:{}:{}:{:.3f}".format(platform.node(), self.pid, self.started)

    def on_signal(self, number: int, _frame: Any) -> None:
        """Only notes it, so that nothing is torn apart. Children are ended by Pool.terminate."""
        self.here()
        if self.pid == self.main or number != signal.SIGTERM:
            self.board.drain(number != signal.SIGUSR2)
        elif self.jobs:
            self.terminated = True
        else:
            self.die()

    def die(self) -> None:
        """End as SIGTERM ends a process that does not handle it."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    # A handler in Python is called between two of its instructions: a SIGTERM that comes just
    # before a child waits for a lock does nothing, nor does one that comes before Python has
    # noticed that it is a child; and Pool.terminate, which sends it once, would wait for ever. So a
    # child handles it only during a job; else the system ends it, which is never late.

    def handle_at_fork(self) -> None:
        if hasattr(os, "register_at_fork"):  # Python 3.7
            os.register_at_fork(  # novm
                before=self.before_fork,
                after_in_parent=self.after_fork,
                after_in_child=self.after_fork_in_child,
            )

    def before_fork(self) -> None:
        self.presence.lock.acquire()
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])

    def after_fork(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)
        self.presence.lock.release()

    def after_fork_in_child(self) -> None:
        self.here()
        self.presence.forget()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self.after_fork()

    def handle_sigterm(self, yes: bool) -> None:
        """Have SIGTERM wait for the end of a child's job, or else end the child at once."""
        main = threading.current_thread() is threading.main_thread()
        if self.pid == self.main or not main:
            return
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        signal.signal(signal.SIGTERM, self.on_signal if yes else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if self.terminated and not yes:
            self.die()

    @property
    def inside(self) -> bool:
        """Whether what is called now is part of a job that has begun."""
        me = threading.get_ident()
        return self.within_job or bool(self.jobs.get(me)) or self.depth.get(me, 0) > 1

    def refuse_job(self) -> bool:
        self.here()
        return self.board.draining and not self.inside

    def leave_when_draining(self) -> None:
        """SystemExit; the end of a script that swallows it, unless another thread computes."""
        if not self.board.draining:
            return
        self.swallowed += 1
        if self.swallowed > PATIENCE and not self.depth:
            sys.stdout.flush()
            sys.stderr.flush()
            self.at_end(0)
            os._exit(0)
        raise SystemExit(0)

    def at_end(self, code: int) -> None:
        """The last heartbeat."""
        if self.heartbeat is not None and os.getpid() == self.main:
            self.heartbeat.write(state="ended", exit_code=code)

    def enter(self) -> bool:
        """A call of populate() begins; whether it is the outermost one."""
        self.here()
        me = threading.get_ident()
        outermost = not self.depth.get(me) and not self.inside
        if outermost:
            self.leave_when_draining()
        self.depth[me] = self.depth.get(me, 0) + 1
        if outermost:
            self.show("looking")
        return outermost

    def exit(self, outermost: bool) -> None:
        """A call of populate() has ended; so have its jobs, whatever became of them."""
        me = threading.get_ident()
        self.depth[me] -= 1
        if not self.depth[me]:
            del self.depth[me]
        if outermost:
            self.jobs.pop(me, None)  # 0.12 does not say so when it has lost the connection
            self.show("looking")

    def begin_job(self, schema: str, table: str, key: Any) -> None:
        self.handle_sigterm(True)
        job = {"schema": schema, "table": table, "key": key, "since": time.time()}
        self.jobs.setdefault(threading.get_ident(), []).append(job)
        self.show("busy")

    def end_job(self) -> None:
        me = threading.get_ident()
        mine = self.jobs.get(me, [])
        if mine:
            mine.pop()
        if not mine:
            self.jobs.pop(me, None)
        self.show("busy" if self.jobs else "looking")
        if not self.jobs:
            self.handle_sigterm(False)

    def show(self, state: str) -> None:
        if state != self.state:
            self.state, self.since = state, time.time()
        jobs = [job for mine in list(self.jobs.values()) for job in mine]
        entry = {"pid": self.pid, "state": self.state, "since": self.since, "jobs": jobs}
        self.board.write(entry)

    def sleep(self, seconds: float) -> None:
        """time.sleep: a long one of the main thread is idling, and ends when there is to drain."""
        self.here()
        main = threading.current_thread() is threading.main_thread()
        if not main or seconds < IDLE or self.inside or self.depth.get(threading.get_ident()):
            _sleep(seconds)
            return
        before, end = self.state, time.monotonic() + seconds
        self.show("idle")
        try:
            while time.monotonic() < end:
                if not self.depth:  # no other thread is in populate()
                    self.leave_when_draining()
                _sleep(max(0.0, min(SLICE, end - time.monotonic())))
        finally:
            self.show(before)


# --- what is changed in other modules ------------------------------------------------------------


class Signals:
    """Stands for the module `signal` in datajoint.autopopulate: SIGTERM's handler stays ours."""

    def __getattr__(self, name: str) -> Any:
        return getattr(signal, name)

    def signal(self, number: int, handler: Any) -> Any:
        if number == signal.SIGTERM:
            return signal.getsignal(number)
        return signal.signal(number, handler)


def change_datajoint(
    datajoint: Any,
    worker: Worker,
    stores: Dict[str, Dict[str, str]],  # noqa: UP006
) -> None:
    """Have DataJoint ask before it begins a job, and tell when it is done; give it its keys."""
    for name, keys in stores.items():
        datajoint.config["stores"][name].update(keys)
    module = importlib.import_module("datajoint.autopopulate")
    cls = module.AutoPopulate
    cls.populate = wrap_populate(cls.populate, worker)
    if hasattr(cls, "_populate1"):  # 0.13 and newer
        cls._populate1 = wrap_populate1(cls._populate1, worker)
    else:
        change_job_table(importlib.import_module("datajoint.jobs").JobTable, worker)
    if hasattr(module, "signal"):
        module.signal = Signals()  # type: ignore[attr-defined]


def wrap_populate(populate: Callable[..., Any], worker: Worker) -> Callable[..., Any]:
    @functools.wraps(populate)
    def wrapped(table: Any, *args: Any, **kwargs: Any) -> Any:
        outermost = worker.enter()
        try:
            result = populate(table, *args, **kwargs)
        finally:
            worker.exit(outermost)
        if outermost:
            worker.leave_when_draining()
        return result

    return wrapped


def wrap_populate1(populate1: Callable[..., Any], worker: Worker) -> Callable[..., Any]:
    @functools.wraps(populate1)
    def wrapped(table: Any, key: Any, *args: Any, **kwargs: Any) -> Any:
        if worker.refuse_job():
            return False  # as when somebody else has reserved it
        target = getattr(table, "target", table)  # 2.x fills the table itself
        worker.begin_job(target.database, target.table_name, key)
        try:
            return populate1(table, key, *args, **kwargs)
        finally:
            worker.end_job()

    return wrapped


def change_job_table(cls: Any, worker: Worker) -> None:
    """DataJoint 0.12 has no function of its own for one job: it begins and ends with its row."""
    reserve = cls.reserve

    @functools.wraps(reserve)
    def wrapped(jobs: Any, table_name: str, key: Any, *args: Any, **kwargs: Any) -> bool:
        if worker.refuse_job():
            return False
        worker.begin_job(jobs.database, table_name, key)
        reserved: bool = False
        try:
            reserved = reserve(jobs, table_name, key, *args, **kwargs)
        finally:
            if not reserved:
                worker.end_job()
        return reserved

    def ending(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def ended(*args: Any, **kwargs: Any) -> Any:
            try:
                return method(*args, **kwargs)
            finally:
                worker.end_job()

        return ended

    cls.reserve = wrapped
    cls.complete = ending(cls.complete)
    cls.error = ending(cls.error)


def change_pymysql(connections: Any, worker: Worker) -> None:
    """Have every connection, after a reconnect as well, say whose it is."""
    init = connections.Connection.__init__

    @functools.wraps(init)
    def named(self: Any, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("program_name", worker.name())
        init(self, *args, **kwargs)
        limits = dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), BEAT)
        again = functools.partial(connections.Connection, *args, **dict(kwargs, **limits))
        worker.presence.begin(again)

    connections.Connection.__init__ = named


class AfterImport:
    """A finder that has a function called with a module as soon as that has been imported."""

    def __init__(self, hooks: Dict[str, Callable[[Any], None]]) -> None:  # noqa: UP006
        self.hooks = hooks

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> Any:
        hook = self.hooks.pop(name, None)
        spec = importlib.util.find_spec(name) if hook else None
        if hook is None or spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            try:
                execute(module)
            except BaseException:
                self.hooks[name] = hook  # it may be tried again
                raise
            hook(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


# --- starting ------------------------------------------------------------------------------------


def read_secret(path: str) -> Dict[str, Dict[str, str]]:  # noqa: UP006
    """Put the account into the environment, where every DataJoint looks for it.

    Gives the keys of stores, for which DataJoint has no variables.
    """
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            mode = os.fstat(file.fileno()).st_mode
            content = json.load(file)
        user, password = content["user"], content["password"]
        stores = {name: dict(keys) for name, keys in content.get("stores", {}).items()}
        if not (isinstance(user, str) and isinstance(password, str)):
            raise TypeError
    except OSError as error:
        raise RefusedError(
            "cannot read the secret file {}: {}".format(path, error.strerror)
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError):  # whatever it says may be the secret
        raise RefusedError(
            '{} must be a JSON object with the texts "user" and "password"'.format(path)
        ) from None
    if stat.S_IMODE(mode) & 0o077:
        raise RefusedError("{} can be read by others; run: chmod 600 {}".format(path, path))
    os.environ.update(DJ_USER=user, DJ_PASS=password)
    return stores


def run(arguments: List[str], worker: Worker) -> None:  # noqa: UP006
    """The script, as Python itself would run it."""
    if sys.path[:1] == [os.path.dirname(os.path.abspath(__file__))]:  # noqa: PTH100, PTH120
        del sys.path[0]
    if arguments[0] == "-m":
        sys.argv[:] = arguments[1:]
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv[:] = arguments
        sys.path.insert(0, os.path.dirname(os.path.abspath(arguments[0])))  # noqa: PTH100, PTH120
        runpy.run_path(arguments[0], run_name="__main__")


def leave_signals_to_main_thread() -> None:
    """Called by another one: whatever the main thread waits for is interrupted then."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def ignore_signals() -> None:
    """At its end Python forgets its handlers, and one more signal would look like a failure."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def exit_code_of(leaving: SystemExit) -> int:
    """What Python makes of it: nothing is 0, a text is 1."""
    if leaving.code is None:
        return 0
    return leaving.code if isinstance(leaving.code, int) else 1


def main(arguments: List[str]) -> None:  # noqa: UP006
    board = Board()
    worker = Worker(board)
    for number in SIGNALS:  # first: what comes before is lost
        signal.signal(number, worker.on_signal)
    worker.handle_at_fork()
    atexit.register(ignore_signals)
    options = {}
    while len(arguments) > 1 and arguments[0] in ("--secret", "--heartbeat"):
        options[arguments[0]], arguments = arguments[1], arguments[2:]
    if not arguments or arguments == ["-m"] or arguments[0].startswith("--"):
        raise RefusedError(
            "usage: runner.py [--secret FILE] [--heartbeat FILE] SCRIPT [ARGUMENT ...]"
        )
    stores = read_secret(options["--secret"]) if "--secret" in options else {}
    if "--heartbeat" in options:
        path = options["--heartbeat"].replace("{host}", platform.node())
        worker.heartbeat = Heartbeat(path, board)
    hooks = {
        "datajoint": functools.partial(change_datajoint, worker=worker, stores=stores),
        "pymysql.connections": functools.partial(change_pymysql, worker=worker),
    }
    sys.meta_path.insert(0, AfterImport(hooks))  # type: ignore[arg-type]
    time.sleep = worker.sleep  # type: ignore[assignment]
    code = 1
    try:
        run(arguments, worker)
        code = 0
    except SystemExit as leaving:
        code = exit_code_of(leaving)
        raise
    finally:
        worker.at_end(code)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except RefusedError as error:
        sys.stderr.write("mapadmin worker: {}\n".format(error))
        sys.exit(BAD_SETTINGS)
