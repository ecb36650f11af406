"""A master's port, to which anybody may send anything."""

from __future__ import annotations

import subprocess
import sys

from tests.simulator_process import ROOT
from tests.system.end_to_end.locust_process import GUARD_S

HEARD = """
import random
import gevent
import zmq.green as zmq
from locust.env import Environment
from locust.rpc import Message, rpc
from bench.load.leading import messages

messages.keep_port()
runner = Environment().create_master_runner("127.0.0.1", 0)
taken = []
for kind in messages.OF_WORKERS:
    messages.take_messages(runner, kind, lambda client, data: taken.append((client, data)))

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
for said in (("heartbeat", None), ("spawning_complete", None), ("rtbench_standing", {"standing": {"usd": "x"}})):
    worker.send(Message(*said, "a-worker"))
wait_for(lambda: messages.IGNORED.count >= sent + 3)
worker.send(Message("rtbench_stop", {"reason": "a reason"}, "a-worker"))
wait_for(lambda: taken)
print(taken, sorted(runner.clients), dict(runner.exceptions), messages.IGNORED.count - sent)
"""


def test_whatever_strangers_send_the_workers_are_heard_and_the_rest_is_counted() -> None:
    command = [sys.executable, "-c", HEARD]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=GUARD_S)

    heard = "[('a-worker', {'reason': 'a reason'})] ['a-worker'] {}"
    assert ended.stdout.startswith(heard), ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
