"""The conclusion of a search from its levels: which loads pass, which fail, and why. Pure.

The share of turns that violate a threshold does not fall with the load. So two levels contradict
each other if this share is significantly larger at the lower load (or at an equal load). The test
is a one-sided z test of two shares (Newcombe, "Interval estimation for the difference between
independent proportions", 1998). The variances of the shares include the design effect of sessions
and batches. The test is made for every pair of levels and every threshold. `CONTRADICTION_ALPHA` is
the error of all these tests together (Bonferroni). If two levels contradict each other, the service
changed between levels. No level then shows how the service was before or after the change, and the
search is inconclusive.
"""

import math
from collections.abc import Sequence
from itertools import permutations
from statistics import NormalDist, median

from bench.base.errors import FAIL_STATUS, INCONCLUSIVE_STATUS, INVALID_STATUS, PASS_STATUS
from reports.results.value import RESULT_OF_STATUS, Reason, Value, VerdictStatus
from rtbench.capacity.search import (
    SCHEMA_VERSION,
    CapacityDocument,
    Ended,
    LevelEntry,
    SearchPlan,
    allowed_by,
    min_time_s,
    results_of,
    stop_reason,
)
from rtbench.load_search import Bracket, bracket_of

DRIFT = 0.25
"""The relative change of p50 in the confirmation run above which the service drifts, if 95 %
intervals are disjoint."""


def conclude(
    plan: SearchPlan,
    levels: Sequence[LevelEntry],
    *,
    date_utc: str,
    target: str,
    scenario: str,
    interrupted: bool = False,
) -> CapacityDocument:
    """Return the conclusion of a search from its levels, without texts. The user ended it if
    `interrupted`.
    """
    tried = bracket_of(results_of(levels))
    contradiction = contradiction_of(levels)
    bracket = tried if contradiction is None else Bracket()
    failed = [level for level in levels if level.result == "fail"]
    point = (
        breaking_point(min(failed, key=lambda level: level.load)) if bracket.lowest_fail else None
    )
    reason: Ended = "interrupted" if interrupted else _ended(plan, levels, tried)
    highest_pass = bracket.highest_pass or None
    confirmed = next(
        (
            level.result == "pass"
            for level in levels
            if level.confirmation_run and level.load == highest_pass
        ),
        None,
    )
    status = status_of(plan.required, bracket, interrupted=interrupted)
    notes = _notes(plan, levels, tried, reason)
    return CapacityDocument(
        schema=SCHEMA_VERSION,
        date_utc=date_utc,
        target=target,
        scenario=scenario,
        simulated=any(level.simulated for level in levels),
        plan=plan,
        levels=list(levels),
        highest_pass=highest_pass,
        lowest_fail=bracket.lowest_fail,
        breaking_point=point,
        confirmed=confirmed,
        stable=contradiction is None,
        ended=reason,
        notes=[*notes, *filter(None, (contradiction, _drift(plan, levels)))],
        result=RESULT_OF_STATUS[status],
        exit_status=status,
        headline="",
    )


def _ended(plan: SearchPlan, levels: Sequence[LevelEntry], bracket: Bracket) -> Ended:
    if (early := stop_reason(plan, levels)) is not None:
        return early
    if bracket.ceiling is not None:
        at = [level for level in levels if level.load == bracket.ceiling]
        return "crashed" if at[-1].crashed else "load_generator"
    return (
        "max_reached"
        if bracket.lowest_fail is None and bracket.highest >= plan.max
        else "precision_reached"
    )


def status_of(
    required: int | None, bracket: Bracket, *, interrupted: bool = False
) -> VerdictStatus:
    """Return the exit status of a search. It passes if the load `required` passed; if this is
    None, if any load did.
    """
    load = required or 1
    if bracket.highest_pass >= load:
        return PASS_STATUS
    if bracket.lowest_fail is not None and bracket.lowest_fail <= load:
        return FAIL_STATUS
    return (
        INVALID_STATUS if bracket.ceiling is not None and not interrupted else INCONCLUSIVE_STATUS
    )


