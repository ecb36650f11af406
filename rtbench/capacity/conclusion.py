"""The conclusion of a search from its levels: which loads pass, which fail, and why. Pure.

The share of turns that miss an objective does not fall with the load. So two levels contradict each other if the share
of missed turns is significantly larger at the lower load (or at an equal load). The test is a one-sided z test of two
shares (Newcombe, "Interval estimation for the difference between independent proportions", 1998). The variances of the
shares include the design effect of sessions and batches. The test is made for every pair of levels and every objective.
`CONTRADICTION_ALPHA` is the error of all these tests together (Bonferroni). If two levels contradict each other, the
service changed between levels. No level then shows how the service was before or after the change, and the search is
inconclusive.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import permutations
from statistics import NormalDist, median

from bench.base.errors import FAIL_STATUS, INCONCLUSIVE_STATUS, INVALID_STATUS, PASS_STATUS
from reports.formatting import NBSP, count, format_duration, join_words, percent, plural
from rtbench.capacity.search import (
    SCHEMA_VERSION,
    BreakingPoint,
    BreakingPointKind,
    CapacityDocument,
    Ended,
    Interval,
    LevelEntry,
    LoadUnit,
    RoughEstimate,
    SearchPlan,
    SloEntry,
    min_time_s,
    results_of,
    stop_reason,
    verdict_of,
)
from rtbench.load_search import Bracket, bracket_of

UNITS: dict[LoadUnit, tuple[str, str]] = {
    "concurrency": ("concurrent call", "concurrent calls"),
    "arrival_rate": ("call per minute", "calls per minute"),
}
"""A mapping from the unit of levels to its name in the singular and in the plural."""
REASONS: dict[Ended, str] = {
    "time": "its time limit was reached",
    "budget": "its budget was spent",
    "interrupted": "it was interrupted",
}
"""The reasons why a search ended before its answer had the requested precision."""
DRIFT = 0.25
"""The relative change of p50 in the confirmation run above which the notes report that the service drifts.

