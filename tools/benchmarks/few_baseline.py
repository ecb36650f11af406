"""Verdicts if the baseline has few sessions, such as recorded calls (docs/statistics.md). Seeded.

The candidate is exactly on the margin, or far beyond it. Both ends count: a baseline with few
sessions may be called better, and a candidate with few sessions may be called improved. Other cells
compare a p95 of unequal numbers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np

from reports.statistics.arms import TwoSamples
from reports.statistics.autocorrelation import rate_by_order
from reports.statistics.baselines import RATE_RUN_SD
from reports.statistics.differences import Inference, Margin, quantile_differences, student
from reports.statistics.quantiles import Sample, sample
from reports.statistics.rates import ClusterTotals
from tools.benchmarks.on_the_margin import (
    Row,
    at_most,
    error,
    failing,
    generator,
    print_rows,
    waits,
)

REPETITIONS, TURNS = 500, 10
SEED = 20261202
MOST = 0.05


@dataclass(frozen=True)
class Case:
    """Failure rates `base` and `cand`. `together` is the correlation of failures in a session; 1 if
    sessions fail as wholes. `run_sd` is the assumed run-to-run sd, which is 0 within a run.
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
    *(
        Case(sizes, together, cand=0.02, margin=0.0)
        for sizes, together in product(SIZES, (0.2, 1.0))
    ),
    *(
        Case(sizes, 1.0, run_sd=0.0, cand=0.02, margin=0.0)
        for sizes in (*SIZES, (400, 40), (100, 100))
    ),
    *(Case(sizes, 0.2, cand=0.12) for sizes in ((20, 200), (40, 400), (100, 300), (300, 300))),
)


TAILS = ((100, 300), 0.06), ((300, 100), 0.06), ((40, 400), 0.12), ((400, 40), 0.08)
"""(sessions of baseline and candidate, maximum share of each verdict as documented) of cells of
p95."""
COMPARED, DRAWS, SIGMA = 400, 500, 0.5


def main() -> bool:
    print(
        f"\nfailure rates, unequal numbers of sessions, {REPETITIONS} repetitions, %: by t alone"
        " called worse;"
    )
    print(
        "as analysed: called worse, improved; the text states the number of baseline sessions; the"
        " mean number"
    )
    met = all([_met(case) for case in CASES])
    print("\np95, unequal numbers of sessions, on the margin of 20 %")
    rows = [row for sizes, most in TAILS for row in _tails(sizes, most)]
    print_rows(rows)
    return met & all(is_met for *_, is_met in rows)


def _tails(sizes: tuple[int, int], most: float) -> Iterable[Row]:
    rng, called = generator("few", sizes), Counter[str]()
    for _ in range(COMPARED):
        base, cand = (
            _sample(rng, size, factor) for size, factor in zip(sizes, (1.0, 1.2), strict=True)
        )
        (difference,) = quantile_differences(
            TwoSamples(base, cand, sizes, paired=False),
            [(0.95, Margin(ratio=0.2))],
            "lower",
            Inference(resamples=DRAWS, seed=rng),
        )
        called["worse"] += difference.worse.low > 0
        called["passed"] += difference.worse.high < 0
    for word in ("worse", "passed"):
        yield at_most(
            f"{sizes[0]} against {sizes[1]} sessions: {word}", called[word], COMPARED, most
        )


def _sample(rng: np.random.Generator, sessions: int, factor: float) -> Sample:
    return sample(
        waits(rng, sessions, 600 * factor, SIGMA).ravel(), np.repeat(np.arange(sessions), TURNS)
    )


def _met(case: Case) -> bool:
    rng, counted, needed = np.random.default_rng([SEED, *repr(case).encode()]), np.zeros(4), []
    for _ in range(REPETITIONS):
        base = failing(rng, case.base, case.sessions[0], TURNS, case.together)
        cand = failing(rng, case.cand, case.sessions[1], TURNS, case.together)
        totals = ClusterTotals(base, cand, paired=False)
        found = rate_by_order(
            totals, Margin(points=case.margin), "lower", Inference(rate_run_sd=case.run_sd)
        )
        by_t = student(found.d - case.margin, found.se, found.df)
        counted += [
            by_t.low > 0,
            found.worse.low > 0,
            found.better.low > 0,
            found.baseline_sessions is not None,
        ]
        needed += [found.baseline_sessions] if found.baseline_sessions else []
    shares = counted / REPETITIONS
    most = MOST + 3 * error(MOST, REPETITIONS)
    met = not case.is_on_margin or max(shares[1:3]) <= most
    name = (
        f"{case.sessions[0]} against {case.sessions[1]}, {case.base:.0%} → {case.cand:.0%}, ICC"
        f" {case.together:g}, "
    )
    name += f"margin {100 * case.margin:g}, run sd {case.run_sd:g}"
    number = f"{np.mean(needed):5.0f}" if needed else "    -"
    formatted = "{:5.1f}   {:5.1f} {:5.1f} {:5.1f}".format(*100 * shares)
    print(f"  {name:<68} {formatted} {number}{'' if met else '  goal NOT met'}", flush=True)
    return met


if __name__ == "__main__":
    main()
