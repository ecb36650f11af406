"""Start `python -m MODULE` or `python -c PROGRAM` quickly for a test: fork a process that has done
the imports.

`run` and `Popen` have the interface of subprocess. If a command begins like one of `PREPARATIONS`,
it is forked from a fork server: an interpreter with the same options that has already imported what
the command needs. A program can detect the fork only by its parent process. Any other command is
started by subprocess. Tests of the start of processes use subprocess itself.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import inspect
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

STORED = Path(__file__).parents[1] / "reports/stored"
PATCHED = "from bench.transport.gevent_patch import patch; patch()\n"
# Run one command in advance, so that everything that a first command reads and compiles is in
# memory. Then drop the module, because runpy must be the first to run it.
CALLED = """
import rtbench.cli.app, contextlib, shutil, sys, tempfile
del sys.modules["rtbench.cli.app"]
with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Exception):
    shutil.copytree({stored!r}, folder + "/run")
    rtbench.cli.app.app([word.format(folder=folder) for word in {words}], standalone_mode=False)
"""
LOCUST = (
    "import locust.main, rtbench, azure.identity, pandas, pyarrow.dataset, pyarrow.pandas_compat\n"
    "import bench.record.finalize\n"
    "import inspect; inspect.stack()"
)
REPORT = (
    "import bench.record.finalize, reports.pages.comparisons.document,"
    " reports.pages.check.document\nimport reports.pages.comparisons.interim"
)
REPORT += CALLED.format(stored=str(STORED), words=["report", "{folder}/run"])
VOICES = """
from rtbench_simulator import recorded_replies
from functools import cache
recorded_replies.load_replies = cache(recorded_replies.load_replies)
recorded_replies.load_replies()
"""
SIMULATE = (
    f"import rtbench_simulator.serving.server, numpy.random, soundfile, soxr{VOICES}"
    + CALLED.format(stored=str(STORED), words=["simulate", "--profile", "{folder}/none.yaml"])
)
CAPACITY = f"""{REPORT}
import rtbench.locust_run, rtbench.capacity.level_run, rtbench.cli.searches, subprocess, types
forked = types.ModuleType("forked")
forked.__file__ = {__file__!r}
with open(forked.__file__) as text:
    exec(compile(text.read(), forked.__file__, "exec"), vars(forked))
forking = types.SimpleNamespace(**vars(subprocess) | {{"Popen": forked.Popen, "run": forked.run}})
rtbench.locust_run.subprocess = rtbench.capacity.level_run.subprocess = forking
"""
"""The preparation for a capacity search. The search itself also forks the processes of its
levels."""
REPORTING = (
    "report",
    "check",
    "baseline",
    "compare",
    "sample-size",
    "runs",
    "trend",
)
PREPARATIONS: dict[tuple[str, ...], str] = {
    ("locust",): LOCUST,
    ("rtbench.capacity.dry_run",): LOCUST,
    ("rtbench.run_process",): LOCUST,
    ("rtbench.cli.app", "capacity"): CAPACITY,
    ("rtbench.cli.app", "probe"): (
        PATCHED + "import rtbench.cli.service, bench.probe, bench.target.targets"
    ),
    ("rtbench.cli.app", "doctor"): (
        PATCHED + "import rtbench.cli.service, bench.doctor.service_checks, bench.target.targets"
    ),
    ("rtbench.cli.app", "simulate"): SIMULATE,
    **{("rtbench.cli.app", command): REPORT for command in REPORTING},
    ("rtbench.cli.decision",): REPORT,
    ("reports.pages.comparisons",): REPORT,
}
"""The preparation for each module. The key is the module, and in some cases the first argument
of the command."""
PROGRAMS = {
    "from locust": LOCUST,
    "import locust": LOCUST,
    "from bench.load.runners": LOCUST,
    'runpy.run_module("locust"': LOCUST,
    "import pandas": REPORT,
    "from bench.target.tokens": PATCHED + "import azure.identity, bench.target.tokens",
    "monkey.patch_all()": PATCHED,
}
"""The preparation for each program of `python -c`. The key is the beginning of a line of the
program."""
FOLDER = "FORK_SERVERS"
"""The environment variable that contains the folder of the fork servers' sockets."""
SERVER, HAND_ON = (
    (Path(__file__).parent / name).read_text() for name in ("server.py", "hand_on.py")
)
STANDARD = {"p2cread": 0, "c2pwrite": 1, "errwrite": 2}
"""The number of a child's standard stream for each stream of the caller. The key is the name
that subprocess uses."""
EXECUTE = inspect.signature(subprocess.Popen._execute_child)  # type: ignore[attr-defined]


