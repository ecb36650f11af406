#!/bin/sh
# Software: speechmatics-rt 1.2.1 (PyPI, Python), `AsyncMultiChannelClient.transcribe(sources)`: `sources` maps the name of a channel to
#           its audio ("Keys are channel identifiers").
# Expected: the audio at the key "caller" leaves with the channel "caller", and that at the key "agent" with the channel "agent".
# Seen:     the audio of the agent leaves as "caller", and that of the caller as "agent". The client takes the labels in the order of the
#           dictionary, and the audio in the alphabetical order of the keys. So {"left": …, "right": …}, the README's example, is right,
#           and so is {"agent": …, "caller": …}. {"caller": …, "agent": …}, {"user": …, "bot": …}, and {"customer": …, "agent": …} are
#           exchanged, with the labels left out, and with the README's `channel_diarization_labels=list(sources.keys())`. Nothing warns.
# Why:      the transcript of a call in two channels names the wrong speaker in each line. All that is computed per channel is that of
#           the other party: word error rate, talk time, and response latency, which becomes the time from the agent's last word to
#           the caller's next one. Each transcript alone looks right. The test with "left" and "right" passes.
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

from speechmatics.rt import AsyncMultiChannelClient, AudioEncoding, AudioFormat, TranscriptionConfig
from websockets.asyncio.server import serve

RATE_HZ = 16_000
FORMAT = AudioFormat(encoding=AudioEncoding.PCM_S16LE, sample_rate=RATE_HZ)
PAIRS = (("left", "right"), ("agent", "caller"), ("caller", "agent"), ("user", "bot"), ("customer", "agent"))
calls = []
records = []


class Collector(logging.Handler):
    def emit(self, record):
        if record.levelno >= logging.WARNING:
            records.append(record.getMessage())


async def service(connection):
    """Collect the audio of each channel, as the Real-Time API receives it."""
    start = json.loads(await connection.recv())
    labels = start["transcription_config"]["channel_diarization_labels"]
    audio = {label: b"" for label in labels}
    open_channels = set(labels)
    await connection.send(json.dumps({"message": "RecognitionStarted", "id": "session-1"}))
    while open_channels:
        message = json.loads(await connection.recv())
        if message["message"] == "AddChannelAudio":
            audio[message["channel"]] += base64.b64decode(message["data"])
        if message["message"] == "EndOfChannel":
            open_channels.remove(message["channel"])
    calls.append(audio)
    await connection.send(json.dumps({"message": "EndOfTranscript"}))
    await connection.wait_closed()


async def call(url, names, has_labels):
    """Return for each channel, whose audio the service received."""
    spoken = {name: (1000 * (number + 1)).to_bytes(2, "little") * RATE_HZ for number, name in enumerate(names)}
    sources = {name: io.BytesIO(audio) for name, audio in spoken.items()}
    labels = list(sources.keys()) if has_labels else None
    config = TranscriptionConfig(language="en", diarization="channel", channel_diarization_labels=labels)
    known = len(calls)
    async with AsyncMultiChannelClient(api_key="key", url=url) as client:
        await client.transcribe(sources, transcription_config=config, audio_format=FORMAT)
        async with asyncio.timeout(20):
            while len(calls) == known:
                await asyncio.sleep(0.01)
    owner = {audio: name for name, audio in spoken.items()}
    return {label: owner.get(audio) for label, audio in calls[-1].items()}


async def main():
    logging.getLogger().addHandler(Collector())
    same = True
    async with serve(service, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2"
        for names in PAIRS:
            for has_labels in (False, True):
                heard = await call(url, names, has_labels)
                first, second = names
                is_swapped = heard == {first: second, second: first}
                is_right = heard == {first: first, second: second}
                verdict = "exchanged" if is_swapped else "right" if is_right else "neither"
                print(f"sources {first}, {second}; labels {'given' if has_labels else 'left out'}: "
                      f"channel {first} has the audio of {heard[first]}, "
                      f"channel {second} that of {heard[second]}: {verdict}")
                same = same and (is_right if list(names) == sorted(names) else is_swapped)
    print(f"warnings and errors in the log: {len(records)}")
    same = same and not records
    print("As described: the audio of the two is exchanged." if same else "CHANGED.")
    return 0 if same else 1


raise SystemExit(asyncio.run(main()))
EOF
venv/bin/python -W ignore show.py
