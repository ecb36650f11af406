"""Absolute thresholds: a value of one target over all its sessions is compared with a limit.

Each statistic defines the bounds that decide (`reports.metrics.statistic_types`). If a metric is uncertain in the run,
they are the bounds that hold for all values that the uncertainty of each turn permits
(`reports.analysis.targets.moved`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from operator import ge, gt, le, lt

from bench.catalogue.metrics import CATALOGUE
from reports.analysis.check.results import Limit, ThresholdResult
from reports.analysis.targets.compared_target import ComparedTarget
from reports.analysis.targets.metric_specs import specs_of_thresholds
from reports.analysis.targets.moved import moved
from reports.data.samples import is_latency
from reports.formatting import NBSP, count
from reports.metrics.metric_spec import MetricSpec, Sign
from reports.metrics.thresholds import Threshold
from reports.results.reason import Reason
from reports.results.verdict import Result
from reports.statistics.threshold_estimate import ThresholdEstimate
from reports.text.cells import interval
from reports.text.verdicts import in_unit, share

UNEQUAL_SESSIONS = "Long sessions differ from short ones, and a few sessions contain many of the turns"
LOST = "no session of {} failed completely, but up to {} may fail; the limit is passed only if fewer than {} do"
WITHIN_BOUNDS = Reason("within_bounds")


def evaluate_limit(estimate: ThresholdEstimate, sign: Sign, limit: float) -> tuple[Result, Reason | None]:
    """Return the result of a limit; if this is neither pass nor fail, also the reason."""
    if not estimate.counts.turns:
        return "not_evaluated", Reason("nothing_measured")
    if estimate.reason:
        if estimate.nothing_succeeded:
            return "not_evaluated", Reason("nothing_succeeded", {"reason": estimate.reason})
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
        no_step = Reason("no_step", {"step": threshold.step, "steps": list(turns.own_names)})
        return [replace(result, reason=no_step) for result in results]
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
    uncertain, notes, limit = target.uncertain_reason(spec), [], Limit(threshold.sign, threshold.limit)
    exact = estimate
    if uncertain and estimate.counts.turns:
        estimate, errors_text = _with_errors(target, spec, estimate)
        if not errors_text:
            return ThresholdResult(threshold.source_text, target.name, spec, "inconclusive", uncertain, limit=limit)
        notes.append(f"the bounds allow for the uncertainty of each value: {errors_text}")
    result, reason = evaluate_limit(estimate, *limit)
    if reason == WITHIN_BOUNDS:
        reason = spec.statistic.explain_limit(spec, estimate, limit.value) or reason
        if reason == WITHIN_BOUNDS and not estimate.low <= limit.value <= estimate.high:
            reason = _outside_interval(spec, estimate, limit.value, exact)
        if estimate.by_session:
            value, low, high = estimate.by_session
            value_text = f"{in_unit(spec.unit, value)} ({interval(low, high, partial(in_unit, spec.unit))})"
            notes.insert(0, f"{UNEQUAL_SESSIONS}; with equal weight per session, the value is {value_text}")
    bound = math.nan
    if result in ("pass", "fail"):
        is_upper = (result == "pass") == (limit.operator in ("<", "<="))
        notes += _if_sessions_are_lost(target, spec, limit.value) if result == "pass" and is_upper else []
        bound = estimate.upper if is_upper else estimate.lower
        if estimate.low <= limit.value <= estimate.high:  # the interval that is printed, not the deciding bounds
            which = "upper" if is_upper else "lower"
            notes.insert(0, f"decided by the {which} bound, {in_unit(spec.unit, bound)}")
    threshold_result = ThresholdResult(
        threshold.source_text, target.name, spec, result, reason, "; ".join(notes), limit, estimate, bound
    )
    shortfall = threshold_result.shortfall
    if not shortfall and reason and reason.code == "too_few" and not estimate.low <= limit.value <= estimate.high:
        side = "above" if estimate.low > limit.value else "below"
        return replace(threshold_result, reason=Reason("too_few", reason.numbers | {"interval": side}))
    if shortfall and spec.p is None:
        events = round(estimate.value * estimate.counts.turns)
        return replace(threshold_result, reason=Reason("too_few", shortfall.numbers | {"events": events}))
    return threshold_result


def _outside_interval(spec: MetricSpec, estimate: ThresholdEstimate, limit: float, exact: ThresholdEstimate) -> Reason:
    """Return why a limit outside of the printed interval lies between the deciding bounds.

    `exact` is the estimate whose bounds do not allow for the uncertainty of values.
    """
    cause = "uncertainty"
    if exact.lower <= limit <= exact.upper:
        cause = "parts" if exact.by_parts else "sessions"
    numbers = {"bounds_from": cause, "lower": estimate.lower, "upper": estimate.upper, "unit": spec.unit}
    return Reason(WITHIN_BOUNDS.code, numbers)


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
