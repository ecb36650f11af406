"""The official `openai` SDK, unmodified, holds turns with the simulator in each dialect."""

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

from tests.simulator_process import GUARD_S, Ready, quick_simulator

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
    with quick_simulator(tmp_path_factory.mktemp("sdk"), "--key", KEY) as ready:
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


async def until(connection: Any, last: str) -> list[Any]:
    """The events up to and with the first of type `last`; an error event fails the test."""
    events = []
    async for event in connection:
        assert event.type != "error", event
        events.append(event)
        if event.type == last:
            break
    assert events[-1].type == last
    return events


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
