"""A client with pipecat, for the Realtime API or Gemini Live: it runs the steps at the given URL,
and prints outcomes.

`tools/clients.py` runs it in an environment of its own. The URL of the Realtime API ends in /v1.
"""

import asyncio
import json
import sys

from google.genai import types
from loguru import logger
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    InputAudioRawFrame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMRunFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.google.gemini_live.llm import GeminiLiveLLMService
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.workers.runner import WorkerRunner

GUARD_S, CHUNK_MS = 60, 100
PARCEL = FunctionSchema(
    "find_parcel", "Where a parcel is.", {"order": {"type": "string"}}, ["order"]
)


class Watcher(FrameProcessor):
    """What the frames after the service contain. `changed` is set at each frame."""

    def __init__(self):
        super().__init__()
        self.audio = self.ends = self.interruptions = 0
        self.text = ""
        self.changed = asyncio.Event()

    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        match frame:
            case TTSAudioRawFrame():
                self.audio += len(frame.audio)
            case TTSTextFrame():
                self.text += frame.text
            case LLMFullResponseEndFrame():
                self.ends += 1
            case InterruptionFrame():
                self.interruptions += 1
        self.changed.set()
        await self.push_frame(frame, direction)


class Talk:
    """A call that begins with a typed turn."""

    def __init__(self, service, rate_hz, *tools):
        self.rate_hz, self.calls, self.seen = rate_hz, [], Watcher()
        context = LLMContext(
            [{"role": "user", "content": "Hello!"}], tools=ToolsSchema(list(tools))
        )
        user, assistant = LLMContextAggregatorPair(context)
        self.worker = PipelineWorker(Pipeline([user, service, self.seen, assistant]))
        service.register_function("find_parcel", self.find_parcel)

    async def find_parcel(self, params):
        self.calls.append(params.function_name)
        await params.result_callback({"place": "in the depot"})

    async def begin(self):
        await self.worker.queue_frame(LLMRunFrame())

    async def until(self, condition):
        while not condition(self.seen):
            self.seen.changed.clear()
            await self.seen.changed.wait()

    async def speak(self, loud_ms, until):
        """Speak at the pace of a microphone, and then be silent, until the condition is met."""
        size = self.rate_hz * 2 * CHUNK_MS // 1000
        half = self.rate_hz // 120
        wave = b"".join(
            (3277 if n // half % 2 else -3277).to_bytes(2, "little", signed=True)
            for n in range(size // 2)
        )
        sent_ms = 0
        while not until(self.seen):
            piece = wave if sent_ms < loud_ms else bytes(size)
            await self.worker.queue_frame(InputAudioRawFrame(piece, self.rate_hz, 1))
            sent_ms += CHUNK_MS
            await asyncio.sleep(CHUNK_MS / 1000)


async def text(talk):
    await talk.until(lambda seen: seen.ends and seen.audio and seen.text)


async def vad(talk):
    await talk.until(lambda seen: seen.ends)
    audio = talk.seen.audio
    await talk.speak(400, lambda seen: seen.ends > 1)
    assert talk.seen.audio > audio, "no audio"


async def interruption(talk):
    await talk.until(lambda seen: seen.audio)
    await talk.speak(300, lambda seen: seen.interruptions)
    audio, ends = talk.seen.audio, talk.seen.ends
    await talk.speak(0, lambda seen: seen.audio > audio and seen.ends > ends)


async def function_call(talk):
    await talk.until(lambda seen: seen.audio and seen.ends)
    assert talk.calls == ["find_parcel"], talk.calls


STEPS = {"text": text, "VAD": vad, "interruption": interruption, "function call": function_call}


def talk_at(url, *tools):
    if url.endswith("/v1"):
        url = f"{url.replace('http', 'ws', 1)}/realtime"
        return Talk(OpenAIRealtimeLLMService(api_key="any", base_url=url), 24_000, *tools)
    options = types.HttpOptions(base_url=url)
    return Talk(GeminiLiveLLMService(api_key="any", http_options=options), 16_000, *tools)


async def outcome(url, step):
    talk = talk_at(url, *([PARCEL] if step == "function call" else []))
    runner = WorkerRunner(handle_sigint=False)

    async def play():
        try:
            await talk.begin()
            await asyncio.wait_for(STEPS[step](talk), GUARD_S)
        except Exception as error:
            seen = talk.seen
            counts = (
                f"audio {seen.audio}, ends {seen.ends}, interruptions {seen.interruptions}, calls"
                f" {talk.calls}"
            )
            return f"{type(error).__name__}: {error} ({counts})"
        finally:
            await talk.worker.cancel()
        return "pass"

    await runner.add_workers(talk.worker)
    playing = asyncio.create_task(play())
    await runner.run()
    return await playing


async def main(url):
    outcomes = {step: await outcome(url, step) for step in STEPS}
    print(json.dumps({"connect": outcomes["text"], **outcomes}))


logger.remove()
asyncio.run(main(sys.argv[1]))
