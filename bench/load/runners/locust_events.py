"""Binds the role of a process to Locust's events, from its start to its stop.

    init             options and scripts are checked; what the user can mend ends the process with one line and status 2
    test_start       signed in; a run folder; a LiveRun wherever users run (standalone, or in each worker)
    spawning_complete  how many users of this process there are, to take the calls that arrive
    test_stopping    waits until the run is drained: no new turns, those in flight end by their own limits
    test_stop        waits until the folder is closed and reported, in a child process
    quitting         the same, for an end that skips test_stop, and before Locust decides on its exit code
    quit             our summary, after all that Locust prints

What the process is (standalone, a master or a worker) is asked once, at init.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

import gevent
from locust import events
from locust.exception import RPCError
from locust.runners import MasterRunner, WorkerRunner

from bench.errors import USAGE_STATUS, RtbenchError, each_error
from bench.load.planning.run_options import Environment, add_options, fork_for_allowed_cores, stay_on_loopback
from bench.load.runners import messages, worker_link
from bench.load.runners.leader import Standalone
from bench.load.runners.master import Master
from bench.load.runners.role import ProcessRole
from bench.load.runners.worker import Worker

BIND_FAILURE = "Socket bind failure:"
"""As Locust says that the port of a master is in use."""
REGISTERED = "_rtbench_registered"
"""Attribute of Locust's events once this process is bound to them: they outlive a module that is imported again."""


def role_of(environment: Environment) -> ProcessRole:
    if isinstance(environment.runner, MasterRunner):
        return Master(environment)
    return Worker(environment) if isinstance(environment.runner, WorkerRunner) else Standalone(environment)


def _on_init(environment: Any, **_: Any) -> None:
    environment.rtbench = role = role_of(environment)
    try:
        role.open()
    except RtbenchError as error:
        for each in each_error(error):
            role.say(str(each))
        role.give_up()
    gevent.get_hub().loop.update_now()  # Locust counts `-t` from when its loop last looked at the clock
    role.take_the_screen()
    for name in ("test_start", "spawning_complete", "test_stopping", "test_stop", "quitting", "quit"):
        getattr(environment.events, name).add_listener(getattr(role, f"on_{name}"))


def say_in_a_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say what Locust ends with before any run, where the user can mend it; all else is shown as Python shows it."""
    if not isinstance(error, RPCError) or BIND_FAILURE not in str(error):
        sys.__excepthook__(kind, error, trace)
        return
    why = str(error).partition(BIND_FAILURE)[2].strip()
    print(f"rtbench: the master cannot listen: {why}; choose --master-bind-port", file=sys.stderr)
    raise SystemExit(USAGE_STATUS)


def register() -> None:
    """Bind this process to Locust's events. Calls after the first change nothing, even of a second import of ours."""
    if hasattr(events, REGISTERED):
        return
    setattr(events, REGISTERED, True)
    sys.excepthook = say_in_a_line
    messages.accept_workers_only()  # before there is one
    worker_link.tie_forks()  # else a worker looks for a dead master for minutes
    for listener in (add_options, stay_on_loopback, fork_for_allowed_cores):
        events.init_command_line_parser.add_listener(listener)
    events.init.add_listener(_on_init)
