"""A client with google-genai that runs the steps at the given URL, and prints outcomes as JSON.

`tools/clients.py` runs it in an environment of its own.
"""

import asyncio
import json
import sys

from google import genai
from google.genai import types

MODEL = "gemini-3.8-live"
RATE_HZ, BYTES_PER_MS, CHUNK_BYTES = 16_000, 32, 3_200  # pcm16, 100 ms
GUARD_S = 60
WAVE = b"".join(
    (3277 if place // 133 else -3277).to_bytes(2, "little", signed=True) for place in range(266)
)
TRANSCRIBED = {
    "response_modalities": ["AUDIO"],
    "input_audio_transcription": {},
    "output_audio_transcription": {},
}
MANUAL = {"realtime_input_config": {"automatic_activity_detection": {"disabled": True}}}
PARAMETERS = types.Schema(
    type="OBJECT", properties={"order": types.Schema(type="STRING")}, required=["order"]
)
PARCEL = types.FunctionDeclaration(name="find_parcel", parameters=PARAMETERS)


async def speak(session, loud_ms: int, silent_ms: int = 0) -> None:
    audio = (WAVE * loud_ms)[: loud_ms * BYTES_PER_MS] + bytes(silent_ms * BYTES_PER_MS)
    for begin in range(0, len(audio), CHUNK_BYTES):
        blob = types.Blob(
            data=audio[begin : begin + CHUNK_BYTES], mime_type=f"audio/pcm;rate={RATE_HZ}"
        )
        await session.send_realtime_input(audio=blob)


async def turn(session, interrupts: bool = False) -> dict:
    """Return what the service sends until its turn is complete. With `interrupts`, speak into
    the first audio.
    """
    seen = {"audio": 0, "text": "", "heard": "", "interrupted": False, "calls": []}
    async for message in session.receive():
        seen["audio"] += len(message.data or b"")
        if interrupts and seen["audio"]:
            interrupts = False
            await speak(session, 300)
        content = message.server_content
        if content and content.output_transcription:
            seen["text"] += content.output_transcription.text or ""
        if content and content.input_transcription:
            seen["heard"] += content.input_transcription.text or ""
        if content and content.interrupted:
            seen["interrupted"] = True
        if message.tool_call:
            calls = message.tool_call.function_calls
            seen["calls"] += [call.name for call in calls]
            answers = [
                types.FunctionResponse(id=call.id, name=call.name, response={"at": "depot"})
                for call in calls
            ]
            await session.send_tool_response(function_responses=answers)
    return seen


async def connect(session) -> None:
    assert session.session_id


async def text(session) -> None:
    await session.send_realtime_input(text="Hello!")
    check(await turn(session))
    content = types.Content(role="user", parts=[types.Part(text="And now?")])
    await session.send_client_content(turns=content, turn_complete=True)
    check(await turn(session))


async def manual_audio(session) -> None:
    await session.send_realtime_input(activity_start=types.ActivityStart())
    await speak(session, 1000)
    await session.send_realtime_input(activity_end=types.ActivityEnd())
    check(await turn(session))


async def vad(session) -> None:
    await speak(session, 400, 700)
    seen = await turn(session)
    check(seen)
    assert seen["heard"], seen


async def interruption(session) -> None:
    await session.send_realtime_input(text="Tell me everything.")
    check(await turn(session, interrupts=True), interrupted=True)
    await speak(session, 0, 700)
    check(await turn(session))


async def function_call(session) -> None:
    await session.send_realtime_input(text="Where is it?")
    check(await turn(session), calls=["find_parcel"])


def check(seen: dict, **expected) -> None:
    expected = {"interrupted": False, "calls": []} | expected
    assert seen["audio"], seen
    assert {name: seen[name] for name in expected} == expected, seen


STEPS = {
    "connect": (connect, {}),
    "text": (text, {}),
    "manual audio": (manual_audio, MANUAL),
    "VAD": (vad, {}),
    "interruption": (interruption, {}),
    "function call": (function_call, {"tools": [types.Tool(function_declarations=[PARCEL])]}),
}


async def outcome(client, step: str) -> str:
    play, settings = STEPS[step]

    async def talk() -> None:
        async with client.aio.live.connect(model=MODEL, config=TRANSCRIBED | settings) as session:
            await play(session)

    try:
        await asyncio.wait_for(talk(), GUARD_S)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "pass"


async def main(url: str) -> None:
    client = genai.Client(api_key="any", http_options=types.HttpOptions(base_url=url))
    print(json.dumps({step: await outcome(client, step) for step in STEPS}))


asyncio.run(main(sys.argv[1]))
