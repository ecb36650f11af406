"""What callers of real processes find out: what a service keeps of a reply, what it answers that is not for it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from tests.system.end_to_end.locust_process import write_scenario
from tests.system.end_to_end.voice_run import Planned, VoiceRun, all_played, unlike_their_logs
from tests.system.end_to_end.voices import tone, write_sound

SPOKEN_S = {"said.wav": 0.4, "over.wav": 0.6}
SESSIONS = 4
LOAD = ("-u", str(SESSIONS), "-r", str(SESSIONS), "--sessions", str(SESSIONS), "--record-events", "100%")

CUT = """
session: {turn_detection: {type: server_vad, silence_duration_ms: 200}}
steps:
  - {audio: said.wav, name: said}
  - interrupt: {after: 0.2, audio: over.wav, verify_truncation: true}
    name: over
  - interrupt: {after_share: 0.3, verify_truncation: true}
  - {text: Hello, name: typed}
"""


def column(run: VoiceRun, name: str, step: str) -> Counter[Any]:
    return Counter(row[name] for row in run.turns if row["step"] == step)


def rate(run: VoiceRun, name: str) -> tuple[int, int]:
    """(events, of how many)"""
    (found,) = (rate for rate in run.summary["rates"] if rate["rate"] == name)
    return found["count"], found["total"]


def played(parent: Path, script: str, **profiles: str) -> dict[str, VoiceRun]:
    """Play a run of the same callers for each of these profiles."""

    def written(folder: Path) -> Path:
        for wav, seconds in SPOKEN_S.items():
            write_sound(folder / wav, tone(seconds))
        return write_scenario(folder, script=script)

    return all_played(parent, {name: Planned(written, LOAD, more=more) for name, more in profiles.items()})


def test_a_service_that_cuts_what_it_is_told_to_is_told_from_one_that_only_says_so(tmp_path: Path) -> None:
    runs = played(tmp_path, CUT, cuts="", keeps="ignored_truncate_share: 1\n")

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
