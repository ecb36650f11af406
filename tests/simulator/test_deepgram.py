"""The simulated Voice Agent of Deepgram on a virtual clock: its messages, and its refusals."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bench.wire.audio import PCM16
from bench.wire.dialect import BinaryMessage
from rtbench_simulator.faults.kinds import read_line
from rtbench_simulator.profile import FunctionCalls, Profile
from rtbench_simulator.services.deepgram import SERVICE, DeepgramBehaviour
from tests.simulator.builders import (
    AT_NS,
    SECOND,
    session_parts,
)
from tests.simulator.service_call import FIRST_AUDIO_MS, ServiceCall, quick

THINK: dict[str, Any] = {"provider": {"type": "open_ai", "model": "gpt-4o-mini"}}
SETTINGS: dict[str, Any] = {"type": "Settings", "audio": {}, "agent": {"think": THINK}}


class Call(ServiceCall):
    format = PCM16

    def __init__(self, profile: Profile | None = None, **think: Any) -> None:
        agent = {"agent": {"think": THINK | think}}
        super().__init__(DeepgramBehaviour(session_parts(profile or quick())), SETTINGS | agent)


def test_a_typed_turn_is_repeated_and_answered() -> None:
    call = Call()
    call.send({"type": "InjectUserMessage", "content": "Hello"})
    call.pass_ms(10_000)

    echo, *said = call.of("ConversationText")
    assert (echo["role"], echo["content"]) == ("user", "Hello")
    assert {message["role"] for message in said} == {"assistant"}
    assert all(message["content"] == message["content"].strip() for message in said)
    sounds = [event for event in call.events if event.type == "audio.delta"]
    assert all(
        type(event.body) is BinaryMessage and len(event.body) == event.audio_bytes
        for event in sounds
    )
    assert call.of("LatencyReport") == [
        {"type": "LatencyReport", "total_latency": FIRST_AUDIO_MS / 1000}
    ]
    assert call.names[-1] == "AgentAudioDone"


def test_detected_speech_is_reported_transcribed_and_answered() -> None:
    call = Call()
    call.speak(600, 700)
    call.pass_ms(10_000)

    assert call.names[:2] == ["UserStartedSpeaking", "ConversationText"]
    assert call.names[-1] == "AgentAudioDone"
    (facts,) = (event.facts for event in call.events if event.facts)
    assert facts["speech_at_byte"] == 600 * 48


def test_speech_interrupts_a_reply_whose_rest_is_never_sent() -> None:
    call = Call()
    call.send({"type": "InjectUserMessage", "content": "Hello"})
    call.pass_ms(FIRST_AUDIO_MS + 100)
    call.speak(600, 700)
    call.pass_ms(10_000)

    assert call.names.count("UserStartedSpeaking") == 1
    assert call.names.count("AgentAudioDone") == 1
    assert {event.response_id for event in call.events if event.type == "audio.delta"} == {
        "reply-1",
        "reply-2",
    }


def test_a_function_is_called_and_its_result_repeated_and_answered() -> None:
    call = Call(
        quick(functions=FunctionCalls()), functions=[{"name": "find_parcel", "description": ""}]
    )
    call.send({"type": "InjectUserMessage", "content": "Where is it?"})
    call.pass_ms(5_000)
    assert call.names[-1] == "FunctionCallRequest"
    (called,) = call.of("FunctionCallRequest")[0]["functions"]
    call.send(
        {
            "type": "FunctionCallResponse",
            "id": called["id"],
            "name": called["name"],
            "content": "{}",
        }
    )
    call.pass_ms(10_000)

    assert (called["name"], called["client_side"]) == ("find_parcel", True)
    assert "FunctionCallResponse" in call.names
    assert call.names[-1] == "AgentAudioDone"


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([{"type": "KeepAlive"}], "NON_SETTINGS_MESSAGE_BEFORE_SETTINGS"),
        ([SETTINGS, SETTINGS], "SETTINGS_ALREADY_APPLIED"),
        ([SETTINGS | {"agent": {}}], "UNPARSABLE_CLIENT_MESSAGE"),
        ([SETTINGS | {"audio": {"output": {"encoding": "mp3"}}}], "INVALID_SETTINGS"),
        ([SETTINGS, {"type": "response.create"}], "UNPARSABLE_CLIENT_MESSAGE"),
        ([{}], "NON_SETTINGS_MESSAGE_BEFORE_SETTINGS"),
    ],
)
def test_a_refusal_is_an_error_and_a_close(messages: list[dict[str, Any]], code: str) -> None:
    behaviour = DeepgramBehaviour(session_parts(quick()))
    for message in messages:
        behaviour.receive_text(msgspec.json.encode(message), AT_NS)
    *_, event = behaviour.due(AT_NS + SECOND)

    assert msgspec.json.decode(event.body)["code"] == code
    assert event.close is not None
    assert behaviour.next_due_ns() is None


def test_a_session_announces_its_end() -> None:
    call = Call(quick(max_session_s=301))
    call.pass_ms(2_000)

    assert [message["code"] for message in call.of("Warning")] == [
        "MAXIMUM_SESSION_LENGTH_APPROACHING"
    ]
    ended = msgspec.json.decode(call.behaviour.expiry(0, "", "").body)
    assert ended["code"] == "MAXIMUM_SESSION_LENGTH_REACHED"


@pytest.mark.parametrize(
    "fault", ["error", "failed", "incomplete", "other_dialect", "close,at=speech"]
)
def test_a_fault_that_the_service_lacks_refuses_the_connection(fault: str) -> None:
    assert SERVICE.lacks(read_line(fault))


def test_a_fault_that_the_service_has_is_accepted() -> None:
    assert not SERVICE.lacks(read_line("close,at=done"))
