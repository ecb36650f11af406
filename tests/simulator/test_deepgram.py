"""The simulated Voice Agent of Deepgram on a virtual clock: its messages, and its refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from bench.simulator.faults.kinds import read_line
from bench.simulator.profile import FunctionCalls, Profile, quiet_profile
from bench.simulator.server_events import OutgoingEvent
from bench.simulator.services.deepgram import SERVICE, DeepgramBehaviour
from bench.wire.dialect import BinaryMessage
from tests.simulator.builders import (
    AT_NS,
    MS,
    SECOND,
    build_profile,
    constant,
    session_parts,
    sound,
)

FIRST_AUDIO_MS = 300
THINK: dict[str, Any] = {"provider": {"type": "open_ai", "model": "gpt-4o-mini"}}
SETTINGS: dict[str, Any] = {"type": "Settings", "audio": {}, "agent": {"think": THINK}}


def quick(**changes: Any) -> Profile:
    first = constant(FIRST_AUDIO_MS)
    return build_profile(
        delays=replace(quiet_profile().delays, first_audio=first, function_named=first), **changes
    )


class Call:
    """A session that gets all messages when they are due. `events` are those that were sent."""

    def __init__(self, profile: Profile | None = None, **think: Any) -> None:
        self.behaviour = DeepgramBehaviour(session_parts(profile or quick()))
        self.now_ns = AT_NS
        self.events: list[OutgoingEvent] = []
        self.behaviour.open(AT_NS)
        self.send(SETTINGS | {"agent": {"think": THINK | think}})
        self.pass_ms(200)

    def send(self, fields: dict[str, Any]) -> None:
        self.behaviour.receive_text(msgspec.json.encode(fields), self.now_ns)

    def pass_ms(self, duration_ms: float) -> None:
        until_ns = self.now_ns + round(duration_ms * MS)
        while (due_ns := self.behaviour.next_due_ns()) is not None and due_ns <= until_ns:
            self.now_ns = max(self.now_ns, due_ns)
            self.events += self.behaviour.due(self.now_ns)
        self.now_ns = until_ns

    def speak(self, *parts_ms: int) -> None:
        """Send speech and silence, alternating, at the pace of a microphone."""
        audio = sound(*parts_ms, name="pcm16")
        for begin in range(0, len(audio), 4_800):
            self.pass_ms(100)
            self.behaviour.receive_binary(audio[begin : begin + 4_800], self.now_ns)

    @property
    def names(self) -> list[str]:
        """The names of the messages after the set-up; several of one kind in a row count as one."""
        names = [
            event.type for event in self.events if event.type not in ("Welcome", "SettingsApplied")
        ]
        return [name for name, before in zip(names, ["", *names], strict=False) if name != before]

    def of(self, name: str) -> list[Any]:
        return [msgspec.json.decode(event.body) for event in self.events if event.type == name]


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
