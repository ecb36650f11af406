"""An agent with pipecat's SmallWebRTCTransport: it greets with a tone, and answers each speech of
its caller with one.

It greets when it hears its caller, because audio that is sent before may be lost.

Run as a program, it prints its port. It uses the routes of pipecat's own runner: `POST` and `PATCH`
of `/api/offer`.
"""

import asyncio
import socket

import numpy as np
import uvicorn
from fastapi import BackgroundTasks, FastAPI
from pipecat.frames.frames import InputAudioRawFrame, OutputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.transports.base_transport import TransportParams
from pipecat.transports.smallwebrtc.request_handler import (
    SmallWebRTCPatchRequest,
    SmallWebRTCRequest,
    SmallWebRTCRequestHandler,
)
from pipecat.transports.smallwebrtc.transport import SmallWebRTCTransport
from pipecat.workers.runner import WorkerRunner

RATE_HZ, LOUD, TONE_MS, SILENCE_MS = 24_000, 1_000, 600, 300
app, handler = FastAPI(), SmallWebRTCRequestHandler()


def tone() -> OutputAudioRawFrame:
    samples = np.where(np.arange(RATE_HZ * TONE_MS // 1_000) % 48 < 24, 8_000, -8_000).astype(
        np.int16
    )
    return OutputAudioRawFrame(samples.tobytes(), RATE_HZ, 1)


class Answerer(FrameProcessor):
    """A processor that answers when its caller was loud, and then silent."""

    def __init__(self):
        super().__init__()
        self._has_greeted, self._silent_ms = False, None

    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        if not isinstance(frame, InputAudioRawFrame):
            await self.push_frame(frame, direction)
            return
        if not self._has_greeted:
            self._has_greeted = True
            await self.push_frame(tone())
        samples = np.frombuffer(frame.audio, np.int16)
        if len(samples) and np.abs(samples.astype(np.int32)).max() > LOUD:
            self._silent_ms = 0
        elif self._silent_ms is not None:
            self._silent_ms += len(samples) * 1_000 / frame.sample_rate
            if self._silent_ms >= SILENCE_MS:
                self._silent_ms = None
                await self.push_frame(tone())


async def talk(connection):
    params = TransportParams(
        audio_in_enabled=True, audio_out_enabled=True, audio_out_sample_rate=RATE_HZ
    )
    transport = SmallWebRTCTransport(connection, params)
    worker = PipelineWorker(Pipeline([transport.input(), Answerer(), transport.output()]))

    @transport.event_handler("on_client_disconnected")
    async def end(*_):
        await worker.cancel()

    await WorkerRunner(handle_sigint=False).run(worker)


@app.post("/api/offer")
async def offer(request: SmallWebRTCRequest, tasks: BackgroundTasks):
    async def start(connection):
        tasks.add_task(talk, connection)

    return await handler.handle_web_request(request, start)


@app.patch("/api/offer")
async def candidates(request: SmallWebRTCPatchRequest):
    await handler.handle_patch_request(request)


async def main():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        await uvicorn.Server(uvicorn.Config(app, log_level="warning")).serve([listening])


asyncio.run(main())
