"""Azure Voice Live's own client (`azure-ai-voicelive`), unmodified, sets up its own kind of session; so does ours.

That it holds each step is shown in tests/system/clients.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterator

import pytest
from azure.ai.voicelive.models import (
    AudioInputTranscriptionOptions,
    AzureSemanticVad,
    AzureStandardVoice,
    RequestSession,
    StaticInterimResponseConfig,
)

from tests import forked
from tests.clients.steps import PREVIEW, Json, Talk
from tests.clients.test_cells import KEY, voice_live
from tests.simulator_process import GUARD_S, Ready, quick_simulator


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    with quick_simulator(tmp_path_factory.mktemp("voice_live"), "--key", KEY) as ready:
        yield ready


def test_its_client_holds_a_spoken_turn_by_the_settings_of_its_own_types(simulator: Ready) -> None:
    wanted = RequestSession(
        modalities=["text", "audio"],
        voice=AzureStandardVoice(name="en-US-AvaNeural", temperature=0.8),
        turn_detection=AzureSemanticVad(silence_duration_ms=200, remove_filler_words=True),
        input_audio_transcription=AudioInputTranscriptionOptions(model="azure-speech", language="en"),
        interim_response=StaticInterimResponseConfig(texts=["One moment."], triggers=["tool"]),
    )

    async def play() -> tuple[Json, Json, list[Json]]:
        async with voice_live(simulator.port) as connection:
            talk = Talk(connection, PREVIEW)
            await connection.session.update(session=wanted)
            updated = (await talk.until("session.updated"))[-1]["session"]
            await talk.speak(0, 100, 400, 400)
            return updated, *await talk.done()

    session, response, events = asyncio.run(asyncio.wait_for(play(), GUARD_S))

    names = [event["type"] for event in events]
    assert session["voice"]["name"] == "en-US-AvaNeural"
    assert session["interim_response"]["texts"] == ["One moment."]
    assert names[:3] == [f"input_audio_buffer.{name}" for name in ("speech_started", "speech_stopped", "committed")]
    assert "conversation.item.input_audio_transcription.completed" in names
    assert response["status"] == "completed"
    assert "response.audio.delta" in names


@pytest.mark.parametrize("options", [(), ("--dialect", "preview")], ids=["its own dialect", "preview"])
def test_a_probe_reaches_it(options: tuple[str, ...], simulator: Ready) -> None:
    """So it is no service that only its own client can talk to."""
    command = [sys.executable, "-m", "bench.cli.app", "probe", "--url", simulator.urls["voice_live"]]
    probe = forked.run(
        [*command, *options, "--api-key-env", "LIVE_KEY"],
        env=os.environ | {"LIVE_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=GUARD_S,
    )

    assert probe.returncode == 0, probe.stdout + probe.stderr
    assert re.search(r"^outcome +ok$", probe.stdout, re.MULTILINE), probe.stdout
