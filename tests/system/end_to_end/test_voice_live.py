"""Azure Voice Live's own client (`azure-ai-voicelive`), unmodified, holds turns with the simulator."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from aiohttp import WSServerHandshakeError
from azure.ai.voicelive.aio import VoiceLiveConnection, connect
from azure.ai.voicelive.models import (
    AudioInputTranscriptionOptions,
    AzureSemanticVad,
    AzureStandardVoice,
    FunctionCallOutputItem,
    FunctionTool,
    InputTextContentPart,
    RequestSession,
    ServerEvent,
    StaticInterimResponseConfig,
    UserMessageItem,
)
from azure.core.credentials import AzureKeyCredential

from bench.protocol.openai import FORMATS
from tests import forked
from tests.simulator.builders import sound
from tests.simulator_process import GUARD_S, Ready, quick_simulator
from tests.system.end_to_end.sdk_events import until

KEY = "a-voice-live-key"
CHUNK_BYTES = FORMATS["pcm16"].bytes_per_s // 10
VOICE = AzureStandardVoice(name="en-US-AvaNeural", temperature=0.8)

Talk = Callable[[VoiceLiveConnection], Awaitable[list[ServerEvent]]]


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    with quick_simulator(tmp_path_factory.mktemp("voice_live"), "--key", KEY, "--strict") as ready:
        yield ready


def converse(simulator: Ready, talk: Talk, key: str = KEY) -> list[ServerEvent]:
    async def run() -> list[ServerEvent]:
        endpoint, credential = f"http://127.0.0.1:{simulator.port}", AzureKeyCredential(key)
        async with connect(endpoint=endpoint, credential=credential, model="gpt-realtime") as connection:
            return await talk(connection)

    return asyncio.run(asyncio.wait_for(run(), GUARD_S))


async def typed(connection: VoiceLiveConnection) -> list[ServerEvent]:
    filler = StaticInterimResponseConfig(texts=["One moment."], triggers=["tool"])
    await connection.session.update(session=RequestSession(voice=VOICE, interim_response=filler))
    updated = await until(connection, "session.updated")
    await connection.conversation.item.create(item=UserMessageItem(content=[InputTextContentPart(text="Say hello!")]))
    await connection.response.create(additional_instructions="Be brief.")
    return updated + await until(connection, "response.done")


async def spoken(connection: VoiceLiveConnection) -> list[ServerEvent]:
    wanted = RequestSession(
        modalities=["text", "audio"],
        voice=VOICE,
        turn_detection=AzureSemanticVad(silence_duration_ms=200, remove_filler_words=True),
        input_audio_transcription=AudioInputTranscriptionOptions(model="azure-speech", language="en"),
    )
    await connection.session.update(session=wanted)
    await until(connection, "session.updated")
    audio = sound(0, 100, 400, 400)
    for begin in range(0, len(audio), CHUNK_BYTES):
        await connection.input_audio_buffer.append(audio=base64.b64encode(audio[begin : begin + CHUNK_BYTES]).decode())
    return await until(connection, "response.done")


async def with_a_call(connection: VoiceLiveConnection) -> list[ServerEvent]:
    parameters = {"type": "object", "properties": {}}
    await connection.session.update(session=RequestSession(tools=[FunctionTool(name="look", parameters=parameters)]))
    await connection.conversation.item.create(item=UserMessageItem(content=[InputTextContentPart(text="Where is it?")]))
    await connection.response.create()
    *_, asked = await until(connection, "response.done")
    (call,) = asked["response"]["output"]
    output = FunctionCallOutputItem(call_id=call["call_id"], output="On its way.")
    await connection.conversation.item.create(item=output)
    await connection.response.create()
    return [asked, *await until(connection, "response.done")]


def audio_of(events: list[ServerEvent]) -> bytes:
    return b"".join(base64.b64decode(event["delta"]) for event in events if event.type == "response.audio.delta")


def done(events: list[ServerEvent]) -> Any:
    (*_, event) = events
    return event["response"]


def test_its_client_holds_a_typed_turn(simulator: Ready) -> None:
    events = converse(simulator, typed)

    (updated,) = [event for event in events if event.type == "session.updated"]
    assert updated["session"]["voice"]["name"] == "en-US-AvaNeural"
    assert updated["session"]["interim_response"]["texts"] == ["One moment."]
    assert done(events)["status"] == "completed"
    assert done(events)["usage"]["output_token_details"]["audio_tokens"] == len(audio_of(events)) // 2400 > 0


def test_its_client_holds_a_spoken_turn(simulator: Ready) -> None:
    events = converse(simulator, spoken)

    names = [event.type for event in events]
    assert names[:3] == [f"input_audio_buffer.{name}" for name in ("speech_started", "speech_stopped", "committed")]
    assert "conversation.item.input_audio_transcription.completed" in names
    assert done(events)["status"] == "completed"
    assert audio_of(events)


def test_its_client_answers_a_function_call(simulator: Ready) -> None:
    asked, *events = converse(simulator, with_a_call)

    assert asked["response"]["output"][0]["name"] == "look"
    assert [item["type"] for item in done(events)["output"]] == ["message"]


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


def test_its_client_is_told_of_a_wrong_key(simulator: Ready) -> None:
    with pytest.raises(Exception, match="401") as caught:
        converse(simulator, typed, key="wrong")

    assert isinstance(caught.value.__cause__ or caught.value, WSServerHandshakeError)
