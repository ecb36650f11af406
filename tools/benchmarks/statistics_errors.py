"""Error rates of comparisons of two targets (docs/statistics.md, docs/decisions/0017), in memory
and seeded.

The first table has the verdicts between equal targets, the second the verdicts by the change of the
candidate. Both use 1,000 resamples instead of 10,000. The other parts are rates and limits exactly
on their margins (`on_the_margin`), one run alone (`tails`), drift of one target (`own_drift`),
bursts (`bursts`), and bursts and stored runs (`stored_bursts`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.statistics.arms import TwoSamples
from reports.statistics.differences import Difference, Inference, Margin, quantile_differences
from reports.statistics.quantiles import sample
from reports.statistics.rates import ClusterTotals, PerCluster, rate_difference
from reports.statistics.verdicts import floor_reason, verdicts
from tools.benchmarks import bursts, on_the_margin, own_drift, stored_bursts, tails

SEEDS = (20261101, 20261102, 20261103)
PAIRS, SESSIONS, MOST = 1000, 100, 0.065
DRAWS = 1000
REPETITIONS = 300
TURNS = 10
SIGMA, ICC, STALLED = 0.5, 0.3, 0.03
TOGETHER = 0.1
"""The correlation of failures in a session.

The correlation at real services is unknown, so other values are tested for equal targets.
"""
MORE_TOGETHER = (0.2, 0.3)

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Service:
    """A service with log-normal latencies (median 600 ms).

    `stalled` is the share of its turns that take 1 to 5 s longer. `failed` is the share of its
    turns that fail.
    """

    times: float = 1.0
    stalled: float = STALLED
    failed: float = 0.003


@dataclass(frozen=True)
class Arm:
    """The latencies of the turns of one target, a row for each session. Failed turns are +inf."""

    waits_ms: Floats

    @property
    def failures(self) -> PerCluster:
        return np.isinf(self.waits_ms).sum(axis=1).astype(np.float64), np.full(
            len(self.waits_ms), float(TURNS)
        )


BEFORE = Service()
AFTER = {
    "nothing changed": BEFORE,
    "+10 %": Service(times=1.1),
    "+20 %": Service(times=1.2),
    "+30 %": Service(times=1.3),
    "stalls 3 → 6 %": Service(stalled=0.06),
    "failures 0.3 → 3 %": Service(failed=0.03),
}
FOUND = {
    50: ((0, 0, 100), (0, 2, 98), (0, 21, 79), (0, 60, 40), (0, 9, 91), (0, 24, 76)),
    100: ((0, 0, 100), (0, 1, 99), (0, 42, 58), (0, 90, 10), (0, 18, 82), (0, 58, 42)),
    200: ((2, 0, 98), (0, 1, 99), (0, 69, 31), (0, 100, 0), (0, 42, 58), (0, 87, 13)),
    400: ((90, 0, 10), (4, 2, 94), (0, 93, 7), (0, 100, 0), (0, 81, 19), (0, 99, 1)),
}
"""The shares of exit status 0, 1 and 3 in % of 300 repetitions, by sessions per target.