cpu_s = 0.0
"""The CPU time in s of all forked processes that have ended, including their child processes
that have ended."""


class Server:
    """A connection to the fork server for one preparation and one interpreter with its options.

    All processes of a test run share this fork server. The first process that needs the fork server
    starts it. The fork server ends when the last of these processes ends.
    """

    def __init__(self, interpreter: tuple[str, ...], preparation: str) -> None:
        handed_on = []
        if preparation == LOCUST:
            handed_on = [_server((sys.executable, "-P"), REPORT).requests.fileno()]
            preparation += f"\nREPORTS = int(sys.argv[3])\n{HAND_ON}"
        if preparation == CAPACITY:
            # start it here, so that it does not end with the first process that requests a level
            _server((sys.executable, "-P"), LOCUST)
        self.requests: socket.socket = socket.socket(socket.AF_UNIX)
        atexit.register(self.requests.close)
        path = str(
            servers_folder()
            / hashlib.sha256(repr((interpreter, preparation)).encode()).hexdigest()[:16]
        )
        with open(f"{path}.lock", "w") as lock, socket.socket(socket.AF_UNIX) as doorway:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with suppress(FileNotFoundError, ConnectionRefusedError):
                self.requests.connect(path)
                return
            Path(path).unlink(missing_ok=True)
            doorway.bind(path)
            doorway.listen(64)
            # before the server starts, so that it cannot wait for a first client that has died
            self.requests.connect(path)
            # Its errors go to a file: the server may outlive the process that started it, and a
            # reader of a pipe would wait for the end of the server.
            with open(f"{path}.errors", "w") as errors:
                server = subprocess.Popen(
                    [
                        *interpreter,
                        "-c",
                        SERVER,
                        str(doorway.fileno()),
                        preparation,
                        *map(str, handed_on),
                    ],
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    pass_fds=[doorway.fileno(), *handed_on],
                    start_new_session=True,
                )
                server.returncode = 0  # nothing waits for it, and no warning says so

    def fork(self, wanted: dict[str, Any], streams: list[int]) -> tuple[int, socket.socket]:
        """Start a process.

        Return its pid, and the socket from which its wait status and its CPU time in µs can be
        read.
        """
        ours, theirs = socket.socketpair()
        with theirs, tempfile.TemporaryFile("w+", encoding="utf-8") as request:
            json.dump(wanted, request)
            request.seek(0)
            socket.send_fds(self.requests, [b"f"], [request.fileno(), theirs.fileno(), *streams])
        return _number(ours), ours


@cache
def servers_folder() -> Path:
    """Return the folder of the fork servers' sockets. This process and its children use the same
    folder.

    The folder is not in TMPDIR, because the path of TMPDIR may be long, and the path of a socket
    has at most 108 bytes.
    """
    if FOLDER not in os.environ:
        os.environ[FOLDER] = tempfile.mkdtemp(prefix="fork-servers-", dir="/tmp")
        atexit.register(shutil.rmtree, os.environ[FOLDER])
    return Path(os.environ[FOLDER])


@cache
def _server(interpreter: tuple[str, ...], preparation: str) -> Server:
    return Server(interpreter, preparation)


def _number(status_socket: socket.socket) -> int:
    """Read one line, which contains a number, from a fork server."""
    digits = b""
    while not digits.endswith(b"\n"):
        more = status_socket.recv(1)
        if not more:
            raise ChildProcessError(
                f"the fork server has ended; what it said is in {servers_folder()}"
            )
        digits += more
    return int(digits)


