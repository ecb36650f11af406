"""The frequency of two notices: the load changed, and one value for the whole run misleads (0049).
Seeded.

Latencies are log-normal, correlated within a session (ICC 0.33), and differ by step; 1.5 % stall
and 2 % fail. If the latency does not depend on the load, every notice that a value misleads is
false. If the latency doubles from the fewest calls to the most, each missing notice is a miss.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from bench.record.histograms import Histograms
from reports.analysis.summary.groups import GroupDifference, GroupedLatency, latency_by
from reports.data.runs import RunFrames, second_frame, session_frame, turn_frame
from reports.data.samples import samples_of
from tests.reports import synthetic
from tests.reports.synthetic import Plan

REPETITIONS = 200
FALSE_ALARMS, FOUND = 0.02, 0.75
"""The maximum share of runs with a false notice, over all shapes; the minimum share with a correct
one, for each shape.
"""
CONSTANT, RANDOM = 0.02, 0.1
"""The maximum share of runs of constant load whose report states that the load changed.

The first value is for a number of users, and the second for random arrivals.
"""

Stages = tuple[tuple[float, int], ...]


@dataclass(frozen=True)
class Shape:
    """A run with these stages and `turns` turns in a session, or with `sessions` sessions that
    begin at random.
    """

    name: str
    stages: Stages
    turns: int = 6
    sessions: int = 0

    def plan(self, seed: int, *, doubles: bool = False) -> Plan:
        """Return the run of one seed. If `doubles` is True, the latency doubles from one call to
        the maximum number of calls.
        """
        seconds = sum(length_s for length_s, _ in self.stages)
        plan = Plan(turns=self.turns, seconds=seconds, failed=0.02, seed=seed)
        if self.sessions:
            return replace(plan, sessions=self.sessions)
        max_users = max(users for _, users in self.stages)
        return replace(plan, stages=self.stages, slower=1 / (max_users - 1) if doubles else 0.0)


def ramp(seconds: float, users: int, steps: int = 10) -> Stages:
    """Return stages that add some users at a time, as Locust does."""
    return tuple(
        (seconds / steps, max(1, round(users * (step + 1) / steps))) for step in range(steps)
    )


CHANGING = (
    Shape("ramp to 20 in 120 s", ramp(120, 20)),
    Shape("ramp to 100 in 300 s", ramp(300, 100), 10),
    Shape("ramp to 60, long calls", ramp(300, 60), 60),
    Shape("steps 10, 20, 40", ((60, 10), (60, 20), (60, 40)), 8),
    Shape("ladder 1, 2, 4, 8", ((100, 1), (100, 2), (100, 4), (100, 8)), 4),
    Shape("spike from 5 to 50", ((60, 5), (15, 50), (60, 5)), 4),
    Shape("up to 40 and down", ramp(150, 40) + ramp(150, 40)[::-1]),
)
STEADY = (
    Shape("3 users", ((120, 3),), 4),
    Shape("20 users", ((120, 20),), 4),
    Shape("20 users, ramp-up of 30 s", (*ramp(30, 20), (90, 20)), 4),
    Shape("50 users, ramp-up of a third", (*ramp(60, 50), (120, 50)), 4),
    Shape("20 users, one long call each", (*ramp(20, 20), (60, 20)), 40),
)
AT_RANDOM = tuple(
    Shape(f"random, {calls} in progress", ((600, 1),), sessions=40 * calls) for calls in (5, 10, 30)
)


def main() -> bool:
    print(
        f"\n{REPETITIONS} runs each: changed load reported; notice if latency is unchanged; notice"
        " if it doubles"
    )
    alarms, met = 0.0, True
    for shape in CHANGING:
        reported, alarmed = _shares(shape)
        _, noticed = _shares(shape, doubles=True)
        alarms += alarmed / len(CHANGING)
        met &= noticed >= FOUND
        print(f"  {shape.name:<32}{reported:>8.0%}{alarmed:>9.1%}{noticed:>8.0%}", flush=True)
    print(
        f"  false alarms: {alarms:.1%} (goal: at most {FALSE_ALARMS:.0%}); found: goal at least"
        f" {FOUND:.0%} per load"
    )
    for shapes, max_share in ((STEADY, CONSTANT), (AT_RANDOM, RANDOM)):
        for shape in shapes:
            reported, alarmed = _shares(shape)
            met &= reported <= max_share
            print(
                f"  {shape.name:<32}{reported:>8.0%}{alarmed:>9.1%}   (goal of changed load: at"
                f" most {max_share:.0%})",
                flush=True,
            )
    return met and alarms <= FALSE_ALARMS


def _shares(shape: Shape, *, doubles: bool = False) -> tuple[float, float]:
    """Return two shares of the runs of a shape.

    The first is the share of runs whose report states that the load changed. The second is the
    share of runs with a notice that one value misleads.
    """
    runs = [levels_of(shape.plan(seed, doubles=doubles)) for seed in range(REPETITIONS)]
    reported, notices = ([run[index] for run in runs] for index in (0, 1))
    return sum(map(bool, reported)) / REPETITIONS, sum(map(bool, notices)) / REPETITIONS


def levels_of(plan: Plan) -> tuple[list[GroupedLatency], tuple[GroupDifference, ...]]:
    """Return the latencies by load in the report of this run, and the levels that differ
    significantly.

    The report is computed without files.
    """
    tables = synthetic.rows(plan)
    frames = (
        turn_frame(tables["turns"]),
        session_frame(tables["sessions"]),
        second_frame(tables["seconds"]),
    )
    run = RunFrames(Path(), {"state": "ended"}, *frames, Histograms(), finalized=True)
    latencies, differing = latency_by(run, samples_of(run))
    return [latency for latency in latencies if latency.by == "calls"], differing
