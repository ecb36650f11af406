"""The port of a master, to which any process may send any data."""

from __future__ import annotations

import subprocess
import sys

from tests.simulator_process import ROOT
from tests.system.end_to_end.locust_process import GUARD_S

HEARD = """
import random
import gevent
import zmq.green as zmq
from locust import log
from locust.env import Environment
from locust.event import Events
from locust.stats import RequestStats, setup_distributed_stats_event_listeners
from locust.rpc import Message, rpc
from bench.load.runners import messages

messages.accept_workers_only()
runner = Environment().create_master_runner("127.0.0.1", 0)
taken = []
for kind in messages.OF_WORKERS:
    messages.subscribe(runner, kind, lambda client, data: taken.append((client, data)))

def client(name):
    return rpc.Client("127.0.0.1", runner.server.port, name)

def wait_for(happened):
    with gevent.Timeout(60):
        while not happened():
            gevent.sleep(0.01)

worker = client("a-worker")
worker.send(Message("client_ready", -1, "a-worker"))
wait_for(lambda: "a-worker" in runner.clients)

def garbage(name):
    deep = b"\\x91" * 5000
    chance = random.Random(name)
    yield from (b"", b"\\xc1", b"\\x93", b"\\x05", deep, deep + b"\\xc0", b"\\xff" * 9)
    yield from (chance.randbytes(chance.randrange(40)) for _ in range(200))
    for said in (
        ([], None, name), ({}, None, name), (5, None, name), ("heartbeat", None, []), ("heartbeat", None, 7),
        ("client_ready", {"a": 1}, name), ("client_ready", 7.5, name), ("no such", None, name),
        ("quit", None, "a-worker"), ("client_stopped", None, "a-worker"), ("heartbeat", None, "a-worker"),
        ("stats", {"user_classes_count": 7}, "a-worker"), ("exception", {"msg": "x", "traceback": "y"}, name),
        ("locustfile", None, name), ("locustfile", {"version": 7}, name),
        ("stats", {"__datetime__": True, "as_str": "?"}, name), ("stats", {"__ObjectId__": True}, name),
        *((kind, held, who) for kind in messages.OF_WORKERS for held in (None, 7, []) for who in (name, "a-worker")),
    ):
        yield Message(*said).serialize()

sent = 0
for name in ("a-stranger", ""):
    context = zmq.Context.instance()
    stranger = context.socket(zmq.DEALER)
    if name:
        stranger.setsockopt(zmq.IDENTITY, name.encode())
    stranger.connect(f"tcp://127.0.0.1:{runner.server.port}")
    for frame in garbage(name):
        stranger.send(frame)
        sent += 1
    stranger.send_multipart([b"", b"", b""])
    sent += 1
wait_for(lambda: messages.IGNORED.count >= sent)
def report(requests):
    reported = RequestStats()
    setup_distributed_stats_event_listeners(of_worker := Events(), reported)
    for number in range(requests):
        reported.log_request("WSR", "turn", 12.5 + number, 7)
        reported.log_error("WSR", "turn", "timeout")
    data = {"user_classes_count": {"Caller": 1}, "user_count": 1}
    of_worker.report_to_master.fire(client_id="a-worker", data=data)
    return data

def spoilt(name, value):
    return report(3) | {name: value}

entry = {"name": "turn", "method": "WSR"}
malformed = [
    ("heartbeat", None), ("heartbeat", {"state": None, "current_cpu_usage": 1.0}),
    ("heartbeat", {"state": "running", "current_cpu_usage": "x"}), ("spawning_complete", None),
    ("spawning_complete", {"user_classes_count": None}), ("rtbench_progress", {"usd": "x"}),
    ("exception", {"msg": None, "traceback": None}), ("exception", {"msg": "x", "traceback": []}),
    ("logs", None), ("logs", {"worker_id": [], "logs": []}), ("client_ready", None), ("client_ready", {}),
    ("stats", None), ("stats", []), ("stats", 7), ("stats", {}), ("stats", spoilt("stats", None)),
    ("stats", spoilt("stats", [None])), ("stats", spoilt("stats", [entry | {"num_requests": None}])),
    ("stats", spoilt("stats", [entry | {"response_times": None}])), ("stats", spoilt("errors", None)),
    ("stats", spoilt("errors", {"x": {}})), ("stats", spoilt("stats_total", None)),
    ("stats", spoilt("stats_total", report(3)["stats_total"] | {"start_time": None})),
    ("stats", spoilt("user_classes_count", None)), ("stats", spoilt("user_classes_count", {"Caller": None})),
]
for said in malformed:
    worker.send(Message(*said, "a-worker"))
worker.send(Message("heartbeat", {"state": "running", "current_cpu_usage": 1.5, "current_memory_usage": 7}, "a-worker"))
worker.send(Message("stats", report(2), "a-worker"))
worker.send(Message("stats", report(2), "a-worker"))
wait_for(lambda: runner.stats.total.num_requests == 4)
assert messages.IGNORED.count == sent + len(malformed), (messages.IGNORED.count, sent, len(malformed))
assert runner.stats.total.num_failures == 4 and runner.clients["a-worker"].user_classes_count == {"Caller": 1}
assert runner.clients["a-worker"].state == "running" and not log.unhandled_greenlet_exception
worker.send(Message("rtbench_stop", {"reason": "a reason"}, "a-worker"))
wait_for(lambda: taken)
print(taken, sorted(runner.clients), dict(runner.exceptions), messages.IGNORED.count - sent)
"""


def test_messages_of_unknown_senders_are_counted_and_those_of_workers_handled() -> None:
    command = [sys.executable, "-c", HEARD]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=GUARD_S
    )

    expected = "[('a-worker', StopRequested(reason='a reason', spent=False))] ['a-worker'] {}"
    assert ended.stdout.startswith(expected), ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