A second condition is that the 95 % intervals of p50, before the confirmation run and in it, are disjoint.
"""


def conclude(
    plan: SearchPlan,
    levels: Sequence[LevelEntry],
    *,
    date_utc: str,
    target: str,
    scenario: str,
    interrupted: bool = False,
) -> CapacityDocument:
    """Return the conclusion of a search from its levels. `interrupted` is True if the user ended the search."""
    tried, contradiction = bracket_of(results_of(levels)), contradiction_of(levels)
    bracket = tried if contradiction is None else Bracket()
    failed = [level for level in levels if level.result == "fail"]
    point = breaking_point(min(failed, key=lambda level: level.load)) if failed and bracket.lowest_fail else None
    reason: Ended = "interrupted" if interrupted else _ended(plan, levels, tried)
    highest_pass, lowest_fail = bracket.highest_pass or None, bracket.lowest_fail
    confirmed = next((level.result for level in levels if level.confirmation_run and level.load == highest_pass), None)
    rough = rough_estimate(levels)
    if rough is not None and (highest_pass or not rough.highest_pass) and (lowest_fail or not rough.lowest_fail):
        rough = None  # no estimate is needed: both ends were shown
    sentence = _sentence(
        plan, (highest_pass, lowest_fail), rough, point, reason, contradiction, confirmed=confirmed == "pass"
    )
    return CapacityDocument(
        schema=SCHEMA_VERSION,
        date_utc=date_utc,
        target=target,
        scenario=scenario,
        simulated=any(level.simulated for level in levels),
        plan=plan,
        levels=list(levels),
        highest_pass=highest_pass,
        lowest_fail=lowest_fail,
        breaking_point=point,
        rough_estimate=rough,
        confirmed=None if confirmed is None else confirmed == "pass",
        stable=contradiction is None,
        ended=reason,
        sentence=sentence,
        notes=_notes(plan, levels, tried, reason, stable=contradiction is None),
        exit_status=status_of(plan.required, bracket, interrupted=interrupted),
    )


def _ended(plan: SearchPlan, levels: Sequence[LevelEntry], bracket: Bracket) -> Ended:
    """Return the reason why a search ended that the user did not interrupt."""
    if (early := stop_reason(plan, levels)) is not None:
        return early
    if bracket.ceiling is not None:
        at = [level.result for level in levels if level.load == bracket.ceiling]
        return "crashed" if at[-1] == "crashed" else "load_generator"
    return "max_reached" if bracket.lowest_fail is None and bracket.highest >= plan.max else "precision_reached"


def status_of(required: int | None, bracket: Bracket, *, interrupted: bool = False) -> int:
    """Return the exit status of a search.

    The status is `PASS_STATUS` if the load `required` passed, or, if `required` is None, if any load passed.
    """
    load = required or 1
    if bracket.highest_pass >= load:
        return PASS_STATUS
    if bracket.lowest_fail is not None and bracket.lowest_fail <= load:
        return FAIL_STATUS
    return INVALID_STATUS if bracket.ceiling is not None and not interrupted else INCONCLUSIVE_STATUS


def unit(by: LoadUnit, load: int) -> str:
    """Return a load with its unit, such as `1 concurrent call` or `300 calls per minute`."""
    return f"{count(load)} {UNITS[by][load != 1]}"


def _rough_text(plan: SearchPlan, rough: RoughEstimate) -> str:
    """Return the estimate as text.

    An example is `a rough estimate of the breaking point is between 8 and 16 calls, not verified`.
    """
    if rough.highest_pass is None:
        where = f"below {unit(plan.by, rough.lowest_fail or 0)}"
    elif rough.lowest_fail is None:
        where = f"above {unit(plan.by, rough.highest_pass)}"
    else:
        where = f"between {count(rough.highest_pass)} and {unit(plan.by, rough.lowest_fail)}"
    return f"a rough estimate of the breaking point is {where}, not verified"


def _sentence(
    plan: SearchPlan,
    bounds: tuple[int | None, int | None],
    rough: RoughEstimate | None,
    point: BreakingPoint | None,
    ended: Ended,
    contradiction: str | None,
    *,
    confirmed: bool,
) -> str:
    """Return the result as a sentence without its full stop.

    `bounds` is (the highest load that passes, the lowest load that fails).
    """
    name, (passes, fails) = UNITS[plan.by][1], bounds
    if passes is not None and fails is not None:
        answer = f"passes at {count(passes)} and fails at {unit(plan.by, fails)}"
    elif passes is not None:
        answer = f"passes at {unit(plan.by, passes)}; no level failed"
    elif fails is not None:
        answer = f"fails at {unit(plan.by, fails)}; no level passed"
    elif contradiction is not None:
        answer = f"inconclusive, because levels of {name} contradict each other"
    else:
        answer = f"no level of {name} passed or failed"
    parts = [f"{answer} ({', '.join(plan.slos)})"]
    if contradiction is not None:
        parts.append(contradiction)
    if point is not None:
        parts.append(f"the breaking point is one of {point.kind} ({point.slo}: {point.words})")
    if rough is not None and (ended != "max_reached" or passes is None):
        parts.append(_rough_text(plan, rough))
    if passes is not None:
        parts.append(f"a longer run confirmed {count(passes)}" if confirmed else "not confirmed by a longer run")
    if ended in REASONS:
        parts.append(f"the search ended early, because {REASONS[ended]}")
    return "; ".join(parts)


def _notes(
    plan: SearchPlan, levels: Sequence[LevelEntry], bracket: Bracket, ended: Ended, *, stable: bool
) -> list[str]:
    """Return the notes that a reader needs in addition to the result."""
    judged = {level.load for level in levels if verdict_of(level) is not None}
    silent = {level.load: level.why for level in levels if level.why and level.load not in judged}
    notes = [
        f"the level of {unit(plan.by, load)} shows nothing about the service: {reason}"
        for load, reason in silent.items()
    ]
    if ended == "load_generator" and bracket.ceiling is not None:
        from_ = unit(plan.by, bracket.ceiling)
        notes.append(f"from {from_} on, the load generator was the limit: the service's own limit is unknown")
    if ended == "max_reached" and bracket.highest not in bracket.inconclusive:
        notes.append(f"no level failed up to --to {plan.max}: a higher --to finds the breaking point")
    if bracket.inconclusive:
        between = join_words([count(load) for load in bracket.inconclusive])
        min_s = min_time_s(plan, levels)
        longer = f" ({format_duration(min_s)} or more)" if plan.time_s < min_s else ""
        notes.append(f"inconclusive levels: {between}; a longer --max-time{longer} decides more levels")
    if not stable:
        notes.append(
            "the service changed between levels: search again with a longer --max-time, so that each level lasts "
            "longer than such a change"
        )
    return [*notes, *_drift(plan, levels)]


def _drift(plan: SearchPlan, levels: Sequence[LevelEntry]) -> list[str]:
    """Return a note if the confirmation run differs from the earlier level at the same load; otherwise [].

    Such a difference shows that the service drifts or slows down.
    """
    longer = next((level for level in levels if level.confirmation_run), None)
    before = next((level for level in levels if longer and level.load == longer.load and level.result == "pass"), None)
    if longer is None or before is None:
        return []
    name = unit(plan.by, longer.load)
    if longer.result == "fail":
        took = format_duration(before.duration_s)
        return [f"{name} passed for {took} and failed in the longer run: the service slows down under load, or drifts"]
    was, now = before.latency_p50, longer.latency_p50
    if was.value and now.value and abs(now.value / was.value - 1) > DRIFT and _differ(was, now):
        return [f"p50 of {name} was {was.value:.0f} ms, and {now.value:.0f} ms in the longer run: the service drifts"]
    return []


def _differ(interval: Interval, other: Interval) -> bool:
    """Return whether two intervals are disjoint; False if an end is unknown that is needed to decide this."""
    below = interval.high is not None and other.low is not None and interval.high < other.low
    return below or (other.high is not None and interval.low is not None and other.high < interval.low)


def breaking_point(level: LevelEntry) -> BreakingPoint:
    """Return why the lowest failing level failed.

    The reason is the main cause for which turns missed the level's worst objective.
    """
    # the list is empty if the level failed only at an early analysis
    exceeded = [share for share in level.slo_violations if share.low > share.allowed]
    worst = max(exceeded or level.slo_violations, key=lambda share: share.low / share.allowed)
    kind: BreakingPointKind = "quota" if 2 * worst.throttled >= worst.failed else "failures"
    kind = "latency" if worst.slow > worst.failed else kind
    return BreakingPoint(kind, worst.slo, _text(kind, worst, level.rate_limits_remaining))


def _text(kind: BreakingPointKind, share: SloEntry, rate_limits_remaining: Mapping[str, float]) -> str:
    """Return a text such as `240 of 812 turns were too slow, 3 failed`.

    If the breaking point is a quota, the text also has the share of the quota that remained.
    """
    turns = plural(share.turns, "turn").replace(NBSP, " ")
    counts = f"{share.slow:,} of {turns} were too slow, {share.failed:,} failed"
    if kind != "quota":
        return counts
    left = ", ".join(f"{name} {percent(left_share, 1)}" for name, left_share in rate_limits_remaining.items())
    remaining = f"; lowest remaining limits per minute: {left}" if left else "; the service reported no limits"
    return f"{counts}, of which the service throttled {share.throttled:,}{remaining}".replace(NBSP, " ")


CONTRADICTION_ALPHA = 0.05
"""The maximum probability that the levels of a service that does not change contradict each other."""


def contradiction_of(levels: Sequence[LevelEntry]) -> str | None:
    """Return a sentence about the two levels that contradict each other most; None if no levels do."""
    loads, objectives = _comparable(levels)
    pairs = [
        (_z(lower, higher, typical_deff), (low, lower), (high, higher))
        for shares in objectives
        for typical_deff in [median(share.deff for share in shares)]
        for (low, lower), (high, higher) in permutations(zip(loads, shares, strict=True), 2)
        if low <= high
    ]
    if not pairs:
        return None
    z, (low, lower), (high, higher) = max(pairs, key=lambda pair: pair[0])
    if NormalDist().cdf(-z) >= CONTRADICTION_ALPHA / len(pairs):
        return None
    return f"{_percent(lower)} at {count(low)} and {_percent(higher)} at {count(high)} missed {lower.slo}"


def _z(lower: SloEntry, higher: SloEntry, typical_deff: float) -> float:
    """Return the share at the lower load minus the share at the higher load, in standard errors."""
    variance = _variance(lower, typical_deff) + _variance(higher, typical_deff)
    return (_value(lower) - _value(higher)) / math.sqrt(variance)


def rough_estimate(levels: Sequence[LevelEntry]) -> RoughEstimate | None:
    """Return an estimate of the highest load that passes and the lowest that fails; None if no level has shares.

    For each objective, the estimate splits the levels by load into two groups. The levels of the upper group fail. In
    this group, some number of turns missed the objective, and a smaller number was allowed to miss it. The split is at
    the load at which the difference of these two numbers is largest. This is the split of isotonic regression (Barlow,
    Bartholomew, Bremner, Brunk, Statistical Inference under Order Restrictions, 1972). The estimated breaking point is
    the lowest split of all objectives.
    """
    loads, objectives = _comparable(levels)
    if not objectives:
        return None
    splits = []
    for shares in objectives:
        max_excess = excess = 0.0
        split = math.inf
        for load, share in sorted(zip(loads, shares, strict=True), key=lambda pair: -pair[0]):
            excess += (_value(share) - share.allowed) * share.turns
            if excess > max_excess:
                max_excess, split = excess, load
        splits.append(split)
    fails = min(splits)
    return RoughEstimate(
        max((load for load in loads if load < fails), default=None), None if fails == math.inf else int(fails)
    )


def _comparable(levels: Sequence[LevelEntry]) -> tuple[list[int], list[list[SloEntry]]]:
    """Return (the loads of the levels, the shares of the levels for each objective).

    Only levels that have a share for each objective are included.
    """
    comparable = [
        level
        for level in levels
        if verdict_of(level) is not None
        and level.slo_violations
        and all(share.value is not None and share.turns for share in level.slo_violations)
    ]
    by_objective = zip(*(level.slo_violations for level in comparable), strict=True)
    return [level.load for level in comparable], [list(shares) for shares in by_objective]


def _value(share: SloEntry) -> float:
    return share.value or 0.0


def _percent(share: SloEntry) -> str:
    return f"{percent(_value(share), 1)} of {plural(share.turns, 'turn')}".replace(NBSP, " ")


def _variance(share: SloEntry, typical_deff: float) -> float:
    p = (_value(share) * share.turns + 1) / (share.turns + 2)
    return max(share.deff, typical_deff) * p * (1 - p) / share.turns
