"""Gemini Live over a real socket: the values equal the simulator's log, and a wrong key is
refused without a trace.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.plan.recordings import load_pcm
from bench.wire.audio import PCM16, PCM16_16K
from rtbench_simulator.conversation.input_audio import FRAME_MS
from tests.system.end_to_end.spoken_calls import WAV, Call, call_simulator, refused_call

pytestmark = pytest.mark.usefixtures("hang_guard")
EDGE_MS = 2 * FRAME_MS
"""The maximum distance between the end of speech that the simulator detected and the one that
was found offline."""
KEY = "a-key-of-google"


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Call:
    folder, secrets = tmp_path_factory.mktemp("simulator"), {"GEMINI_API_KEY": KEY}
    return call_simulator(folder, "gemini", KEY, secrets, PCM16_16K, input_transcription="any")


def test_the_instants_of_the_reply_are_those_of_the_simulator(call: Call) -> None:
    call.check_instants(
        PCM16,
        first_audio="audio.delta",
        first_transcript="transcript.delta",
        response_done="generationComplete",
    )


def test_the_simulator_heard_the_speech_where_it_is(call: Call) -> None:
    pcm = load_pcm(WAV)
    ended = next(line["speech_at_byte"] for line in call.truth if line.get("speech_at_byte"))
    begun = next(line for line in call.truth if line.get("to_byte"))["from_byte"]

    speech_ms = (ended - begun) * 1000 / PCM16_16K.bytes_per_s
    # turns begin at a chunk of 100 ms
    assert abs(speech_ms % 100 - pcm.speech.end / 24 % 100) <= EDGE_MS


def test_the_words_and_the_tokens_of_both_speakers_are_those_of_the_simulator(call: Call) -> None:
    call.check_words(has_tokens=True)


def test_a_wrong_key_is_refused_with_the_words_of_the_service(tmp_path: Path) -> None:
    session = refused_call(tmp_path, "gemini", KEY, {"GEMINI_API_KEY": "another-key"}).session

    assert session.outcome == "closed:1007"
    assert session.detail.startswith("API key not valid")
