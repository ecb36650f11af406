"""Memory of a session, plain and over TLS (docs/accuracy.md): the slope of resident memory from 100
to 500 sessions.

*Idle* is measured when all sessions are open and none has sent anything. *Active* is measured at
the end of the period in which all sessions have turns. Both are the memory of the process, without
the buffers of the kernel.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from rtbench_simulator.ground_truth_log import read_truth
from tools.benchmarks.peers.figures import per_session
from tools.benchmarks.peers.play import PROFILE
from tools.benchmarks.peers.truth import truth_of
from tools.benchmarks.watched_run import WatchedRun, watched_run

LOADS = (100, 300, 500)
RAMP_S, QUIET_S, TURNS = 5.0, 8.0, 5
SCRIPT = f"steps:\n  - pause: {QUIET_S}\n" + "  - text: 'Hello.'\n" * TURNS
SETTLED_NS = 1_000_000_000


def main() -> None:
    for transport in ("plain", "tls"):
        idle: dict[int, float] = {}
        active: dict[int, float] = {}
        for sessions in LOADS:
            with tempfile.TemporaryDirectory() as scratch:
                run = watched_run(
                    Path(scratch), SCRIPT, sessions, RAMP_S, tls=transport == "tls", profile=PROFILE
                )
                idle[sessions], active[sessions] = resident(run)
        print(f"{transport}: idle {shown(idle)} · active {shown(active)}", flush=True)


def resident(run: WatchedRun) -> tuple[float, float]:
    """Return the bytes when all sessions are open and idle, and when all have turns."""
    start_ns, end_ns = truth_of(read_truth(run.truth_log)).steady()
    assert start_ns + SETTLED_NS < end_ns, "some sessions had ended before all were open"
    return run.watched.rss_bytes(start_ns + SETTLED_NS), run.watched.rss_bytes(end_ns)


def shown(by_load: dict[int, float]) -> str:
    slope = per_session(by_load)
    assert slope is not None
    at = ", ".join(f"{sessions}: {rss / 1e6:.0f} MB" for sessions, rss in by_load.items())
    return f"{slope / 1000:.0f} kB per session ({at})"


if __name__ == "__main__":
    main()
