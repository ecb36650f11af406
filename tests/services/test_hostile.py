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
from bench.services.nova_sonic.replies import NovaReader
from tests.services.hostile import SEEDS, HostileService


@pytest.mark.parametrize("name", ["deepgram", "gemini", "nova-sonic"])
@pytest.mark.parametrize("seeds", SEEDS)
def test_a_session_with_a_hostile_server_ends_with_an_outcome(
    name: str, seeds: range, tmp_path: Path
) -> None:
    HostileService(name).play(seeds, tmp_path)


LONG = "x" * 10_000


def lengths(reader: Any, *messages: dict[str, Any]) -> list[int]:
    """Return the lengths of the texts that follow these messages."""
    events = [event for each in messages for event in reader.decode(msgspec.json.encode(each))]
    return [len(event.text) for event in events if event.text]


def test_the_state_of_a_session_with_deepgram_has_a_limit() -> None:
    reader, said = DeepgramReader(), {"type": "ConversationText", "role": "assistant"}
    for _ in range(200):
        lengths(reader, said | {"content": LONG})

    (length,) = lengths(reader, {"type": "AgentAudioDone"})
    assert length <= MAX_TEXT_CHARACTERS + 200


def test_the_state_of_a_session_with_gemini_has_a_limit() -> None:
    reader, over = SessionReader(), {"serverContent": {"generationComplete": True}}
    for name in ("outputTranscription", "inputTranscription") * 200:
        lengths(reader, {"serverContent": {name: {"text": LONG}}})
    done = lengths(reader, over)
    sound = {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": "AAAA"}}
    for _ in range(50):
        lengths(reader, {"serverContent": {"modelTurn": {"parts": [sound]}}}, over)

    assert done == [MAX_TEXT_CHARACTERS] * 2
    assert len(reader._ended) == MAX_ENDED


def test_the_state_of_a_session_with_nova_sonic_has_a_limit() -> None:
    reader = NovaReader()
    planned = {"type": "TEXT", "additionalModelFields": '{"generationStage":"SPECULATIVE"}'}
    for number in range(200):
        block = {"contentId": f"b{number}"}
        lengths(reader, {"event": {"contentStart": block | planned | {"role": "ASSISTANT"}}})
        for role in ("ASSISTANT", "USER"):
            lengths(reader, {"event": {"textOutput": block | {"content": LONG, "role": role}}})
    end = {"contentId": "a", "type": "AUDIO", "stopReason": "END_TURN"}

    assert max(lengths(reader, {"event": {"contentEnd": end}})) <= MAX_TEXT_CHARACTERS + 200
    assert len(reader._blocks) <= 64
