"""A client with `openai-agents` that runs the steps at the given URL and prints their outcomes.

It types, and receives an answer. Then it asks, receives an answer, interrupts it, and asks again.
`tools/clients.py` runs it in an environment of its own.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from agents import function_tool, set_tracing_disabled
from agents.realtime import RealtimeAgent, RealtimeRunner

BYTES_PER_MS, CHUNK_BYTES = 48, 4800  # pcm16, 100 ms
GUARD_S = 120
WAVE = b"".join(
    (3277 if place // 200 else -3277).to_bytes(2, "little", signed=True) for place in range(400)
)
VAD = {"type": "server_vad", "silence_duration_ms": 200}

asked: list[str] = []


@function_tool
def find_parcel(number: str) -> str:
    """Find out where a parcel is."""
    asked.append(number)
    return "It is on its way."


async def play(session: Any, audio: bytes) -> None:
    for start in range(0, len(audio), CHUNK_BYTES):
        await session.send_audio(audio[start : start + CHUNK_BYTES])


async def speak(session: Any, audio_ms: int) -> None:
    await play(session, (WAVE * audio_ms)[: audio_ms * BYTES_PER_MS])


async def keep_silent(session: Any, audio_ms: int) -> None:
    await play(session, bytes(audio_ms * BYTES_PER_MS))


async def typed(at: dict[str, str]) -> None:
    async with await RealtimeRunner(RealtimeAgent(name="Parcels")).run(model_config=at) as session:
        await session.send_message("Hello!")
        audio_bytes = 0
        async for event in session:
            if event.type == "error":
                sys.exit(f"error: {event.error}")
            if event.type == "audio":
                audio_bytes += len(event.audio.data)
            if event.type == "agent_end":
                break
    if not audio_bytes:
        sys.exit("a typed turn: no audio")


async def talk(url: str) -> None:
    agent = RealtimeAgent(name="Parcels", instructions="Help the caller.", tools=[find_parcel])
    settings = {"model_name": "gpt-realtime", "turn_detection": VAD}
    runner = RealtimeRunner(agent, config={"model_settings": settings})
    interruptions, cuts, speaking = 0, 0, False
    at = {"api_key": "any", "url": f"{url.replace('http', 'ws', 1)}/realtime?model=gpt-realtime"}
    await typed(at)
    async with await runner.run(model_config=at) as session:
        await speak(session, 400)
        await keep_silent(session, 400)
        async for event in session:
            if event.type == "raw_model_event" and event.data.type == "raw_server_event":
                cuts += event.data.data["type"] == "conversation.item.truncated"
            if event.type == "error":
                sys.exit(f"error: {event.error}")
            if event.type == "audio" and len(asked) == 1 and not speaking:
                speaking = True
                await speak(session, 300)
            if event.type == "audio_interrupted":
                interruptions += 1
                await keep_silent(session, 400)
            if event.type == "audio" and len(asked) == 2:
                break
    interrupted = (
        "pass" if interruptions and cuts else f"{interruptions} interruptions, {cuts} cuts"
    )
    passed = dict.fromkeys(("connect", "text", "VAD", "function call"), "pass")
    print(json.dumps(passed | {"interruption": interrupted}))


set_tracing_disabled(True)
asyncio.run(asyncio.wait_for(talk(sys.argv[1]), GUARD_S))
