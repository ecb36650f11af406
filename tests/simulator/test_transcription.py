"""Transcription in two kinds of sessions: those that only transcribe and send no answers, and
those with answers.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.observe.observation import word_errors
from rtbench_simulator.behaviour import Behaviour, WireDialect
from rtbench_simulator.caller_turns import SimulatedAsr
from rtbench_simulator.profile import TranscriptSettings
from rtbench_simulator.server_events import GA
from rtbench_simulator.services.azure import AZURE_GA, AZURE_PREVIEW
from rtbench_simulator.services.openai import OPENAI_GA, OPENAI_PREVIEW
from tests.simulator.builders import (
    AT_NS,
    COMMIT,
    LATER_NS,
    VAD,
    all_of,
    answers,
    append,
    build_behaviour,
    drain,
    listening,
    one,
    sound,
    talk,
    types,
)
from tests.simulator.sdk_types import assert_typed

DIALECTS = tuple(
    dialect.transcribing() for dialect in (AZURE_GA, OPENAI_GA, AZURE_PREVIEW, OPENAI_PREVIEW)
)
IN_GA, IN_PREVIEW = DIALECTS[:2], DIALECTS[2:]
WORDS = TranscriptSettings(texts=("Where is my parcel? It is late.",))
FAMILY = "conversation.item.input_audio_transcription"


def update(
    dialect: WireDialect, model: str | None = None, detection: Any = None, **further: Any
) -> dict[str, Any]:
    transcription = None if model is None else {"model": model}
    if dialect.names is GA:
        settings = {"transcription": transcription, "turn_detection": detection}
        return {
            "type": "session.update",
            "session": {"type": "transcription", "audio": {"input": settings}, **further},
        }
    settings = {"input_audio_transcription": transcription, "turn_detection": detection}
    return {"type": "transcription_session.update", "session": settings | further}


def transcriber(
    dialect: WireDialect, *settings: Any, profile: TranscriptSettings = WORDS, **further: Any
) -> Behaviour:
    """Return an open session with these settings."""
    behaviour = build_behaviour(dialect, transcripts=profile)
    assert [
        event
        for event in answers(behaviour, update(dialect, *settings, **further))
        if event["type"] == "error"
    ] == []
    return behaviour


def transcribe_audio(behaviour: Behaviour) -> list[dict[str, Any]]:
    """Append and commit 2.4 s of audio; return the events after that."""
    return answers(behaviour, append(2400), COMMIT)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_transcription_session_has_its_own_event_and_session_types(dialect: WireDialect) -> None:
    behaviour = build_behaviour(dialect)
    (created,) = drain(behaviour)
    (updated,) = answers(behaviour, update(dialect, "gpt-4o-transcribe", VAD))

    family = "session" if dialect.names is GA else "transcription_session"
    assert types([created, updated]) == [f"{family}.created", f"{family}.updated"]
    for event in (created, updated):
        assert event["session"]["object"] == "realtime.transcription_session"
        assert (
            not {"voice", "output_modalities", "modalities", "instructions", "tools"}
            & event["session"].keys()
        )
    if dialect.names is GA:
        assert created["session"]["type"] == "transcription"
        assert updated["session"]["audio"]["input"]["transcription"] == {
            "model": "gpt-4o-transcribe"
        }
        assert_typed(dialect, [created, updated])
    else:
        assert updated["session"]["input_audio_transcription"] == {"model": "gpt-4o-transcribe"}
        # the SDK documents that this key is absent if a session is updated by WebSocket
        secret = {"client_secret": {"value": "", "expires_at": 0}}
        assert_typed(dialect, [updated | {"session": updated["session"] | secret}])


@pytest.mark.parametrize("dialect", IN_GA)
def test_a_transcription_session_cannot_become_a_realtime_session(dialect: WireDialect) -> None:
    (error,) = answers(
        build_behaviour(dialect), {"type": "session.update", "session": {"type": "realtime"}}
    )

    assert error["error"]["code"] == "invalid_parameter"


@pytest.mark.parametrize("dialect", IN_GA)
def test_a_diarizing_model_sends_one_segment_per_sentence(dialect: WireDialect) -> None:
    events = transcribe_audio(transcriber(dialect, "gpt-4o-transcribe-diarize"))

    first, second = all_of(events, ".segment")
    assert (first["text"], second["text"]) == ("Where is my parcel?", "It is late.")
    assert 0 == first["start"] < first["end"] == second["start"] < second["end"] == 2.4
    assert first["id"] != second["id"]
    assert not all_of(events, ".delta")
    assert one(events, ".completed")["transcript"] == "Where is my parcel? It is late."
    assert_typed(dialect, events)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_failed_transcription_does_not_end_the_session(dialect: WireDialect) -> None:
    behaviour = transcriber(
        dialect, "gpt-4o-transcribe", profile=TranscriptSettings(failure_rate=1.0)
    )
    events = transcribe_audio(behaviour)

    failed = one(events, ".failed")
    assert failed["item_id"] == one(events, ".committed")["item_id"]
    assert failed["error"]["type"] == "server_error"
    assert not all_of(events, ".completed")
    assert_typed(dialect, events)
    assert one(transcribe_audio(behaviour), ".failed")["item_id"] != failed["item_id"]


def test_the_share_of_failed_transcriptions_is_that_of_the_profile() -> None:
    behaviour = transcriber(
        AZURE_GA.transcribing(), "whisper-1", profile=TranscriptSettings(failure_rate=0.5)
    )
    failed = sum(len(all_of(transcribe_audio(behaviour), ".failed")) for _ in range(40))

    assert 8 < failed < 32


@pytest.mark.parametrize("dialect", IN_GA)
def test_a_model_without_turn_detection_refuses_it_and_disables_it(dialect: WireDialect) -> None:
    behaviour = build_behaviour(dialect)
    before = behaviour.session.shown
    (error,) = answers(behaviour, update(dialect, "gpt-realtime-whisper", VAD))
    assert error["error"]["param"] == "session.audio.input.turn_detection"
    assert behaviour.session.shown == before

    settings = {"transcription": {"model": "gpt-realtime-whisper"}}
    session = {"type": "transcription", "audio": {"input": settings}}
    (updated,) = answers(behaviour, {"type": "session.update", "session": session})
    assert updated["session"]["audio"]["input"]["turn_detection"] is None
    (again,) = answers(behaviour, update(dialect, "whisper-1", VAD))
    assert again["session"]["audio"]["input"]["turn_detection"]["type"] == "server_vad"


STREAMING = TranscriptSettings(texts=("Where is my parcel? It is late.",), words_per_s=4)


@pytest.mark.parametrize("model", ["gpt-live-transcribe", "gpt-realtime-whisper"])
@pytest.mark.parametrize("dialect", IN_GA)
def test_a_model_without_turn_detection_sends_deltas_while_the_caller_speaks(
    dialect: WireDialect, model: str
) -> None:
    behaviour = transcriber(dialect, model, profile=STREAMING)
    events = talk(behaviour, sound(1_000)) + drain(behaviour)

    assert types(events) == [f"{FAMILY}.delta"] * 4
    assert [event["delta"] for event in events] == ["Where", " is", " my", " parcel?"]
    assert len({event["item_id"] for event in events}) == 1
    final = answers(behaviour, COMMIT)
    assert one(final, ".committed")["item_id"] == events[0]["item_id"]
    assert [event["delta"] for event in all_of(final, ".delta")] == [" It", " is", " late."]
    assert one(final, ".completed")["transcript"] == "Where is my parcel? It is late."
    assert_typed(dialect, [*events, *final])


def test_cleared_audio_has_no_further_deltas() -> None:
    behaviour = transcriber(OPENAI_GA.transcribing(), "gpt-live-transcribe", profile=STREAMING)
    talk(behaviour, sound(300))
    cleared = answers(behaviour, {"type": "input_audio_buffer.clear"})

    assert types(cleared) == ["input_audio_buffer.cleared"]


def test_invented_words_are_the_transcript() -> None:
    behaviour = transcriber(
        OPENAI_GA.transcribing(), "gpt-live-transcribe", profile=TranscriptSettings(words_per_s=4)
    )
    events = talk(behaviour, sound(1_000)) + answers(behaviour, COMMIT)

    assert one(events, ".completed")["transcript"] == "word1 word2 word3 word4"


# A session with answers transcribes the caller's audio if the session requests it.


def transcribed(behaviour: Behaviour) -> list[dict[str, Any]]:
    """Append and commit 2.3 s of audio; return the events of its transcription."""
    behaviour.receive(append(2300), AT_NS)
    behaviour.receive(COMMIT, AT_NS)
    return [event for event in drain(behaviour) if "transcription" in event["type"]]


def test_a_simulated_transcript_states_that_it_is_simulated() -> None:
    (completed,) = transcribed(listening(None, dialect=AZURE_PREVIEW, model="whisper-1"))

    assert completed["type"] == "conversation.item.input_audio_transcription.completed"
    assert completed["transcript"] == "(simulated transcript of 2.3 s of audio)"
    assert completed["content_index"] == 0
    assert completed["usage"] == {"type": "duration", "seconds": 2.3}


@given(st.integers(1, 12), st.integers(0, 100), st.sampled_from(["word ", "किताब ", "字"]))
def test_the_word_error_rate_is_that_of_the_profile(words: int, percent: int, word: str) -> None:
    text = word * words
    asr = SimulatedAsr(TranscriptSettings((text,), percent / 100))
    transcripts = [asr.transcribe(1_000) for _ in range(100)]

    assert sum(word_errors(text, each)[1] for each in transcripts) == words * percent
    assert max(word_errors(text, each)[1] for each in transcripts) <= words * percent / 100 + 1


def test_transcription_deltas_are_padded_if_obfuscation_is_on() -> None:
    *deltas, completed = transcribed(listening(None, model="gpt-4o-transcribe", obfuscation=True))

    assert all(11 <= len(event["obfuscation"]) <= 15 for event in deltas)
    assert "obfuscation" not in completed


def test_a_retrieved_item_has_its_transcript() -> None:
    behaviour = listening(None, model="whisper-1")
    *_, completed = transcribed(behaviour)

    behaviour.receive(
        {"type": "conversation.item.retrieve", "item_id": completed["item_id"]}, LATER_NS
    )

    (retrieved,) = drain(behaviour)
    assert retrieved["item"]["content"] == [
        {"type": "input_audio", "transcript": completed["transcript"]}
    ]
