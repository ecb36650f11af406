"""When a reply was heard, from the event log of its session: what the simulated player played without a break.

The player starts a jitter buffer's length after the first audio delta and drains at the rate of its format; a delta
that comes after everything before it was played ends a stall, as `bench.observe.reply` has it while a run goes on.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from bench.foreign import JsonError, open_file, read_json
from bench.units import NS_PER_S

Stretch = tuple[int, int]
"""From, to: ns of the log's clock."""


def stretches(log: Path, begin_ns: int, end_ns: int, bytes_per_s: int, buffer_ns: int) -> tuple[Stretch, ...]:
    """What was played of the deltas that came from `begin_ns` to `end_ns`; between two stretches lies a stall.

    Empty where the log is not there or tells of no such delta.
    """
    found: list[Stretch] = []
    began_ns, played = 0, 0
    for at_ns, size in _deltas(log, begin_ns, end_ns):
        if found and at_ns <= found[-1][1]:
            found.pop()
        else:
            began_ns, played = at_ns if found else at_ns + buffer_ns, 0
        played += size
        found.append((began_ns, began_ns + played * NS_PER_S // bytes_per_s))
    return tuple(found)


class _Event(msgspec.Struct):
    type: str = ""
    delta: str = ""


class _CutAudio(msgspec.Struct):
    bytes: int = 0


class _Line(msgspec.Struct):
    """What is looked at in a line of the log."""

    what: str
    at_ns: int
    event: _Event
    audio: _CutAudio | None = None


def _deltas(log: Path, begin_ns: int, end_ns: int) -> Iterable[tuple[int, int]]:
    """(arrival, decoded bytes) of each audio delta in a stretch of time; a line that is damaged is passed over."""
    with suppress(OSError), open_file(log) as lines:
        for text in lines:
            if b"audio.delta" not in text:
                continue
            with suppress(JsonError):
                line: _Line = read_json(text, _Line)
                size = _size(line)
                if line.what == "received" and begin_ns <= line.at_ns <= end_ns and size > 0:
                    yield line.at_ns, size


def _size(line: _Line) -> int:
    """Decoded bytes of a delta whose audio was cut, or kept as base64; 0 of what is no audio delta."""
    if not line.event.type.endswith("audio.delta"):
        return 0
    return line.audio.bytes if line.audio else len(line.event.delta) * 3 // 4 - line.event.delta.count("=")
