"""How often a change is marked in a history in which nothing changed, and how often one is found. Invented and seeded.

Each run has sessions and turns (`statistics_errors`); its level differs from the last run's by chance: night by night,
with nights that resemble their neighbours, with a few bad nights. Promised is that at most 5 % of unchanged histories
have a mark, where nights are not more than half alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from reports.statistics.changes import LEVEL, Change, changes, comparisons, variance_of
from reports.statistics.quantiles import Floats, estimates, sample

HISTORIES, SESSIONS, TURNS = 300, 100, 10
SIGMA, ICC, STALLED, MEDIAN_MS = 0.5, 0.3, 0.03, 600.0
QUANTILES = (0.5, 0.95)
FAILED = 0.005
LEAST = (math.log(1.05), math.log(1.05), 0.01)
NEAR = 2
"""So many runs beside the true place a mark is still at it."""


@dataclass(frozen=True)
class Case:
    """`spread`: sd of a run's own level; `alike`: correlation of neighbouring runs; `bad`: share of runs that are
    1.5 times as slow by themselves. `slower_ms`: added to every wait of the last `late` runs (half of them: None).
    """

    name: str
    runs: int
    spread: float = 0.05
    alike: float = 0.0
    bad: float = 0.0
    slower_ms: float = 0.0
    late: int | None = None
    promised: bool = True


UNCHANGED = [
    *(Case(f"{runs} runs, independent nights", runs) for runs in (12, 30, 60)),
    Case("60 runs, no spread between runs", 60, spread=0.0),
    *(Case(f"{runs} runs, nights half alike", runs, spread=0.1, alike=0.5) for runs in (12, 30, 60)),
    Case("60 runs, 5 % bad nights", 60, bad=0.05),
    Case("60 runs, nights 0.8 alike", 60, spread=0.1, alike=0.8, promised=False),
]
CHANGED = [
    *(Case(f"{runs} runs, +60 ms from the middle on", runs, slower_ms=60) for runs in (12, 20, 30, 60)),
    Case("60 runs, +60 ms in the last 10", 60, slower_ms=60, late=10),
    Case("60 runs, +120 ms in the last 10", 60, slower_ms=120, late=10),
    Case("60 runs, +60 ms, spread 2 %", 60, spread=0.02, slower_ms=60, late=10),
]


def main() -> bool:
    print(f"\nhistories, {HISTORIES} each, runs of {SESSIONS} sessions × {TURNS} turns: share with a mark")
    print(f"{' ' * 40}   p50     p95  failures    any")
    met = True
    for case in UNCHANGED:
        marked = [[bool(found) for found in history] for history in histories(case)]
        shares = np.mean(marked, axis=0)
        page = float(np.mean([any(one) for one in marked]))
        most = LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / HISTORIES)
        kept = not case.promised or bool(page <= most)
        met &= kept
        cells = "  ".join(f"{share:6.1%}" for share in (*shares, page))
        print(f"  {case.name:<38}{cells}{'' if kept else '  NOT met'}", flush=True)
    print("share with a mark: of p50, p95, failures; of p50 at the true place (± 2 runs); of p50 elsewhere")
    for case in CHANGED:
        at = case.runs - (case.late or case.runs // 2)
        each = [[*map(bool, marks), *_places(marks[0], at)] for marks in histories(case)]
        cells = "  ".join(f"{share:6.1%}" for share in np.mean(each, axis=0))
        print(f"  {case.name:<38}{cells}", flush=True)
    return met


def _places(marks: list[Change], at: int) -> tuple[bool, bool]:
    near = [abs(mark.at - at) <= NEAR for mark in marks]
    return any(near), not all(near)


def histories(case: Case) -> Iterable[list[list[Change]]]:
    """The marks of each figure, in each history."""
    for seed in range(HISTORIES):
        rng = np.random.default_rng([20261122, case.runs, round(100 * case.alike), seed])
        told = [figures(rng, case, level, number) for number, level in enumerate(nights(rng, case))]
        values, variances = np.array(told).transpose(1, 2, 0)
        among = len(values) * comparisons(case.runs)
        yield [
            [*changes(one, variance, among=among, least=least).changes]
            for one, variance, least in zip(values, variances, LEAST, strict=True)
        ]


def nights(rng: np.random.Generator, case: Case) -> Floats:
    """The log of each run's own level."""
    own = rng.normal(0, 1, case.runs)
    for at in range(1, case.runs):
        own[at] = case.alike * own[at - 1] + math.sqrt(1 - case.alike**2) * own[at]
    bad: Floats = case.spread * own + (rng.random(case.runs) < case.bad) * math.log(1.5)
    return bad


def figures(rng: np.random.Generator, case: Case, level: float, number: int) -> tuple[tuple[float, ...], ...]:
    """(logs of the quantiles and the share of failed turns, their variances as reports tell them) of one run."""
    between, within = rng.normal(0, 1, (SESSIONS, 1)), rng.normal(0, 1, (SESSIONS, TURNS))
    waits = MEDIAN_MS * np.exp(level + SIGMA * (math.sqrt(ICC) * between + math.sqrt(1 - ICC) * within))
    waits += (rng.random(waits.shape) < STALLED) * rng.uniform(1000, 5000, waits.shape)
    slower = case.slower_ms if number >= case.runs - (case.late or case.runs // 2) else 0.0
    one = sample((waits + slower).ravel(), np.repeat(np.arange(SESSIONS), TURNS))
    told = estimates(one, QUANTILES)
    values = [*(math.log(estimate.value) for estimate in told), failed(rng, case)]
    return tuple(values), (*(variance_of(one.low, one.value, one.high) for one in told), 0.0)


def failed(rng: np.random.Generator, case: Case) -> float:
    """The share of failed turns of a run: half a per cent, in bad nights up to ten, a tenth alike in a session."""
    rate = FAILED * rng.lognormal(0, 0.5) + (rng.random() < case.bad) * rng.uniform(0, 0.1)
    own = rng.beta(rate * 9, (1 - rate) * 9, SESSIONS)
    return float(rng.binomial(TURNS, own).sum()) / (SESSIONS * TURNS)


if __name__ == "__main__":
    print("met" if main() else "NOT met")
