"""What callers of real processes find out: what a service keeps of a reply, what it answers that is not for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tests.system.end_to_end.locust_process import write_scenario
from tests.system.end_to_end.voice_run import Planned, VoiceRun, all_played, unlike_their_logs
from tests.system.end_to_end.voices import tone, write_sound

SPOKEN_S = {"said.wav": 0.4, "over.wav": 0.6}
SESSIONS = 4
LOAD = ("-u", str(SESSIONS), "-r", str(SESSIONS), "--sessions", str(SESSIONS), "--record-events", "100%")
NO_TASKS: Mapping[str, str] = {}

CUT = """
session: {turn_detection: {type: server_vad, silence_duration_ms: 200}}
steps:
  - {audio: said.wav, name: said}
  - interrupt: {after: 0.2, audio: over.wav, verify_truncation: true}
    name: over
  - interrupt: {after_share: 0.3, verify_truncation: true}
  - {text: Hello, name: typed}
"""
CUT_IN_PYTHON = """
from locust import task
from rtbench import RealtimeUser

class Caller(RealtimeUser):
    session = {"turn_detection": {"type": "server_vad", "silence_duration_ms": 200}}

    @task
    def talk(self):
        self.audio("said.wav", name="said")
        self.interrupt(after=0.2, audio="over.wav", name="over", verify_truncation=True)
        self.interrupt(after_share=0.3, verify_truncation=True)
        self.text("Hello", name="typed")
"""

ASIDE = """
session: {turn_detection: {type: server_vad, silence_duration_ms: 200}}
steps:
  - sound: {audio: said.wav, kind: talking_to_others, during: silence}
  - {audio: over.wav, name: spoken}
  - {text: Hello, name: typed}
  - sound: {audio: said.wav, kind: noise, during: silence}
  - {audio: over.wav, name: again}
"""
ASIDE_IN_PYTHON = """
from locust import task
from rtbench import RealtimeUser

class Caller(RealtimeUser):
    session = {"turn_detection": {"type": "server_vad", "silence_duration_ms": 200}}

    @task
    def talk(self):
        self.sound("said.wav", kind="talking_to_others", during="silence")
        self.audio("over.wav", name="spoken")
        self.text("Hello", name="typed")
        self.sound("said.wav", kind="noise", during="silence")
        self.audio("over.wav", name="again")
"""
FILLED = """
session:
  turn_detection: {type: server_vad, silence_duration_ms: 200}
  interim_response: {type: static_interim_response, triggers: [latency, tool], latency_threshold_ms: 0}
tools: {find_parcel: {returns: depot, delay: 0.5}}
steps:
  - {audio: over.wav, name: spoken, expected_calls: find_parcel}
  - {text: Hello, name: typed, expected_calls: find_parcel}
"""


def column(run: VoiceRun, name: str, step: str) -> Counter[Any]:
    return Counter(row[name] for row in run.turns if row["step"] == step)


def rate(run: VoiceRun, name: str) -> tuple[int, int]:
    """(events, of how many)"""
    (found,) = (rate for rate in run.summary["rates"] if rate["rate"] == name)
    return found["count"], found["total"]


def played(
    parent: Path, script: str, *, tasks: Mapping[str, str] = NO_TASKS, service: str = "ga", **profiles: str
) -> dict[str, VoiceRun]:
    """A run of the same callers for each of these profiles.

    `tasks`: in Python what the script says, for the runs of these names.
    """

    def written(in_python: str, folder: Path) -> Path:
        for wav, seconds in SPOKEN_S.items():
            write_sound(folder / wav, tone(seconds))
        scenario = write_scenario(folder, script=script)
        scenario.write_text(in_python or scenario.read_text())
        return scenario

    scenarios = {name: partial(written, tasks.get(name, "")) for name in profiles}
    return all_played(
        parent, {name: Planned(scenarios[name], LOAD, service, more=more) for name, more in profiles.items()}
    )


def test_a_service_that_cuts_what_it_is_told_to_is_told_from_one_that_only_says_so(tmp_path: Path) -> None:
    runs = played(tmp_path, CUT, cuts="", keeps="ignored_truncate_share: 1\n", tasks={"keeps": CUT_IN_PYTHON})

    for name, run in runs.items():
        right = name == "cuts"
        assert run.status in (0, 4), run.errors
        assert column(run, "outcome", "said") == column(run, "outcome", "over") == {"interrupted": SESSIONS}
        assert (
            column(run, "truncation_correct", "said") == column(run, "truncation_correct", "over") == {right: SESSIONS}
        )
        assert column(run, "truncation_correct", "typed") == {None: SESSIONS}
        assert column(run, "outcome", "typed") == {"ok": SESSIONS}
        assert unlike_their_logs(run) == {}
        assert rate(run, "truncation_correct_rate") == (2 * SESSIONS if right else 0, 2 * SESSIONS)


def test_a_service_that_answers_what_is_not_for_it_is_told_from_one_that_does_not(tmp_path: Path) -> None:
    deaf = "vad: {min_speech_ms: 500}\n"  # to `said.wav`, which is shorter, not to `over.wav`
    runs = played(tmp_path, ASIDE, answers="", ignores=deaf, tasks={"answers": ASIDE_IN_PYTHON})

    for name, run in runs.items():
        replied = name != "ignores"
        assert run.status in (0, 4), run.errors
        assert {row["outcome"] for row in (*run.turns, *run.sessions)} == {"ok"}
        assert column(run, "false_reply", "spoken") == column(run, "false_reply", "again") == {replied: SESSIONS}
        assert column(run, "false_reply", "typed") == {None: SESSIONS}
        assert {row["unattributed_commits"] for row in run.sessions} == {2 * replied}
        assert all((row["output_audio_tokens"] or 0) > 0 for row in run.sessions) is replied
        assert len({row["response_id"] for row in run.turns}) == 3 * SESSIONS
        assert unlike_their_logs(run) == {}
        assert rate(run, "false_reply_rate") == (2 * SESSIONS if replied else 0, 2 * SESSIONS)


def test_turns_that_may_have_fillers_stand_apart_and_the_report_says_so(tmp_path: Path) -> None:
    filled = played(tmp_path, FILLED, service="voice_live", filled="")["filled"]

    assert filled.status in (0, 4), filled.errors
    assert column(filled, "outcome", "spoken") == column(filled, "outcome", "typed") == {"ok": SESSIONS}
    assert {row["turn_type"] for row in filled.turns} == {"function_calls+filler"}
    for row in filled.turns:  # a filler ahead of the call, one while it runs, one ahead of the answer
        assert (
            row["first_audio_at_ns"]
            < row["function_call_done_at_ns"]
            < row["answer_request_sent_at_ns"]
            < row["answer_audio_at_ns"]
        )
        assert row["preamble"]
    assert unlike_their_logs(filled) == {}
    assert "8 turns are of sessions with fillers on" in (filled.folder / "report.md").read_text()
