"""The simulated Gemini Live on a virtual clock: its messages, its refusals, and conversations
with its dialect.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from bench.wire.dialect import BinaryMessage
from rtbench_simulator.profile import FunctionCalls, Profile, quiet_profile
from rtbench_simulator.services.gemini.behaviour import GeminiBehaviour
from tests.simulator.builders import (
    AT_NS,
    MS,
    REPLY,
    SECOND,
    build_profile,
    constant,
    session_parts,
)
from tests.simulator.service_call import FIRST_AUDIO_MS, ServiceCall, quick

AUDIO_MS = 2_100
"""The duration of the only reply, with the silence that fills its last block."""
VAD: dict[str, Any] = {}
MANUAL: dict[str, Any] = {"realtimeInputConfig": {"automaticActivityDetection": {"disabled": True}}}
TOOLS: dict[str, Any] = {"tools": [{"functionDeclarations": [{"name": "find_parcel"}]}]}


class Call(ServiceCall):
    def __init__(self, profile: Profile | None = None, **setup: Any) -> None:
        model = {"model": "models/gemini-3.8-live", "outputAudioTranscription": {}}
        behaviour = GeminiBehaviour(session_parts(profile or quick()))
        super().__init__(behaviour, {"setup": model | setup})

    def say(self, **realtime_input: Any) -> None:
        self.send({"realtimeInput": realtime_input})

    def append(self, chunk: bytes) -> None:
        data = base64.b64encode(chunk).decode()
        self.say(audio={"data": data, "mimeType": "audio/pcm;rate=16000"})

    @property
    def close(self) -> tuple[int, str] | None:
        return self.events[-1].close if self.events else None


def test_a_typed_turn_is_answered_in_binary_frames() -> None:
    call = Call()
    call.say(text="Hello")
    call.pass_ms(10_000)

    assert all(type(event.body) is BinaryMessage for event in call.events)
    assert call.names[-2:] == ["generationComplete", "turnComplete"]
    assert {"audio.delta", "transcript.delta"} <= set(call.names)
    first = next(event for event in call.events if event.type == "audio.delta")
    over, done = (
        next(e for e in call.events if e.type == name)
        for name in ("turnComplete", "generationComplete")
    )
    assert over.due_ns == first.due_ns + REPLY.audio_ms * MS > done.due_ns
    assert {event.response_id for event in call.events[1:]} == {"reply-1"}
    (message,) = call.of("turnComplete")
    assert message["usageMetadata"]["responseTokensDetails"][0]["modality"] == "AUDIO"
    assert message["usageMetadata"]["responseTokenCount"] > 0


def test_the_conversation_becomes_part_of_the_input() -> None:
    call = Call()
    for _ in range(2):
        call.say(text="Hello")
        call.pass_ms(10_000)

    first, second = (message["usageMetadata"] for message in call.of("turnComplete"))
    assert second["promptTokenCount"] >= first["promptTokenCount"] + first["responseTokenCount"]


def test_detected_speech_is_answered_after_the_silence_that_the_client_set() -> None:
    config = {"automaticActivityDetection": {"silenceDurationMs": 300}}
    call = Call(inputAudioTranscription={}, realtimeInputConfig=config)
    call.speak(600, 300)
    call.pass_ms(10_000)

    assert call.of("inputTranscription")
    assert "audio.delta" in call.names
    (facts,) = (event.facts for event in call.events if event.facts)
    assert facts["speech_at_byte"] == 600 * 32


def test_speech_interrupts_a_reply_until_it_could_have_been_played() -> None:
    call = Call()
    call.say(text="Hello")
    call.pass_ms(FIRST_AUDIO_MS + 1_200)  # generated, and not played
    assert call.names[-1] == "generationComplete"
    call.speak(600, 600)
    call.pass_ms(10_000)

    assert call.names.count("interrupted") == 1
    names = call.names[call.names.index("interrupted") :]
    assert names[:2] == ["interrupted", "turnComplete"]
    assert {event.response_id for event in call.events if event.type == "audio.delta"} == {
        "reply-1",
        "reply-2",
    }


def test_the_turn_of_an_interrupted_reply_completes_before_the_next_reply_begins() -> None:
    delays = replace(quiet_profile().delays, first_audio=constant(1), cancelled=constant(50))
    call = Call(build_profile(delays=delays))
    for _ in range(2):
        call.say(text="Hello")
        call.pass_ms(1_200)  # generated, and not played

    names = call.names[call.names.index("interrupted") :]
    assert names[:3] == ["interrupted", "turnComplete", "transcript.delta"]


def test_speech_does_not_interrupt_if_the_client_forbids_it() -> None:
    call = Call(realtimeInputConfig={"activityHandling": "NO_INTERRUPTION"})
    call.say(text="Hello")
    call.pass_ms(FIRST_AUDIO_MS + 100)
    call.speak(600, 600)
    call.pass_ms(10_000)

    assert "interrupted" not in call.names


def test_without_detection_the_client_marks_the_activity() -> None:
    call = Call(**MANUAL)
    call.say(activityStart={})
    call.speak(600, 2_000)
    assert not call.names
    call.say(activityEnd={})
    call.pass_ms(10_000)

    assert call.names[-1] == "turnComplete"


def test_a_function_is_called_and_its_output_answered() -> None:
    call = Call(**TOOLS)
    call.say(text="Where is it?")
    call.pass_ms(5_000)
    assert call.names == ["toolCall"]
    (called,) = call.of("toolCall")[0]["toolCall"]["functionCalls"]
    call.send(
        {
            "toolResponse": {
                "functionResponses": [{"id": called["id"], "name": called["name"], "response": {}}]
            }
        }
    )
    call.pass_ms(10_000)

    assert called["name"] == "find_parcel"
    assert call.names[-1] == "turnComplete"


def test_speech_cancels_an_open_function_call() -> None:
    call = Call(quick(functions=FunctionCalls()), **TOOLS)
    call.say(text="Where is it?")
    call.pass_ms(1_000)
    call.speak(600)
    call.pass_ms(200)

    assert call.names[-3:] == ["interrupted", "toolCallCancellation", "turnComplete"]


def test_a_history_gets_no_answer() -> None:
    call = Call(historyConfig={"initialHistoryInClientContent": True})
    turns = [{"role": "user", "parts": [{"text": "Hi"}]}]
    call.send({"clientContent": {"turns": turns, "turnComplete": True}})
    call.pass_ms(10_000)
    assert not call.names
    call.send({"clientContent": {"turns": turns, "turnComplete": True}})
    call.pass_ms(10_000)
    assert call.names[-1] == "turnComplete"


def test_names_and_base64_of_the_sdk_are_accepted() -> None:
    call = Call()
    data = base64.urlsafe_b64encode(b"\xff\xff" * 1_600).decode()
    call.send({"realtime_input": {"audio": {"data": data, "mime_type": "audio/pcm;rate=16000"}}})
    call.pass_ms(100)

    assert call.close is None
    assert "_" in data


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ({"setup": {"model": "models/gemini-1.0-pro"}}, 1008, "is not found for API version"),
        (
            {"setup": {"model": "models/gemini-3.8-live", "voice": "x"}},
            1007,
            "Unknown name \"voice\" at 'setup'",
        ),
        ({"realtimeInput": {"text": "too early"}}, 1007, "invalid argument"),
        ({"hello": {}}, 1007, 'Unknown name "hello"'),
        ({}, 1007, "invalid argument"),
    ],
)
def test_a_refusal_is_a_close_with_the_words_of_the_service(
    message: dict[str, Any], code: int, reason: str
) -> None:
    behaviour = GeminiBehaviour(session_parts(quick()))
    behaviour.open(AT_NS)
    behaviour.receive_text(msgspec.json.encode(message), AT_NS)
    (event,) = behaviour.due(AT_NS + SECOND)

    assert not event.body
    assert event.close is not None
    assert event.close[0] == code
    assert reason in event.close[1]
    assert behaviour.next_due_ns() is None


def test_a_session_announces_its_end() -> None:
    call = Call(quick(max_session_s=90))
    call.pass_ms(31_000)

    assert call.of("goAway") == [{"goAway": {"timeLeft": "60s"}}]
    assert call.behaviour.expiry(0, "", "").close == (
        1011,
        "Deadline expired before operation could complete.",
    )