The values were measured with another seed, when the bound of failures was chosen (decision 0021).
With the previous bound, 29, 61 and 92 % of the unchanged repetitions with 100, 200 and 400 sessions
had status 0. Failures common to both targets are no evidence of a difference, so 200 sessions pass
only if the baseline fails more often.
"""
GATES = ((0.5, Margin(ratio=0.1)), (0.95, Margin(ratio=0.2)))
POINT = Margin(points=0.01)
MARGINS = (*(margin for _, margin in GATES), POINT)


def main() -> None:
    rows = on_the_margin.of_single_tests()
    on_the_margin.print_rows(rows)
    met = false_alarms() & ends() & all(is_met for *_, is_met in rows)
    met &= tails.main() & own_drift.main() & bursts.main() & stored_bursts.main()
    print("all goals met" if met else "a goal was NOT met")


def false_alarms() -> bool:
    """Check equal targets at a margin of 0. Each metric is tested alone."""
    print(
        f"{PAIRS:,} pairs of equal targets, {SESSIONS} sessions × {TURNS} turns, margin 0: share"
        " regressed"
    )
    kinds = "p50", "p95", f"failures ({TOGETHER})", *(f"({together})" for together in MORE_TOGETHER)
    print(
        "  ".join(["      seed", *(f"{kind:>14}" for kind in kinds)]),
        f"   goal of the first three: at most {MOST:.1%}",
    )
    alike, met = Service(failed=0.01), True
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        worse = np.zeros(len(kinds))
        for _ in range(PAIRS):
            differences = compared(
                target_samples(rng, alike, SESSIONS),
                target_samples(rng, alike, SESSIONS),
                rng,
                margins=(Margin(),) * 3,
            )
            differences += [
                more_together(rng, alike.failed, together) for together in MORE_TOGETHER
            ]
            worse += [difference.worse.low > 0 for difference in differences]
        met &= bool((worse[:3] <= MOST * PAIRS).all())
        print(
            "  ".join([f"{seed:>10}", *(f"{share:>14.1%}" for share in worse / PAIRS)]), flush=True
        )
    return met


def more_together(rng: np.random.Generator, rate: float, together: float) -> Difference:
    targets = (
        Arm(np.where(failing(rng, rate, SESSIONS, together), np.inf, 0.0)).failures
        for _ in range(2)
    )
    base, cand = targets
    return rate_difference(ClusterTotals(base, cand, paired=False), Margin())


def ends() -> bool:
    """Check gates on p50 at 10 %, p95 at 20 % and failures at one point.

    Print the shares of exit status 0 / 1 / 3 in %.
    """
    print(
        f"\nexit 0 / 1 / 3 in % of {REPETITIONS} repetitions (expected), and the largest difference"
        " in standard errors"
    )
    met = True
    for sessions, expected in FOUND.items():
        for (name, after), cell in zip(AFTER.items(), expected, strict=True):
            rng = np.random.default_rng([SEEDS[0], sessions, *name.encode()])
            codes = [ended(rng, after, sessions) for _ in range(REPETITIONS)]
            shares = [100 * codes.count(code) / REPETITIONS for code in (0, 1, 3)]
            distance_se = max(
                distance(observed, other) for observed, other in zip(shares, cell, strict=True)
            )
            is_met = (
                distance_se <= 3
                and not (after == BEFORE and shares[1])
                and not (after.times >= 1.2 and shares[0])
            )
            met &= is_met
            shares_text, expected_text = (
                " / ".join(f"{share:.0f}" for share in row) for row in (shares, cell)
            )
            line = (
                f"{sessions:>4} {name:<20} {shares_text:<14} ({expected_text})  {distance_se:.1f}"
            )
            print(f"  {line}{'' if is_met else '  goal NOT met'}", flush=True)
    return met


def distance(first: float, second: float) -> float:
    """Return the difference of two shares, as a multiple of its standard error. The shares are in
    %.

    The denominator of each share is REPETITIONS.
    """
    share = (first + second) / 200
    return (
        abs(first - second) / 100 / math.sqrt(2 * share * (1 - share) / REPETITIONS)
        if 0 < share < 1
        else 0.0
    )


def ended(rng: np.random.Generator, after: Service, sessions: int) -> int:
    differences = compared(
        target_samples(rng, BEFORE, sessions), target_samples(rng, after, sessions), rng
    )
    counts = (sessions * TURNS,) * 2, (sessions,) * 2
    floors = [*(floor_reason(p, *counts) for p, _ in GATES), floor_reason(None, *counts)]
    words = verdicts(differences, [True] * len(differences), floors)
    if any(verdict.name == "regressed" for verdict in words):
        return 1
    return 0 if all(verdict.passes for verdict in words) else 3


def compared(
    base: Arm, cand: Arm, rng: np.random.Generator, margins: tuple[Margin, ...] = MARGINS
) -> list[Difference]:
    """Return the differences of p50, p95 and failures."""
    base_sample, cand_sample = (
        sample(target.waits_ms.ravel(), np.repeat(np.arange(len(target.waits_ms)), TURNS))
        for target in (base, cand)
    )
    specs = [(p, margin) for (p, _), margin in zip(GATES, margins[:2], strict=True)]
    quantiles = quantile_differences(
        TwoSamples(
            base_sample, cand_sample, (len(base.waits_ms), len(cand.waits_ms)), paired=False
        ),
        specs,
        "lower",
        Inference(resamples=DRAWS, seed=rng),
    )
    return [
        *quantiles,
        rate_difference(ClusterTotals(base.failures, cand.failures, paired=False), margins[2]),
    ]


def target_samples(rng: np.random.Generator, service: Service, sessions: int) -> Arm:
    shape = sessions, TURNS
    waits = on_the_margin.waits(rng, sessions, 600.0, SIGMA, TURNS, ICC)
    stall_ms = (rng.random(shape) < service.stalled) * rng.uniform(1000, 5000, shape)
    waits = np.round(service.times * (waits + stall_ms))
    return Arm(np.where(failing(rng, service.failed, sessions), np.inf, waits))


def failing(
    rng: np.random.Generator, rate: float, sessions: int, together: float = TOGETHER
) -> Flags:
    """Return True for each failed turn; each session has its own rate."""
    concentration = 1 / together - 1
    own = rng.beta(rate * concentration, (1 - rate) * concentration, (sessions, 1))
    failed: Flags = rng.random((sessions, TURNS)) < own
    return failed
