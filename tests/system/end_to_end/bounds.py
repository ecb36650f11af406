"""Bounds of each instant of a turn, computed from the simulator's truth log. They hold even on a
busy machine.

Both processes read one clock, so causality gives the order. The simulator sends an event before the
event arrives, and the event has arrived before the client sends its next message, which the
simulator then receives. A microphone delivers a chunk when its last sample is recorded, or later.
The microphone is opened after the service has confirmed the session (or, if it opens for each turn,
after the previous reply), and before the simulator receives the chunk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from bench.base.units import NS_PER_S
from bench.record.replay import ReplayedSession
from bench.wire.audio import AudioFormat

Line = dict[str, Any]
Bounds = tuple[int, int]
FAR_NS = 1 << 62
RATE_HZ = 24_000  # of loaded recordings
FIRST = {
    "speech_started": "input_audio_buffer.speech_started",
    "request_sent": "response.create",
    "response_created": "response.created",
    "response_done": "response.done",
}
LAST = {
    "speech_stopped": "input_audio_buffer.speech_stopped",
    "committed": "input_audio_buffer.committed",
}


@dataclass(frozen=True)
class Message:
    """A message, in the order in which the client recorded it: its line in the simulator's log,
    and its bounds.
    """

    line: Line
    low_ns: int
    high_ns: int

    @property
    def bounds(self) -> Bounds:
        return self.low_ns, self.high_ns


def messages(replayed: ReplayedSession, lines: Sequence[Line]) -> list[Message]:
    """Return the messages of a session.

    `lines`: all lines of this session in the truth log. The client may not have read the last of
    these events.
    """
    ways = {
        way: iter([line for line in lines if line["direction"] == way]) for way in ("out", "in")
    }
    ordered = [
        next(ways["in" if passage.event is None else "out"]) for passage in replayed.passages
    ]
    assert [line["type"] for line in ordered] == [passage.name for passage in replayed.passages]
    lows = accumulate((line.get("send_start_ns", 0) for line in ordered), max)
    highs = accumulate((line.get("at_ns", FAR_NS) for line in reversed(ordered)), min)
    return [Message(*known) for known in zip(ordered, lows, reversed([*highs]), strict=True)]


def turn_bounds(
    known: Sequence[Message], number: int, response_id: str, *, jitter_ns: int, reply: AudioFormat
) -> dict[str, Bounds]:
    """Return the bounds of a turn's instants, as far as they are in the truth log."""
    mine = list(_of_turn(known, number, response_id))
    audio = [
        message
        for message in mine
        if message.line["direction"] == "out" and message.line["audio_bytes"]
    ]
    found: dict[str, Bounds] = {}
    for instant, name in (*FIRST.items(), *LAST.items()):
        there = [message.bounds for message in mine if message.line["type"] == name]
        if there:
            found[instant] = there[-1 if instant in LAST else 0]
    if audio:
        found |= {"first_audio": audio[0].bounds, "last_audio": audio[-1].bounds}
        lows, highs = ([message.bounds[side] for message in audio] for side in (0, 1))
        deltas = [message.line for message in audio]
        found["first_audible"] = (
            _played(deltas, lows, jitter_ns, reply),
            _played(deltas, highs, jitter_ns, reply),
        )
    return found


def speech_bounds(
    known: Sequence[Message], number: int, sample: int, format: AudioFormat, *, vad: bool
) -> Bounds:
    """Return the bounds of the instant at which a microphone had recorded `sample` samples of a
    turn's recording.

    The samples have 24 kHz; the recording was sent in `format`.
    """
    appends = [
        message.line for message in known if message.line["type"] == "input_audio_buffer.append"
    ]
    first = next(line for line in appends if line["event_id"] == f"turn-{number}-append-1")
    before = [
        message.line
        for message in known
        if message.line["direction"] == "out" and message.line["send_start_ns"] < first["at_ns"]
    ]
    confirmed = ("session.updated",) if vad else ("session.updated", "response.done")
    opened = next(line for line in reversed(before) if line["type"] in confirmed)
    byte = first["from_byte"] + -(-sample * format.bytes_per_s // RATE_HZ)
    holder = next(line for line in appends if line["from_byte"] < byte <= line["to_byte"])
    spoken_ns = sample * NS_PER_S // RATE_HZ
    earlier_ns = format.duration_ns(first["from_byte"]) if vad else 0
    after_ns = format.duration_ns(holder["to_byte"] - first["from_byte"]) - spoken_ns
    return opened["send_start_ns"] + earlier_ns + spoken_ns, holder["at_ns"] - after_ns


def _of_turn(known: Sequence[Message], number: int, response_id: str) -> Iterator[Message]:
    """Yield the messages from the turn's first message to the end of its reply."""
    begun = False
    for message in known:
        line = message.line
        begun = begun or (
            line["direction"] == "in" and str(line["event_id"]).startswith(f"turn-{number}-")
        )
        if begun and line["response"] in (None, response_id):
            yield message
        if begun and line["type"] == "response.done" and line["response"] == response_id:
            return


def _played(
    deltas: Sequence[Line], arrivals: Sequence[int], jitter_ns: int, reply: AudioFormat
) -> int:
    """Return when a player plays the first audible sample of deltas that arrive at these
    instants.
    """
    free_ns = arrivals[0] + jitter_ns
    for line, at_ns in zip(deltas, arrivals, strict=True):
        free_ns = max(free_ns, at_ns)
        if line["audible_at_byte"] is not None:
            return free_ns + reply.duration_ns(line["audible_at_byte"])
        free_ns += reply.duration_ns(line["audio_bytes"])
    raise AssertionError("nothing is heard of this reply")
