#!/bin/sh
# Software: pipecat-ai 1.14.0 with soxr 1.0.0 (PyPI, Python), TwilioFrameSerializer with its default settings.
# Expected: audio of an agent at 24 kHz leaves for the telephone line (8 kHz) as it is put in, frame by frame, and completely.
# Seen:     the resampler (soxr, quality VHQ, the default) holds the audio back. The first three of the frames of 40 ms give
#           nothing. Then packets of 137.5 ms leave, with gaps of 120 to 160 ms. The end of each reply, up to 137 ms, never
#           leaves: 0.2 s later the serializer discards it, at the start of the next reply. With quality QQ nothing is held back.
# Why:      at the telephone, each reply begins 120 ms after the agent's first frame, and its last word is cut. Messages are up to
#           160 ms apart, but hold 137.5 ms, so a player without a reserve stops inside the first word. Tests of an agent over
#           its own audio show none of this.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    python3 -m venv venv && venv/bin/pip install pipecat-ai==1.14.0 soxr==1.0.0
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

cat >show.py <<'EOF'
import asyncio
import base64
import json
import math
import struct

from pipecat.audio.utils import create_stream_resampler
from pipecat.frames.frames import OutputAudioRawFrame
from pipecat.serializers.twilio import TwilioFrameSerializer

RATE_HZ = 24_000
FRAME_MS = 40


def tone(duration_ms):
    count = RATE_HZ * duration_ms // 1000
    samples = (round(8000 * math.sin(2 * math.pi * 400 * i / RATE_HZ)) for i in range(count))
    return struct.pack(f"<{count}h", *samples)


async def sent_ms(serializer, reply):
    """Return the milliseconds of audio that leave after each frame of the reply."""
    size = RATE_HZ * FRAME_MS // 1000 * 2
    sent = []
    for start in range(0, len(reply), size):
        frame = OutputAudioRawFrame(
            audio=reply[start : start + size], sample_rate=RATE_HZ, num_channels=1
        )
        message = await serializer.serialize(frame)
        payload = json.loads(message)["media"]["payload"] if message else ""
        sent.append(len(base64.b64decode(payload)) / 8)
    return sent


async def main():
    parameters = TwilioFrameSerializer.InputParams(auto_hang_up=False)
    serializer = TwilioFrameSerializer(stream_sid="MZ1", params=parameters)
    missing = []
    for duration_ms in (1000, 1040, 1080, 1120):
        sent = await sent_ms(serializer, tone(duration_ms))
        missing.append(duration_ms - sum(sent))
        print(f"reply of {duration_ms} ms: sent after each frame: {' '.join(f'{ms:g}' for ms in sent)}")
        print(f"  in total {sum(sent):g} ms; not sent: {missing[-1]:g} ms")
        await asyncio.sleep(0.5)  # the caller speaks
    quick = create_stream_resampler(quality="QQ")
    quick_ms = len(await quick.resample(tone(FRAME_MS), RATE_HZ, 8000)) / 16
    print(f"the same resampler with quality QQ: {quick_ms:g} ms after one frame")
    same = sent[:3] == [0, 0, 0] and max(missing) > 100 and min(missing) > 10 and quick_ms > 39
    print("As described: late, in bursts, and without the end." if same else "CHANGED.")
    return 0 if same else 1


raise SystemExit(asyncio.run(main()))
EOF
venv/bin/python -W ignore show.py 2>errors.log || { status=$?; tail -n 3 errors.log; exit $status; }
