"""Audio that arrives after the service has ended its response."""

from __future__ import annotations

import pytest

from bench.services.openai.preview import PREVIEW
from bench.wire.dialect import Dialect
from tests.helpers import GA, LOUD, MS, Talk, created, delta, done

HALVES = 2


def answered(dialect: Dialect = GA) -> Talk:
    """Return a talk whose first response is done, with 100 ms of audio."""
    talk = Talk(dialect)
    talk.ask(0)
    talk.hear(100, created("r1"), delta(dialect, "audio", "r1", LOUD))
    talk.hear(200, done("r1"))
    return talk


@pytest.mark.parametrize("dialect", [GA, PREVIEW], ids=["ga", "preview"])
@pytest.mark.parametrize("is_delivered", [True, False])
def test_audio_after_the_end_of_its_response_is_counted_by_the_session(
    dialect: Dialect, is_delivered: bool
) -> None:
    talk = answered(dialect)
    if is_delivered:
        talk.take(250)
    talk.hear(300, *HALVES * [delta(dialect, "audio", "r1", LOUD)])
    talk.take(10_000)
    (turn,), session = talk.taken, talk.timeline.session()

    assert (turn.outcome, turn.audio_bytes_received) == ("ok", 4_800)
    assert session.audio_after_end_ns == HALVES * 100 * MS
    assert session.audio_bytes_received == (1 + HALVES) * 4_800


def test_it_is_counted_also_while_the_next_turn_is_open_and_is_not_of_that_turn() -> None:
    talk = answered()
    talk.take(250)
    talk.ask(300, 2)
    talk.hear(400, created("r2"), delta(GA, "audio", "r1", LOUD), delta(GA, "audio", "r2", LOUD))
    talk.hear(500, done("r2"))
    talk.take(600)

    assert [turn.audio_bytes_received for turn in talk.taken] == [4_800, 4_800]
    assert talk.timeline.session().audio_after_end_ns == 100 * MS


def test_audio_of_a_turn_that_ended_before_its_response_is_not_late() -> None:
    talk = Talk(next_delta=1)
    talk.ask(0)
    talk.hear(100, created("r1"), delta(GA, "audio", "r1", LOUD))
    talk.hear(5_000, delta(GA, "audio", "r1", LOUD), done("r1"))
    talk.take(6_000)

    assert [turn.outcome for turn in talk.taken] == ["timeout:next_delta"]
    assert talk.timeline.session().audio_after_end_ns == 0


def test_empty_deltas_and_other_events_after_the_end_are_no_audio() -> None:
    talk = answered()
    talk.take(250)
    talk.hear(300, delta(GA, "audio", "r1", ""), delta(GA, "transcript", "r1"))

    assert talk.timeline.session().audio_after_end_ns == 0
