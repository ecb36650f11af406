"""Comparisons of tail quantiles if only the candidate stalls, in bursts (docs/statistics.md, 0023).
Seeded.

The quantile lies between the turns with and without a stall, so the log of the ratio has two modes.
The margin is the true ratio of the quantiles. The errors are printed three times: for pairs that
are treated as independent, for pairs as they are analysed, and for one interim analysis of all
pairs.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from reports.metrics.statistic_types.quantile import quantiles_seen
from reports.statistics.arms import TwoSamples
from reports.statistics.autocorrelation import latencies_by_order
from reports.statistics.counting import Floats
from reports.statistics.differences import Inference, Margin, quantile_differences
from reports.statistics.quantiles import quantile, sample
from tools.benchmarks.on_the_margin import error
from tools.benchmarks.stored_bursts import TURNS, Case, latencies_of

REPETITIONS, DRAWS, TRUTH_RUNS = 300, 400, 100
SEED, MOST, CRITICAL = 20261203, 0.05, 1.645
CASES = (
    Case(400, 0, 15.0, 0.05, p=0.95),
    Case(1200, 0, 15.0, 0.05, p=0.95),
    Case(400, 0, 5.0, 0.05, p=0.95),
    Case(400, 0, 15.0, 0.10, p=0.9),
)


def main() -> bool:
    print(
        f"\nstalls of the candidate alone, {REPETITIONS} repetitions, % regressed / passed at the"
        " true ratio:"
    )
    print(
        "pairs count as independent; as analysed; at an interim analysis; % in which bursts or"
        " drift were detected"
    )
    return all([_met(case) for case in CASES])


def _met(case: Case) -> bool:
    rng, counted = np.random.default_rng([SEED, *repr(case).encode()]), np.zeros(7)
    steady, code, p = (
        replace(case, share=0.0),
        np.repeat(np.arange(case.sessions), TURNS),
        case.p or 0.5,
    )
    truths = [_true_quantile(rng, replace(one, sessions=1000), p) for one in (steady, case)]
    margins = [(p, Margin(ratio=truths[1] / truths[0] - 1))]
    for _ in range(REPETITIONS):
        base, cand = (sample(latencies_of(rng, one).ravel(), code) for one in (steady, case))
        both = TwoSamples(base, cand, (case.sessions, case.sessions), paired=True)
        usual, found = (
            method(both, margins, "lower", Inference(resamples=DRAWS, seed=rng))[0]
            for method in (quantile_differences, latencies_by_order)
        )
        (seen,) = quantiles_seen(both, margins, "lower", rng, draws=DRAWS)
        counted += [
            *(
                called
                for one in (usual, found)
                for called in (one.worse.low > 0, one.worse.high < 0)
            ),
            seen.z >= CRITICAL,
            seen.upper(CRITICAL) < 0,
            found.order is not None,
        ]
    shares = counted / REPETITIONS
    met = max(shares[2:6]) <= MOST + 3 * error(MOST, REPETITIONS)
    formatted = "{:5.1f} / {:4.1f}   {:5.1f} / {:4.1f}   {:5.1f} / {:4.1f}   {:5.1f}".format(
        *100 * shares
    )
    name = (
        f"p{100 * p:g}, bursts of {case.burst_s:g} s, {case.share:.0%} of the time, {case.sessions}"
        " pairs"
    )
    print(f"  {name:<50} {formatted}{'' if met else '  goal NOT met'}", flush=True)
    return bool(met)


def _true_quantile(rng: np.random.Generator, case: Case, p: float) -> float:
    values: Floats = np.concatenate([latencies_of(rng, case).ravel() for _ in range(TRUTH_RUNS)])
    return quantile(np.sort(values), p)


if __name__ == "__main__":
    main()
