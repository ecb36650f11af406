"""What a service said, in the detail of an end that does not explain itself."""

from __future__ import annotations

import pytest

from bench.observe import inputs
from bench.protocol.openai_ga import GA
from tests.helpers import Talk, at, created, delta, done, error, message, session_created, speech_started

SAID = "; the service said: overloaded: No."


def answering(talk: Talk) -> None:
    """A turn whose reply has begun, and then an error that ends nothing."""
    talk.ask(0)
    talk.hear(10, created("r1"), delta(GA, "audio", "r1"), error("overloaded"))


def test_an_error_in_mid_response_is_told_when_silence_follows() -> None:
    talk = Talk(next_delta=1)
    answering(talk)
    talk.timeline.expire(at(5_000))

    turn, session = talk.only(), talk.timeline.session()
    assert turn.outcome == "timeout:next_delta"
    assert turn.detail == "nothing came within the limit next_delta of 1 s" + SAID
    assert (session.outcome, session.detail) == (turn.outcome, turn.detail)


def test_an_error_in_mid_response_is_told_when_the_connection_goes_away() -> None:
    talk = Talk()
    answering(talk)
    talk.timeline.tell(inputs.Closed(1011, at(20), "internal"))

    assert talk.only().detail == "internal" + SAID


def test_an_error_is_all_that_is_told_of_a_close_without_words() -> None:
    talk = Talk()
    answering(talk)
    talk.timeline.tell(inputs.Closed(1006, at(20), ""))

    assert talk.only().detail == SAID.removeprefix("; ")


def test_an_error_before_a_session_is_told_when_it_does_not_come() -> None:
    talk = Talk(ready=False)
    talk.hear(10, session_created(), error("overloaded"))
    talk.timeline.tell(
        inputs.Failed("timeout:session", at(10_000), "session.updated did not come within the limit session")
    )

    assert talk.timeline.session().outcome == "timeout:session"
    assert talk.timeline.session().detail == "session.updated did not come within the limit session" + SAID


def test_an_error_of_an_earlier_turn_explains_no_later_one() -> None:
    talk = Talk(next_delta=1)
    answering(talk)
    talk.hear(20, done("r1"))
    talk.take(30)
    talk.ask(100, 2)
    talk.hear(110, created("r2"), delta(GA, "audio", "r2"))
    talk.timeline.expire(at(5_000))

    assert [turn.detail for turn in talk.take(6_000)] == ["nothing came within the limit next_delta of 1 s"]


@pytest.mark.parametrize("ending", [done("r1"), done("r1", "failed", error={"code": "x", "message": "its own"})])
def test_an_end_that_explains_itself_is_told_without_an_error_before_it(ending: bytes) -> None:
    talk = Talk()
    answering(talk)
    talk.hear(20, ending)

    assert "the service said" not in talk.only().detail


# What a service has not said.


@pytest.mark.parametrize(
    ("heard", "said"), [(False, "does it have a VAD"), (True, "noticed no end of speech")], ids=["unheard", "unended"]
)
def test_speech_that_was_never_heard_is_told_from_an_end_that_was_not_noticed(heard: bool, said: str) -> None:
    talk = Talk(service_responds=True, end_of_turn=3)
    talk.begin_speech(0)
    if heard:
        talk.hear(60, speech_started("item_1"))
    talk.end_speech(1_000)
    talk.timeline.expire(at(10_000))

    turn = talk.only()
    assert turn.outcome == "timeout:end_of_turn"
    assert said in turn.detail
    assert turn.detail.endswith(" within the limit end_of_turn of 3 s")


@pytest.mark.parametrize("name", ["output_modalities", "modalities"])
@pytest.mark.parametrize(("modalities", "explained"), [(["text"], True), (["text", "audio"], False), ("text", False)])
def test_a_session_of_text_explains_that_no_audio_came(name: str, modalities: object, explained: bool) -> None:
    talk = Talk()
    talk.hear(5, message("session.updated", session={name: modalities}))
    talk.ask(10)
    talk.hear(20, created("r1"), delta(GA, "text", "r1"), done("r1"))

    turn = talk.only()
    assert turn.outcome == "failed:no_audio"
    assert turn.detail == (
        f"the session is one of text: {name} of the service's session is without audio" if explained else ""
    )


def test_a_session_keeps_the_model_that_it_was_opened_with_where_later_events_leave_it_out() -> None:
    talk = Talk(ready=False)
    talk.hear(0, message("session.created", session={"id": "s", "model": "gpt-realtime", "voice": "alloy"}))
    talk.hear(5, message("session.updated", session={"id": "s", "voice": "marin"}))
    session = talk.timeline.session()

    assert (session.model, session.effective_settings["voice"]) == ("gpt-realtime", "marin")

    talk.hear(9, message("session.updated", session={"id": "s", "model": "gpt-realtime-mini"}))
    assert talk.timeline.session().model == "gpt-realtime-mini"
