"""Two processes against one whose core is full: do two cores carry the events of one twice?

The sessions of one process are raised until its core is full: then it carries as many events as it can. With a core
for each of two processes and one more for the simulator, two of them play twice as many sessions, and the answer is how
many more events they carry. With two cores the simulator needs one and both processes share the other. So they play the
same sessions together on one full core, and the answer is by events per CPU second: with a core for each they carry
twice what so many seconds do. The master's time is counted with that of its workers: a run of one process does that
work itself.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.cores import core_count
from bench.simulator.truth import read_truth
from tests.benchmark.peers.figures import late_ms
from tests.benchmark.peers.play import PROFILE
from tests.benchmark.peers.truth import truth_of
from tests.benchmark.watched_run import watched_run

FIRST, FACTOR, FULL = 200, 1.5, 0.9
"""Sessions of the first load; how many times as many the next one has; the share of a core from which on it is full."""
LEAST_GAIN = 1.25
"""Where a load brings fewer times the events of the one before, something is full."""
PROCESSES, ROUNDS = 2, 3
RAMP_S, TURNS = 8.0, 16
SCRIPT = "steps:\n" + "  - text: 'Hello.'\n" * TURNS


@dataclass(frozen=True)
class Carried:
    """What the processes of a run carried together in its steady middle."""

    sessions: int
    events_per_s: float
    cores: float
    """Processor time ÷ time: 0.9 is nine tenths of one core."""

    @property
    def events_per_cpu_s(self) -> float:
        return self.events_per_s / self.cores


def main() -> None:
    one = saturated()
    apart = core_count() > PROCESSES
    sessions = one.sessions * (PROCESSES if apart else 1)
    rounds = [(carried(one.sessions, 1), carried(sessions, PROCESSES)) for _ in range(ROUNDS)]
    rounds = [pair for pair in rounds if all(run.events_per_s for run in pair)]
    if not rounds:
        print("no round could be measured: the sessions were never all open at a time, other programs are too busy")
    elif apart:
        more = median(two.events_per_s / one.events_per_s for one, two in rounds)
        print(f"two processes, each with a core, carry {more:.2f} × the events of one")
    else:
        more = PROCESSES * median(two.events_per_cpu_s / one.events_per_cpu_s for one, two in rounds)
        print(f"{core_count()} cores, of which the simulator needs one: both processes shared the other; "
              f"by events per CPU second two with a core for each carry {more:.2f} × the events of one")  # fmt: skip


def saturated() -> Carried:
    """One process with so many sessions that its core is full, or that more of them bring hardly more events."""
    best = carried(FIRST, 1)
    while best.cores < FULL:
        more = carried(round(FACTOR * best.sessions), 1)
        if more.events_per_s < LEAST_GAIN * best.events_per_s:
            print("its core is not full, the simulator or other programs are first: the answer is of this load")
            break
        best = more
    return best


def carried(sessions: int, processes: int) -> Carried:
    """Play a run, and print what its processes carried and what it says of itself.

    Nothing, where its first sessions were done before the last had opened.
    """
    with tempfile.TemporaryDirectory() as scratch:
        run = watched_run(Path(scratch), SCRIPT, sessions, RAMP_S, processes=processes, profile=PROFILE)
        truth, valid = truth_of(read_truth(run.truth_log)), run.verdict["status"]
    begin_ns, end_ns = truth.steady()
    seconds = (end_ns - begin_ns) / 1e9
    if seconds <= 0:
        return Carried(sessions, 0.0, math.nan)
    events = int(((truth.handed_ns >= begin_ns) & (truth.handed_ns < end_ns)).sum())
    made = Carried(sessions, events / seconds, run.watched.cpu_s(begin_ns, end_ns) / seconds)
    print(f"{processes} process{'es' * (processes > 1)}, {sessions} sessions: {made.events_per_s:,.0f} events/s, "
          f"{made.cores:.0%} of a core, {1e6 / made.events_per_cpu_s:.1f} µs an event, valid {valid}; "
          f"simulator late p99 {late_ms(truth, begin_ns, end_ns):.2f} ms", flush=True)  # fmt: skip
    return made


if __name__ == "__main__":
    main()
