"""The frequency of marks of `rtbench trend` in histories without a change and with one
(docs/trend.md).

Each run has sessions and turns as in `statistics_errors`. The levels of runs differ by chance: the
nights are independent or correlated, a few are bad, or weekends are slower. At most 5 % of
unchanged histories may ever have a mark, if the history is read every night and the autocorrelation
of nights is at most 0.5. The benchmark is seeded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from reports.statistics.change_points import (
    DAY,
    ENOUGH,
    LEVEL,
    ChangePoints,
    find_changes,
    variance_of,
)
from reports.statistics.counting import Floats
from reports.statistics.quantiles import quantiles, sample

HISTORIES, SESSIONS, TURNS = 300, 100, 10
NIGHTLY, NIGHTS = 200, 120
"""The number of histories that are read every night, and the number of nights."""
SIGMA, ICC, STALLED, MEDIAN_MS = 0.5, 0.3, 0.03, 600.0
QUANTILES = (0.5, 0.95)
FAILED = 0.005
MIN_RUNS = (math.log(1.05), math.log(1.05), 0.01)
NEAR = 2
"""The maximum distance of a correct mark from the true position, in runs."""


@dataclass(frozen=True)
class Case:
    """A type of history, with one run a night.

    `spread` is the standard deviation of a run's own level. `alike` is the correlation of
    neighbouring runs. `bad` is the share of bad runs, which are 1.5 times as slow. `weekend` is the
    share by which Saturdays and Sundays are slower. `slower_ms` is the time that is added to every
    latency of the last `late` runs. `promised` is True if the share of marks has a limit.
    """

    name: str
    runs: int
    spread: float = 0.05
    alike: float = 0.0
    bad: float = 0.0
    weekend: float = 0.0
    slower_ms: float = 0.0
    late: int = 0
    promised: bool = True


UNCHANGED = [
    *(Case(f"{runs} runs, independent nights", runs) for runs in (12, 30, 60)),
    Case("60 runs, no spread between runs", 60, spread=0.0),
    *(
        Case(f"{runs} runs, nights half alike", runs, spread=0.1, alike=0.5)
        for runs in (12, 30, 60)
    ),
    Case("60 runs, 5 % bad nights", 60, bad=0.05),
    *(Case(f"{runs} runs, weekends 15 % slower", runs, weekend=0.15) for runs in (30, 60)),
    Case("60 runs, weekends 15 % slower, nights half alike", 60, alike=0.5, weekend=0.15),
    Case("60 runs, nights 0.8 alike", 60, spread=0.1, alike=0.8, promised=False),
]
REMADE = [
    Case("independent nights", NIGHTS),
    Case("nights 0.3 alike", NIGHTS, alike=0.3),
    Case("nights half alike", NIGHTS, alike=0.5),
    Case("weekends 15 % slower", NIGHTS, weekend=0.15),
    Case("nights 0.7 alike", NIGHTS, alike=0.7, promised=False),
    Case("nights 0.7 alike, spread 10 %", NIGHTS, spread=0.1, alike=0.7, promised=False),
    Case("nights 0.9 alike, spread 10 %", NIGHTS, spread=0.1, alike=0.9, promised=False),
]
FOUND = [
    Case(
        f"{name}, +{ms} ms", 100, spread=spread, alike=alike, weekend=weekend, slower_ms=ms, late=60
    )
    for ms in (60, 150)
    for name, spread, alike, weekend in (
        ("spread 2 %", 0.02, 0.0, 0.0),
        ("spread 5 %", 0.05, 0.0, 0.0),
        ("spread 5 %, half alike", 0.05, 0.5, 0.0),
        ("spread 2 %, weekends 15 % slower", 0.02, 0.0, 0.15),
        ("spread 5 %, weekends 15 % slower", 0.05, 0.0, 0.15),
    )
]


def main() -> bool:
    print(
        f"\nunchanged, {HISTORIES} histories each, runs of {SESSIONS} sessions × {TURNS} turns:"
        " share with a mark"
    )
    print(f"{' ' * 50}   p50     p95  failures    any")
    met = True
    for case in UNCHANGED:
        marked = [
            [is_marked(found) for found in marks(case, *made(case, seed))]
            for seed in range(HISTORIES)
        ]
        page = float(np.mean([any(flags) for flags in marked]))
        met &= _kept(case, [*np.mean(marked, axis=0), page], HISTORIES)
    print(
        f"evaluated every night for {NIGHTS} nights, {NIGHTLY} histories each: share that ever had"
        " a mark"
    )
    for case in REMADE:
        ever = [
            any(any(map(is_marked, found)) for _, found in nightly(case, *made(case, seed)))
            for seed in range(NIGHTLY)
        ]
        met &= _kept(case, [float(np.mean(ever))], NIGHTLY)
    print(
        "a change after 40 of 100 nights: share with a mark of p50 at it; nights until the mark,"
        " median (p90); share with a mark before it"
    )
    for case in FOUND:
        delays = [_delay(case, seed) for seed in range(HISTORIES // 3)]
        median, p90 = np.quantile(delays, (0.5, 0.9), method="higher")
        shares = np.mean([[math.isfinite(delay), delay < 0] for delay in delays], axis=0)
        print(
            f"  {case.name:<48}{shares[0]:6.1%}  {median:4g} ({p90:g})  {shares[1]:6.1%}",
            flush=True,
        )
    return met


def is_marked(found: ChangePoints) -> bool:
    return bool(found.changes or found.slow)


def _kept(case: Case, shares: Sequence[float], of: int) -> bool:
    """Print the shares; return whether the last one is at most 5 %, plus three standard errors
    for `of` histories.
    """
    is_met = not case.promised or shares[-1] <= LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / of)
    cells = "  ".join(f"{share:6.1%}" for share in shares)
    print(f"  {case.name:<48}{cells}{'' if is_met else '  goal NOT met'}", flush=True)
    return is_met


def _delay(case: Case, seed: int) -> float:
    """Return the number of nights from the step until p50 has a mark at the step.

    The result is negative if p50 had a mark before the step, and infinite if it has no mark.
    """
    values, variances = made(case, seed)
    at = case.runs - case.late
    for night, (found,) in nightly(case, values[:1], variances[:1], figures=3):
        if is_marked(found) and night <= at:
            return night - at - 1
        if any(abs(change.at - at) <= NEAR + 1 for change in found.changes):
            return night - at
    return math.inf


def made(case: Case, seed: int) -> tuple[Floats, Floats]:
    """Return the metrics of the runs and their variances, both with the shape (metrics, runs).

    The metrics are the logs of the quantiles, and the share of failed turns.
    """
    rng = np.random.default_rng([20261122, case.runs, round(100 * case.alike), seed])
    values_by_night = [
        figures(rng, case, level, number) for number, level in enumerate(nights(rng, case))
    ]
    values, variances = np.array(values_by_night).transpose(1, 2, 0)
    return values, variances


def nightly(
    case: Case, values: Floats, variances: Floats, figures: int = 0
) -> Iterable[tuple[int, list[ChangePoints]]]:
    """Yield (night, marks on the page of this night), from the first night on which a mark is
    possible.
    """
    for night in range(ENOUGH, values.shape[1] + 1):
        yield night, marks(case, values[:, :night], variances[:, :night], figures)


def marks(case: Case, values: Floats, variances: Floats, figures: int = 0) -> list[ChangePoints]:
    """Return the changes of each metric; `figures`: the number of metrics on the page."""
    hours = np.arange(values.shape[1]) * DAY.size
    return [
        find_changes(
            series,
            variance,
            hours // DAY.size,
            hours,
            among=figures or len(values),
            min_change=min_change,
        )
        for series, variance, min_change in zip(values, variances, MIN_RUNS, strict=False)
    ]


def nights(rng: np.random.Generator, case: Case) -> Floats:
    """Return the log of each run's own level."""
    own = rng.normal(0, 1, case.runs)
    for at in range(1, case.runs):
        own[at] = case.alike * own[at - 1] + math.sqrt(1 - case.alike**2) * own[at]
    bad = (rng.random(case.runs) < case.bad) * math.log(1.5)
    weekend = np.isin(np.arange(case.runs) % 7, (2, 3)) * math.log1p(case.weekend)
    levels: Floats = case.spread * own + bad + weekend
    return levels


