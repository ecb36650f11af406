"""The caller's audio is transcribed where the session asks for it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.observe.observation import word_errors
from bench.simulator.behaviour import Behaviour
from bench.simulator.caller_turns import SimulatedHearing
from bench.simulator.profile import KnownWords
from bench.simulator.wire import AZURE_GA, AZURE_PREVIEW, WireDialect
from tests.simulator.builders import (
    AT_NS,
    COMMIT,
    LATER_NS,
    MS,
    append,
    drain,
    listening,
    one,
    sound,
    talk,
)

DIALECTS = (AZURE_GA, AZURE_PREVIEW)


def transcribed(behaviour: Behaviour) -> list[dict[str, Any]]:
    """The events of transcription that follow from 2.3 s of audio which the client commits."""
    behaviour.receive(append(2300), AT_NS)
    behaviour.receive(COMMIT, AT_NS)
    return [event for event in drain(behaviour) if "transcription" in event["type"]]


def test_what_was_said_is_made_up_and_says_so() -> None:
    (completed,) = transcribed(listening(None, dialect=AZURE_PREVIEW, model="whisper-1"))

    assert completed["type"] == "conversation.item.input_audio_transcription.completed"
    assert completed["transcript"] == "(simulated transcript of 2.3 s of audio)"
    assert completed["content_index"] == 0
    assert completed["usage"] == {"type": "duration", "seconds": 2.3}


def test_known_words_are_those_of_the_pieces_of_a_session_in_their_order() -> None:
    known = KnownWords(("Where is my parcel?", "It is 4711."), 0.0)
    behaviour = listening(None, model="whisper-1", transcripts=known)
    heard = [transcribed(behaviour)[-1]["transcript"] for _ in range(3)]

    assert heard == ["Where is my parcel?", "It is 4711.", "Where is my parcel?"]


@given(st.integers(1, 12), st.integers(0, 100))
def test_just_the_share_of_words_is_misheard_that_the_profile_says(words: int, percent: int) -> None:
    text = " ".join(["word"] * words)
    hearer = SimulatedHearing(KnownWords((text,), percent / 100))
    heard = [hearer.heard(1_000) for _ in range(100)]

    assert sum(word_errors(text, each)[1] for each in heard) == words * percent
    assert max(word_errors(text, each)[1] for each in heard) <= words * percent / 100 + 1


def test_a_whisper_model_sends_one_delta_in_ga() -> None:
    delta, completed = transcribed(listening(None, model="whisper-1"))

    assert delta["delta"] == completed["transcript"]
    assert delta["item_id"] == completed["item_id"]


def test_other_models_send_a_delta_a_word_in_ga() -> None:
    *deltas, completed = transcribed(listening(None, model="gpt-4o-mini-transcribe"))

    assert len(deltas) > 3
    assert "".join(event["delta"] for event in deltas) == completed["transcript"]
    assert completed["usage"]["type"] == "tokens"
    assert completed["usage"]["input_tokens"] == 23
    assert completed["usage"]["total_tokens"] == 23 + completed["usage"]["output_tokens"]


def test_preview_has_no_deltas_of_transcription() -> None:
    events = transcribed(listening(None, dialect=AZURE_PREVIEW, model="gpt-4o-transcribe"))

    assert len(events) == 1


def test_deltas_of_transcription_are_padded_where_the_profile_says_so() -> None:
    *deltas, completed = transcribed(listening(None, model="gpt-4o-transcribe", obfuscation=True))

    assert all(11 <= len(event["obfuscation"]) <= 15 for event in deltas)
    assert "obfuscation" not in completed


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_turn_by_vad_is_transcribed_beside_its_response(dialect: WireDialect) -> None:
    delays = {"input_transcribed": 500}
    behaviour = listening(dialect=dialect, model="whisper-1", delays=delays)

    events = talk(behaviour, sound(0, 300, 800, 400)) + drain(behaviour)

    committed, completed = one(events, "committed"), one(events, "transcription.completed")
    assert completed["item_id"] == committed["item_id"]
    assert completed["transcript"] == "(simulated transcript of 1.3 s of audio)"
    assert completed["due_ns"] - committed["due_ns"] == 500 * MS


def test_the_item_holds_its_transcript_afterwards() -> None:
    behaviour = listening(None, model="whisper-1")
    (*_, completed) = transcribed(behaviour)

    behaviour.receive({"type": "conversation.item.retrieve", "item_id": completed["item_id"]}, LATER_NS)

    (retrieved,) = drain(behaviour)
    assert retrieved["item"]["content"] == [{"type": "input_audio", "transcript": completed["transcript"]}]
