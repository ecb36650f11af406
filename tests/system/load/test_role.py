"""A run that cannot start leaves no process behind."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests import forked
from tests.simulator_process import ROOT


def ended(program: str, *arguments: str) -> CompletedProcess[str]:
    command = [sys.executable, "-c", program, *arguments]
    return forked.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


STANDALONE = """
import sys
from pathlib import Path
from types import SimpleNamespace
import gevent
from gevent.event import Event
from bench.load.runners import leader
from bench.load.runners.finalized_run import FinalizedRun
from bench.load.runners.role import Workers
from bench.load.runners.role import CurrentRun
from bench.load.lifecycle import RunStarted, RunState, SignInStarted

how, closing, goes_on, closed = sys.argv[1], Event(), Event(), []

def finalize_run(evaluation, folder, document, stopped, judged):
    closing.set()
    goes_on.wait()
    if how == "fails":
        raise IndexError("a fault of ours")
    closed.append(folder)
    return FinalizedRun("the summary", "", 4)

leader.finalized_run.finalize_run = finalize_run
alone = leader.Leader.__new__(leader.Leader)
alone._check_options = alone._evaluation = None
alone._environment = SimpleNamespace(process_exit_code=None, web_ui=None)
alone.parsed = SimpleNamespace(json=False, stop_timeout=None, run_time=None)
alone._opened_ns = 0
alone.runner = SimpleNamespace(quit=int, stop=int)
alone.run = CurrentRun(folder=Path("run"), document={"workers": 0})
alone._view, alone._upload = SimpleNamespace(say=print, clear=int, in_place=True), None
alone._poll, alone.longest_s, alone.workers = lambda: None, 0.0, Workers()
alone._starting, alone._all_drain = None, False
alone._headless = alone._ends_itself = how != "web"
for event in (SignInStarted(), RunStarted()):
    alone.apply(event)
"""
"""A program with an open run. The finalization of the run waits for `goes_on`."""


KILLED_IN_ITS_CLOSE = (
    STANDALONE
    + """
heartbeat = gevent.spawn(alone.on_test_stop)
closing.wait()
heartbeat.kill()
quitting = gevent.spawn(alone.on_quitting)
gevent.idle()
gevent.idle()
assert not quitting.dead, "the close is not awaited"
goes_on.set()
quitting.join()
assert alone._environment.process_exit_code == (2 if how == "fails" else 4), alone._environment.process_exit_code
assert how == "fails" or (closed, alone.run.summary) == ([Path("run")], "the summary"), closed
"""
)


@pytest.mark.parametrize("how", ["ends", "fails"])
def test_a_run_is_closed_once_if_the_closing_greenlet_is_killed(
    how: str,
) -> None:
    process = ended(KILLED_IN_ITS_CLOSE, how)

    assert process.returncode == 0, process.stderr


ENDED_DURING_ITS_START = (
    STANDALONE
    + """
from bench.load.lifecycle import SignalReceived
alone.run.started = Event()
alone.apply(SignalReceived())
ending = gevent.spawn(alone.on_test_stop)
gevent.idle()
gevent.idle()
assert not closing.is_set(), "the run is closed before its start has ended"
alone.run.started.set()
goes_on.set()
ending.join()
assert (closed, alone._environment.process_exit_code) == ([Path("run")], 4), closed
"""
)


def test_a_run_that_a_signal_ends_during_its_start_is_closed_after_the_start() -> None:
    """Otherwise its sessions have no records yet, and count as those of a missing worker."""
    process = ended(ENDED_DURING_ITS_START, "ends")

    assert process.returncode == 0, process.stderr


STARTED_AGAIN = (
    STANDALONE
    + """
starts = []
def start():
    starts.append(list(closed))
    alone.apply(SignInStarted())
    alone.apply(RunStarted())
