"""Coverage of intervals, and thresholds at the true value, in runs with unequal sessions
(docs/decisions/0067).

In some cases one session has most of the turns; in others the lengths have a heavy tail. The
lengths are independent of latency and failures, or correlated with them. Further cases are runs of
few sessions, and bounds that one more failure must not decrease. All
data are in memory and seeded. An interval with an open end contains all larger values, so all runs
count whose values are printed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri  # type: ignore[import-untyped, unused-ignore]

from reports.analysis.check.absolute import evaluate_limit
from reports.metrics.statistic_types.quantile import estimate_quantile
from reports.metrics.statistic_types.rate import estimate_rate
from reports.statistics.arms import TwoSamples
from reports.statistics.differences import Inference, Margin, quantile_differences
from reports.statistics.quantiles import Sample, quantiles, sample
from reports.statistics.rates import ClusterTotals, PerCluster, rate_difference, ratio_of
from reports.statistics.verdicts import verdicts
from tools.benchmarks.on_the_margin import Row, at_most, error, generator, print_rows, shown

REPETITIONS, COMPARED, CHANGED, DRAWS = 1000, 400, 1000, 500
LONG, LONGER = 40, 0.3
"""The number of turns from which a session is long, and the change in log latency of long
sessions in comparisons."""
LONG_CHANGE = {(400, 0.5): 0.08, (400, 0.95): 0.11, (100, 0.5): 0.13, (100, 0.95): 0.18}
"""The documented error, by pairs and quantile, if long sessions change.

Runs of 100 pairs often contain too few long sessions.
"""
STEP, STEP_GOALS = 0.4, (0.70, 0.15)
"""The change in log latency of long sessions in single runs of 100 Pareto lengths (index 1.3),
and the goals."""
SIGMA, ICC = 0.5, 0.3
LEVEL, NOMINAL = 0.95, 0.05
MAX_TURNS = 1000
"""The maximum number of turns in a session, because a script has an end."""
SLOWER = {
    ("60 of 5 to 15", 0.3): (LEVEL, NOMINAL),
    ("Pareto 2, 200", 0.3): (0.93, 0.07),
    ("Pareto 1.3, 100", 0.46): (0.85, 0.15),
    ("Pareto 1.3, 100", -0.46): (0.85, 0.15),
    ("Pareto 1.3, 100", 0.23): (0.80, 0.16),
    ("Pareto 1.3, 400", 0.46): (LEVEL, NOMINAL),
}
"""The goals: (minimum coverage of intervals, maximum share of thresholds at the truth that pass or
that fail).

