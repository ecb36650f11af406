#!/bin/sh
# Software: speechmatics-rt 1.2.1 (PyPI, Python), `AsyncMultiChannelClient.transcribe(sources)` with two legs of a call that are not
#           equally long, and `AsyncClient.transcribe` of the same package for comparison.
# Expected: both legs are transcribed to their end. The package documents of the source behind it: "Channel ID and audio chunk pairs
#           until all streams are exhausted". The Real-Time API has an EndOfChannel of its own for each channel.
# Seen:     the client stops at the end of the shorter leg. Of a caller of 60 s next to an agent of 10 s, it sends 10 s. Then it sends
#           EndOfChannel for both, with counts that match what was sent, so the service sees a complete call. `transcribe` returns
#           without an exception, and nothing is logged. AsyncClient sends all 60 s of the same caller.
# Why:      recordings of legs differ in length in each call: one party hangs up first, an agent sends nothing after its last reply, and
#           a recorder begins with the first packet. The words after the end of the shorter leg are not in the transcript. A word error
#           rate counts them as words that the service did not recognize, and the minutes on the bill are fewer than those of the call.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    python3 -m venv venv && venv/bin/pip install speechmatics-rt==1.2.1 websockets==16.1.1 typing-extensions==4.16.0
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }
unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy

cat >show.py <<'EOF'
import asyncio
import base64
import io
import json
import logging

from speechmatics.rt import AsyncClient, AsyncMultiChannelClient, AudioEncoding, AudioFormat, TranscriptionConfig
from websockets.asyncio.server import serve

RATE_HZ = 16_000
FORMAT = AudioFormat(encoding=AudioEncoding.PCM_S16LE, sample_rate=RATE_HZ)
calls = []
records = []


class Collector(logging.Handler):
    def emit(self, record):
        if record.levelno >= logging.WARNING:
            records.append(record.getMessage())


async def service(connection):
    """Collect the audio of each channel in bytes, and the ends that the client announces."""
    start = json.loads(await connection.recv())
    labels = start["transcription_config"].get("channel_diarization_labels") or ["the only channel"]
    audio = dict.fromkeys(labels, 0)
    chunks = dict.fromkeys(labels, 0)
    ends = {}
    await connection.send(json.dumps({"message": "RecognitionStarted", "id": "session-1"}))
    while len(ends) < len(labels):
        message = await connection.recv()
        if isinstance(message, bytes):
            audio[labels[0]] += len(message)
            chunks[labels[0]] += 1
            await connection.send(json.dumps({"message": "AudioAdded", "seq_no": chunks[labels[0]]}))
            continue
        message = json.loads(message)
        channel = message.get("channel", labels[0])
        if message["message"] == "AddChannelAudio":
            audio[channel] += len(base64.b64decode(message["data"]))
            chunks[channel] += 1
        if message["message"] in ("EndOfChannel", "EndOfStream"):
            ends[channel] = message["last_seq_no"]
    seconds = {channel: count / 2 / RATE_HZ for channel, count in audio.items()}
    calls.append((seconds, chunks == ends))
    await connection.send(json.dumps({"message": "EndOfTranscript"}))
    await connection.wait_closed()


async def call(client, source, **options):
    """Return the seconds of audio of each channel that arrived, and whether the announced counts match."""
    known = len(calls)
    async with client:
        config = TranscriptionConfig(language="en", **options)
        await client.transcribe(source, transcription_config=config, audio_format=FORMAT)
        async with asyncio.timeout(20):
            while len(calls) == known:
                await asyncio.sleep(0.01)
    return calls[-1]


def leg(duration_s):
    return io.BytesIO(bytes(2 * RATE_HZ * duration_s))


async def main():
    logging.getLogger().addHandler(Collector())
    same = True
    async with serve(service, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2"
        for agent_s, caller_s in ((60, 60), (10, 60), (60, 10)):
            client = AsyncMultiChannelClient(api_key="key", url=url)
            sources = {"agent": leg(agent_s), "caller": leg(caller_s)}
            arrived_s, is_announced = await call(client, sources, diarization="channel")
            print(f"agent {agent_s} s, caller {caller_s} s: arrived: agent {arrived_s['agent']:.1f} s, "
                  f"caller {arrived_s['caller']:.1f} s; counts of EndOfChannel match: {is_announced}")
            shorter_s = min(agent_s, caller_s)
            same = same and is_announced and all(abs(value - shorter_s) < 0.3 for value in arrived_s.values())
        arrived_s, _ = await call(AsyncClient(api_key="key", url=url), leg(60))
        print(f"AsyncClient, caller 60 s: arrived {arrived_s['the only channel']:.1f} s")
        same = same and arrived_s["the only channel"] == 60
    print(f"warnings and errors in the log: {len(records)}")
    same = same and not records
    print("As described: the longer leg ends with the shorter one." if same else "CHANGED.")
    return 0 if same else 1


raise SystemExit(asyncio.run(main()))
EOF
venv/bin/python -W ignore show.py
