"""Calls with an agent that immediately says "hm" and answers later.

The tests check the latency of the answer, and which sounds count as fillers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.observe.observation import TurnObservation
from bench.plan.recordings import Pcm, SpeechSpan
from bench.plan.turns import AudioTurn, GreetingTurn, Step
from bench.record.replay import replay_log
from tests.attack.agent_calls import JITTER_MS, Call, play_call
from tests.attack.agents import AFTER_UTTERANCE, VOICES, Actions, AgentVoice
from tests.helpers import MS

FILLER_AFTER_MS, FILLER_MS, ANSWER_MS = 300, 140, 1_000
CHUNK_MS = 100
"""The maximum delay in ms after which the agent detects the end of a question."""
QUESTIONS = 3
QUESTION = (8_000 * np.sin(np.arange(24 * 1_500) / 8)).astype("<i2").tobytes()
"""A recorded question without pauses. The agent of these tests would take a pause for the end of
the question."""
STEPS: tuple[Step, ...] = (
    GreetingTurn(wait_for="greeting"),
    *[
        AudioTurn(
            audio=(
                Pcm(Path("question.wav"), "question", QUESTION, SpeechSpan(0, len(QUESTION) // 2)),
            )
        )
    ]
    * QUESTIONS,
)


def hesitating(voice: AgentVoice, pause_ms: int, *, answers: bool = True) -> Actions:
    """Yield the actions of an agent that greets, and says "hm" after each question.

    It answers `pause_ms` after the "hm".
    """
    yield from voice.says()
    for _ in range(QUESTIONS):
        yield AFTER_UTTERANCE
        yield FILLER_AFTER_MS
        yield from voice.says(FILLER_MS)
        yield pause_ms
        if answers:
            yield from voice.says(ANSWER_MS)


def call_of(voice: AgentVoice, tmp_path: Path, actions: Actions, **keys: Any) -> Call:
    call = play_call(voice, actions, STEPS, tmp_path / "call.jsonl", keys)
    again = replay_log(tmp_path / "call.jsonl")
    assert (again.session, list(again.turns)) == (call.session, call.turns)
    return call


def wait_ms(turn: TurnObservation, metric: str) -> float:
    return turn.metrics_ns()[metric] / MS


@pytest.mark.parametrize("voice", VOICES.values(), ids=VOICES)
def test_an_answer_during_the_next_question_counts_as_latency_of_neither_turn(
    voice: AgentVoice, tmp_path: Path
) -> None:
    call = call_of(voice, tmp_path, hesitating(voice, 2_000))
    _, first, *later = call.turns

    assert (
        FILLER_AFTER_MS
        <= wait_ms(first, "voice_to_voice") - JITTER_MS
        <= FILLER_AFTER_MS + CHUNK_MS + 1
    )
    assert later[0].cut_off
    assert not {"voice_to_voice", "dead_air"} & later[0].metrics_ns().keys()
    assert all(value >= 0 for turn in later for value in turn.metrics_ns().values())


@pytest.mark.parametrize("voice", VOICES.values(), ids=VOICES)
@pytest.mark.parametrize("pause_ms", [600, 2_000])
def test_with_answer_min_ms_the_turn_ends_with_the_answer_and_has_both_latencies(
    voice: AgentVoice, pause_ms: int, tmp_path: Path
) -> None:
    call = call_of(voice, tmp_path, hesitating(voice, pause_ms), answer_min_ms=500.0)

    assert [turn.outcome for turn in call.turns] == ["ok"] * (QUESTIONS + 1)
    for turn in call.turns[1:]:
        filler_ms, answer_ms = (
            wait_ms(turn, "voice_to_voice"),
            wait_ms(turn, "answer_voice_to_voice"),
        )
        assert (turn.cut_off, turn.preamble) == (False, True)
        assert FILLER_AFTER_MS <= filler_ms - JITTER_MS <= FILLER_AFTER_MS + CHUNK_MS + 1
        # a player whose buffer ran empty does not buffer again
        assert abs(answer_ms - filler_ms - FILLER_MS - pause_ms) <= JITTER_MS


def test_a_turn_with_only_fillers_times_out_and_its_detail_names_the_cause(tmp_path: Path) -> None:
    voice = VOICES["pcm"]
    call = call_of(voice, tmp_path, hesitating(voice, 2_000, answers=False), answer_min_ms=500.0)

    assert call.turns[1].outcome == "timeout:first_delta"
    assert call.turns[1].detail.startswith(
        "only fillers (each shorter than answer_min_ms) were received within 3 s"
    )


def test_an_answer_that_begins_before_the_question_ends_is_not_the_answer(tmp_path: Path) -> None:
    """The agent takes a pause for the end of the question, and gives a long answer.

    After the whole question, the agent answers again.
    """
    voice = VOICES["pcm"]

    def actions() -> Actions:
        yield from voice.says()
        yield 2_600  # during the first question
        yield from voice.says(1_500)
        yield 1_900
        yield from voice.says(ANSWER_MS)

    call = play_call(voice, actions(), STEPS[:2], tmp_path / "call.jsonl", {"answer_min_ms": 500.0})
    turn = call.turns[1]

    assert (turn.outcome, turn.cut_off) == ("ok", True)
    assert turn.instants["answer_audible"] > turn.instants["speech_end"]
    assert wait_ms(turn, "answer_voice_to_voice") == wait_ms(turn, "voice_to_voice")
