"""Verdicts if the failures and stalls of one target come in bursts (outages of seconds):
docs/statistics.md, 0023.

The benchmark is seeded. Both targets have the same long-run rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from reports.analysis.check.absolute import evaluate_limit
from reports.metrics.statistic_types.rate import estimate_rate
from reports.statistics.arms import TwoSamples
from reports.statistics.autocorrelation import latencies_by_order, rate_by_order
from reports.statistics.counting import Floats
from reports.statistics.differences import Difference, Inference, Margin
from reports.statistics.quantiles import sample
from reports.statistics.rates import ClusterTotals, PerCluster
from tools.benchmarks.on_the_margin import error

REPETITIONS, OF_TAILS, DRAWS, TURNS = 600, 300, 500, 10
EVERY_S, TURN_S = 3.0, 6.0
"""A pair starts every 3 s, and each of its turns takes 6 s."""
SEED = 20261125
STALL_MS = 2000.0


@dataclass(frozen=True)
class Case:
    """Outages of one target, and the maximum errors of the verdicts.

    `burst_s`: the mean length of an outage. `share`: the share of time in outages. `shared`: True
    if both targets have the same outages. `margin`: the margin in points. With 0 the candidate is
    exactly on the margin, because the targets are alike. `most`: the maximum shares of the verdicts
    regressed and passed.
    """

    name: str
    pairs: int
    burst_s: float
    share: float = 0.02
    margin: float = 0.0
    shared: bool = False
    most: float = 0.05


CASES = (
    *(
        Case(f"bursts of {burst:g} s, on the margin", pairs, burst)
        for burst, pairs in product((20, 5), (100, 400))
    ),
    Case("bursts of 20 s, on the margin", 1200, 20),
    Case("bursts of 20 s, 0.5 % of the time, on the margin", 400, 20, share=0.005),
    Case("bursts of 20 s that both have, on the margin", 400, 20, shared=True),
    Case("bursts of 20 s, unchanged, margin 1 point", 100, 20, margin=0.01),
    Case("bursts of 20 s, unchanged, margin 1 point", 400, 20, margin=0.01),
    Case("failures one by one, on the margin", 100, 0),
    Case("failures one by one, on the margin", 400, 0),
)


def outages(
    rng: np.random.Generator, case: Case, at_s: Floats
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Return True for each turn in an outage.

    The outages and the times between them have exponential lengths. If `burst_s` is 0, turns fail
    independently of time, with an ICC of 0.3 within sessions.
    """
    if not case.burst_s:
        concentration = 1 / 0.3 - 1
        own = rng.beta(case.share * concentration, (1 - case.share) * concentration, (len(at_s), 1))
        return rng.random(at_s.shape) < own
    between = case.burst_s * (1 - case.share) / case.share
    count = 20 + int(3 * at_s.max() / (between + case.burst_s))
    edges = np.cumsum(
        np.column_stack(
            [rng.exponential(between, count), rng.exponential(case.burst_s, count)]
        ).ravel()
    )
    edges -= rng.uniform(0, edges[-1] - at_s.max())  # the run begins at a random time
    return np.searchsorted(edges, at_s) % 2 == 1


def turns_of(rng: np.random.Generator, pairs: int, turn_s: float = TURN_S) -> Floats:
    """Return the time of each turn, a row for each session."""
    starts = EVERY_S * np.arange(pairs)[:, None]
    times_s: Floats = starts + turn_s * (np.arange(TURNS) + rng.random((pairs, TURNS)))
    return times_s


def latencies_of_targets(rng: np.random.Generator, case: Case) -> tuple[PerCluster, PerCluster]:
    at_s = turns_of(rng, case.pairs)
    base = outages(rng, case, at_s)
    cand = base if case.shared else outages(rng, case, at_s)
    turns = np.full(case.pairs, float(TURNS))
    return (base.sum(axis=1).astype(float), turns), (cand.sum(axis=1).astype(float), turns)


