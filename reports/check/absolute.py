"""Absolute thresholds: a value of one target over all its sessions is compared with a limit.

Each statistic defines the bounds that decide (`reports.statistic_types`). If a metric is uncertain in the run, they are
the bounds that hold for all values that the uncertainty of each turn permits (`reports.targets.moved`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from operator import ge, gt, le, lt

from bench.catalogue.metrics import CATALOGUE
from reports import step_names
from reports.check.results import Limit, ThresholdResult
from reports.finding_rows import in_unit
from reports.formatting import NBSP, count
from reports.metric_comparison import Result
from reports.metric_spec import MetricSpec
from reports.samples import is_latency
from reports.statistics.threshold_estimate import ThresholdEstimate
from reports.statistics.verdicts import InconclusiveReason
from reports.targets.compared_target import ComparedTarget
from reports.targets.metric_specs import specs_of_thresholds
from reports.targets.moved import moved
from reports.thresholds import Sign, Threshold
from reports.wording.cells import interval
from reports.wording.verdicts import beyond_limit, share, verdict_text

UNEQUAL_SESSIONS = "Long sessions differ from short ones, and a few sessions contain many of the turns"
LOST = "no session of {} failed completely, but up to {} may fail; the limit is passed only if fewer than {} do"
PARTS = "that parts of the run give"
UNCERTAIN = "that allow for the uncertainty of each value"
SESSIONS = "that the variance between sessions gives"
"""The causes of bounds that lie outside the printed interval."""
WITHIN_BOUNDS = InconclusiveReason("within_bounds")


def evaluate_limit(estimate: ThresholdEstimate, sign: Sign, limit: float) -> tuple[Result, InconclusiveReason | None]:
    """Return the result of a limit; if this is neither pass nor fail, also the reason."""
    if not estimate.counts.turns:
        return "not_evaluated", InconclusiveReason("nothing_measured")
    if estimate.reason:
        if estimate.nothing_succeeded:
            return "not_evaluated", InconclusiveReason("nothing_succeeded", text=verdict_text(estimate.reason))
        return "inconclusive", estimate.reason
    meets = _MEETS[sign]
    ends = [meets(estimate.lower, limit), meets(estimate.upper, limit)]
    if all(ends):
        return "pass", None
    return ("inconclusive", WITHIN_BOUNDS) if any(ends) else ("fail", None)


_MEETS: dict[Sign, Callable[[float, float], bool]] = {"<": lt, "<=": le, ">": gt, ">=": ge}


def limit_results(threshold: Threshold, target: ComparedTarget) -> list[ThresholdResult]:
    """Return the results of an absolute threshold on a target, one for each stratum."""
    if threshold.target not in ("", target.name):
        return []
    specs = specs_of_thresholds(threshold, threshold.about, [target])
    estimates = [(spec, spec.statistic.estimate(target, spec)) for spec in specs]
    measured = [(spec, estimate) for spec, estimate in estimates if estimate.counts.turns] or estimates[:1]
    results = [_result(threshold, target, spec, estimate) for spec, estimate in measured]
    turns = target.turns
    if threshold.step and not turns.steps_named(threshold.step).any():
        absent = f"no turn of a step {threshold.step} was measured"
        text = step_names.refusal(threshold.step, turns.own_names, absent)
        return [replace(result, reason=InconclusiveReason("no_step", text=text)) for result in results]
    return results


def _if_sessions_are_lost(target: ComparedTarget, spec: MetricSpec, limit: float) -> list[str]:
    """Return a note if a passed limit depends on failed sessions that are so rare that the run may have none."""
    metric = CATALOGUE.get(spec.metric)
    if metric is None or metric.scope != "turn" or not is_latency(metric):
        return []
    shares = spec.statistic.lost_shares(target, spec, limit)
    if shares is None:
        return []
    first, most = (f"{share(value)}{NBSP}%" for value in shares)
    return [LOST.format(count(target.sessions), most, first)]


def _result(
    threshold: Threshold, target: ComparedTarget, spec: MetricSpec, estimate: ThresholdEstimate
) -> ThresholdResult:
    assert threshold.limit is not None, f"{threshold.text} is relative"
    uncertainty, notes, limit = target.uncertainty_text(spec), [], Limit(threshold.sign, threshold.limit)
    exact = estimate
    if uncertainty and estimate.counts.turns:
        estimate, errors_text = _with_errors(target, spec, estimate)
        if not errors_text:
            reason_uncertain = InconclusiveReason("uncertain", text=uncertainty)
            return ThresholdResult(
                threshold.source_text, target.name, spec, "inconclusive", reason_uncertain, limit=limit
            )
        notes.append(f"the bounds allow for the uncertainty of each value: {errors_text}")
    result, reason = evaluate_limit(estimate, *limit)
    if reason == WITHIN_BOUNDS:
        reason = spec.statistic.explain_limit(spec, estimate, limit.value) or reason
        if reason == WITHIN_BOUNDS and not estimate.low <= limit.value <= estimate.high:
            reason = replace(reason, text=_bounds_text(spec, estimate, limit.value, exact))
        if estimate.by_session:
            value, low, high = estimate.by_session
            value_text = f"{in_unit(spec, value)} ({interval(low, high, partial(in_unit, spec))})"
            notes.insert(0, f"{UNEQUAL_SESSIONS}; with equal weight per session, the value is {value_text}")
    bound = math.nan
    if result in ("pass", "fail"):
        is_upper = (result == "pass") == (limit.operator in ("<", "<="))
        notes += _if_sessions_are_lost(target, spec, limit.value) if result == "pass" and is_upper else []
        bound = estimate.upper if is_upper else estimate.lower
        if estimate.low <= limit.value <= estimate.high:  # the interval that is printed, not the deciding bounds
            which = "upper" if is_upper else "lower"
            notes.insert(0, f"decided by the {which} bound, {in_unit(spec, bound)}")
    threshold_result = ThresholdResult(
        threshold.source_text, target.name, spec, result, reason, "; ".join(notes), limit, estimate, bound
    )
    shortfall = threshold_result.shortfall
    if not shortfall and reason and reason.kind == "too_few" and not estimate.low <= limit.value <= estimate.high:
        side = "above" if estimate.low > limit.value else "below"
        return replace(threshold_result, reason=replace(reason, text=beyond_limit(reason, side)))
    if shortfall and spec.p is None:
        events = round(estimate.value * estimate.counts.turns)
        units = shortfall.unit
        text = f"too few {units} to decide: {events} of {shortfall.there}; a rate needs {shortfall.needs} {units}"
        return replace(threshold_result, reason=InconclusiveReason("too_few", text=text))
    return threshold_result


def _bounds_text(spec: MetricSpec, estimate: ThresholdEstimate, limit: float, exact: ThresholdEstimate) -> str:
    """Return why a limit outside of the printed interval lies between the deciding bounds.

    `exact` is the estimate whose bounds do not allow for the uncertainty of values.
    """
    cause = UNCERTAIN
    if exact.lower <= limit <= exact.upper:
        cause = PARTS if exact.by_parts else SESSIONS
    bounds = interval(estimate.lower, estimate.upper, partial(in_unit, spec), " and ")
    return f"the limit lies between the bounds {cause}, {bounds}"


def _with_errors(
    target: ComparedTarget, spec: MetricSpec, estimate: ThresholdEstimate
) -> tuple[ThresholdEstimate, str]:
    """Return the estimate with bounds that allow for the maximum error of each value, and a text with these errors.

    The text is "" if no bound is known.
    """
    targets = moved(target, spec)
    if targets is None:
        return estimate, ""
    ends = [spec.statistic.estimate(part, spec) for part in (targets.lower, targets.higher)]
    lower, upper = min(end.lower for end in ends), max(end.upper for end in ends)
    is_known = math.isfinite(lower) or math.isfinite(upper)
    return replace(estimate, lower=lower, upper=upper), targets.text if is_known else ""
