"""Transcription in two kinds of sessions: those that only transcribe and send no answers, and those with answers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.observe.observation import word_errors
from bench.simulator.behaviour import Behaviour, WireDialect
from bench.simulator.caller_turns import SimulatedAsr
from bench.simulator.profile import TranscriptSettings
from bench.simulator.server_events import GA
from bench.simulator.services.azure import AZURE_GA, AZURE_PREVIEW
from bench.simulator.services.openai import OPENAI_GA, OPENAI_PREVIEW
from tests.simulator.builders import (
    AT_NS,
    COMMIT,
    CREATE,
    LATER_NS,
    MS,
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
    user_text,
    without_repeats,
)
from tests.simulator.sdk_types import assert_typed

DIALECTS = tuple(dialect.transcribing() for dialect in (AZURE_GA, OPENAI_GA, AZURE_PREVIEW, OPENAI_PREVIEW))
IN_GA, IN_PREVIEW = DIALECTS[:2], DIALECTS[2:]
WORDS = TranscriptSettings(texts=("Where is my parcel? It is late.",))
FAMILY = "conversation.item.input_audio_transcription"


def update(dialect: WireDialect, model: str | None = None, detection: Any = None, **further: Any) -> dict[str, Any]:
    transcription = None if model is None else {"model": model}
    if dialect.names is GA:
        settings = {"transcription": transcription, "turn_detection": detection}
        return {
            "type": "session.update",
            "session": {"type": "transcription", "audio": {"input": settings}, **further},
        }
    settings = {"input_audio_transcription": transcription, "turn_detection": detection}
    return {"type": "transcription_session.update", "session": settings | further}


def transcriber(dialect: WireDialect, *settings: Any, profile: TranscriptSettings = WORDS, **further: Any) -> Behaviour:
    """Return an open session with these settings."""
    behaviour = build_behaviour(dialect, transcripts=profile)
    assert [
        event for event in answers(behaviour, update(dialect, *settings, **further)) if event["type"] == "error"
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
        assert not {"voice", "output_modalities", "modalities", "instructions", "tools"} & event["session"].keys()
    if dialect.names is GA:
        assert created["session"]["type"] == "transcription"
        assert updated["session"]["audio"]["input"]["transcription"] == {"model": "gpt-4o-transcribe"}
        assert_typed(dialect, [created, updated])
    else:
        assert updated["session"]["input_audio_transcription"] == {"model": "gpt-4o-transcribe"}
        # the SDK documents that this key is absent if a session is updated by WebSocket
        secret = {"client_secret": {"value": "", "expires_at": 0}}
        assert_typed(dialect, [updated | {"session": updated["session"] | secret}])


@pytest.mark.parametrize("dialect", DIALECTS)
def test_committed_audio_is_transcribed_without_a_response(dialect: WireDialect) -> None:
    events = transcribe_audio(transcriber(dialect, "gpt-4o-transcribe"))

    created = ("added", "done") if dialect.names is GA else ("created",)
    expected = [*(f"conversation.item.{name}" for name in created), f"{FAMILY}.delta", f"{FAMILY}.completed"]
    assert without_repeats(types(events)) == ["input_audio_buffer.committed", *expected]
    assert "".join(event["delta"] for event in all_of(events, ".delta")) == one(events, ".completed")["transcript"]
    assert one(events, ".completed")["transcript"] == "Where is my parcel? It is late."
    assert_typed(dialect, events)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_detected_speech_is_transcribed_without_a_response(dialect: WireDialect) -> None:
    behaviour = transcriber(dialect, "whisper-1", VAD)
    events = talk(behaviour, sound(0, 300, 800, 400)) + drain(behaviour)

    assert types(events)[:3] == [
        f"input_audio_buffer.{name}" for name in ("speech_started", "speech_stopped", "committed")
    ]
    assert types(events)[-2:] == [f"{FAMILY}.delta", f"{FAMILY}.completed"]
    assert not all_of(events, "response.created")
    assert_typed(dialect, events)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("event", [CREATE, user_text(), {"type": "response.cancel"}])
def test_a_transcription_session_refuses_response_and_item_events(dialect: WireDialect, event: dict[str, Any]) -> None:
    (error,) = answers(build_behaviour(dialect), event)

    assert (error["error"]["code"], error["error"]["param"]) == ("invalid_value", "type")


@pytest.mark.parametrize("dialect", IN_GA)
def test_a_transcription_session_cannot_become_a_realtime_session(dialect: WireDialect) -> None:
    (error,) = answers(build_behaviour(dialect), {"type": "session.update", "session": {"type": "realtime"}})

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
    behaviour = transcriber(dialect, "gpt-4o-transcribe", profile=TranscriptSettings(failure_rate=1.0))
    events = transcribe_audio(behaviour)

    failed = one(events, ".failed")
    assert failed["item_id"] == one(events, ".committed")["item_id"]
    assert failed["error"]["type"] == "server_error"
    assert not all_of(events, ".completed")
    assert_typed(dialect, events)
    assert one(transcribe_audio(behaviour), ".failed")["item_id"] != failed["item_id"]


def test_the_share_of_failed_transcriptions_is_that_of_the_profile() -> None:
    behaviour = transcriber(AZURE_GA.transcribing(), "whisper-1", profile=TranscriptSettings(failure_rate=0.5))
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
def test_a_model_without_turn_detection_sends_deltas_while_the_caller_speaks(dialect: WireDialect, model: str) -> None:
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


@pytest.mark.parametrize("delay", ["minimal", "medium", "xhigh"])
def test_the_setting_delay_scales_the_lag_of_the_deltas(delay: str) -> None:
    def first_ns(further: dict[str, Any]) -> int:
        behaviour = build_behaviour(OPENAI_GA.transcribing(), transcripts=STREAMING)
        settings = {"transcription": {"model": "gpt-live-transcribe", **further}, "turn_detection": None}
        answers(
            behaviour, {"type": "session.update", "session": {"type": "transcription", "audio": {"input": settings}}}
        )
        (first, *_) = talk(behaviour, sound(1_000)) + drain(behaviour)
        return int(first["due_ns"])

    plain, scaled = first_ns({}), first_ns({"delay": delay, "languages": ["en"], "keywords": ["parcel"]})
    assert (scaled > plain) == (delay == "xhigh")
    assert (scaled < plain) == (delay == "minimal")


def test_cleared_audio_has_no_further_deltas() -> None:
    behaviour = transcriber(OPENAI_GA.transcribing(), "gpt-live-transcribe", profile=STREAMING)
    talk(behaviour, sound(300))
    cleared = answers(behaviour, {"type": "input_audio_buffer.clear"})

    assert types(cleared) == ["input_audio_buffer.cleared"]


def test_invented_words_are_the_transcript() -> None:
    behaviour = transcriber(OPENAI_GA.transcribing(), "gpt-live-transcribe", profile=TranscriptSettings(words_per_s=4))
    events = talk(behaviour, sound(1_000)) + answers(behaviour, COMMIT)

    assert one(events, ".completed")["transcript"] == "word1 word2 word3 word4"


@pytest.mark.parametrize(
    "setting", [{"delay": "slow"}, {"languages": "en"}, {"keywords": [5]}, {"language": ["en"]}, {"words": 1}]
)
def test_the_settings_of_a_transcription_have_the_types_of_the_sdk(setting: dict[str, Any]) -> None:
    behaviour = build_behaviour(OPENAI_GA.transcribing())
    settings = {"transcription": {"model": "gpt-live-transcribe", **setting}}
    update_ = {"type": "session.update", "session": {"type": "transcription", "audio": {"input": settings}}}
    (error,) = [event for event in answers(behaviour, update_) if event["type"] == "error"]

    assert error["error"]["param"].startswith("session.audio.input.transcription.")


@pytest.mark.parametrize("dialect", IN_PREVIEW)
def test_the_diarizing_model_is_refused_in_preview(dialect: WireDialect) -> None:
    (error,) = answers(build_behaviour(dialect), update(dialect, "gpt-4o-transcribe-diarize"))

    assert error["error"]["param"] == "session.input_audio_transcription.model"


def test_without_a_model_nothing_is_transcribed() -> None:
    events = answers(build_behaviour(OPENAI_GA.transcribing()), append(500), COMMIT)

    assert events[0]["due_ns"] >= AT_NS
    assert not [event for event in events if event["type"].startswith(FAMILY)]


# A session with answers transcribes the caller's audio if the session requests it.


AZURE = (AZURE_GA, AZURE_PREVIEW)


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


def test_transcripts_of_the_profile_are_used_in_order() -> None:
    known = TranscriptSettings(("Where is my parcel?", "It is 4711."), 0.0)
    behaviour = listening(None, model="whisper-1", transcripts=known)
    transcripts = [transcribed(behaviour)[-1]["transcript"] for _ in range(3)]

    assert transcripts == ["Where is my parcel?", "It is 4711.", "Where is my parcel?"]


@given(st.integers(1, 12), st.integers(0, 100), st.sampled_from(["word ", "किताब ", "字"]))
def test_the_word_error_rate_is_that_of_the_profile(words: int, percent: int, word: str) -> None:
    text = word * words
    asr = SimulatedAsr(TranscriptSettings((text,), percent / 100))
    transcripts = [asr.transcribe(1_000) for _ in range(100)]

    assert sum(word_errors(text, each)[1] for each in transcripts) == words * percent
    assert max(word_errors(text, each)[1] for each in transcripts) <= words * percent / 100 + 1


def test_a_whisper_model_sends_one_delta_in_ga() -> None:
    delta, completed = transcribed(listening(None, model="whisper-1"))

    assert delta["delta"] == completed["transcript"]
    assert delta["item_id"] == completed["item_id"]


def test_other_models_send_one_delta_per_word_in_ga() -> None:
    *deltas, completed = transcribed(listening(None, model="gpt-4o-mini-transcribe"))

    assert len(deltas) > 3
    assert "".join(event["delta"] for event in deltas) == completed["transcript"]
    assert completed["usage"]["type"] == "tokens"
    assert completed["usage"]["input_tokens"] == 23
    assert completed["usage"]["total_tokens"] == 23 + completed["usage"]["output_tokens"]


def test_preview_has_no_deltas_of_transcription() -> None:
    events = transcribed(listening(None, dialect=AZURE_PREVIEW, model="gpt-4o-transcribe"))

    assert len(events) == 1


def test_transcription_deltas_are_padded_if_obfuscation_is_on() -> None:
    *deltas, completed = transcribed(listening(None, model="gpt-4o-transcribe", obfuscation=True))

    assert all(11 <= len(event["obfuscation"]) <= 15 for event in deltas)
    assert "obfuscation" not in completed


@pytest.mark.parametrize("dialect", AZURE)
def test_a_vad_turn_is_transcribed_in_parallel_to_its_response(dialect: WireDialect) -> None:
    delays = {"input_transcribed": 500}
    behaviour = listening(dialect=dialect, model="whisper-1", delays=delays)

    events = talk(behaviour, sound(0, 300, 800, 400)) + drain(behaviour)

    committed, completed = one(events, "committed"), one(events, "transcription.completed")
    assert completed["item_id"] == committed["item_id"]
    assert completed["transcript"] == "(simulated transcript of 1.3 s of audio)"
    assert completed["due_ns"] - committed["due_ns"] == 500 * MS


def test_a_retrieved_item_has_its_transcript() -> None:
    behaviour = listening(None, model="whisper-1")
    (*_, completed) = transcribed(behaviour)

    behaviour.receive({"type": "conversation.item.retrieve", "item_id": completed["item_id"]}, LATER_NS)

    (retrieved,) = drain(behaviour)
    assert retrieved["item"]["content"] == [{"type": "input_audio", "transcript": completed["transcript"]}]
