"""The CPU time of a second of a call, of this tool and of the programs that users would write or
take instead.

A voice session has an open microphone, with chunks of 100 ms; the peer is a Locust file on
websocket-client. A telephone call sends and receives RTP; the peer is SIPp, which sends the same
recording, and does not read what it receives. `python -m tools.benchmarks.voice_peers N…` runs
these numbers of calls. Then `rtbench calibrate` finds the highest load of each kind whose values
are exact.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import soundfile

from bench.base.cpu import pinned_to
from bench.base.units import NS_PER_S
from bench.wire.audio import G711_ULAW
from tests.simulator_process import AUDIO, ROOT, running_simulator
from tools.benchmarks.peers.play import locust_file
from tools.benchmarks.peers.work import Work
from tools.benchmarks.voice import KINDS, LIMIT_S, PROFILE, TURNS, measured
from tools.benchmarks.watch import cores, watched
from tools.benchmarks.watched_run import watched_command
from tools.made_page import table

LOADS = (20, 60, 120)
RAMP_S = 2.0
CALL_MS = 10_000
SIPP = """<?xml version="1.0" encoding="ISO-8859-1"?>
<scenario name="caller">
<send retrans="500"><![CDATA[
INVITE sip:agent@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:caller@[local_ip]>;tag=[pid]s[call_number]
To: <sip:agent@[remote_ip]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:caller@[local_ip]:[local_port]>
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

v=0
o=caller 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [media_ip]
t=0 0
m=audio [rtpstream_audio_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000
]]></send>
<recv response="100" optional="true"/>
<recv response="180" optional="true"/>
<recv response="183" optional="true"/>
<recv response="200" rrs="true"/>
<send><![CDATA[
ACK [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:caller@[local_ip]>;tag=[pid]s[call_number]
To: <sip:agent@[remote_ip]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
<nop><action><exec rtp_stream="speech.wav,-1,0"/></action></nop>
<pause milliseconds="CALL_MS"/>
<send retrans="500"><![CDATA[
BYE [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:caller@[local_ip]>;tag=[pid]s[call_number]
To: <sip:agent@[remote_ip]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 2 BYE
Max-Forwards: 70
Content-Length: 0

]]></send>
<recv response="200"/>
</scenario>
""".replace("CALL_MS", str(CALL_MS))


def main(loads: Sequence[int] = LOADS) -> None:
    rows = []
    for calls in loads:
        for kind, client, columns in CLIENTS:
            rows.append([kind, client, str(calls), *columns(calls)])
            print(" · ".join(rows[-1]), flush=True)
    print(
        table(["kind", "client", "calls", "CPU of a call, ms/s", "chunk late p99, ms", "run"], rows)
    )
    for dialect in ("ga", "twilio", "acs", "pcm", "sip"):
        print(f"== calls per core: {dialect}", flush=True)
        subprocess.run(
            [sys.executable, "-m", "rtbench.cli.app", "calibrate", "--dialect", dialect],
            check=False,
        )


def of_rtbench(kind: str, calls: int) -> list[str]:
    cost = measured(KINDS[kind], calls, ROOT)
    return [f"{cost.cpu_ms:.2f}", f"{cost.send_delay_p99_ms:.2f}", cost.status]


def of_websocket_client(calls: int) -> list[str]:
    """Return the columns of a Locust file on websocket-client. It has no check of its own
    values.
    """
    where = cores()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "profile.yaml").write_text(PROFILE, encoding="utf-8")
        with (
            pinned_to(where.simulator),
            running_simulator("--profile", str(folder / "profile.yaml")) as ready,
        ):
            work = Work(ready.urls["ga"], calls, TURNS, RAMP_S, str(folder / "report.json"))
            command = locust_file("microphone")(work, folder)
            with patch.dict(os.environ, work.environment()):
                seen = watched_command(command, folder, where, ready.pid, LIMIT_S)
        report = json.loads(Path(work.out).read_text(encoding="utf-8"))
    start_ns, end_ns = (
        max(at for at, _ in report["open_ns"]),
        min(at for _, at in report["open_ns"]),
    )
    return [
        f"{seen.cpu_ms_per_s(start_ns, end_ns) / calls:.2f}",
        f"{np.quantile(report['late_ms'], 0.99):.2f}",
        "–",
    ]


def of_sipp(calls: int) -> list[str]:
    """Return the columns of SIPp, whose report has no lateness of its packets."""
    if shutil.which("sipp") is None:
        return ["not installed", "–", "–"]
    where = cores()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        samples, _ = soundfile.read(AUDIO / "opening_hours.wav", dtype="int16")
        (folder / "speech.wav").write_bytes(G711_ULAW.encode(samples[::3]))
        (folder / "caller.xml").write_text(SIPP, encoding="utf-8")
        with pinned_to(where.simulator), running_simulator() as ready:
            command = ["sipp", ready.urls["agent_sip"].rpartition("@")[2]]
            command += ["-sf", "caller.xml", "-i", "127.0.0.1", "-m", str(calls), "-l", str(calls)]
            command += ["-r", str(int(calls / RAMP_S)), "-nostdin", "-timeout", "120"]
            with pinned_to(where.load_generator):
                process = subprocess.Popen(
                    command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            seen = watched(process, ready.pid, where, LIMIT_S)
    if seen is None or process.returncode:
        return [f"exit status {process.returncode}", "–", "–"]
    last_ns = seen.samples[-1].reading.at_ns
    start_ns, end_ns = (
        last_ns - int((CALL_MS / 1_000 - 0.5) * NS_PER_S),
        last_ns - int((RAMP_S + 0.5) * NS_PER_S),
    )
    return [f"{seen.cpu_ms_per_s(start_ns, end_ns) / calls:.2f}", "–", "–"]


CLIENTS: Sequence[tuple[str, str, Callable[[int], list[str]]]] = (
    ("voice-100", "rtbench", partial(of_rtbench, "voice-100")),
    ("voice-100", "websocket-client", of_websocket_client),
    ("sip", "rtbench", partial(of_rtbench, "sip")),
    ("sip", "SIPp", of_sipp),
)
"""The kind of call and the name of each client, and the function that measures it with a number
of calls."""

if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or LOADS)
