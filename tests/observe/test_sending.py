"""Transmit timestamps of the kernel: the instants that they change, by how much, and timestamps
that have no effect.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.observe.observation import TurnObservation
from bench.services.openai.dialect import GA
from tests.examples import thorough
from tests.helpers import (
    MS,
    Talk,
    after_ms,
    answers,
    at,
    committed,
    created,
    delta,
    done,
    hears,
    reply,
    speech_started,
    transcribed,
)


def ask(talk: Talk, at_ms: float = 0, ticket: int = 1) -> None:
    """Send a text turn. `ticket` is the ticket of its request."""
    talk.begin(at_ms)
    talk.send(at_ms, "response.create", ticket=ticket)


def test_request_sent_and_request_ack_are_based_on_kernel_timestamps() -> None:
    talk = Talk()
    ask(talk)
    talk.transmit(3, 1)
    talk.transmit(23, 1, acknowledged=True)
    talk.hear(503, *reply(GA, "r1"))
    turn = talk.only()

    assert (after_ms(turn, "request_sent"), after_ms(turn, "request_acked")) == (3, 23)
    assert (turn.metrics_ns()["ttfa"], turn.metrics_ns()["request_ack"]) == (500 * MS, 20 * MS)
    assert (
        turn.send_timestamp_source,
        turn.widths_ns.get("request_sent"),
        turn.transmit_delay_ns,
    ) == (
        "kernel",
        0,
        3 * MS,
    )


def test_speech_start_and_speech_end_in_one_chunk_move_together() -> None:
    talk = Talk()
    talk.begin(0)
    moments = {"speech_start": 90 * MS, "speech_end": 40 * MS}
    talk.send(100, "input_audio_buffer.append", ticket=1, audio_bytes=4_800, instants=moments)
    talk.send(101, "response.create", ticket=2)
    talk.transmit(106, 1)
    talk.transmit(108, 2)
    talk.hear(503, *reply(GA, "r1"))
    turn = talk.only()

    found = [after_ms(turn, name) for name in ("speech_start", "speech_end", "request_sent")]
    assert found == [16, 66, 108]


@pytest.mark.parametrize("limit", ["end_of_turn", "first_delta"])
def test_a_timeout_counts_from_the_kernel_timestamp(limit: str) -> None:
    talk = Talk(service_responds=limit == "end_of_turn", end_of_turn=1, first_delta=1)
    if limit == "end_of_turn":
        talk.begin_speech(0)
        talk.end_speech(100, ticket=1)
    else:
        ask(talk, 100)
    talk.transmit(130, 1)
    talk.timeline.expire(at(1_129))
    in_time = talk.timeline.turns.are_all_over
    talk.timeline.expire(at(5_000))
    turn = talk.only()

    assert not in_time
    assert (turn.outcome, after_ms(turn, "ended")) == (f"timeout:{limit}", 1_130)


# Timestamps without effect.


def test_an_acknowledgement_after_the_turn_s_end_is_ignored() -> None:
    talk = Talk()
    talk.ask(0, audio_bytes=4_800, transcription_due=True)
    ended = [created("r1"), delta(GA, "audio", "r1"), done("r1")]
    talk.begin(100, 2)
    talk.send(100, "response.create", ticket=1)
    talk.transmit(101, 1)
    talk.hear(150, *ended, created("r2"), delta(GA, "audio", "r2"), done("r2"))
    talk.transmit(151, 1, acknowledged=True)
    turns = talk.take(100_000_000)

    assert all("request_acked" not in turn.instants for turn in turns)
    assert after_ms(turns[1], "request_sent") == 101


# Timestamps at any time.

Happening = Callable[[Talk], None]
Stamp = tuple[int, float, float, int]
"""The transmit timestamps of a message.

They are its ticket, the time when it left, the time when it was acknowledged, and the earliest
position at which the kernel may report these times.
"""


def typed() -> tuple[list[Happening], list[Stamp]]:
    return [
        lambda talk: ask(talk),
        lambda talk: talk.hear(50, created("r1")),
        lambda talk: talk.hear(500, delta(GA, "audio", "r1")),
        lambda talk: talk.hear(600, done("r1")),
    ], [(1, 0.3, 21, 1)]


def spoken() -> tuple[list[Happening], list[Stamp]]:
    moments = {"speech_start": 80 * MS, "speech_end": 10 * MS}
    append = "input_audio_buffer.append"
    return [
        lambda talk: talk.begin(0, transcription_due=True),
        lambda talk: talk.send(100, append, ticket=1, audio_bytes=4_800, instants=moments),
        lambda talk: talk.send(100, "input_audio_buffer.commit"),
        lambda talk: talk.send(101, "response.create", ticket=2),
        lambda talk: talk.hear(120, committed("item_1"), created("r1")),
        lambda talk: talk.hear(500, delta(GA, "audio", "r1")),
        lambda talk: talk.hear(600, done("r1")),
        lambda talk: talk.hear(900, transcribed("item_1")),
    ], [(1, 100.4, 119, 2), (2, 101.2, 119.5, 4)]


def detected(*, service_responds: bool) -> tuple[list[Happening], list[Stamp]]:
    happenings: list[Happening] = [
        lambda talk: talk.begin_speech(0),
        lambda talk: talk.hear(60, speech_started("item_1")),
        lambda talk: talk.end_speech(1_040, after_ms=40, ticket=1),
        lambda talk: hears(talk, 1_500),
        lambda talk: (
            talk.send(1_506, "response.create", ticket=2) if not service_responds else None
        ),
        lambda talk: answers(talk, 1_550),
    ]
    timestamps: list[Stamp] = [(1, 1_040.2, 1_061, 3)]
    return happenings, timestamps if service_responds else [*timestamps, (2, 1_506.1, 1_520, 5)]


def observed(happenings: list[Happening], *, service_responds: bool) -> TurnObservation:
    talk = Talk(service_responds=service_responds)
    for happens in happenings:
        happens(talk)
    return talk.only()


COURSES = [
    (*typed(), False),
    (*spoken(), False),
    (*detected(service_responds=True), True),
    (*detected(service_responds=False), False),
]


@thorough
@given(course=st.sampled_from(COURSES), data=st.data())
def test_a_kernel_timestamp_has_the_same_effect_whenever_it_arrives(
    course: tuple[list[Happening], list[Stamp], bool], data: st.DataObject
) -> None:
    happenings, timestamps, service_responds = course
    at_once, later = list(happenings), list(happenings)
    for ticket, sent_ms, acked_ms, first in reversed(timestamps):

        def leaves(talk: Talk, ticket: int = ticket, at_ms: float = sent_ms) -> None:
            talk.transmit(at_ms, ticket)

        def arrives(talk: Talk, ticket: int = ticket, at_ms: float = acked_ms) -> None:
            talk.transmit(at_ms, ticket, acknowledged=True)

        at_once[first:first] = [leaves, arrives]
        place = data.draw(st.integers(first, len(later)))
        later.insert(place, leaves)
        later.insert(data.draw(st.integers(place + 1, len(later))), arrives)
    turn = observed(at_once, service_responds=service_responds)

    assert turn.send_timestamp_source == "kernel"
    assert observed(later, service_responds=service_responds) == turn
