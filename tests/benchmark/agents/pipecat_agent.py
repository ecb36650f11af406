"""An agent made of pipecat: `python pipecat_agent.py LOG DELAY_MS REPLY.wav…` serves `/twilio` and `/raw?call=ID`.

Silero's model hears the caller, pipecat's turns, serializers and transports do the rest; what stands for a model and a
voice says the recordings in turn, a delay after pipecat says that the caller's turn is over. It prints its port. Its
log has a line for each message, and for what pipecat notes itself, with the instant by the kernel's monotonic clock.
"""

import asyncio
import base64
import json
import sys
import time
from functools import cache
from itertools import cycle

import numpy as np
import soundfile
import soxr
import uvicorn
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    InterruptionFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    UserStoppedSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.observers.base_observer import BaseObserver
from pipecat.observers.user_bot_latency_observer import UserBotLatencyObserver
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.runner.utils import parse_telephony_websocket
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.serializers.vonage import VonageFrameSerializer
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.turns.user_start import VADUserTurnStartStrategy
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_processor import UserTurnProcessor
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

LOG = sys.argv[1]
DELAY_S = float(sys.argv[2]) / 1000
REPLIES = sys.argv[3:]
PAUSE_S = 0.1
"""How long a caller may pause after the VAD has heard him end."""
AUDIBLE = 104
NOTED = (
    BotStartedSpeakingFrame,
    InterruptionFrame,
    UserStoppedSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
app = FastAPI()


@cache
def recording(path, rate):
    """A recording from its first audible sample on."""
    samples, own = soundfile.read(path, dtype="float64")
    pcm = np.rint(soxr.resample(samples, own, rate) * 32767).astype(np.int16)
    return pcm[np.argmax(np.abs(pcm) >= AUDIBLE) :].tobytes()


class Log:
    def __init__(self):
        self.lines, self.call = [], None

    def __call__(self, direction, name, **fields):
        line = {"at": time.monotonic_ns(), "d": direction, "t": name, **fields}
        self.lines.append(line)
        return line

    def message(self, direction, data):
        name, said = ("text", data) if isinstance(data, str) else ("binary", base64.b64encode(data).decode())
        return self(direction, name, said=said)

    def close(self):
        with open(LOG, "a", encoding="utf-8") as file:
            file.writelines(json.dumps({"call": self.call, **line}) + "\n" for line in self.lines)


def listen(websocket, log):
    """Log what passes a socket: when it has come, and when it begins and ends to go."""
    receive, send = websocket.receive, websocket.send

    async def received():
        message = await receive()
        if message["type"] == "websocket.receive":
            log.message("in", message["text"] if message.get("text") is not None else message["bytes"])
        elif message["type"] == "websocket.disconnect":
            log("in", "closed", code=message.get("code"))
        return message

    async def sent(message):
        if message["type"] == "websocket.send":
            line = log.message("out", message["text"] if message.get("text") is not None else message["bytes"])
            await send(message)
            line["gone"] = time.monotonic_ns()
        else:
            await send(message)

    websocket.receive, websocket.send = received, sent


class Notes(BaseObserver):
    """What pipecat says of itself, each frame once."""

    def __init__(self, log):
        super().__init__()
        self._log, self._seen = log, set()

    async def on_push_frame(self, data):
        frame = data.frame
        names = {frame.id, frame.broadcast_sibling_id}
        if isinstance(frame, NOTED) and not names & self._seen:
            self._seen |= names - {None}
            self._log("note", type(frame).__name__, stop_s=getattr(frame, "stop_secs", None))


class Speaker(FrameProcessor):
    """Says the next recording once the caller's turn is over; an interruption stops it."""

    def __init__(self, rate):
        super().__init__()
        self._rate, self._replies, self._speech = rate, cycle(REPLIES), None

    def speak(self, delay_s):
        self._speech = self.create_task(self._say(delay_s))

    async def _say(self, delay_s):
        await asyncio.sleep(delay_s)
        await self.push_frame(TTSStartedFrame())
        await self.push_frame(TTSAudioRawFrame(recording(next(self._replies), self._rate), self._rate, 1))
        await self.push_frame(TTSStoppedFrame())

    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, InterruptionFrame) and self._speech is not None:
            await self.cancel_task(self._speech)
            self._speech = None
        elif isinstance(frame, UserStoppedSpeakingFrame):
            self.speak(DELAY_S)


async def converse(websocket, serializer, rate, log):
    """Hold one call to its end."""
    params = FastAPIWebsocketParams(audio_in_enabled=True, audio_out_enabled=True, serializer=serializer)
    transport, speaker = FastAPIWebsocketTransport(websocket, params), Speaker(rate)
    strategies = UserTurnStrategies(
        start=[VADUserTurnStartStrategy()],
        stop=[SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=PAUSE_S, wait_for_transcript=False)],
    )
    hearing = [VADProcessor(vad_analyzer=SileroVADAnalyzer()), UserTurnProcessor(user_turn_strategies=strategies)]
    latency = UserBotLatencyObserver()
    worker = PipelineWorker(
        Pipeline([transport.input(), *hearing, speaker, transport.output()]),
        params=PipelineParams(audio_in_sample_rate=rate, audio_out_sample_rate=rate),
        observers=[latency, Notes(log)],
    )

    @latency.event_handler("on_latency_measured")
    async def measured(_, latency_s):
        log("note", "latency", s=latency_s)

    @transport.event_handler("on_client_connected")
    async def greet(*_):
        speaker.speak(0)

    @transport.event_handler("on_client_disconnected")
    async def leave(*_):
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False, handle_sigterm=False)
    await runner.add_workers(worker)
    await runner.run()


@app.websocket("/twilio")
async def twilio(websocket: WebSocket):
    log = Log()
    listen(websocket, log)
    log("in", "connected")
    await websocket.accept()
    provider, call = await parse_telephony_websocket(websocket)
    log.call = call["stream_id"].removeprefix("MZ")
    log("note", "provider", of=provider, body=call["body"])
    params = TwilioFrameSerializer.InputParams(auto_hang_up=False)
    serializer = TwilioFrameSerializer(call["stream_id"], call["call_id"], params=params)
    await converse(websocket, serializer, 8000, log)
    log.close()


@app.websocket("/raw")
async def raw(websocket: WebSocket, call: str):
    log = Log()
    log.call = call
    listen(websocket, log)
    log("in", "connected")
    await websocket.accept()
    await converse(websocket, VonageFrameSerializer(), 16000, log)
    log.close()


class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)


if __name__ == "__main__":
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning")).run()
