"""Call each agent of others, compare the values with a capture, and store the results (`make
peers`).

It needs tcpdump and the right to capture. A word after the command selects the agents whose names
contain it, and a number is that of the calls. The results go to tools/peers/results.json, and into
the table of tools/peers/README.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import wave
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from tools.peers import table
from tools.peers.capture import capturing, read_capture
from tools.peers.peers import PEERS, NotInstalledError, Peer, started
from tools.peers.sound import NS_PER_MS, read_keys
from tools.peers.values import RTP_PORTS, Results, compared, lines

ROOT = Path(__file__).parents[2]
CALLS, SPAWN_RATE = 20, 0.3
"""The number of calls, and that of callers who start per second: a call is found by its start
and its packets."""
RATE_HZ, SPEECH = 24_000, (2_400, 14_400)
"""The rate of the caller's recording, and the number of samples of its silence and of its tone,
whole frames."""
LIMIT_S = 900
SCRIPT = """session:
  turn_detection: full_duplex
{extra}steps:
{greeting}  - audio: speech.wav
    name: first
  - audio: speech.wav
    name: second
"""
GREETING = "  - wait_for: greeting\n    name: greeting\n"


def main() -> None:
    words = [word for word in sys.argv[1:] if not word.isdigit()]
    calls = next((int(word) for word in sys.argv[1:] if word.isdigit()), CALLS)
    chosen = [peer for peer in PEERS if all(word.lower() in peer.name.lower() for word in words)]
    if not chosen:
        sys.exit(
            f"no agent has such a name: the agents are {', '.join(peer.name for peer in PEERS)}"
        )
    failed = 0
    for peer in chosen:
        try:
            results = tried(peer, calls)
        except (NotInstalledError, FileNotFoundError) as error:
            print(f"{peer.name}: not tried: {error}", flush=True)
            continue
        version = peer.version(peer.home)
        failed += bool(results.failed or results.beyond or results.unmatched)
        print(line_of(peer, version, results), *lines(results), sep="\n", flush=True)
        table.store(table.stored() | {peer.name: row_of(version, results)})
        table.main()
    if failed:
        sys.exit(
            f"{failed} of {len(chosen)} agents have failed calls, or values beyond their bounds"
        )


def tried(peer: Peer, calls: int) -> Results:
    """Call an agent, and return its values. Raise NotInstalledError if it is not installed."""
    with tempfile.TemporaryDirectory() as name, started(peer) as port:
        folder = Path(name)
        write_script(folder, peer)
        ports = f"{RTP_PORTS.start}-{RTP_PORTS.stop - 1}"
        load = [
            "-u",
            str(min(peer.callers, calls)),
            "--spawn-rate",
            str(SPAWN_RATE),
            "--sessions",
            str(calls),
            "--rtp-ports",
            ports,
        ]
        keys = folder / "keys.txt"
        command = [
            sys.executable,
            "-m",
            "tools.peers.keyed",
            str(keys),
            "call.yaml",
            *load,
            "--name",
            "calls",
        ]
        command += peer.options
        with capturing(folder / "calls.pcap"):
            run = made_run(folder, [*command, "--url", peer.url.format(port=port)])
        return compared(run, read_capture(folder / "calls.pcap"), read_keys(keys), peer, port)


def made_run(folder: Path, command: Sequence[str]) -> Path:
    """Run a command in a folder, and return the run that it made. Raise NotInstalledError if it
    made none.
    """
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    runs = sorted((folder / "runs").glob("*"))
    if not runs:
        raise NotInstalledError(f"no run was made: {done.stderr.strip()[-300:]}")
    return runs[-1]


def write_script(folder: Path, peer: Peer) -> None:
    silence, tone = SPEECH
    samples = np.where(np.arange(tone) % 48 < 24, 8_000, -8_000)
    audio = np.concatenate([np.zeros(silence), samples, np.zeros(silence)]).astype("<i2")
    with wave.open(str(folder / "speech.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(audio.tobytes())
    greeting = "" if peer.is_echo else GREETING
    (folder / "call.yaml").write_text(
        SCRIPT.format(extra=peer.extra, greeting=greeting), encoding="utf-8"
    )


def line_of(peer: Peer, version: str, results: Results) -> str:
    """Return what is printed about an agent."""
    end_errors = [value.end_error_ns for value in results.values if value.end_error_ns is not None]
    text = f"{peer.name} {version}: {results.calls} calls"
    if results.values:
        worst_ms = max(abs(value.error_ns) for value in results.values) / NS_PER_MS
        end_ms = max(map(abs, end_errors), default=0) / NS_PER_MS
        text += (
            f", {len(results.values)} values ({results.clean} without jitter), {results.beyond}"
            f" beyond the bound, median error {results.median_error_ms or 0:.2f} ms, maximum"
            f" {worst_ms:.2f} ms, end of speech at most {end_ms:.2f} ms"
        )
    if results.unmatched:
        text += f", {results.unmatched} not in the capture"
    return text + "".join(
        f", {outcome} {count}" for outcome, count in Counter(results.failed).items()
    )


def row_of(version: str, results: Results) -> table.Row:
    problems = ", ".join(f"{outcome} {count}" for outcome, count in Counter(results.failed).items())
    median = results.median_error_ms
    return table.Row(
        version,
        datetime.now(UTC).date().isoformat(),
        results.calls,
        len(results.values),
        results.clean,
        results.beyond,
        None if median is None else round(median, 2),
        problems,
    )


if __name__ == "__main__":
    main()
