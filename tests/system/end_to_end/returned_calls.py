"""Calls that a restart of the simulator dropped, by its log and by the run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.record.folder import read_table
from bench.wire.audio import PCM16
from rtbench_simulator.ground_truth_log import read_truth

JITTER_NS = 50 * NS_PER_MS
ENDS = ("send_start_ns", "send_end_ns")
LATE_NS = NS_PER_S // 2
"""By how much later than planned the simulator may listen again."""
SCRIPT = """
reconnect: {within: 60, attempts: 99, backoff: {first: 0.3, max: 0.5}}
steps:
  - {text: Hello, name: first}
  - pause: 0.3
  - {text: And then?, name: second}
  - pause: 0.3
  - {text: And then?, name: third}
"""
Line = dict[str, Any]
Row = dict[str, Any]


class ReturnedCalls(NamedTuple):
    """The restart by the log and by the run: the sessions that it ended, of which the client had
    already ended `over`.
    """

    struck: set[str]
    dropped: set[str]
    over: set[str]
    returned: int
    attempts: int
    again: int
    cut_turns: int
    unlogged: set[str]
    """Sessions that only one of both has."""
    misplaced: int
    """Attempts that were refused while the simulator listened, or accepted while it did not."""
    gap_errors_ms: list[float]
    """By how much each gap is outside of the bounds in the log: the begin and the end of each send
    call."""


def returned_calls(run: Path, log: Path, away_s: float) -> ReturnedCalls:
    """Compare a run with the log. The simulator did not listen for `away_s` after its restart."""
    lines = list(read_truth(log))
    faults = [line for line in lines if line.get("direction") == "fault"]
    fault_ns = min(line["at_ns"] for line in faults)
    # the simulator ends one connection after another
    struck_ns = {line["session"]: line["at_ns"] for line in faults if line["session"]}
    rows: list[Row] = read_table(run, "sessions").to_pylist()
    turns: list[Row] = read_table(run, "turns").to_pylist()
    sent: dict[str, list[Line]] = {}
    for line in lines:
        if line.get("direction") == "out":
            sent.setdefault(line["session"], []).append(line)
    ids = {row["service_session_id"] for row in rows} - {None}
    dropped = {row["service_session_id"] for row in rows if row["outcome"].startswith("closed:")}
    over = {
        row["service_session_id"]
        for row in rows
        if row["service_session_id"] in struck_ns.keys() - dropped and row["outcome"] == "ok"
    }
    cut = {row["session_id"]: row for row in turns if row["outcome"].startswith("closed:")}
    errors_ms: list[float] = []
    returned = attempts = misplaced = 0

    def call_of(row: Row) -> str:
        return str(row["session_id"]).partition(".")[0]

    rows.sort(key=lambda row: (call_of(row), row["start_ns"]))
    for _, of_call in groupby(rows, key=call_of):
        first, *others = of_call
        for row in others:
            attempts += 1
            is_open = row["session_updated_at_ns"] is not None
            since_back_ns = row["start_ns"] - fault_ns - away_s * NS_PER_S
            misplaced += abs(since_back_ns) > LATE_NS and is_open is not (since_back_ns > 0)
            if not is_open:
                continue
            returned += 1
            if row["heard_again_at_ns"] is not None:
                session = first["service_session_id"]
                before = sent[session], cut.get(first["session_id"]), struck_ns[session]
                errors_ms.append(_beyond_ms(row, sent[row["service_session_id"]], before))
    again = sum(row["turns_repeated"] for row in rows)
    return ReturnedCalls(
        {*struck_ns},
        dropped,
        over,
        returned,
        attempts,
        again,
        len(cut),
        set(sent) ^ ids,
        misplaced,
        errors_ms,
    )


def _beyond_ms(
    row: Row, after: Sequence[Line], before: tuple[Sequence[Line], Row | None, int]
) -> float:
    found_ns = row["heard_again_at_ns"] - row["last_heard_at_ns"]
    low_ns, high_ns = (
        _played_ns(_deltas(after)[0], end)[0] - _last_heard_ns(*before, other_end)
        for end, other_end in (ENDS, ENDS[::-1])
    )
    return float(max(low_ns - found_ns, found_ns - high_ns, 0)) / NS_PER_MS


def _played_ns(deltas: Sequence[Line], end: str) -> tuple[int, int]:
    """Return when the first audible sample of deltas is played, and when all is played. `end` is
    the end of the send calls from which this is computed.
    """
    free_ns, audible_ns = deltas[0][end] + JITTER_NS, 0
    for line in deltas:
        free_ns = max(free_ns, line[end])
        if line["audible_at_byte"] is not None and not audible_ns:
            audible_ns = free_ns + PCM16.duration_ns(line["audible_at_byte"])
        free_ns += PCM16.duration_ns(line["audio_bytes"])
    return audible_ns, free_ns


def _deltas(lines: Sequence[Line]) -> list[list[Line]]:
    """Return the audio of each response of a session."""
    audio = [line for line in lines if line["audio_bytes"]]
    return [[*found] for _, found in groupby(audio, key=lambda line: line["response"])]


def _last_heard_ns(lines: Sequence[Line], cut: Row | None, fault_ns: int, end: str) -> int:
    """Return until when the caller heard something of the turn that the restart cut."""
    if cut is None:
        return fault_ns
    mine = [
        line
        for line in lines
        if line["send_end_ns"] is not None and cut["start_ns"] < line["send_start_ns"] <= fault_ns
    ]
    if not mine:
        return fault_ns
    audio = _deltas(mine)
    last_ns = int(mine[-1][end])
    return max(last_ns, _played_ns(audio[-1], end)[1]) if audio else last_ns
