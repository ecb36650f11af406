"""Error rates of comparisons with interim analyses, and the sessions that they save
(docs/statistics.md, 0018).

The data are a model in memory. Latencies are log-normal (median 600 ms, sigma 0.5). The ten steps
have 25 % of the log variance, and 30 % of the rest is between sessions. 3 % of the turns stall by 1
to 5 s. Both targets share a drift (sd 10 %, time constant 300 s). 0.3 % of the turns fail, in
clusters. The benchmark is seeded and takes some minutes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri  # type: ignore[import-untyped, unused-ignore]

from reports.analysis.sequential.analysis import AnalysisSchedule, SequentialResult, run_analyses
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.statistic_types.quantile import Quantile, quantiles_seen
from reports.metrics.statistic_types.rate import rate_seen
from reports.statistics.arms import TwoSamples
from reports.statistics.counting import Floats
from reports.statistics.differences import Margin
from reports.statistics.group_sequential import InterimStatistic, analysis_sizes, critical_values
from reports.statistics.quantiles import sample
from tools.benchmarks import own_drift
from tools.benchmarks.on_the_margin import Row, error, of_looks, print_rows

P95 = MetricSpec("ttfa", Quantile(0.95), primary=True)
TURNS, SIGMA, STEPS_SHARE, ICC = 10, 0.5, 0.25, 0.3
STALLED, FAILED, CORRELATION = 0.03, 0.003, 0.2
DRIFT_SD, DRIFT_S, PAIR_EVERY_S = 0.10, 300.0, 4.5
PAIRS, EVERY, DRAWS = 400, 50, 600
KNOWN = {
    (4, 1): (2.734, 2.302, 2.010, 1.769),
    (8, 1): (3.163, 2.797, 2.564, 2.378, 2.220, 2.079, 1.950, 1.831),
    (8, 3): (3.470, 3.140, 2.938, 2.780, 2.646, 2.530, 2.425, 2.328),
    (10, 1): (3.291, 2.940, 2.721, 2.548, 2.401, 2.271, 2.154, 2.045, 1.944, 1.848),
    (10, 3): (3.588, 3.271, 3.078, 2.929, 2.803, 2.694, 2.595, 2.506, 2.423, 2.346),
}
"""The critical values by (number of equally spaced interim analyses, number of gates that share
5 %)."""
ON_THE_MARGIN, UNCHANGED, WORSE = 500, 300, 200
"""The numbers of repetitions for a candidate on the margin, an unchanged one, and a slower one."""
SLOWER = ((1.2, 0.93, 260), (1.3, 0.99, 125))
"""(factor of the latencies, minimum share of runs that detect it, maximum of their mean number of
pairs)

