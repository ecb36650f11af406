"""A Gemini Live server that breaks every rule: a session always ends with an outcome, in bounded
time and memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.files.values import MAX_TEXT_CHARACTERS
from bench.services.gemini.replies import MAX_ENDED, SessionReader
from tests.helpers import MS, S, say
from tests.memory_transport import PeerAnswer
from tests.services.gemini_talk import (
    GENERATED,
    GO_AWAY,
    INTERRUPTED,
    OVER,
    READY,
    REPLY,
    TOOL_CALL,
    VAD,
    Talk,
    compiled,
    content,
    said,
    sound,
)
from tests.services.hostile import ANY, LONGEST_S, SEEDS, Hostile, hostile_server, nested
from tests.services.talk import LOUD, interrupted_by_speech, parcels, speak


def parts(*found: Any) -> bytes:
    return content(modelTurn={"parts": found})


HOSTILE: list[Hostile] = [
    *ANY,
    lambda r: b'{"serverContent": 1}',
    lambda r: b'{"serverContent": {"modelTurn": {"parts": [[]]}}}',
    lambda r: b'{"serverContent": {"interrupted": "yes"}}',
    lambda r: b'{"usageMetadata": {"promptTokenCount": 1e999}}',
    lambda r: b'{"usageMetadata": {"promptTokenCount": -5, "responseTokensDetails": "x"}}',
    lambda r: b'{"serverContent": {"outputTranscription": {"text": "\\ud800"}}}',
    lambda r: b'{"setupComplete": {}}' + b" " * r.randrange(9),
    lambda r: nested('{"serverContent":', r.choice([5, 600, 3_000])),
    lambda r: sound("!" * r.randrange(1, 9)),
    lambda r: sound(LOUD[: r.randrange(1, 40)]),
    lambda r: sound("AAA="),
    lambda r: sound(LOUD, r.choice(["audio/opus", "audio/pcm;rate=x", "audio/pcm;rate=8000", ""])),
    lambda r: sound(""),
    lambda r: parts(*[{"text": "word "} for _ in range(r.randrange(200))]),
    lambda r: parts(
        *[{"inlineData": {"mimeType": "audio/pcm", "data": "AAAA"}} for _ in range(r.randrange(40))]
    ),
    lambda r: said("x" * r.randrange(20_000)),
    lambda r: said("done", finished=True),
    lambda r: content(
        inputTranscription={"text": "y" * r.randrange(20_000), "finished": r.random() < 0.5}
    ),
    lambda r: content(interimInputTranscription={"text": "z"}),
    lambda r: content(turnComplete=True, generationComplete=True, interrupted=True),
    lambda r: INTERRUPTED,
    lambda r: GENERATED,
    lambda r: OVER,
    lambda r: GO_AWAY,
    lambda r: TOOL_CALL,
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


def set_up(message: bytes) -> Iterable[PeerAnswer]:
    if "setup" in msgspec.json.decode(message):
        yield 30 * MS, READY


def is_audio(message: bytes) -> bool:
    return "audio" in msgspec.json.decode(message).get("realtimeInput", {})


@pytest.mark.parametrize("seeds", SEEDS)
def test_a_session_with_a_hostile_server_ends_with_an_outcome(seeds: range, tmp_path: Path) -> None:
    for seed in seeds:
        folder = tmp_path / str(seed)
        folder.mkdir()
        steps = [(say(), say("again")), (speak(), say()), interrupted_by_speech(100)][seed % 3]
        script = compiled(*steps, tools=(parcels(),), input_transcription="any", **VAD)
        began_ns = 1_000 * S
        talk = Talk(folder, script, hostile_server(seed, HOSTILE, REPLY, set_up, is_audio))

        assert talk.session.outcome
        assert all(turn.outcome for turn in talk.turns)
        assert talk.transport.now_ns() - began_ns < LONGEST_S * S
        assert (folder / "log.jsonl").read_bytes().count(b"\n") > 1


def test_the_state_of_a_session_has_a_limit() -> None:
    reader = SessionReader()
    for _ in range(200):
        for message in (said("x" * 10_000), content(inputTranscription={"text": "y" * 10_000})):
            assert reader.decode(message)
    done = [event for event in reader.decode(GENERATED) if event.text]
    for _ in range(50):
        reader.decode(sound())
        reader.decode(GENERATED)

    assert [len(event.text) for event in done] == [MAX_TEXT_CHARACTERS] * 2
    assert len(reader._ended) == MAX_ENDED
