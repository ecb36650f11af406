"""Responses that nothing requested: which of a session's responses answers a turn, and what is
uncertain.
"""

from __future__ import annotations

from typing import Any

import pytest

from bench.observe.observation import SessionObservation, TurnObservation
from bench.services.openai.preview import PREVIEW
from bench.services.registry import DIALECTS
from bench.wire.dialect import Dialect
from tests.helpers import (
    GA,
    LOUD,
    Talk,
    after_ms,
    committed,
    created,
    delta,
    done,
    hears,
    speaks,
    speech_started,
    speech_stopped,
)

REQUEST_KEY = "rtbench_request"
NAMING = {"ga", "ga-webrtc", "ga-webrtc-g711", "preview", "voice-live"}
"""The dialects of the services whose SDKs have the metadata of a response (openai 3.51,
azure-ai-voicelive 1.3.1)."""


def ask(talk: Talk, at_ms: float, number: int = 1, **changes: Any) -> None:
    talk.ask(at_ms, number, **{"names_requests": True} | changes)


def respond(talk: Talk, at_ms: float, response_id: str, request: str = "") -> None:
    """Receive a response with 100 ms of audio, 200 ms after its begin, and its end 100 ms later."""
    talk.hear(at_ms, created(response_id, **({REQUEST_KEY: request} if request else {})))
    talk.hear(at_ms + 200, delta(talk.dialect, "audio", response_id, LOUD))
    talk.hear(at_ms + 300, done(response_id))


def session_of(talk: Talk) -> tuple[list[TurnObservation], SessionObservation]:
    talk.take(1_000_000)
    return talk.taken, talk.timeline.session()


def facts(session: SessionObservation) -> tuple[int | None, bool]:
    return session.unrequested_responses, session.answers_uncertain


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda dialect: dialect.name)
def test_only_services_whose_documents_have_metadata_get_it(dialect: Dialect) -> None:
    assert dialect.names_requests is (dialect.name in NAMING)


@pytest.mark.parametrize("dialect", [GA, PREVIEW], ids=["ga", "preview"])
def test_a_response_that_names_no_request_does_not_answer_a_turn_if_others_name_theirs(
    dialect: Dialect,
) -> None:
    talk = Talk(dialect)
    ask(talk, 0)
    respond(talk, 100, "r_1", "turn-1-response")
    talk.take(450)
    ask(talk, 500, 2)
    respond(talk, 510, "r_stray")
    respond(talk, 900, "r_2", "turn-2-response")
    turns, session = session_of(talk)

    assert [turn.response_id for turn in turns] == ["r_1", "r_2"]
    assert after_ms(turns[1], "first_audio") == 1_100
    assert facts(session) == (1, False)


def test_an_answer_that_overlaps_a_response_without_a_request_keeps_its_own_audio() -> None:
    talk = Talk()
    ask(talk, 0)
    respond(talk, 100, "r_1", "turn-1-response")
    talk.take(450)
    ask(talk, 500, 2)
    talk.hear(510, created("r_stray"))
    talk.hear(520, created("r_2", **{REQUEST_KEY: "turn-2-response"}))
    talk.hear(600, delta(GA, "audio", "r_stray", LOUD), done("r_stray"))
    talk.hear(700, delta(GA, "audio", "r_2", LOUD), done("r_2"))
    turns, session = session_of(talk)

    assert (turns[1].audio_bytes_received, after_ms(turns[1], "first_audio")) == (4_800, 700)
    assert facts(session) == (1, False)


def test_answers_are_uncertain_if_more_responses_than_requests_come_without_names() -> None:
    talk = Talk()
    ask(talk, 0)
    respond(talk, 100, "r_1")
    talk.take(450)
    ask(talk, 500, 2)
    respond(talk, 510, "r_stray")
    respond(talk, 900, "r_2")

    turns, session = session_of(talk)
    assert [turn.response_id for turn in turns] == ["r_1", "r_stray"]
    assert facts(session) == (1, True)


def test_the_first_answer_is_uncertain_after_a_response_without_a_name() -> None:
    talk = Talk()
    ask(talk, 0)
    respond(talk, 50, "r_stray")
    respond(talk, 400, "r_1", "turn-1-response")

    assert facts(session_of(talk)[1]) == (1, True)


def test_a_response_between_turns_is_certainly_no_answer_if_answers_are_named() -> None:
    talk = Talk()
    ask(talk, 0)
    respond(talk, 100, "r_1", "turn-1-response")
    respond(talk, 450, "r_stray")
    talk.take(800)
    ask(talk, 900, 2)
    respond(talk, 1_000, "r_2", "turn-2-response")
    turns, session = session_of(talk)

    assert after_ms(turns[1], "first_audio") == 1_200
    assert facts(session) == (1, False)


