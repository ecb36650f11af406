"""A conversation by pipecat with the simulated Gemini Live: typed, spoken, interrupted, and a function call."""

import asyncio
import sys
import wave

import numpy as np
import soxr
from google.genai import types
from pipecat.adapters.schemas.function_schema import FunctionSchema
from pipecat.adapters.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    InputAudioRawFrame,
    InputTextRawFrame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.services.google.gemini_live.llm import GeminiLiveLLMService
from pipecat.workers.runner import WorkerRunner

RATE_HZ, CHUNK_MS = 16_000, 100
POLLS, POLL_S = 1_200, 0.05
FRAMES = (TTSTextFrame, TTSAudioRawFrame, LLMFullResponseEndFrame, InterruptionFrame, TranscriptionFrame)


def speech(path):
    with wave.open(path) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        return soxr.resample(samples, file.getframerate(), RATE_HZ).astype(np.int16).tobytes()


def watched(worker):
    """Return what the frames of a pipeline contain. It grows."""
    seen = {"audio": 0, "text": "", "heard": "", "ends": 0, "interruptions": 0, "calls": []}
    worker.set_reached_downstream_filter(FRAMES)
    worker.set_reached_upstream_filter((TranscriptionFrame, InterruptionFrame))

    async def note(_, frame):
        if isinstance(frame, TTSAudioRawFrame):
            seen["audio"] += len(frame.audio)
        elif isinstance(frame, TranscriptionFrame):
            seen["heard"] += frame.text
        elif isinstance(frame, TTSTextFrame):
            seen["text"] += frame.text
        elif isinstance(frame, LLMFullResponseEndFrame):
            seen["ends"] += 1
        elif isinstance(frame, InterruptionFrame):
            seen["interruptions"] += 1

    worker.add_event_handler("on_frame_reached_downstream", note)
    worker.add_event_handler("on_frame_reached_upstream", note)
    return seen


async def until(condition, label, seen):
    for _ in range(POLLS):
        if condition():
            print(label, seen, flush=True)
            return
        await asyncio.sleep(POLL_S)
    sys.exit(f"{label}: not reached: {seen}")


async def microphone(worker, audio, stop):
    size = RATE_HZ * 2 * CHUNK_MS // 1000
    pieces = [audio[at : at + size].ljust(size, b"\0") for at in range(0, len(audio), size)]
    while pieces or not stop():
        await worker.queue_frame(InputAudioRawFrame(pieces.pop(0) if pieces else bytes(size), RATE_HZ, 1))
        await asyncio.sleep(CHUNK_MS / 1000)


async def talk(worker, seen, audio):
    schema = FunctionSchema("find_parcel", "Where a parcel is.", {"order": {"type": "string"}}, ["order"])
    context = LLMContext([{"role": "user", "content": "Hello!"}], tools=ToolsSchema([schema]))
    await worker.queue_frame(LLMContextFrame(context))
    await until(lambda: seen["calls"] and seen["ends"] and seen["audio"], "typed, with a function call", seen)
    before = dict(seen)
    speaking = asyncio.create_task(microphone(worker, audio, lambda: seen["ends"] > before["ends"]))
    await until(lambda: seen["ends"] > before["ends"] and seen["audio"] > before["audio"], "spoken", seen)
    await speaking
    before = dict(seen)
    await worker.queue_frame(InputTextRawFrame(text="Tell me everything."))
    await until(lambda: seen["audio"] > before["audio"], "begun", seen)
    before = dict(seen)
    speaking = asyncio.create_task(microphone(worker, audio, lambda: seen["interruptions"] > before["interruptions"]))
    await until(lambda: seen["interruptions"] > before["interruptions"], "interrupted", seen)
    await speaking
    await worker.cancel()


async def main(port, wav):
    options = types.HttpOptions(base_url=f"https://127.0.0.1:{port}", api_version="v1beta")
    service = GeminiLiveLLMService(api_key="any", http_options=options)
    worker, runner = PipelineWorker(Pipeline([service])), WorkerRunner(handle_sigint=False)
    seen = watched(worker)

    async def find_parcel(params):
        seen["calls"].append(params.function_name)
        await params.result_callback({"place": "in the depot"})

    service.register_function("find_parcel", find_parcel)
    await runner.add_workers(worker)
    task = asyncio.create_task(talk(worker, seen, speech(wav)))
    await runner.run()
    await task


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
