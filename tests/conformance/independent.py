"""A reader of the conformance set that follows docs/conformance/README.md. It imports nothing of
this project.

It reads one dialect (GA) and PCM16 of 24 kHz, and prints nothing: `turns_of` returns the values of
a log, and `quantile` those of several turns. Other programs may copy it.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

MS = 1_000_000
BYTES_PER_MS = 48
"""PCM16 of 24 kHz."""
AUDIBLE = 104
"""−50 dBFS."""
AUDIO, TRANSCRIPT = "response.output_audio.delta", "response.output_audio_transcript.delta"
Turn = dict[str, Any]
Line = dict[str, Any]


def turns_of(log: Path) -> list[Turn]:
    """Return the outcome, origin, values and bounds of each turn of a log. The values are in ms."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    turns: list[list[Line]] = []
    for line in lines:
        if line["action"] == "begin":
            turns.append([])
        if turns:
            turns[-1].append(line)
    return [
        _values(turn, _events(after)) for turn, after in zip(turns, [*turns[1:], []], strict=True)
    ]


def quantile(values: Iterable[float], p: float) -> float:
    """Return the smallest value with a share of at least `p` of all values at or below it."""
    ordered = sorted(values)
    return next(
        value for number, value in enumerate(ordered, 1) if number >= p * len(ordered) - 1e-9
    )


def _events(lines: Iterable[Line]) -> Iterator[tuple[str, Line]]:
    return ((line["event"]["type"], line) for line in lines if line["action"] == "received")


def _values(lines: list[Line], later: Iterable[tuple[str, Line]]) -> Turn:
    """Return the values of one turn. `later` are the events of the next one: some of them end an
    interrupted reply.
    """
    events = list(_events(lines))
    at: dict[str, int] = _sent(lines)
    bounds: dict[str, int] = {}

    def note(instant: str, *names: str, last: bool = False) -> None:
        found = [line for name, line in events if name in names and line["event"].get("delta", " ")]
        if found:
            line = found[-1 if last else 0]
            at[instant], bounds[instant] = line["at_ns"], line.get("uncertainty_ns", 0)

    note("first_audio", AUDIO)
    note("first_transcript", TRANSCRIPT)
    note("transcript_done", "response.output_audio_transcript.done", last=True)
    note("response_done", "response.done", last=True)
    note("speech_started", "input_audio_buffer.speech_started")
    note("speech_stopped", "input_audio_buffer.speech_stopped", last=True)
    note("function_call_added", "response.output_item.added")
    played = _play(
        [line for name, line in events if name == AUDIO], lines[0]["plan"]["jitter_buffer_ns"]
    )
    if played is not None:
        at["first_audible"], bounds["first_audible"] = played[0], bounds["first_audio"]
    outcome = _outcome(events, lines)
    yields = next((line for line in lines if line["action"] == "await_interruption"), None)
    if yields is not None:
        outcome = "interrupted"
        for name, line in later:
            if name == "response.done":
                at.setdefault("response_done", line["at_ns"])
    origin = "request_sent" if "request_sent" in at else "speech_end"
    values = {
        name: (at[end] - at[begin]) / MS
        for name, (begin, end) in {
            "ttfa": (origin, "first_audio"),
            "transcript_first": (origin, "first_transcript"),
            "transcript_total": (origin, "transcript_done"),
            "response_total": (origin, "response_done"),
            "voice_to_voice": ("speech_end", "first_audible"),
            "start_of_speech_delay": ("speech_start", "speech_started"),
            "end_of_turn_delay": ("speech_end", "speech_stopped"),
            "function_call_added": (origin, "function_call_added"),
        }.items()
        if begin in at and end in at and not (name == "function_call_added" and not _calls(events))
    }
    if played is not None:
        values["stall_duration"] = played[1] / MS
    of_value = {
        "ttfa": "first_audio",
        "transcript_first": "first_transcript",
        "voice_to_voice": "first_audible",
    }
    errors = {name: bounds[end] / MS for name, end in of_value.items() if name in values}
    return {
        "outcome": outcome,
        "measured_from": origin,
        "values_ms": values,
        "uncertainty_ms": errors,
    }


def _sent(lines: Iterable[Line]) -> dict[str, int]:
    """Return the instants of the client's messages. The kernel's timestamp of a message replaces
    that of its send.
    """
    at: dict[str, int] = {}
    tickets: dict[int, str] = {}
    for line in lines:
        if line["action"] == "sent":
            for instant, before_ns in line.get("instants", {}).items():
                at[instant] = line["at_ns"] - before_ns
            if line["name"] == "response.create" and "request_sent" not in at:
                at["request_sent"] = line["at_ns"]
                tickets[line.get("ticket", 0)] = "request_sent"
        elif line["action"] == "transmitted" and line["ticket"] in tickets:
            at[tickets[line["ticket"]]] = line["at_ns"]
    return at


def _play(deltas: list[Line], jitter_buffer_ns: int) -> tuple[int, int] | None:
    """Return (the instant at which the first audible sample is played, the duration of all
    stalls).
    """
    audible_ns, stalled_ns, free_ns = None, 0, 0
    for delta in deltas:
        pcm = base64.b64decode(delta["event"]["delta"])
        begin_ns = max(free_ns, delta["at_ns"]) if free_ns else delta["at_ns"] + jitter_buffer_ns
        stalled_ns += begin_ns - free_ns if free_ns else 0
        samples = struct.unpack(f"<{len(pcm) // 2}h", pcm)
        loud = next((place for place, sample in enumerate(samples) if abs(sample) >= AUDIBLE), None)
        if audible_ns is None and loud is not None:
            audible_ns = begin_ns + loud * 2 * MS // BYTES_PER_MS
        free_ns = begin_ns + len(pcm) * MS // BYTES_PER_MS
    return None if audible_ns is None else (audible_ns, stalled_ns)


def _calls(events: Iterable[tuple[str, Line]]) -> bool:
    return any(line["event"].get("item", {}).get("type") == "function_call" for _, line in events)


def _outcome(events: Iterable[tuple[str, Line]], lines: Iterable[Line]) -> str:
    ends = [line["event"]["response"] for name, line in events if name == "response.done"]
    if not ends:
        return (
            "timeout:first_delta"
            if any(line["action"] == "expire" for line in lines)
            else "unfinished"
        )
    status, details = ends[-1]["status"], ends[-1]["status_details"] or {}
    return (
        "ok"
        if status == "completed"
        else f"{status}:{details.get('error', {}).get('code', details.get('reason'))}"
    )
