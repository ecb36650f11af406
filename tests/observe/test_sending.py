"""Transmit timestamps of the kernel: they have the same effect whenever they arrive."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from bench.observe.observation import TurnObservation
from bench.services.openai.dialect import GA
from tests.examples import thorough
from tests.helpers import (
    MS,
    Talk,
    answers,
    committed,
    created,
    delta,
    done,
    hears,
    speech_started,
    transcribed,
)


def ask(talk: Talk, at_ms: float = 0, ticket: int = 1) -> None:
    """Send a text turn. `ticket` is the ticket of its request."""
    talk.begin(at_ms)
    talk.send(at_ms, "response.create", ticket=ticket)


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
