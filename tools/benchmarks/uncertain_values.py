"""Verdicts on limits if each value has its own maximum error (docs/metrics.md, Valid or not). In
memory, seeded.

Few values have a large error, all others a small one. The bounds are those of all v − e and of all
v + e (`reports.analysis.targets.moved`). The program prints how often a limit at the truth passes
or fails, and how often a limit above the truth passes: with the error of each value, and with the
largest error of all values.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from reports.analysis.check.absolute import evaluate_limit
from reports.metrics.statistic_types.quantile import estimate_quantile
from reports.statistics.quantiles import sample
from reports.statistics.threshold_estimate import ThresholdEstimate
from tools.benchmarks.on_the_margin import at_most, generator, print_rows, shown

REPETITIONS, SESSIONS, TURNS = 300, 200, 10
OFTEN_MS, FEW_MS, FEW = 5.0, 345.0, 0.01
ABOVE = 1.25
MIN_POWER = 0.9
Floats = npt.NDArray[np.float64]


def main() -> bool:
    rows = []
    for p in (0.5, 0.95):
        truth = float(np.quantile(_values(np.random.default_rng(1), 40_000), p))
        rng = generator("uncertain values", p)
        at_truth, above, widest = {"pass": 0, "fail": 0, "inconclusive": 0}, 0, 0
        for _ in range(REPETITIONS):
            true = _values(rng, SESSIONS)
            errors = np.where(rng.random(true.shape) < FEW, FEW_MS, OFTEN_MS)
            measured = true + rng.uniform(-1, 1, true.shape) * errors
            estimates = [_estimate(measured + change, p) for change in (-errors, errors)]
            by_value = replace(estimates[0], upper=estimates[1].upper)
            at_truth[evaluate_limit(by_value, "<", truth).name] += 1
            above += evaluate_limit(by_value, "<", ABOVE * truth).name == "pass"
            plain = _estimate(measured, p)
            largest = replace(plain, lower=plain.lower - FEW_MS, upper=plain.upper + FEW_MS)
            widest += evaluate_limit(largest, "<", ABOVE * truth).name == "pass"
        name = f"p{p * 100:g}, 1 % of values ±345 ms, others ±5 ms"
        rows += [
            at_most(f"{name}: limit at the truth {word}", at_truth[word], REPETITIONS)
            for word in ("pass", "fail")
        ]
        met = above >= MIN_POWER * REPETITIONS
        rows.append(
            (
                f"{name}: limit 25 % above passes",
                shown(above / REPETITIONS, REPETITIONS),
                f"≥ {MIN_POWER:.0%}",
                met,
            )
        )
        rows.append(
            (f"{name}: with the largest error", shown(widest / REPETITIONS, REPETITIONS), "", True)
        )
    print("\nvalues with maximum errors")
    print_rows(rows)
    return all(met for *_, met in rows)


def _values(rng: np.random.Generator, sessions: int) -> Floats:
    values: Floats = 600 * np.exp(
        rng.normal(0, 0.27, (sessions, 1)) + rng.normal(0, 0.42, (sessions, TURNS))
    )
    return values


def _estimate(values: Floats, p: float) -> ThresholdEstimate:
    return estimate_quantile(
        sample(values.ravel(), np.repeat(np.arange(SESSIONS), TURNS)), p, SESSIONS
    )


if __name__ == "__main__":
    main()
