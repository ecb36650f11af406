"""The sentences of a check: the verdict, then the meaning of the exit status.

Every form of output has the same text.
"""

import math
from collections import Counter
from collections.abc import Sequence
from functools import partial

from bench.base.errors import FAIL_STATUS, INCONCLUSIVE_STATUS, INVALID_STATUS, PASS_STATUS
from reports.analysis.check.results import CheckDocument, CheckResult, by_threshold
from reports.analysis.summary.run_validity import TITLES
from reports.engine.judge import Judged
from reports.formatting import NBSP, NONE, count, join_present, percent, plural
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.thresholds import THRESHOLD_METRICS
from reports.render.blocks import MARKS, Badge, source_badges
from reports.results.value import FindingTexts, Reason, Result, as_share, unique
from reports.text import validity
from reports.text.comparison_rows import NO_VERDICT, change_text, values_of, within
from reports.text.notices import run_notices, uncertain_line, unread_notice
from reports.text.phrases import INFINITE, interval, shortfall_text
from reports.text.reasons import EXPLAINING, NOT_STORED, reason_line, reason_text, reasons_text
from reports.text.verdicts import in_unit, limit_in_unit, share, signed

INTERVALS = (
    "Intervals of values are 95 %, as in a report. A one-sided bound with a type I error of 5 %"
    " decides a threshold."
)
DIFFERENCES = (
    "Intervals of differences are 90 %, as in a comparison: their ends are the bounds that decide."
)
MEANINGS = {
    PASS_STATUS: "pass",
    FAIL_STATUS: "a threshold failed or a metric regressed",
    INCONCLUSIVE_STATUS: "inconclusive, neither a pass nor a fail",
    INVALID_STATUS: NO_VERDICT,
}


def value_text(result: Judged) -> str:
    """Return the value of the target as text, such as `640 ms`; `∞` if it lies among the failed
    turns.

    If there are too few samples, the text has their number instead, such as `n/a (20 sessions;
    needs 40)`.
    """
    if result.relative:
        return values_of(result)[1]
    if shortfall := result.shortfall:
        noun = "words or character" if shortfall.unit == "word" else shortfall.unit
        return f"n/a ({shortfall_text(shortfall.there, noun, shortfall.needed)})"
    return in_unit(result.spec.unit, result.measured[0]) if result.counts.turns else NONE


def baseline_text(result: Judged) -> str:
    """Return the baseline's value as text; "" if the threshold is absolute or has no difference."""
    return values_of(result)[0] if result.difference else ""


def interval_text(result: Judged) -> str:
    """Return the interval of the value, such as `590 to 690 ms`.

    For a relative threshold, return the difference with its interval, such as `+4 % (−3 to +12 %)`.
    """
    if result.relative:
        return change_text(result) if result.difference else NONE
    if result.shortfall or not result.counts.turns:
        return NONE
    _, low, high = result.measured
    return INFINITE if low == math.inf else interval(low, high, partial(in_unit, result.spec.unit))


def completed_text(result: Judged) -> str:
    """Return the share of the planned turns that have a value, as text; a dash if the metric is
    no latency.
    """
    return percent(result.counts.completed_share, 1)


def limit_text(result: Judged) -> str:
    """Return the limit with its operator, such as `< 800 ms`. For a relative threshold, return
    its margin.
    """
    if result.limit is None:
        return result.spec.margin_text(sign=True)
    sign = {"<=": "≤", ">=": "≥"}.get(result.operator, result.operator)
    return f"{sign}{NBSP}{limit_in_unit(result.spec, result.limit)}"


def distance_text(result: Judged) -> str:
    """Return the distance from the value to the limit, such as `215 ms (27 %) below`; "" if there
    is no value.

    The distance from a difference to its margin is in percentage points.
    """
    if result.limit is None:
        change = result.published
        margin = _signed_margin(result.spec)
        value = change.shares[0] if change is not None else None
        return (
            ""
            if value is None or margin is None
            else _beside(value - margin, f"{_points(value - margin)}")
        )
    limit = result.limit
    distance = result.measured[0] - result.limit
    if not result.counts.turns or not math.isfinite(distance):
        return ""
    if result.spec.scale == "points":
        return _beside(distance, _points(distance))
    relative = f" ({percent(abs(distance), abs(limit))})" if limit else ""
    return _beside(distance, f"{in_unit(result.spec.unit, abs(distance))}{relative}")


