"""A check in sentences: the verdict first, then the meaning of the exit status; the same text on every output."""

from __future__ import annotations

import math
from functools import partial

from reports import finding_sentences
from reports.check.results import FAILED, INCONCLUSIVE, INVALID, PASSED, CheckResult, ThresholdResult
from reports.finding_rows import in_unit, row, with_unit
from reports.formatting import NBSP, NONE, count, format_number, percent, plural
from reports.metric_comparison import RESULT_OF_STATUS
from reports.render.blocks import MARKS, SIMULATED, Badge
from reports.summary.run_validity import TITLES
from reports.wording import validity
from reports.wording.cells import INFINITE, interval, shortfall_text
from reports.wording.validity import InvalidReason
from reports.wording.verdicts import as_share, margin, signed

NO_RESULT = "–"


def value_text(one: ThresholdResult) -> str:
    """Return the value on the target: 640 ms; ∞ if it lies among the failures; n/a (20 sessions; needs 40)."""
    if one.finding is not None:
        found = row(one.finding, 1)
        return with_unit(found.values[1], found.unit) if one.finding.difference else NO_RESULT
    if few := one.shortfall:
        return f"n/a ({shortfall_text(few.there, few.of.removesuffix('s'), few.needs)})"
    return in_unit(one.question, one.estimate.value) if one.estimate and one.estimate.counts.turns else NO_RESULT


def baseline_text(one: ThresholdResult) -> str:
    """Return the value on the baseline of a relative threshold."""
    found = row(one.finding, 1) if one.finding and one.finding.difference else None
    return with_unit(found.values[0], found.unit) if found else ""


def interval_text(one: ThresholdResult) -> str:
    """Return the interval of the value, or the difference with its interval: 590 to 690 ms; +4 % (−3 to +12 %)."""
    if one.finding is not None:
        return row(one.finding, 1).change_text if one.finding.difference else NO_RESULT
    if one.estimate is None or one.shortfall or not one.estimate.counts.turns:
        return NO_RESULT
    if one.estimate.low == math.inf:
        return INFINITE
    return interval(one.estimate.low, one.estimate.high, partial(in_unit, one.question))


def completed_text(one: ThresholdResult) -> str:
    """Return the share of the planned turns that have the value; a dash unless it is a latency."""
    share = one.counts.completed_share if one.counts else math.nan
    return NONE if math.isnan(share) else percent(share, 1)


def limit_text(one: ThresholdResult) -> str:
    """Return the limit with its sign as written: < 800 ms; for a relative threshold its margin."""
    if one.limit is None:
        return margin(one.question.margin, one.metric, sign=True)
    sign, limit = {"<=": "≤", ">=": "≥"}.get(one.limit.operator, one.limit.operator), one.limit.value
    text = (
        f"{format_number(100 * limit)}{NBSP}%"
        if one.question.scale == "points" and limit
        else in_unit(one.question, limit)
    )
    return f"{sign}{NBSP}{text}"


MEANINGS = {
    PASSED: "pass",
    FAILED: "a threshold failed or a metric regressed",
    INCONCLUSIVE: "inconclusive",
    INVALID: "not evaluated",
}


def check_headline(checked: CheckResult) -> str:
    """Return the verdict in a sentence: that of the comparison, if a comparison decides."""
    if checked.exit_status == INVALID:
        if causes := invalid_reasons(checked):
            why = _first([cause.line for cause in causes], "reason")
            return f"{validity.LEAD if checked.causes else 'no verdict'}: {why}"
        return f"no verdict: {_first([result_sentence(one) for one in checked.of('not_evaluated')], 'threshold')}"
    deciding = checked.of("fail") or checked.of("inconclusive") or checked.thresholds
    if checked.baseline_sentence and all(one.relative for one in deciding):
        return checked.baseline_sentence.removesuffix(".")
    if failed := checked.of("fail"):
        return _first([result_sentence(one) for one in failed], "threshold")
    if inconclusive := checked.of("inconclusive"):
        return f"inconclusive: {_first([inconclusive_text(one) for one in inconclusive], 'threshold')}"
    many = len(checked.thresholds)
    return f"pass: all {plural(many, 'threshold')}" if many > 1 else "pass: 1 of 1 threshold"


def result_sentence(one: ThresholdResult) -> str:
    """Return a result in a sentence: ttfa p95 of b is over its limit: 1,580 ms (1,420 to 1,690 ms), limit < 800 ms."""
    if one.result == "not_evaluated":
        return f"{one.title} of {one.target} has no data: {one.reason_text}"
    if one.finding is not None and one.finding.difference and not one.shortfall:
        return finding_sentences.sentence(one.finding)
    if one.result == "fail" and one.limit is not None:
        verdict = f"is {'over' if one.limit.operator in ('<', '<=') else 'under'} its limit"
        return f"{one.title} of {one.target} {verdict}: {', '.join(filter(None, (values_text(one), one.reason_text)))}"
    why = f" ({one.reason_text})" if one.reason_text else ""
    return f"{one.title} of {one.target} {displayed_result(one)}{why}: {values_text(one)}{more(one)}"


