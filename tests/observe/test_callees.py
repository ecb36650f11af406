"""The verdicts of an agent that dials, from the sound and from the end of its call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest

from bench.base.clock import Arrival
from bench.base.units import NS_PER_MS
from bench.catalogue.timeouts import Timeouts
from bench.observe import inputs
from bench.observe.inputs import ConnectionClosed, Sent, SessionStart
from bench.observe.timeline import Timeline
from bench.plan.turn_plan import MAILBOX, TurnPlan
from bench.services.telephone import TELEPHONE
from bench.wire.audio import G711_ULAW
from bench.wire.connection import ReceivedMessage
from bench.wire.dialect import BinaryMessage
from tests.helpers import AT_NS, at

FRAME_MS = 20
CHUNK_BYTES = 160
BEEP_MS = 5_000
RECORD_MS = 20_000
RNG = np.random.default_rng(7)


class Heard(NamedTuple):
    """The words of the agent, each a start and an end in ms, and the end of the call."""

    words: Sequence[tuple[int, int]]
    ended_ms: int
    by: str = "agent"


def plan(number: int, callee: str) -> TurnPlan:
    return TurnPlan(
        number,
        f"turn_{number}",
        f"turn-{number}-",
        f"turn-{number}-request",
        vad=True,
        service_responds=True,
        speech_format="g711_ulaw",
        reply_format="g711_ulaw",
        callee=callee,
        record_ns=RECORD_MS * NS_PER_MS,
    )


def call(callee: str) -> Timeline:
    start = SessionStart(AT_NS, 2, Timeouts(), service_responds=True, callee=callee)
    timeline = Timeline(start, TELEPHONE, reply_format="g711_ulaw")
    timeline.apply(inputs.Connected({"opened": AT_NS}, {}))
    return timeline


def send(timeline: Timeline, at_ms: float, *instants: str) -> None:
    moments = dict.fromkeys(instants, 0)
    timeline.apply(
        Sent("audio", at(at_ms), 172, NS_PER_MS, audio_bytes=CHUNK_BYTES, instants=moments)
    )


def play(timeline: Timeline, heard: Heard, from_ms: int = 0, until_ms: int = 0) -> None:
    """Receive the agent's audio in this time, with a voice-like noise for its words."""
    size = 8 * FRAME_MS
    for start_ms in range(from_ms, until_ms or heard.ended_ms, FRAME_MS):
        is_word = any(first <= start_ms < last for first, last in heard.words)
        samples = (RNG.normal(0, 6_000, size) if is_word else np.zeros(size)).astype(np.int16)
        data = BinaryMessage(G711_ULAW.encode(samples))
        message = ReceivedMessage(data, Arrival(at(start_ms + FRAME_MS)), len(data) + 12)
        timeline.apply(inputs.Received(TELEPHONE.decode(data), message))


def end(timeline: Timeline, heard: Heard) -> None:
    timeline.expire(at(heard.ended_ms))
    if heard.by == "agent":
        timeline.apply(ConnectionClosed(1000, at(heard.ended_ms), "the peer hung up"))
    elif heard.by == "network":
        timeline.apply(ConnectionClosed(1006, at(heard.ended_ms), "no answer"))
    elif not timeline.is_over:
        timeline.apply(inputs.ScriptFinished(at(heard.ended_ms)))


