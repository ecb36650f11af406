#!/bin/sh
# Software: pipecat-ai 1.14.0 with numpy 2.4.6 (PyPI, Python), its recorder of calls `AudioBufferProcessor` in two channels, caller
#           and agent at 24 kHz.
# Expected: the recording has the pauses that the caller heard. A reply of 3 s that stops nine times for 150 ms, as the speech of a
#           loaded service does, lasts 4.4 s in it.
# Seen:     it lasts 3 s without a pause. The recorder leaves out each silence of the agent of up to 200 ms within a reply, and puts
#           the rest of the reply so much earlier: the last word is 1.4 s earlier than it was heard. Pauses of 350 ms are kept.
# Why:      stalls are what a load test listens for, and a recording is the evidence. It proves a fluent reply where the caller
#           heard a stutter. All that is measured within a reply (its end, a barge-in during it, talking at once) is wrong by the
#           sum of the pauses, although caller and agent seem to share one clock.
# Takes about 20 s.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    python3 -m venv venv && venv/bin/pip install pipecat-ai==1.14.0 numpy==2.4.6
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

cat >show.py <<'EOF'
import asyncio
import time

import numpy as np
from pipecat.frames.frames import EndFrame, InputAudioRawFrame, TTSAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.audio.audio_buffer_processor import AudioBufferProcessor
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.workers.runner import WorkerRunner

RATE_HZ = 24_000
PARTS = 10  # of a reply, 0.3 s each


def tone(duration_s):
    times = np.arange(round(RATE_HZ * duration_s)) / RATE_HZ
    return (8000 * np.sin(2 * np.pi * 500 * times)).astype(np.int16).tobytes()


class Speaker(BaseOutputTransport):
    """Plays in real time, and notes when the reply begins and ends."""

    begin_s = None
    end_s = 0.0
    free_at_s = 0.0

    async def start(self, frame):
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame):
        begin_s = max(time.monotonic(), self.free_at_s)
        self.free_at_s = begin_s + len(frame.audio) / 2 / RATE_HZ
        if any(frame.audio):
            self.begin_s = self.begin_s or begin_s
            self.end_s = self.free_at_s
        await asyncio.sleep(self.free_at_s - time.monotonic())
        return True


async def call(pause_s):
    """Return the duration of the reply in ms that the caller heard, that in the recording, and its pauses."""
    recorder = AudioBufferProcessor(num_channels=2)
    speaker = Speaker(TransportParams(audio_out_enabled=True))
    worker = PipelineWorker(Pipeline([speaker, recorder]), enable_rtvi=False, params=PipelineParams(
        audio_in_sample_rate=RATE_HZ, audio_out_sample_rate=RATE_HZ,
    ))
    agent_track = []

    @recorder.event_handler("on_track_audio_data")
    async def on_track_audio_data(processor, caller, agent, rate_hz, channels):
        assert rate_hz == RATE_HZ
        agent_track.extend(np.frombuffer(agent, np.int16).astype(int))

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    await asyncio.sleep(0.5)
    await recorder.start_recording()
    started_s = time.monotonic()
    reply_s = 0.3 * PARTS + pause_s * (PARTS - 1)

    async def caller():
        for i in range(round((1.5 + reply_s) / 0.02)):
            await asyncio.sleep(started_s + (i + 1) * 0.02 - time.monotonic())
            frame = InputAudioRawFrame(audio=bytes(960), sample_rate=RATE_HZ, num_channels=1)
            await worker.queue_frame(frame)

    async def agent():
        for i in range(PARTS):
            await asyncio.sleep(started_s + 0.5 + i * (0.3 + pause_s) - time.monotonic())
            part = TTSAudioRawFrame(audio=tone(0.3), sample_rate=RATE_HZ, num_channels=1)
            await worker.queue_frame(part)

    await asyncio.gather(caller(), agent())
    await recorder.stop_recording()
    await worker.queue_frame(EndFrame())
    await running
    loud = np.flatnonzero(abs(np.array(agent_track)) > 1000) / RATE_HZ
    pauses = int((np.diff(loud) > 0.05).sum())
    heard_ms = round(1000 * (speaker.end_s - speaker.begin_s))
    return heard_ms, round(1000 * (loud[-1] - loud[0])), pauses


async def main():
    seen = {}
    for pause_s in (0.0, 0.15, 0.35):
        heard_ms, recorded_ms, pauses = await call(pause_s)
        seen[pause_s] = heard_ms - recorded_ms, pauses
        print(f"nine pauses of {1000 * pause_s:.0f} ms: the reply lasts {heard_ms} ms,"
              f" in the recording {recorded_ms} ms with {pauses} pauses")
    same = seen[0.0][0] < 250 and seen[0.15][0] > 900 and seen[0.15][1] <= 2 and seen[0.35][1] == 9
    print("As described: the recording closes the pauses." if same else "CHANGED.")
    return 0 if same else 1


raise SystemExit(asyncio.run(main()))
EOF
venv/bin/python -W ignore show.py 2>errors.log || { status=$?; tail -n 3 errors.log; exit $status; }