def values_text(one: ThresholdResult) -> str:
    """Return the measured value and the limit: 1,580 ms (1,420 to 1,690 ms), limit < 800 ms."""
    if one.finding is not None:
        return f"{interval_text(one)}, margin {limit_text(one)}"
    interval = "" if one.shortfall else f" ({interval_text(one)})"
    return f"{value_text(one)}{interval}, limit {limit_text(one)}"


def inconclusive_text(one: ThresholdResult) -> str:
    """Return why a result is inconclusive: ttfa p95 of b: too few turns to decide: p95 needs 400, this run has 120."""
    return f"{one.title} of {one.target}: {one.reason_text or values_text(one)}{more(one)}"


def more(one: ThresholdResult) -> str:
    """Return how many more sessions would make a result conclusive; empty if the result has a reason."""
    found = one.finding
    if found is None or found.verdict.more_sessions is None or one.reason_text or one.result != "inconclusive":
        return ""
    return f"; about {count(found.sessions[1] + found.verdict.more_sessions)} sessions per target are needed"


def reason(one: ThresholdResult) -> str:
    """Return why a result is what it is, if its values do not show it."""
    parts, found = [f"{one.reason_text}{more(one)}".removeprefix("; ")], one.finding
    if found and (corrected := as_share(found.corrected, found.question.scale)) is not None:
        parts.insert(0, f"corrected {signed(corrected, found.question.scale)}, analysis {found.analysis}")
    share = one.counts.completed_share if one.counts else math.nan
    if not math.isnan(share) and share != 1:
        parts.append(f"{completed_text(one)} of the planned turns have a value")
    return "; ".join(filter(None, parts))


def ending(checked: CheckResult) -> str:
    """Return `exit status 1: a threshold failed or a metric regressed`."""
    inconclusive, meaning = len(checked.of("inconclusive")), MEANINGS[checked.exit_status]
    if checked.exit_status == PASSED and inconclusive == len(checked.thresholds):
        meaning = f"inconclusive, accepted by --on-inconclusive {checked.on_inconclusive}"
    elif checked.exit_status == PASSED and inconclusive:
        meaning = f"pass, {count(inconclusive)} inconclusive accepted by --on-inconclusive {checked.on_inconclusive}"
    return f"exit status {checked.exit_status}: {meaning}"


def remarks(checked: CheckResult) -> list[str]:
    """Return why a check is invalid, and its notices. The headline has the first reason."""
    return [*(cause.line for cause in invalid_reasons(checked)), *checked.notices]


def has_verdict(one: ThresholdResult, checked: CheckResult) -> bool:
    """Return whether a result counts. It does not count if the run is invalid, or the comparison unfair.

    If stored baselines have other conditions, absolute thresholds still count.
    """
    return not (checked.causes or (checked.differs and one.relative))


def displayed_result(one: ThresholdResult) -> str:
    """Return the result as on screens; for a comparison its verdict: slower, not regressed."""
    if one.finding is None or one.result == "not_evaluated":
        return one.result.replace("_", " ")
    return finding_sentences.displayed(one.finding)


def invalid_reasons(checked: CheckResult) -> list[InvalidReason]:
    """Return why a check is invalid; a difference of the stored baselines' conditions comes last."""
    differs = "; ".join(checked.differs)
    text = f"The stored baselines were measured under other conditions: {differs}"
    remedy = "Save new ones with `rtbench baseline save`, or allow the difference with --allow-different"
    return [*checked.causes, *([InvalidReason("conditions_differ", text, remedy)] if differs else [])]


def check_badges(checked: CheckResult) -> list[Badge]:
    """Return the result of a valid run, whether it is valid, and whether it was simulated."""
    usable = not (checked.causes and checked.baseline)
    result, run = RESULT_OF_STATUS[checked.exit_status], validity.run_status(TITLES[checked.validity], usable=usable)
    mark = MARKS["inconclusive" if result == "pass" and checked.of("inconclusive") else result]
    badges = [Badge(MARKS[run].badge, MARKS[run].marker, run, "")]
    if run == "VALID":
        badges.insert(0, Badge(mark.badge, mark.marker, result.replace("_", " ").upper(), ""))
    return [*badges, SIMULATED] if checked.simulated else badges


def _first(texts: list[str], noun: str) -> str:
    """Return the first of several texts, and the number of further ones."""
    rest = f" (and {plural(len(texts) - 1, f'more {noun}')})" if len(texts) > 1 else ""
    return f"{texts[0].rstrip('.') if texts else 'there is nothing to evaluate'}{rest}"
