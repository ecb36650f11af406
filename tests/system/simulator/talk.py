"""A client of the real simulator."""

from __future__ import annotations

import json
from typing import Any

from websockets.sync.client import ClientConnection

from tests.simulator_process import GUARD_S

CREATE_FRAME = b'\x81\x9a\x00\x00\x00\x00{"type":"response.create"}'


UPGRADE = (
    b"GET /v1/realtime?model=x HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def receive(client: ClientConnection) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(client.recv(timeout=GUARD_S))
    return event


def turn(client: ClientConnection, *events: dict[str, Any]) -> list[dict[str, Any]]:
    """Send the events; return the received events up to and including response.done."""
    for event in events:
        client.send(json.dumps(event))
    seen = [receive(client)]
    while seen[-1]["type"] != "response.done":
        seen.append(receive(client))
    return seen
