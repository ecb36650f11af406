"""Coverage of the interval of p50 if sessions replay recorded calls (docs/recorded-calls.md). In
memory, seeded.

Calls differ in latency, because their questions do. The truth is the median of all calls that could
have been recorded, or the median of the replayed calls. An interval over sessions is meant for the
second one.
"""

from __future__ import annotations

import math

import numpy as np

from reports.statistics.quantiles import quantile, quantiles, sample
from tools.benchmarks.on_the_margin import Row, error, generator, print_rows, shown

REPETITIONS, TURNS = 400, 10
OF_CALL, OF_SESSION, OF_TURN = 0.25, 0.1, 0.4
"""The standard deviations of log latency: between calls, between replays of a call, and within a
session."""
CASES = ((20, 10, (0.4, 0.65)), (40, 5, (0.55, 0.8)), (200, 1, (0.9, 1.0)))
"""(different calls, sessions of each call, the documented range of the coverage of all calls)"""
MIN_COVERAGE = 0.95


def main() -> bool:
    rows = [row for calls, times, documented in CASES for row in _rows(calls, times, documented)]
    print("\nsessions that replay recorded calls: the interval of p50 covers the median")
    print_rows(rows)
    return all(met for *_, met in rows)


def _rows(calls: int, times: int, documented: tuple[float, float]) -> list[Row]:
    rng, of_all, of_these = generator("replays", calls, times), 0, 0
    for _ in range(REPETITIONS):
        of_call = np.repeat(rng.normal(0, OF_CALL, calls), times)
        levels = of_call + rng.normal(0, OF_SESSION, of_call.size)
        logs = np.repeat(levels, TURNS) + rng.normal(0, OF_TURN, levels.size * TURNS)
        (found,) = quantiles(
            sample(600 * np.exp(logs), np.repeat(np.arange(levels.size), TURNS)), [0.5]
        )
        own = np.repeat(of_call, 200) + rng.normal(
            0, math.hypot(OF_SESSION, OF_TURN), of_call.size * 200
        )
        of_all += found.low <= 600 <= found.high
        of_these += found.low <= 600 * math.exp(quantile(np.sort(own), 0.5)) <= found.high
    name = f"{calls} calls, each replayed {times} times"
    low, high = documented
    all_calls, these = of_all / REPETITIONS, of_these / REPETITIONS
    return [
        (
            f"{name}: of all calls",
            shown(all_calls, REPETITIONS),
            f"{low:.0%} to {high:.0%}",
            low <= all_calls <= high,
        ),
        (
            f"{name}: of these calls",
            shown(these, REPETITIONS),
            f"≥ {MIN_COVERAGE:.0%}",
            these >= MIN_COVERAGE - 3 * error(MIN_COVERAGE, REPETITIONS),
        ),
    ]


if __name__ == "__main__":
    main()
