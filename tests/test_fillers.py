"""Calls with an agent that says "hm" at once and answers later: whose wait the answer is, and what is a filler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.observe.observation import TurnObservation
from bench.plan.recordings import Pcm, SpeechSpan
from bench.plan.turns import AudioTurn, GreetingTurn, Step
from bench.run.replay import replay_log
from tests.attack.agent_calls import JITTER_MS, Call, called
from tests.attack.agents import HEARD, MOUTHS, Deeds, Mouth
from tests.helpers import MS

FILLER_AFTER_MS, FILLER_MS, ANSWER_MS = 300, 140, 1_000
CHUNK_MS = 100
"""How long after the end of a question the agent hears at most that it has ended."""
QUESTIONS = 3
QUESTION = (8_000 * np.sin(np.arange(24 * 1_500) / 8)).astype("<i2").tobytes()
"""Without a pause: an agent of these tests takes one for the end."""
STEPS: tuple[Step, ...] = (
    GreetingTurn(wait_for="greeting"),
    *[AudioTurn(audio=(Pcm(Path("question.wav"), "question", QUESTION, SpeechSpan(0, len(QUESTION) // 2)),))]
    * QUESTIONS,
)


def hesitating(mouth: Mouth, pause_ms: int, *, answers: bool = True) -> Deeds:
    """An agent that greets, and says "hm" after each question; so many ms later it answers."""
    yield from mouth.says()
    for _ in range(QUESTIONS):
        yield HEARD
        yield FILLER_AFTER_MS
        yield from mouth.says(FILLER_MS)
        yield pause_ms
        if answers:
            yield from mouth.says(ANSWER_MS)


def call_of(mouth: Mouth, tmp_path: Path, deeds: Deeds, **keys: Any) -> Call:
    call = called(mouth, deeds, STEPS, tmp_path / "call.jsonl", keys)
    again = replay_log(tmp_path / "call.jsonl")
    assert (again.session, list(again.turns)) == (call.session, call.turns)
    return call


def wait_ms(turn: TurnObservation, metric: str) -> float:
    return turn.metrics_ns()[metric] / MS


@pytest.mark.parametrize("mouth", MOUTHS.values(), ids=MOUTHS)
def test_an_answer_that_comes_during_the_next_question_is_no_wait_of_either(mouth: Mouth, tmp_path: Path) -> None:
    call = call_of(mouth, tmp_path, hesitating(mouth, 2_000))
    _, first, *later = call.turns

    assert FILLER_AFTER_MS <= wait_ms(first, "voice_to_voice") - JITTER_MS <= FILLER_AFTER_MS + CHUNK_MS + 1
    assert later[0].cut_off
    assert not {"voice_to_voice", "dead_air"} & later[0].metrics_ns().keys()
    assert all(value >= 0 for turn in later for value in turn.metrics_ns().values())


@pytest.mark.parametrize("mouth", MOUTHS.values(), ids=MOUTHS)
def test_a_longer_silence_makes_a_filler_and_its_answer_one_reply(mouth: Mouth, tmp_path: Path) -> None:
    call = call_of(mouth, tmp_path, hesitating(mouth, 2_000), reply_silence_ms=2_500.0)

    for turn in call.turns[1:]:
        assert (turn.outcome, turn.cut_off) == ("ok", False)
        assert FILLER_AFTER_MS <= wait_ms(turn, "voice_to_voice") - JITTER_MS <= FILLER_AFTER_MS + CHUNK_MS + 1
        assert 2_000 <= wait_ms(turn, "dead_air") <= 2_000 + 60 + JITTER_MS
        assert "answer_voice_to_voice" not in turn.metrics_ns()


@pytest.mark.parametrize("mouth", MOUTHS.values(), ids=MOUTHS)
@pytest.mark.parametrize("pause_ms", [600, 2_000])
def test_a_script_that_says_how_long_an_answer_is_waits_for_it_and_measures_both(
    mouth: Mouth, pause_ms: int, tmp_path: Path
) -> None:
    call = call_of(mouth, tmp_path, hesitating(mouth, pause_ms), answer_min_ms=500.0)

    assert [turn.outcome for turn in call.turns] == ["ok"] * (QUESTIONS + 1)
    for turn in call.turns[1:]:
        filler_ms, answer_ms = wait_ms(turn, "voice_to_voice"), wait_ms(turn, "answer_voice_to_voice")
        assert (turn.cut_off, turn.preamble) == (False, True)
        assert FILLER_AFTER_MS <= filler_ms - JITTER_MS <= FILLER_AFTER_MS + CHUNK_MS + 1
        assert abs(answer_ms - filler_ms - FILLER_MS - pause_ms) <= JITTER_MS  # a player that ran dry has no buffer


def test_a_reply_without_a_filler_is_the_answer(tmp_path: Path) -> None:
    mouth = MOUTHS["twilio"]

    def deeds() -> Deeds:
        yield from mouth.says()
        for _ in range(QUESTIONS):
            yield HEARD
            yield FILLER_AFTER_MS
            yield from mouth.says(ANSWER_MS)

    for turn in call_of(mouth, tmp_path, deeds(), answer_min_ms=500.0).turns[1:]:
        assert (turn.outcome, turn.preamble) == ("ok", False)
        assert wait_ms(turn, "answer_voice_to_voice") == wait_ms(turn, "voice_to_voice")


def test_a_turn_of_fillers_alone_fails_and_says_so(tmp_path: Path) -> None:
    mouth = MOUTHS["pcm"]
    call = call_of(mouth, tmp_path, hesitating(mouth, 2_000, answers=False), answer_min_ms=500.0)

    assert call.turns[1].outcome == "timeout:first_delta"
    assert call.turns[1].detail.startswith(
        "only fillers (each shorter than answer_min_ms) were received within the limit"
    )


def test_an_answer_that_began_before_its_question_ended_is_not_the_answer(tmp_path: Path) -> None:
    """The agent takes a pause for the end, answers at length, and answers again once all was said."""
    mouth = MOUTHS["pcm"]

    def deeds() -> Deeds:
        yield from mouth.says()
        yield 2_600  # the first question is under way
        yield from mouth.says(1_500)
        yield 1_900
        yield from mouth.says(ANSWER_MS)

    call = called(mouth, deeds(), STEPS[:2], tmp_path / "call.jsonl", {"answer_min_ms": 500.0})
    turn = call.turns[1]

    assert (turn.outcome, turn.cut_off) == ("ok", True)
    assert turn.instants["answer_audible"] > turn.instants["speech_end"]
    assert wait_ms(turn, "answer_voice_to_voice") == wait_ms(turn, "voice_to_voice")
