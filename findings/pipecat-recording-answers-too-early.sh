#!/bin/sh
# Software: pipecat-ai 1.14.0 with soxr 1.0.0 (PyPI, Python), its recorder of calls `AudioBufferProcessor` in two channels. The
#           rates are the default ones: the caller's audio at 16 kHz, the agent's at 24 kHz.
# Expected: in the recording, the agent answers as long after the caller as it did in the call: 0.5 s.
# Seen:     it answers about 0.35 s after the caller. The recorder resamples the caller to 24 kHz with soxr, which holds about
#           140 ms back, and then puts the reply where the samples that came out end. The agent, already at 24 kHz, is not held
#           back. With a caller at 8 kHz (telephone) the reply is about 210 ms early, with one at 24 kHz about 20 ms.
# Why:      people measure response latency in such recordings, with tools for two channels, as the fairest measurement there is.
#           Each turn is a seventh of a second better than what the caller waited, and it depends on the rate of the microphone.
# Takes about 15 s.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    python3 -m venv venv && venv/bin/pip install pipecat-ai==1.14.0 soxr==1.0.0 numpy==2.4.6
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

AGENT_HZ = 24_000
SPEECH_END_S = 1.5
REPLY_S = 2.0


def tone(rate_hz, duration_s):
    times = np.arange(round(rate_hz * duration_s)) / rate_hz
    return (8000 * np.sin(2 * np.pi * 500 * times)).astype(np.int16).tobytes()


class Speaker(BaseOutputTransport):
    """Plays in real time, and notes when the reply becomes audible."""

    heard_at_s = None
    free_at_s = 0.0

    async def start(self, frame):
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame):
        begin_s = max(time.monotonic(), self.free_at_s)
        if self.heard_at_s is None and any(frame.audio):
            self.heard_at_s = begin_s
        self.free_at_s = begin_s + len(frame.audio) / 2 / frame.sample_rate
        await asyncio.sleep(self.free_at_s - time.monotonic())
        return True


async def call(caller_hz):
    """Return the response latency in ms that the caller waited, and the one in the recording."""
    recorder = AudioBufferProcessor(num_channels=2)
    speaker = Speaker(TransportParams(audio_out_enabled=True))
    worker = PipelineWorker(Pipeline([speaker, recorder]), enable_rtvi=False, params=PipelineParams(
        audio_in_sample_rate=caller_hz, audio_out_sample_rate=AGENT_HZ,
    ))
    tracks = []

    @recorder.event_handler("on_track_audio_data")
    async def on_track_audio_data(processor, caller, agent, rate_hz, channels):
        tracks.extend(np.frombuffer(track, np.int16).astype(int) for track in (caller, agent))
        assert rate_hz == AGENT_HZ

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    await asyncio.sleep(0.5)
    await recorder.start_recording()
    started_s = time.monotonic()

    async def caller():
        for i in range(150):
            await asyncio.sleep(started_s + (i + 1) * 0.02 - time.monotonic())
            is_loud = 50 <= i < SPEECH_END_S / 0.02
            audio = tone(caller_hz, 0.02) if is_loud else bytes(2 * caller_hz // 50)
            frame = InputAudioRawFrame(audio=audio, sample_rate=caller_hz, num_channels=1)
            await worker.queue_frame(frame)

    async def agent():
        await asyncio.sleep(started_s + REPLY_S - time.monotonic())
        reply = TTSAudioRawFrame(audio=tone(AGENT_HZ, 0.5), sample_rate=AGENT_HZ, num_channels=1)
        await worker.queue_frame(reply)

    await asyncio.gather(caller(), agent())
    await recorder.stop_recording()
    await worker.queue_frame(EndFrame())
    await running
    loud = [np.flatnonzero(abs(track) > 1000) / AGENT_HZ for track in tracks]
    waited_s = speaker.heard_at_s - started_s - SPEECH_END_S
    return round(1000 * waited_s), round(1000 * (loud[1][0] - loud[0][-1]))


async def main():
    early_ms = {}
    for caller_hz in (24_000, 16_000, 8_000):
        waited_ms, recorded_ms = await call(caller_hz)
        early_ms[caller_hz] = waited_ms - recorded_ms
        print(f"caller at {caller_hz} Hz: waited {waited_ms} ms, in the recording {recorded_ms} ms")
    same = early_ms[24_000] < 70 and early_ms[16_000] > 90 and early_ms[8_000] > 140
    print("As described: the recording answers too early." if same else "CHANGED.")
    return 0 if same else 1


raise SystemExit(asyncio.run(main()))
EOF
venv/bin/python -W ignore show.py 2>errors.log || { status=$?; tail -n 3 errors.log; exit $status; }
