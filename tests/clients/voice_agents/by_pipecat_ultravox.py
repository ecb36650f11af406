"""A call of pipecat's service for Ultravox with the simulated agent: greeted, answered, and
interrupted.
"""

import asyncio
import sys
import wave

from loguru import logger
from pipecat.frames.frames import (
    EndFrame,
    InputAudioRawFrame,
    InterruptionFrame,
    TTSAudioRawFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineTask
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.ultravox.llm import JoinUrlInputParams, UltravoxRealtimeLLMService

RATE_HZ, CHUNK_S, LIMIT_S = 16_000, 0.02, 300
CHUNK_BYTES = int(RATE_HZ * CHUNK_S) * 2
SPOKEN_S = 0.9
"""The time from a reply to the speech that interrupts it."""


class Line(FrameProcessor):
    """What counts the agent's audio, and its interruptions."""

    heard = interrupted = 0

    async def process_frame(self, frame, direction) -> None:
        await super().process_frame(frame, direction)
        self.heard += isinstance(frame, TTSAudioRawFrame)
        self.interrupted += isinstance(frame, InterruptionFrame)
        await self.push_frame(frame, direction)


async def main(port: str, wav: str) -> None:
    logger.remove()
    with wave.open(wav) as file:
        words = file.readframes(file.getnframes())
    params = JoinUrlInputParams(join_url=f"ws://127.0.0.1:{port}/agent/ultravox?format=pcm16@48000")
    line, said = Line(), bytearray()
    task = PipelineTask(Pipeline([UltravoxRealtimeLLMService(params=params), line]))
    running = asyncio.create_task(PipelineRunner(handle_sigint=False).run(task))

    async def speak() -> None:
        while True:
            piece = bytes(said[:CHUNK_BYTES]).ljust(CHUNK_BYTES, b"\0")
            del said[:CHUNK_BYTES]
            await task.queue_frame(InputAudioRawFrame(piece, RATE_HZ, 1))
            await asyncio.sleep(CHUNK_S)

    async def until(what: str, happened) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not happened():
                await asyncio.sleep(CHUNK_S)
        print(what)

    microphone = asyncio.create_task(speak())
    await until("greeted", lambda: line.heard)
    for what in ("answered", "answered after an interruption"):
        said.extend(words)
        await until("interrupted", lambda: line.interrupted)
        line.heard = line.interrupted = 0
        await until(what, lambda: line.heard)
        await asyncio.sleep(SPOKEN_S)
    microphone.cancel()
    await task.queue_frame(EndFrame())
    await running


asyncio.run(main(*sys.argv[1:]))