def _notes(
    plan: SearchPlan, levels: Sequence[LevelEntry], bracket: Bracket, ended: Ended
) -> list[Reason]:
    """Return the notes on single levels that a reader needs in addition to the result."""
    judged = {level.load for level in levels if level.is_evaluated}
    silent = {level.load: level.why for level in levels if level.why and level.load not in judged}
    notes = [
        Reason("level_silent", {"by": plan.by, "load": load, "reason": why})
        for load, why in silent.items()
    ]
    if ended == "load_generator" and bracket.ceiling is not None:
        notes.append(Reason("generator_limit", {"by": plan.by, "load": bracket.ceiling}))
    if ended == "max_reached" and bracket.highest not in bracket.inconclusive:
        notes.append(Reason("none_failed", {"max": plan.max}))
    if bracket.inconclusive:
        # not less than what was printed before the search
        min_s = max(min_time_s(plan), min_time_s(plan, levels))
        longer = min_s if plan.time_s < min_s else None
        notes.append(
            Reason("undecided", {"loads": list(bracket.inconclusive), "min_time_s": longer})
        )
    return notes


def _drift(plan: SearchPlan, levels: Sequence[LevelEntry]) -> Reason | None:
    """Return a note if the confirmation run differs from the earlier level at its load: the
    service drifts.
    """
    longer = next((level for level in levels if level.confirmation_run), None)
    before = next(
        (
            level
            for level in levels
            if longer and level.load == longer.load and level.result == "pass"
        ),
        None,
    )
    if longer is None or before is None:
        return None
    about = {"by": plan.by, "load": longer.load}
    if longer.result == "fail":
        return Reason("longer_run_failed", about | {"duration_s": before.duration_s})
    was = before.latency_p50
    now = longer.latency_p50
    disjoint = was.high < now.low or now.high < was.low  # False if a needed end is unknown
    if disjoint and was.value and abs(now.value / was.value - 1) > DRIFT:
        return Reason("p50_drifted", about | {"p50_ms": [was.value, now.value]})
    return None


def breaking_point(level: LevelEntry) -> Reason:
    """Return why the lowest failing level failed: the main cause of violations of its worst
    threshold.
    """
    # the list is empty if the level failed only at an early analysis
    exceeded = [share for share in level.violations if share.value.low > allowed_by(share)]
    worst = max(exceeded or level.violations, key=lambda share: share.value.low / allowed_by(share))
    causes = level.causes(worst)
    numbers = {"threshold": worst.threshold, "turns": worst.value.n} | causes
    if causes["slow"] > causes["failed"]:
        return Reason("latency", numbers)
    if 2 * causes["throttled"] >= causes["failed"]:
        return Reason("quota", numbers | {"rate_limits_remaining": level.rate_limits_remaining})
    return Reason("failures", numbers)


CONTRADICTION_ALPHA = 0.05
"""The maximum probability that the levels of a service that does not change contradict each
other."""


def contradiction_of(levels: Sequence[LevelEntry]) -> Reason | None:
    """Return a note on the two levels that contradict each other most; None if no levels do.

    `z` is the share at the lower load minus the share at the higher load, in standard errors.
    """
    comparable = [
        level
        for level in levels
        if level.is_evaluated
        and level.violations
        and all(share.value.n for share in level.violations)
    ]
    loads = [level.load for level in comparable]
    pairs = [
        (
            (lower.value - higher.value)
            / math.sqrt(_variance(lower, typical_deff) + _variance(higher, typical_deff)),
            shares[0].threshold,
            (low, lower),
            (high, higher),
        )
        for shares in zip(*(level.violations for level in comparable), strict=True)
        for values in [[share.value for share in shares]]
        for typical_deff in [median(value.deff for value in values)]
        for (low, lower), (high, higher) in permutations(zip(loads, values, strict=True), 2)
        if low <= high
    ]
    if not pairs:
        return None
    z, threshold, (low, lower), (high, higher) = max(pairs, key=lambda pair: pair[0])
    if NormalDist().cdf(-z) >= CONTRADICTION_ALPHA / len(pairs):
        return None
    both = [
        {"load": at, "share": share.value, "turns": share.n}
        for at, share in ((low, lower), (high, higher))
    ]
    return Reason("contradiction", {"threshold": threshold, "levels": both})


def _variance(share: Value, typical_deff: float) -> float:
    p = (share.value * share.n + 1) / (share.n + 2)
    return max(share.deff, typical_deff) * p * (1 - p) / share.n
