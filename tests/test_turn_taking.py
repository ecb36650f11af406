"""The pause at which simulated services cut their callers off, found from conversations in virtual time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.observe import inputs
from bench.observe.observation import TurnObservation
from bench.plan.compiled_script import CompiledScript
from bench.plan.script import load_script
from bench.services.registry import DIALECTS
from bench.simulator.profile import default_profile
from bench.simulator.services.agents import SILENCE_MS as AGENT_SILENCE_MS
from reports.statistics.cut_off_pause import cut_off_pause
from tests.agent_transport import Transport, build_profile
from tests.helpers import MS, seated
from tests.simulator_process import AUDIO
from tests.talking import Simulator, talked

SILENCE_MS = 700
LADDER_MS = range(300, 901, 40)


def write(folder: Path, detection: str, pauses: str, greeting: str = "") -> Path:
    path = folder / "ladder.yaml"
    path.write_text(f"""
session: {{turn_detection: {detection}}}
steps:
{greeting}
  - audio: {AUDIO}/late_parcel.wav
    then: {{audio: {AUDIO}/order_number.wav, pauses_ms: {pauses}}}
    chunk_ms: 20
""")
    return path


def cut_off_pause_of(turns: list[TurnObservation]) -> float:
    known = [turn for turn in turns if turn.cut_off is not None or turn.outcome == "cancelled:turn_detected"]
    cut = [bool(turn.cut_off or turn.vad_splits or turn.outcome == "cancelled:turn_detected") for turn in known]
    pauses = np.array([turn.speech_pause_ns for turn in known], float) / MS
    return cut_off_pause(pauses, np.array(cut, float), np.arange(len(known))).value


def test_the_cut_off_pause_of_a_service_is_the_silence_of_its_vad_within_20_ms(tmp_path: Path) -> None:
    turns = []
    for pause_ms in LADDER_MS:
        detection = f"{{type: server_vad, silence_duration_ms: {SILENCE_MS}}}"
        script = CompiledScript(load_script(write(tmp_path, detection, str(pause_ms))), DIALECTS["ga"])
        turns += talked(script.prepare_session(0, 0), Simulator(DIALECTS["ga"], default_profile(), 1)).turns[:1]

    assert [turn.speech_pause_ns for turn in turns] == [pause_ms * MS for pause_ms in LADDER_MS]
    assert cut_off_pause_of(turns) == pytest.approx(SILENCE_MS, abs=20)


@pytest.mark.parametrize("way", ["pcm", "twilio"])
def test_the_cut_off_pause_of_an_agent_that_answers_each_silence_is_this_silence_within_20_ms(
    tmp_path: Path, way: str
) -> None:
    turns = []
    for pause_ms in LADDER_MS:
        script = CompiledScript(
            load_script(write(tmp_path, "full_duplex", str(pause_ms), "  - wait_for: greeting")), DIALECTS[way]
        )
        transport = Transport(way, build_profile())
        session, timeline, listening = seated(script.prepare_session(0, 0), transport)
        timeline.apply(inputs.Connected({"opened": transport.now_ns()}, {}))
        session.run()
        turns += listening.turns[1:2]

    assert cut_off_pause_of(turns) == pytest.approx(AGENT_SILENCE_MS, abs=20)


def test_a_session_uses_one_of_several_pauses_and_each_pause_has_its_exact_length(tmp_path: Path) -> None:
    script = load_script(write(tmp_path, "server_vad", "[300, 1000]"))
    short, long = script.turns[0].recordings

    assert long.samples - short.samples == 24 * 700
    compiled = CompiledScript(script, DIALECTS["ga"])
    assert {compiled.prepare_session(0, number).turns[0].plan.pause_ns for number in range(20)} == {
        300 * MS,
        1_000 * MS,
    }
