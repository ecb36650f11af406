"""Calls that hear the echo of another call: those that the simulator's log states."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.record.replay import replay_log
from tests.simulator_process import AUDIO, running_simulator
from tests.system.end_to_end.played_calls import play

CALLS = 16
PROFILE = "agent: {greets: false, crossed_share: 0.4}\n"
SCRIPT = f"""
session: {{turn_detection: full_duplex}}
caller_marks: true
steps:
  - audio: {AUDIO}/opening_hours.wav
  - audio: {AUDIO}/late_parcel.wav
"""


@pytest.mark.parametrize(
    ("agent", "target"),
    [
        ("agent_pcm", "dialect: pcm"),
        ("agent_sip", "dialect: sip, codec: 'opus'"),
        ("agent_webrtc", "dialect: webrtc"),
    ],
)
def test_the_crossed_calls_are_those_of_the_simulator_s_log(
    tmp_path: Path, agent: str, target: str
) -> None:
    (tmp_path / "profile.yaml").write_text(PROFILE, encoding="utf-8")
    truth = ("--ground-truth", str(tmp_path / "truth.jsonl"))
    with running_simulator("--profile", str(tmp_path / "profile.yaml"), *truth) as simulator:
        options = ("--record-events", "20%", "--exit-code-on-error", "0")
        calls = play(tmp_path, SCRIPT, simulator.urls[agent], CALLS, {"line": target}, *options)

    echoes = [line for line in calls.sent if line.get("echo_of")]
    crossed = {line["session"] for line in echoes if line["echo_of"] != line["session"]}
    last = calls.turns.sort_values("start_ns").groupby("session_id").last()
    assert 0 < len(crossed) < CALLS
    assert last["crossed_audio"].sum() == len(crossed)
    assert last["crossed_audio"].notna().all()
    assert set(last["caller_mark"]) == set(range(1, CALLS + 1))
    assert f"{len(crossed)} of {CALLS} calls" in calls.output
    logs = [replay_log(path) for path in (calls.run / "events").iterdir()]
    assert logs
    for log in logs:
        row = last.loc[log.opened.about["session_id"]]
        known = (row["caller_mark"], row["crossed_audio"])
        assert (log.turns[-1].caller_mark, log.turns[-1].crossed_audio) == known
