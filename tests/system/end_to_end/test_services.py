"""Services by their names, each with a stand-in that accepts settings, uses the right audio rate, and replies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gevent
import pytest

from bench.probe import probe_target, script_of
from bench.record.replay import ReplayedSession, replay_log
from bench.simulator.ground_truth_log import read_truth
from bench.target.target import Target
from bench.target.target_settings import ServiceOptions
from bench.target.targets import resolve_targets
from bench.wire.audio import PCM16, PCM16_16K, AudioFormat
from tests.helpers import resolve_target
from tests.played_session import GUARD_S, hang_guard
from tests.simulator_process import quick_simulator
from tests.system.end_to_end.spoken_calls import EDGE_MS, Call, play_call, spoken_ms

KEY = "a-key-that-nobody-may-see"


@dataclass(frozen=True)
class Case:
    """A target at a stand-in, the voice that the target requests, and the format of the caller's audio."""

    lines: str
    voice: str
    heard: AudioFormat = PCM16
    turn_detection: str = "server_vad"


CASES = {
    "xai": Case("service: xai, url: '{ws}/v1/realtime?model=grok-voice-latest'", "ara"),
    "qwen": Case("url: '{ws}/api-ws/v1/realtime?model=qwen3.5-omni-flash-realtime'", "Tina", PCM16_16K),
}


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from hang_guard(monkeypatch)


@dataclass(frozen=True)
class Played:
    """The results of a case: its voice call with the truth log, and its text call."""

    case: Case
    spoken: Call
    typed: ReplayedSession


def played(target: Target, case: Case, folder: Path) -> tuple[ReplayedSession, ReplayedSession]:
    """Run a call with speech, and then a call with text."""
    spoken = play_call(target, folder, voice=case.voice)
    script = script_of(target, "Hello", {"voice": case.voice})
    probe_target(target, script, folder / "typed.jsonl", record_audio=False)
    return spoken, replay_log(folder / "typed.jsonl")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Played]:
    """Run all cases at once. At the end of this fixture, the simulator has ended, so its log is complete."""
    folder = tmp_path_factory.mktemp("services")
    truth, file = folder / "truth.jsonl", folder / "targets.yaml"
    with quick_simulator(folder, "--key", KEY, "--ground-truth", str(truth)) as simulator:
        ws = f"ws://127.0.0.1:{simulator.port}"
        lines = (f"  {name}: {{{case.lines.format(ws=ws)}, api_key_env: KEY}}\n" for name, case in CASES.items())
        file.write_text("targets:\n" + "".join(lines))
        targets = resolve_targets({"KEY": KEY}, ServiceOptions(targets=tuple(CASES), target_file=file))
        talks = [gevent.spawn(played, target, CASES[target.label], folder / target.label) for target in targets]
        results = dict(zip(CASES, (talk.get(timeout=GUARD_S) for talk in talks), strict=True))
    lines_of: dict[str, list[dict[str, Any]]] = {}
    for line in read_truth(truth):
        lines_of.setdefault(str(line.get("session")), []).append(line)
    return {
        name: Played(CASES[name], Call(CASES[name].heard, spoken, lines_of[spoken.session.service_session_id]), typed)
        for name, (spoken, typed) in results.items()
    }


def voice_of(session: Mapping[str, Any]) -> str:
    """Return the voice, from the field that the service uses."""
    return str(session["voice"] if "voice" in session else session["audio"]["output"]["voice"])


@pytest.mark.parametrize("name", CASES)
def test_each_service_accepts_its_settings_detects_speech_and_answers(name: str, cases: dict[str, Played]) -> None:
    found = cases[name]

    assert [turn.outcome for turn in (*found.spoken.replay.turns, *found.typed.turns)] == ["ok", "ok"]
    assert found.spoken.heard_ms == pytest.approx(spoken_ms(), abs=EDGE_MS)
    assert voice_of(found.spoken.replay.session.effective_settings) == found.case.voice
    assert found.spoken.replay.session.unknown_events == {}
    for turn in found.spoken.replay.turns:
        assert turn.instants.keys() >= {"speech_end", "speech_stopped", "first_audible", "response_done"}


def test_a_service_with_another_sample_rate_refuses_the_default_one(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, more="formats: pcm16@16000\n") as simulator:
        target = resolve_target({}, url=simulator.urls["ga"])
        misfit = play_call(target, tmp_path)
        fit = play_call(target, tmp_path, input_format="pcm16@16000", output_format="pcm16@16000")

    assert misfit.session.outcome != "ok"
    assert "rate" in misfit.session.detail
    assert [turn.outcome for turn in fit.turns] == ["ok"]
