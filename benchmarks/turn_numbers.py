"""Verdicts if latency depends on the number of the turn, and sessions of the targets differ in length (decision 0067).

Each turn is 8 % slower than the one before. In some cases, the steps repeat within a session, and differ in latency.
The program prints the verdicts over all turns, and those of turns that are weighted by their number, in memory, seeded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from benchmarks.lengths import Lengths, equal
from benchmarks.on_the_margin import error
from reports.statistics.arms import TwoSamples
from reports.statistics.counting import Floats, Integers
from reports.statistics.differences import Inference, Margin, quantile_differences
from reports.statistics.quantiles import Sample
from reports.statistics.verdicts import verdicts
from reports.targets.mix import classes_of, differ_in_length, in_cells

REPETITIONS, DRAWS, SESSIONS, SEED = 300, 500, 150, 20270104
GROWTH, SIGMA, ICC = 0.08, 0.4, 0.3
NOMINAL, SMALL_BIAS = 0.05, 0.01
"""The nominal error, and what is accepted in addition, for a bias of up to 0.3 % that remains in classes of numbers."""
MARGINS = {0.5: 0.1, 0.95: 0.2}
fixed = partial(equal, SESSIONS)


def geometric(mean: int) -> Lengths:
    return lambda rng: rng.geometric(1 / mean, SESSIONS)


@dataclass(frozen=True)
class Case:
    """A case. `factor` is the factor of the candidate's latency; None is exactly the margin. `steps` repeat."""

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
        sums = np.bincount(sessions, self.classes, SESSIONS), np.bincount(sessions, minlength=SESSIONS)
        return sums[0].astype(np.float64), sums[1].astype(np.float64)


def turns(rng: np.random.Generator, lengths: npt.NDArray[np.int64], case: Case, factor: float, own: Floats) -> Turns:
    session = np.repeat(np.arange(lengths.size), lengths)
    number = np.concatenate([np.arange(1, length + 1) for length in lengths])
    steps = (number - 1) % len(case.steps)
    logs = SIGMA * (math.sqrt(ICC) * own[session] + math.sqrt(1 - ICC) * rng.normal(size=session.size))
    values = factor * 500 * np.array(case.steps)[steps] * (1 + GROWTH) ** (number - 1) * np.exp(logs)
    order = np.argsort(values)
    return Turns(Sample(values[order], session[order]), steps[order], classes_of(number)[order])


def main() -> bool:
    print(
        f"\nlatency grows by {GROWTH:.0%} a turn, {SESSIONS} sessions, {REPETITIONS} repetitions: % regressed / passed "
        "over all turns; as the tool decides"
    )
    return all([_met(case, p) for case in CASES for p in MARGINS])


def _met(case: Case, p: float) -> bool:
    rng = np.random.default_rng([SEED, *case.name.encode(), int(1000 * p), int(case.factor is None)])
    margin = Margin(ratio=MARGINS[p])
    factor = 1 + margin.ratio if case.factor is None else case.factor
    counted = np.zeros(4)
    for _ in range(REPETITIONS):
        own = rng.normal(size=SESSIONS)
        base = turns(rng, case.base(rng), case, 1.0, own)
        cand = turns(rng, case.cand(rng), case, factor, own if case.paired else rng.normal(size=SESSIONS))
        together = TwoSamples(base.sample, cand.sample, (SESSIONS, SESSIONS), case.paired)
        decided = together
        if differ_in_length(base.totals, cand.totals, paired=case.paired):
            decided = in_cells(together, [(base.steps, base.classes), (cand.steps, cand.classes)])
        for at, samples in enumerate((together, decided)):
            found = quantile_differences(samples, [(p, margin)], "lower", Inference(resamples=DRAWS, seed=rng))
            (verdict,) = verdicts(found, [True], [None])
            counted[2 * at : 2 * at + 2] += verdict.name == "regressed", verdict.passes
    shares = counted / REPETITIONS
    limit = NOMINAL + SMALL_BIAS + 3 * error(NOMINAL, REPETITIONS)
    met = shares[2] <= limit
    if case.factor is None:
        met &= shares[3] <= limit
    if case.passes is not None and p == 0.5:
        met &= shares[3] >= case.passes
    name = f"{case.name}{', on the margin' if case.factor is None else ''}, p{100 * p:g}"
    text = "{:5.1f} / {:5.1f}   {:5.1f} / {:5.1f}".format(*100 * shares)
    print(f"  {name:<52}{text}{'' if met else '  goal NOT met'}", flush=True)
    return bool(met)


if __name__ == "__main__":
    main()
