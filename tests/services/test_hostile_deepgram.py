"""A Deepgram server that breaks every rule: a session always ends with an outcome, in bounded
time and memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from bench.files.values import MAX_TEXT_CHARACTERS
from bench.services.deepgram.replies import DeepgramReader
from bench.wire.dialect import BinaryMessage
from tests.helpers import MS, S, say
from tests.memory_transport import PeerAnswer
from tests.services.deepgram_talk import (
    CALL,
    DONE,
    FUNCTION,
    GREETING,
    READY,
    REPLY,
    RESULT,
    SOUND,
    STARTED,
    VAD,
    WELCOME,
    compiled,
    message,
    said,
    talk,
)
from tests.services.hostile import ANY, LONGEST_S, SEEDS, Hostile, hostile_server
from tests.services.talk import interrupted_by_speech, parcels, speak

HOSTILE: list[Hostile] = [
    *ANY,
    lambda r: BinaryMessage(SOUND[: r.randrange(4_800)]),
    lambda r: BinaryMessage(b""),
    lambda r: BinaryMessage(msgspec.json.encode({"type": "AgentAudioDone"})),
    lambda r: msgspec.json.encode({"binary": r.choice(["", "AAA", "!", 1, None, "AAAA" * 500])}),
    lambda r: said("x" * r.randrange(20_000), r.choice(["assistant", "user", "system", ""])),
    lambda r: message(
        "ConversationText",
        role=r.choice(["user", "assistant"]),
        content=r.choice([None, 1, [], ""]),
    ),
    lambda r: message("ConversationText", role=7, content="x"),
    lambda r: b'{"type":"ConversationText","role":"assistant","content":"\\ud800"}',
    lambda r: message(
        "FunctionCallRequest", functions=[r.choice([{}, FUNCTION, {"id": "i" * 9_999}])] * 300
    ),
    lambda r: message("FunctionCallRequest", functions=r.choice([{}, "x", [1], None])),
    lambda r: message("FunctionCallCancelled", functions=[]),
    lambda r: message("Error", code="a b\n" * 99, description="m" * 9_999),
    lambda r: message(
        "Warning", code=r.choice(["SLOW_THINK_REQUEST", "MAXIMUM_SESSION_LENGTH_APPROACHING"])
    ),
    lambda r: message("InjectionRefused", message="m" * r.randrange(9_999)),
    lambda r: message("LatencyReport", total_latency=r.choice([1e999, -1, "x", 0.5])),
    lambda r: message("AgentStartedSpeaking", total_latency="x"),
    lambda r: WELCOME,
    lambda r: READY,
    lambda r: STARTED,
    lambda r: DONE,
    lambda r: CALL,
    lambda r: RESULT,
]


def set_up(sent: bytes) -> Iterable[PeerAnswer]:
    if b'"Settings"' in sent:
        yield 30 * MS, READY


@pytest.mark.parametrize("seeds", SEEDS)
def test_a_session_with_a_hostile_server_ends_with_an_outcome(seeds: range, tmp_path: Path) -> None:
    for seed in seeds:
        folder = tmp_path / str(seed)
        folder.mkdir()
        steps = [(say(), say("again")), (speak(), say()), interrupted_by_speech(100)][seed % 3]
        script = compiled(*steps, tools=(parcels(),), input_transcription="any", **VAD)
        began_ns = 1_000 * S
        peer = hostile_server(
            seed, HOSTILE, REPLY, set_up, lambda sent: isinstance(sent, BinaryMessage)
        )
        ended = talk(folder, script, peer, greeting=GREETING if seed % 20 else ())

        assert ended.session.outcome
        assert all(turn.outcome for turn in ended.turns)
        assert ended.transport.now_ns() - began_ns < LONGEST_S * S
        assert (folder / "log.jsonl").read_bytes().count(b"\n") > 1


def test_the_state_of_a_session_has_a_limit() -> None:
    reader = DeepgramReader()
    for _ in range(200):
        assert reader.decode(said("x" * 10_000))
    (done,) = (event for event in reader.decode(DONE) if event.text)

    assert len(done.text) <= MAX_TEXT_CHARACTERS + 200
