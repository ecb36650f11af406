"""The work, the messages and the report that all clients share. The module has no clock, no
socket and no library.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

VARIABLE = "BENCHMARK_WORK"
"""The environment variable with the work of a client."""
FORMAT = {"type": "audio/pcm", "rate": 24_000}
SESSION: dict[str, Any] = {
    "type": "realtime",
    "output_modalities": ["audio"],
    "audio": {"input": {"format": FORMAT, "turn_detection": None}, "output": {"format": FORMAT}},
}


@dataclass(frozen=True)
class Work:
    """`sessions` concurrent sessions of `turns` text turns; they are opened evenly over `ramp_s`
    seconds.
    """

    url: str
    sessions: int
    turns: int
    ramp_s: float
    out: str
    """The file for the report."""
    utf8_check: bool = True
    """True if websocket-client checks that received text is UTF-8; other clients ignore it."""

    @staticmethod
    def given() -> Work:
        """Return the work in this process's environment."""
        return Work(**json.loads(os.environ[VARIABLE]))

    def environment(self) -> dict[str, str]:
        return {VARIABLE: json.dumps(asdict(self))}

    def opens_after_s(self, number: int) -> float:
        """Return the time in s, after the start, at which session `number` (counted from 0) is
        due to be opened.
        """
        return number * self.ramp_s / self.sessions


def words(turn: int) -> str:
    """Return the caller's text in a turn, counted from 1."""
    return f"Turn {turn}."


def item(turn: int) -> dict[str, Any]:
    return {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": words(turn)}],
    }


def session_update() -> dict[str, Any]:
    return {"type": "session.update", "session": SESSION}


def item_create(turn: int) -> dict[str, Any]:
    return {"type": "conversation.item.create", "item": item(turn)}


def response_create() -> dict[str, Any]:
    return {"type": "response.create"}


@dataclass(slots=True)
class SessionRecord:
    """The report of a client on one session. All instants are from the client's clock,
    CLOCK_MONOTONIC in ns.

    `stamps`: the arrival of each message, from session.created to the last response.done, in order.
    `wire_bytes`: the length of the frames of these messages. `requested`: the instant before each
    response.create was sent.
    """

    session_id: str = ""
    stamps: array[int] = field(default_factory=lambda: array("q"))
    wire_bytes: int = 0
    requested: array[int] = field(default_factory=lambda: array("q"))

    def message(self, at_ns: int, payload_bytes: int) -> None:
        self.stamps.append(at_ns)
        self.wire_bytes += frame_bytes(payload_bytes)


def frame_bytes(payload_bytes: int) -> int:
    """Return the length of a server's frame with its header (RFC 6455 §5.2)."""
    if payload_bytes < 126:
        return payload_bytes + 2
    return payload_bytes + (4 if payload_bytes < 65_536 else 10)


def utf8_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def write_records(path: str, sessions: Sequence[SessionRecord]) -> None:
    """Replace the file in one step, so that a reader that waits for the file finds it complete."""
    rows = [
        {
            "session_id": s.session_id,
            "stamps": list(s.stamps),
            "wire_bytes": s.wire_bytes,
            "request_sent": list(s.requested),
        }
        for s in sessions
    ]
    partial = Path(path + ".part")
    partial.write_text(json.dumps(rows), encoding="utf-8")
    partial.replace(path)


def read_records(path: Path) -> list[SessionRecord]:
    return [
        SessionRecord(
            row["session_id"],
            array("q", row["stamps"]),
            row["wire_bytes"],
            array("q", row["request_sent"]),
        )
        for row in json.loads(path.read_text(encoding="utf-8"))
    ]
