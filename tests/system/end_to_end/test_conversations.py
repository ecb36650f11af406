"""What callers of real processes find out: what a service keeps of a reply, what it answers that is not for it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.run import folder as files
from bench.run.replay import replay_log
from tests.helpers import row_of
from tests.simulator_process import quick_simulator
from tests.system.end_to_end.locust_process import GUARD_S, locust, only_run, write_scenario
from tests.system.end_to_end.voices import tone, write_sound

SPOKEN_S = {"said.wav": 0.4, "over.wav": 0.6}
SESSIONS = 4
NO_TASKS: Mapping[str, str] = {}
Row = dict[str, Any]

CUT = """
session: {turn_detection: {type: server_vad, silence_duration_ms: 200}}
steps:
  - {play: said.wav, label: said}
  - interrupt: {after: 0.2, play: over.wav, verify: true}
    label: over
  - interrupt: {share: 0.3, verify: true}
  - {say: Hello, label: typed}
"""
CUT_IN_PYTHON = """
from locust import task
from rtbench import RealtimeUser

class Caller(RealtimeUser):
    session = {"turn_detection": {"type": "server_vad", "silence_duration_ms": 200}}

    @task
    def talk(self):
        self.play("said.wav", label="said")
        self.interrupt(after=0.2, play="over.wav", label="over", verify=True)
        self.interrupt(share=0.3, verify=True)
        self.say("Hello", label="typed")
"""

ASIDE = """
session: {turn_detection: {type: server_vad, silence_duration_ms: 200}}
steps:
  - sound: {play: said.wav, kind: aside, during: silence}
  - {play: over.wav, label: spoken}
  - {say: Hello, label: typed}
  - sound: {play: said.wav, kind: noise, during: silence}
  - {play: over.wav, label: again}
"""
ASIDE_IN_PYTHON = """
from locust import task
from rtbench import RealtimeUser

class Caller(RealtimeUser):
    session = {"turn_detection": {"type": "server_vad", "silence_duration_ms": 200}}

    @task
    def talk(self):
        self.sound("said.wav", kind="aside", during="silence")
        self.play("over.wav", label="spoken")
        self.say("Hello", label="typed")
        self.sound("said.wav", kind="noise", during="silence")
        self.play("over.wav", label="again")
"""
FILLED = """
session:
  turn_detection: {type: server_vad, silence_duration_ms: 200}
  interim_response: {type: static_interim_response, triggers: [latency, tool], latency_threshold_ms: 0}
tools: {find_parcel: {returns: depot, delay: 0.5}}
steps:
  - {play: over.wav, label: spoken, calls: find_parcel}
  - {say: Hello, label: typed, calls: find_parcel}
