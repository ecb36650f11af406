"""A completed run for tests: its rows, its replayed event logs, and the simulator's truth log."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.catalogue.columns import TURN_INSTANTS
from bench.record import folder as files
from bench.record.replay import ReplayedSession, replay_log
from bench.record.rows import session_row
from rtbench_simulator.ground_truth_log import read_truth
from tests.helpers import row_of
from tests.simulator_process import quick_simulator
from tests.system.end_to_end.bounds import Message, messages
from tests.system.end_to_end.locust_process import GUARD_S, locust, only_run

Row = dict[str, Any]
Differences = dict[str, tuple[Any, Any]]
OF_THE_RUN = {
    "block",
    "pair",
    "phase",
    "worker",
    "host",
    "simulated",
    "after_return",
    "start_utc_ns",
    "run_id",
    "session_id",
    "target",
    "scenario",
    "script",
    "variables_row",
    "event_log",
}
"""Columns that the replay of a session cannot know: those of the recorder and its clock, and those
in the log's header.
"""


@dataclass(frozen=True)
class VoiceRun:
    """A completed run in its `folder`. `truth` is the simulator's log; `status` and `errors` are
    those of Locust.
    """

    scenario: Path
    folder: Path
    truth: Path
    status: int
    errors: str

    @cached_property
    def turns(self) -> list[Row]:
        rows: list[Row] = files.read_table(self.folder, "turns").to_pylist()
        return rows

    @cached_property
    def sessions(self) -> list[Row]:
        rows: list[Row] = files.read_table(self.folder, "sessions").to_pylist()
        return rows

    @cached_property
    def replayed(self) -> dict[str, ReplayedSession]:
        """The replayed sessions by session_id, of all sessions with a row of their own or of a
        turn.
        """
        names = {row["session_id"] for row in (*self.sessions, *self.turns)}
        return {name: replay_log(self.folder / "events" / f"{name}.jsonl") for name in names}

    @cached_property
    def messages(self) -> dict[str, list[Message]]:
        """The messages by session_id, with their lines in the truth log."""
        lines = defaultdict(list)
        for line in read_truth(self.truth):
            if "session" in line:
                lines[line["session"]].append(line)
        return {
            name: messages(replay, lines[replay.session.service_session_id])
            for name, replay in self.replayed.items()
        }

    @cached_property
    def summary(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.folder / "summary.json").read_text())
        return document


@dataclass(frozen=True)
class Planned:
    """A run to start in its own folder: `scenario` writes its Locust file there.

    `simulator`: options of its simulator; `service` names its URL.
    """

    scenario: Callable[[Path], Path]
    load: Sequence[str]
    service: str
    simulator: Sequence[str]


def all_played(parent: Path, runs: Mapping[str, Planned]) -> dict[str, VoiceRun]:
    """Run all planned runs at once, because the callers take most of the time. Return the runs
    by their names.
    """
    with ExitStack() as stack:
        processes = {}
        for name, planned in runs.items():
            folder = parent / name.replace(" ", "-")
            folder.mkdir()
            options = ("--ground-truth", str(folder / "truth.jsonl"), *planned.simulator)
            ready = stack.enter_context(quick_simulator(folder, *options))
            target = (
                "--url",
                ready.urls[planned.service],
                *(("--ca-file", str(ready.ca)) if ready.ca else ()),
            )
            scenario = planned.scenario(folder)
            processes[name] = (
                stack.enter_context(locust(scenario, folder / "runs", *planned.load, *target)),
                scenario,
            )
        errors = {
            name: process.communicate(timeout=GUARD_S)[1]
            for name, (process, _) in processes.items()
        }
    return {
        name: VoiceRun(
            scenario,
            only_run(scenario.parent / "runs"),
            scenario.parent / "truth.jsonl",
            process.returncode,
            errors[name],
        )
        for name, (process, scenario) in processes.items()
    }


def instants(row: Row) -> dict[str, int]:
    """Return the absolute instants of a turn's row."""
    return {
        name: row["start_ns"] + row[f"{name}_at_ns"]
        for name in TURN_INSTANTS
        if row[f"{name}_at_ns"] is not None
    }


def unlike_their_logs(run: VoiceRun) -> dict[str, Differences]:
    """Return the sessions and turns whose row differs from the replay of its log, with (row,
    log) by column.
    """
    rows: dict[str, tuple[Row, Row]] = {
        row["session_id"]: (row, _session_again(run, row)) for row in run.sessions
    }
    rows |= {
        f"{row['session_id']}.{row['turn']}": (row, _turn_again(run, row)) for row in run.turns
    }
    unlike = {name: _differences(*pair) for name, pair in rows.items()}
    return {name: columns for name, columns in unlike.items() if columns}


def _session_again(run: VoiceRun, row: Row) -> Row:
    session = run.replayed[row["session_id"]].session
    return session_row(session, 0) | {"service_session_id": session.service_session_id or None}


def _turn_again(run: VoiceRun, row: Row) -> Row:
    replay = run.replayed[row["session_id"]]
    (turn,) = [turn for turn in replay.turns if turn.turn == row["turn"]]
    return row_of(turn) | {"service_session_id": replay.session.service_session_id or None}


def _differences(row: Row, again: Row) -> Differences:
    own = row.keys() - OF_THE_RUN
    return {name: (row[name], again.get(name)) for name in own if row[name] != again.get(name)}