@pytest.mark.parametrize("name", [True, False], ids=["named", "unnamed"])
def test_as_many_responses_as_requests_are_certain(name: bool) -> None:
    talk = Talk()
    for number in (1, 2):
        at_ms = number * 1_000
        ask(talk, at_ms, number)
        respond(talk, at_ms + 100, f"r_{number}", f"turn-{number}-response" if name else "")
        talk.take(at_ms + 600)

    assert facts(talk.timeline.session()) == (0, False)


def test_a_request_of_the_script_without_metadata_is_answered_by_a_response_without_a_name() -> (
    None
):
    talk = Talk()
    ask(talk, 0)
    respond(talk, 100, "r_1", "turn-1-response")
    talk.take(450)
    talk.send(500, "response.create", untracked="script-event")
    ask(talk, 510, 2)
    respond(talk, 600, "r_script")
    respond(talk, 1_000, "r_2", "turn-2-response")
    turns, session = session_of(talk)

    assert [turn.response_id for turn in turns] == ["r_1", "r_2"]
    assert facts(session) == (0, False)


def test_a_delta_before_its_response_is_created_belongs_to_the_request() -> None:
    talk = Talk()
    ask(talk, 0)
    respond(talk, 100, "r_1", "turn-1-response")
    talk.take(450)
    ask(talk, 500, 2)
    talk.hear(
        700, delta(GA, "audio", "r_2", LOUD), created("r_2", **{REQUEST_KEY: "turn-2-response"})
    )
    talk.hear(800, done("r_2"))

    assert [turn.response_id for turn in session_of(talk)[0]] == ["r_1", "r_2"]


# Sessions whose VAD starts the responses, which have no names.


def vad() -> Talk:
    return Talk(service_responds=True, end_of_turn=30, first_delta=30)


def test_responses_of_a_vad_are_requested_by_its_commits() -> None:
    talk = vad()
    for number in (1, 2):
        start_ms = number * 5_000
        speaks(talk, number, start_ms, start_ms + 1_000)
        hears(talk, start_ms + 1_200, f"item_{number}")
        respond(talk, start_ms + 1_300, f"r_{number}")
        talk.take(start_ms + 3_000)

    assert facts(talk.timeline.session()) == (0, False)


def test_a_response_to_noise_is_requested_by_the_commit_of_the_noise() -> None:
    talk = vad()
    speaks(talk, 1, 0, 1_000)
    hears(talk, 1_200)
    respond(talk, 1_300, "r_1")
    talk.take(3_000)
    talk.hear(4_000, speech_started("noise"), speech_stopped("noise"), committed("noise"))
    respond(talk, 4_100, "r_noise")

    assert facts(session_of(talk)[1]) == (0, False)


def test_a_response_before_the_announcement_of_its_commit_is_requested() -> None:
    talk = vad()
    speaks(talk, 1, 0, 1_000)
    talk.hear(1_200, speech_stopped("item_1"))
    talk.hear(1_210, created("r_1"), committed("item_1"))
    talk.hear(1_500, delta(GA, "audio", "r_1", LOUD), done("r_1"))
    talk.take(3_000)
    talk.hear(4_000, speech_started("noise"), speech_stopped("noise"))
    talk.hear(4_100, created("r_noise"), committed("noise"))

    assert facts(session_of(talk)[1]) == (0, False)


def test_a_second_response_to_one_commit_makes_the_answers_of_a_vad_session_uncertain() -> None:
    talk = vad()
    speaks(talk, 1, 0, 1_000)
    hears(talk, 1_200)
    respond(talk, 1_300, "r_1")
    talk.take(3_000)
    respond(talk, 3_100, "r_stray")

    assert facts(session_of(talk)[1]) == (1, True)


def test_two_responses_during_one_turn_with_one_commit_are_uncertain() -> None:
    talk = vad()
    speaks(talk, 1, 0, 1_000)
    hears(talk, 1_200)
    talk.hear(1_300, created("r_stray"), created("r_1"))
    talk.hear(1_500, delta(GA, "audio", "r_1", LOUD), done("r_1"))

    assert facts(session_of(talk)[1]) == (1, True)


def test_without_commits_the_number_of_requests_of_a_vad_is_unknown() -> None:
    talk = vad()
    speaks(talk, 1, 0, 1_000)
    talk.hear(1_200, speech_stopped("item_1"))
    respond(talk, 1_300, "r_1")
    talk.take(3_000)
    respond(talk, 3_100, "r_2")

    assert facts(session_of(talk)[1]) == (None, False)
