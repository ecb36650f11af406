"""The official `openai` SDK, unmodified, holds turns with the simulator in each dialect, which takes nothing else."""

from __future__ import annotations

import asyncio
import base64
import wave
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI

from bench.protocol.openai import FORMATS
from tests.simulator.builders import function, sound
from tests.simulator_process import GUARD_S, Ready, patient_simulator, quick_simulator
from tests.system.end_to_end.sdk_events import until

KEY = "an-sdk-test-key"
PREVIEW_MODEL, GA_MODEL = "gpt-4o-realtime-preview", "gpt-realtime"
CHUNK_BYTES = 4800  # 100 ms

PREVIEW_MANUAL = {"turn_detection": None, "voice": "echo"}
GA_MANUAL = {"type": "realtime", "audio": {"input": {"turn_detection": None}, "output": {"voice": "marin"}}}

Client = AsyncOpenAI | AsyncAzureOpenAI
Connect = Callable[[Client], AbstractAsyncContextManager[Any]]


def azure_preview(port: int) -> tuple[Client, Connect]:
    client = AsyncAzureOpenAI(
        api_key=KEY,
        azure_endpoint=f"http://127.0.0.1:{port}",
        api_version="2025-04-01-preview",
        websocket_base_url=f"ws://127.0.0.1:{port}/openai",
    )
    return client, lambda client: client.beta.realtime.connect(model=PREVIEW_MODEL)


def azure_ga(port: int) -> tuple[Client, Connect]:
    client = AsyncOpenAI(api_key=KEY, base_url=f"http://127.0.0.1:{port}/openai/v1")
    return client, lambda client: client.realtime.connect(model=GA_MODEL)


def openai_preview(port: int) -> tuple[Client, Connect]:
    client = AsyncOpenAI(api_key=KEY, websocket_base_url=f"ws://127.0.0.1:{port}/v1")
    return client, lambda client: client.beta.realtime.connect(model=PREVIEW_MODEL)


def openai_ga(port: int) -> tuple[Client, Connect]:
    client = AsyncOpenAI(api_key=KEY, base_url=f"http://127.0.0.1:{port}/v1")
    return client, lambda client: client.realtime.connect(model=GA_MODEL)


PREVIEW = [azure_preview, openai_preview]
GA = [azure_ga, openai_ga]


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    with quick_simulator(tmp_path_factory.mktemp("sdk"), "--key", KEY, "--strict") as ready:
        yield ready


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    with patient_simulator(tmp_path_factory.mktemp("patient"), "--key", KEY, "--strict") as ready:
        yield ready


@pytest.fixture
def question(tmp_path: Path) -> Path:
    """A WAV file of a second, 24 kHz mono."""
    path = tmp_path / "question.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(24_000)
        file.writeframes(bytes(range(256)) * 187 + bytes(128))
    return path


def converse(
    build: Callable[[int], tuple[Client, Connect]], port: int, talk: Callable[[Any], Awaitable[list[Any]]]
) -> list[Any]:
    async def run() -> list[Any]:
        client, connect = build(port)
        async with client, connect(client) as connection:
            return await talk(connection)

    return asyncio.run(asyncio.wait_for(run(), GUARD_S))


async def text_turn(connection: Any, session: dict[str, Any], response: dict[str, Any]) -> list[Any]:
    await connection.session.update(session=session)
    updated = await until(connection, "session.updated")
    content = [{"type": "input_text", "text": "Say hello!"}]
    await connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
    await connection.response.create(response=response)
    return updated + await until(connection, "response.done")


