"""A conversation by google-genai with the simulated Gemini Live: typed, spoken, interrupted, and a function call."""

import asyncio
import sys
import wave

from google import genai
from google.genai import types

MODEL = "gemini-3.8-live"
RATE_HZ, CHUNK_MS = 16_000, 100
CHUNK_BYTES = RATE_HZ * 2 * CHUNK_MS // 1000
SPOKEN_S = 1.2
"""The time from a text to the speech that interrupts its reply."""


def speech(path: str) -> bytes:
    import numpy as np
    import soxr

    with wave.open(path) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        return soxr.resample(samples, file.getframerate(), RATE_HZ).astype(np.int16).tobytes()


async def stream(session, audio: bytes, is_over: asyncio.Event) -> None:
    """Send audio at the pace of a microphone, and then silence until the turn is over."""
    pieces = [audio[at : at + CHUNK_BYTES] for at in range(0, len(audio), CHUNK_BYTES)]
    while pieces or not is_over.is_set():
        piece = pieces.pop(0) if pieces else bytes(CHUNK_BYTES)
        await session.send_realtime_input(audio=types.Blob(data=piece, mime_type=f"audio/pcm;rate={RATE_HZ}"))
        await asyncio.sleep(CHUNK_MS / 1000)


async def turn(session) -> dict:
    """Return what the service sends until its turn is complete."""
    seen = {"audio": 0, "text": "", "heard": "", "interrupted": False, "usage": None, "calls": []}
    async for message in session.receive():
        if message.data:
            seen["audio"] += len(message.data)
        content = message.server_content
        if content and content.output_transcription:
            seen["text"] += content.output_transcription.text or ""
        if content and content.input_transcription:
            seen["heard"] += content.input_transcription.text or ""
        if content and content.interrupted:
            seen["interrupted"] = True
        if message.usage_metadata:
            seen["usage"] = message.usage_metadata.response_token_count
        if message.tool_call:
            seen["calls"] += [call.name for call in message.tool_call.function_calls]
            answers = [
                types.FunctionResponse(id=call.id, name=call.name, response={"place": "in the depot"})
                for call in message.tool_call.function_calls
            ]
            await session.send_tool_response(function_responses=answers)
    return seen


def check(label: str, seen: dict, **expected) -> None:
    """Print what a turn had, and end the program if it lacks audio or one of the expected values."""
    print(label, seen)
    wrong = {name: value for name, value in expected.items() if seen[name] != value}
    if seen["audio"] < 10_000 or wrong:
        sys.exit(f"{label}: {wrong or 'no audio'}")


async def automatic(client, config: dict, audio: bytes) -> None:
    """Hold typed and spoken turns, and an interruption, with the service's detection of activity."""
    async with client.aio.live.connect(model=MODEL, config=config) as session:
        await session.send_realtime_input(text="Hello!")
        check("typed", await turn(session), interrupted=False)
        content = types.Content(role="user", parts=[types.Part(text="And now?")])
        await session.send_client_content(turns=content, turn_complete=True)
        check("content", await turn(session), interrupted=False)
        is_over = asyncio.Event()
        microphone = asyncio.create_task(stream(session, audio, is_over))
        spoken = await turn(session)
        is_over.set()
        await microphone
        check("spoken", spoken, interrupted=False)
        await session.send_realtime_input(text="Tell me everything.")
        await asyncio.sleep(SPOKEN_S)
        is_over = asyncio.Event()
        microphone = asyncio.create_task(stream(session, audio, is_over))
        check("interrupted", await turn(session), interrupted=True)
        check("answered", await turn(session), interrupted=False)
        is_over.set()
        await microphone


async def manual(client, config: dict, audio: bytes) -> None:
    """Hold a spoken turn whose begin and end the client marks."""
    marked = config | {"realtime_input_config": {"automatic_activity_detection": {"disabled": True}}}
    async with client.aio.live.connect(model=MODEL, config=marked) as session:
        await session.send_realtime_input(activity_start=types.ActivityStart())
        for at in range(0, len(audio), CHUNK_BYTES):
            blob = types.Blob(data=audio[at : at + CHUNK_BYTES], mime_type=f"audio/pcm;rate={RATE_HZ}")
            await session.send_realtime_input(audio=blob)
        await session.send_realtime_input(activity_end=types.ActivityEnd())
        check("manual", await turn(session), interrupted=False)


async def function(client, config: dict) -> None:
    """Hold a turn with a function call."""
    parameters = types.Schema(type="OBJECT", properties={"order": types.Schema(type="STRING")}, required=["order"])
    declared = types.FunctionDeclaration(name="find_parcel", parameters=parameters)
    tools = config | {"tools": [types.Tool(function_declarations=[declared])]}
    async with client.aio.live.connect(model=MODEL, config=tools) as session:
        await session.send_realtime_input(text="Where is it?")
        check("function", await turn(session), calls=["find_parcel"])


async def main(port: int, wav: str) -> None:
    options = types.HttpOptions(base_url=f"https://127.0.0.1:{port}", api_version="v1beta")
    client, audio = genai.Client(api_key="any", http_options=options), speech(wav)
    config = {"response_modalities": ["AUDIO"], "input_audio_transcription": {}, "output_audio_transcription": {}}
    await automatic(client, config, audio)
    await manual(client, config, audio)
    await function(client, config)


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
