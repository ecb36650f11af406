"""Concludes from the levels of a search what holds, what breaks and why, and says so; pure.

A share of turns that miss an objective does not fall with the load, whatever its curve. So levels are pooled until it
does not: isotonic regression (Barlow, Bartholomew, Bremner, Brunk, Statistical Inference under Order Restrictions,
1972). How far levels lie from that says whether the service changed by itself between them: given the b blocks of the
fit, the sum of squared deviations over k levels, in standard errors, is chi-squared with k − b degrees of freedom where
the order is true (the conditional test; Wollan, Dykstra, "Conditional tests with an order restriction as a null
hypothesis", 1986). A standard error is that of turns with the design effect of sessions and batches.

Where they contradict one another a level alone shows nothing of the time before and after it. Then each level is one
look at the service: the logs of the shares are pooled, each level alike, and with s² their mean square from the fit,
the log of a block of m levels lies within t · s/√(m/2), with k − b degrees of freedom, of what is meant; s²/2 is from
the median of a log-normal share to its mean. A load holds where the upper end of its block lies below what is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import chdtrc, stdtrit  # type: ignore[import-untyped, unused-ignore]

from bench.capacity.search import (
    ABOUT_THE_SERVICE,
    SCHEMA_VERSION,
    Bracket,
    Capacity,
    Edge,
    EdgeKind,
    Ended,
    Interval,
    LevelOutcome,
    LoadUnit,
    RoughEdge,
    SearchPlan,
    SloShare,
    bracket_of,
    early_end,
    ends_of,
    ladder_of,
    least_time_s,
)
from bench.errors import INVALID_STATUS
from bench.load_search import Bounds
from reports.numbers import NBSP, count, listed, percent, plural, span
from reports.statistics.counting import Floats, Integers

SHOWN, BELOW, UNDECIDED, GENERATOR = 0, 1, 3, INVALID_STATUS
"""Exit statuses, beside 2 for what cannot be asked so; as those of `check`."""
UNITS: dict[LoadUnit, tuple[str, str]] = {
    "concurrency": ("concurrent call", "concurrent calls"),
    "arrival_rate": ("call a minute", "calls a minute"),
}
"""What levels are counted in: of one, and of more."""
REASONS: dict[Ended, str] = {
    "time": "its time was over",
    "budget": "its budget was spent",
    "interrupted": "it was interrupted",
}
"""Why a search ended before its answer was as precise as asked for."""
UNSTEADY = (
    "its levels contradict one another, because the service drifts for longer than a level lasts: so they are pooled, "
    "and the interval is wider"
)
DRIFT = 0.25
"""A level's p50 that lies so much apart in the hold, and beyond both intervals, is a drift."""


def conclude(
    plan: SearchPlan,
    levels: Sequence[LevelOutcome],
    *,
    date_utc: str,
    target: str,
    scenario: str,
    interrupted: bool = False,
) -> Capacity:
    """Conclude from levels. `interrupted`: whether somebody ended the search."""
    bracket, steady = shown(levels)
    broke = [level for level in levels if level.result == "fail"]
    edge = edge_of(min(broke, key=lambda level: level.load)) if broke and bracket.lowest_fail else None
    played = bracket_of(ends_of(levels))
    reason: Ended = "interrupted" if interrupted else _ended(plan, levels, played)
    holds, breaks = bracket.highest_pass or None, bracket.lowest_fail
    held = next((level.result for level in levels if level.confirmation_run and level.load == holds), None)
    rough = rough_edge(levels)
    if rough is not None and not ((not holds and rough.highest_pass) or (not breaks and rough.lowest_fail)):
        rough = None  # it tells of no end that was not shown
    sentence = _sentence(plan, (holds, breaks), rough, edge, reason, held=held == "pass", steady=steady)
    return Capacity(
        schema=SCHEMA_VERSION,
        date_utc=date_utc,
        target=target,
        scenario=scenario,
        simulated=any(level.simulated for level in levels),
        plan=plan,
        levels=list(levels),
        highest_pass=holds,
        lowest_fail=breaks,
        breaking_point=edge,
        rough_estimate=rough,
        confirmed=None if held is None else held == "pass",
        stable=steady,
        ended=reason,
        sentence=sentence,
        notes=_notes(plan, levels, played, reason),
        exit_status=status_of(plan.required, bracket, interrupted=interrupted),
    )


