"""vLLM-Omni's full-duplex server: what opens a session, what is refused, and a conversation with
the simulated one.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.base.errors import UsageError
from bench.doctor import service_checks
from bench.plan.compiled_script import CompiledScript
from bench.plan.script import load_script
from bench.services.vllm_omni import VLLM_OMNI as DIALECT
from rtbench_simulator.profile import quiet_profile
from rtbench_simulator.services.vllm_omni import VLLM_OMNI as WIRE
from tests.doctor.targets import build_target
from tests.simulator_process import AUDIO
from tests.talking import Simulator, Talked, talked


def talk(folder: Path, steps: str) -> Talked:
    path = folder / "talk.yaml"
    extra = (
        "extra: {ref_audio: 'data:audio/wav;base64,UklGRg==', overlap_policy: barge_in_on_speech}"
    )
    path.write_text(
        "session: {turn_detection: {type: server_vad, silence_duration_ms: 500},"
        f" {extra}}}\nsteps:\n{steps}"
    )
    script = CompiledScript(load_script(path), DIALECT).prepare_session(0, 0)
    return talked(script, Simulator(DIALECT, quiet_profile(), 1, wire=WIRE))


def test_a_conversation_has_the_instants_of_the_simulated_server_and_an_interruption(
    tmp_path: Path,
) -> None:
    spoken = (
        f"- audio: {AUDIO}/late_parcel.wav\n- interrupt: {{audio: {AUDIO}/not_today.wav, after:"
        " 0.5}\n"
    )
    talk_of = talk(tmp_path, spoken)
    names = [event["type"] for _, event in talk_of.simulator.heard]
    sent = {event.type: event.due_ns for event in reversed(talk_of.simulator.said)}
    first, second = talk_of.turns

    assert names[:2] == ["session.update", "input_audio_buffer.append"]
    assert (first.outcome, second.outcome) == ("interrupted", "ok")
    assert first.yielded
    assert first.instants["first_audio"] == sent["response.output_audio.delta"]
    assert first.instants["committed"] == sent["input_audio_buffer.committed"]
    assert "input_audio_buffer.speech_started" in sent


def test_text_turns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="answers only speech"):
        talk(tmp_path, "- text: Hello.\n")


def test_the_turn_of_the_doctor_is_speech() -> None:
    target = replace(build_target(), dialect=DIALECT, session={})

    assert service_checks._script(target, greets=False).turns[0].kind == "audio"