def figures(
    rng: np.random.Generator, case: Case, level: float, number: int
) -> tuple[tuple[float, ...], ...]:
    """Return (metrics, their variances as in reports) of one run.

    The metrics are the logs of the quantiles, and the share of failed turns.
    """
    between, within = rng.normal(0, 1, (SESSIONS, 1)), rng.normal(0, 1, (SESSIONS, TURNS))
    waits = MEDIAN_MS * np.exp(
        level + SIGMA * (math.sqrt(ICC) * between + math.sqrt(1 - ICC) * within)
    )
    waits += (rng.random(waits.shape) < STALLED) * rng.uniform(1000, 5000, waits.shape)
    slower = case.slower_ms if number >= case.runs - case.late else 0.0
    turns = sample((waits + slower).ravel(), np.repeat(np.arange(SESSIONS), TURNS))
    estimates = quantiles(turns, QUANTILES)
    values = [*(math.log(estimate.value) for estimate in estimates), failed(rng, case)]
    return tuple(values), (
        *(variance_of(estimate.low, estimate.value, estimate.high) for estimate in estimates),
        0.0,
    )


def failed(rng: np.random.Generator, case: Case) -> float:
    """Return the share of failed turns of a run: 0.5 %, up to ten points more in bad nights.

    Failures have an ICC of 0.1 in sessions.
    """
    rate = FAILED * rng.lognormal(0, 0.5) + (rng.random() < case.bad) * rng.uniform(0, 0.1)
    own = rng.beta(rate * 9, (1 - rate) * 9, SESSIONS)
    return float(rng.binomial(TURNS, own).sum()) / (SESSIONS * TURNS)


if __name__ == "__main__":
    print("all goals met" if main() else "a goal was NOT met")
