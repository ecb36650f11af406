"""Wrong stops of runs whose thresholds have `abort`, and the calls that right stops save
(docs/check.md).

The data are a model in memory: log-normal latencies (median 600 ms, sigma 0.5), of whose log
variance 30 % is between sessions; 3 % of the turns stall by 1 to 5 s; turns fail in clusters, or as
whole sessions. Sessions are independent. A limit is the exact value of the model, or lies above or
below it. Each run has its nine interim analyses, which use other numbers of sessions than planned
in half of the runs. The benchmark is seeded and takes some minutes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain, product
from typing import NamedTuple

import numpy as np

from bench.record.document import AbortAnalysisEntry
from reports.analysis.check.abort import ANALYSES, LEVEL, error_of
from reports.analysis.check.absolute import evaluate_limit, with_interim_minimum
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.statistic_types.quantile import Quantile, estimate_quantile
from reports.metrics.statistic_types.rate import FAILURES, estimate_rate
from reports.statistics.counting import Floats
from reports.statistics.quantiles import quantile, sample
from reports.statistics.rates import PerCluster
from reports.statistics.threshold_estimate import ThresholdEstimate
from reports.statistics.verdicts import SESSIONS
from tools.benchmarks import sequential
from tools.benchmarks.on_the_margin import ICC, Row, error, failing, generator, print_rows, shown

MEDIAN_MS, SIGMA, STALLED = 600.0, 0.5, 0.03
REPETITIONS, EASY, DRIFTING = 1000, 200, 300
"""The numbers of repetitions for values exactly at their limits, for others, and for services
that drift."""
SHAPES = ((100, 5), (400, 10), (1000, 1))
"""(sessions of a run, turns of each session)"""
TOGETHER = (0.1, 1.0)
"""The correlations of failures in a session. With a correlation of 1, whole sessions fail."""
FAILED = 0.02
SLOWER = 1.5
MAX_USED, MAX_USED_OF_FEW = 0.5, 0.6
"""The maximum share of the calls that runs of a much slower service may use on average, and of
runs of 100 calls."""

Estimate = Callable[[int, float], ThresholdEstimate | None]
"""The estimate of a run, given the number of sessions and the type I error of each bound.

