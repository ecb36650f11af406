"""A client with LiveKit's session of a realtime model: it runs the steps at the given URL, and
prints outcomes as JSON.

`tools/clients.py` runs it in an environment of its own.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from livekit import rtc
from livekit.agents import function_tool, llm
from livekit.agents.utils import http_context
from livekit.plugins.openai import realtime
from openai.types.beta.realtime.session import TurnDetection

RATE_HZ, BYTES_PER_MS, CHUNK_BYTES = 24_000, 48, 4800  # pcm16
GUARD_S = 60
WAVE = b"".join(
    (3277 if place // 200 else -3277).to_bytes(2, "little", signed=True) for place in range(400)
)
VAD = TurnDetection(
    type="server_vad", silence_duration_ms=200, create_response=True, interrupt_response=True
)


@function_tool
async def find_parcel(number: str) -> str:
    """Find out where a parcel is."""
    return f"{number} is on its way."


class Talk:
    def __init__(self, session: Any) -> None:
        self.session = session
        self.replies: asyncio.Queue[Any] = asyncio.Queue()
        self.done: asyncio.Queue[Any] = asyncio.Queue()
        self.cut = asyncio.Event()
        self.events: list[str] = []
        session.on("generation_created", self.replies.put_nowait)
        for name in ("input_speech_started", "input_speech_stopped"):
            session.on(name, lambda _, name=name: self.events.append(name))
        session.on("openai_server_event_received", self._received)

    def _received(self, event: dict[str, Any]) -> None:
        if event["type"] == "response.done":
            self.done.put_nowait(event["response"])
        elif event["type"] == "conversation.item.truncated":
            self.cut.set()

    def play(self, audio: bytes) -> None:
        for start in range(0, len(audio), CHUNK_BYTES):
            chunk = audio[start : start + CHUNK_BYTES]
            self.session.push_audio(rtc.AudioFrame(chunk, RATE_HZ, 1, len(chunk) // 2))

    def speak(self, audio_ms: int) -> None:
        self.play((WAVE * audio_ms)[: audio_ms * BYTES_PER_MS])

    def keep_silent(self, audio_ms: int) -> None:
        self.play(bytes(audio_ms * BYTES_PER_MS))


async def text_of(reply: Any) -> str:
    """Return the text of a reply; its audio must not be empty."""
    async for message in reply.message_stream:
        audio_ms = 0
        async for frame in message.audio_stream:
            audio_ms += frame.samples_per_channel * 1000 // RATE_HZ
        assert audio_ms, "no audio"
        return "".join([str(piece) async for piece in message.text_stream])
    raise AssertionError("no message")


async def connect(talk: Talk) -> None:
    await text(talk)


async def text(talk: Talk) -> None:
    assert await text_of(await talk.session.generate_reply(instructions="Greet the caller."))


async def manual_audio(talk: Talk) -> None:
    talk.speak(1000)
    talk.session.commit_audio()
    assert await text_of(await talk.session.generate_reply())


async def vad(talk: Talk) -> None:
    talk.speak(400)
    talk.keep_silent(400)
    assert await text_of(await talk.replies.get())
    assert talk.events == ["input_speech_started", "input_speech_stopped"], talk.events


async def interruption(talk: Talk) -> None:
    reply = await talk.session.generate_reply(instructions="Greet the caller.")
    async for message in reply.message_stream:
        async for _ in message.audio_stream:
            break
        talk.speak(300)
        response = await talk.done.get()
        assert response["status_details"]["reason"] == "turn_detected", response
        talk.session.truncate(message_id=message.message_id, modalities=["audio"], audio_end_ms=60)
        await talk.cut.wait()
        break


async def function_call(talk: Talk) -> None:
    await talk.session.update_tools([find_parcel])
    talk.speak(400)
    talk.keep_silent(400)
    (call,) = [call async for call in (await talk.replies.get()).function_stream]
    assert call.name == "find_parcel", call
    output = llm.FunctionCallOutput(
        call_id=call.call_id, name=call.name, output="On its way.", is_error=False
    )
    context = talk.session.chat_ctx.copy()
    context.items.append(output)
    await talk.session.update_chat_ctx(context)
    assert await text_of(await talk.session.generate_reply())


async def cancel(talk: Talk) -> None:
    reply = await talk.session.generate_reply(instructions="Greet the caller.")
    async for message in reply.message_stream:
        async for _ in message.audio_stream:
            break
        talk.session.interrupt()
        response = await talk.done.get()
        assert response["status_details"]["reason"] == "client_cancelled", response
        break


STEPS: dict[str, tuple[TurnDetection | None, Callable[[Talk], Awaitable[None]]]] = {
    "connect": (VAD, connect),
    "text": (VAD, text),
    "manual audio": (None, manual_audio),
    "VAD": (VAD, vad),
    "interruption": (VAD, interruption),
    "function call": (VAD, function_call),
    "cancel": (None, cancel),
}


async def outcome(url: str, step: str) -> str:
    detection, play = STEPS[step]
    model = realtime.RealtimeModel(
        api_key="any", base_url=url, model="gpt-realtime", turn_detection=detection
    )
    session = model.session()
    try:
        await asyncio.wait_for(play(Talk(session)), GUARD_S)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        await session.aclose()
    return "pass"


async def main(url: str) -> None:
    async with http_context.open():
        print(json.dumps({step: await outcome(url, step) for step in STEPS}))


asyncio.run(main(sys.argv[1]))
