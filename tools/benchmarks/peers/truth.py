"""The times at which the simulator sent each event of a run. The row of a turn stores seven of
these times.

`rtbench.calibrate.ground_truth` reads the same log, but without the order and bytes of events. The
order and bytes prove that all clients did equal work.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

DONE = "response.done"
OPENED = "session.updated"
ONCE = {
    "response.created": "response_created",
    "response.output_audio.done": "audio_done",
    "response.output_audio_transcript.done": "transcript_done",
    DONE: "response_done",
}
INSTANTS = (*ONCE.values(), "first_transcript", "first_audio", "last_audio")
"""The arrivals of each turn that a row of the run folder stores."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Truth:
    """The ground truth of one run.

    `instants` has the columns session_id, turn, instant, place and handed_ns. The place is the
    number of the event in its session, from 0. `requests` has the columns session_id, turn and
    at_ns, the arrival of response.create. `sessions` has, by session_id, the place of the last
    response.done (`done`; −1 if there is none), and when the session was created, opened and done.
    `wire` has, by session_id, the bytes up to and including each event. `handed_ns` and `late_ns`
    have all events of the run, in the order of the log.
    """

    instants: pd.DataFrame
    requests: pd.DataFrame
    sessions: pd.DataFrame
    wire: Mapping[str, Ints]
    handed_ns: Ints
    late_ns: Ints

    def steady(self) -> tuple[int, int]:
        """Return (begin, end) of the period in which all sessions were open and none was done.

        If there is no such period, end is less than begin.
        """
        return int(self.sessions["opened_ns"].max()), int(self.sessions["done_ns"].min())

    def done_bytes(self) -> int:
        """Return all bytes up to the last response.done of each session."""
        done = zip(self.sessions.index, self.sessions["done"], strict=True)
        return sum(int(self.wire[name][index]) for name, index in done if index >= 0)


@dataclass
class _Session:
    wire: array[int] = field(default_factory=lambda: array("q"))
    turn: int = 0
    requests: int = 0
    found: dict[tuple[int, str], tuple[int, int]] = field(default_factory=dict)
    created_ns: int = 0
    opened_ns: int = 0
    done: int = -1
    done_ns: int = 0

    def sent(self, line: Mapping[str, Any]) -> None:
        index, handed_ns, kind = len(self.wire), line["send_start_ns"], line["type"]
        self.wire.append(line["frame_bytes"])
        self.created_ns = self.created_ns or handed_ns
        self.turn += kind == "response.created"
        if kind == OPENED:
            self.opened_ns = handed_ns
        elif kind == DONE:
            self.done, self.done_ns = index, handed_ns
        for name in instants_of(line):
            if name.startswith("first_"):
                self.found.setdefault((self.turn, name), (index, handed_ns))
            else:
                self.found[self.turn, name] = index, handed_ns


def instants_of(line: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the turn's instants that this event sets, or may set."""
    if line["audio_bytes"]:
        return "first_audio", "last_audio"
    if line["type"].endswith("transcript.delta"):
        return ("first_transcript",)
    return (ONCE[line["type"]],) if line["type"] in ONCE else ()


def truth_of(lines: Iterable[Mapping[str, Any]]) -> Truth:
    """Return the truth from the lines of a truth log."""
    sessions: dict[str, _Session] = defaultdict(_Session)
    requests: list[tuple[str, int, int]] = []
    handed, late = array("q"), array("q")
    for line in lines:
        if line.get("direction") == "out":
            sessions[line["session"]].sent(line)
            handed.append(line["send_start_ns"])
            late.append(line["send_start_ns"] - line["due_ns"])
        elif line.get("direction") == "in" and line["type"] == "response.create":
            session = sessions[line["session"]]
            session.requests += 1
            requests.append((line["session"], session.requests, line["at_ns"]))
    return Truth(
        pd.DataFrame(
            [
                (name, turn, instant, *at)
                for name, s in sessions.items()
                for (turn, instant), at in s.found.items()
            ],
            columns=["session_id", "turn", "instant", "place", "handed_ns"],
        ),
        pd.DataFrame(requests, columns=["session_id", "turn", "at_ns"]),
        pd.DataFrame(
            [(name, s.done, s.created_ns, s.opened_ns, s.done_ns) for name, s in sessions.items()],
            columns=["session_id", "done", "created_ns", "opened_ns", "done_ns"],
        ).set_index("session_id"),
        {name: np.cumsum(s.wire) for name, s in sessions.items()},
        np.array(handed, dtype=np.int64),
        np.array(late, dtype=np.int64),
    )
