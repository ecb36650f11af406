"""Verdicts against stored runs if failures and stalls come in bursts, or latencies drift
(docs/statistics.md, 0023).

The benchmark is seeded. The service is unchanged. Outages have a fixed length and begin at random
times (Poisson).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from reports.statistics.autocorrelation import dependence_test, shares_burst, with_sixths
from reports.statistics.baselines import (
    RATE_RUN_SD,
    RUN_SD,
    against_stored,
    rate_against_stored,
    stored_quantile,
    vary_by_parts,
)
from reports.statistics.counting import Floats
from reports.statistics.differences import Difference, Inference, Margin, Order
from reports.statistics.quantiles import sample
from reports.statistics.rates import PerCluster
from tools.benchmarks.bursts import turns_of
from tools.benchmarks.on_the_margin import error, waits

REPETITIONS, OF_TAILS, DRAWS, TURNS = 400, 200, 400, 10
TURN_S = 2.5
"""The duration of a turn. A session starts every 3 s (`bursts.turns_of`)."""
SEED = 20261201
STALL_MS = 2000.0
MOST, RED = 0.05, 0.02
"""The maximum shares: of each wrong verdict at a margin of 0; of unchanged services that fail at a
margin of one point, or of 20 %."""
ASSUMING = Inference(run_sd=RUN_SD, rate_run_sd=RATE_RUN_SD)


@dataclass(frozen=True)
class Case:
    """Runs of a service. `burst_s` is the length of an outage, and `share` the share of time in
    outages.

    If `burst_s` is 0, turns fail or stall one by one. `p` is the level of a quantile, None for the
    failure rate. `drift` is the sd of the log of the latency, which has an autocorrelation of 0.95
    from session to session.
    """

    sessions: int
    runs: int
    burst_s: float = 20.0
    share: float = 0.02
    p: float | None = None
    drift: float = 0.0

    @property
    def name(self) -> str:
        what = "failure_rate" if self.p is None else f"p{100 * self.p:g}"
        how = (
            f"bursts of {self.burst_s:g} s, {self.share:.1%} of the time"
            if self.burst_s
            else "one by one"
        )
        how = f"drift, sd {self.drift:.0%}" if self.drift else how
        return f"{what}, {how}, {self.runs} stored × {self.sessions}"


CASES = (
    *(Case(sessions, runs) for sessions, runs in product((100, 400), (1, 3, 5))),
    *(Case(400, 3, burst_s) for burst_s in (5.0, 60.0)),
    *(Case(400, 3, share=share) for share in (0.005, 0.05)),
    Case(400, 2),
    Case(400, 10),
    Case(400, 3, burst_s=0.0),
    *(Case(400, runs, share=share, p=0.95) for share, runs in product((0.02, 0.05), (1, 3, 5))),
    Case(400, 3, 5.0, 0.05, p=0.95),
    Case(400, 3, 20.0, 0.10, p=0.9),
    Case(400, 3, p=0.99),
    Case(400, 3, burst_s=0.0, share=0.02, p=0.95),
    *(Case(400, runs, burst_s=0.0, share=0.0, p=0.5, drift=0.1) for runs in (1, 3, 5)),
)


def in_outage(
    rng: np.random.Generator, case: Case, at_s: Floats
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Return True for each turn in an outage. Outages of one service may overlap."""
    if not case.burst_s:
        concentration = 1 / 0.1 - 1
        own = rng.beta(
            case.share * concentration + 1e-9, (1 - case.share) * concentration, (len(at_s), 1)
        )
        return rng.random(at_s.shape) < own
    begin, end = -case.burst_s, float(at_s.max())
    count = rng.poisson(-math.log(1 - case.share) / case.burst_s * (end - begin))
    starts = np.sort(np.append(rng.uniform(begin, end, count), -math.inf))
    return at_s - starts[np.searchsorted(starts, at_s, side="right") - 1] < case.burst_s


