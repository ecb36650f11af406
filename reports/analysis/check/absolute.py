"""Absolute thresholds: a value of one target over all its sessions is compared with a limit.

Each statistic defines the bounds that decide (`reports.metrics.statistic_types`). If a metric is
uncertain in the run, or turns are unscored, they are the bounds that hold for all values that the
uncertainty of each turn permits, and for each score of an unscored turn
(`reports.analysis.targets.moved`).
"""

import math
from collections.abc import Callable
from dataclasses import replace
from operator import ge, gt, le, lt

from bench.catalogue.metrics import CATALOGUE
from reports.analysis.targets.compared_target import ComparedTarget
from reports.analysis.targets.metric_specs import specs_of_thresholds
from reports.data.samples import is_latency
from reports.engine.judge import Judged
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.thresholds import Threshold
from reports.results.value import Reason, Sign
from reports.statistics.threshold_estimate import (
    NO_TURNS,
    TAIL,
    TargetCounts,
    ThresholdEstimate,
    few_sessions,
)
from reports.statistics.verdicts import Verdict

WITHIN_BOUNDS = Reason("within_bounds")


def evaluate_limit(estimate: ThresholdEstimate, sign: Sign, limit: float) -> Verdict:
    """Return the verdict on a limit; if this is neither pass nor fail, with the reason."""
    if not estimate.counts.turns:
        return Verdict("not_evaluated", Reason("nothing_measured"))
    if estimate.reason:
        if estimate.nothing_succeeded and not _MEETS[sign](estimate.value, limit):
            return Verdict("fail", Reason("nothing_succeeded"))
        return Verdict("inconclusive", estimate.reason)
    meets = _MEETS[sign]
    ends = [meets(estimate.lower, limit), meets(estimate.upper, limit)]
    if all(ends):
        return Verdict("pass")
    return Verdict("inconclusive", WITHIN_BOUNDS) if any(ends) else Verdict("fail")


_MEETS: dict[Sign, Callable[[float, float], bool]] = {"<": lt, "<=": le, ">": gt, ">=": ge}


def limit_results(
    threshold: Threshold, target: ComparedTarget, interim_tail: float | None = None
) -> list[Judged]:
    """Return the results of an absolute threshold on a target, one for each stratum.

    `interim_tail` is the type I error of each bound at an interim analysis; None for the check of a
    whole run.
    """
    if threshold.target not in ("", target.name):
        return []
    tail = TAIL if interim_tail is None else interim_tail
    specs = specs_of_thresholds(threshold, threshold.about, [target])
    estimates = [(spec, spec.statistic.estimate(target, spec, tail)) for spec in specs]
    if interim_tail is not None:
        estimates = [(spec, with_interim_minimum(estimate, spec)) for spec, estimate in estimates]
    measured = [
        (spec, estimate) for spec, estimate in estimates if estimate.counts.turns
    ] or estimates[:1]
    results = [_result(threshold, target, spec, estimate, tail) for spec, estimate in measured]
    turns = target.turns
    if threshold.step and not turns.steps_named(threshold.step).any():
        no_step = Reason("no_step", {"step": threshold.step, "steps": list(turns.own_names)})
        return [
            replace(result, verdict=replace(result.verdict, reason=no_step)) for result in results
        ]
    return results


def with_interim_minimum(estimate: ThresholdEstimate, spec: MetricSpec) -> ThresholdEstimate:
    """Return the estimate with the minimum sample size of an interim analysis: that of printing the
    value.

    A run is stopped only if a threshold fails. The additional turns that a check needs protect a
    pass.
    """
    counts = estimate.counts
    shortfall = spec.statistic.shortfall(spec.metric, counts.turns, counts.sessions)
    if shortfall or counts.sessions < estimate.required:
        return replace(estimate, reason=estimate.reason or shortfall)
    return replace(estimate, reason=few_sessions(counts))


