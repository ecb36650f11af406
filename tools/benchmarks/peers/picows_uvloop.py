"""A client that gives a lower bound of the cost. picows on uvloop parses frames in C.

The client decodes only the type of a message, and records nothing else.
"""

from __future__ import annotations

import asyncio
import json
import time

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from tools.benchmarks.peers.work import (
    SessionRecord,
    Work,
    item_create,
    response_create,
    session_update,
    write_records,
)

TYPE_STARTS = len('{"type":"')
TYPE_ENDS = 64  # longer than any type


class Caller(WSListener):
    """One session; `done` is set after its last turn."""

    def __init__(self, turns: int) -> None:
        super().__init__()
        self.record, self.turn, self.turns = SessionRecord(), 0, turns
        self.done = asyncio.get_running_loop().create_future()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT or self.done.done():
            return
        payload = frame.get_payload_as_memoryview()
        self.record.message(time.perf_counter_ns(), len(payload))
        kind = type_of(payload)
        if kind == b"response.done" or kind == b"session.updated":
            self.next_turn(transport)
        elif kind == b"session.created":
            self.record.session_id = json.loads(bytes(payload))["session"]["id"]
            transport.send(WSMsgType.TEXT, json.dumps(session_update()).encode())

    def next_turn(self, transport: WSTransport) -> None:
        self.turn += 1
        if self.turn > self.turns:
            self.done.set_result(None)
            transport.send_close()
            return
        transport.send(WSMsgType.TEXT, json.dumps(item_create(self.turn)).encode())
        self.record.requested.append(time.perf_counter_ns())
        transport.send(WSMsgType.TEXT, json.dumps(response_create()).encode())


def type_of(payload: memoryview) -> bytes:
    """Return the type of an event, which the service writes first."""
    return bytes(payload[TYPE_STARTS:TYPE_ENDS]).partition(b'"')[0]


async def main(work: Work) -> None:
    write_records(
        work.out, await asyncio.gather(*(play(work, number) for number in range(work.sessions)))
    )


async def play(work: Work, number: int) -> SessionRecord:
    """Run one session from its due time on."""
    await asyncio.sleep(work.opens_after_s(number))
    transport, caller = await ws_connect(
        lambda: Caller(work.turns), work.url, websocket_handshake_timeout=60
    )
    assert isinstance(caller, Caller)
    await caller.done
    await transport.wait_disconnected()
    return caller.record


if __name__ == "__main__":
    uvloop.run(main(Work.given()))
