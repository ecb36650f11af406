"""The Realtime API server of Hugging Face's speech-to-speech. Instead of models, an echo: a tone
while it hears sound.

Run as a program, it prints its port.
"""

from __future__ import annotations

import socket
import threading
from queue import Queue
from typing import Any

import numpy as np
import uvicorn
from speech_to_speech.api.openai_realtime.pipeline_unit import PipelineUnit
from speech_to_speech.api.openai_realtime.service import RealtimeService
from speech_to_speech.api.openai_realtime.websocket_router import create_app
from speech_to_speech.pipeline.cancel_scope import CancelScope
from speech_to_speech.pipeline.control import is_control_message
from speech_to_speech.pipeline.messages import AudioOutput

UNITS, LOUD = 8, 4_000
"""The number of sessions at a time, and the level of a loud chunk."""
TONE = np.where(np.arange(512) % 16 < 8, 8_000, -8_000).astype(np.int16)


def new_unit(index: int) -> PipelineUnit:
    heard, played, texts, prompts = (Queue[Any]() for _ in range(4))
    listens, plays = threading.Event(), threading.Event()
    service = RealtimeService(text_prompt_queue=prompts, should_listen=listens)

    def echo() -> None:
        while True:
            item = heard.get()
            if is_control_message(item):
                played.put(item)
            elif np.abs(np.frombuffer(item[0], np.int16).astype(np.int32)).max() > LOUD:
                played.put(AudioOutput(audio=TONE.tobytes()))

    threading.Thread(target=echo, daemon=True).start()
    return PipelineUnit(
        index=index,
        service=service,
        cancel_scope=CancelScope(),
        should_listen=listens,
        response_playing=plays,
        input_queue=heard,
        output_queue=played,
        text_output_queue=texts,
        text_prompt_queue=prompts,
        handlers=[],
    )


if __name__ == "__main__":
    app = create_app([new_unit(index) for index in range(UNITS)], threading.Event())
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listener])