alone._start = start
first = alone.run
stop = gevent.spawn(lambda: (alone.on_test_stopping(), alone.on_test_stop()))
closing.wait()
again = gevent.spawn(alone.on_test_start)
gevent.idle()
gevent.idle()
goes_on.set()
gevent.joinall([stop, again])
assert starts == [[Path("run")]], starts
states = first.lifecycle.state, alone.run.lifecycle.state
assert states == (RunState.REPORTED, RunState.RUNNING), states
"""
)


def test_a_run_started_during_the_report_of_the_last_one_waits() -> None:
    process = ended(STARTED_AGAIN, "web")

    assert (process.returncode, process.stdout) == (0, "the summary\n"), process.stderr


STARTED_BY_LOCUST = (
    STANDALONE
    + """
from locust import LoadTestShape, User
from locust.env import Environment
from locust.runners import STATE_SPAWNING
from bench.load.planning.stages import LoadSchedule, LoadStage
from bench.load.runners import role

class Caller(User):
    wait_time = tasks = None
    def run(self):
        gevent.sleep(1e9)
    def stop(self, force=False):
        self.group.killone(self._greenlet, block=False)

schedule = LoadSchedule("sessions", 2, (LoadStage(3, 2), LoadStage(1e9, 4)))
environment = Environment(user_classes=[Caller], shape_class=leader.StagesShape(schedule))
alone.runner = environment.create_local_runner()
alone.parsed.headless, alone.parsed.run_time = True, None
alone._environment, alone._headless, alone._ran = environment, False, False
alone.run, alone.planned = CurrentRun(), SimpleNamespace(targets=(), mcp_tokens={})
role.warm_up, door, starts = (lambda plan: None), Event(), []
role.Keyring = lambda targets, *, mcp_tokens, incident: SimpleNamespace(close=int)
role.sign_in = lambda keyring, say: door.wait()
def start_load(keyring):
    starts.append(1)
    alone.run.folder, alone.run.document = Path("run"), {"workers": 0}
    alone.apply(RunStarted())
alone._start_load, alone.prepare = start_load, int
environment.events.test_start.add_listener(alone.on_test_start)

def until(is_reached):
    while not is_reached():
        gevent.sleep(0)
alone.runner.start(2, 100)
until(lambda: alone.run.state is RunState.SIGNING_IN)
"""
)
"""A program in which Locust's own runner starts a run with a shape, whose sign-in waits for `door`."""


def test_a_change_of_the_load_while_a_run_starts_starts_no_second_run() -> None:
    """A shape, a key of the terminal and the web UI's button start Locust's runner again."""
    program = """
for users in (3, 4):
    alone.runner.start(users, 100)
    gevent.idle()
door.set()
until(lambda: alone.runner.user_count == 4)
print(starts, closed, alone.run.state.name)
"""
    process = ended(STARTED_BY_LOCUST + program, "web")

    assert process.stdout == "[1] [] RUNNING\n", process.stdout + process.stderr


def test_the_time_of_a_shape_begins_when_its_run_has_started() -> None:
    program = """
shape = environment.shape_class
ticks = []
shape.start_time -= 3600  # the start takes an hour
asked = gevent.spawn(lambda: ticks.append(shape.tick()))
gevent.idle()
print(ticks)
door.set()
asked.join()
print(ticks, shape.tick() == ticks[0])
"""
    process = ended(STARTED_BY_LOCUST + program, "web")

    assert process.stdout == "[]\n[(2, 4)] True\n", process.stdout + process.stderr


def test_a_run_time_begins_when_the_run_has_started() -> None:
    program = """
alone.parsed.run_time, alone._ends_itself, environment.shape_class = 1, True, None
monitor = SimpleNamespace(has_time_left=True, is_early=False)
stopping = gevent.spawn(alone.on_test_stopping)  # Locust's timer
gevent.idle()
assert alone.run.state is RunState.SIGNING_IN
alone.run.monitor = monitor
door.set()
alone._starting.join()
for _ in range(3):
    gevent.idle()
assert alone.run.state is RunState.RUNNING
monitor.has_time_left = False
stopping.join()
print(alone.run.state.name)
"""
    process = ended(STARTED_BY_LOCUST + program, "web")

    assert process.stdout == "DRAINING\n", process.stdout + process.stderr