The numbers hold with the level of the tests for drift at interim analyses,
`AnalysisSchedule.dependence_error`.
"""
LATE, LATE_RUNS = ((1 / 3, 0.20), (0.5, 0.21)), 200
"""(share of the plan with equal latencies, rise after it), and the number of repetitions."""
GATES = ((0.5, 0.10), (0.95, 0.20))
POINTS = 0.01


@dataclass(frozen=True)
class Target:
    """The latencies of one target in ms: a row for each pair, and +inf for each failed turn."""

    waits: Floats

    def seen(
        self,
        other: Target,
        pairs: int,
        gates: Sequence[tuple[float, float]],
        rng: np.random.Generator,
        error: float,
    ) -> list[InterimStatistic]:
        """Return the quantile gates of the first pairs, with this target as the baseline."""
        code = np.repeat(np.arange(pairs), TURNS)
        base, cand = (sample(target.waits[:pairs].ravel(), code) for target in (self, other))
        specs = [(p, Margin(ratio=ratio)) for p, ratio in gates]
        both = TwoSamples(base, cand, (pairs, pairs), paired=True)
        return quantiles_seen(both, specs, "lower", rng, draws=DRAWS, error=error)

    def counts(self, pairs: int) -> tuple[Floats, Floats]:
        """Return the failures and turns of the first pairs."""
        return np.isinf(self.waits[:pairs]).sum(axis=1).astype(float), np.full(pairs, float(TURNS))


See = Callable[[Target, Target, int, np.random.Generator, float], list[InterimStatistic]]
"""The statistics of the gates, given baseline, candidate, the number of pairs, and the error of
tests for drift."""


def both_targets(
    rng: np.random.Generator, factor: float | Floats, failed: float = FAILED
) -> tuple[Target, Target]:
    """Return baseline and candidate; the candidate's latencies are longer by this factor, which
    may differ by pair.
    """
    keep = math.exp(-PAIR_EVERY_S / DRIFT_S)
    steps, drift = rng.normal(0, DRIFT_SD * math.sqrt(1 - keep**2), PAIRS), np.empty(PAIRS)
    drift[0] = rng.normal(0, DRIFT_SD)
    for at in range(1, PAIRS):
        drift[at] = keep * drift[at - 1] + steps[at]
    return _target(rng, drift, 1.0, failed), _target(rng, drift, factor, failed)


def _target(
    rng: np.random.Generator, drift: Floats, factor: float | Floats, failed: float
) -> Target:
    pairs = drift.size
    medians = np.linspace(-1, 1, TURNS)
    medians *= SIGMA * math.sqrt(STEPS_SHARE) / medians.std()
    residual = SIGMA**2 * (1 - STEPS_SHARE)
    logs = medians + drift[:, None] + rng.normal(0, math.sqrt(residual * ICC), (pairs, 1))
    logs = logs + rng.normal(0, math.sqrt(residual * (1 - ICC)), (pairs, TURNS))
    stall_ms = (rng.random((pairs, TURNS)) < STALLED) * rng.uniform(1000, 5000, (pairs, TURNS))
    waits = np.round(np.reshape(factor, (-1, 1)) * (600 * np.exp(logs) + stall_ms))
    cluster = 1 / CORRELATION - 1
    of_session = (
        rng.beta(failed * cluster, (1 - failed) * cluster, (pairs, 1))
        if failed
        else np.zeros((pairs, 1))
    )
    return Target(np.where(rng.random((pairs, TURNS)) < of_session, np.inf, waits))


def main() -> None:
    """Print the results and the goals."""
    rows = [
        *known_values(),
        *crossings(),
        *on_the_margin(),
        *unchanged(),
        *worse(),
        *late_effects(),
        *of_looks(),
        *own_drift.interim_analyses(),
    ]
    print_rows(rows)


def known_values() -> list[Row]:
    worst = {
        key: max(abs(bound - known) for bound, known in zip(_bounds(*key), values, strict=True))
        for key, values in KNOWN.items()
    }
    return [
        (
            f"critical values, {analyses} interim analyses, 5 % / {gates}",
            f"off by {off:.4f}",
            "≤ 0.005",
            off <= 0.005,
        )
        for (analyses, gates), off in worst.items()
    ]


def _bounds(analyses: int, gates: int) -> list[float]:
    return critical_values([k / analyses for k in range(1, analyses + 1)], 0.05 / gates)


def crossings(paths: int = 200_000, analyses: int = 8) -> list[Row]:
    """Return how often Brownian motion without drift crosses the bounds, and the bound of a
    single test.
    """
    rng, share = np.random.default_rng(600), np.arange(1, analyses + 1) / analyses
    z = np.cumsum(rng.normal(0, math.sqrt(1 / analyses), (paths, analyses)), axis=1) / np.sqrt(
        share
    )
    rate, unplanned = (
        float((z >= bounds).any(axis=1).mean())
        for bounds in (critical_values(share.tolist(), 0.05), ndtri(0.95))
    )
    return [
        (
            "paths without drift that cross a bound",
            f"{rate:.2%}",
            "4.8 to 5.2 %",
            0.048 <= rate <= 0.052,
        ),
        (
            f"paths that exceed 5 % at any of {analyses} unplanned analyses",
            f"{unplanned:.1%}",
            "–",
            True,
        ),
    ]


def on_the_margin() -> list[Row]:
    """Return the errors for a candidate exactly on the margin: either verdict is an error."""
    rows: list[Row] = []
    for p, ratio in GATES:
        results = _courses(ON_THE_MARGIN, 1 + ratio, 0.0, 1, one_gate((p, ratio)))
        ends = Counter(result.reason for result in results)
        for reason in ("regressed", "not_regressed"):
            rate = ends[reason] / ON_THE_MARGIN
            what = f"p{p * 100:g} exactly on its margin of {ratio:.0%}: {reason}"
            rows.append((what, f"{rate:.1%}", "2.5 to 7.5 %", 0.025 <= rate <= 0.075))
        share = _provisional(results)
        rows.append(
            (
                f"p{p * 100:g} on its margin, one gate: provisional",
                f"{share:.1%}",
                "≤ 10 %",
                share <= 0.10,
            )
        )
    return rows


def _provisional(results: Sequence[SequentialResult]) -> float:
    """Return the share of results in which the verdict on a gate is provisional."""
    return float(
        np.mean([any(decision.provisional for decision in result.decisions) for result in results])
    )


def late_effects() -> list[Row]:
    """Return how often p50 passes if a candidate becomes slower during the plan.

    Such a pass is right only about the pairs of the analysis that decided. So at most 5 % of
    results may be passes in which the mean effect on these pairs is beyond the margin.
    """
    rows: list[Row] = []
    for first, rise in LATE:
        factor = np.where(np.arange(PAIRS) < PAIRS * first, 1.0, 1 + rise)
        results = _courses(LATE_RUNS, factor, 0.0, 1, one_gate(GATES[0]))
        covered = [
            result.analyses[-1].pairs for result in results if result.reason == "not_regressed"
        ]
        wrong = (
            sum(
                float(np.log(factor[:pairs]).mean()) >= math.log1p(GATES[0][1]) for pairs in covered
            )
            / LATE_RUNS
        )
        what = (
            f"+{rise:.0%} after {first:.0%} of the plan: passes {len(covered) / LATE_RUNS:.0%},"
            " untrue of their pairs"
        )
        most = 0.05 + 3 * error(0.05, LATE_RUNS)
        rows.append((what, f"{wrong:.1%}", f"≤ {most:.1%}", wrong <= most))
    return rows


def unchanged() -> list[Row]:
    """Return the results of three gates if nothing changed."""
    results = _courses(UNCHANGED, 1.0, FAILED, 3, three_gates)
    green = sum(result.reason == "not_regressed" for result in results) / UNCHANGED
    red = sum(result.reason == "regressed" for result in results)
    provisional = _provisional(results)
    pairs = float(np.mean([result.analyses[-1].pairs for result in results]))
    return [
        (
            f"nothing changed, at most {PAIRS} pairs: passes",
            f"{green:.1%}",
            "≥ 70 %",
            green >= 0.70,
        ),
        ("nothing changed: regressed", f"{red} of {UNCHANGED}", "0", red == 0),
        (
            "nothing changed: any of three gates provisional",
            f"{provisional:.1%}",
            "≤ 25 %",
            provisional <= 0.25,
        ),
        (
            "nothing changed: pairs used, on average",
            f"{pairs:.0f}",
            "330 to 390",
            330 <= pairs <= 390,
        ),
    ]


def worse() -> list[Row]:
    """Return the results of three gates for a slower candidate."""
    rows: list[Row] = []
    for factor, min_share, max_pairs in SLOWER:
        results = _courses(WORSE, factor, FAILED, 3, three_gates)
        red = sum(result.reason == "regressed" for result in results) / WORSE
        pairs = float(np.mean([result.analyses[-1].pairs for result in results]))
        rows.append(
            (
                f"{factor - 1:.0%} slower: regressed",
                f"{red:.1%}",
                f"≥ {min_share:.0%}",
                red >= min_share,
            )
        )
        rows.append(
            (
                f"{factor - 1:.0%} slower: pairs used, on average",
                f"{pairs:.0f}",
                f"≤ {max_pairs}",
                pairs <= max_pairs,
            )
        )
    return rows


def one_gate(gate: tuple[float, float]) -> See:
    return lambda base, cand, pairs, rng, error: base.seen(cand, pairs, [gate], rng, error)


def three_gates(
    base: Target, cand: Target, pairs: int, rng: np.random.Generator, error: float
) -> list[InterimStatistic]:
    """Return the gates on p50, p95 and the failure rate."""
    rate = rate_seen(base.counts(pairs), cand.counts(pairs), Margin(points=POINTS), error=error)
    return [*base.seen(cand, pairs, GATES, rng, error), rate]


def _courses(
    repetitions: int,
    factor: float | Floats,
    failed: float,
    gates: int,
    see: See,
) -> list[SequentialResult]:
    schedule, results = AnalysisSchedule(PAIRS, analysis_sizes(PAIRS, EVERY), (P95,) * gates), []
    for seed in range(repetitions):
        rng = np.random.default_rng([int(1000 * float(np.mean(factor))), seed])
        base, cand = both_targets(rng, factor, failed)

        def see_pairs(
            pairs: int, base: Target = base, cand: Target = cand, rng: np.random.Generator = rng
        ) -> list[InterimStatistic]:
            return see(base, cand, pairs, rng, schedule.dependence_error(pairs))

        results.append(run_analyses(schedule, see_pairs, len(schedule.sizes)))
    return results


if __name__ == "__main__":
    main()
