"""The simulator refuses the client events that the services refuse, with the same code and
parameter, and accepts all others.
"""

from __future__ import annotations

from typing import Any

import pytest

from rtbench_simulator.behaviour import WireDialect
from rtbench_simulator.server_events import GA
from rtbench_simulator.services.azure import AZURE_GA, AZURE_PREVIEW
from rtbench_simulator.services.openai import OPENAI_GA, OPENAI_PREVIEW
from tests.examples import some
from tests.simulator.builders import answers, build_behaviour, function, session_update

IN_GA, IN_PREVIEW = (AZURE_GA, OPENAI_GA), (AZURE_PREVIEW, OPENAI_PREVIEW)
EVERYWHERE = (*IN_GA, *IN_PREVIEW)
TAKEN = None
# the code and param of the error; None if the event is accepted
Verdict = tuple[str, str | None] | None

LONG_ID = "i" * 33
PNG = "data:image/png;base64,iVBORw0KGgo="
CALL = {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "1"}


def message(role: str, *content: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": list(content), **fields}


def text(words: Any = "Hi", kind: str = "input_text") -> dict[str, Any]:
    return {"type": kind, "text": words}


ITEMS: list[tuple[tuple[WireDialect, ...], Any, Verdict]] = [
    (EVERYWHERE, message("user", text()), TAKEN),
    (
        EVERYWHERE,
        message("user", text(), id="mine", object="realtime.item", status="incomplete"),
        TAKEN,
    ),
    (EVERYWHERE, message("user", text(), id="i" * 32), TAKEN),
    (EVERYWHERE, message("user", text(), id=LONG_ID), ("string_above_max_length", "item.id")),
    (EVERYWHERE, message("user", text(), id=""), ("invalid_value", "item.id")),
    (EVERYWHERE, message("user", text(), object="thing"), ("invalid_value", "item.object")),
    (EVERYWHERE, message("user", text(), odd=1), ("unknown_parameter", "item.odd")),
    (EVERYWHERE, message("user"), ("empty_array", "item.content")),
    (EVERYWHERE, message("unknown", text()), ("invalid_value", "item.role")),
    (
        EVERYWHERE,
        {"type": "message", "role": "user"},
        ("missing_required_parameter", "item.content"),
    ),
    (
        EVERYWHERE,
        message("user", {"type": "input_text"}),
        ("missing_required_parameter", "item.content[0].text"),
    ),
    (
        EVERYWHERE,
        message("user", text() | {"odd": 1}),
        ("unknown_parameter", "item.content[0].odd"),
    ),
    (
        EVERYWHERE,
        message("user", text(), text(kind="input_txt")),
        ("invalid_value", "item.content[1].type"),
    ),
    (EVERYWHERE, message("system", text()), TAKEN),
    (
        EVERYWHERE,
        message("system", {"type": "input_audio", "audio": ""}),
        ("invalid_value", "item.content[0].type"),
    ),
    (
        EVERYWHERE,
        message("user", {"type": "input_audio"}),
        ("missing_required_parameter", "item.content[0].audio"),
    ),
    (
        EVERYWHERE,
        message("user", {"type": "input_audio", "audio": "AAAA", "transcript": "Hi"}),
        TAKEN,
    ),
    (IN_GA, message("user", {"type": "input_image", "image_url": PNG, "detail": "low"}), TAKEN),
    (
        IN_GA,
        message("user", {"type": "input_image"}),
        ("missing_required_parameter", "item.content[0].image_url"),
    ),
    (
        IN_GA,
        message("user", {"type": "input_image", "image_url": "https://example.com/a.png"}),
        ("invalid_value", "item.content[0].image_url"),
    ),
    (
        IN_PREVIEW,
        message("user", {"type": "input_image", "image_url": PNG}),
        ("invalid_value", "item.content[0].type"),
    ),
    (IN_GA, message("assistant", text(kind="output_text")), TAKEN),
    (IN_GA, message("assistant", {"type": "output_audio", "transcript": "Hello."}), TAKEN),
    (
        IN_GA,
        message("assistant", {"type": "output_audio"}),
        ("missing_required_parameter", "item.content[0].transcript"),
    ),
    (IN_GA, message("assistant", text(kind="text")), ("invalid_value", "item.content[0].type")),
    (IN_PREVIEW, message("assistant", text(kind="text")), TAKEN),
    (
        IN_PREVIEW,
        message("assistant", text(kind="output_text")),
        ("invalid_value", "item.content[0].type"),
    ),
    (EVERYWHERE, message("assistant", text()), ("invalid_value", "item.content[0].type")),
    (EVERYWHERE, CALL, TAKEN),
    (EVERYWHERE, {key: CALL[key] for key in CALL if key != "call_id"}, TAKEN),
    (EVERYWHERE, CALL | {"call_id": LONG_ID}, ("string_above_max_length", "item.call_id")),
    (EVERYWHERE, CALL | {"name": "two words"}, ("invalid_value", "item.name")),
    (EVERYWHERE, OUTPUT | {"call_id": "unknown"}, ("invalid_tool_call_id", None)),
    (
        EVERYWHERE,
        {"type": "function_call_output", "call_id": "c"},
        ("missing_required_parameter", "item.output"),
    ),
    (EVERYWHERE, {"type": "item_reference", "id": "mine"}, ("invalid_value", "item.type")),
    (EVERYWHERE, {"type": "odd"}, ("invalid_value", "item.type")),
    (EVERYWHERE, {}, ("missing_required_parameter", "item.type")),
    (EVERYWHERE, None, ("missing_required_parameter", "item")),
    (EVERYWHERE, {"type": "mcp_call"}, ("invalid_value", "item.type")),
]

SETTINGS: list[tuple[tuple[WireDialect, ...], dict[str, Any], Verdict]] = [
    (EVERYWHERE, {"odd": 1}, ("unknown_parameter", "session.odd")),
    (
        (AZURE_GA, AZURE_PREVIEW),
        {"interim_response": {}},
        ("unknown_parameter", "session.interim_response"),
    ),
    (EVERYWHERE, {"instructions": 5}, ("invalid_type", "session.instructions")),
    (EVERYWHERE, {"tools": [function()]}, TAKEN),
    (EVERYWHERE, {"tools": [{"name": "f"}]}, TAKEN),
    (EVERYWHERE, {"tools": {}}, ("invalid_type", "session.tools")),
    (EVERYWHERE, {"tools": [5]}, ("invalid_type", "session.tools[0]")),
    (
        EVERYWHERE,
        {"tools": [{"type": "function"}]},
        ("missing_required_parameter", "session.tools[0].name"),
    ),
    (EVERYWHERE, {"tools": [function("")]}, ("invalid_value", "session.tools[0].name")),
    (EVERYWHERE, {"tools": [function("two words")]}, ("invalid_value", "session.tools[0].name")),
    (
        EVERYWHERE,
        {"tools": [function("f" * 65)]},
        ("string_above_max_length", "session.tools[0].name"),
    ),
    (
        EVERYWHERE,
        {"tools": [function() | {"meta": {}}]},
        ("unknown_parameter", "session.tools[0].meta"),
    ),
    (
        EVERYWHERE,
        {"tools": [function() | {"type": "web"}]},
        ("invalid_value", "session.tools[0].type"),
    ),
    (
        IN_PREVIEW,
        {"tools": [{"type": "mcp", "server_label": "s"}]},
        ("invalid_value", "session.tools[0].type"),
    ),
    (IN_GA, {"tools": [{"type": "mcp", "server_label": "s", "server_url": "https://x"}]}, TAKEN),
    (EVERYWHERE, {"tool_choice": "required"}, TAKEN),
    (EVERYWHERE, {"tool_choice": "sometimes"}, ("invalid_value", "session.tool_choice")),
    (EVERYWHERE, {"tool_choice": {"type": "function", "name": "f"}}, TAKEN),
    (
        EVERYWHERE,
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        # a user of Azure reported this verdict
        ("missing_required_parameter", "session.tool_choice.name"),
    ),
    (EVERYWHERE, {"tool_choice": {"type": "odd"}}, ("invalid_value", "session.tool_choice.type")),
    (IN_GA, {"truncation": "auto"}, TAKEN),
    (IN_GA, {"truncation": {"type": "retention_ratio", "retention_ratio": 0.8}}, TAKEN),
    (
        IN_GA,
        {"truncation": {"type": "retention_ratio", "retention_ratio": 1.5}},
        ("decimal_above_max_value", "session.truncation.retention_ratio"),
    ),
    (
        IN_GA,
        {"truncation": {"type": "odd", "retention_ratio": 0.8}},
        ("invalid_value", "session.truncation.type"),
    ),
    (
        IN_GA,
        {
            "truncation": {
                "type": "retention_ratio",
                "retention_ratio": 0.8,
                "token_limits": {"odd": 1},
            }
        },
        ("unknown_parameter", "session.truncation.token_limits.odd"),
    ),
    (IN_GA, {"truncation": "never"}, ("invalid_value", "session.truncation")),
    (IN_PREVIEW, {"truncation": "auto"}, ("unknown_parameter", "session.truncation")),
    (IN_PREVIEW, {"include": []}, ("unknown_parameter", "session.include")),
    (EVERYWHERE, {"tracing": {"workflow_name": "w", "group_id": "g", "metadata": {"a": 1}}}, TAKEN),
    (IN_GA, {"prompt": {"id": "pmpt_1", "version": "2", "variables": {"city": "Paris"}}}, TAKEN),
    (IN_GA, {"reasoning": {"effort": "some"}}, ("invalid_value", "session.reasoning.effort")),
    (IN_GA, {"parallel_tool_calls": "yes"}, ("invalid_type", "session.parallel_tool_calls")),
    (IN_GA, {"max_output_tokens": 0}, ("integer_below_min_value", "session.max_output_tokens")),
    (IN_GA, {"max_output_tokens": 1.5}, ("invalid_type", "session.max_output_tokens")),
    (
        IN_PREVIEW,
        {"max_response_output_tokens": 5000},
        ("integer_above_max_value", "session.max_response_output_tokens"),
    ),
    (IN_PREVIEW, {"temperature": 0.3}, ("decimal_below_min_value", "session.temperature")),
    (IN_GA, {"temperature": 0.8}, ("unknown_parameter", "session.temperature")),
    (IN_PREVIEW, {"speed": 2}, ("decimal_above_max_value", "session.speed")),
]

TRANSCRIPTION = "input_audio_transcription"
HEARING: list[tuple[tuple[WireDialect, ...], str, Any, Verdict]] = [
    (EVERYWHERE, "noise_reduction", {"type": "near_field"}, TAKEN),
    (EVERYWHERE, "noise_reduction", {"type": "farfield"}, ("invalid_value", ".type")),
    (IN_GA, "noise_reduction", {"type": "far_field", "strength": 0.5}, TAKEN),
    (
        IN_PREVIEW,
        "noise_reduction",
        {"type": "far_field", "strength": 0.5},
        ("unknown_parameter", ".strength"),
    ),
    (EVERYWHERE, "noise_reduction", None, TAKEN),
    (
        EVERYWHERE,
        "transcription",
        {"model": "whisper-1", "language": "en", "prompt": "parcels"},
        TAKEN,
    ),
    (
        IN_GA,
        "transcription",
        {"model": "gpt-transcribe", "keywords": ["a"], "languages": ["en"]},
        TAKEN,
    ),
    (IN_GA, "transcription", {"model": "gpt-realtime-whisper", "delay": "low"}, TAKEN),
    (
        IN_GA,
        "transcription",
        {"model": "gpt-realtime-whisper", "delay": "long"},
        ("invalid_value", ".delay"),
    ),
    (
        EVERYWHERE,
        "transcription",
        {"model": "whisper-1", "enabled": True},
        ("unknown_parameter", ".enabled"),
    ),
    (
        (OPENAI_GA, *IN_PREVIEW),
        "transcription",
        {"model": "whisper-9"},
        ("invalid_value", ".model"),
    ),
    # in Azure, the model is the name of a deployment
    ((AZURE_GA,), "transcription", {"model": "my-transcriber"}, TAKEN),
    (EVERYWHERE, "transcription", None, TAKEN),
    (EVERYWHERE, "turn_detection", None, TAKEN),
    (EVERYWHERE, "turn_detection", {"type": "server_vad", "threshold": 0.7}, TAKEN),
    (EVERYWHERE, "turn_detection", {"type": "loud_vad"}, ("invalid_value", ".type")),
    (
        EVERYWHERE,
        "turn_detection",
        {"type": "server_vad", "threshold": 1.5},
        ("decimal_above_max_value", ".threshold"),
    ),
    (
        EVERYWHERE,
        "turn_detection",
        {"type": "server_vad", "silence_duration_ms": -1},
        ("integer_below_min_value", ".silence_duration_ms"),
    ),
    (
        EVERYWHERE,
        "turn_detection",
        {"type": "semantic_vad", "eagerness": "keen"},
        ("invalid_value", ".eagerness"),
    ),
    (
        EVERYWHERE,
        "turn_detection",
        {"type": "semantic_vad", "threshold": 0.5},
        ("unknown_parameter", ".threshold"),
    ),
    (IN_GA, "turn_detection", {"type": "server_vad", "idle_timeout_ms": 5_000}, TAKEN),
    (IN_GA, "turn_detection", {"type": "server_vad", "idle_timeout_ms": 30_000}, TAKEN),
    (
        IN_GA,
        "turn_detection",
        {"type": "server_vad", "idle_timeout_ms": 4_999},
        ("integer_below_min_value", ".idle_timeout_ms"),
    ),
    (
        IN_GA,
        "turn_detection",
        {"type": "server_vad", "idle_timeout_ms": 30_001},
        ("integer_above_max_value", ".idle_timeout_ms"),
    ),
    (
        IN_PREVIEW,
        "turn_detection",
        {"type": "server_vad", "idle_timeout_ms": 5_000},
        ("unknown_parameter", ".idle_timeout_ms"),
    ),
]

RESPONSES: list[tuple[tuple[WireDialect, ...], dict[str, Any], Verdict]] = [
    (EVERYWHERE, {}, TAKEN),
    (EVERYWHERE, {"odd": 1}, ("unknown_parameter", "response.odd")),
    (EVERYWHERE, {"metadata": {"topic": "parcels"}}, TAKEN),
    (EVERYWHERE, {"metadata": {"topic": 5}}, ("invalid_type", "response.metadata")),
    (EVERYWHERE, {"conversation": "mine"}, ("invalid_value", "response.conversation")),
    (
        EVERYWHERE,
        {"tools": [{"type": "function"}]},
        ("missing_required_parameter", "response.tools[0].name"),
    ),
    (EVERYWHERE, {"input": [message("user", text())]}, TAKEN),
    (EVERYWHERE, {"input": []}, TAKEN),
    (
        EVERYWHERE,
        {"input": [message("user", {"type": "input_text"})]},
        ("missing_required_parameter", "response.input[0].content[0].text"),
    ),
    (EVERYWHERE, {"input": [message("user")]}, ("empty_array", "response.input[0].content")),
    (
        EVERYWHERE,
        {"input": [{"type": "item_reference", "id": "nowhere"}]},
        ("invalid_value", "response.input[0].id"),
    ),
    (
        IN_GA,
        {"audio": {"output": {"voice": "unknown"}}},
        ("invalid_value", "response.audio.output.voice"),
    ),
    (
        IN_GA,
        {"audio": {"output": {"format": {"type": "audio/pcm", "rate": 8000}}}},
        ("integer_below_min_value", "response.audio.output.format.rate"),
    ),
]

OTHERS: list[tuple[tuple[WireDialect, ...], dict[str, Any], Verdict]] = [
    (EVERYWHERE, {}, ("missing_required_parameter", "type")),
    (EVERYWHERE, {"type": "odd"}, ("invalid_value", "type")),
    (EVERYWHERE, {"type": "session.update"}, ("missing_required_parameter", "session")),
    (EVERYWHERE, {"type": "response.create", "odd": 1}, ("unknown_parameter", "odd")),
    (EVERYWHERE, {"type": "input_audio_buffer.clear", "event_id": "e"}, TAKEN),
    (
        EVERYWHERE,
        {"type": "input_audio_buffer.clear", "event_id": "e" * 513},
        ("string_above_max_length", "event_id"),
    ),
    (EVERYWHERE, {"type": "input_audio_buffer.append"}, ("missing_required_parameter", "audio")),
    (EVERYWHERE, {"type": "conversation.item.delete"}, ("missing_required_parameter", "item_id")),
    (
        EVERYWHERE,
        {"type": "conversation.item.delete", "item_id": "x"},
        ("item_delete_invalid_item_id", "item_id"),
    ),
    (
        EVERYWHERE,
        {"type": "conversation.item.retrieve", "item_id": "x"},
        ("item_retrieve_invalid_item_id", "item_id"),
    ),
    (
        EVERYWHERE,
        {
            "type": "conversation.item.truncate",
            "item_id": "x",
            "content_index": 0,
            "audio_end_ms": 0,
        },
        ("item_truncate_invalid_item_id", "item_id"),
    ),
    (
        EVERYWHERE,
        {"type": "conversation.item.truncate", "item_id": "x", "content_index": 0},
        ("missing_required_parameter", "audio_end_ms"),
    ),
    (
        EVERYWHERE,
        {
            "type": "conversation.item.truncate",
            "item_id": "x",
            "content_index": 0,
            "audio_end_ms": 0.5,
        },
        ("invalid_type", "audio_end_ms"),
    ),
    (EVERYWHERE, {"type": "response.cancel"}, ("response_cancel_not_active", None)),
    (
        EVERYWHERE,
        {
            "type": "conversation.item.create",
            "item": message("user", text()),
            "previous_item_id": "x",
        },
        ("invalid_value", "previous_item_id"),
    ),
    (IN_GA, {"type": "transcription_session.update", "session": {}}, ("invalid_value", "type")),
    (
        IN_GA,
        {"type": "session.update", "session": {"type": "transcription"}},
        ("invalid_parameter", None),
    ),
    (
        IN_GA,
        {"type": "session.update", "session": {"type": "odd"}},
        ("invalid_value", "session.type"),
    ),
]


def hearing(dialect: WireDialect, key: str, value: Any) -> tuple[dict[str, Any], str]:
    """Return the update that sets `key`, and the path of the setting in the dialect. `key` is
    the name in GA.
    """
    if dialect.names is GA:
        return session_update(dialect, audio={"input": {key: value}}), f"session.audio.input.{key}"
    preview = {
        "noise_reduction": "input_audio_noise_reduction",
        "transcription": TRANSCRIPTION,
    }.get(key, key)
    return session_update(dialect, **{preview: value}), f"session.{preview}"


def cases() -> list[tuple[WireDialect, dict[str, Any], Verdict]]:
    reported = [
        (where, {"type": "conversation.item.create", "item": item}, verdict)
        for where, item, verdict in ITEMS
    ]
    reported += [
        (where, {"type": "response.create", "response": given}, verdict)
        for where, given, verdict in RESPONSES
    ]
    events = [
        (dialect, event, verdict)
        for where, event, verdict in reported + OTHERS
        for dialect in where
    ]
    for dialects, settings, verdict in SETTINGS:
        events += [(dialect, session_update(dialect, **settings), verdict) for dialect in dialects]
    for dialects, key, value, verdict in HEARING:
        for dialect in dialects:
            event, path = hearing(dialect, key, value)
            events.append((dialect, event, verdict and (verdict[0], f"{path}{verdict[1]}")))
    return events


@pytest.mark.parametrize("dialect", EVERYWHERE, ids=lambda one: one.name)
def test_the_simulator_accepts_and_refuses_events_like_the_services(dialect: WireDialect) -> None:
    for where, event, verdict in cases():
        if where is dialect:
            check_answered(dialect, event, verdict)


@pytest.mark.parametrize("dialect", some(EVERYWHERE, 1), ids=lambda one: one.name)
@pytest.mark.parametrize(
    ("size", "verdict"), [(15 << 20, TAKEN), ((15 << 20) + 3, ("string_above_max_length", "audio"))]
)
def test_an_append_accepts_at_most_15_mib_of_audio(
    dialect: WireDialect, size: int, verdict: Verdict
) -> None:
    audio = "AAAA" * (size // 3)  # three bytes of silence in Base64
    check_answered(dialect, {"type": "input_audio_buffer.append", "audio": audio}, verdict)


def check_answered(dialect: WireDialect, event: dict[str, Any], verdict: Verdict) -> None:
    behaviour = build_behaviour(dialect)
    before = behaviour.session.shown

    errors = [answer["error"] for answer in answers(behaviour, event) if answer["type"] == "error"]

    assert [(error["code"], error["param"]) for error in errors] == (
        [] if verdict is None else [verdict]
    ), str(event)[:150]
    assert {error["type"] for error in errors} <= {"invalid_request_error"}
    if errors:
        assert behaviour.session.shown == before
