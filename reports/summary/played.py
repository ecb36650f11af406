"""When a reply was heard, from the event log of its session: what the simulated player played without a break.

The player starts a jitter buffer's length after the first audio delta and drains at the rate of its format; a delta
that comes after everything before it was played ends a stall, as `bench.observe.playback` has it while a run goes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

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


def _deltas(log: Path, begin_ns: int, end_ns: int) -> Iterable[tuple[int, int]]:
    """(arrival, decoded bytes) of each audio delta in a stretch of time."""
    try:
        lines = log.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        if "audio.delta" not in line:
            continue
        try:
            told = json.loads(line)
        except ValueError:  # its writer was killed in mid-write
            continue
        if told.get("what") == "received" and begin_ns <= told.get("at_ns", -1) <= end_ns:
            size = _size(told)
            if size > 0:
                yield int(told["at_ns"]), size


def _size(told: dict[str, Any]) -> int:
    """Decoded bytes of a delta whose audio was cut, or kept as base64; 0 of what is no audio delta."""
    event = told.get("event") or {}
    if not str(event.get("type", "")).endswith("audio.delta"):
        return 0
    if told.get("audio"):
        return int(told["audio"].get("bytes", 0))
    text = str(event.get("delta", ""))
    return len(text) * 3 // 4 - text.count("=")