SILENT = ()
MESSAGES = {
    "leaves a message after the beep": (Heard([(6_000, 9_000)], 9_500), False, False),
    "hangs up in the greeting": (Heard(SILENT, 3_000), False, False),
    "hangs up after the beep without a word": (Heard(SILENT, 7_000), False, False),
    "speaks in the greeting, and hangs up in it": (Heard([(1_000, 2_000)], 4_000), False, True),
    "begins in the greeting": (Heard([(3_000, 8_000)], 8_500), False, True),
    "waits for an answer": (Heard([(6_000, 8_000)], 13_000), True, False),
    "greets early, and waits": (Heard([(1_000, 2_000)], 10_000), True, True),
    "waits, and asks again": (Heard([(6_000, 7_000), (12_000, 13_000)], 13_500), True, False),
    "pauses in its message": (Heard([(6_000, 8_000), (10_500, 12_000)], 12_500), False, False),
    "says and does nothing": (Heard(SILENT, 25_000, "mailbox"), None, False),
    "speaks without end": (Heard([(6_000, 25_000)], 25_000, "mailbox"), None, False),
    "is cut off in its message": (Heard([(6_000, 9_000)], 9_000, "network"), None, False),
    "is cut off before a word": (Heard(SILENT, 2_000, "network"), None, None),
    "is cut off after it has waited": (Heard([(6_000, 7_000)], 12_000, "network"), True, False),
    "speaks across the end of the beep": (Heard([(4_980, 8_000)], 8_500), False, None),
}


@pytest.mark.parametrize("agent", MESSAGES)
def test_whom_an_agent_takes_a_mailbox_for_follows_from_its_words_and_its_hang_up(
    agent: str,
) -> None:
    heard, for_person, before_beep = MESSAGES[agent]
    timeline = call(MAILBOX)
    timeline.apply(inputs.TurnStarted(AT_NS, plan(1, MAILBOX)))
    send(timeline, 0, "greeting_start")
    play(timeline, heard, 0, min(BEEP_MS, heard.ended_ms))
    if heard.ended_ms > BEEP_MS:
        send(timeline, BEEP_MS, "beep_end")
        play(timeline, heard, BEEP_MS)
    end(timeline, heard)
    (turn,) = timeline.pop_turns(at(heard.ended_ms))

    assert (turn.callee, turn.taken_for_person, turn.spoke_before_beep) == (
        MAILBOX,
        for_person,
        before_beep,
    )
    assert turn.outcome == ("closed:1006" if heard.by == "network" else "ok")
    assert turn.taken_for_mailbox is None
    assert ("greeting_audible" in timeline.session().instants) == bool(heard.words)


TALKS = {
    "answers both turns": (Heard([(1_000, 2_000), (6_000, 7_000)], 9_000, "person"), False),
    "answers both turns, and hangs up": (Heard([(1_000, 2_000), (6_000, 7_000)], 7_200), False),
    "hangs up without a word": (Heard(SILENT, 1_500), True),
    "leaves a message": (Heard([(1_000, 3_000)], 3_200), True),
    "leaves a message, and hangs up in the second turn": (Heard([(1_000, 3_000)], 5_200), True),
    "is cut off": (Heard([(1_000, 3_000)], 5_200, "network"), None),
}


@pytest.mark.parametrize("agent", TALKS)
def test_whom_an_agent_takes_a_person_for_shows_in_its_answer_to_the_second_turn(
    agent: str,
) -> None:
    heard, for_mailbox = TALKS[agent]
    timeline = call("person")
    rows = []
    timeline.apply(inputs.TurnStarted(AT_NS, plan(1, "person")))
    send(timeline, 0, "speech_start")
    play(timeline, heard, 0, 500)
    send(timeline, 500, "speech_end")
    play(timeline, heard, 500, min(5_000, heard.ended_ms))
    rows += timeline.pop_turns(at(min(5_000, heard.ended_ms)))
    assert rows == [], "the verdict is not known yet"
    if heard.ended_ms > 5_000:
        timeline.apply(inputs.TurnStarted(at(5_000), plan(2, "")))
        send(timeline, 5_000, "speech_start")
        play(timeline, heard, 5_000, 5_200)
        send(timeline, 5_200, "speech_end")
        play(timeline, heard, 5_200)
    end(timeline, heard)
    rows += timeline.pop_turns(at(heard.ended_ms))

    assert rows[0].callee == "person"
    assert [row.taken_for_mailbox for row in rows] == [for_mailbox, None][: len(rows)]
