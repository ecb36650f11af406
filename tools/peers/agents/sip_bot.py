"""Bots that answer telephone calls, and send their voice in three ways.

`ffmpeg` and `gstreamer` start this program for each reply, which is a new RTP stream. `plain` sends
packets itself, all the time. Run as a program, it prints its port.
"""

import itertools
import secrets
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from g711 import decode, encode
from ports import free_port
from python_talk import FRAME_S, Talker, tone
from sip_calls import RATE_HZ, serve, write_tone

SAMPLES, VOICE = 160, Path("voice.wav").resolve()
PROGRAMS = {
    "ffmpeg": (
        "ffmpeg -loglevel error -re -i {voice} -acodec pcm_mulaw -f rtp"
        " rtp://{host}:{port}?localport={own}&pkt_size=172"
    ),
    "gstreamer": (
        "gst-launch-1.0 -q filesrc location={voice} ! wavparse ! audioconvert ! mulawenc ! "
        "rtppcmupay max-ptime=20000000 ! udpsink host={host} port={port} bind-port={own}"
    ),
}


class Bot:
    def __init__(self, rtp, caller, payload_type):
        self._talker, self._rtp, self._caller, self._type = Talker(), rtp, caller, payload_type
        self._is_open = True
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(
            target=self._speak if sys.argv[1] == "plain" else self._start_programs, daemon=True
        ).start()

    def close(self):
        self._is_open = False

    def _listen(self):
        while self._is_open:
            self._talker.hear(decode(self._rtp.recv(2_000)[12:], self._type))

    def _start_programs(self):
        while self._is_open:
            time.sleep(0.005)
            if self._talker.is_due():
                host, port = self._caller
                command = PROGRAMS[sys.argv[1]].format(
                    voice=VOICE, host=host, port=port, own=free_port()
                )
                subprocess.run(command.split(), check=True)

    def _speak(self):
        """Send silence, and a tone for each utterance."""
        start_s, rest, ssrc = time.monotonic(), np.zeros(0, np.int16), secrets.randbits(32)
        for number in itertools.count():
            time.sleep(max(0, start_s + number * FRAME_S - time.monotonic()))
            if not self._is_open:
                return
            if self._talker.is_due():
                rest = tone(RATE_HZ)
            samples, rest = rest[:SAMPLES], rest[SAMPLES:]
            head = self._type if number else self._type | 0x80
            header = struct.pack(
                "!BBHII", 0x80, head, number & 0xFFFF, number * SAMPLES & 0xFFFFFFFF, ssrc
            )
            payload = encode(np.pad(samples, (0, SAMPLES - len(samples))), self._type)
            self._rtp.sendto(header + payload.tobytes(), self._caller)


write_tone(str(VOICE))
serve(Bot)
