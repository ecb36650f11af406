"""Services that speak the Realtime API with small differences: what each is told, as its own clients tell it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bench.protocol.base import ClientMessage, Dialect
from bench.protocol.dialects import GLM, INWORLD, QWEN, STEPFUN, XAI
from bench.protocol.events import Kind
from bench.protocol.settings import FunctionTool, SessionSettings, TurnDetection
from tests.helpers import event_of, message

VAD = TurnDetection(threshold=0.5, silence_duration_ms=800)
SAID_VAD = {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 800}
FIND = FunctionTool(name="find", description="Finds.", parameters={"type": "object"})
SHELLED = {
    "type": "function",
    "function": {"name": "find", "description": "Finds.", "parameters": {"type": "object"}},
}


def session_of(dialect: Dialect, **settings: Any) -> dict[str, Any]:
    (update,) = (step for step in dialect.set_up(SessionSettings(**settings), "e") if isinstance(step, ClientMessage))
    session: dict[str, Any] = json.loads(update.data)["session"]
    return session


def refusal(dialect: Dialect, **settings: Any) -> str:
    refused = dialect.refuses(SessionSettings(**settings))
    return "" if refused is None else refused.problem


def test_xai_is_told_voice_and_turn_detection_at_the_top_of_the_session() -> None:
    session = session_of(XAI, voice="ara", turn_detection=VAD, input_format="pcm16@16000")

    assert (session["voice"], session["turn_detection"]) == ("ara", SAID_VAD)
    assert session["audio"]["input"] == {"format": {"type": "audio/pcm", "rate": 16_000}}
    assert session["audio"]["output"] == {"format": {"type": "audio/pcm", "rate": 24_000}}
    assert session_of(XAI)["turn_detection"] is None


def test_what_this_tool_relies_on_cannot_be_undone_where_xai_has_it() -> None:
    undone = {"turn_detection": {"create_response": False}}

    assert "extra must not set turn_detection.create_response" in refusal(XAI, turn_detection=VAD, extra=undone)
    assert refusal(XAI, turn_detection=VAD, extra={"turn_detection": {"threshold": 0.9}}) == ""


def test_inworld_is_asked_for_audio_with_its_text() -> None:
    assert session_of(INWORLD)["output_modalities"] == ["audio", "text"]
    assert session_of(INWORLD, output="text")["output_modalities"] == ["text"]


def test_qwen_hears_16_khz_by_itself_and_other_rates_where_its_sdk_says_them() -> None:
    assert session_of(QWEN, turn_detection=VAD, voice="Cherry") == {
        "modalities": ["audio", "text"],
        "voice": "Cherry",
        "input_audio_format": "pcm",
        "output_audio_format": "pcm",
        "turn_detection": SAID_VAD,
    }
    wide = session_of(QWEN, input_format="pcm16")
    assert wide["audio"] == {
        "input": {"format": {"type": "pcm", "sample_rate": 24_000}},
        "output": {"format": {"type": "pcm", "sample_rate": 24_000}},
    }
    assert "input_audio_format" not in wide
    assert "must be one of pcm16@16000, pcm16@8000, pcm16, pcm16@48000" in refusal(QWEN, input_format="g711_ulaw")


@pytest.mark.parametrize("dialect", [QWEN, STEPFUN], ids=lambda dialect: dialect.name)
def test_functions_stand_in_a_shell_where_a_service_wants_one(dialect: Dialect) -> None:
    assert session_of(dialect, tools=(FIND,))["tools"] == [SHELLED]


def test_glm_is_told_the_rate_in_the_name_and_who_ends_turns() -> None:
    by_client, by_service = session_of(GLM), session_of(GLM, turn_detection=VAD, input_format="pcm16")

    assert (by_client["input_audio_format"], by_client["output_audio_format"]) == ("pcm16", "pcm")
    assert by_client["turn_detection"] == {"type": "client_vad"}
    assert by_client["beta_fields"] == {"chat_mode": "audio"}
    assert (by_service["input_audio_format"], by_service["turn_detection"]) == ("pcm24", SAID_VAD)


def test_stepfun_always_speaks_at_24_khz() -> None:
    assert "always speaks" in refusal(STEPFUN, output="text")
    assert "must be one of pcm16" in refusal(STEPFUN, input_format="pcm16@16000")
    assert session_of(STEPFUN)["modalities"] == ["audio", "text"]


@pytest.mark.parametrize("dialect", [XAI, GLM, STEPFUN], ids=lambda dialect: dialect.name)
def test_detection_by_meaning_is_refused_where_nobody_has_described_it(dialect: Dialect) -> None:
    assert "use server_vad" in refusal(dialect, turn_detection=TurnDetection(type="semantic_vad"))
    assert refusal(dialect, turn_detection=TurnDetection()) == ""


@pytest.mark.parametrize(
    ("dialect", "name", "kind"),
    [
        (XAI, "conversation.created", Kind.SESSION_CREATED),
        (XAI, "conversation.item.input_audio_transcription.updated", Kind.NOTED),
        (XAI, "response.text.delta", Kind.TEXT_DELTA),
        (XAI, "response.output_audio.delta", Kind.AUDIO_DELTA),
        (QWEN, "response.audio.delta", Kind.AUDIO_DELTA),
        (GLM, "heartbeat", Kind.NOTED),
        (STEPFUN, "response.audio_transcript.delta", Kind.TRANSCRIPT_DELTA),
    ],
)
def test_events_of_their_own_are_known(dialect: Dialect, name: str, kind: Kind) -> None:
    assert event_of(message(name), dialect).kind is kind