def _ended(plan: SearchPlan, levels: Sequence[LevelOutcome], bracket: Bracket) -> Ended:
    """What ended a search that was not interrupted."""
    if (early := early_end(plan, levels)) is not None:
        return early
    if bracket.ceiling is not None:
        at = [level.result for level in levels if level.load == bracket.ceiling]
        return "crashed" if at[-1] == "crashed" else "load_generator"
    return "max_reached" if bracket.lowest_fail is None and bracket.top >= plan.max else "precision_reached"


def status_of(at_least: int | None, bracket: Bracket, *, interrupted: bool = False) -> int:
    """The exit status: whether so many were shown to hold; without a number, whether anything was."""
    wanted = at_least or 1
    if bracket.highest_pass >= wanted:
        return SHOWN
    if bracket.lowest_fail is not None and bracket.lowest_fail <= wanted:
        return BELOW
    return GENERATOR if bracket.ceiling is not None and not interrupted else UNDECIDED


def unit(by: LoadUnit, load: int) -> str:
    """`1 call at a time`, `300 calls a minute`."""
    return f"{count(load)} {UNITS[by][load != 1]}"


def _rough_words(plan: SearchPlan, rough: RoughEdge) -> str:
    """A rough estimate, which nothing shows: "By their shares alone the edge seems to lie between 8 and 16"."""
    if rough.highest_pass is None:
        where = f"below {unit(plan.by, rough.lowest_fail or 0)}"
    elif rough.lowest_fail is None:
        where = f"above {unit(plan.by, rough.highest_pass)}"
    else:
        where = f"between {count(rough.highest_pass)} and {unit(plan.by, rough.lowest_fail)}"
    return f"a rough estimate of the breaking point is {where}, not verified"


def _sentence(
    plan: SearchPlan,
    shown: tuple[int | None, int | None],
    rough: RoughEdge | None,
    edge: Edge | None,
    ended: Ended,
    *,
    held: bool,
    steady: bool,
) -> str:
    """The answer, without its full stop. `shown`: what holds and what breaks."""
    name, (holds, breaks) = UNITS[plan.by][1], shown
    if holds is not None and breaks is not None:
        answer = f"passes at {count(holds)} and fails at {unit(plan.by, breaks)}"
    elif holds is not None:
        answer = f"passes at {unit(plan.by, holds)}; no level failed"
    elif breaks is not None:
        answer = f"fails at {unit(plan.by, breaks)}; no level passed"
    else:
        answer = f"no level of {name} passed or failed"
    parts = [f"{answer} ({', '.join(plan.slos)})"]
    if not steady:
        parts.append(UNSTEADY)
    if edge is not None:
        parts.append(f"the breaking point is one of {edge.kind} ({edge.slo}: {edge.words})")
    if rough is not None and (ended != "max_reached" or holds is None):
        parts.append(_rough_words(plan, rough))
    if holds is not None:
        parts.append(f"a longer run confirmed {count(holds)}" if held else "not confirmed by a longer run")
    if ended in REASONS:
        parts.append(f"the search ended early, because {REASONS[ended]}")
    return "; ".join(parts)