def _result(
    threshold: Threshold,
    target: ComparedTarget,
    spec: MetricSpec,
    exact: ThresholdEstimate,
    tail: float,
) -> Judged:
    """Return the result for one stratum. The bounds of `exact` do not allow for the uncertainty of
    values.

    `tail` is the type I error of each bound.
    """
    assert threshold.limit is not None, f"{threshold.text} is relative"
    sign = threshold.sign
    limit = threshold.limit
    uncertain = target.uncertain_reason(spec)
    unscored = target.unscored_reason(spec)
    notes = list[Reason]()
    estimate = exact
    found = Judged(
        spec=spec,
        target=target.name,
        targets=(NO_TURNS,),
        threshold=threshold.source_text,
        operator=sign,
        limit=limit,
    )
    if unscored or (uncertain and exact.counts.turns):
        bounded = _with_errors(target, spec, exact, tail)
        if bounded is None:
            return replace(
                found,
                targets=(_with_unscored(exact.counts, unscored),),
                estimate=exact if unscored and not uncertain else None,
                verdict=Verdict("inconclusive", unscored or uncertain),
            )
        estimate, widened_by = bounded
        estimate = replace(estimate, counts=_with_unscored(estimate.counts, unscored))
        notes += [Reason("widened", {"errors": widened_by})] if widened_by else []
    verdict = evaluate_limit(estimate, sign, limit)
    result = verdict.name
    reason = verdict.reason
    if unscored and reason == WITHIN_BOUNDS and evaluate_limit(exact, sign, limit).reason is None:
        reason = unscored
    notes += [unscored] if unscored and reason != unscored else []
    # the interval that is printed, not the deciding bounds
    is_inside = estimate.low <= limit <= estimate.high
    if reason == WITHIN_BOUNDS:
        reason = spec.statistic.explain_limit(spec, estimate, limit) or reason
        if reason == WITHIN_BOUNDS and not is_inside:
            reason = _outside_interval(spec, estimate, limit, exact)
        if estimate.by_session:
            notes.insert(
                0, Reason("few_long_sessions", {"ends": estimate.by_session, "unit": spec.unit})
            )
    bound = math.nan
    if result in ("pass", "fail"):
        is_upper = (result == "pass") == (sign in ("<", "<="))
        notes += _if_sessions_are_lost(target, spec, limit) if result == "pass" and is_upper else []
        bound = estimate.upper if is_upper else estimate.lower
        if is_inside:
            notes.insert(
                0, Reason("decided_by", {"is_upper": is_upper, "bound": bound, "unit": spec.unit})
            )
    verdict = replace(verdict, reason=reason)
    found = replace(
        found,
        targets=(estimate.counts,),
        estimate=estimate,
        bound=bound,
        notes=tuple(notes),
        verdict=verdict,
    )
    shortfall = found.shortfall
    if not shortfall and reason and reason.code == "too_few" and not is_inside:
        side = "above" if estimate.low > limit else "below"
        reason = Reason("too_few", reason.numbers | {"interval": side})
    elif shortfall and spec.p is None:
        events = round(estimate.value * estimate.counts.turns)
        reason = Reason("too_few", shortfall.numbers | {"events": events})
    is_provisional = estimate.order is not None and not shortfall
    return replace(found, verdict=Verdict(result, reason, is_provisional))


def _if_sessions_are_lost(target: ComparedTarget, spec: MetricSpec, limit: float) -> list[Reason]:
    """Return a note if a passed limit depends on failed sessions that are so rare that the run
    may have none.
    """
    metric = CATALOGUE.get(spec.metric)
    if metric is None or metric.scope != "turn" or not is_latency(metric):
        return []
    shares = spec.statistic.lost_shares(target, spec, limit)
    return (
        [Reason("sessions_may_fail", {"sessions": target.sessions, "shares": shares})]
        if shares
        else []
    )


def _outside_interval(
    spec: MetricSpec, estimate: ThresholdEstimate, limit: float, exact: ThresholdEstimate
) -> Reason:
    """Return why a limit outside of the printed interval lies between the deciding bounds.

    `exact` is the estimate whose bounds do not allow for the uncertainty of values.
    """
    cause = "uncertainty"
    if exact.lower <= limit <= exact.upper:
        cause = "parts" if exact.by_parts else "sessions"
    numbers = {
        "bounds_from": cause,
        "lower": estimate.lower,
        "upper": estimate.upper,
        "unit": spec.unit,
    }
    return Reason(WITHIN_BOUNDS.code, numbers)


def _with_unscored(counts: TargetCounts, unscored: Reason | None) -> TargetCounts:
    if unscored is None:
        return counts
    (of,) = unscored.numbers["metrics"]
    return replace(counts, unscored=of["unscored"])


def _with_errors(
    target: ComparedTarget, spec: MetricSpec, estimate: ThresholdEstimate, tail: float
) -> tuple[ThresholdEstimate, str] | None:
    """Return the estimate with bounds that allow for the maximum error of each value, and for each
    score of an unscored turn, and a text with these errors. The printed interval of a rate allows
    for these scores, too.

    Return None if no bound is known.
    """
    from reports.analysis.targets.moved import extremes

    targets = extremes(target, spec, is_uncertain=target.uncertain_reason(spec) is not None)
    if targets is None or not estimate.counts.turns:
        return None
    ends = [
        spec.statistic.estimate(part, spec, tail)
        for part in (target, targets.lower, targets.higher)
    ]
    lower = min(end.lower for end in ends)
    upper = max(end.upper for end in ends)
    if not (math.isfinite(lower) or math.isfinite(upper)):
        return None
    if spec.scale == "points" and targets.lower.unscored_as:
        low = min(end.low for end in ends)
        estimate = replace(estimate, low=low, high=max(end.high for end in ends))
    return replace(estimate, lower=lower, upper=upper), targets.text
