"""A run that cannot start leaves nothing behind that goes on."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bench.load.playing.live import CUT_S
from tests import forked
from tests.simulator_process import ROOT

REFUSED = """
import socket, sys
from pathlib import Path
from types import SimpleNamespace
from bench.clock import monotonic_ns
from bench.errors import RtbenchError
from bench.load.leading import leader, role as common, worker
from bench.run.document import SCHEMA_VERSION
from bench.run.folder import write_document
from bench.installation import tool_version
from bench.protocol.dialects import DIALECTS
from bench.protocol.openai_ga import GA
from bench.target.credentials import Credential
from bench.target.identity import Token
from bench.target.target import Entra, Target
from bench.transport.interface import NetworkPath
from bench.target.tokens import Keyring

role, folder = sys.argv[1], sys.argv[2]
opened, closed, said = [], [], []

def fetch(way, retries):
    return Token(Credential("Authorization", "a-token-of-ours", "Bearer"), monotonic_ns() + 10**12, "Issuer")

class Watched(Keyring):
    def __init__(self, targets, incident):
        super().__init__(targets, incident=incident, fetch=fetch)
    def open(self):
        super().open()
        opened.append(self)
    def close(self):
        super().close()
        closed.append(self)

path = NetworkPath(client_cert=Path(folder) / "nowhere.pem")
target = Target("here", "127.0.0.1", 1, True, "/x", GA, "azure", Entra("a-scope"), network_path=path)
common.Keyring = Watched
options = SimpleNamespace(headless=True, worker_timeout="30", rtbench_run={
    "run_id": "run", "folder": folder, "host": socket.gethostname(), "identity": {"version": tool_version()},
    "slot": {"started_utc_ns": 1, "began_ns": 1}, "members": {"me": 0}, "clocks": {},
})
kind = worker.Worker if role == "worker" else leader.Alone
runs = kind.__new__(kind)
runs._environment, runs._parsed = SimpleNamespace(), options
runs._runner = SimpleNamespace(client_id="me")
runs._ran, runs._given, runs._master = False, {}, worker.link.Lifeline()
runs._current = SimpleNamespace(ending="", signing_in=False)
runs._view = SimpleNamespace(say=said.append)
(Path(folder) / "spool").mkdir()
write_document(Path(folder), {"schema": SCHEMA_VERSION, "state": "running"})
runs._planned = SimpleNamespace(
    targets=(target,), plays={"here": {}}, connect_rates=[None], warmup_s=0.0, identity={}
)
runs.prepare = lambda: None
runs.refuse = said.append
try:
    runs._start()
except RtbenchError as error:
    said.append(str(error))
assert "nowhere.pem" in said[0], said
assert opened and closed == opened, (opened, closed)
"""


PREPARED = """
import json
from pathlib import Path
from types import SimpleNamespace
from gevent.lock import RLock
from bench.load.leading import leader, role

role.check_descriptors = lambda concurrency: None
waited = []
for users, stop_timeout in (("ours", None), ("ours theirs", None), ("ours", 5)):
    alone = leader.Alone.__new__(leader.Alone)
    alone._environment = SimpleNamespace(user_classes=users.split(), stop_timeout=stop_timeout)
    alone._parsed = SimpleNamespace(headless=False, stop_timeout=stop_timeout)
    alone._current, alone._closing = role.RunState(), RLock()
    alone._plan = lambda: SimpleNamespace(
        concurrency=None, options=SimpleNamespace(runs_dir=Path("runs")), user_classes={"ours"}, longest_turn_s=90.0
    )
    alone.prepare()
    waited.append([alone._environment.stop_timeout])
    alone._drain()
    waited[-1].append(alone._environment.stop_timeout)
print(json.dumps(waited))
"""


def test_users_are_left_the_time_of_a_turn_until_turns_were_waited_for_where_all_play_sessions_and_no_time_is_given(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", PREPARED]
    ended = forked.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert ended.stderr == ""
    assert json.loads(ended.stdout) == [[90.0, CUT_S], [None, None], [5, 5]]


CLOSED = """
import sys
from pathlib import Path
from types import SimpleNamespace
from locust.runners import WorkerNodes
from bench.load.leading import master as module
from bench.load.leading.role import RunState
from bench.run import spool

folder, sent, away = Path(sys.argv[1]), [], WorkerNodes()
away["away"] = SimpleNamespace(id="away", state="missing")
master = module.Master.__new__(module.Master)
master._runner = SimpleNamespace(clients=away, send_message=lambda kind, data: sent.append((kind, data)))
master._current, master._members, master._longest_s = RunState(folder=folder), {"away": 0}, 0.0
master._replicas, master._drained, master._disk_is_full = {0: None}, set(), False
module.messages.WORKERS_CLOSE_S = 0.0
(folder / "spool").mkdir()
assert spool.is_kept(folder)
master._drain_sessions()
assert sent == [("rtbench_drain", {"spent": False})], sent
spool.remove(folder)
master._drain_sessions()
assert sent == [("rtbench_drain", {"spent": False})], sent
"""


KILLED_IN_ITS_CLOSE = """
import sys
from pathlib import Path
from types import SimpleNamespace
import gevent
from gevent.event import Event
from gevent.lock import RLock
from bench.load.leading import leader
from bench.load.leading.looks import ClosedRun
from bench.load.leading.role import RunState

