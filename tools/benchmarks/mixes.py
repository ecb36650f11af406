"""Verdicts if the targets have different shares of a step that takes twice as long
(docs/decisions/0067). Seeded.

The program prints the verdict on p50 twice: over all turns, and with the candidate's steps weighted
to the shares of the baseline. It also prints how often a difference of the shares is stated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from reports.analysis.targets.mix import FOUND as STATED
from reports.analysis.targets.mix import differing
from reports.statistics.arms import TwoSamples
from reports.statistics.counting import Floats, Integers
from reports.statistics.differences import Difference, Inference, Margin, quantile_differences
from reports.statistics.quantiles import Sample
from reports.statistics.verdicts import verdicts

REPETITIONS, DRAWS, SESSIONS, TURNS = 400, 500, 150, 10
SIGMA, ICC, SLOW_MS, QUICK_MS = 0.4, 0.3, 1200.0, 600.0
SEED = 20261127


@dataclass(frozen=True)
class Case:
    """A case. `share` is the share of slow turns at the candidate; the baseline has 40 %.

    `factor` is the factor by which each step takes longer. `fails` is the maximum share of runs
    that may fail. `passes` is the minimum share of runs that must pass. A value of None is not
    checked.
    """

    name: str
    share: float
    factor: float = 1.0
    margin: float = 0.1
    p: float = 0.5
    fails: float | None = 0.05
    passes: float | None = None
    at_margin: bool = False


CASES = (
    Case("same shares, nothing changed", 0.4, passes=0.9),
    Case("slow 40 → 50 %, nothing changed", 0.5, passes=0.9),
    Case("slow 40 → 60 %, nothing changed", 0.6, passes=0.85),
    Case("slow 40 → 60 %, each step 10 % faster", 0.6, factor=0.9, passes=0.95),
    Case("same shares, on the margin", 0.4, factor=1.1, at_margin=True),
    Case("slow 40 → 50 %, on the margin", 0.5, factor=1.1, at_margin=True),
    Case("slow 40 → 50 %, p95 on the margin", 0.5, factor=1.1, p=0.95, at_margin=True),
    Case("slow 40 → 60 %, each step 30 % slower", 0.6, factor=1.3, fails=None),
)


def made(rng: np.random.Generator, share: float, factor: float) -> tuple[Sample, Integers]:
    """Return the turns of a run, ascending, and the step of each."""
    steps = (rng.random((SESSIONS, TURNS)) < share).astype(np.int64)
    logs = math.sqrt(ICC) * rng.normal(size=(SESSIONS, 1)) + math.sqrt(1 - ICC) * rng.normal(
        size=(SESSIONS, TURNS)
    )
    values = factor * np.where(steps, SLOW_MS, QUICK_MS) * np.exp(SIGMA * logs)
    order = np.argsort(values.ravel())
    return (
        Sample(values.ravel()[order], np.repeat(np.arange(SESSIONS), TURNS)[order]),
        steps.ravel()[order],
    )


def main() -> bool:
    print(
        f"\ndifferent shares of steps, {SESSIONS} sessions, {REPETITIONS} repetitions: % regressed"
        " / passed over all turns;"
    )
    print("  % regressed / passed if weighted; % in which different shares are reported")
    return all([_met(case) for case in CASES])


def _met(case: Case) -> bool:
    rng = np.random.default_rng([SEED, *repr(case).encode()])
    counted = np.zeros(5)
    for _ in range(REPETITIONS):
        (base, of_base), (cand, of_cand) = made(rng, 0.4, 1.0), made(rng, case.share, case.factor)
        together = TwoSamples(base, cand, (SESSIONS, SESSIONS), paired=False)
        weighted = TwoSamples(
            base, cand, (SESSIONS, SESSIONS), paired=False, steps=(of_base, of_cand)
        )
        specs = [(case.p, Margin(ratio=case.margin))]
        for at, targets in enumerate((together, weighted)):
            differences = quantile_differences(
                targets, specs, "lower", Inference(resamples=DRAWS, seed=rng)
            )
            counted[2 * at : 2 * at + 2] += _called(differences)
        counted[4] += bool(differing((_turns(base, of_base), _turns(cand, of_cand)), paired=False))
    shares = counted / REPETITIONS
    met = [shares[4] <= STATED + 3 * _error(STATED)] if case.share == 0.4 else []
    if case.fails is not None:
        met.append(shares[2] <= case.fails + 3 * _error(case.fails))
    if case.at_margin:
        met.append(shares[3] <= 0.05 + 3 * _error(0.05))
    if case.passes is not None:
        met.append(shares[3] >= case.passes - 3 * _error(case.passes))
    text = "{:5.1f} / {:5.1f}   {:5.1f} / {:5.1f}   {:5.1f}".format(*100 * shares)
    print(f"  {case.name:<42}{text}{'' if all(met) else '  goal NOT met'}", flush=True)
    return all(met)


def _called(differences: list[Difference]) -> tuple[bool, bool]:
    (verdict,) = verdicts(differences, [True], [None])
    return verdict.name == "regressed", verdict.passes


def _turns(sample: Sample, steps: Integers) -> Floats:
    """Return the number of turns by step and session."""
    return (
        np.bincount(steps * SESSIONS + sample.sessions, minlength=2 * SESSIONS)
        .reshape(2, SESSIONS)
        .astype(float)
    )


def _error(share: float) -> float:
    return math.sqrt(share * (1 - share) / REPETITIONS)


if __name__ == "__main__":
    main()