def test_a_run_that_a_visitor_stops_while_it_starts_ends() -> None:
    """A master's runner has not started then, so its stop sends no event."""
    program = """
role.LOOK_S = 0
goes_on.set()
alone.runner.spawning_greenlet.kill()
door.set()
until(lambda: closed)
print(starts, closed)
"""
    process = ended(STARTED_BY_LOCUST + program, "web")

    assert process.stdout == "the summary\n[1] [PosixPath('run')]\n", process.stderr


ENDED_DURING_SIGN_IN = (
    STANDALONE
    + """
from bench.load.lifecycle import SignalReceived
from bench.load.runners import role
door, closes, starts = Event(), [], []
role.Keyring = lambda targets, *, mcp_tokens, incident: SimpleNamespace(close=lambda: closes.append(1))
role.sign_in = lambda keyring, say: door.wait()
role.warm_up, alone.run = (lambda plan: None), CurrentRun()
alone.planned = SimpleNamespace(targets=(), mcp_tokens={})
alone._start = lambda: starts.append(alone._signed_in())
start = gevent.spawn(alone.on_test_start)
while alone.run.lifecycle.state is not RunState.SIGNING_IN:
    assert not start.ready(), start.exception
    gevent.sleep(0)
alone.apply(SignalReceived()) if how == "a signal" else alone.on_test_stopping()
door.set()
start.join()
alone.on_quitting()
assert (starts, closes, closed) == ([None], [1], []), (starts, closes, closed)
print(alone._environment.process_exit_code)
"""
)


@pytest.mark.parametrize(
    ("how", "why", "status"),
    [("a signal", "interrupted", 130), ("the time", "its time was over, or it was stopped", 2)],
)
def test_a_run_that_ends_during_its_sign_in_reports_it_and_does_not_begin(
    how: str, why: str, status: int
) -> None:
    process = ended(ENDED_DURING_SIGN_IN, how)

    expected = f"the run did not start: {why}; no session was opened"
    assert process.stdout == f"{expected}\n{status}\n", process.stderr


DRAINED = """
import sys
from pathlib import Path
from types import SimpleNamespace
import gevent
from locust.runners import WorkerNodes
from bench.load.runners import connected_workers as module
from bench.load.runners.leader import Leader
from bench.load.runners.role import CurrentRun
from bench.load.lifecycle import RunStarted, SignInStarted
from bench.load.execution.progress import ProgressReport
from bench.record.replica import PartReplica

how, folder, said, nodes = sys.argv[1], Path(sys.argv[2]), [], WorkerNodes()
nodes["far"] = SimpleNamespace(id="far", state="missing" if how == "missing" else "running")
master = Leader.__new__(Leader)
master.workers = workers = module.ConnectedWorkers.__new__(module.ConnectedWorkers)
master.runner = workers._runner = SimpleNamespace(clients=nodes, send_message=lambda kind, data: None, quit=int)
workers._leader, master._headless, master.parsed = master, True, SimpleNamespace(stop_timeout=None, run_time=None)
master._opened_ns, master._ends_itself = 0, True
open_ones = 1 if how == "plays on" else 0
totals = SimpleNamespace(last=lambda number: ProgressReport(sessions_open=open_ones))
monitor = SimpleNamespace(totals=totals)
master.run, workers._members, master.longest_s = CurrentRun(folder=folder, monitor=monitor), {"far": 7}, 1e9
master._view = SimpleNamespace(say=said.append)
workers._replicas, workers._drained = {7: PartReplica(folder, 7, b"key")}, set()
workers._disk_is_full = how == "disk is full"
module.messages.WORKERS_CLOSE_S = 0.3
(folder / "spool").mkdir()
for event in (SignInStarted(), RunStarted()):
    master.apply(event)
ended = gevent.with_timeout(3.0, master.on_test_stopping, timeout_value="still draining")
print(ended, *said, master.run.lifecycle.reason)
"""
"""A program with a worker on another host. The worker does not send all records."""


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (
            "ships",
            "None not all records were received within 0 s after the last session (workers: 7)",
        ),
        ("plays on", "still draining"),
        (
            "missing",
            "None the run ends early: the last worker went missing the last worker went missing",
        ),
        ("disk is full", "None \n"),
    ],
)
def test_a_master_waits_for_records_for_at_most_its_limit(
    how: str, expected: str, tmp_path: Path
) -> None:
    process = ended(DRAINED, how, str(tmp_path))

    assert process.stdout.startswith(expected), process.stdout + process.stderr


