"""Verdicts if only one target drifts (docs/statistics.md, docs/decisions/0023).

The drift is a first-order autoregressive process. Neighbouring sessions have an autocorrelation of
0.95. The benchmark is seeded.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from reports.analysis.sequential.analysis import AnalysisSchedule, run_analyses
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.statistic_types.quantile import Quantile, quantiles_seen
from reports.statistics.arms import TwoSamples
from reports.statistics.autocorrelation import latencies_by_order
from reports.statistics.counting import Floats
from reports.statistics.differences import Inference, Margin
from reports.statistics.group_sequential import analysis_sizes
from reports.statistics.quantiles import Sample, sample
from reports.statistics.verdicts import verdicts
from tools.benchmarks.on_the_margin import Row, error, waits

P95 = MetricSpec("ttfa", Quantile(0.95), primary=True)
REPETITIONS, ANALYSED_RUNS, DRAWS, TURNS = 600, 300, 500, 10
SIGMA, ICC, STALLED, KEEP = 0.5, 0.3, 0.03, 0.95
GATES = ((0.5, 0.10), (0.95, 0.20))
MARGINS = (0.10, 0.10)
"""The margins of p50 and p95 if the truth is exactly on them."""


@dataclass(frozen=True)
class Case:
    """A case. `own` is the sd of each target's own drift, and `shared` that of the drift common
    to both targets.
    """

    name: str
    pairs: int
    own: float = 0.0
    shared: float = 0.0
    factor: float = 1.0
    margins: tuple[float, float] = (0.10, 0.20)
    paired: bool = True
    run_sd: float = 0.0
    error: float = 0.05
    """The maximum share of runs with the verdict worse. On the margin, it is also the maximum share
    of not worse.

    It is larger if the run is too short for the drift.
    """
    keep: float = KEEP
    """The correlation of the drift between neighbouring sessions."""


CASES = (
    Case("no drift, on the margin", 100, factor=1.1, margins=MARGINS),
    Case("no drift, nothing changed", 100),
    Case("no drift, +20 %", 100, factor=1.2),
    Case("shared, on the margin", 100, shared=0.25, factor=1.1, margins=MARGINS),
    Case("own 25 %, on the margin", 100, own=0.25, factor=1.1, margins=MARGINS, error=0.15),
    Case("own 25 %, on the margin", 200, own=0.25, factor=1.1, margins=MARGINS, error=0.10),
    Case("own 25 %, on the margin", 400, own=0.25, factor=1.1, margins=MARGINS, error=0.07),
    Case("own 25 %, nothing changed", 100, own=0.25),
    Case("own 10 %, on the margin", 100, own=0.10, factor=1.1, margins=MARGINS, error=0.15),
    Case(
        "own 10 %, 1 h, in 2.5 min, on the margin",
        100,
        own=0.10,
        factor=1.1,
        margins=MARGINS,
        error=0.36,
        keep=math.exp(-1.5 / 3600),
    ),
    Case(
        "own 25 %, two runs, on the margin",
        100,
        own=0.25,
        factor=1.1,
        margins=MARGINS,
        paired=False,
        run_sd=0.05,
        error=0.10,
    ),
    Case("own 25 %, two runs, nothing changed", 100, own=0.25, paired=False, run_sd=0.05),
)


def slow(rng: np.random.Generator, pairs: int, sd: float, keep: float) -> Floats:
    drift = rng.normal(0, sd, pairs) if sd else np.zeros(pairs)
    for at in range(1, pairs):
        drift[at] = keep * drift[at - 1] + drift[at] * math.sqrt(1 - keep**2)
    return drift


def target_latencies(rng: np.random.Generator, drift: Floats, factor: float) -> Floats:
    """Return latencies in ms, a row for each session."""
    shape = drift.size, TURNS
    steady_ms = waits(rng, drift.size, 600.0, SIGMA, TURNS, ICC)
    stall_ms = (rng.random(shape) < STALLED) * rng.uniform(1000, 5000, shape)
    latencies: Floats = factor * (steady_ms * np.exp(drift[:, None]) + stall_ms)
    return latencies


def both_targets(rng: np.random.Generator, case: Case) -> tuple[Floats, Floats]:
    shared = slow(rng, case.pairs, case.shared, case.keep)
    base, cand = (shared + slow(rng, case.pairs, case.own, case.keep) for _ in range(2))
    return target_latencies(rng, base, 1.0), target_latencies(rng, cand, case.factor)


def sampled(waits: Floats) -> Sample:
    return sample(waits.ravel(), np.repeat(np.arange(len(waits)), TURNS))


def main() -> bool:
    """Check the verdicts of a single test at the end of a run."""
    print(
        f"\nseparate drift of each target, {REPETITIONS} repetitions, % of them: regressed and"
        " passed at p50, at p95; exit 0, exit 1; drift detected"
    )
    met = True
    for case in CASES:
        shares = _shares(case)
        called = shares[:4] if case.margins == MARGINS else shares[5:6]
        max_share = case.error + 3 * error(case.error, REPETITIONS)
        is_met = case.factor == 1.2 or bool((called <= max_share).all())
        met &= is_met
        name = f"{case.name}, {case.pairs} {'pairs' if case.paired else 'sessions'}"
        cells = "{:.1f} {:.1f}, {:.1f} {:.1f}; {:.1f}, {:.1f}; {:.0f}".format(*100 * shares)
        print(f"  {name:<42}{cells}{'' if is_met else '  goal NOT met'}", flush=True)
    return met


def _shares(case: Case) -> Floats:
    """Return shares of runs: with each verdict of each gate, with exit status 0 or 1, and with
    detected drift.
    """
    counted = np.zeros(7)
    for seed in range(REPETITIONS):
        rng = np.random.default_rng([case.pairs, round(1000 * case.own), seed])
        base, cand = map(sampled, both_targets(rng, case))
        specs = [
            (p, Margin(ratio=margin)) for (p, _), margin in zip(GATES, case.margins, strict=True)
        ]
        both = TwoSamples(base, cand, (case.pairs, case.pairs), case.paired)
        differences = latencies_by_order(
            both, specs, "lower", Inference(run_sd=case.run_sd, resamples=DRAWS, seed=rng)
        )
        words = verdicts(differences, [True] * len(differences), [None] * len(differences))
        flags = [
            called
            for difference in differences
            for called in (difference.worse.low > 0, difference.worse.high < 0)
        ]
        ends = all(word.passes for word in words), any(word.name == "regressed" for word in words)
        counted += [*flags, *ends, differences[0].order is not None]
    shares: Floats = counted / REPETITIONS
    return shares


def interim_analyses() -> Iterable[Row]:
    """Yield the errors and costs of interim analyses that account for the order of sessions."""
    yield from _interim_analyses_of(
        Case("own drift 25 %, p50 on its margin", 400, own=0.25, factor=1.1), GATES[:1], 0.15
    )
    yield from _interim_analyses_of(
        Case("own drift 25 %, nothing changed", 200, own=0.25), GATES, 0.05
    )
    yield from _interim_analyses_of(
        Case("no drift, p50 on its margin", 400, factor=1.1), GATES[:1], 0.05
    )


def _interim_analyses_of(
    case: Case, gates: tuple[tuple[float, float], ...], max_error: float
) -> Iterable[Row]:
    ends: Counter[str] = Counter()
    sizes = analysis_sizes(case.pairs)
    schedule = AnalysisSchedule(case.pairs, sizes, (P95,) * len(gates))
    for seed in range(ANALYSED_RUNS):
        rng = np.random.default_rng([case.pairs, round(1000 * case.own), seed])
        waits = both_targets(rng, case)

        def see(
            pairs: int, waits: tuple[Floats, Floats] = waits, rng: np.random.Generator = rng
        ) -> Any:
            base, cand = (sampled(target[:pairs]) for target in waits)
            specs = [(p, Margin(ratio=ratio)) for p, ratio in gates]
            error = schedule.dependence_error(pairs)
            return quantiles_seen(
                TwoSamples(base, cand, (pairs, pairs), paired=True),
                specs,
                "lower",
                rng,
                draws=DRAWS,
                error=error,
            )

        ends[run_analyses(schedule, see, len(sizes)).reason] += 1
    max_rate = max_error + 3 * error(max_error, ANALYSED_RUNS)
    for reason in ("regressed", "not_regressed"):
        rate, free = ends[reason] / ANALYSED_RUNS, reason == "not_regressed" and case.factor == 1
        what = f"{case.name}, {len(sizes)} interim analyses every {sizes[0]}: {reason}"
        yield what, f"{rate:.1%}", "" if free else f"≤ {max_rate:.1%}", free or rate <= max_rate
