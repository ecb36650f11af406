"""A typical Locust file: websocket-client, `json.loads` of each message, `base64.b64decode` of each
delta.

The file favours the library in two ways. It reads the clock as soon as `recv` returns, before the
message is decoded. And the clock is perf_counter, not time.
"""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import gevent
from locust import User, constant, events, task
from locust.exception import StopUser
from websocket import WebSocket, create_connection

from tools.benchmarks.peers.work import (
    SessionRecord,
    Work,
    item_create,
    response_create,
    session_update,
    utf8_bytes,
    write_records,
)

WORK = Work.given()
RECORDS: list[SessionRecord] = []


class Caller(User):  # type: ignore[misc]  # Locust is not typed
    """One session."""

    wait_time = constant(0)

    def on_start(self) -> None:
        self.record, self.turn = SessionRecord(), 0
        self.ws: WebSocket = create_connection(
            WORK.url, timeout=60, skip_utf8_validation=not WORK.utf8_check
        )
        self.record.session_id = self.receive_until("session.created")["session"]["id"]
        self.ws.send(json.dumps(session_update()))
        self.receive_until("session.updated")

    @task  # type: ignore[untyped-decorator]
    def start_turn(self) -> None:
        self.turn += 1
        self.ws.send(json.dumps(item_create(self.turn)))
        requested_ns = time.perf_counter_ns()
        self.record.requested.append(requested_ns)
        self.ws.send(json.dumps(response_create()))
        first_ns, audio = 0, bytearray()
        while (event := self.receive())["type"] != "response.done":
            if event["type"] == "response.output_audio.delta":
                first_ns = first_ns or self.record.stamps[-1]
                audio += base64.b64decode(event["delta"])
        self.environment.events.request.fire(
            request_type="realtime",
            name="time to first audio",
            response_time=(first_ns - requested_ns) / 1e6,
            response_length=len(audio),
            exception=None,
            context={},
        )
        if self.turn == WORK.turns:
            self.leave()

    def receive(self) -> dict[str, Any]:
        message = str(self.ws.recv())  # a type check: the service sends text
        self.record.message(time.perf_counter_ns(), utf8_bytes(message))
        event: dict[str, Any] = json.loads(message)
        return event

    def receive_until(self, last: str) -> dict[str, Any]:
        while (event := self.receive())["type"] != last:
            pass
        return event

    def leave(self) -> None:
        self.ws.close()
        RECORDS.append(self.record)
        if len(RECORDS) == WORK.sessions:
            gevent.spawn(self.environment.runner.quit)
        raise StopUser


@events.test_stop.add_listener  # type: ignore[untyped-decorator]
def write(**_: object) -> None:
    write_records(WORK.out, RECORDS)