def _beside(distance: float, size: str) -> str:
    return f"{size} {'above' if distance > 0 else 'below'}" if distance else "at the limit"


def _points(distance: float) -> str:
    return f"{share(abs(distance))}{NBSP}points"


def _signed_margin(spec: MetricSpec) -> float | None:
    """Return the largest accepted difference as a share or in points; None if the margin is in the
    unit of the metric.

    If more is better, the margin is negative.
    """
    margin = spec.margin
    if margin.plus or spec.scale == "slope":
        return None
    if spec.better == "higher":
        return -margin.points if spec.scale == "points" else 1 / (1 + margin.ratio) - 1
    return margin.points if spec.scale == "points" else margin.ratio


def threshold_texts(checked: CheckResult) -> list[FindingTexts]:
    """Return the texts of each result. That no run is stored is stated once, or only in the
    headline.
    """
    headline = check_headline(checked)
    texts = list[FindingTexts]()
    reasons = set[str]()
    for result in checked.thresholds:
        counts = has_verdict(result, checked)
        reason = remark(result) if counts else ""
        if is_not_stored(result) and (why(result) in headline or reason in reasons):
            reason = ""
        reasons.add(reason)
        verdict = (
            f"{displayed_result(result)}{within(result) if result.difference else ''}"
            f"{', provisional' if result.provisional else ''}"
        )
        values = {
            "baseline": baseline_text(result),
            "value": value_text(result),
            "interval": interval_text(result),
            "limit": limit_text(result),
            "distance": distance_text(result) if counts else "",
        }
        texts.append(
            FindingTexts(**values, verdict=verdict if counts else NO_VERDICT, reason=reason)
        )
    return texts


def check_headline(checked: CheckResult) -> str:
    """Return the verdict in a sentence. If only relative thresholds decide, it is the sentence
    of their comparison.
    """
    if checked.exit_status == INVALID_STATUS:
        if causes := checked.validity.reasons:
            text = _first([*map(reason_line, validity.summarized(causes))], "reason")
            # the values are usable, only not for a verdict
            is_unguarded = all(cause.code == "not_started" for cause in checked.causes)
            return f"{NO_VERDICT if is_unguarded else validity.LEAD}: {text}"
        return (
            f"{NO_VERDICT}:"
            f" {_first([*map(result_sentence, checked.of('not_evaluated'))], 'threshold')}"
        )
    deciding = checked.of("fail") or checked.of("inconclusive") or checked.thresholds
    if all(result.relative for result in deciding) and (
        sentence := _sentence_of_comparison(checked)
    ):
        return sentence.rstrip(".")
    if failed := checked.of("fail"):
        return _first([result_sentence(result) for result in failed], "threshold", _others(failed))
    if inconclusive := checked.of("inconclusive"):
        texts = [*map(inconclusive_text, inconclusive)]
        different = [one for one, text in zip(inconclusive, texts, strict=True) if text != texts[0]]
        return f"inconclusive: {_first(texts, 'threshold', _others([inconclusive[0], *different]))}"
    number = len(checked.thresholds)
    return f"pass: all {plural(number, 'threshold')}" if number > 1 else "pass: 1 of 1 threshold"


def _sentence_of_comparison(checked: CheckResult) -> str:
    """Return the joint result of the relative thresholds. It is "" if a target has no stored
    baseline.
    """
    from reports.text import metric_sentences
    from reports.text.decision_sentences import decision_headline

    if checked.decision is not None:
        return decision_headline(checked.decision)
    if any(map(is_not_stored, checked.thresholds)):
        return ""
    return metric_sentences.headline([result for result in checked.thresholds if result.relative])


def against_text(checked: CheckResult) -> str:
    """Return the baseline as a text, such as `direct, in the same run`; "" if there is none."""
    text = reason_text(checked.against)
    decision = checked.decision
    if decision is None:
        return text
    from reports.text.decision_sentences import analysis_place, made_text

    stopped = made_text(decision) or "their number is unknown"
    if not decision.analyses:
        stopped = "none was made"
    elif decision.is_decided_by_analysis or not decision.ended:
        stopped = (
            f"{'stopped at' if decision.stopped_by_analysis else 'the last one is'}"
            f" {analysis_place(decision)}"
        )
    return f"{text}: {stopped}"


def warnings(checked: CheckResult) -> list[str]:
    return [*map(reason_text, checked.alerts)]


