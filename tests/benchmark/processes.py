"""Two processes with twice the sessions against one: does a worker cost what a run of its own costs?

Where an event costs as much CPU in both, nothing that workers share holds them up, and two cores carry what one does
twice. With three cores or more each worker has one to itself, and the ratio is that of events carried while the run is
valid. With two the simulator needs one and both workers share the other, which therefore must not be full: then only
the costs can be compared, and a busier core reads more events at once, which makes each a little cheaper. The master's
time is counted with that of its workers: a run of one process does that work itself.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from bench.simulator.truth import read_truth
from tests.benchmark.peers.figures import late_ms
from tests.benchmark.peers.play import PROFILE
from tests.benchmark.peers.truth import truth_of
from tests.benchmark.watched_run import watched_run

SESSIONS, RAMP_S, TURNS = 150, 5.0, 10
SCRIPT = "steps:\n" + "  - say: 'Hello.'\n" * TURNS


def main() -> None:
    one_s, one_us = measure(SESSIONS, 1)
    two_s, two_us = measure(2 * SESSIONS, 2)
    print(f"two processes ÷ one: CPU of an event {two_us / one_us:.2f}, events carried {two_s / one_s:.2f}")
    cores = len(os.sched_getaffinity(0))
    if cores < 3:
        print(f"{cores} usable cores: the simulator needs one, so both workers shared the other")


def measure(sessions: int, processes: int) -> tuple[float, float]:
    """(events/s, CPU µs an event), of the workers and their master together, in the steady middle of a run."""
    with tempfile.TemporaryDirectory() as scratch:
        run = watched_run(Path(scratch), SCRIPT, sessions, RAMP_S, processes=processes, profile=PROFILE)
        truth, valid = truth_of(read_truth(run.truth_log)), run.verdict["valid"]
    begin_ns, end_ns = truth.steady()
    within = (truth.handed_ns >= begin_ns) & (truth.handed_ns < end_ns)
    each_s = float(within.sum() / ((end_ns - begin_ns) / 1e9))
    each_us = run.watched.cpu_s(begin_ns, end_ns) / int(within.sum()) * 1e6
    print(f"{processes} process{'es' * (processes > 1)}, {sessions} sessions: {each_s:,.0f} events/s, "
          f"{each_us:.1f} µs an event, valid {valid}; simulator late p99 "
          f"{late_ms(truth, begin_ns, end_ns):.2f} ms", flush=True)  # fmt: skip
    return each_s, each_us


if __name__ == "__main__":
    main()
