"""Services of their own messages that break every rule: a session always ends with an outcome, in
bounded time and memory.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bench.files.values import MAX_TEXT_CHARACTERS
from bench.services.deepgram.replies import DeepgramReader
from bench.services.gemini.replies import MAX_ENDED, SessionReader
from bench.wire.dialect import BinaryMessage
from tests.services import deepgram_talk as deepgram
from tests.services import gemini_talk as gemini
from tests.services.hostile import SEEDS, HostileService, hostile_messages

SERVICES = {
    "deepgram": HostileService(
        [
            *hostile_messages("deepgram"),
            deepgram.WELCOME,
            deepgram.READY,
            deepgram.STARTED,
            deepgram.DONE,
            deepgram.CALL,
            deepgram.RESULT,
        ],
        deepgram.REPLY,
        deepgram.compiled,
        lambda sent: b'"Settings"' in sent,
        deepgram.READY,
        lambda sent: isinstance(sent, BinaryMessage),
        deepgram.GREETING,
    ),
    "gemini": HostileService(
        [
            *hostile_messages("gemini"),
            gemini.sound(),
            gemini.INTERRUPTED,
            gemini.GENERATED,
            gemini.OVER,
            gemini.GO_AWAY,
            gemini.TOOL_CALL,
        ],
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