IDLE = """
import sys
from pathlib import Path
from types import SimpleNamespace
from locust.runners import WorkerNodes
from bench.load.runners import connected_workers as module
from bench.record.spool import Spool, parts

folder, nodes = Path(sys.argv[1]), WorkerNodes()
for number, state in enumerate(("missing", "missing", "missing", "running", "running")):
    nodes[str(number)] = SimpleNamespace(id=str(number), state=state)
workers = module.ConnectedWorkers.__new__(module.ConnectedWorkers)
workers._runner = SimpleNamespace(clients=nodes)
workers._members = {str(number): number for number in range(5)}
workers._drained = {"3"}
workers._leader = SimpleNamespace(run=SimpleNamespace(document={"remote": [{"worker": 1, "host": "far"}]}))
(folder / "spool").mkdir()
Spool(folder, 2).replace("facts.json", b"{}")
workers.record_idle(folder)
print([(part.worker, part.facts.done) for part in parts(folder)])
"""
"""A program with workers that are missing here, on another host and with data, that have drained,
and that have not.
"""


def test_a_worker_that_ended_on_this_host_before_its_first_session_has_no_missing_turns(
    tmp_path: Path,
) -> None:
    process = ended(IDLE, str(tmp_path))

    assert process.stdout == "[(0, True), (2, False), (3, True)]\n", process.stderr


CONNECTED_EARLY = """
from types import SimpleNamespace
from locust.runners import WorkerNode, WorkerNodes
from bench.load.runners import connected_workers as module

nodes = WorkerNodes()
nodes["early"] = WorkerNode("early")
workers = module.ConnectedWorkers.__new__(module.ConnectedWorkers)
workers._runner = SimpleNamespace(clients=nodes)
workers._leader = SimpleNamespace(
    parsed=SimpleNamespace(expect_workers=1, expect_workers_max_wait=0),
    planned=SimpleNamespace(options=SimpleNamespace(worker_timeout_s=20.5)),
)
workers.open()
print(nodes["early"].heartbeat)
"""
"""A program with a worker that connected while its master still read the options of the run."""


def test_a_worker_that_connects_early_is_missing_after_the_same_time_as_any_other() -> None:
    process = ended(CONNECTED_EARLY)

    assert process.stdout == "21\n", process.stdout + process.stderr


UNWRITABLE = """
import signal
import sys
from types import SimpleNamespace
from bench.load.runners import worker as module
from bench.load.runners.role import CurrentRun
from bench.load.lifecycle import RunLifecycle, RunState

sent, said, handlers = [], [], []
signal.signal = lambda number, handler: handlers.append(number)
module.spool.is_reached = lambda folder, host: sys.argv[1] == "here"
module.host_name = lambda: "far"
worker = module.Worker.__new__(module.Worker)
worker._environment, worker._view = SimpleNamespace(process_exit_code=None), SimpleNamespace(say=said.append)
worker._headless = worker._ends_itself = True
worker._starting = None
handed = {"run_id": "run", "folder": "run", "host": "red", "members": {"me": 3}}
worker._ended_run = ""
worker.parsed, worker.run = SimpleNamespace(rtbench_run=handed), CurrentRun(RunLifecycle(leads=False))
worker.runner = SimpleNamespace(client_id="me", send_message=lambda *message: sent.append(message))
def take_part(handed):
    raise OSError(28, "No space left on device")
worker._join_run = take_part
worker.on_test_start()
assert (said, worker.run.lifecycle.state) == ([], RunState.REPORTED), said
((kind, request),) = sent
print(kind, request["problem"])
"""


@pytest.mark.parametrize(("where", "named"), [("here", ""), ("elsewhere", " (worker 3, on far)")])
def test_a_worker_that_cannot_write_its_files_ends_the_run(where: str, named: str) -> None:
    process = ended(UNWRITABLE, where)

    expected = (
        "cannot write the run folder: No space left on device; free disk space, or set another"
        " folder with --runs-dir"
    )
    assert process.stdout == f"rtbench_refused {expected}{named}\n", process.stderr
