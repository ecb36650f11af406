"""Sessions of Azure Voice Live: it has the events of preview, and additional settings."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.services.voice_live import VOICE_LIVE as VOICE_LIVE_DIALECT
from bench.wire.events import EventKind
from rtbench_simulator.profile import McpSettings
from rtbench_simulator.services.voice_live import VOICE_LIVE
from tests.simulator.builders import (
    CREATE,
    JSON,
    all_of,
    answers,
    build_behaviour,
    constant,
    done,
    function,
    one,
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