def _notes(checked: CheckResult) -> list[Reason]:
    """Return the notices on the comparison and on the thresholds, then those on the runs of a
    comparison.
    """
    if not checked.compared:
        return unique(checked.notes)
    from reports.text.comparison_sentences import run_reasons

    relative = [*dict.fromkeys(one.spec.metric for one in checked.thresholds if one.relative)]
    of_runs = (reason for targets in checked.compared for reason in run_reasons(targets, relative))
    return unique([*checked.notes, *of_runs])


def explanations(checked: CheckResult) -> list[str]:
    """Return what explains the error rates of the verdicts: the intervals, then the notices on
    their assumptions.
    """
    results = checked.thresholds
    intervals = [INTERVALS] if any(not result.relative for result in results) else []
    intervals += [DIFFERENCES] if any(result.relative for result in results) else []
    return [*intervals, *(reason_text(note) for note in _notes(checked) if note.code in EXPLAINING)]


def notices(checked: CheckResult) -> list[str]:
    """Return the notices on the comparison, on the thresholds, and on the runs, without
    `explanations`.
    """
    absolute = [*dict.fromkeys(one.spec.metric for one in checked.thresholds if not one.relative)]
    texts = [reason_text(note) for note in _notes(checked) if note.code not in EXPLAINING]
    if any(one.relative and one.runs_differ for one in checked.of("inconclusive")):
        from reports.text.metric_sentences import RUNS_DIFFER

        texts.append(RUNS_DIFFER)
    run = checked.run
    if run is not None and checked.data_notes is not None:
        unread = unread_notice(run.metadata)  # a warning of the check, or without effect on it
        texts += [notice for notice in run_notices(run, checked.data_notes) if notice != unread]
    return [*texts, *filter(None, [uncertain_line(run, absolute) if run is not None else ""])]


def why(result: Judged) -> str:
    """Return the reason for the result, and its notes; "" if the values of the result show the
    reason.
    """
    return join_present("; ", reason_text(result.reason), reasons_text(result.notes))


def result_sentence(result: Judged) -> str:
    """Return a result in a sentence.

    Example: `ttfa p95 of b is over its limit: 1,580 ms (1,420 to 1,690 ms), limit < 800 ms`.
    """
    from reports.text import metric_sentences

    subject = f"{result.title} of {result.target}"
    reason = why(result)
    if result.result == "not_evaluated":
        return f"{subject} has no data: {reason}"
    if result.published:
        return metric_sentences.sentence(result)
    if result.result == "fail" and not result.relative:
        verdict = f"is {'over' if result.operator in ('<', '<=') else 'under'} its limit"
        return f"{subject} {verdict}: {', '.join(filter(None, (values_text(result), reason)))}"
    verdict = displayed_result(result) + (f" ({reason})" if reason else "")
    return f"{subject} {verdict}: {values_text(result)}{more(result)}"


def values_text(result: Judged) -> str:
    """Return the measured value and the limit, such as `1,580 ms (1,420 to 1,690 ms), limit <
    800 ms`.
    """
    if result.relative:
        return f"{interval_text(result)}, margin {limit_text(result)}"
    bounds = "" if result.shortfall else f" ({interval_text(result)})"
    return f"{value_text(result)}{bounds}, limit {limit_text(result)}"


def inconclusive_text(result: Judged) -> str:
    """Return why a result is inconclusive.

    Example: `ttfa p95 of b: too few turns to decide: p95 needs 400, this run has 120`. That no run
    is stored is a reason for all metrics of a target.
    """
    if is_not_stored(result):
        return why(result)
    return f"{result.title} of {result.target}: {why(result) or values_text(result)}{more(result)}"


def is_not_stored(result: Judged) -> bool:
    return result.reason is not None and result.reason.code in NOT_STORED


def more(result: Judged) -> str:
    """Return how many sessions would make a result conclusive.

    Return "" if the result has a reason, which is shown instead.
    """
    more_sessions = result.verdict.more_sessions
    if more_sessions is None or result.result != "inconclusive" or why(result):
        return ""
    return f"; about {count(result.counts.sessions + more_sessions)} sessions per target are needed"


def remark(result: Judged) -> str:
    """Return what the values of a result do not show: the reason, the corrected estimate, the
    completed share.
    """
    parts = [f"{why(result)}{more(result)}".removeprefix("; ")]
    completed = result.counts.completed_share
    if (corrected := as_share(result.corrected, result.spec.scale)) is not None:
        parts.insert(
            0, f"corrected {signed(corrected, result.spec.scale)}, analysis {result.analysis}"
        )
    if not math.isnan(completed) and completed != 1:
        of = "sessions" if THRESHOLD_METRICS[result.spec.metric].of_sessions else "planned turns"
        parts.append(f"{completed_text(result)} of the {of} have a value")
    return join_present("; ", *parts)


