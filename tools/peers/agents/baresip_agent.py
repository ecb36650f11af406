"""An agent that controls baresip over its module `ctrl_tcp`, as baresipy does. It prints its port.

baresip answers one call at a time. Its module `sndfile` writes what the caller says, and `aufile`
plays a reply. The argument is the module of its codec.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from ports import free_port
from python_talk import Talker
from sip_calls import HOST, write_tone

SILENCE_S = 60
"""The silence after each recording: baresip ends the call at the end of one."""
MODULES = "/usr/lib/baresip/modules"
CODEC = sys.argv[1]
RATE_HZ, CHANNELS = {"g711": (8_000, 1), "g722": (16_000, 1), "opus": (48_000, 2)}[CODEC]
LOADED = ("account", "menu", CODEC, "sndfile", "aubridge", "aufile", "ctrl_tcp")
CONFIG = """module_path {modules}
sip_listen {host}:{port}
net_interface {host}
snd_path {folder}
ctrl_tcp_listen {host}:{control}
audio_source aufile,{folder}/silence.wav
audio_player aubridge,nil
audio_alert aubridge,nil
rtp_ports 40000-42000
"""


def main():
    folder, port, control = Path.cwd(), free_port(), free_port()
    for old in folder.glob("dump-*"):
        old.unlink()
    form = {"silence_s": SILENCE_S, "rate_hz": RATE_HZ, "channels": CHANNELS}
    write_tone("voice.wav", **form)
    write_tone("silence.wav", loudness=0, **form)
    text = CONFIG.format(modules=MODULES, host=HOST, port=port, folder=folder, control=control)
    Path("config").write_text(text + "".join(f"module {name}.so\n" for name in LOADED))
    Path("accounts").write_text(f"<sip:agent@{HOST}>;regint=0;answermode=auto\n")
    with open(os.devnull, "w") as nothing:
        baresip = subprocess.Popen(
            ["baresip", "-4", "-f", "."], stdout=nothing, stdin=subprocess.DEVNULL
        )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        commands = connected(control)
        print(port, flush=True)
        while True:
            serve(commands, folder)
    finally:
        baresip.terminate()


def connected(control):
    while True:
        try:
            return socket.create_connection((HOST, control), 1)
        except OSError:
            time.sleep(0.1)


def serve(commands, folder):
    """Speak in a call, from its first audio on until none has come for a second."""
    while not (
        files := sorted(folder.glob("dump-*-dec.wav"), key=lambda file: file.stat().st_mtime_ns)
    ):
        time.sleep(0.01)
    talker, heard_s = Talker(), time.monotonic()
    with files[-1].open("rb") as recording:
        recording.read(44)
        while time.monotonic() - heard_s < 1:
            data = recording.read()
            if data:
                heard_s = time.monotonic()
                talker.hear(np.frombuffer(data[: len(data) // 2 * 2], "<i2"))
            if talker.is_due():
                command = json.dumps(
                    {"command": "ausrc", "params": f"aufile,{folder}/voice.wav", "token": "x"}
                )
                commands.sendall(f"{len(command)}:{command},".encode())
            time.sleep(0.005)
    for file in files:
        file.unlink()


main()
