"""The dialect of Deepgram's Voice Agent: its messages, its replies without names, and the
settings that it refuses.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.probe import script_of
from bench.services.deepgram.replies import DeepgramReader
from bench.services.registry import service_at
from bench.wire.dialect import BinaryMessage
from tests.helpers import MS, closing, resolve_target, say
from tests.services.deepgram_talk import (
    CALL,
    DONE,
    REPLY,
    RESULT,
    SOUND,
    STARTED,
    VAD,
    compiled,
    message,
    said,
    sent_types,
    service,
    talk,
)
from tests.services.talk import interrupted_by_speech, parcels, speak

# Sent messages.


def test_the_address_is_known_by_host_and_by_path() -> None:
    for found in (
        service_at("agent.deepgram.com", ""),
        service_at("proxy.example", "/v1/agent/converse"),
    ):
        assert found is not None
        assert found.key_header == ("Authorization", "Token")
        assert "key" not in found.url


def test_a_probe_needs_no_setting_for_the_only_turn_detection() -> None:
    target = resolve_target({}, url="ws://127.0.0.1:1/v1/agent/converse")
    detection = script_of(target, "Hello", {}).settings.turn_detection

    assert detection is not None
    assert detection.type == "server_vad"


# Conversations.


def test_typed_turns_are_measured_from_the_text_to_the_first_audio(tmp_path: Path) -> None:
    ended = talk(tmp_path, compiled(say(), say("again"), **VAD), service())

    assert (ended.session.outcome, ended.outcomes) == ("ok", ["ok", "ok"])
    assert sent_types(ended) == ["Settings", "InjectUserMessage", "InjectUserMessage"]
    assert ended.session.service_session_id == "r-1"
    for turn in ended.turns:
        metrics = turn.metrics_ns()
        assert (metrics["ttfa"], metrics["transcript_first"]) == (300 * MS, 310 * MS)
        assert metrics["response_total"] == 340 * MS
        assert turn.reply_text == "It is on its way."
        assert turn.audio_bytes_received == 2 * len(SOUND)
        assert {"response_created", "transcript_done", "truncate_sent"}.isdisjoint(turn.instants)


def test_spoken_turns_are_measured_from_the_end_of_speech(tmp_path: Path) -> None:
    heard = (20 * MS, STARTED), (150 * MS, said("Where is it?", "user"))
    script = compiled(speak(), speak(), input_transcription="nova-3", **VAD)
    ended = talk(tmp_path, script, service([*heard, *REPLY], [*heard, *REPLY]))

    assert (ended.session.outcome, ended.outcomes) == ("ok", ["ok", "ok"])
    first, second = ended.turns
    for turn in ended.turns:
        assert turn.instants["first_audio"] - turn.instants["speech_end"] == 300 * MS
        assert (
            turn.metrics_ns()["voice_to_voice"]
            == turn.instants["first_audible"] - turn.instants["speech_end"]
        )
        assert turn.input_text == "Where is it?"
        assert {"speech_started", "input_transcribed"} <= turn.instants.keys()
        assert {"speech_stopped", "committed"}.isdisjoint(turn.instants), (
            "the service does not report them"
        )
    # nothing of the service is pending after the first turn
    assert second.instants["speech_start"] - first.instants["ended"] < 1_000 * MS


@pytest.mark.parametrize("is_generated", [False, True], ids=["while generated", "while played"])
def test_speech_interrupts_a_reply_and_gets_its_own(tmp_path: Path, *, is_generated: bool) -> None:
    long = [(300 * MS + number * 10 * MS, SOUND) for number in range(30)]
    first = [*long, *([(700 * MS, DONE)] if is_generated else [])]
    second = [
        (20 * MS, STARTED),
        (30 * MS, SOUND),  # of the interrupted reply, if it was not complete
        (60 * MS, said("Stop.", "user")),
        *((delay + 500 * MS, data) for delay, data in REPLY),
    ]
    if is_generated:
        del second[1]
    ended = talk(tmp_path, compiled(*interrupted_by_speech(500), **VAD), service(first, second))

    assert (ended.session.outcome, ended.outcomes) == ("ok", ["interrupted", "ok"])
    stopped, answered = ended.turns
    assert stopped.response_id != answered.response_id
    assert stopped.instants["barge_in"] < stopped.instants["barge_in_detected"]
    assert answered.reply_text == "It is on its way."
    assert (stopped.audio_deltas, answered.audio_deltas) == (30, 2)


def test_functions_are_called_and_the_service_continues_by_itself(tmp_path: Path) -> None:
    answer = [(1 * MS, RESULT), *REPLY]
    ended = talk(
        tmp_path, compiled(say(), tools=(parcels(),), **VAD), service([(200 * MS, CALL)], answer)
    )

    (turn,) = ended.turns
    assert (ended.session.outcome, turn.outcome) == ("ok", "ok")
    assert sent_types(ended) == ["Settings", "InjectUserMessage", "FunctionCallResponse"]
    results = [data for _, data in ended.transport.sent if b"FunctionCallResponse" in data]
    assert msgspec.json.decode(results[0]) == {
        "type": "FunctionCallResponse",
        "id": "call-1",
        "name": "find_parcel",
        "content": '{"state": "on its way"}',
    }
    assert turn.instants["answer_request_sent"] - turn.instants["request_sent"] == 200 * MS
    assert turn.reply_text == "It is on its way."


@pytest.mark.parametrize("ends", [True, False], ids=["done", "without an end"])
def test_audio_of_the_words_before_a_call_is_not_the_answer(tmp_path: Path, *, ends: bool) -> None:
    before = [
        (100 * MS, said("Let me see.")),
        (110 * MS, SOUND),
        (200 * MS, CALL),
        (210 * MS, SOUND),
    ]
    rest = [(5 * MS, RESULT), (10 * MS, SOUND), *([(20 * MS, DONE)] if ends else [])]
    answer = [
        (250 * MS, said("It is")),
        *((delay, data) for delay, data in REPLY if data != said("It is")),
    ]
    peer = service(before, [*rest, *answer])
    ended = talk(tmp_path, compiled(say(), tools=(parcels(),), **VAD), peer)

    (turn,) = ended.turns
    assert (ended.session.outcome, turn.outcome) == ("ok", "ok")
    assert turn.preamble
    assert turn.instants["answer_audio"] - turn.instants["answer_request_sent"] == 300 * MS
    assert turn.reply_text.endswith("It is on its way.")


def test_a_cancelled_function_call_ends_its_turn(tmp_path: Path) -> None:
    cancelled = message(
        "FunctionCallCancelled", functions=[{"id": "call-1", "name": "find_parcel"}]
    )
    peer = service([(200 * MS, CALL), (210 * MS, STARTED), (211 * MS, cancelled)])
    slow = replace(parcels(), delay=5.0)
    ended = talk(tmp_path, compiled(say(), tools=(slow,), **VAD), peer)

    assert ended.outcomes == ["cancelled:turn_detected"]


@pytest.mark.parametrize(
    ("last", "outcome"),
    [
        (
            [(100 * MS, message("Error", code="FAILED_TO_THINK", description="No model."))],
            "failed:failed_to_think",
        ),
        ([(100 * MS, message("Error", code="MAXIMUM_SESSION_LENGTH_REACHED"))], "session_expired"),
        (
            [
                (90 * MS, message("Warning", code="MAXIMUM_SESSION_LENGTH_APPROACHING")),
                closing(100 * MS, 1000, ""),
            ],
            "session_expired",
        ),
        ([closing(100 * MS, 1011, "timeout")], "closed:1011"),
    ],
)
def test_the_end_of_a_session_has_its_own_outcome(
    tmp_path: Path, last: list[Any], outcome: str
) -> None:
    ended = talk(tmp_path, compiled(say(), say("again"), **VAD), service(REPLY, last))

    assert (ended.session.outcome, ended.outcomes) == (outcome, ["ok", outcome])


def test_a_refused_text_fails_only_its_turn(tmp_path: Path) -> None:
    refused = [(100 * MS, message("InjectionRefused", message="The user speaks."))]
    ended = talk(tmp_path, compiled(say(), say("again"), **VAD), service(refused, REPLY))

    assert ended.outcomes == ["failed:injection_refused", "ok"]


# Received messages.


LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
TYPES = st.sampled_from(
    [
        "Welcome",
        "SettingsApplied",
        "ConversationText",
        "UserStartedSpeaking",
        "AgentAudioDone",
        "FunctionCallRequest",
        "FunctionCallCancelled",
        "FunctionCallResponse",
        "InjectionRefused",
        "Error",
        "Warning",
        "LatencyReport",
        "other",
    ]
)
FIELDS = st.sampled_from(
    ["role", "content", "functions", "code", "description", "message", "request_id", "binary"]
)
JSON = LEAF | st.lists(LEAF | st.dictionaries(FIELDS, LEAF, max_size=2), max_size=3)


@given(
    st.lists(
        st.tuples(TYPES | LEAF, st.dictionaries(FIELDS, JSON, max_size=3)) | st.binary(max_size=9),
        max_size=6,
    )
)
def test_any_message_is_decoded_without_an_error(messages: list[Any]) -> None:
    reader = DeepgramReader()
    for found in messages:
        data = (
            BinaryMessage(found)
            if isinstance(found, bytes)
            else msgspec.json.encode({"type": found[0], **found[1]})
        )
        assert reader.decode(data)
