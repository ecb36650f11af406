"""A typical Locust file for voice: websocket-client, a greenlet that sends the microphone, `json`
and `base64`.

A chunk is encoded when it is due, as in the examples of the services. Each session speaks, then
sends silence until its reply is over, and speaks again.
"""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import gevent
import soundfile
from locust import User, constant, task
from locust.exception import StopUser
from websocket import WebSocket, create_connection

from tests.simulator_process import AUDIO
from tools.benchmarks.peers.work import FORMAT, SESSION, Work

WORK = Work.given()
CHUNK_S = 0.1
CHUNK_BYTES = 4_800
"""The bytes of a chunk, at 24 kHz."""
INPUT = {"format": FORMAT, "turn_detection": {"type": "server_vad"}}
SETTINGS = SESSION | {"audio": SESSION["audio"] | {"input": INPUT}}
LATE_MS: list[float] = []
"""How late each chunk left, by the clock of this process."""
OPEN_NS: list[tuple[int, int]] = []
"""When each session was ready, and when its last reply was over."""


def speech() -> list[bytes]:
    samples, _ = soundfile.read(AUDIO / "opening_hours.wav", dtype="int16")
    data = samples.tobytes()
    return [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]


class Caller(User):  # type: ignore[misc]  # Locust is not typed
    """One session."""

    wait_time = constant(0)

    @task  # type: ignore[untyped-decorator]
    def call(self) -> None:
        self.ws: WebSocket = create_connection(WORK.url, timeout=60)
        self.receive_until("session.created")
        self.ws.send(json.dumps({"type": "session.update", "session": SETTINGS}))
        self.receive_until("session.updated")
        ready_ns = time.monotonic_ns()
        self.spoken = speech()
        microphone = gevent.spawn(self.record)
        for turn in range(WORK.turns):
            if turn:
                self.spoken = speech()
            self.receive_until("response.done")
        OPEN_NS.append((ready_ns, time.monotonic_ns()))
        microphone.kill()
        self.ws.close()
        if len(OPEN_NS) == WORK.sessions:
            Path(WORK.out).write_text(
                json.dumps({"late_ms": LATE_MS, "open_ns": OPEN_NS}), encoding="utf-8"
            )
            self.environment.runner.quit()
        raise StopUser

    def record(self) -> None:
        due_s = time.monotonic()
        while True:
            chunk = self.spoken.pop(0) if self.spoken else bytes(CHUNK_BYTES)
            audio = base64.b64encode(chunk).decode()
            self.ws.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
            LATE_MS.append((time.monotonic() - due_s) * 1_000)
            due_s += CHUNK_S
            gevent.sleep(max(0.0, due_s - time.monotonic()))

    def receive_until(self, last: str) -> None:
        event: dict[str, Any] = {"type": ""}
        while event["type"] != last:
            event = json.loads(str(self.ws.recv()))
            if event["type"] == "response.output_audio.delta":
                base64.b64decode(event["delta"])