The keys are the design and the slope, which is the change in log latency if a session is ten times
as long. Goals that are not nominal are documented (statistics.md).
"""
MIN_PRINTED = 20
"""The minimum number of runs for a statement on coverage."""
Floats = npt.NDArray[np.float64]
Lengths = Callable[[np.random.Generator], npt.NDArray[np.int64]]


def one_of(sessions: int, share: float, turns: int = 10) -> Lengths:
    """Return sessions of `turns` turns, except the last one, which has this share of all turns."""
    last = max(turns, round((sessions - 1) * turns * share / (1 - share)))
    return lambda rng: np.array([turns] * (sessions - 1) + [last])


def pareto(sessions: int, index: float, min_turns: int = 4) -> Lengths:
    return lambda rng: np.minimum(
        MAX_TURNS, min_turns * rng.random(sessions) ** (-1 / index)
    ).astype(np.int64)


def between(sessions: int, min_turns: int, max_turns: int) -> Lengths:
    return lambda rng: rng.integers(min_turns, max_turns + 1, sessions)


def equal(sessions: int, turns: int = 10) -> Lengths:
    return lambda rng: np.full(sessions, turns)


DESIGNS: dict[str, Lengths] = {
    "60 sessions of 10": equal(60),
    "one of 60 has 20 %": one_of(60, 0.2),
    "one of 60 has 50 %": one_of(60, 0.5),
    "one of 60 has 90 %": one_of(60, 0.9),
    "one of 100 has 20 %": one_of(100, 0.2),
    "60 of 5 to 15": between(60, 5, 15),
    "Pareto 1.3, 40": pareto(40, 1.3),
    "Pareto 1.3, 100": pareto(100, 1.3),
    "Pareto 1.3, 400": pareto(400, 1.3),
    "Pareto 2, 200": pareto(200, 2.0),
}
FEW = {
    f"{sessions} of {turns}, ICC {icc:g}": (equal(sessions, turns), icc)
    for sessions, turns, icc in (
        (3, 20, 0.5),
        (4, 100, 0.5),
        (5, 20, 0.8),
        (6, 20, 0.8),
        (8, 20, 0.5),
        (40, 10, 0.8),
        (200, 10, 0.8),
    )
}
"""Designs with few sessions, or with an ICC above 0.5."""


@dataclass(frozen=True)
class Failing:
    """Failures of whole sessions, or of independent turns, with probabilities that may grow with
    the length.
    """

    name: str
    sessions: int
    lengths: Lengths
    whole: bool
    grows: bool = False


FAILING = tuple(
    Failing(f"{name}, {kind}", sessions, lengths, whole, grows)
    for name, sessions, lengths in (
        ("Pareto 1.2, 300", 300, pareto(300, 1.2)),
        ("Pareto 2, 300", 300, pareto(300, 2.0)),
        ("300 of 5 to 15", 300, between(300, 5, 15)),
        ("600 of 5 to 15", 600, between(600, 5, 15)),
        ("400 of 10", 400, equal(400)),
    )
    for kind, whole, grows in (
        ("whole sessions fail", True, False),
        ("long ones fail more", True, True),
        ("turns fail", False, False),
    )
)


def main() -> bool:
    rows = [
        *intervals(),
        *few(),
        *rates(),
        *comparisons(),
        *changes(),
        *orders(),
    ]
    print("\nsessions of unequal length, few sessions")
    print_rows(rows)
    return all(met for *_, met in rows)


def waits(
    rng: np.random.Generator,
    lengths: npt.NDArray[np.int64],
    icc: float = ICC,
    slower: float = 0.0,
    step: float = 0.0,
) -> Floats:
    """Return log-normal latencies, session after session.

    `slower`: the change in log latency if a session is ten times as long. `step`: the change if a
    session is long.
    """
    own = (
        rng.normal(0, math.sqrt(icc) * SIGMA, lengths.size)
        + slower * np.log10(lengths)
        + step * (lengths >= LONG)
    )
    latencies: Floats = 600 * np.exp(
        np.repeat(own, lengths) + rng.normal(0, math.sqrt(1 - icc) * SIGMA, lengths.sum())
    )
    return latencies


def sampled(values: Floats, lengths: npt.NDArray[np.int64]) -> Sample:
    return sample(values, np.repeat(np.arange(lengths.size), lengths))


def covering(
    what: str,
    lengths: Lengths,
    icc: float,
    slower: float = 0.0,
    ps: tuple[float, ...] = (0.5, 0.95),
    goals: tuple[float, float] = (LEVEL, NOMINAL),
    step: float = 0.0,
) -> Iterable[Row]:
    """Yield the coverage of printed intervals, closed or open, and the errors of thresholds at
    the truth.
    """
    rng = generator("coverage", what, slower)
    truths = _truths(lengths, icc, slower, ps, step)
    printed, covered, ends = (dict.fromkeys(ps, 0) for _ in range(3))
    called = {(p, word): 0 for p in ps for word in ("pass", "fail")}
    for _ in range(REPETITIONS):
        session_lengths = lengths(rng)
        run = sampled(waits(rng, session_lengths, icc, slower, step), session_lengths)
        for estimate, p, truth in zip(quantiles(run, ps), ps, truths, strict=True):
            is_printed = estimate.reported or estimate.status in ("unbounded", "in_failures")
            printed[p] += is_printed
            covered[p] += is_printed and estimate.low <= truth <= estimate.high
            ends[p] += is_printed and estimate.high == math.inf
            word = evaluate_limit(estimate_quantile(run, p, session_lengths.size), "<", truth).name
            if word in ("pass", "fail"):
                called[p, word] += 1
    for p in ps:
        name = f"{what}{f', long sessions {slower:+g}' if slower else ''}, p{p * 100:g}"
        if printed[p] >= MIN_PRINTED:
            share = covered[p] / printed[p]
            formatted = (
                f"{shown(share, printed[p])}, open {ends[p] / printed[p]:.0%}, printed"
                f" {printed[p] / REPETITIONS:.0%}"
            )
            met = share >= goals[0] - 3 * error(goals[0], printed[p])
            yield f"{name}: interval covers the truth", formatted, f"≥ {goals[0]:.0%}", met
        for result in ("pass", "fail"):
            yield at_most(
                f"{name}: limit at the truth {result}",
                called[p, result],
                REPETITIONS,
                max(0.06, goals[1]),
            )


def _truths(
    lengths: Lengths, icc: float, slower: float, ps: tuple[float, ...], step: float
) -> list[float]:
    """Return the true quantiles, computed over the turns of many runs."""
    if not slower and not step:
        return [600 * math.exp(SIGMA * float(ndtri(p))) for p in ps]
    rng = np.random.default_rng(1)
    latencies = [waits(rng, lengths(rng), icc, slower, step) for _ in range(2000)]
    return [
        float(truth) for truth in np.quantile(np.concatenate(latencies), ps, method="inverted_cdf")
    ]


def intervals() -> Iterable[Row]:
    for what, lengths in DESIGNS.items():
        yield from covering(what, lengths, ICC)
    for (what, slower), goals in SLOWER.items():
        yield from covering(what, DESIGNS[what], ICC, slower, goals=goals)
    what = f"Pareto 1.3, 100, sessions from {LONG} turns {STEP:+g}"
    yield from covering(what, DESIGNS["Pareto 1.3, 100"], ICC, goals=STEP_GOALS, step=STEP)


def few() -> Iterable[Row]:
    for what, (lengths, icc) in FEW.items():
        yield from covering(what, lengths, icc, ps=(0.5, 0.95, 0.99))


def rates() -> Iterable[Row]:
    """Yield the errors of a threshold on failures that is equal to the true rate."""
    for limit in (0.01, 0.03):
        for case in FAILING:
            rng, called = generator("rates", limit, case.name), Counter[str]()
            scale = _scale(case, limit)
            for _ in range(REPETITIONS):
                session_lengths = case.lengths(rng)
                called[
                    evaluate_limit(
                        estimate_rate(failing(rng, case, session_lengths, scale)), "<", limit
                    ).name
                ] += 1
            for result in ("pass", "fail"):
                yield at_most(
                    f"rate<{limit:.0%} at {limit:.0%}, {case.name}: {result}", called[result]
                )


def _scale(case: Failing, limit: float) -> float:
    """Return the factor of the probabilities that makes the share of failed turns equal to the
    limit.
    """
    if not case.grows:
        return limit
    rng = np.random.default_rng(2)
    session_lengths = np.concatenate([case.lengths(rng) for _ in range(2000)])
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        share = float(
            (session_lengths * np.minimum(1.0, middle * session_lengths)).sum()
            / session_lengths.sum()
        )
        low, high = (middle, high) if share < limit else (low, middle)
    return low


def failing(
    rng: np.random.Generator, case: Failing, lengths: npt.NDArray[np.int64], scale: float
) -> PerCluster:
    chance = np.minimum(1.0, scale * lengths) if case.grows else np.full(lengths.size, scale)
    events = (
        lengths * (rng.random(lengths.size) < chance)
        if case.whole
        else rng.binomial(lengths, chance)
    )
    return events.astype(np.float64), lengths.astype(np.float64)


def comparisons() -> Iterable[Row]:
    """Yield the errors of paired comparisons on the margin."""
    for what in ("one of 60 has 20 %", "one of 60 has 50 %", "Pareto 1.3, 100", "60 of 5 to 15"):
        for p in (0.5, 0.95):
            rng, called = generator("pairs", what, p), {"regressed": 0, "passed": 0}
            for _ in range(COMPARED):
                session_lengths = DESIGNS[what](rng)
                base, cand = (
                    sampled(factor * waits(rng, session_lengths), session_lengths)
                    for factor in (1.0, 1.1)
                )
                differences = quantile_differences(
                    TwoSamples(
                        base, cand, (session_lengths.size, session_lengths.size), paired=True
                    ),
                    [(p, Margin(ratio=0.1))],
                    "lower",
                    Inference(resamples=DRAWS, seed=rng),
                )
                (verdict,) = verdicts(differences, [True], [None])
                called["regressed"] += verdict.name == "regressed"
                called["passed"] += verdict.passes
            for word, times in called.items():
                yield at_most(f"pairs on the margin, {what}, p{p * 100:g}: {word}", times, COMPARED)


def changes() -> Iterable[Row]:
    """Yield the errors of paired comparisons on the margin if only long sessions of the candidate
    are slower.

    Also yield the power if nothing changes, with the rule for such changes and without it. The
    lengths have a Pareto distribution of index 1.3. The margin is a margin of the quantile over all
    turns.
    """
    many, draws = pareto(100_000, 1.3), np.random.default_rng(4)
    for p in (0.5, 0.95):
        lengths = many(draws)
        populations = [waits(draws, lengths, step=step) for step in (0.0, LONGER)]
        truth = float(np.quantile(populations[1], p) / np.quantile(populations[0], p))
        for sessions, step, factor in (
            (400, LONGER, 1.1 / truth),
            (400, 0.0, 1.1),
            (400, 0.0, 1.0),
            (100, LONGER, 1.1 / truth),
        ):
            what = "long ones change" if step else "no dependence" if factor > 1 else "unchanged"
            rng, called = generator("changes", sessions, what, p), Counter[str]()
            for _ in range(CHANGED):
                lengths = pareto(sessions, 1.3)(rng)
                base, cand = (
                    sampled(waits(rng, lengths), lengths),
                    factor * waits(rng, lengths, step=step),
                )
                both = TwoSamples(
                    base, sampled(cand, lengths), (lengths.size, lengths.size), paired=True
                )
                inference = Inference(resamples=DRAWS, seed=rng)
                (difference,) = quantile_differences(
                    both, [(p, Margin(ratio=0.1))], "lower", inference
                )
                called["regressed"] += difference.worse.low > 0
                called["passed"] += difference.worse.high < 0
                if difference.by_length:
                    # sessions that are only a part of their turns are not tested for a dependence
                    # on their length
                    part = replace(both, base=replace(base, has_whole_sessions=False))
                    (difference,) = quantile_differences(
                        part, [(p, Margin(ratio=0.1))], "lower", inference
                    )
                called["passed without"] += difference.worse.high < 0
            name = f"pairs, Pareto 1.3, {sessions}, {what}, p{p * 100:g}"
            passed, without = called["passed"] / CHANGED, called["passed without"] / CHANGED
            if what == "unchanged":
                met = without - passed <= 0.04
                yield (
                    f"{name}: passed; without the rule",
                    f"{passed:.1%}; {without:.1%}",
                    "≤ 4 points",
                    met,
                )
                continue
            most = LONG_CHANGE[sessions, p] if step else 0.06
            yield at_most(f"{name}, on the margin: regressed", called["regressed"], CHANGED, most)
            yield at_most(f"{name}, on the margin: passed", called["passed"], CHANGED, most)
            yield (
                f"{name}, on the margin: passed without the rule",
                shown(without, CHANGED),
                "–",
                True,
            )


def orders() -> Iterable[Row]:
    """Yield whether upper bounds grow with each single failure.

    A run of 290 pairs that does not pass at a margin of one point must not pass because some turns
    failed in addition.
    """
    turns = np.full(290, 10.0)
    failure_counts = [
        np.where(np.arange(290) < failed, 1.0, 0.0) for failed in (0, 1, 2, 4, 8, 16, 32)
    ]
    uppers = [ratio_of((events, turns)).upper(NOMINAL) for events in failure_counts]
    difference_bounds = [
        rate_difference(
            ClusterTotals((failures, turns), (failures, turns), paired=True), Margin(points=0.01)
        ).high
        for failures in failure_counts
    ]
    for what, bounds in (("rate", uppers), ("difference", difference_bounds)):
        formatted = " ".join(f"{bound:.3%}" for bound in bounds)
        rising = bounds == sorted(bounds) and min(bounds) >= 1 - NOMINAL ** (1 / 290) - 1e-9
        yield (
            f"upper bound of a {what}, 290 sessions of 10, 0 to 32 single failures",
            formatted,
            "rising",
            rising,
        )