def _notes(plan: SearchPlan, levels: Sequence[LevelOutcome], bracket: Bracket, ended: Ended) -> list[str]:
    """What is to be known beside the answer."""
    telling = {level.load for level in levels if level.result in ABOUT_THE_SERVICE}
    silent = {level.load: level.why for level in levels if level.why and level.load not in telling}
    notes = [f"{unit(plan.by, load)} say nothing about the service: {why}" for load, why in silent.items()]
    if ended == "load_generator" and bracket.ceiling is not None:
        from_ = unit(plan.by, bracket.ceiling)
        notes.append(f"the load generator was the limit from {from_} on: the service's own limit is unknown")
    if ended == "max_reached" and bracket.top not in bracket.inconclusive:
        notes.append(f"nothing failed up to --to {plan.max}: a higher one finds the breaking point")
    if bracket.inconclusive:
        between = listed([count(load) for load in bracket.inconclusive])
        least_s = least_time_s(ladder_of(plan))
        longer = f" ({span(least_s)} or more)" if plan.time_s < least_s else ""
        notes.append(f"inconclusive within their time: {between}; a longer --max-time{longer} decides more")
    return [*notes, *_drift(plan, levels)]


def _drift(plan: SearchPlan, levels: Sequence[LevelOutcome]) -> list[str]:
    """Where the hold is not as the level was before: the service itself drifts, or tires."""
    hold = next((level for level in levels if level.confirmation_run), None)
    before = next((level for level in levels if hold and level.load == hold.load and level.result == "pass"), None)
    if hold is None or before is None:
        return []
    name = unit(plan.by, hold.load)
    if hold.result == "fail":
        took = span(before.duration_s)
        return [f"{name} passed for {took} and failed in the longer run: the service slows down under load, or drifts"]
    was, now = before.latency_p50, hold.latency_p50
    if was.value and now.value and abs(now.value / was.value - 1) > DRIFT and _apart(was, now):
        return [f"p50 of {name} was {was.value:.0f} ms, and {now.value:.0f} ms in the longer run: the service drifts"]
    return []


def _apart(one: Interval, other: Interval) -> bool:
    """Whether two intervals have nothing in common; what has an open end may have."""
    below = one.high is not None and other.low is not None and one.high < other.low
    return below or (other.high is not None and one.low is not None and other.high < one.low)


def edge_of(level: LevelOutcome) -> Edge:
    """The edge by the lowest level that breaks: the cause of most turns that missed the objective that broke most."""
    # none where it broke at an early look alone
    shown = [share for share in level.slo_violations if share.low > share.allowed]
    worst = max(shown or level.slo_violations, key=lambda share: share.low / share.allowed)
    kind: EdgeKind = "quota" if 2 * worst.throttled >= worst.failed else "failures"
    kind = "latency" if worst.slow > worst.failed else kind
    return Edge(kind, worst.slo, _words(kind, worst, level.rate_limits_remaining))


def _words(kind: EdgeKind, share: SloShare, rate_limits_remaining: Mapping[str, float]) -> str:
    """240 of 812 turns were too slow, 3 failed; of a quota what was left of it, too."""
    turns = plural(share.turns, "turn").replace(NBSP, " ")
    counts = f"{share.slow:,} of {turns} were too slow, {share.failed:,} failed"
    if kind != "quota":
        return counts
    left = ", ".join(f"{percent(part, 1)} of its {name}" for name, part in rate_limits_remaining.items())
    remaining = f"; the minimum left was {left} a minute" if left else "; the service reported no limits"
    return f"{counts}, of which the service throttled {share.throttled:,}{remaining}".replace(NBSP, " ")


CONTRADICT = 0.01
"""Levels that lie so seldom so far from any rising share by chance contradict one another."""
TAIL, ALIKE = 0.01, 2
"""The error of each end of a block; and of so many levels one counts there, for those that follow one another may lie
in the same slow minutes. Tried in `benchmarks/capacity.py`."""


class _Fit(NamedTuple):
    """A rising curve through levels: the loads of each of its blocks, their values, and that of each level."""

    blocks: list[Integers]
    values: list[float]
    of_level: Floats


