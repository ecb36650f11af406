"""Sessions of Azure Voice Live: it has the events of preview, and additional settings."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.services.voice_live import VOICE_LIVE as VOICE_LIVE_DIALECT
from bench.wire.audio import PCM16_16K
from bench.wire.events import EventKind
from rtbench_simulator.behaviour import Behaviour
from rtbench_simulator.profile import McpSettings
from rtbench_simulator.services.voice_live import VOICE_LIVE
from tests.simulator.builders import (
    AT_NS,
    COMMIT,
    CREATE,
    JSON,
    MS,
    all_of,
    answers,
    build_behaviour,
    constant,
    done,
    drain,
    function,
    noise,
    one,
    sound,
    talk,
    types,
    user_text,
)
from tests.simulator.voice_live_types import assert_voice_live

STANDARD = {
    "type": "azure-standard",
    "name": "en-US-AvaNeural",
    "temperature": 0.8,
    "locale": "en-US",
}
FILLER = {
    "type": "static_interim_response",
    "texts": ["One moment."],
    "triggers": ["latency", "tool"],
}


def update(**session: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": session}


def opened(**session: Any) -> Behaviour:
    """Return a session with these settings."""
    behaviour = build_behaviour(VOICE_LIVE)
    assert types(answers(behaviour, update(**session))) == ["session.updated"]
    return behaviour


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({"voice": "unknown"}, "invalid_value", "session.voice"),
        ({"voice": {"type": "azure-odd", "name": "x"}}, "invalid_value", "session.voice.type"),
        ({"voice": {"type": "azure-standard"}}, "missing_required_parameter", "session.voice.name"),
        ({"voice": STANDARD | {"speed": 1}}, "unknown_parameter", "session.voice.speed"),
        (
            {"voice": {"type": "azure-custom", "name": "x"}},
            "missing_required_parameter",
            "session.voice.endpoint_id",
        ),
        ({"turn_detection": {"type": "azure_vad"}}, "invalid_value", "session.turn_detection.type"),
        (
            {"turn_detection": {"silence_duration_ms": 1}},
            "missing_required_parameter",
            "session.turn_detection.type",
        ),
        (
            {"turn_detection": {"type": "server_vad", "languages": ["en"]}},
            "unknown_parameter",
            "session.turn_detection.languages",
        ),
        (
            {
                "turn_detection": {
                    "type": "azure_semantic_vad",
                    "end_of_utterance_detection": {"model": "x"},
                }
            },
            "invalid_value",
            "session.turn_detection.end_of_utterance_detection.model",
        ),
        (
            {"input_audio_sampling_rate": 12_000},
            "invalid_value",
            "session.input_audio_sampling_rate",
        ),
        ({"output_audio_format": "pcm16_48000hz"}, "invalid_value", "session.output_audio_format"),
        (
            {"interim_response": {"type": "static_interim_response", "triggers": ["boredom"]}},
            "invalid_value",
            "session.interim_response.triggers[0]",
        ),
        (
            {"interim_response": {"texts": []}},
            "missing_required_parameter",
            "session.interim_response.type",
        ),
        (
            {"input_audio_transcription": {"language": "en"}},
            "missing_required_parameter",
            "session.input_audio_transcription.model",
        ),
        ({"avatar": {"character": "lisa"}}, "unknown_parameter", "session.avatar"),
        ({"audio": {}}, "unknown_parameter", "session.audio"),
    ],
)
def test_unknown_settings_are_refused(session: dict[str, Any], code: str, param: str) -> None:
    behaviour = build_behaviour(VOICE_LIVE)
    before = behaviour.session.shown
    (refused,) = answers(behaviour, update(**session))

    assert (refused["error"]["code"], refused["error"]["param"]) == (code, param)
    assert behaviour.session.shown == before
    assert_voice_live([refused])


@pytest.mark.parametrize(
    "detection",
    [
        "server_vad",
        "semantic_vad",
        "azure_semantic_vad",
        "azure_semantic_vad_en",
        "azure_semantic_vad_multilingual",
    ],
)
def test_a_voice_turn_is_detected_transcribed_and_answered(detection: str) -> None:
    transcription = {"model": "azure-speech"}
    behaviour = opened(turn_detection={"type": detection}, input_audio_transcription=transcription)
    events = talk(behaviour, sound(0, 300, 800, 4500)) + drain(behaviour)

    names = [event["type"] for event in events if event["type"].startswith("input_audio_buffer")]
    assert names == [
        f"input_audio_buffer.{name}" for name in ("speech_started", "speech_stopped", "committed")
    ]
    assert one(events, "transcription.completed")["transcript"]
    assert all_of(events, "transcription.delta")
    assert done(events)["status"] == "completed"
    assert_voice_live(events)


@pytest.mark.parametrize("off", [None, {"type": "none"}])
def test_a_client_may_commit_its_turns_manually(off: Any) -> None:
    behaviour = opened(turn_detection=off)
    audio = {"type": "input_audio_buffer.append", "audio": base64.b64encode(sound(300)).decode()}
    events = answers(behaviour, audio, COMMIT, CREATE)

    assert done(events)["usage"]["input_token_details"]["audio_tokens"] == 3
    assert_voice_live(events)


def test_audio_of_16_khz_has_its_correct_duration() -> None:
    narrow = PCM16_16K
    behaviour = opened(input_audio_sampling_rate=16_000, turn_detection={"type": "server_vad"})
    audio = narrow.encode(noise(16_000 * 300 // 1000, 0)) + narrow.encode(
        noise(16_000 * 800 // 1000, 3277)
    )
    audio += bytes(32 * 700)
    for begin in range(0, len(audio), 3200):
        chunk = base64.b64encode(audio[begin : begin + 3200]).decode()
        behaviour.receive(
            {"type": "input_audio_buffer.append", "audio": chunk}, AT_NS + begin // 32 * MS
        )
    events = drain(behaviour)

    # 300 ms minus the padding of 300 ms
    assert one(events, "speech_started")["audio_start_ms"] == 0
    assert one(events, "speech_stopped")["audio_end_ms"] == 300 + 800 + 500


def test_additional_instructions_of_a_response_count_as_input() -> None:
    behaviour = opened(instructions="Be brief.")

    def read(**event: Any) -> int:
        usage = done(answers(behaviour, CREATE | event))["usage"]
        return int(usage["input_token_details"]["text_tokens"])

    before = read()
    assert read(additional_instructions="x" * 400) >= before + 100
    (refused,) = answers(build_behaviour(), CREATE | {"additional_instructions": "x"})
    assert refused["error"]["param"] == "additional_instructions"


SOME_KEYS = (
    "type",
    "name",
    "voice",
    "turn_detection",
    "interim_response",
    "modalities",
    "tools",
    "input_audio_format",
    "input_audio_sampling_rate",
    "input_audio_transcription",
    "end_of_utterance_detection",
)
SOME_VALUES = st.sampled_from(
    [
        "azure_semantic_vad",
        "azure-standard",
        "static_interim_response",
        "pcm16",
        "audio",
        STANDARD,
        FILLER,
        function(),
        16_000,
    ]
)
SOME = JSON | SOME_VALUES | st.lists(SOME_VALUES, max_size=2)
SESSIONS = st.dictionaries(st.sampled_from(SOME_KEYS), SOME, max_size=4)


@settings(deadline=None)
@given(st.lists(SESSIONS | JSON, max_size=4))
def test_a_session_answers_after_any_session_updates(sessions: list[Any]) -> None:
    behaviour = build_behaviour(VOICE_LIVE)
    updates = [{"type": "session.update", "session": session} for session in sessions]
    events = answers(behaviour, *updates, user_text(), CREATE)

    assert done(events)["status"] == "completed"
    assert_voice_live(events)


DOCS: dict[str, Any] = {
    "type": "mcp",
    "server_label": "docs",
    "server_url": "https://docs.example.com",
    "allowed_tools": ["find_page"],
}


def items(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    created = all_of(events, "conversation.item.created")
    return [event["item"] for event in created if event["item"]["type"] == kind]


@pytest.mark.parametrize("approval", ["never", "always"])
def test_the_tools_of_mcp_servers_are_listed_and_called(approval: str) -> None:
    """The service announces each item once, because it has no event for a complete item."""
    behaviour = build_behaviour(
        VOICE_LIVE, mcp=McpSettings(listing_ms=constant(300), call_ms=constant(500))
    )
    events = answers(behaviour, update(tools=[DOCS | {"require_approval": approval}]))
    events += answers(behaviour, user_text(), CREATE)
    if approval == "always":
        (request,) = items(events, "mcp_approval_request")
        answer = {
            "type": "mcp_approval_response",
            "approval_request_id": request["id"],
            "approve": True,
        }
        events += answers(behaviour, {"type": "conversation.item.create", "item": answer})

    assert_voice_live(events)
    assert len(items(events, "mcp_list_tools")) == len(items(events, "mcp_call")) == 1
    assert one(events, "mcp_list_tools.completed")
    assert one(events, "response.mcp_call.completed")
    kinds = {kind for event in events for kind in decoded(event)}
    asked = {EventKind.MCP_APPROVAL} if approval == "always" else set()
    assert kinds >= asked | {
        EventKind.MCP_LISTED,
        EventKind.MCP_CALL_ADDED,
        EventKind.MCP_CALL_STARTED,
        EventKind.MCP_CALL_ENDED,
    }
    assert EventKind.UNKNOWN not in kinds


def decoded(event: dict[str, Any]) -> list[EventKind]:
    message = msgspec.json.encode({key: event[key] for key in event if key != "due_ns"})
    return [known.kind for known in VOICE_LIVE_DIALECT.decode(message)]


def test_text_is_streamed_into_a_message_of_the_user() -> None:
    behaviour = build_behaviour(VOICE_LIVE)
    created = one(answers(behaviour, user_text()), "conversation.item.created")["item"]
    deltas = [{"type": "input_text.delta", "id": created["id"], "delta": text} for text in "ab"]
    ended = {"type": "input_text.done", "id": created["id"], "content_index": 0}
    retrieve = {"type": "conversation.item.retrieve", "item_id": created["id"]}
    item = one(answers(behaviour, *deltas, ended, retrieve), "conversation.item.retrieved")["item"]

    assert item["content"][0]["text"].endswith("ab")
    for wrong in ({"id": "other"}, {"content_index": 1}):
        (error,) = answers(behaviour, deltas[0] | wrong)
        assert error["error"]["param"] == next(iter(wrong))
