"""Turns that end because the caller of a recorded call spoke again, or because the recording
ended.
"""

from __future__ import annotations

import numpy as np
import pytest

from bench.base.clock import Arrival
from bench.catalogue.timeouts import Timeouts
from bench.observe import inputs
from bench.observe.inputs import SessionStart
from bench.observe.observation import TurnObservation
from bench.observe.timeline import Timeline
from bench.services.agents import PCM
from bench.wire.audio import PCM16_8K
from bench.wire.connection import ReceivedMessage
from bench.wire.dialect import BinaryMessage
from tests.helpers import AT_NS, MS, Talk, after_ms, at, build_turn

NOT_ANSWERED = "the agent had not answered when the caller spoke again, or when the recording ended"

FORMAT, FRAME_MS = "pcm16@8000", 20
RANDOM = np.random.default_rng(1)


class Call:
    """A call to an agent, which streams 20 ms at a time."""

    def __init__(self) -> None:
        start = SessionStart(
            AT_NS, 2, Timeouts(), service_responds=True, reply_silence_ns=3_000 * MS
        )
        self.timeline = Timeline(start, PCM, reply_format="pcm16@8000")
        self.at_ms = 0

    def hear(self, milliseconds: int, level: int) -> None:
        for _ in range(milliseconds // FRAME_MS):
            data = BinaryMessage(
                PCM16_8K.encode(RANDOM.uniform(-level, level, 8 * FRAME_MS).astype(np.int16))
            )
            self.timeline.apply(
                inputs.Received(
                    PCM.decode(data), ReceivedMessage(data, Arrival(at(self.at_ms)), len(data))
                )
            )
            self.at_ms += FRAME_MS

    def speak(self, number: int = 1) -> None:
        plan = build_turn(number, vad=True, service_responds=True, reply_format=FORMAT)
        self.timeline.apply(inputs.TurnStarted(at(self.at_ms), plan))
        instants = {"speech_start": 0, "speech_end": 0}
        self.timeline.apply(
            inputs.Sent("audio", at(self.at_ms), 9, audio_bytes=320, instants=instants)
        )

    def end(self) -> list[TurnObservation]:
        self.timeline.apply(inputs.TurnEnded(at(self.at_ms)))
        return self.timeline.pop_turns(at(self.at_ms))


def waited_ms(turn: TurnObservation, since: str, until: str) -> float:
    return (turn.instants[until] - turn.instants[since]) / MS


def test_the_end_of_a_turn_ends_its_reply_before_the_silence_has_lasted_long_enough() -> None:
    call = Call()
    call.hear(1_000, 0)
    call.speak()
    call.hear(500, 0)
    call.hear(400, 3_000)
    call.hear(300, 0)
    assert not call.timeline.turns.are_all_over

    (turn,) = call.end()

    assert turn.outcome == "ok"
    assert waited_ms(turn, "speech_end", "first_audible") == pytest.approx(500, abs=5)
    assert waited_ms(turn, "first_audible", "last_audible") == pytest.approx(400, abs=5)


def test_a_turn_that_ends_without_a_reply_timed_out() -> None:
    call = Call()
    call.hear(1_000, 0)
    call.speak()
    call.hear(2_000, 0)

    (turn,) = call.end()

    assert (turn.outcome, turn.detail) == ("timeout:first_delta", NOT_ANSWERED)
    assert after_ms(turn, "ended") == 3_000


def test_sound_after_the_end_of_a_turn_belongs_to_the_next_turn() -> None:
    call = Call()
    call.hear(1_000, 0)
    call.speak()
    call.hear(500, 0)
    call.hear(400, 3_000)
    call.hear(300, 0)
    (first,) = call.end()
    call.speak(2)
    call.hear(700, 0)
    call.hear(400, 3_000)
    call.hear(300, 0)
    (second,) = call.end()

    assert [first.outcome, second.outcome] == ["ok", "ok"]
    assert waited_ms(second, "speech_end", "first_audible") == pytest.approx(700, abs=5)


def test_without_a_turn_nothing_ends() -> None:
    call = Call()
    call.hear(1_000, 0)
    assert call.end() == []

    talk = Talk()
    talk.timeline.apply(inputs.TurnEnded(at(5)))
    assert talk.timeline.turns.are_all_over
    talk.ask(10)
    talk.timeline.apply(inputs.TurnEnded(at(50)))
    assert [turn.outcome for turn in talk.take(60)] == ["timeout:first_delta"]