"""


class Played:
    """A run that is over."""

    def __init__(self, folder: Path, status: int, errors: str) -> None:
        self.status, self.errors = status, errors
        self.rows: list[Row] = files.read_table(folder, "turns").to_pylist()
        self.sessions: list[Row] = files.read_table(folder, "sessions").to_pylist()
        self.rates = {rate["rate"]: rate for rate in json.loads((folder / "summary.json").read_text())["rates"]}
        self.folder = folder
        self.report = (folder / "report.md").read_text()

    def column(self, name: str, step: str) -> Counter[Any]:
        return Counter(row[name] for row in self.rows if row["step"] == step)

    def unlike_their_logs(self, *names: str) -> list[Row]:
        """The rows in which a column is not what the log of their session gives."""
        logs = {row["session_id"]: self.folder / "events" / f"{row['session_id']}.jsonl" for row in self.rows}
        again = {name: {turn.turn: row_of(turn) for turn in replay_log(log).turns} for name, log in logs.items()}
        return [
            row for row in self.rows if any(row[name] != again[row["session_id"]][row["turn"]][name] for name in names)
        ]


def played(
    parent: Path, script: str, *, tasks: Mapping[str, str] = NO_TASKS, service: str = "ga", **profiles: str
) -> dict[str, Played]:
    """A run of the same callers for each of these profiles, all at once, for most of the time is the callers' own.

    `tasks`: in Python what the script says, for the runs of these names.
    """
    runs: dict[str, Played] = {}
    with ExitStack() as stack:
        processes = {}
        for name, more in profiles.items():
            folder = parent / name
            folder.mkdir()
            for wav, seconds in SPOKEN_S.items():
                write_sound(folder / wav, tone(seconds))
            ready = stack.enter_context(quick_simulator(folder, more=more))
            scenario = write_scenario(folder, script=script)
            if name in tasks:
                scenario.write_text(tasks[name])
            load = ("-u", str(SESSIONS), "-r", str(SESSIONS), "--sessions", str(SESSIONS), "--record-events", "100%")
            started = locust(scenario, folder / "runs", *load, "--url", ready.urls[service])
            processes[name] = stack.enter_context(started)
        for name, process in processes.items():
            _, errors = process.communicate(timeout=GUARD_S)
            runs[name] = Played(only_run(parent / name / "runs"), process.returncode, errors)
    return runs


def test_a_service_that_cuts_what_it_is_told_to_is_told_from_one_that_only_says_so(tmp_path: Path) -> None:
    runs = played(tmp_path, CUT, cuts="", keeps="truncates_ignored: 1\n", tasks={"keeps": CUT_IN_PYTHON})

    for name, run in runs.items():
        right = name == "cuts"
        assert run.status in (0, 4), run.errors
        assert run.column("outcome", "said") == run.column("outcome", "over") == {"interrupted": SESSIONS}
        assert run.column("truncated_right", "said") == run.column("truncated_right", "over") == {right: SESSIONS}
        assert run.column("truncated_right", "typed") == {None: SESSIONS}
        assert run.column("outcome", "typed") == {"ok": SESSIONS}
        assert run.unlike_their_logs("truncated_right", "outcome") == []
        rate = run.rates["truncated_right_rate"]
        assert (rate["events"], rate["of"]) == (2 * SESSIONS if right else 0, 2 * SESSIONS)


def test_a_service_that_answers_what_is_not_for_it_is_told_from_one_that_does_not(tmp_path: Path) -> None:
    deaf = "vad: {least_speech_ms: 500}\n"  # to `said.wav`, which is shorter, not to `over.wav`
    runs = played(tmp_path, ASIDE, answers="", ignores=deaf, tasks={"answers": ASIDE_IN_PYTHON})

    for name, run in runs.items():
        replied = name != "ignores"
        assert run.status in (0, 4), run.errors
        assert {row["outcome"] for row in (*run.rows, *run.sessions)} == {"ok"}
        assert run.column("false_reply", "spoken") == run.column("false_reply", "again") == {replied: SESSIONS}
        assert run.column("false_reply", "typed") == {None: SESSIONS}
        assert {row["stray_commits"] for row in run.sessions} == {2 * replied}
        assert all((row["tokens_audio_out"] or 0) > 0 for row in run.sessions) is replied
        assert len({row["response_id"] for row in run.rows}) == 3 * SESSIONS
        assert run.unlike_their_logs("false_reply", "outcome", "response_id") == []
        rate = run.rates["false_response_rate"]
        assert (rate["events"], rate["of"]) == (2 * SESSIONS if replied else 0, 2 * SESSIONS)


def test_turns_that_may_have_fillers_stand_apart_and_the_report_says_so(tmp_path: Path) -> None:
    filled = played(tmp_path, FILLED, service="voice_live", filled="")["filled"]

    assert filled.status in (0, 4), filled.errors
    assert filled.column("outcome", "spoken") == filled.column("outcome", "typed") == {"ok": SESSIONS}
    assert {row["traits"] for row in filled.rows} == {"calls+filler"}
    for row in filled.rows:  # a filler ahead of the call, one while it runs, one ahead of the answer
        assert (
            row["first_audio_at_ns"]
            < row["call_done_at_ns"]
            < row["answer_requested_at_ns"]
            < row["answer_audio_at_ns"]
        )
        assert row["preamble"]
    assert filled.unlike_their_logs("traits", "outcome", "first_audio_at_ns", "answer_audio_at_ns") == []
    assert "with fillers on" in filled.report
    assert "8 turns are of sessions with fillers on" in filled.report
