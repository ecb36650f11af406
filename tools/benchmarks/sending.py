"""CPU time and `send_delay` of paced audio (docs/decisions/0037). Up to 400 sessions talk for 15 s
in chunks of 50 ms.

The service sends nothing during that time. The CPU time is that of the seconds in which every
session talks.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import soundfile

from bench.simulator.ground_truth_log import read_truth
from tests.simulator_process import ROOT
from tools.benchmarks.watch import Watched
from tools.benchmarks.watched_run import WatchedRun, watched_run

LOADS = (50, 200, 400)
CHUNK_MS, TALK_S, RAMP_S = 50, 15, 5.0
SCRIPT = f"steps:\n  - {{audio: talk.wav, chunk_ms: {CHUNK_MS}}}\n"


def main() -> None:
    for sessions in LOADS:
        with tempfile.TemporaryDirectory() as scratch:
            write_talk(Path(scratch) / "talk.wav")
            show(watched_run(Path(scratch), SCRIPT, sessions, RAMP_S), sessions)


def write_talk(path: Path) -> None:
    """Write a recording that repeats."""
    samples, rate_hz = soundfile.read(
        ROOT / "scenarios" / "audio" / "opening_hours.wav", dtype="int16"
    )
    soundfile.write(path, np.resize(samples, TALK_S * rate_hz), rate_hz)


def show(run: WatchedRun, sessions: int) -> None:
    appends = [
        line
        for line in read_truth(run.truth_log)
        if line.get("type") == "input_audio_buffer.append"
    ]
    lag = " · ".join(
        f"{name} {value:.3f}"
        for name, value in zip(
            ("p50", "p99", "p99.9"), run.p_ms("send_delay", 0.5, 0.99, 0.999), strict=True
        )
    )
    each_us, each_s = cost([(line["session"], line["at_ns"]) for line in appends], run.watched)
    print(
        f"{sessions} sessions, {each_s:,.0f} chunks/s of {CHUNK_MS} ms: CPU {each_us:.1f} µs per"
        f" chunk · send_delay ms {lag} · {run.verdict['status']}\n    {run.simulator}",
        flush=True,
    )


def cost(appends: list[tuple[str, int]], watched: Watched) -> tuple[float, float]:
    """Return (CPU µs per chunk, chunks per second) while all sessions talk.

    `appends`: (session, instant) of every chunk.
    """
    firsts: dict[str, int] = {}
    lasts: dict[str, int] = {}
    for session, at_ns in appends:
        firsts.setdefault(session, at_ns)
        lasts[session] = at_ns
    start_ns, end_ns = max(firsts.values()), min(lasts.values())
    chunks = sum(start_ns <= at_ns < end_ns for _, at_ns in appends)
    return watched.cpu_s(start_ns, end_ns) / chunks * 1e6, chunks / ((end_ns - start_ns) / 1e9)


if __name__ == "__main__":
    main()
