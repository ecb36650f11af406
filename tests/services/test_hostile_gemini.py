"""A Gemini Live server that breaks every rule: a session always ends with an outcome, in bounded time and memory."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.files.values import MAX_TEXT_CHARACTERS
from bench.services.gemini.replies import MAX_ENDED, SessionReader
from tests.helpers import MS, S, closing, say
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
from tests.services.talk import LOUD, interrupted_by_speech, parcels, speak

BEHAVIOURS, LONGEST_S = 200, 600
"""The number of hostile servers, and the longest time that a session may need, on its virtual clock."""


def parts(*found: Any) -> bytes:
    return content(modelTurn={"parts": found})


def nested(depth: int) -> bytes:
    return b'{"serverContent":' * depth + b"1" + b"}" * depth


HOSTILE: list[Callable[[random.Random], bytes]] = [
    lambda r: b"",
    lambda r: b"{",
    lambda r: b"null",
    lambda r: b"[]",
    lambda r: b'{"serverContent": 1}',
    lambda r: b'{"serverContent": {"modelTurn": {"parts": [[]]}}}',
    lambda r: b'{"serverContent": {"interrupted": "yes"}}',
    lambda r: b'{"usageMetadata": {"promptTokenCount": 1e999}}',
    lambda r: b'{"usageMetadata": {"promptTokenCount": -5, "responseTokensDetails": "x"}}',
    lambda r: b'{"serverContent": {"outputTranscription": {"text": "\\ud800"}}}',
    lambda r: b'{"setupComplete": {}}' + b" " * r.randrange(9),
    lambda r: bytes(r.randrange(256) for _ in range(r.randrange(1, 60))),
    lambda r: nested(r.choice([5, 600, 3_000])),
    lambda r: sound("!" * r.randrange(1, 9)),
    lambda r: sound(LOUD[: r.randrange(1, 40)]),
    lambda r: sound("AAA="),
    lambda r: sound(LOUD, r.choice(["audio/opus", "audio/pcm;rate=x", "audio/pcm;rate=8000", ""])),
    lambda r: sound(""),
    lambda r: parts(*[{"text": "word "} for _ in range(r.randrange(200))]),
    lambda r: parts(*[{"inlineData": {"mimeType": "audio/pcm", "data": "AAAA"}} for _ in range(r.randrange(40))]),
    lambda r: said("x" * r.randrange(20_000)),
    lambda r: said("done", finished=True),
    lambda r: content(inputTranscription={"text": "y" * r.randrange(20_000), "finished": r.random() < 0.5}),
    lambda r: content(interimInputTranscription={"text": "z"}),
    lambda r: content(turnComplete=True, generationComplete=True, interrupted=True),
    lambda r: INTERRUPTED,
    lambda r: GENERATED,
    lambda r: OVER,
    lambda r: GO_AWAY,
    lambda r: TOOL_CALL,
    lambda r: msgspec.json.encode({"toolCall": {"functionCalls": [r.choice([1, {}, {"id": "i" * 9_999}])] * 300}}),
    lambda r: msgspec.json.encode({"toolCall": r.choice([{}, [], {"functionCalls": {}}])}),
    lambda r: msgspec.json.encode({"toolCallCancellation": {"ids": ["never made"]}}),
    lambda r: msgspec.json.encode({"voiceActivity": {"voiceActivityType": "ACTIVITY_END", "audioOffset": "9" * 99}}),
    lambda r: msgspec.json.encode({"error": {"status": "a b\n" * 99, "message": "m" * 9_999}}),
    lambda r: msgspec.json.encode({"u" * r.randrange(1, 500): {}}),
]


def server(seed: int) -> Callable[[bytes], Iterable[PeerAnswer]]:
    """Return a server that answers with hostile messages, among them a part of a good reply."""
    rng = random.Random(seed)
    left = 400

    def hostile() -> Iterable[PeerAnswer]:
        nonlocal left
        for number in range(min(left, rng.randrange(1, 30))):
            left -= 1
            kind = HOSTILE[(seed + number) % len(HOSTILE)] if number == 0 else rng.choice(HOSTILE)
            yield rng.randrange(2_000) * MS, kind(rng)
        if rng.random() < 0.5:
            yield from REPLY
        if rng.random() < 0.1:
            yield closing(rng.randrange(5_000) * MS, rng.choice([1000, 1007, 1008, 1011]), "why" * rng.randrange(9))

    def answer(message: bytes) -> Iterable[PeerAnswer]:
        fields = msgspec.json.decode(message)
        if "setup" in fields and rng.random() < 0.95:
            yield 30 * MS, READY
        if rng.random() < (0.02 if "audio" in fields.get("realtimeInput", {}) else 1):
            yield from hostile()

    return answer


@pytest.mark.parametrize("seed", range(BEHAVIOURS))
def test_a_session_with_a_hostile_server_ends_with_an_outcome(seed: int, tmp_path: Path) -> None:
    steps = [(say(), say("again")), (speak(), say()), interrupted_by_speech(100)][seed % 3]
    script = compiled(*steps, tools=(parcels(),), input_transcription="any", **VAD)
    began_ns = 1_000 * S
    talk = Talk(tmp_path, script, server(seed))

    assert talk.session.outcome
    assert all(turn.outcome for turn in talk.turns)
    assert talk.transport.now_ns() - began_ns < LONGEST_S * S
    assert (tmp_path / "log.jsonl").read_bytes().count(b"\n") > 1


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
