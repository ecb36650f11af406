"""Deepgram's Voice Agent over a real socket: the values equal the simulator's log, and a wrong
key is refused.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.wire.audio import G711_ULAW, PCM16
from tests.system.end_to_end.spoken_calls import Call, call_simulator, refused_call

pytestmark = pytest.mark.usefixtures("hang_guard")
KEY = "a-key-of-deepgram"


@pytest.fixture(scope="module", params=[PCM16, G711_ULAW], ids=lambda format: format.name)
def call(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Call:
    folder, format = tmp_path_factory.mktemp("simulator"), request.param
    formats = {"input_format": format.name, "output_format": format.name}
    secrets = {"DEEPGRAM_API_KEY": KEY}
    return call_simulator(
        folder, "deepgram", KEY, secrets, format, input_transcription="nova-3", **formats
    )


def test_the_instants_of_the_reply_are_those_of_the_simulator(call: Call) -> None:
    call.check_instants(
        call.format,
        speech_started="UserStartedSpeaking",
        first_audio="audio.delta",
        response_done="AgentAudioDone",
    )


def test_the_words_of_both_speakers_are_those_of_the_simulator(call: Call) -> None:
    call.check_words(has_tokens=False)  # the service bills minutes


def test_a_wrong_key_is_refused_without_a_trace(tmp_path: Path) -> None:
    session = refused_call(tmp_path, "deepgram", KEY, {"DEEPGRAM_API_KEY": "another-key"}).session

    assert session.outcome == "connect_failed:401"