def rough_edge(levels: Sequence[LevelOutcome]) -> RoughEdge | None:
    """Where the edge seems to lie, by the shares that levels showed, whatever their bounds; None where none tells."""
    loads, shares = _told(levels)
    if not shares:
        return None
    over: set[int] = set()
    for of_levels in shares:
        fit = _rising(loads, _values(of_levels), _turns(of_levels))
        beyond = [block for block, value in zip(fit.blocks, fit.values, strict=True) if value > of_levels[0].allowed]
        over.update(int(load) for block in beyond for load in block)
    return RoughEdge(max((int(load) for load in loads if load not in over), default=None), min(over, default=None))


def shown(levels: Sequence[LevelOutcome]) -> tuple[Bracket, bool]:
    """What levels have shown, and whether they agree; where they do not, it is what all of them show together."""
    bracket = bracket_of(ends_of(levels))
    loads, shares = _told(levels)
    if not any(_contradict(loads, of_levels) < CONTRADICT / len(shares) for of_levels in shares):
        return bracket, True
    found = [_ends(loads, of_levels) for of_levels in shares]
    breaks = [ends.too_much for ends in found if ends.too_much is not None]
    return bracket._replace(highest_pass=min(ends.good for ends in found), lowest_fail=min(breaks, default=None)), False


def _contradict(loads: Integers, shares: Sequence[SloShare]) -> float:
    """How often levels lie so far from any rising share by chance."""
    values, turns = _values(shares), _turns(shares)
    deffs = np.array([share.deff for share in shares])
    fit = _rising(loads, values, turns)
    free = loads.size - len(fit.blocks)
    if not free:
        return 1.0
    least = 1 / (turns + 2)
    p = np.clip(fit.of_level, least, 1 - least)
    variance = np.maximum(deffs, np.median(deffs)) * p * (1 - p) / turns
    return float(chdtrc(free, ((values - fit.of_level) ** 2 / variance).sum()))


def _ends(loads: Integers, shares: Sequence[SloShare]) -> Bounds:
    """What holds and what breaks by all levels together."""
    turns, allowed = _turns(shares), math.log(shares[0].allowed)
    logs = np.log((_values(shares) * turns + 0.5) / (turns + 0.5))
    fit = _rising(loads, logs, np.ones(loads.size))
    free = max(1, loads.size - len(fit.blocks))
    square = float(((logs - fit.of_level) ** 2).sum()) / free
    holds, breaks = 0, None
    for block, value in zip(fit.blocks, fit.values, strict=True):
        looks = max(1.0, float(np.isin(loads, block).sum()) / ALIKE)
        reach = float(stdtrit(free, 1 - TAIL)) * math.sqrt(square / looks)
        if value + square / 2 + reach < allowed:
            holds = int(block[-1])
        if breaks is None and value + square / 2 - reach > allowed:
            breaks = int(block[0])
    return Bounds(holds, breaks)


def _rising(loads: Integers, values: Floats, weights: Floats) -> _Fit:
    known, place = np.unique(loads, return_inverse=True)
    together = np.bincount(place, weights)
    fit = isotonic_regression(np.bincount(place, weights * values) / together, weights=together)
    ends = list(zip(fit.blocks[:-1], fit.blocks[1:], strict=True))
    return _Fit([known[first:last] for first, last in ends], [float(fit.x[first]) for first, _ in ends], fit.x[place])


def _told(levels: Sequence[LevelOutcome]) -> tuple[Integers, list[list[SloShare]]]:
    """The loads of the levels that show a share of each objective, and of each objective their shares."""
    about = [level for level in levels if level.result in ABOUT_THE_SERVICE and level.slo_violations]
    telling = [
        level for level in about if all(share.value is not None and share.turns for share in level.slo_violations)
    ]
    shares = [list(of_levels) for of_levels in zip(*(level.slo_violations for level in telling), strict=True)]
    return np.array([level.load for level in telling], dtype=np.int64), shares


def _values(shares: Sequence[SloShare]) -> Floats:
    return np.array([share.value or 0.0 for share in shares])


def _turns(shares: Sequence[SloShare]) -> Floats:
    return np.array([share.turns for share in shares], dtype=np.float64)