It is None if the value is within its limit: then no bound decides that it fails.
"""


class Stop(NamedTuple):
    """The end of a simulated run: the share of its sessions that were used, and whether an
    analysis stopped it.
    """

    used: float
    is_stopped: bool


def stop_of(
    estimate: Estimate,
    spec: MetricSpec,
    limit: float,
    sessions: int,
    rng: np.random.Generator,
    tests: int = 1,
) -> Stop:
    """Return where a run stops. `tests` tests share its error."""
    is_regular, made = bool(rng.random() < 0.5), list[AbortAnalysisEntry]()
    for analysis in range(1, ANALYSES):
        share = analysis / ANALYSES
        # with a slow start, for example
        size = math.ceil(sessions * (share if is_regular else share**1.5))
        if size < max(SESSIONS, made[-1]["sessions"] + 1 if made else 0):
            continue
        made.append(AbortAnalysisEntry(sessions=size, share=share))
        found = estimate(size, error_of(made, LEVEL, tests))
        if found and evaluate_limit(with_interim_minimum(found, spec), "<", limit).name == "fail":
            return Stop(size / sessions, True)
    return Stop(1.0, False)


def latencies(rng: np.random.Generator, sessions: int, turns: int) -> Floats:
    """Return latencies in ms: a row for each session."""
    logs = math.sqrt(ICC) * rng.normal(size=(sessions, 1)) + math.sqrt(1 - ICC) * rng.normal(
        size=(sessions, turns)
    )
    stalls_ms = (rng.random(logs.shape) < STALLED) * rng.uniform(1000, 5000, logs.shape)
    waits: Floats = MEDIAN_MS * np.exp(SIGMA * logs) + stalls_ms
    return waits


@cache
def true_quantile(p: float) -> float:
    return quantile(np.sort(latencies(generator("truth"), 4_000_000, 1).ravel()), p)


def drifting_latencies(rng: np.random.Generator) -> Floats:
    """Return the latencies of a run whose service drifts (sd 10 %, time constant 300 s, a
    session every 4.5 s).
    """
    return sequential.both_targets(rng, 1.0, 0.0)[0].waits


def stops_of_quantile(
    p: float, limit: float, sessions: int, turns: int, repetitions: int
) -> list[Stop]:
    rng = generator("quantile", p, limit, sessions)
    return [
        stop_of_latencies(latencies(rng, sessions, turns), p, limit, rng)
        for _ in range(repetitions)
    ]


def stop_of_latencies(waits: Floats, p: float, limit: float, rng: np.random.Generator) -> Stop:
    """Return where a run stops. `waits` has a row for each session."""
    sessions, turns = waits.shape
    code = np.arange(sessions)

    def estimate(size: int, tail: float) -> ThresholdEstimate | None:
        first = sample(waits[:size].ravel(), np.repeat(code[:size], turns))
        return (
            estimate_quantile(first, p, size, tail=tail)
            if quantile(first.values, p) >= limit
            else None
        )

    return stop_of(estimate, MetricSpec("ttfa", Quantile(p)), limit, sessions, rng)


def stops_of_failures(
    rate: float, limit: float, together: float, sessions: int, turns: int, repetitions: int
) -> list[Stop]:
    rng = generator("failures", rate, limit, together, sessions)

    def run() -> Stop:
        events, of_session = failing(rng, rate, sessions, turns, together)

        def estimate(size: int, tail: float) -> ThresholdEstimate | None:
            first: PerCluster = events[:size], of_session[:size]
            return (
                estimate_rate(first, tail=tail)
                if first[0].sum() >= limit * first[1].sum()
                else None
            )

        return stop_of(estimate, FAILURES, limit, sessions, rng)

    return [run() for _ in range(repetitions)]


def wrong(what: str, stops: list[Stop], nominal: float = LEVEL) -> Row:
    """Return a row that is met if at most the nominal share of runs stopped, plus three standard
    errors.
    """
    share, of = sum(stop.is_stopped for stop in stops) / len(stops), len(stops)
    return (
        f"{what}: stopped",
        shown(share, of),
        f"≤ {nominal:.1%}",
        share <= nominal + 3 * error(nominal, of),
    )


def right(what: str, stops: list[Stop], max_used: float) -> list[Row]:
    share, used = (float(np.mean([stop[of] for stop in stops])) for of in (1, 0))
    return [
        (f"{what}: stopped", f"{share:.1%}", "≥ 95 %", share >= 0.95),
        (f"{what}: calls used, on average", f"{used:.0%}", f"≤ {max_used:.0%}", used <= max_used),
    ]


def rows(repetitions: int = REPETITIONS, easy: int = EASY) -> Iterator[Row]:
    for p, (sessions, turns) in product((0.95, 0.5), SHAPES):
        what, shape, truth = (
            f"p{100 * p:g}, {sessions} × {turns}",
            (sessions, turns),
            true_quantile(p),
        )
        max_used = MAX_USED_OF_FEW if sessions == SHAPES[0][0] else MAX_USED
        yield wrong(
            f"{what}, exactly at its limit", stops_of_quantile(p, truth, *shape, repetitions)
        )
        yield from right(
            f"{what}, 50 % above its limit",
            stops_of_quantile(p, truth / SLOWER, *shape, easy),
            max_used,
        )
        yield wrong(
            f"{what}, 23 % below its limit", stops_of_quantile(p, 1.3 * truth, *shape, easy), 0.0
        )
    for together, (sessions, turns) in product(TOGETHER, SHAPES[:2]):
        what, shape = (
            f"failures, ICC {together:g}, {sessions} × {turns}, limit {FAILED:.0%}",
            (sessions, turns),
        )
        yield wrong(
            f"{what}, exactly", stops_of_failures(FAILED, FAILED, together, *shape, repetitions)
        )
        yield from right(
            f"{what}, 20 % fail",
            stops_of_failures(10 * FAILED, FAILED, together, *shape, easy),
            MAX_USED,
        )
        yield wrong(
            f"{what}, 0.2 % fail",
            stops_of_failures(FAILED / 10, FAILED, together, *shape, easy),
            0.0,
        )


def drifting() -> Iterator[Row]:
    """Yield how many runs of a drifting service stop, if its long-run value is at its limit, or
    below it.
    """
    long_run = np.sort(
        np.concatenate(
            [drifting_latencies(generator("long run", n)).ravel() for n in range(DRIFTING)]
        )
    )
    for p, below in ((0.5, 1.0), (0.5, 1.1), (0.95, 1.0)):
        limit, rng = below * quantile(long_run, p), generator("drifting", p, below)
        stops = [stop_of_latencies(drifting_latencies(rng), p, limit, rng) for _ in range(DRIFTING)]
        share = float(np.mean([stop.is_stopped for stop in stops]))
        yield (
            f"drift, p{100 * p:g}, limit {below:g} of the long-run value: stopped",
            shown(share, DRIFTING),
            "–",
            True,
        )


def main() -> None:
    """Print the results and the goals."""
    for row in chain(rows(), drifting()):
        print_rows([row])


if __name__ == "__main__":
    main()