def failures_of(rng: np.random.Generator, case: Case) -> PerCluster:
    failed = in_outage(rng, case, turns_of(rng, case.sessions, TURN_S)).sum(axis=1)
    return failed.astype(np.float64), np.full(case.sessions, float(TURNS))


def latencies_of(rng: np.random.Generator, case: Case) -> Floats:
    """Return log-normal latencies with an ICC of 0.3, in ms. An outage adds STALL_MS."""
    waits_ms = waits(rng, case.sessions, 600.0, 0.5)
    waits_ms += STALL_MS * in_outage(rng, case, turns_of(rng, case.sessions, TURN_S))
    if case.drift:
        level, steps = rng.normal(), []
        for step in rng.normal(size=case.sessions):
            level = 0.95 * level + math.sqrt(1 - 0.95**2) * step
            steps.append(level)
        waits_ms *= np.exp(case.drift * np.array(steps))[:, None]
    return waits_ms


def differences_of_rates(
    rng: np.random.Generator, case: Case, margins: Sequence[Margin]
) -> list[Difference]:
    first, *others = (failures_of(rng, case) for _ in range(case.runs + 1))
    candidate, stored = with_sixths(first), [with_sixths(run) for run in others]
    bursts = shares_burst(first) or vary_by_parts(
        [(run.variance, run.by_sixths) for run in stored], "bursts"
    )
    return [
        rate_against_stored(candidate, stored, margin, inference=ASSUMING, bursts=bursts)
        for margin in margins
    ]


def differences_of_quantiles(
    rng: np.random.Generator, case: Case, margins: Sequence[Margin]
) -> list[Difference]:
    assert case.p is not None
    kind: Order = "drift" if case.p == 0.5 else "bursts"
    code = np.repeat(np.arange(case.sessions), TURNS)
    first, *others = (sample(latencies_of(rng, case).ravel(), code) for _ in range(case.runs + 1))
    own = dependence_test(first, case.sessions, case.p)
    orders = {order: None for order in (kind, own) if order}
    values = {
        order: [
            stored_quantile(run, case.p, case.sessions, rng, DRAWS, order=order)
            for run in (first, *others)
        ]
        for order in orders
    }
    known = [(value.variance, value.by_parts) for value in values[kind][1:] if value]
    found = own or (kind if vary_by_parts(known, kind) else None)
    candidate, *stored = [value for value in values[found or kind] if value]
    clusters = float(case.sessions), case.runs * case.sessions
    return [
        against_stored(candidate, stored, clusters, margin, "lower", ASSUMING, found)
        for margin in margins
    ]


def main() -> bool:
    print(
        "\nstored runs of an unchanged service, % regressed / passed at a margin of 0; % regressed"
        " at 1 point or 20 %; % in which bursts or drift were detected"
    )
    return all([_met(case) for case in CASES])


def _met(case: Case) -> bool:
    rng, counted = np.random.default_rng([SEED, *repr(case).encode()]), np.zeros(4)
    repetitions = REPETITIONS if case.p is None else OF_TAILS
    differences = differences_of_rates if case.p is None else differences_of_quantiles
    margins = Margin(), Margin(points=0.01, ratio=0.1 if case.p == 0.5 else 0.2)
    for _ in range(repetitions):
        at, wide = differences(rng, case, margins)
        counted += at.worse.low > 0, at.worse.high < 0, wide.worse.low > 0, at.order is not None
    shares = counted / repetitions
    goals = zip(shares[:3], (MOST, MOST, RED), strict=True)
    met = all(share <= most + 3 * error(most, repetitions) for share, most in goals)
    formatted = "{:5.1f} / {:4.1f}; {:4.1f}   {:5.1f}".format(*100 * shares)
    print(f"  {case.name:<66} {formatted}{'' if met else '  goal NOT met'}", flush=True)
    return met


if __name__ == "__main__":
    main()