class Popen(subprocess.Popen[Any]):
    """A subprocess.Popen that forks `[sys.executable, OPTIONS…, "-m", MODULE, WORDS…]` if it has a
    preparation.

    Any other command is started by subprocess.
    """

    _status_socket: socket.socket | None = None

    def __init__(
        self, command: Sequence[str], *, namespaces: Sequence[str] = (), **how: Any
    ) -> None:
        """Start the command. A forked process enters the namespaces of the files `namespaces` by
        setns(2).
        """
        self._namespaces = list(namespaces)
        super().__init__(command, **how)

    def _execute_child(self, *values: Any) -> None:
        how = EXECUTE.bind(self, *values).arguments
        command = executed([os.fsdecode(word) for word in how["args"]])
        env = {
            os.fsdecode(k): os.fsdecode(v)
            for k, v in (os.environ if how["env"] is None else how["env"]).items()
        }
        preparation = _preparation(command, env)
        if preparation is None:
            assert not self._namespaces, f"{command} is not prepared"
            super()._execute_child(*values)  # type: ignore[misc]
            return
        interpreter, (option, what, *words) = _split(command)
        wanted = {
            "command": command,
            "option": option,
            "what": what,
            "words": words,
            "cwd": os.path.abspath(how["cwd"] or "."),
            "env": env,
            "new_session": how["start_new_session"],
            "namespaces": self._namespaces,
        }
        sys.audit("subprocess.Popen", command[0], command, wanted["cwd"], env)
        streams = [
            standard if how[name] == -1 else how[name] for name, standard in STANDARD.items()
        ]
        self.pid, self._status_socket = _server(interpreter, preparation).fork(wanted, streams)
        self._child_created = True
        ends = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(how[end] for end in ends))  # type: ignore[attr-defined]

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if self._status_socket is None:
            pid, status = super()._try_wait(wait_flags)  # type: ignore[misc]
            return pid, status
        if wait_flags & os.WNOHANG and not select.select([self._status_socket], [], [], 0)[0]:
            return 0, 0
        global cpu_s
        with self._status_socket:
            status = _number(self._status_socket)
            cpu_s += _number(self._status_socket) / 1e6
        return self.pid, status

    def _internal_poll(self, *values: Any, **more: Any) -> int | None:
        if self._status_socket is None:
            super()._internal_poll(*values, **more)  # type: ignore[misc]
        elif self.returncode is None and self._waitpid_lock.acquire(False):  # type: ignore[attr-defined]
            try:
                pid, status = self._try_wait(os.WNOHANG) if self.returncode is None else (0, 0)
                if pid:
                    self._handle_exitstatus(status)  # type: ignore[attr-defined]
            finally:
                self._waitpid_lock.release()  # type: ignore[attr-defined]
        return self.returncode


def executed(command: list[str]) -> list[str]:
    """Return the command by which `rtbench run` replaces its own process; any other command
    unchanged.
    """
    interpreter, words = _split(command)
    is_run = (
        words[:3] == ["-m", "rtbench.cli.app", "run"]
        and not {"-h", "--help"} & {*words}
        and len(words) > 3
    )
    return [interpreter[0], "-P", "-m", "rtbench.run_process", *words[3:]] if is_run else command


def _preparation(command: list[str], env: dict[str, str]) -> str | None:
    """Return the preparation of a command; None if there is none.

    Return None too if the Python variables of `env` differ from those of this process.
    """
    ours = command[0] == sys.executable and _of_python(env) == _of_python(os.environ)
    if not ours or not sys.platform.startswith("linux"):
        return None
    _, words = _split(command)
    if words[:1] == ["-c"]:
        return next((todo for line, todo in PROGRAMS.items() if f"\n{line}" in words[1]), None)
    return next(
        (todo for begin, todo in PREPARATIONS.items() if words[1 : len(begin) + 1] == [*begin]),
        None,
    )


def _split(command: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """Split a command before `-m` or `-c`: return the interpreter with its options, and the rest
    of the command.
    """
    place = next(
        (place for place, word in enumerate(command) if word in ("-m", "-c")), len(command)
    )
    return tuple(command[:place]), command[place:]


def _of_python(environ: Any) -> dict[str, str]:
    """Return the variables of Python, without the encoding that the streams of a forked process
    have.
    """
    variables = {name: value for name, value in environ.items() if name.startswith("PYTHON")}
    return {
        name: value
        for name, value in variables.items()
        if (name, value) != ("PYTHONIOENCODING", "utf-8")
    }


def run(
    command: list[str],
    *,
    words: str | None = None,
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **how: Any,
) -> subprocess.CompletedProcess[Any]:
    """Run a command like subprocess.run, with the options that tests need.

    `words` is the standard input of the command.
    """
    if capture_output:
        how |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if words is not None:
        how["stdin"] = subprocess.PIPE
    with Popen(command, **how) as process:
        try:
            output, errors = process.communicate(words, timeout=timeout)
        except BaseException:
            process.kill()
            raise
    ended = subprocess.CompletedProcess(command, process.returncode, output, errors)
    if check:
        ended.check_returncode()
    return ended