def main() -> bool:
    print(
        f"\nbursts of one target, {REPETITIONS} repetitions, % regressed / passed; %"
        " in which bursts were detected"
    )
    met = True
    for case in CASES:
        met &= _rates(case)
    for burst_s in (20.0, 5.0, 0.0):
        met &= _tails(Case(f"p95, stalls in bursts of {burst_s:g} s, on the margin", 400, burst_s))
    return met & _limits()


def _rates(case: Case) -> bool:
    counted = np.zeros(3)
    rng = np.random.default_rng([SEED, *repr(case).encode()])
    for _ in range(REPETITIONS):
        sums = ClusterTotals(*latencies_of_targets(rng, case), paired=True)
        counted += _called(rate_by_order(sums, Margin(points=case.margin), "lower", Inference()))
    return _printed(case, counted / REPETITIONS, REPETITIONS)


def _tails(case: Case) -> bool:
    """Check stalls instead of failures: p95, at a margin of 0."""
    counted = np.zeros(3)
    rng = np.random.default_rng([SEED, *repr(case).encode()])
    for _ in range(OF_TAILS):
        at_s = turns_of(rng, case.pairs)
        code = np.repeat(np.arange(case.pairs), TURNS)
        targets = []
        for _target in range(2):
            waits = 600 * np.exp(0.5 * rng.normal(size=at_s.shape))
            waits += STALL_MS * outages(rng, case, at_s)
            targets.append(sample(waits.ravel(), code))
        both = TwoSamples(targets[0], targets[1], (case.pairs, case.pairs), paired=True)
        (difference,) = latencies_by_order(
            both, [(0.95, Margin())], "lower", Inference(resamples=DRAWS, seed=rng)
        )
        counted += _called(difference)
    return _printed(case, counted / OF_TAILS, OF_TAILS)


def _called(difference: Difference) -> tuple[bool, bool, bool]:
    """Return whether a difference is called worse, passes, and has bursts."""
    return difference.worse.low > 0, difference.worse.high < 0, difference.order is not None


def _printed(case: Case, shares: Floats, of: int) -> bool:
    """Print a case. Return whether its errors are at most the case's maximum plus three standard
    errors.

    The errors are those of *regressed*; on the margin also those of *passed*.
    """
    max_share = case.most + 3 * error(case.most, of)
    met = bool(shares[0] <= max_share and (case.margin or shares[1] <= max_share))
    formatted = "{:5.1f} / {:4.1f}   {:5.1f}".format(*100 * shares)
    print(
        f"  {case.name:<50} {case.pairs:>5} pairs   {formatted}{'' if met else '  goal NOT met'}",
        flush=True,
    )
    return met


def _limits() -> bool:
    """Check a threshold on the failure rate that is equal to the long-run rate. Print how often it
    fails and passes.

    A run without any burst passes, because it cannot show that bursts occur. So the share of passes
    is printed, not checked.
    """
    case, results = Case("failure_rate < 2 % at 2 %", 400, 20.0), []
    rng = np.random.default_rng([SEED, 9])
    for _ in range(REPETITIONS):
        target = latencies_of_targets(rng, case)[1]
        results.append(
            (evaluate_limit(estimate_rate(target), "<", case.share).name, not target[0].any())
        )
    fails, passes = (
        sum(word == result for word, _ in results) / REPETITIONS for result in ("fail", "pass")
    )
    none = sum(nothing for _, nothing in results) / REPETITIONS
    met = fails <= 0.05 + 3 * error(0.05, REPETITIONS)
    text = f"fails {fails:.1%}, passes {passes:.1%}; without any burst {none:.1%}"
    print(
        f"  threshold {case.name}, bursts of 20 s, {case.pairs} sessions:"
        f" {text}{'' if met else '  goal NOT met'}"
    )
    return met


if __name__ == "__main__":
    main()
