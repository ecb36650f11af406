"""Verdicts if latency depends on the number of the turn, and sessions of the targets differ in
length (decision 0067).

Each turn is 8 % slower than the one before. In some cases, the steps repeat within a session, and
differ in latency. Failures become more frequent with each turn. The program prints the verdicts
over all turns, and those of turns that are weighted by their number, in memory, seeded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from reports.analysis.targets.mix import classes_of, differ_in_length, in_cells, table_weights
from reports.statistics.arms import TwoSamples
from reports.statistics.autocorrelation import rate_by_order
from reports.statistics.counting import Floats, Integers
from reports.statistics.differences import Inference, Margin, quantile_differences
from reports.statistics.quantiles import Sample
from reports.statistics.rates import ClusterTotals
from reports.statistics.verdicts import verdicts
from tools.benchmarks.lengths import Lengths, equal
from tools.benchmarks.on_the_margin import error

REPETITIONS, DRAWS, SESSIONS, SEED = 300, 500, 150, 20270104
GROWTH, SIGMA, ICC = 0.08, 0.4, 0.3
NOMINAL, SMALL_BIAS = 0.05, 0.01
"""The nominal error, and what is accepted in addition, for a bias of up to 0.3 % that remains in
classes of numbers."""
MARGINS = {0.5: 0.1, 0.95: 0.2}
fixed = partial(equal, SESSIONS)


def geometric(mean: int, sessions: int = SESSIONS) -> Lengths:
    return lambda rng: rng.geometric(1 / mean, sessions)


@dataclass(frozen=True)
class Case:
    """A case. `factor` is the factor of the candidate's latency; None is exactly the margin.
    `steps` repeat.
    """

    name: str
    base: Lengths
    cand: Lengths
    factor: float | None = 1.0
    paired: bool = False
    steps: tuple[float, ...] = (1.0,)
    passes: float | None = None
    """The minimum share that must pass; None if it is not checked."""


CASES = (
    Case("10 turns each", fixed(10), fixed(10), passes=0.9),
    Case("5 and 10", fixed(5), fixed(10), passes=0.8),
    Case("5 and 10", fixed(5), fixed(10), None),
    Case("10 and 5, pairs", fixed(10), fixed(5), paired=True, passes=0.8),
    Case("10 and 5, pairs", fixed(10), fixed(5), None, paired=True),
    Case("3 steps that repeat, 5 and 10", fixed(5), fixed(10), steps=(0.6, 1.0, 1.9)),
    Case("3 steps that repeat, 5 and 10", fixed(5), fixed(10), None, steps=(0.6, 1.0, 1.9)),
    Case("geometric, 6 and 9", geometric(6), geometric(9)),
    Case("geometric, 6 and 9", geometric(6), geometric(9), None),
    Case("geometric, 6 and 6", geometric(6), geometric(6), None),
)


@dataclass(frozen=True)
class Turns:
    """The turns of a target, ascending by latency."""

    sample: Sample
    steps: Integers
    classes: Integers

    @property
    def totals(self) -> tuple[Floats, Floats]:
        """The sum of the classes, and the number of turns, in each session."""
        sessions = self.sample.sessions
        sums = (
            np.bincount(sessions, self.classes, SESSIONS),
            np.bincount(sessions, minlength=SESSIONS),
        )
        return sums[0].astype(np.float64), sums[1].astype(np.float64)


def turns(
    rng: np.random.Generator, lengths: npt.NDArray[np.int64], case: Case, factor: float, own: Floats
) -> Turns:
    session = np.repeat(np.arange(lengths.size), lengths)
    number = np.concatenate([np.arange(1, length + 1) for length in lengths])
    steps = (number - 1) % len(case.steps)
    logs = SIGMA * (
        math.sqrt(ICC) * own[session] + math.sqrt(1 - ICC) * rng.normal(size=session.size)
    )
    values = (
        factor * 500 * np.array(case.steps)[steps] * (1 + GROWTH) ** (number - 1) * np.exp(logs)
    )
    order = np.argsort(values)
    return Turns(Sample(values[order], session[order]), steps[order], classes_of(number)[order])


def main() -> bool:
    print(
        f"\nlatency grows by {GROWTH:.0%} a turn, {SESSIONS} sessions, {REPETITIONS} repetitions: %"
        " regressed / passed over all turns; as the tool decides"
    )
    latencies = [_met(case, p) for case in CASES for p in MARGINS]
    print(
        f"\nfailures grow by {100 * GROWING:g} points a turn, margin {100 * POINTS:g} points,"
        f" {FAILING} sessions"
    )
    return all(latencies + [_rates_met(case) for case in RATES])


GROWING, POINTS, FAILING = 0.01, 0.02, 300
"""The growth of the failure rate with each turn, the margin, and the number of sessions of each
target."""
RATES = (
    Case("10 turns each", equal(FAILING, 10), equal(FAILING, 10), passes=0.8),
    Case("5 and 10", equal(FAILING, 5), equal(FAILING, 10), passes=0.5),
    Case("5 and 10", equal(FAILING, 5), equal(FAILING, 10), None),
    Case("10 and 5, pairs", equal(FAILING, 10), equal(FAILING, 5), None, paired=True),
    Case("geometric, 6 and 9", geometric(6, FAILING), geometric(9, FAILING)),
    Case("geometric, 6 and 9", geometric(6, FAILING), geometric(9, FAILING), None),
    Case("geometric, 6 and 6", geometric(6, FAILING), geometric(6, FAILING), None),
)
"""`factor` None is exactly the margin: the rate of each turn is POINTS higher."""


def failing(
    rng: np.random.Generator, lengths: npt.NDArray[np.int64], more: float
) -> npt.NDArray[np.int64]:
    """Return the session of each turn, the class of its number, and whether it failed.

    The rates of sessions differ.
    """
    session = np.repeat(np.arange(lengths.size), lengths)
    number = np.concatenate([np.arange(1, length + 1) for length in lengths])
    own = rng.gamma(2, 0.5, lengths.size)[session]
    failed = rng.random(session.size) < np.minimum(1, own * (GROWING * number + more))
    return np.array([session, classes_of(number), failed])


def _of_sessions(rows: npt.NDArray[np.int64], amounts: Floats) -> Floats:
    return np.bincount(rows[0], amounts, FAILING).astype(np.float64)


def _rates_met(case: Case) -> bool:
    rng = np.random.default_rng([SEED, *case.name.encode(), 1, int(case.factor is None)])
    margin, more = Margin(points=POINTS), POINTS if case.factor is None else 0.0
    counted = np.zeros(4)
    for _ in range(REPETITIONS):
        both = failing(rng, case.base(rng), 0.0), failing(rng, case.cand(rng), more)
        size = 1 + max(int(classes.max()) for _, classes, _ in both)
        table = np.array([np.bincount(classes, minlength=size) for _, classes, _ in both])[:, None]
        ones, lengths = (
            np.ones((2, size)),
            [(_of_sessions(rows, rows[1]), _of_sessions(rows, rows[0] >= 0)) for rows in both],
        )
        differ = differ_in_length(*lengths, paired=case.paired)
        for at, weights in enumerate((ones, table_weights(table)[:, 0] if differ else ones)):
            first, second = (
                (
                    _of_sessions(rows, of_class[rows[1]] * rows[2]),
                    _of_sessions(rows, of_class[rows[1]]),
                )
                for rows, of_class in zip(both, weights, strict=True)
            )
            found = rate_by_order(
                ClusterTotals(first, second, case.paired), margin, "lower", Inference()
            )
            (verdict,) = verdicts([found], [True], [None])
            counted[2 * at : 2 * at + 2] += verdict.name == "regressed", verdict.passes
    return _printed(case, "failure_rate", counted / REPETITIONS, case.passes)


def _met(case: Case, p: float) -> bool:
    rng = np.random.default_rng(
        [SEED, *case.name.encode(), int(1000 * p), int(case.factor is None)]
    )
    margin = Margin(ratio=MARGINS[p])
    factor = 1 + margin.ratio if case.factor is None else case.factor
    counted = np.zeros(4)
    for _ in range(REPETITIONS):
        own = rng.normal(size=SESSIONS)
        base = turns(rng, case.base(rng), case, 1.0, own)
        cand = turns(
            rng, case.cand(rng), case, factor, own if case.paired else rng.normal(size=SESSIONS)
        )
        together = TwoSamples(base.sample, cand.sample, (SESSIONS, SESSIONS), case.paired)
        decided = together
        if differ_in_length(base.totals, cand.totals, paired=case.paired):
            decided = in_cells(together, [(base.steps, base.classes), (cand.steps, cand.classes)])
        for at, samples in enumerate((together, decided)):
            found = quantile_differences(
                samples, [(p, margin)], "lower", Inference(resamples=DRAWS, seed=rng)
            )
            (verdict,) = verdicts(found, [True], [None])
            counted[2 * at : 2 * at + 2] += verdict.name == "regressed", verdict.passes
    return _printed(case, f"p{100 * p:g}", counted / REPETITIONS, case.passes if p == 0.5 else None)


def _printed(case: Case, metric: str, shares: Floats, passes: float | None) -> bool:
    """Print the shares, and return whether the goals are met. `passes` is the minimum share that
    must pass.
    """
    limit = NOMINAL + SMALL_BIAS + 3 * error(NOMINAL, REPETITIONS)
    met = shares[2] <= limit
    if case.factor is None:
        met &= shares[3] <= limit
    if passes is not None:
        met &= shares[3] >= passes
    name = f"{case.name}{', on the margin' if case.factor is None else ''}, {metric}"
    text = "{:5.1f} / {:5.1f}   {:5.1f} / {:5.1f}".format(*100 * shares)
    print(f"  {name:<52}{text}{'' if met else '  goal NOT met'}", flush=True)
    return bool(met)


if __name__ == "__main__":
    main()
