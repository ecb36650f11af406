"""Two processes against one whose core is full: do two cores carry the events of one twice?

The sessions of one process are doubled until its core is full: then it carries as many events as it can. With a core
for each of two processes and one more for the simulator, two of them play twice as many sessions, and the answer is how
many more events they carry. With two cores the simulator needs one and both processes share the other. So they play the
same sessions together on one full core, and the answer is by events per CPU second: with a core for each they carry
twice what so many seconds do. The master's time is counted with that of its workers: a run of one process does that
work itself.
"""

from __future__ import annotations

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

FIRST, MOST, FULL = 200, 1600, 0.9
"""Sessions of the first load and of the last one; the share of a core from which on it is full."""
PROCESSES, ROUNDS = 2, 5
RAMP_S, TURNS = 5.0, 10
SCRIPT = "steps:\n" + "  - say: 'Hello.'\n" * TURNS


@dataclass(frozen=True)
class Carried:
    """What the processes of a run carried together in its steady middle."""

    sessions: int
    events_per_s: float
    cores: float
    """CPU time by time: 0.9 is nine tenths of one core."""

    @property
    def events_per_cpu_s(self) -> float:
        return self.events_per_s / self.cores


def main() -> None:
    one = saturated()
    apart = core_count() > PROCESSES
    sessions = one.sessions * (PROCESSES if apart else 1)
    rounds = [(carried(one.sessions, 1), carried(sessions, PROCESSES)) for _ in range(ROUNDS)]
    if apart:
        more = median(two.events_per_s / one.events_per_s for one, two in rounds)
        print(f"two processes, each with a core, carry {more:.2f} × the events of one")
    else:
        more = PROCESSES * median(two.events_per_cpu_s / one.events_per_cpu_s for one, two in rounds)
        print(f"{core_count()} cores, of which the simulator needs one: both processes shared the other; "
              f"by events per CPU second two with a core for each carry {more:.2f} × the events of one")  # fmt: skip


def saturated() -> Carried:
    """One process with so many sessions that its core is full; with the most of all where it never is."""
    sessions = FIRST
    while (run := carried(sessions, 1)).cores < FULL and sessions < MOST:
        sessions *= 2
    if run.cores < FULL:
        print(f"one process is not full with {sessions:,} sessions: the answer is that of this load")
    return run


def carried(sessions: int, processes: int) -> Carried:
    """Play a run, and print what its processes carried and what it says of itself."""
    with tempfile.TemporaryDirectory() as scratch:
        run = watched_run(Path(scratch), SCRIPT, sessions, RAMP_S, processes=processes, profile=PROFILE)
        truth, valid = truth_of(read_truth(run.truth_log)), run.verdict["valid"]
    begin_ns, end_ns = truth.steady()
    seconds = (end_ns - begin_ns) / 1e9
    events = int(((truth.handed_ns >= begin_ns) & (truth.handed_ns < end_ns)).sum())
    made = Carried(sessions, events / seconds, run.watched.cpu_s(begin_ns, end_ns) / seconds)
    print(f"{processes} process{'es' * (processes > 1)}, {sessions} sessions: {made.events_per_s:,.0f} events/s, "
          f"{made.cores:.0%} of a core, {1e6 / made.events_per_cpu_s:.1f} µs an event, valid {valid}; "
          f"simulator late p99 {late_ms(truth, begin_ns, end_ns):.2f} ms", flush=True)  # fmt: skip
    return made


if __name__ == "__main__":
    main()
