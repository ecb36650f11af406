"""The pause at which simulated services cut callers off, and how often, from conversations in
virtual time.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.catalogue.outcomes import CANCELLED_SPLIT
from bench.observe import inputs
from bench.observe.observation import TurnObservation
from bench.plan.compiled_script import CompiledScript
from bench.plan.script import load_script
from bench.services.registry import DIALECTS
from reports.engine.evaluate import share
from reports.results.value import Subject
from reports.statistics.cut_off_pause import cut_off_pause
from rtbench_simulator.profile import quiet_profile
from rtbench_simulator.services.agents import SILENCE_MS as AGENT_SILENCE_MS
from tests.agent_transport import Transport, build_profile
from tests.examples import some
from tests.helpers import MS, seated
from tests.simulator_process import AUDIO
from tests.talking import Simulator, talked

SILENCE_MS = {"ga": 700, **dict.fromkeys(("pcm", "twilio", "sip"), AGENT_SILENCE_MS)}
"""The silence that ends a turn of each simulated service, which is no pause of the ladder."""
LADDER_MS = range(400, 1_001, 40)


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


def was_cut_off(turn: TurnObservation) -> bool:
    return bool(turn.cut_off or turn.vad_splits) or turn.outcome == CANCELLED_SPLIT


def talk(folder: Path, way: str, pause_ms: int) -> tuple[TurnObservation, bool]:
    """Return a turn with this pause, from a conversation in virtual time, and whether it was really
    cut off.

    A turn with an agent is if the agent sent at least three frames of sound (60 ms) before the
    speech ended. An agent that stops earlier was not heard: its replies begin with silence.
    """
    if way == "ga":
        path = write(
            folder, f"{{type: server_vad, silence_duration_ms: {SILENCE_MS[way]}}}", str(pause_ms)
        )
        script = CompiledScript(load_script(path), DIALECTS[way]).prepare_session(0, 0)
        turn = talked(script, Simulator(DIALECTS[way], quiet_profile(), 1)).turns[0]
        return turn, pause_ms > SILENCE_MS[way]
    path = write(folder, "full_duplex", str(pause_ms), "  - wait_for: greeting")
    script = CompiledScript(load_script(path), DIALECTS[way]).prepare_session(0, 0)
    transport = Transport(way, build_profile())
    session, timeline, listening = seated(script, transport)
    timeline.apply(inputs.Connected({"opened": transport.now_ns()}, {}))
    session.run()
    turn = listening.turns[1]
    in_turn = range(turn.start_ns, turn.instants["speech_end"])
    sounding = [
        sent
        for sent in transport.agent.said
        if sent.audible_byte is not None and sent.due_ns in in_turn
    ]
    return turn, len(sounding) >= 3


Ladder = tuple[int, list[tuple[TurnObservation, bool]]]
"""The silence that ends a turn of a simulated service, and a turn with each pause of the ladder."""


@pytest.fixture(scope="module", params=some([*SILENCE_MS], 2))
def ladder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ladder:
    folder = tmp_path_factory.mktemp(request.param)
    return SILENCE_MS[request.param], [
        talk(folder, request.param, pause_ms) for pause_ms in LADDER_MS
    ]


def test_the_cut_off_pause_is_the_silence_that_ends_a_turn_within_20_ms(ladder: Ladder) -> None:
    silence_ms, talks = ladder
    cut = np.array([was_cut_off(turn) for turn, _ in talks], float)

    assert [turn.speech_pause_ns for turn, _ in talks] == [pause_ms * MS for pause_ms in LADDER_MS]
    found = cut_off_pause(np.array(LADDER_MS, float), cut, np.arange(len(talks)))
    assert found.value == pytest.approx(silence_ms, abs=20)


def test_the_interval_of_the_share_of_cut_off_turns_covers_the_true_share_in_95_percent_of_runs(
    ladder: Ladder,
) -> None:
    _, talks = ladder
    cut, truth = (
        np.array(column)
        for column in zip(*((was_cut_off(turn), true) for turn, true in talks), strict=True)
    )
    rng, runs, covered = np.random.default_rng(5), 400, 0
    for _ in range(runs):
        drawn = rng.integers(0, len(talks), 120)
        found = share(Subject(target="sim"), "cut_off", cut[drawn], np.repeat(np.arange(40), 3))
        covered += found.low <= truth.mean() <= found.high

    assert 0.95 * runs - 1.65 * (0.95 * 0.05 * runs) ** 0.5 <= covered < runs


def test_a_session_uses_one_of_several_pauses_and_each_pause_has_its_exact_length(
    tmp_path: Path,
) -> None:
    script = load_script(write(tmp_path, "server_vad", "[300, 1000]"))
    short, long = script.turns[0].recordings

    assert long.samples - short.samples == 24 * 700
    compiled = CompiledScript(script, DIALECTS["ga"])
    assert {compiled.prepare_session(0, number).turns[0].plan.pause_ns for number in range(20)} == {
        300 * MS,
        1_000 * MS,
    }
