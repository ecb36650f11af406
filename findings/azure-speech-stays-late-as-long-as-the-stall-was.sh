#!/bin/sh
# Software: azure-cognitiveservices-speech 1.53.0 (PyPI, Python; the Speech SDK for Linux), SpeechRecognizer with continuous recognition
#           and a PushAudioInputStream, to a service on this machine that only receives.
# Expected: audio that the application writes leaves at once, as the network permits. If the application stalls for 4 s, and then writes
#           what the caller said meanwhile, the service has it some milliseconds later, and hears the caller in real time again.
# Seen:     the SDK sends the first 5 s of a call at once, and all other audio at most at twice the speed of speech. A turn of 30 s that
#           is written at once arrives after 12.3 s. After the stall of 4 s, the audio arrives at twice the speed for 4 s more: what the
#           caller says right after the stall arrives 2 s late, 2 s later it is 1 s, and after 4 s none. The connection has no
#           other traffic meanwhile, and the SDK reports nothing. (Two properties set the length and the speed:
#           SPEECH-TransmitLengthBeforThrottleMs and SPEECH-AudioThrottleAsPercentageOfRealTime. The package names them in its binary
#           only.)
# Why:      a pause of the event loop, or of a queue before the SDK, costs as much time again after it. The end of a turn within this
#           time is recognized late, and the service seems slow. If a test writes recordings at once, the latency seems to
#           grow with the length of the turn: a turn of 5 s waits for nothing, and one of 30 s for 12 s.
# Takes about 45 s.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    python3 -m venv venv && venv/bin/pip install azure-cognitiveservices-speech==1.53.0 websockets==15.0.1
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

cat >show.py <<'EOF'
import asyncio
import threading
import time

import azure.cognitiveservices.speech as speech
from websockets.asyncio.server import serve

BYTES_A_S = 32_000  # 16 kHz, 16 bits
FRAME_S = 0.02


class Service:
    """A service that receives audio, and answers nothing."""

    def __init__(self):
        self.arrivals = []  # (time, seconds of audio that have arrived)
        self.ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self.run()), daemon=True).start()
        self.ready.wait()

    async def run(self):
        async with serve(self.receive, "127.0.0.1", 0, max_size=None) as server:
            self.port = server.sockets[0].getsockname()[1]
            self.ready.set()
            await asyncio.Future()

    async def receive(self, connection):
        audio_s = 0.0
        async for message in connection:
            if isinstance(message, bytes):
                # Two bytes have the length of the headers, and the audio is behind these.
                audio_s += (len(message) - 2 - int.from_bytes(message[:2], "big")) / BYTES_A_S
                self.arrivals.append((time.monotonic(), audio_s))

    def arrival(self, audio_s):
        """Return when the second `audio_s` of the audio arrived."""
        return next(time_s for time_s, arrived_s in self.arrivals if arrived_s >= audio_s - 0.05)


def call(length_s, due):
    """Write `length_s` of silence, the second s at `due(s)`; return the arrivals of the seconds from the start on."""
    service = Service()
    config = speech.SpeechConfig(host=f"ws://127.0.0.1:{service.port}", subscription="none")
    audio = speech.audio.PushAudioInputStream(speech.audio.AudioStreamFormat(16_000, 16, 1))
    recognizer = speech.SpeechRecognizer(config, audio_config=speech.audio.AudioConfig(stream=audio))
    recognizer.start_continuous_recognition_async().get()
    start_s = time.monotonic()
    for i in range(round(length_s / FRAME_S)):
        time.sleep(max(0.0, start_s + due(i * FRAME_S) - time.monotonic()))
        audio.write(bytes(round(BYTES_A_S * FRAME_S)))
    end_s = time.monotonic() + 20
    while time.monotonic() < end_s and not (service.arrivals and service.arrivals[-1][1] > length_s - 0.05):
        time.sleep(0.05)
    recognizer.stop_continuous_recognition_async()
    return lambda second: service.arrival(second) - start_s


def main():
    arrival = call(30, lambda second: 0)
    turn = {second: arrival(second) for second in (5, 10, 20, 30)}
    for second, time_s in turn.items():
        print(f"a turn of 30 s, written at once: the first {second} s arrived after {time_s:.1f} s")
    arrival = call(20, lambda second: 14 if 10 <= second < 14 else second)
    delays = {second: arrival(second) - second for second in (9, 14, 15, 16, 17, 19.5)}
    for second, delay_s in delays.items():
        print(f"live, stalled from 10 s to 14 s: what was said at {second} s arrived {delay_s:.1f} s late")
    same = (
        turn[5] < 2
        and 10 < turn[30] < 15
        and delays[9] < 0.5
        and 1.4 < delays[14] < 2.6
        and 0.6 < delays[16] < 1.6
        and delays[19.5] < 0.7
    )
    print("As described: the SDK sends at twice the speed of speech." if same else "CHANGED.")
    return 0 if same else 1


raise SystemExit(main())
EOF
venv/bin/python -W ignore show.py
