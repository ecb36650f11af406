"""The sentences of a check: the verdict, then the meaning of the exit status.

Every form of output has the same text.
"""

from __future__ import annotations

import math
from functools import partial

from bench.base.errors import FAIL_STATUS, INCONCLUSIVE_STATUS, INVALID_STATUS, PASS_STATUS
from reports.analysis.check.results import CheckResult, ThresholdResult
from reports.analysis.summary.run_validity import TITLES
from reports.formatting import NBSP, NONE, count, format_number, percent, plural
from reports.metrics.thresholds import THRESHOLD_METRICS
from reports.render.blocks import MARKS, Badge, source_badges
from reports.results.verdict import RESULT_OF_STATUS
from reports.text import finding_sentences, reasons, validity
from reports.text.cells import INFINITE, interval, shortfall_text
from reports.text.finding_rows import row
from reports.text.verdicts import as_share, in_unit, margin, signed

NO_RESULT = "–"


def value_text(result: ThresholdResult) -> str:
    """Return the value of the target as text, such as `640 ms`; `∞` if it lies among the failed turns.

    If there are too few samples, the text has their number instead, such as `n/a (20 sessions; needs 40)`.
    """
    if result.finding is not None:
        return row(result.finding).values[1] if result.finding.difference else NO_RESULT
    if shortfall := result.shortfall:
        noun = "words or character" if shortfall.unit == "word" else shortfall.unit
        return f"n/a ({shortfall_text(shortfall.there, noun, shortfall.needed)})"
    return (
        in_unit(result.spec.unit, result.estimate.value)
        if result.estimate and result.estimate.counts.turns
        else NO_RESULT
    )


def baseline_text(result: ThresholdResult) -> str:
    """Return the baseline's value as text; "" if the threshold is absolute or has no difference."""
    return row(result.finding).values[0] if result.finding and result.finding.difference else ""


def interval_text(result: ThresholdResult) -> str:
    """Return the interval of the value, such as `590 to 690 ms`.

    For a relative threshold, return the difference with its interval, such as `+4 % (−3 to +12 %)`.
    """
    if result.finding is not None:
        return row(result.finding).change_text if result.finding.difference else NO_RESULT
    if result.estimate is None or result.shortfall or not result.estimate.counts.turns:
        return NO_RESULT
    if result.estimate.low == math.inf:
        return INFINITE
    return interval(result.estimate.low, result.estimate.high, partial(in_unit, result.spec.unit))


def completed_text(result: ThresholdResult) -> str:
    """Return the share of the planned turns that have a value, as text; a dash if the metric is no latency."""
    share = result.counts.completed_share if result.counts else math.nan
    return NONE if math.isnan(share) else percent(share, 1)


def limit_text(result: ThresholdResult) -> str:
    """Return the limit with its operator, such as `< 800 ms`. For a relative threshold, return its margin."""
    if result.limit is None:
        return margin(result.spec, sign=True)
    sign, limit = {"<=": "≤", ">=": "≥"}.get(result.limit.operator, result.limit.operator), result.limit.value
    text = (
        f"{format_number(100 * limit)}{NBSP}%"
        if result.spec.scale == "points" and limit
        else in_unit(result.spec.unit, limit)
    )
    return f"{sign}{NBSP}{text}"


NOT_EVALUATED = "not evaluated"
MEANINGS = {
    PASS_STATUS: "pass",
    FAIL_STATUS: "a threshold failed or a metric regressed",
    INCONCLUSIVE_STATUS: "inconclusive",
    INVALID_STATUS: NOT_EVALUATED,
}


def check_headline(checked: CheckResult) -> str:
    """Return the verdict in a sentence. If only relative thresholds decide, it is the sentence of their comparison."""
    if checked.exit_status == INVALID_STATUS:
        if causes := checked.invalid_reasons:
            text = _first([*map(reasons.reason_line, causes)], "reason")
            return f"{validity.LEAD if checked.causes else NOT_EVALUATED}: {text}"
        return f"{NOT_EVALUATED}: {_first([*map(result_sentence, checked.of('not_evaluated'))], 'threshold')}"
    deciding = checked.of("fail") or checked.of("inconclusive") or checked.thresholds
    if checked.baseline_sentence and all(result.relative for result in deciding):
        return checked.baseline_sentence.removesuffix(".")
    if failed := checked.of("fail"):
        return _first([result_sentence(result) for result in failed], "threshold")
    if inconclusive := checked.of("inconclusive"):
        first, *others = map(inconclusive_text, inconclusive)
        return f"inconclusive: {_first([first, *(text for text in others if text != first)], 'threshold')}"
    number = len(checked.thresholds)
    return f"pass: all {plural(number, 'threshold')}" if number > 1 else "pass: 1 of 1 threshold"


