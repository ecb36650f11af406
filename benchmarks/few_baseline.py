"""Verdicts on failure rates if the baseline has few sessions, such as recorded calls (docs/statistics.md). Seeded.

The candidate is exactly on the margin, or far beyond it. Both ends count: a baseline with few sessions may be called
better, and a candidate with few sessions may be called improved.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np

from benchmarks.on_the_margin import error, failing
from reports.statistics.autocorrelation import rate_by_order
from reports.statistics.baselines import RATE_RUN_SD
from reports.statistics.differences import Inference, Margin, student
from reports.statistics.rates import ClusterTotals

REPETITIONS, TURNS = 500, 10
SEED = 20261202
MOST = 0.05


@dataclass(frozen=True)
class Case:
    """Failure rates `base` and `cand`. `together` is the correlation of failures in a session; 1 if sessions fail as
    wholes. `run_sd` is the assumed run-to-run sd, which is 0 within a run.
    """

    sessions: tuple[int, int]
    together: float
    run_sd: float = RATE_RUN_SD
    base: float = 0.02
    cand: float = 0.03
    margin: float = 0.01

    @property
    def is_on_margin(self) -> bool:
        return math.isclose(self.cand - self.base, self.margin)


SIZES = (20, 60), (20, 200), (40, 400), (100, 150), (100, 300)
CASES = (
    *(Case(sizes, together) for sizes, together in product(SIZES, (0.2, 1.0))),
    *(Case(sizes, together, cand=0.02, margin=0.0) for sizes, together in product(SIZES, (0.2, 1.0))),
    *(Case(sizes, 1.0, run_sd=0.0, cand=0.02, margin=0.0) for sizes in (*SIZES, (400, 40), (100, 100))),
    *(Case(sizes, 0.2, cand=0.12) for sizes in ((20, 200), (40, 400), (100, 300), (300, 300))),
)


def main() -> bool:
    print(f"\nfailure rates, unequal numbers of sessions, {REPETITIONS} repetitions, %: by t alone called worse;")
    print("as analysed: called worse, improved; the text states the number of baseline sessions; the mean number")
    return all([_met(case) for case in CASES])


def _met(case: Case) -> bool:
    rng, counted, needed = np.random.default_rng([SEED, *repr(case).encode()]), np.zeros(4), []
    for _ in range(REPETITIONS):
        base = failing(rng, case.base, case.sessions[0], TURNS, case.together)
        cand = failing(rng, case.cand, case.sessions[1], TURNS, case.together)
        totals = ClusterTotals(base, cand, paired=False)
        found = rate_by_order(totals, Margin(points=case.margin), "lower", Inference(rate_run_sd=case.run_sd))
        by_t = student(found.d - case.margin, found.se, found.df)
        counted += [by_t.low > 0, found.worse.low > 0, found.better.low > 0, found.baseline_sessions is not None]
        needed += [found.baseline_sessions] if found.baseline_sessions else []
    shares = counted / REPETITIONS
    most = MOST + 3 * error(MOST, REPETITIONS)
    met = not case.is_on_margin or max(shares[1:3]) <= most
    name = f"{case.sessions[0]} against {case.sessions[1]}, {case.base:.0%} → {case.cand:.0%}, ICC {case.together:g}, "
    name += f"margin {100 * case.margin:g}, run sd {case.run_sd:g}"
    number = f"{np.mean(needed):5.0f}" if needed else "    -"
    formatted = "{:5.1f}   {:5.1f} {:5.1f} {:5.1f}".format(*100 * shares)
    print(f"  {name:<68} {formatted} {number}{'' if met else '  goal NOT met'}", flush=True)
    return met


if __name__ == "__main__":
    main()
