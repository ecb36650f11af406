"""The power of runs of a planned size. The factors of `reports/statistics/power.py` are from it.

Each repetition has a pilot, a plan from this pilot for a power of 80 or 90 %, and two targets of
the planned size. There are three primary metrics, and the strictest level of Holm's procedure
counts. All data are in memory and seeded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np

from reports.statistics.arms import TwoSamples
from reports.statistics.autocorrelation import latencies_by_order
from reports.statistics.differences import LEVEL, Inference, Margin
from reports.statistics.power import PRIMARY_METRICS, distance_of, pilot_of_quantile
from reports.statistics.quantiles import Sample, sample

REPETITIONS, DRAWS, TURNS, PILOT = 400, 1000, 10, 100
SIGMA = 0.5
SEED = 20261128
ERROR = LEVEL / PRIMARY_METRICS


@dataclass(frozen=True)
class Case:
    p: float
    icc: float
    power: float
    effect: float
    margin: float


CASES = [
    Case(p, icc, power, effect, margin)
    for (p, effect, margin), icc, power in product(
        ((0.5, 0.20, 0.10), (0.95, 0.40, 0.20)), (0.05, 0.3, 0.8), (0.8, 0.9)
    )
]


def run(rng: np.random.Generator, sessions: int, icc: float, factor: float = 1.0) -> Sample:
    own, within = rng.normal(size=(sessions, 1)), rng.normal(size=(sessions, TURNS))
    waits = 600 * factor * np.exp(SIGMA * (math.sqrt(icc) * own + math.sqrt(1 - icc) * within))
    return sample(waits.ravel(), np.repeat(np.arange(sessions), TURNS))


def main() -> bool:
    print(
        f"\nplanned sizes, one of {PRIMARY_METRICS} gates, {REPETITIONS} repetitions: share that"
        " finds the effect, mean sessions"
    )
    return all([_met(case) for case in CASES])


def _met(case: Case) -> bool:
    rng = np.random.default_rng([SEED, *repr(case).encode()])
    detected, sizes = 0, []
    for _ in range(REPETITIONS):
        pilot = pilot_of_quantile([run(rng, PILOT, case.icc)], case.p, PILOT, rng)
        size = pilot.needed(distance_of(case.effect, case.margin), case.power, ERROR)
        base, cand = run(rng, size, case.icc), run(rng, size, case.icc, 1 + case.effect)
        targets = TwoSamples(base, cand, (size, size), paired=False)
        (difference,) = latencies_by_order(
            targets,
            [(case.p, Margin(ratio=case.margin))],
            "lower",
            Inference(resamples=DRAWS, seed=rng),
        )
        detected += difference.worse.p <= ERROR
        sizes.append(size)
    share, min_share = (
        detected / REPETITIONS,
        case.power - 3 * math.sqrt(case.power * (1 - case.power) / REPETITIONS),
    )
    met = share >= min_share
    name = f"p{case.p * 100:g}, ICC {case.icc:g}, planned for {case.power:.0%}"
    print(
        f"  {name:<36}{share:.1%}, {np.mean(sizes):.0f} sessions{'' if met else '  goal NOT met'}",
        flush=True,
    )
    return met


if __name__ == "__main__":
    main()
