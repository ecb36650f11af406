"""A conversation by deepgram-sdk with the simulated Voice Agent: typed, spoken, interrupted, and
a function call.
"""

import asyncio
import sys
import wave

from deepgram import AsyncDeepgramClient
from deepgram.agent.v1.types import (
    AgentV1AgentAudioDone,
    AgentV1ConversationText,
    AgentV1Error,
    AgentV1FunctionCallRequest,
    AgentV1InjectUserMessage,
    AgentV1SendFunctionCallResponse,
    AgentV1Settings,
    AgentV1SettingsApplied,
    AgentV1UserStartedSpeaking,
    AgentV1Welcome,
)
from deepgram.environment import DeepgramClientEnvironment

CHUNK_MS = 100
RATE_HZ = 16_000
"""The rate of the recording."""
CHUNK_BYTES = RATE_HZ * 2 * CHUNK_MS // 1000
SPOKEN_S = 0.9
"""The time from a text to the speech that interrupts its reply."""
FUNCTION = {
    "name": "find_parcel",
    "description": "Find a parcel.",
    "parameters": {
        "type": "object",
        "properties": {"order": {"type": "string"}},
        "required": ["order"],
    },
}


def settings(functions: list) -> AgentV1Settings:
    raw = {"encoding": "linear16", "sample_rate": RATE_HZ}
    return AgentV1Settings(
        audio={"input": raw, "output": raw | {"container": "none"}},
        agent={
            "listen": {"provider": {"type": "deepgram", "model": "nova-3"}},
            "think": {
                "provider": {"type": "open_ai", "model": "gpt-4o-mini"},
                "functions": functions,
            },
            "speak": {"provider": {"type": "deepgram", "model": "aura-2-thalia-en"}},
        },
    )


async def turn(socket) -> dict:
    """Return what the service sends until the audio of a reply is done."""
    seen = {"audio": 0, "said": "", "heard": "", "interrupted": 0, "calls": []}
    async for message in socket:
        match message:
            case bytes():
                seen["audio"] += len(message)
            case AgentV1ConversationText(role="user"):
                seen["heard"] += message.content
            case AgentV1ConversationText():
                seen["said"] += message.content
            case AgentV1UserStartedSpeaking():
                seen["interrupted"] += 1
            case AgentV1FunctionCallRequest():
                for call in message.functions:
                    seen["calls"].append(call.name)
                    answer = AgentV1SendFunctionCallResponse(
                        id=call.id, name=call.name, content='{"place": "depot"}'
                    )
                    await socket.send_function_call_response(answer)
            case AgentV1Error():
                sys.exit(f"{message.code}: {message.description}")
            case AgentV1AgentAudioDone():
                return seen
    sys.exit(f"the connection has ended: {seen}")


async def spoken(socket, audio: bytes) -> dict:
    """Send audio at the pace of a microphone, and then silence until the turn is over."""

    async def stream() -> None:
        pieces = [audio[at : at + CHUNK_BYTES] for at in range(0, len(audio), CHUNK_BYTES)]
        while True:
            await socket.send_media(pieces.pop(0) if pieces else bytes(CHUNK_BYTES))
            await asyncio.sleep(CHUNK_MS / 1000)

    microphone = asyncio.create_task(stream())
    seen = await turn(socket)
    microphone.cancel()
    return seen


def check(label: str, seen: dict, **expected) -> None:
    """Print what a turn had, and end the program if it lacks audio or one of the expected
    values.
    """
    print(label, seen)
    wrong = {name: value for name, value in expected.items() if seen[name] != value}
    if seen["audio"] < 10_000 or not seen["said"] or wrong:
        sys.exit(f"{label}: {wrong or 'no reply'}")


async def main(port: int, wav: str) -> None:
    with wave.open(wav) as file:
        assert file.getframerate() == RATE_HZ
        audio = file.readframes(file.getnframes())
    here = DeepgramClientEnvironment(
        base="http://127.0.0.1",
        production="ws://127.0.0.1",
        agent=f"ws://127.0.0.1:{port}",
        agent_rest="http://127.0.0.1",
    )
    client = AsyncDeepgramClient(api_key="any", environment=here)
    async with client.agent.v1.connect() as socket:
        assert isinstance(await socket.recv(), AgentV1Welcome)
        await socket.send_settings(settings([]))
        assert isinstance(await socket.recv(), AgentV1SettingsApplied)
        await socket.send_inject_user_message(AgentV1InjectUserMessage(content="Hello!"))
        check("typed", await turn(socket), interrupted=0, heard="Hello!")
        check("spoken", await spoken(socket, audio), interrupted=1)
        await socket.send_inject_user_message(
            AgentV1InjectUserMessage(content="Tell me everything.")
        )
        await asyncio.sleep(SPOKEN_S)
        check("interrupted", await spoken(socket, audio), interrupted=1)
    async with client.agent.v1.connect() as socket:
        await socket.recv()
        await socket.send_settings(settings([FUNCTION]))
        await socket.recv()
        await socket.send_inject_user_message(AgentV1InjectUserMessage(content="Where is it?"))
        check("function", await turn(socket), calls=["find_parcel"])


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
