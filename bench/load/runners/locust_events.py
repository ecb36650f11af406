"""The binding of a process's role to Locust's events, from the start of the process to its end.

These events are handled:

    init             checks options and scripts; if the user must fix something, prints one line
                     and ends with status 2
    test_start       signs in, makes a run folder, and makes a LiveRun in processes with users
                     (standalone, workers)
    spawning_complete
                     counts the users of this process, who take the calls that arrive
    test_stopping    waits until the run is drained: no new turns start, and open turns end by their
                     own limits
    test_stop        waits until a child process has closed and reported the folder
    quitting         does the same if there was no test_stop, and before Locust determines its exit
                     status
    quit             prints our summary, after all output of Locust

The role (standalone, master or worker) is determined once, at init.
"""

import sys
from functools import partial
from types import TracebackType
from typing import Any

import gevent
from gevent.hub import Hub
from locust import events
from locust.exception import RPCError
from locust.runners import MasterRunner, WorkerRunner

from bench.base import standard_streams
from bench.base.errors import USAGE_STATUS, RtbenchError, each_error
from bench.load.planning.run_options import (
    Environment,
    add_options,
    fork_for_allowed_cores,
    stay_on_loopback,
)
from bench.load.runners import messages, worker_link
from bench.load.runners.connected_workers import ConnectedWorkers
from bench.load.runners.evaluation import Evaluation
from bench.load.runners.leader import Leader
from bench.load.runners.monitor import print_log_in
from bench.load.runners.role import ProcessRole
from bench.load.runners.worker import Worker

BIND_FAILURE = "Socket bind failure:"
"""The text with which Locust's error begins if a master's port is in use."""
NO_WEIGHT = "There are no users with weight > 0"
"""The text with which Locust's error begins if each user class has the weight 0."""
REGISTERED = "_rtbench_registered"
"""An attribute that is set on Locust's events when this process is bound to them.

It still exists if this module is imported again.
"""


def role_of(environment: Environment, evaluation: Evaluation) -> ProcessRole:
    if isinstance(environment.runner, WorkerRunner):
        return Worker(environment)
    leader = Leader(environment, evaluation)
    if isinstance(environment.runner, MasterRunner):
        leader.workers = ConnectedWorkers(leader)
    return leader


def _on_init(evaluation: Evaluation, environment: Any, **_: Any) -> None:
    environment.rtbench = role = role_of(environment, evaluation)
    try:
        role.open()
    except RtbenchError as error:
        for problem in each_error(error):
            role.say(str(problem))
        role.workers.dismiss()
        sys.exit(USAGE_STATUS)
    # Locust measures `-t` from the last time at which its loop read the clock
    gevent.get_hub().loop.update_now()
    if role.screen is not None:
        print_log_in(role.screen)
    for name in (
        "test_start",
        "spawning_complete",
        "test_stopping",
        "test_stop",
        "quitting",
        "quit",
    ):
        getattr(environment.events, name).add_listener(getattr(role, f"on_{name}"))


def report_error(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print one line if the error means that a port is in use, or that no class gets users. Print
    any other exception as Python does.
    """
    if isinstance(error, RPCError) and BIND_FAILURE in str(error):
        reason = str(error).partition(BIND_FAILURE)[2].strip()
        problem = f"the master cannot listen: {reason}; set another port with --master-bind-port"
    elif isinstance(error, ValueError) and str(error).startswith(NO_WEIGHT):
        problem = (
            "no class of the Locust file gets users: set `weight` of one of them to more than 0, or"
            " a fixed_count"
        )
    else:
        sys.__excepthook__(kind, error, trace)
        return
    print(f"rtbench: {problem}", file=sys.stderr)
    raise SystemExit(USAGE_STATUS)


def register(evaluation: Evaluation) -> None:
    """Bind this process to Locust's events. `evaluation` evaluates its runs. Only the first call
    has an effect, even after a repeated import.
    """
    if hasattr(events, REGISTERED):
        return
    setattr(events, REGISTERED, True)
    sys.excepthook = report_error
    # otherwise gevent prints Ctrl-C as an error
    Hub.NOT_ERROR = (*Hub.NOT_ERROR, KeyboardInterrupt)
    messages.accept_workers_only()  # before a master exists
    worker_link.tie_forks()  # otherwise a worker searches for a dead master for minutes
    # before Locust prints or logs
    events.init_command_line_parser.add_listener(lambda **_: standard_streams.prepare())
    for listener in (add_options, stay_on_loopback, fork_for_allowed_cores):
        events.init_command_line_parser.add_listener(listener)
    events.init.add_listener(partial(_on_init, evaluation))
