"""Error rates of the recovery time after a peak (docs/statistics.md), in memory and seeded.

Eight probe callers ask every 2 s: 240 s before a peak of 60 s, and 300 s after it. Latencies are
log-normal, 3 % of the turns stall, and callers differ. In the peak the service is slower; then the
increase ends at once after the recovery time, or falls exponentially to the margin at it. Noise is
independent, common to all callers with an autocorrelation of 0.5 from turn to turn, or that and a
slow common drift.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from reports.statistics.recovery import ProbeTurns, Recovery, recovery_of

RUNS = 400
SPACING_S, PEAK_S = 2.0, 60.0
FALLEN = 0.1
"""The increase at the end of an exponential recovery."""
SD, OF_CALLERS, STALLED, FAILED = 0.35, 0.2, 0.03, 0.003
COMMON, CORRELATION = 0.1, 0.5
DRIFT, DRIFT_S = 0.05, 60.0
SEED = 20261129
TIMES_S = (0, 30, 120)

Floats = npt.NDArray[np.float64]
NOISES = ("independent", "correlated", "drift")


class Plan(NamedTuple):
    """What a user chooses."""

    callers: int = 8
    before_s: float = 240.0
    after_s: float = 300.0
    margin: float = 0.1


DEFAULT = Plan()
CHOICES = {
    "the defaults": DEFAULT,
    "--probes 16": Plan(callers=16),
    "--before 8m --after 10m": Plan(before_s=480.0, after_s=600.0),
    "--margin 0.2": Plan(margin=0.2),
    "--margin 0.3": Plan(margin=0.3),
}


@dataclass(frozen=True)
class Peak:
    """A peak, in which latencies are multiplied by `times`. `recovery_s` is infinite if they stay
    so.
    """

    times: float
    recovery_s: float
    shape: str = "step"

    def excess(self, at_s: Floats) -> Floats:
        """Return the increase of the log of latencies, `at_s` after the end of the peak."""
        increase = self.times - 1
        if self.shape == "step" or not self.recovery_s:
            return np.where((at_s >= -PEAK_S) & (at_s < self.recovery_s), math.log(self.times), 0)
        falling = increase * (FALLEN / increase) ** (np.maximum(at_s, 0) / self.recovery_s)
        return np.where(at_s >= -PEAK_S, np.log1p(falling), 0)


def simulated(rng: np.random.Generator, peak: Peak, noise: str, plan: Plan = DEFAULT) -> ProbeTurns:
    slots = np.arange(-(plan.before_s + PEAK_S), plan.after_s, SPACING_S)
    common = np.zeros(slots.size)
    for sd, correlation in [(COMMON, CORRELATION), (DRIFT, math.exp(-SPACING_S / DRIFT_S))][
        : NOISES.index(noise)
    ]:
        common += sd * _autoregression(rng, slots.size, correlation)
    callers = np.repeat(np.arange(plan.callers), slots.size)
    offsets = np.repeat(rng.uniform(0, SPACING_S, plan.callers), slots.size)
    at_s = np.tile(slots, plan.callers) + offsets
    log = np.repeat(OF_CALLERS * rng.standard_normal(plan.callers), slots.size)
    log = (
        log
        + np.tile(common, plan.callers)
        + SD * rng.standard_normal(at_s.size)
        + peak.excess(at_s)
    )
    latency = 600 * np.exp(log)
    latency += (rng.random(at_s.size) < STALLED) * rng.uniform(1000, 5000, at_s.size)
    latency[rng.random(at_s.size) < FAILED] = math.inf
    return ProbeTurns(at_s, latency, callers)


def _autoregression(rng: np.random.Generator, size: int, correlation: float) -> Floats:
    values = rng.standard_normal(size)
    for slot in range(1, size):
        values[slot] = correlation * values[slot - 1] + math.sqrt(1 - correlation**2) * values[slot]
    return values


def recoveries(peak: Peak, noise: str, runs: int = RUNS, plan: Plan = DEFAULT) -> list[Recovery]:
    rng = np.random.default_rng([SEED, round(10 * peak.times)])
    return [
        recovery_of(simulated(rng, peak, noise, plan), PEAK_S, SPACING_S, plan.margin)
        for _ in range(runs)
    ]


def covered(found: list[Recovery], recovery_s: float) -> float:
    return sum(low <= recovery_s <= high for _, _, low, high in found) / len(found)


def share(found: list[Recovery], *outcomes: str) -> float:
    return sum(outcome in outcomes for outcome, *_ in found) / len(found)


def main() -> None:
    header = f"{'peak':>22} {'noise':>12} {'covered':>8} {'never left':>11} {'shown':>6}"
    print(f"{header} {'median of low, value, high (s)':>32}")
    for recovery_s, shape, noise in product(TIMES_S, ("step", "exponential"), NOISES):
        if not recovery_s and shape == "exponential":
            continue
        found = recoveries(Peak(2, recovery_s, shape), noise)
        ends = [np.median([one[place] for one in found]) for place in (2, 1, 3)]
        print(
            f"{f'×2, {recovery_s} s {shape}':>22} {noise:>12} {covered(found, recovery_s):8.1%}"
            f" {share(found, 'never_left'):11.1%} {share(found, 'recovered'):6.0%}"
            f" {'  '.join(f'{end:.0f}' for end in ends):>32}"
        )
    print("\nwrong `recovered` and `never left`: the increase outlasts the run")
    for times, noise in product((1.1, 1.15, 1.3, 2), NOISES):
        found = recoveries(Peak(times, math.inf), noise)
        wrong = share(found, "recovered", "never_left")
        print(f"{f'×{times}, stays':>22} {noise:>12} {wrong:8.1%}")
    print("\nwrong `never left`: the increase ends with the peak")
    for times, noise in product((1.1, 1.15, 1.3), NOISES):
        found = recoveries(Peak(times, 0), noise)
        print(f"{f'×{times}, 0 s':>22} {noise:>12} {share(found, 'never_left'):8.1%}")
    print("\nno increase at all: `never left`")
    for noise in NOISES:
        found = recoveries(Peak(1, 0), noise)
        print(f"{'×1':>22} {noise:>12} {share(found, 'never_left'):8.1%}")
    print("\nrecovery shown, by what the user chose, of 0 s, and of 120 s exponential")
    for name, plan in CHOICES.items():
        for noise in NOISES:
            shown = (
                share(recoveries(Peak(2, time_s, "exponential"), noise, plan=plan), "recovered")
                for time_s in (0, 120)
            )
            print(f"{name:>26} {noise:>12} {'  '.join(f'{each:6.0%}' for each in shown)}")


if __name__ == "__main__":
    main()
