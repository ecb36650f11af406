"""A process cannot detect that it comes from a fork server: its environment equals that of a started process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench.load.runners import finalized_run
from tests import forked
from tests.simulator_process import GUARD_S

LOOK = """
import atexit, json, os, random, signal, sys, threading, warnings
import {imported}
atexit.register(print, "at exit")
fds = [int(name) for name in os.listdir("/proc/self/fd")]
print(json.dumps({{
    "argv": sys.argv, "orig_argv": sys.orig_argv, "path": sys.path, "cwd": os.getcwd(), "environ": dict(os.environ),
    "flags": str(sys.flags), "warnoptions": sys.warnoptions, "filters": str(warnings.filters), "name": __name__,
    "leads": [os.getpid() == os.getsid(0), os.getpid() == os.getpgrp()], "threads": threading.active_count(),
    "main": threading.current_thread() is threading.main_thread(),
    "streams": [s.encoding for s in (sys.stdin, sys.stdout)],
    "signals": {{s.name: str(signal.getsignal(s)).split(" at ")[0] for s in signal.Signals if s not in (9, 19)}},
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), "umask": os.umask(0o22), "nice": os.nice(0),
    "sockets": [os.readlink(f"/proc/self/fd/{{fd}}") for fd in fds if fd > 2 and os.path.exists(f"/proc/self/fd/{{fd}}")
                and os.readlink(f"/proc/self/fd/{{fd}}").startswith(("socket", "pipe", "anon_inode:[pidfd"))],
    "said": sys.stdin.read(),
}}))
print("to stderr", file=sys.stderr)
{end}
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder for the module `look`, and prepare the fork server for this module."""
    monkeypatch.setitem(forked.PREPARATIONS, ("look",), "import decimal")
    monkeypatch.setitem(forked.PROGRAMS, "import decimal", "import decimal")
    return tmp_path


def both(command: list[str], **how: Any) -> list[subprocess.CompletedProcess[str]]:
    how |= {"capture_output": True, "text": True, "input": "a line\n", "timeout": GUARD_S}
    given = how.pop("input")
    ended = [subprocess.run(command, input=given, check=False, **how)]
    with forked.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        **{name: value for name, value in how.items() if name not in ("capture_output", "text", "timeout")},
    ) as process:  # fmt: skip
        output, errors = process.communicate(given, timeout=GUARD_S)
    # if it is None, the process was started, and this test would check nothing
    assert process._status_socket is not None
    return [*ended, subprocess.CompletedProcess(command, process.returncode, output, errors)]


@pytest.mark.parametrize(
    ("options", "way"), [((), "-m"), (("-W", "error"), "-m"), ((), "-c"), (("-W", "error"), "-c"), (("-P",), "-c")]
)
@pytest.mark.parametrize("session", [False, True])
def test_a_forked_process_has_the_environment_of_a_started_one(
    options: tuple[str, ...], way: str, session: bool, modules: Path
) -> None:
    text = LOOK.format(imported="decimal", end="sys.exit(3)")
    (modules / "look.py").write_text(text)
    what = "look" if way == "-m" else text
    env = os.environ | {"A_WORD": "of the test"}
    started, fork = both(
        [sys.executable, *options, way, what, "a word", "--an-option"], cwd=modules, env=env, start_new_session=session
    )

    assert started.returncode == 3, started.stderr
    assert (fork.returncode, fork.stderr) == (started.returncode, started.stderr)
    assert fork.stdout.splitlines()[1:] == started.stdout.splitlines()[1:] == ["at exit"]
    seen, expected = (json.loads(ended.stdout.splitlines()[0]) for ended in (fork, started))
    if not session:  # a fork server has its own session, so the value differs
        del seen["leads"], expected["leads"]
    assert seen == expected


@pytest.mark.parametrize(
    "end",
    [
        "sys.exit('a word')", "raise ValueError('x')", "raise KeyboardInterrupt", "os.kill(os.getpid(), 15)",
        "os.kill(os.getpid(), 9)", "os._exit(7)", "import warnings; warnings.warn('x', stacklevel=2)",
        "threading.Thread(target=lambda: print('late', flush=True)).start()", "print('x', end='')",
        "signal.raise_signal(signal.SIGINT)", "open('a', 'w').write('x')",
    ],
)  # fmt: skip
def test_a_forked_process_ends_like_a_started_one(end: str, modules: Path) -> None:
    (modules / "look.py").write_text(LOOK.format(imported="decimal", end=end))
    started, fork = both([sys.executable, "-W", "error", "-m", "look"], cwd=modules)

    assert fork.returncode == started.returncode
    assert fork.stdout.splitlines()[1:] == started.stdout.splitlines()[1:]
    assert fork.stderr.splitlines()[-1:] == started.stderr.splitlines()[-1:]


def test_a_forked_process_can_be_polled_waited_for_and_signalled(modules: Path) -> None:
    (modules / "look.py").write_text("import signal\nprint('there', flush=True)\nsignal.pause()")
    with forked.Popen([sys.executable, "-m", "look"], cwd=modules, stdout=subprocess.PIPE, text=True) as process:
        assert process._status_socket is not None
        assert process.stdout.readline() == "there\n"
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.send_signal(signal.SIGTERM)

        assert process.wait(GUARD_S) == process.poll() == -signal.SIGTERM


def test_the_port_of_an_ended_forked_process_is_free(modules: Path) -> None:
    """Neither the fork server nor its later children keep a descriptor of an ended child open."""
    (modules / "look.py").write_text(
        "import socket\ns = socket.create_server(('127.0.0.1', 0))\nprint(s.getsockname()[1], flush=True)\ninput()"
    )
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with forked.Popen([sys.executable, "-m", "look"], cwd=modules, **pipes) as first:
        port = int(first.stdout.readline())
        with forked.Popen([sys.executable, "-m", "look"], cwd=modules, **pipes) as second:
            second.stdout.readline()
            first.communicate("\n", timeout=GUARD_S)

            socket.create_server(("127.0.0.1", port)).close()
            second.communicate("\n", timeout=GUARD_S)


def test_gevent_timers_count_from_the_fork(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(forked.PREPARATIONS, ("look",), "import gevent; gevent.get_hub().loop.now()")
    program = "import gevent, sys\nprint(gevent.get_hub().loop.now() >= float(sys.argv[1]))"
    (modules / "look.py").write_text(program)
    for _ in range(2):  # at the second command, the server has been idle for some time
        asked_s = time.time()
        ended = forked.run([sys.executable, "-m", "look", str(asked_s)], cwd=modules, capture_output=True, text=True)

        assert (ended.stdout, ended.stderr) == ("True\n", "")


def test_the_report_at_the_end_of_a_run_is_forked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)  # with this variable, the command would be started, not forked
    started = finalized_run.run_command("report", tmp_path, GUARD_S)
    reports = forked._server((sys.executable, "-P"), forked.REPORT).requests.fileno()
    monkeypatch.setattr(finalized_run, "subprocess", subprocess)
    monkeypatch.setattr(finalized_run, "output_of", vars(finalized_run)["output_of"])
    namespace: dict[str, Any] = {"REPORTS": reports}
    exec(forked.HAND_ON, namespace)
    asked: list[Any] = []
    status = namespace["Forking"]._status
    monkeypatch.setattr(namespace["Forking"], "_status", lambda *values: asked.append(1) or status(*values))
    fork = finalized_run.run_command("report", tmp_path, GUARD_S)

    assert started.returncode == 2
    assert (fork.returncode, fork.stdout, fork.stderr) == (started.returncode, started.stdout, started.stderr)
    assert finalized_run.run_command("report", tmp_path, 0.0001).returncode == finalized_run.TIMED_OUT
    assert asked == [1, 1]