def outcome_text(checked: CheckDocument) -> str:
    """Return the number of thresholds with the result of the check, such as `1 of 2 thresholds
    failed`.
    """
    words: dict[Result, str] = {"fail": "failed", "inconclusive": "inconclusive", "pass": "passed"}
    worst = [first for first, *_ in by_threshold(checked.findings)]
    counts = Counter(one.result for one in worst)
    total = plural(len(worst), "threshold")
    if checked.exit_status == INVALID_STATUS:
        without = sum(one.texts.verdict == NO_VERDICT for one in worst if one.texts)
        return f"{count(without)} of {total} {NO_VERDICT}"
    result = checked.result if counts[checked.result] else "inconclusive"
    accepted = counts["inconclusive"] if result == "pass" else 0
    return f"{count(counts[result])} of {total} {words[result]}" + (
        f", {accepted} inconclusive" if accepted else ""
    )


def result_line(checked: CheckDocument) -> str:
    """Return the result of a check as text, such as `✕ FAIL: 1 of 2 thresholds failed`."""
    badge = result_badge(checked)
    return join_present(": ", f"{badge.marker} {badge.text}", badge.note)


def ending(checked: CheckResult) -> str:
    """Return the exit status with its meaning, such as `exit status 1: a threshold failed or a
    metric regressed`.
    """
    inconclusive = len(checked.of("inconclusive"))
    meaning = MEANINGS[checked.exit_status]
    if checked.exit_status == PASS_STATUS and inconclusive:
        all_are = inconclusive == len(checked.thresholds)
        meaning = "inconclusive," if all_are else f"pass, {count(inconclusive)} inconclusive"
        meaning += f" accepted by --on-inconclusive {checked.on_inconclusive}"
    return f"exit status {checked.exit_status}: {meaning}"


def has_verdict(result: Judged, checked: CheckResult) -> bool:
    """Return whether a result counts. It does not count if the run is invalid or the comparison is
    unfair.

    If stored baselines were measured under other conditions, only absolute thresholds count.
    """
    return not (checked.causes or (checked.differs and result.relative))


def displayed_result(result: Judged) -> str:
    """Return the displayed name of a result.

    For a comparison, it is the verdict, such as `slower` or `not regressed`.
    """
    if not result.relative or result.result == "not_evaluated":
        return result.result.replace("_", " ")
    from reports.text import metric_sentences

    return metric_sentences.displayed(result)


def check_badges(checked: CheckResult) -> list[Badge]:
    """Return the badges of a check: its result if the run is valid, the validity, and the source
    of the run.
    """
    usable = not (checked.causes and checked.against)
    run = validity.run_status(TITLES[checked.status], usable=usable)
    badges = [Badge(MARKS[run].badge, MARKS[run].marker, run, "")]
    if run == "VALID":
        badges.insert(0, result_badge(checked))
    return [*badges, *source_badges(simulated=checked.simulated, recorded=checked.recorded)]


def result_badge(checked: CheckDocument) -> Badge:
    """Return the badge of the result of a check, such as `✕ FAIL` and `1 of 2 thresholds
    failed`.
    """
    note = "" if checked.exit_status == INVALID_STATUS else outcome_text(checked)
    accepted = checked.result == "pass" and checked.result_counts["inconclusive"]
    style = MARKS["inconclusive" if accepted else checked.result]
    return Badge(style.badge, style.marker, checked.result.replace("_", " ").upper(), note)


def _others(results: Sequence[Judged]) -> int:
    """Return the number of thresholds and targets of these results, without that of the first one.

    A threshold may have several results on a target: one for each type of turns.
    """
    parts = [one for one in results if one.title != one.spec.name]
    return len(results) - len(parts) + len({(one.threshold, one.target) for one in parts}) - 1


def _first(texts: list[str], noun: str, others: int | None = None) -> str:
    """Return the first of several texts, and how many more there are."""
    more = len(texts) - 1 if others is None else others
    suffix = f" (and {plural(more, f'more {noun}')})" if more > 0 else ""
    return f"{texts[0].rstrip('.') if texts else 'there is nothing to evaluate'}{suffix}"
