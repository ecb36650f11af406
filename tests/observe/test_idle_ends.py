"""The end of a connection after a silence: its detail states the silence, and its remedy names
who ends it.
"""

from __future__ import annotations

import pytest

from bench.catalogue.outcomes import IDLE_REMEDY, remedy_of
from bench.observe import inputs
from bench.observe.observation import SessionObservation
from bench.wire.connection import CloseCause, SentChunk
from tests.helpers import GA, Talk, at, created, delta, done


def answered() -> Talk:
    """Return a talk whose first turn ended after one second."""
    talk = Talk()
    talk.ask(0)
    talk.hear(900, created("r1"), delta(GA, "audio", "r1"))
    talk.hear(1_000, done("r1"))
    talk.take(1_000)
    return talk


def end(
    talk: Talk, at_ms: float, code: int = 1006, reason: str = "", cause: CloseCause = ""
) -> SessionObservation:
    talk.timeline.apply(inputs.ConnectionClosed(code, at(at_ms), reason, cause=cause))
    return talk.timeline.session()


@pytest.mark.parametrize(
    ("code", "cause", "reason", "detail"),
    [
        (
            1006,
            "",
            "unexpected end of stream",
            "unexpected end of stream; no message had passed for 60 s",
        ),
        (
            1006,
            "reset",
            "Connection reset by peer",
            "Connection reset by peer; no message had passed for 60 s",
        ),
        (1001, "", "", "no message had passed for 60 s"),
        (1000, "", "idle", "idle; no message had passed for 60 s"),
    ],
)
def test_the_end_of_a_silent_connection_states_how_long_it_was_silent(
    code: int, cause: CloseCause, reason: str, detail: str
) -> None:
    session = end(answered(), 61_000, code, reason, cause)

    assert session.detail == detail
    assert remedy_of(session.outcome, session.detail) == IDLE_REMEDY
    assert session.close_reason == reason


def test_a_sent_message_ends_the_silence() -> None:
    talk = answered()
    talk.begin(30_000, 2)
    talk.send(30_000, "conversation.item.create")

    assert end(talk, 61_000).detail == "no message had passed for 31 s"


def test_chunks_of_audio_that_the_event_loop_sends_end_the_silence() -> None:
    talk = answered()
    talk.timeline.apply(SentChunk(at(60_900), 4_000, 3_000, 0, 20_000_000))

    assert end(talk, 61_000).detail == ""


@pytest.mark.parametrize("code", [1006, 1011])
def test_the_end_of_a_busy_connection_has_its_usual_remedy(code: int) -> None:
    session = end(answered(), 1_500, code, "oops")

    assert session.detail == "oops"
    assert remedy_of(session.outcome, session.detail) not in ("", IDLE_REMEDY)