how, closing, goes_on, closed = sys.argv[1], Event(), Event(), []

def close_run(folder, document, stopped, judged):
    closing.set()
    goes_on.wait()
    if how == "fails":
        raise IndexError("a fault of ours")
    closed.append(folder)
    return ClosedRun("the summary", "", 4)

leader.close_run = close_run
alone = leader.Alone.__new__(leader.Alone)
alone._check_options = None
alone._environment = SimpleNamespace(process_exit_code=None)
alone._parsed, alone._runner = SimpleNamespace(headless=True, autoquit=-1), SimpleNamespace(quit=int)
alone._current = RunState(folder=Path("run"), document={"workers": 0})
alone._view, alone._closing, alone._upload = SimpleNamespace(say=print, clear=int), RLock(), None
alone._look, alone._longest_s = lambda: None, 0.0
heartbeat = gevent.spawn(alone.on_test_stop)
closing.wait()
heartbeat.kill()
quitting = gevent.spawn(alone.on_quitting)
gevent.idle()
gevent.idle()
assert not quitting.dead, "nobody waits for the close"
goes_on.set()
quitting.join()
assert alone._environment.process_exit_code == (2 if how == "fails" else 4), alone._environment.process_exit_code
assert how == "fails" or (closed, alone._current.summary) == ([Path("run")], "the summary"), closed
"""


@pytest.mark.parametrize("how", ["ends", "fails"])
def test_whatever_kills_who_began_to_close_a_run_it_is_closed_once_and_its_status_is_that_of_its_verdict(
    how: str,
) -> None:
    command = [sys.executable, "-c", KILLED_IN_ITS_CLOSE, how]
    ended = forked.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr


SIGNALLED = """
import sys
from types import SimpleNamespace
import gevent
from bench.load.leading import worker as module
from bench.load.leading.role import DRAINING, RunState

worker, quits = module.Worker.__new__(module.Worker), []
worker._runner = SimpleNamespace(quit=lambda: quits.append(1))
waits = sys.argv[1] == "waits"
worker._current = RunState(live=SimpleNamespace(closed=waits), ending=DRAINING if waits else "")
worker._on_interrupt()
gevent.idle()
assert quits == [1], quits
worker._on_interrupt()
gevent.idle()
assert (quits, worker._current.hurried) == (([1, 1], False) if waits else ([1], True)), quits
"""


@pytest.mark.parametrize("when", ["plays", "waits"])
def test_a_signal_ends_a_worker_also_when_its_run_is_over_and_it_waits_for_another(when: str) -> None:
    ended = forked.run([sys.executable, "-c", SIGNALLED, when], cwd=ROOT, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr


DRAINED = """
import sys
from pathlib import Path
from types import SimpleNamespace
import gevent
from gevent.lock import RLock
from locust.runners import WorkerNodes
from bench.load.leading import master as module
from bench.load.leading.role import RunState
from bench.load.playing.progress import ProgressReport
from bench.run.replica import Replica

how, folder, said, nodes = sys.argv[1], Path(sys.argv[2]), [], WorkerNodes()
nodes["far"] = SimpleNamespace(id="far", state="missing" if how == "missing" else "running")
master = module.Master.__new__(module.Master)
master._runner = SimpleNamespace(clients=nodes, send_message=lambda kind, data: None, quit=int)
master._parsed = SimpleNamespace(headless=True)
open_ones = 1 if how == "plays on" else 0
monitor = SimpleNamespace(spent=False, told_by=lambda number: ProgressReport(sessions_open=open_ones))
master._current, master._members, master._longest_s = RunState(folder=folder, monitor=monitor), {"far": 7}, 1e9
master._view, master._closing = SimpleNamespace(say=said.append), RLock()
master._replicas, master._drained, master._disk_is_full = {7: Replica(folder, 7, b"key")}, set(), how == "disk is full"
module.messages.WORKERS_CLOSE_S = 0.3
(folder / "spool").mkdir()
ended = gevent.with_timeout(3.0, master._drain, timeout_value="still draining")
print(ended, *said, master._current.stopped)
"""
"""A worker on another host, of which not all records come."""


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("ships", "None not all records came within 0 s after the last session (workers: 7)"),
        ("plays on", "still draining"),
        ("missing", "None the run ends early: the last worker went missing the last worker went missing"),
        ("disk is full", "None \n"),
    ],
)
def test_a_master_waits_for_records_no_longer_than_it_says_once_the_last_session_is_over(
    how: str, said: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", DRAINED, how, str(tmp_path)]
    ended = forked.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert ended.stdout.startswith(said), ended.stdout + ended.stderr


def test_workers_that_are_away_are_not_waited_for_again_once_their_run_is_closed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CLOSED, str(tmp_path)]
    ended = forked.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("role", ["alone", "worker"])
def test_where_a_run_is_refused_after_signing_in_nobody_renews_tokens_any_more(role: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", REFUSED, role, str(tmp_path)]
    ended = forked.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr
