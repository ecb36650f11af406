"""The CPU time of a second of a call by telephone, of SIPp and of rtbench.

SIPp plays a capture (`play_pcap_audio`, scenario `uac_pcap`) and discards what it receives; rtbench
speaks the same recording, with an open microphone, and measures the replies. They take turns on one
core, and the simulated agent has another. Debian has SIPp as `sip-tester`; playing needs root.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import tempfile
import wave
from pathlib import Path
from statistics import median

import numpy as np

from bench.base.cpu import pinned_to
from bench.base.units import NS_PER_S
from bench.wire.audio import G711_ALAW
from tests.simulator_process import AUDIO, ROOT, running_simulator
from tools.benchmarks.voice import KINDS, PROFILE, RAMP_S, measured
from tools.benchmarks.watch import cores
from tools.benchmarks.watched_run import watched_command
from tools.made_page import table
from tools.peers.agents.ports import free_port

CALLS, PLAYED_S = 40, 20
FRAME_SAMPLES, FRAMES_PER_S, PCMA = 160, 50, 8
CAPTURED = "8000"
"""The pause of the scenario while its capture plays, in ms."""


def main(calls: int, rounds: int) -> None:
    """Print the table; a note if SIPp is not installed."""
    if shutil.which("sipp") is None:
        print("SIPp is not installed (apt-get install sip-tester): its calls are not measured")
        return
    costs = [(sipp_ms(calls), measured(KINDS["sip"], calls, ROOT)) for _ in range(rounds)]
    ratios = [ours.cpu_ms / theirs for theirs, ours in costs]
    rows = [
        ("SIPp, play_pcap_audio", str(calls), f"{median(theirs for theirs, _ in costs):.2f}", ""),
        (
            "rtbench",
            str(calls),
            f"{median(ours.cpu_ms for _, ours in costs):.2f}",
            "/".join(sorted({ours.status for _, ours in costs})),
        ),
        ("ratio", str(calls), f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})", ""),
    ]
    print(table(("client", "calls", "CPU of a call, ms/s", "run"), rows))


def sipp_ms(calls: int) -> float:
    """Run `calls` calls of SIPp. Return the CPU time of a second of each while all are open."""
    where = cores()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "profile.yaml").write_text(PROFILE, encoding="utf-8")
        write_capture(folder / "voice.pcap")
        (folder / "scenario.xml").write_text(scenario(folder / "voice.pcap"), encoding="utf-8")
        served = "--profile", str(folder / "profile.yaml")
        with pinned_to(where.simulator), running_simulator(*served) as ready:
            command = ["sipp", f"127.0.0.1:{ready.port}", "-sf", str(folder / "scenario.xml")]
            command += ["-i", "127.0.0.1", "-p", str(free_port()), "-nostdin"]
            command += ["-m", str(calls), "-l", str(calls), "-r", str(max(1, calls // RAMP_S))]
            seen = watched_command(command, folder, where, ready.pid)
    start_ns, end_ns = (seen.samples[place].reading.at_ns for place in (0, -1))
    ramp_ns = (RAMP_S + 1) * NS_PER_S
    return seen.cpu_ms_per_s(start_ns + ramp_ns, end_ns - ramp_ns) / calls


def scenario(capture: Path) -> str:
    """Return SIPp's own scenario with another capture, and without a key of the telephone."""
    own = subprocess.run(["sipp", "-sd", "uac_pcap"], capture_output=True, text=True, check=False)
    speech = own.stdout.replace("pcap/g711a.pcap", str(capture))
    speech = speech.replace(f'"{CAPTURED}"', f'"{PLAYED_S * 1_000}"')
    return re.sub(
        r'<nop>\s*<action>\s*<exec play_pcap_audio="pcap/dtmf.*?</nop>', "", speech, flags=re.S
    )


def write_capture(path: Path) -> None:
    """Write a stream of PCMA that repeats the recording of the turns of rtbench's calls."""
    with wave.open(str(AUDIO / "opening_hours.wav")) as recording:
        step = recording.getframerate() // G711_ALAW.rate_hz
        samples = np.frombuffer(recording.readframes(recording.getnframes()), "<i2")[::step]
    frames = PLAYED_S * FRAMES_PER_S
    audio = G711_ALAW.encode(np.resize(samples, frames * FRAME_SAMPLES))
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1))
        for number in range(frames):
            at = number * FRAME_SAMPLES
            payload = audio[at : at + FRAME_SAMPLES]
            rtp = struct.pack(">BBHII", 0x80, PCMA, number, at, 1) + payload
            udp = struct.pack(">HHHH", 6_000, 6_000, 8 + len(rtp), 0) + rtp
            host = bytes((127, 0, 0, 1))
            head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0)
            packet = bytes(12) + b"\x08\x00" + head + host + host + udp
            seconds, frame = divmod(number, FRAMES_PER_S)
            instant = seconds, frame * 1_000_000 // FRAMES_PER_S
            file.write(struct.pack("<IIII", *instant, len(packet), len(packet)) + packet)