async def audio_turn(connection: Any, session: dict[str, Any], question: Path) -> list[Any]:
    await connection.session.update(session=session)
    updated = await until(connection, "session.updated")
    with wave.open(str(question), "rb") as file:
        while chunk := file.readframes(CHUNK_BYTES // 2):
            await connection.input_audio_buffer.append(audio=base64.b64encode(chunk).decode())
    await connection.input_audio_buffer.commit()
    await connection.response.create()
    return updated + await until(connection, "response.done")


def assert_text(events: list[Any], delta_type: str) -> None:
    words = "".join(event.delta for event in events if event.type == delta_type)
    done = events[-1].response
    assert done.status == "completed"
    assert words
    assert done.output[0].content[0].text == words
    assert done.usage.output_tokens > 0


def assert_audio(events: list[Any], audio: str, transcript: str) -> None:
    blocks = [base64.b64decode(event.delta) for event in events if event.type == f"{audio}.delta"]
    words = "".join(event.delta for event in events if event.type == f"{transcript}.delta")
    done = events[-1].response
    assert done.status == "completed"
    assert [len(block) for block in blocks[:3]] == [4800, 7200, 12_000]
    assert done.usage.output_token_details.audio_tokens == sum(map(len, blocks)) // 2400
    assert done.usage.input_token_details.audio_tokens == 10
    assert done.output[0].content[0].transcript == words
    assert "input_audio_buffer.committed" in [event.type for event in events]


@pytest.mark.parametrize("build", PREVIEW)
def test_the_sdk_holds_a_text_turn_in_preview(simulator: Ready, build: Any) -> None:
    events = converse(build, simulator.port, lambda c: text_turn(c, PREVIEW_MANUAL, {"modalities": ["text"]}))

    assert_text(events, "response.text.delta")


@pytest.mark.parametrize("build", GA)
def test_the_sdk_holds_a_text_turn_in_ga(simulator: Ready, build: Any) -> None:
    events = converse(build, simulator.port, lambda c: text_turn(c, GA_MANUAL, {"output_modalities": ["text"]}))

    assert_text(events, "response.output_text.delta")


@pytest.mark.parametrize("build", PREVIEW)
def test_the_sdk_holds_an_audio_turn_in_preview(simulator: Ready, build: Any, question: Path) -> None:
    events = converse(build, simulator.port, lambda c: audio_turn(c, PREVIEW_MANUAL, question))

    assert_audio(events, "response.audio", "response.audio_transcript")
    assert "conversation.item.created" in [event.type for event in events]


@pytest.mark.parametrize("build", GA)
def test_the_sdk_holds_an_audio_turn_in_ga(simulator: Ready, build: Any, question: Path) -> None:
    events = converse(build, simulator.port, lambda c: audio_turn(c, GA_MANUAL, question))

    assert_audio(events, "response.output_audio", "response.output_audio_transcript")
    assert {"conversation.item.added", "conversation.item.done"} <= {event.type for event in events}


async def transcript(connection: Any, question: Path) -> list[Any]:
    transcription = {"model": "gpt-4o-transcribe"}
    heard = {"input": {"transcription": transcription, "turn_detection": None}}
    await connection.session.update(session={"type": "transcription", "audio": heard})
    await until(connection, "session.updated")
    with wave.open(str(question), "rb") as file:
        await connection.input_audio_buffer.append(audio=base64.b64encode(file.readframes(file.getnframes())).decode())
    await connection.input_audio_buffer.commit()
    return await until(connection, "conversation.item.input_audio_transcription.completed")


def transcribing(port: int) -> tuple[Client, Connect]:
    client, _ = openai_ga(port)
    return client, lambda client: client.realtime.connect(extra_query={"intent": "transcription"})


def test_the_sdk_has_audio_written_down_in_a_session_that_does_nothing_else(simulator: Ready, question: Path) -> None:
    events = converse(transcribing, simulator.port, lambda c: transcript(c, question))

    words = "".join(event.delta for event in events if event.type.endswith("transcription.delta"))
    assert events[-1].transcript == words
    assert words


PARCEL = function("find_parcel", number={"type": "string", "example": "RX 17"})
VAD = {"type": "server_vad", "silence_duration_ms": 200}
PREVIEW_CALLER = {"turn_detection": VAD, "tools": [PARCEL]}
GA_CALLER = {"type": "realtime", "audio": {"input": {"turn_detection": VAD}}, "tools": [PARCEL]}


async def speak(connection: Any, *parts_ms: int) -> None:
    """Noise and silence by turns, as the input audio."""
    audio, size = sound(*parts_ms), FORMATS["pcm16"].bytes_per_s // 10
    for begin in range(0, len(audio), size):
        await connection.input_audio_buffer.append(audio=base64.b64encode(audio[begin : begin + size]).decode())


async def answer_calls(connection: Any, done: Any) -> list[Any]:
    """Output for each call of a response, and the request for what follows. Returns the calls."""
    calls = [item for item in done.response.output if item.type == "function_call"]
    for call in calls:
        output = {"type": "function_call_output", "call_id": call.call_id, "output": "It is on its way."}
        await connection.conversation.item.create(item=output)
    await connection.response.create()
    return calls


async def interrupted_call(connection: Any, session: dict[str, Any], audio: str) -> list[Any]:
    """A caller asks, the model calls a function, the caller speaks into its answer, and is answered by another call."""
    await connection.session.update(session=session)
    await until(connection, "session.updated")
    await speak(connection, 0, 100, 400, 400)
    asked = await until(connection, "response.done")
    await answer_calls(connection, asked[-1])
    answer = await until(connection, f"{audio}.delta")
    await speak(connection, 300)
    interrupted = await until(connection, "response.done")
    item_id = answer[-1].item_id
    await connection.conversation.item.truncate(item_id=item_id, content_index=0, audio_end_ms=60)
    await connection.conversation.item.retrieve(item_id=item_id)
    cut = await until(connection, "conversation.item.retrieved")
    await speak(connection, 0, 400)
    again = await until(connection, "response.done")
    return [asked[-1], interrupted[-1], cut[-1], again[-1]]


@pytest.mark.parametrize(
    ("build", "session", "audio"),
    [*((build, PREVIEW_CALLER, "response.audio") for build in PREVIEW),
     *((build, GA_CALLER, "response.output_audio") for build in GA)],
)  # fmt: skip
def test_the_sdk_holds_a_conversation_with_a_function_call_and_an_interruption(
    patient: Ready, build: Any, session: dict[str, Any], audio: str
) -> None:
    asked, interrupted, cut, again = converse(build, patient.port, lambda c: interrupted_call(c, session, audio))

    for event in (asked, again):
        (call,) = event.response.output
        assert (call.type, call.name, call.arguments) == ("function_call", "find_parcel", '{"number":"RX 17"}')
    assert interrupted.response.status == "cancelled"
    assert interrupted.response.status_details.reason == "turn_detected"
    (kept,) = cut.item.content
    assert len(base64.b64decode(kept.audio)) == 60 * 48
    assert kept.transcript is None