def result_sentence(result: ThresholdResult) -> str:
    """Return a result in a sentence.

    Example: `ttfa p95 of b is over its limit: 1,580 ms (1,420 to 1,690 ms), limit < 800 ms`.
    """
    if result.result == "not_evaluated":
        return f"{result.title} of {result.target} has no data: {result.reason_text}"
    if result.finding is not None and result.finding.difference and not result.shortfall:
        return finding_sentences.sentence(result.finding)
    if result.result == "fail" and result.limit is not None:
        verdict = f"is {'over' if result.limit.operator in ('<', '<=') else 'under'} its limit"
        details = ", ".join(filter(None, (values_text(result), result.reason_text)))
        return f"{result.title} of {result.target} {verdict}: {details}"
    verdict = displayed_result(result) + (f" ({result.reason_text})" if result.reason_text else "")
    return f"{result.title} of {result.target} {verdict}: {values_text(result)}{more(result)}"


def values_text(result: ThresholdResult) -> str:
    """Return the measured value and the limit, such as `1,580 ms (1,420 to 1,690 ms), limit < 800 ms`."""
    if result.finding is not None:
        return f"{interval_text(result)}, margin {limit_text(result)}"
    bounds = "" if result.shortfall else f" ({interval_text(result)})"
    return f"{value_text(result)}{bounds}, limit {limit_text(result)}"


def inconclusive_text(result: ThresholdResult) -> str:
    """Return why a result is inconclusive.

    Example: `ttfa p95 of b: too few turns to decide: p95 needs 400, this run has 120`. That no run is stored is a
    reason for all metrics of a target.
    """
    if is_not_stored(result):
        return result.reason_text
    return f"{result.title} of {result.target}: {result.reason_text or values_text(result)}{more(result)}"


def is_not_stored(result: ThresholdResult) -> bool:
    return result.reason is not None and result.reason.code in reasons.NOT_STORED


def more(result: ThresholdResult) -> str:
    """Return how many sessions would make a result conclusive.

    Return "" if the result has a reason, which is shown instead.
    """
    finding = result.finding
    if (
        finding is None
        or finding.verdict.more_sessions is None
        or result.reason_text
        or result.result != "inconclusive"
    ):
        return ""
    return f"; about {count(finding.sessions[1] + finding.verdict.more_sessions)} sessions per target are needed"


def remark(result: ThresholdResult) -> str:
    """Return what the values of a result do not show: the reason, the corrected estimate, the completed share."""
    parts, finding = [f"{result.reason_text}{more(result)}".removeprefix("; ")], result.finding
    if finding and (corrected := as_share(finding.corrected, finding.spec.scale)) is not None:
        parts.insert(0, f"corrected {signed(corrected, finding.spec.scale)}, analysis {finding.analysis}")
    share = result.counts.completed_share if result.counts else math.nan
    if not math.isnan(share) and share != 1:
        of = "sessions" if THRESHOLD_METRICS[result.metric].of_sessions else "planned turns"
        parts.append(f"{completed_text(result)} of the {of} have a value")
    return "; ".join(filter(None, parts))


def ending(checked: CheckResult) -> str:
    """Return the exit status with its meaning, such as `exit status 1: a threshold failed or a metric regressed`."""
    inconclusive, meaning = len(checked.of("inconclusive")), MEANINGS[checked.exit_status]
    if checked.exit_status == PASS_STATUS and inconclusive == len(checked.thresholds):
        meaning = f"inconclusive, accepted by --on-inconclusive {checked.on_inconclusive}"
    elif checked.exit_status == PASS_STATUS and inconclusive:
        meaning = f"pass, {count(inconclusive)} inconclusive accepted by --on-inconclusive {checked.on_inconclusive}"
    return f"exit status {checked.exit_status}: {meaning}"


def remarks(checked: CheckResult) -> list[str]:
    """Return the reasons why a check is invalid, then its notices. The headline already has the first reason."""
    return [*map(reasons.reason_line, checked.invalid_reasons), *checked.notices]


def has_verdict(result: ThresholdResult, checked: CheckResult) -> bool:
    """Return whether a result counts. It does not count if the run is invalid or the comparison is unfair.

    If stored baselines were measured under other conditions, only absolute thresholds count.
    """
    return not (checked.causes or (checked.differs and result.relative))


def displayed_result(result: ThresholdResult) -> str:
    """Return the displayed name of a result.

    For a comparison, it is the verdict, such as `slower` or `not regressed`.
    """
    if result.finding is None or result.result == "not_evaluated":
        return result.result.replace("_", " ")
    return finding_sentences.displayed(result.finding)


def check_badges(checked: CheckResult) -> list[Badge]:
    """Return the badges of a check: its result if the run is valid, the validity, and the source of the run."""
    usable = not (checked.causes and checked.baseline)
    result, run = RESULT_OF_STATUS[checked.exit_status], validity.run_status(TITLES[checked.validity], usable=usable)
    style = MARKS["inconclusive" if result == "pass" and checked.of("inconclusive") else result]
    badges = [Badge(MARKS[run].badge, MARKS[run].marker, run, "")]
    if run == "VALID":
        badges.insert(0, Badge(style.badge, style.marker, result.replace("_", " ").upper(), ""))
    return [*badges, *source_badges(simulated=checked.simulated, recorded=checked.recorded)]


def _first(texts: list[str], noun: str) -> str:
    """Return the first of several texts, and how many more there are."""
    suffix = f" (and {plural(len(texts) - 1, f'more {noun}')})" if len(texts) > 1 else ""
    return f"{texts[0].rstrip('.') if texts else 'there is nothing to evaluate'}{suffix}"
