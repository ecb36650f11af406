"""Absolute thresholds: a value of one target over all its sessions, compared with a limit.

Each statistic determines the bounds that decide (`reports.statistic_types`). If a metric is uncertain in the run, each
bound is moved by the maximum error of one of its values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from operator import ge, gt, le, lt

from reports.check.results import Limit, ThresholdResult
from reports.finding_rows import in_unit
from reports.formatting import NBSP, format_number
from reports.metric_comparison import Result
from reports.metric_spec import MetricSpec
from reports.statistics.threshold_estimate import ThresholdEstimate
from reports.statistics.verdicts import InconclusiveReason
from reports.targets.compared_target import ComparedTarget
from reports.targets.metric_specs import specs_of_thresholds
from reports.thresholds import Sign, Threshold, near
from reports.wording.cells import interval
from reports.wording.verdicts import verdict_text

UNEQUAL_SESSIONS = "Long sessions differ from short ones, and a few sessions contain many of the turns"
WITHIN_BOUNDS = InconclusiveReason("within_bounds")


def evaluate_limit(found: ThresholdEstimate, sign: Sign, limit: float) -> tuple[Result, InconclusiveReason | None]:
    """Return whether a limit is met, and why the result is not a pass or fail."""
    if not found.counts.turns:
        return "not_evaluated", InconclusiveReason("nothing_measured")
    if found.reason:
        if found.nothing_succeeded:
            return "not_evaluated", InconclusiveReason("nothing_succeeded", text=verdict_text(found.reason))
        return "inconclusive", found.reason
    meets = _MEETS[sign]
    ends = [meets(found.lower, limit), meets(found.upper, limit)]
    if all(ends):
        return "pass", None
    return ("inconclusive", WITHIN_BOUNDS) if any(ends) else ("fail", None)


_MEETS: dict[Sign, Callable[[float, float], bool]] = {"<": lt, "<=": le, ">": gt, ">=": ge}


def limit_results(threshold: Threshold, side: ComparedTarget) -> list[ThresholdResult]:
    """Return the results of an absolute threshold on a target, one per stratum."""
    if threshold.target not in ("", side.name):
        return []
    questions = specs_of_thresholds(threshold, threshold.about, [side])
    estimates = [(question, question.statistic.estimate(side, question)) for question in questions]
    measured = [one for one in estimates if one[1].counts.turns] or estimates[:1]
    results = [_result(threshold, side, question, found) for question, found in measured]
    steps = side.turns.steps
    if threshold.step and threshold.step not in steps:
        there = ", ".join(steps) or "none"
        text = f"no turn of a step {threshold.step} was measured{near(threshold.step, steps)} the steps are: {there}"
        return [replace(one, reason=InconclusiveReason("no_step", text=text)) for one in results]
    return results


def _result(
    threshold: Threshold, side: ComparedTarget, question: MetricSpec, found: ThresholdEstimate
) -> ThresholdResult:
    assert threshold.limit is not None, f"{threshold.text} is relative"
    why, notes, limit = side.uncertainty_text(question), [], Limit(threshold.sign, threshold.limit)
    if why and found.counts.turns:
        off = question.statistic.worst_bound(side, question)
        if math.isinf(off):
            uncertain = InconclusiveReason("uncertain", text=why)
            return ThresholdResult(threshold.source_text, side.name, question, "inconclusive", uncertain, limit=limit)
        found = replace(found, lower=found.lower - off, upper=found.upper + off)
        notes.append(f"each bound is widened by {format_number(off)}{NBSP}{question.unit}, its maximum uncertainty")
    result, reason = evaluate_limit(found, *limit)
    if reason == WITHIN_BOUNDS:
        reason = question.statistic.explain_limit(question, found, limit.value) or reason
        if reason == WITHIN_BOUNDS and not found.low <= limit.value <= found.high:
            bounds = interval(found.lower, found.upper, partial(in_unit, question), " and ")
            reason = InconclusiveReason(
                "within_bounds", text=f"the limit lies between the bounds that parts of the run give, {bounds}"
            )
        if found.by_session:
            value, low, high = found.by_session
            shown = f"{in_unit(question, value)} ({interval(low, high, partial(in_unit, question))})"
            notes.insert(0, f"{UNEQUAL_SESSIONS}; with equal weight per session, the value is {shown}")
    bound = math.nan
    if result in ("pass", "fail"):
        is_upper = (result == "pass") == (limit.operator in ("<", "<="))
        bound = found.upper if is_upper else found.lower
        if found.low <= limit.value <= found.high:  # the interval that is printed, not the deciding bounds
            which = "upper" if is_upper else "lower"
            notes.insert(0, f"decided by the {which} bound, {in_unit(question, bound)}")
    one = ThresholdResult(
        threshold.source_text, side.name, question, result, reason, "; ".join(notes), limit, found, bound
    )
    few = one.shortfall
    if few and question.p is None:
        events = round(found.value * found.counts.turns)
        text = f"too few {few.of} to decide: {events} of {few.there}; a rate needs {few.needs} {few.of}"
        return replace(one, reason=InconclusiveReason("too_few", text=text))
    return one
