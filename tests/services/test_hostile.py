"""Services of their own messages that break every rule: a session always ends with an outcome, in
bounded time and memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.files.values import MAX_TEXT_CHARACTERS
from bench.services.deepgram.replies import DeepgramReader
from bench.services.gemini.replies import MAX_ENDED, SessionReader
from bench.wire.dialect import BinaryMessage
from tests.services import deepgram_talk as deepgram
from tests.services import gemini_talk as gemini
from tests.services.hostile import ANY, SEEDS, Hostile, HostileService, nested
from tests.services.talk import LOUD


def parts(*found: Any) -> bytes:
    return gemini.content(modelTurn={"parts": found})


OF_DEEPGRAM: list[Hostile] = [
    *ANY,
    lambda r: BinaryMessage(deepgram.SOUND[: r.randrange(4_800)]),
    lambda r: BinaryMessage(b""),
    lambda r: BinaryMessage(msgspec.json.encode({"type": "AgentAudioDone"})),
    lambda r: msgspec.json.encode({"binary": r.choice(["", "AAA", "!", 1, None, "AAAA" * 500])}),
    lambda r: deepgram.said(
        "x" * r.randrange(20_000), r.choice(["assistant", "user", "system", ""])
    ),
    lambda r: deepgram.message(
        "ConversationText",
        role=r.choice(["user", "assistant"]),
        content=r.choice([None, 1, [], ""]),
    ),
    lambda r: deepgram.message("ConversationText", role=7, content="x"),
    lambda r: b'{"type":"ConversationText","role":"assistant","content":"\\ud800"}',
    lambda r: deepgram.message(
        "FunctionCallRequest",
        functions=[r.choice([{}, deepgram.FUNCTION, {"id": "i" * 9_999}])] * 300,
    ),
    lambda r: deepgram.message("FunctionCallRequest", functions=r.choice([{}, "x", [1], None])),
    lambda r: deepgram.message("FunctionCallCancelled", functions=[]),
    lambda r: deepgram.message("Error", code="a b\n" * 99, description="m" * 9_999),
    lambda r: deepgram.message(
        "Warning", code=r.choice(["SLOW_THINK_REQUEST", "MAXIMUM_SESSION_LENGTH_APPROACHING"])
    ),
    lambda r: deepgram.message("InjectionRefused", message="m" * r.randrange(9_999)),
    lambda r: deepgram.message("LatencyReport", total_latency=r.choice([1e999, -1, "x", 0.5])),
    lambda r: deepgram.message("AgentStartedSpeaking", total_latency="x"),
    lambda r: deepgram.WELCOME,
    lambda r: deepgram.READY,
    lambda r: deepgram.STARTED,
    lambda r: deepgram.DONE,
    lambda r: deepgram.CALL,
    lambda r: deepgram.RESULT,
]


OF_GEMINI: list[Hostile] = [
    *ANY,
    lambda r: b'{"serverContent": 1}',
    lambda r: b'{"serverContent": {"modelTurn": {"parts": [[]]}}}',
    lambda r: b'{"serverContent": {"interrupted": "yes"}}',
    lambda r: b'{"usageMetadata": {"promptTokenCount": 1e999}}',
    lambda r: b'{"usageMetadata": {"promptTokenCount": -5, "responseTokensDetails": "x"}}',
    lambda r: b'{"serverContent": {"outputTranscription": {"text": "\\ud800"}}}',
    lambda r: b'{"setupComplete": {}}' + b" " * r.randrange(9),
    lambda r: nested('{"serverContent":', r.choice([5, 600, 3_000])),
    lambda r: gemini.sound("!" * r.randrange(1, 9)),
    lambda r: gemini.sound(LOUD[: r.randrange(1, 40)]),
    lambda r: gemini.sound("AAA="),
    lambda r: gemini.sound(
        LOUD, r.choice(["audio/opus", "audio/pcm;rate=x", "audio/pcm;rate=8000", ""])
    ),
    lambda r: gemini.sound(""),
    lambda r: parts(*[{"text": "word "} for _ in range(r.randrange(200))]),
    lambda r: parts(
        *[{"inlineData": {"mimeType": "audio/pcm", "data": "AAAA"}} for _ in range(r.randrange(40))]
    ),
    lambda r: gemini.said("x" * r.randrange(20_000)),
    lambda r: gemini.said("done", finished=True),
    lambda r: gemini.content(
        inputTranscription={"text": "y" * r.randrange(20_000), "finished": r.random() < 0.5}
    ),
    lambda r: gemini.content(interimInputTranscription={"text": "z"}),
    lambda r: gemini.content(turnComplete=True, generationComplete=True, interrupted=True),
    lambda r: gemini.INTERRUPTED,
    lambda r: gemini.GENERATED,
    lambda r: gemini.OVER,
    lambda r: gemini.GO_AWAY,
    lambda r: gemini.TOOL_CALL,
    lambda r: msgspec.json.encode(
        {"toolCall": {"functionCalls": [r.choice([1, {}, {"id": "i" * 9_999}])] * 300}}
    ),
    lambda r: msgspec.json.encode({"toolCall": r.choice([{}, [], {"functionCalls": {}}])}),
    lambda r: msgspec.json.encode({"toolCallCancellation": {"ids": ["never made"]}}),
    lambda r: msgspec.json.encode(
        {"voiceActivity": {"voiceActivityType": "ACTIVITY_END", "audioOffset": "9" * 99}}
    ),
    lambda r: msgspec.json.encode({"error": {"status": "a b\n" * 99, "message": "m" * 9_999}}),
    lambda r: msgspec.json.encode({"u" * r.randrange(1, 500): {}}),
]


SERVICES = {
    "deepgram": HostileService(
        OF_DEEPGRAM,
        deepgram.REPLY,
        deepgram.compiled,
        lambda sent: b'"Settings"' in sent,
        deepgram.READY,
        lambda sent: isinstance(sent, BinaryMessage),
        deepgram.GREETING,
    ),
    "gemini": HostileService(
        OF_GEMINI,
        gemini.REPLY,
        gemini.compiled,
        lambda sent: "setup" in msgspec.json.decode(sent),
        gemini.READY,
        lambda sent: "audio" in msgspec.json.decode(sent).get("realtimeInput", {}),
    ),
}


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("seeds", SEEDS)
def test_a_session_with_a_hostile_server_ends_with_an_outcome(
    name: str, seeds: range, tmp_path: Path
) -> None:
    SERVICES[name].play(seeds, tmp_path)


def test_the_state_of_a_session_with_deepgram_has_a_limit() -> None:
    reader = DeepgramReader()
    for _ in range(200):
        assert reader.decode(deepgram.said("x" * 10_000))
    (done,) = (event for event in reader.decode(deepgram.DONE) if event.text)

    assert len(done.text) <= MAX_TEXT_CHARACTERS + 200


def test_the_state_of_a_session_with_gemini_has_a_limit() -> None:
    reader = SessionReader()
    heard = gemini.content(inputTranscription={"text": "y" * 10_000})
    for _ in range(200):
        for message in (gemini.said("x" * 10_000), heard):
            assert reader.decode(message)
    done = [event for event in reader.decode(gemini.GENERATED) if event.text]
    for _ in range(50):
        reader.decode(gemini.sound())
        reader.decode(gemini.GENERATED)

    assert [len(event.text) for event in done] == [MAX_TEXT_CHARACTERS] * 2
    assert len(reader._ended) == MAX_ENDED
