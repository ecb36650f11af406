"""Verdicts on failure rates of one unchanged service whose rate differs from run to run
(docs/statistics.md, 0064).

A run is compared with one stored run, or with three, at a margin of 0. Seeded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from reports.statistics.baselines import RATE_RUN_SD, rate_against_stored
from reports.statistics.differences import Inference, Margin
from reports.statistics.rates import PerCluster, ratio_of

REPETITIONS = 600
SESSIONS, TURNS, TOGETHER, RATE = 400, 10, 0.1, 0.02
SEED = 20261126


@dataclass(frozen=True)
class Case:
    """A case. `sd` is the standard deviation of the log of the failure rate between runs.

    `runs` is the number of stored runs. `most` is the maximum share of the verdict regressed, and
    of the verdict passed, as documented.
    """

    sd: float
    runs: int
    most: tuple[float, float]


CASES = (
    Case(0.0, 1, (0.05, 0.05)),
    Case(0.0, 3, (0.05, 0.05)),
    Case(0.3, 1, (0.05, 0.05)),
    Case(0.3, 3, (0.05, 0.10)),
    Case(0.5, 1, (0.15, 0.15)),
    Case(0.5, 3, (0.10, 0.25)),
)


def main() -> bool:
    print(
        f"\nfailure rates that vary between runs (assumed sd {RATE_RUN_SD:g}), {REPETITIONS}"
        " repetitions: regressed / passed at a margin of 0"
    )
    return all([_met(case) for case in CASES])


def _met(case: Case) -> bool:
    rng = np.random.default_rng([SEED, round(100 * case.sd), case.runs])
    counted = np.zeros(3)
    for _ in range(REPETITIONS):
        rates = RATE * np.exp(case.sd * rng.normal(size=case.runs + 1) - case.sd**2 / 2)
        cand, *stored = (ratio_of(_run(rng, min(0.5, float(rate)))) for rate in rates)
        inference = Inference(rate_run_sd=RATE_RUN_SD)
        at, point = (
            rate_against_stored(cand, stored, Margin(points=points), inference=inference)
            for points in (0.0, 0.01)
        )
        counted += [at.worse.low > 0, at.worse.high < 0, point.worse.high < 0]
    regressed, passed, passed_at_one_point = counted / REPETITIONS
    ends = zip((regressed, passed), case.most, strict=True)
    met = all(
        share <= max_share + 3 * math.sqrt(max_share * (1 - max_share) / REPETITIONS)
        for share, max_share in ends
    )
    text = (
        f"{regressed:.1%} / {passed:.1%}; {passed_at_one_point:.0%} pass at a margin of one point"
    )
    print(
        f"  sd {case.sd:g} against {case.runs} stored runs:"
        f" {text}{'' if met else '  goal NOT met'}",
        flush=True,
    )
    return met


def _run(rng: np.random.Generator, rate: float) -> PerCluster:
    """Return a run's failures and turns by session; failures within a session are correlated."""
    concentration = 1 / TOGETHER - 1
    own = rng.beta(rate * concentration, (1 - rate) * concentration, SESSIONS)
    return rng.binomial(TURNS, own).astype(np.float64), np.full(SESSIONS, float(TURNS))


if __name__ == "__main__":
    main()
