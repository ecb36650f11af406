#!/bin/sh
# Software: aiortc 1.16.0 with av 18.1.0 (PyPI, Python), receiving Opus audio in packets of 20 ms.
# Expected: a lost packet costs its 20 ms. The packet loss of one moment leaves the delay of the rest of the call as it was.
# Seen:     the receiver waits for the lost packet, then discards four good packets with it, and is 200 ms later for the rest of
#           the call: 80 ms before the loss, 280 ms after it. At a loss of 2 % it discards a tenth of the audio.
# Why:      aiortc is a common WebRTC peer of voice agents and test clients in Python. After the first lost packet, it hears each
#           reply 200 ms late, and this counts as latency of the service, or of the agent behind aiortc.
# Takes about a minute.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    python3 -m venv venv && venv/bin/pip install aiortc==1.16.0 av==18.1.0
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

cat >show.py <<'EOF'
import array
import asyncio
import fractions
import math
import statistics
import time

import av
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection

RATE_HZ = 48_000
SAMPLES = 960  # 20 ms
BEEP_PACKETS = 25  # half a second of tone, half a second of silence
TONE = array.array("h", (round(8000 * math.sin(2 * math.pi * i / 96)) for i in range(SAMPLES)))
SECONDS = 12


class Beeps(MediaStreamTrack):
    kind = "audio"

    def __init__(self):
        super().__init__()
        self.count = 0
        self.beeps_s = []

    async def recv(self):
        if not self.count:
            self.started_s = time.monotonic()
        await asyncio.sleep(self.started_s + self.count * 0.02 - time.monotonic())
        is_beep = self.count // BEEP_PACKETS % 2
        if is_beep and self.count % BEEP_PACKETS == 0:
            self.beeps_s.append(time.monotonic())
        frame = av.AudioFrame(format="s16", layout="mono", samples=SAMPLES)
        frame.planes[0].update(TONE.tobytes() if is_beep else bytes(2 * SAMPLES))
        frame.sample_rate = RATE_HZ
        frame.pts = self.count * SAMPLES
        frame.time_base = fractions.Fraction(1, RATE_HZ)
        self.count += 1
        return frame


def lose(sender, is_lost):
    """Lose the audio packets of the sender whose number, from 1, `is_lost`."""
    send = sender.transport._send_rtp
    count = 0

    async def lossy(packet):
        nonlocal count
        is_audio = not 64 <= packet[1] & 0x7F <= 95  # RFC 5761: not RTCP
        count += is_audio
        if not (is_audio and is_lost(count)):
            await send(packet)

    sender.transport._send_rtp = lossy


async def call(is_lost):
    """Return the delay of each beep in ms, and how many packets each gap in the received audio has."""
    offerer, answerer = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))
    beeps = Beeps()
    tracks = asyncio.Queue()
    answerer.on("track", tracks.put_nowait)
    lose(offerer.addTrack(beeps), is_lost)
    await offerer.setLocalDescription(await offerer.createOffer())
    await answerer.setRemoteDescription(offerer.localDescription)
    await answerer.setLocalDescription(await answerer.createAnswer())
    await offerer.setRemoteDescription(answerer.localDescription)
    track = await tracks.get()
    delays_ms = []
    gaps = []
    pts = None
    was_loud = False
    while beeps.count < SECONDS * 50:
        frame = await asyncio.wait_for(track.recv(), 10)
        if pts is not None and frame.pts != pts + SAMPLES:
            gaps.append((frame.pts - pts) // SAMPLES - 1)
        pts = frame.pts
        is_loud = max(array.array("h", bytes(frame.planes[0]))) > 1000
        if is_loud and not was_loud and beeps.beeps_s:
            delays_ms.append(round(1000 * (time.monotonic() - beeps.beeps_s[-1])))
        was_loud = is_loud
    await offerer.close()
    await answerer.close()
    return delays_ms, gaps


async def main():
    none_ms, none_gaps = await call(lambda number: False)
    print(f"no loss: delay of each beep in ms: {none_ms}; gaps: {none_gaps}")
    one_ms, one_gaps = await call(lambda number: number == 260)
    print(f"packet 260 of {SECONDS * 50} lost: {one_ms}; packets missing per gap: {one_gaps}")
    some_ms, some_gaps = await call(lambda number: number % 50 == 10)
    share = sum(some_gaps) / (SECONDS * 50)
    print(f"each 50th lost: {some_ms}; packets missing per gap: {some_gaps}, {share:.0%} of all")
    later_ms = statistics.median(one_ms[-4:]) - statistics.median(one_ms[:4])
    same = not none_gaps and one_gaps == [5] and later_ms > 120 and share > 0.08
    print(f"after the one loss, the call is {later_ms:.0f} ms later for good")
    print("As described: one loss delays the rest of the call." if same else "CHANGED.")
    return 0 if same else 1


raise SystemExit(asyncio.run(main()))
EOF
venv/bin/python -W ignore show.py
