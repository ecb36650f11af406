"""A filter by which pipecat reads and writes messages. It reads JSON lines and prints a JSON line
for each.

A line that it reads is `{"as": PROVIDER, …}` with one further key: `open` (the first two messages),
`hear` (a message) or `say` (`clear`, or base64 PCM at the rate of the line). A provider is one of
`RATES`. A message is a text, or base64 under the key `binary`.
"""

import asyncio
import base64
import json
import sys
from types import SimpleNamespace

from loguru import logger
from pipecat.frames.frames import (
    InputAudioRawFrame,
    InputDTMFFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputTransportMessageUrgentFrame,
)
from pipecat.runner.utils import parse_telephony_websocket
from pipecat.serializers.exotel import ExotelFrameSerializer
from pipecat.serializers.genesys import GenesysAudioHookSerializer
from pipecat.serializers.plivo import PlivoFrameSerializer
from pipecat.serializers.telnyx import TelnyxFrameSerializer
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.serializers.vonage import VonageFrameSerializer

RATES = {
    "twilio": 8000,
    "telnyx": 8000,
    "plivo": 8000,
    "exotel": 8000,
    "vonage": 16000,
    "genesys": 8000,
}


def shown(data):
    return {"binary": base64.b64encode(data).decode()} if isinstance(data, bytes) else data


def made(frame):
    match frame:
        case InputAudioRawFrame():
            return {"pcm": base64.b64encode(frame.audio).decode(), "rate": frame.sample_rate}
        case InputDTMFFrame():
            return {"key": frame.button.value}
        case OutputTransportMessageUrgentFrame():
            return {"answer": frame.message["type"], "clientseq": frame.message["clientseq"]}
        case None:
            return None
    return {"frame": type(frame).__name__}


async def opened(messages):
    async def texts():
        for message in messages:
            yield message

    provider, call = await parse_telephony_websocket(SimpleNamespace(iter_text=texts))
    return {
        "provider": provider,
        "stream": call["stream_id"],
        "call": call["call_id"],
        "body": call["body"],
    }


def made_for(name):
    match name:
        case "twilio":
            params = TwilioFrameSerializer.InputParams(auto_hang_up=False)
            return TwilioFrameSerializer("MZ", "CA", params=params)
        case "telnyx":
            params = TelnyxFrameSerializer.InputParams(auto_hang_up=False)
            return TelnyxFrameSerializer("MZ", "PCMU", "PCMU", params=params)
        case "plivo":
            params = PlivoFrameSerializer.InputParams(auto_hang_up=False)
            return PlivoFrameSerializer("MZ", params=params)
        case "exotel":
            return ExotelFrameSerializer("MZ")
        case "genesys":
            return GenesysAudioHookSerializer()
    return VonageFrameSerializer()


async def answer(query):
    rate = RATES[query["as"]]
    serializer = made_for(query["as"])
    await serializer.setup(SimpleNamespace(audio_in_sample_rate=rate))
    if query["as"] == "genesys":  # it hears and says nothing before
        await serializer.deserialize('{"type": "open", "id": "c-1"}')
    if "open" in query:
        return await opened(query["open"])
    if "hear" in query:
        message = query["hear"]
        return made(
            await serializer.deserialize(
                base64.b64decode(message["binary"]) if isinstance(message, dict) else message
            )
        )
    if query["say"] == "clear":
        return shown(await serializer.serialize(InterruptionFrame()))
    return shown(
        await serializer.serialize(OutputAudioRawFrame(base64.b64decode(query["say"]), rate, 1))
    )


async def main():
    logger.remove()
    for line in sys.stdin:
        print(json.dumps(await answer(json.loads(line))), flush=True)


asyncio.run(main())
