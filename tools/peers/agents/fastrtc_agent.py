"""An agent with FastRTC, whose offer needs a `webrtc_id`. Run as a program, it prints its port."""

import asyncio
import socket

import numpy as np
import uvicorn
from fastapi import FastAPI
from fastrtc import AsyncStreamHandler, Stream
from python_talk import Talker, tone

RATE_HZ = 24_000


class Agent(AsyncStreamHandler):
    def __init__(self):
        super().__init__("mono", output_sample_rate=RATE_HZ, input_sample_rate=48_000)
        self._talker = Talker()
        self._replies: asyncio.Queue = asyncio.Queue()

    def copy(self):
        return Agent()

    async def start_up(self):
        pass

    async def receive(self, frame):
        self._talker.hear(np.asarray(frame[1]).reshape(-1))
        if self._talker.is_due():
            self._replies.put_nowait((RATE_HZ, tone(RATE_HZ)[np.newaxis]))

    async def emit(self):
        return await self._replies.get()

    def shutdown(self):
        pass


app = FastAPI()
Stream(Agent(), modality="audio", mode="send-receive").mount(app)
with socket.create_server(("127.0.0.1", 0)) as listening:
    print(listening.getsockname()[1], flush=True)
    asyncio.run(uvicorn.Server(uvicorn.Config(app, log_level="warning")).serve([listening]))
