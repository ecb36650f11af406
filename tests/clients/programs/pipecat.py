import asyncio

from pipecat.frames.frames import LLMContextFrame, LLMFullResponseEndFrame, TTSTextFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.workers.runner import WorkerRunner


async def main():
    url = "ws://127.0.0.1:8765/v1/realtime"
    service = OpenAIRealtimeLLMService(api_key="any", base_url=url)
    worker, runner = PipelineWorker(Pipeline([service])), WorkerRunner(handle_sigint=False)
    worker.set_reached_downstream_filter((TTSTextFrame, LLMFullResponseEndFrame))

    @worker.event_handler("on_frame_reached_downstream")
    async def transcripts(_, frame):
        if isinstance(frame, LLMFullResponseEndFrame):
            await worker.cancel()
        else:
            print(frame.text, end="")

    await runner.add_workers(worker)
    await worker.queue_frame(LLMContextFrame(LLMContext([{"role": "user", "content": "Hello!"}])))
    await runner.run()


asyncio.run(main())
