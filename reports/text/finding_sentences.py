"""Metric comparisons in sentences, which are the same in every form of output. Pure.

If two services are compared, one is slower or faster than the other. If a candidate is compared with its baseline, it
has regressed or improved (`MetricComparison.peers`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from reports.analysis.metric_comparison import MetricComparison
from reports.formatting import NBSP, count, format_number, join_words
from reports.results.verdict import VerdictName
from reports.statistics.differences import MAX_SESSIONS_RATIO
from reports.statistics.verdicts import NOT_AFTER_HOLM
from reports.text import reasons
from reports.text.finding_rows import (
    ONE_IN,
    displayed_verdict,
    is_lower,
    is_time,
    range_of,
    row,
    size,
    value_text,
    which_turns,
)
from reports.text.verdicts import NOT_SHOWN, metric_text, share

WORST: tuple[VerdictName, ...] = ("regressed", "inconclusive", "improved", "not_regressed", "equivalent")
"""The verdicts in the order of their priority. The verdict on several primary metrics together is the first verdict of
this list that one of them has.
"""
VERBS: dict[VerdictName, str] = {"regressed": "regressed", "not_regressed": "has not regressed", "improved": "improved"}
"""The verbs of the verdicts on a candidate that is compared with a baseline."""
NO_PRIMARY = "There is no verdict, because there is no primary metric."
HAPPENS = {"failure_rate": "fail or do not start", "throttle_rate": "are throttled", "stall_rate": "stall"}
RUNS_DIFFER = (
    "More sessions would not decide it, because two runs differ by chance: measure both targets in one run (--targets)."
)


def overall(primary: Sequence[MetricComparison]) -> VerdictName | None:
    """Return the verdict on several primary metrics together; None if there is no primary metric."""
    names = {finding.verdict.name for finding in primary}
    return next((verdict for verdict in WORST if verdict in names), None)


def worst_first(primary: Sequence[MetricComparison]) -> list[tuple[VerdictName | None, list[MetricComparison]]]:
    """Group the primary metrics by candidate, with the worst candidate first. Each group has its joint verdict."""
    groups = [[f for f in primary if f.candidate == label] for label in dict.fromkeys(f.candidate for f in primary)]

    def rank(mine: Sequence[MetricComparison]) -> tuple[int, float]:
        representative = subject(mine)
        distance, name = _reach(representative), representative.verdict.name
        return WORST.index(name), distance if name == "improved" else -distance

    return [(overall(mine), mine) for mine in sorted(groups, key=rank)]


def displayed_overall(primary: Sequence[MetricComparison]) -> str:
    """Return the displayed joint verdict of primary metrics, such as `slower` or `regressed`; "" if there are none."""
    return displayed(subject(primary)) if primary else ""


def displayed(finding: MetricComparison) -> str:
    """Return the displayed verdict of a comparison."""
    return displayed_verdict(finding.verdict.name, finding.spec, peers=finding.peers)


def answer(primary: Sequence[MetricComparison]) -> str:
    """Return a sentence with the result of the primary metrics. With several candidates, it is about the worst one."""
    verdict, mine = worst_first(primary)[0] if primary else (None, [])
    return NO_PRIMARY if verdict is None else _opening(verdict, subject(mine), mine)


def answer_details(primary: Sequence[MetricComparison], *, settle: bool = True) -> str:
    """Return the text after the sentence of `answer`: its confidence, and the other metrics of the same candidate.

    If `settle`, the text also has the number of sessions that would decide the inconclusive metrics.
    """
    if not primary:
        return ""
    verdict, mine = worst_first(primary)[0]
    representative = subject(mine)
    parts = [_conclusive(representative), *_others(mine, representative)]
    if verdict == "inconclusive" and settle:
        parts.append(settling([finding for finding in mine if finding.verdict.name == verdict]))
    return " ".join(filter(None, parts))


def settling(inconclusive: Sequence[MetricComparison]) -> str:
    """Return how many sessions would decide these metrics, or that more sessions are unlikely to decide them.

    With several metrics, the text starts with the largest number. Then it has the number of each metric.
    """
    finite = sorted((f for f in inconclusive if math.isfinite(f.required_sessions)), key=lambda f: -f.required_sessions)
    endless = [f for f in inconclusive if math.isinf(f.required_sessions)]
    if any(f.verdict.provisional and f.difference and not f.difference.order for f in endless):
        return RUNS_DIFFER
    units = "pairs" if all(f.unit == "pair" for f in inconclusive) else "sessions per target"
    numbers = [f"more than {count(MAX_SESSIONS_RATIO * max(f.sessions))}" for f in endless]
    for f in finite:
        is_minimum = f.verdict.reason is not None and f.verdict.reason.code == "too_few"
        numbers.append(f"{'at least' if is_minimum else 'about'} {count(int(f.required_sessions))}")
    if not numbers:
        return ""
    names = [metric_text(f.spec) for f in (*endless, *finite)]
    others = [f"{name} {number}" for name, number in zip(names[1:], numbers[1:], strict=True)]
    needs = join_words([f"{names[0]} needs {numbers[0]}", *others])
    if endless:
        return f"More {units} are unlikely to decide {'all metrics' if others else 'it'}: {needs}."
    needed = f"{numbers[0][:1].upper()}{numbers[0][1:]} {units} are needed to decide"
    return f"{needed} all metrics: {needs}." if others else f"{needed} {names[0]}."


def sentence(finding: MetricComparison) -> str:
    """Return one comparison as text. Its verdict is the first sentence."""
    verdict = finding.verdict.name
    details = settling([finding]) if verdict == "inconclusive" and not finding.verdict.reason else _conclusive(finding)
    return " ".join(filter(None, (_opening(verdict, finding, [finding]), details)))


def _opening(verdict: VerdictName, finding: MetricComparison, primary: Sequence[MetricComparison]) -> str:
    """Return the first sentence, with the verdict. It is about `finding`, which represents all metrics of `primary`."""
    finding_row, name, label, base = row(finding), metric_text(finding.spec), finding.candidate, finding.baseline
    verb = f"is {displayed(finding)} than {base}" if finding.peers else VERBS.get(verdict, "")
    if verdict == "regressed":
        assert finding.difference is not None, "what regressed has a difference"
        more = f"{size(finding.difference.d, finding)} than on {base}"
        return f"{label} {verb}: {_so_far(finding, more)}."
    if verdict in ("not_regressed", "equivalent") and finding.direction == "worse":
        within = f"but within the margin of {finding_row.margin_text}"
        return f"{label} is {finding_row.known} than {base}, {within}: {name} is {_change(finding)}."
    if verdict == "not_regressed":
        within = f"which is within the margin of {finding_row.margin_text}"
        return f"{label} {verb}: {name} differs by {finding_row.change}, {within}."
    if verdict == "equivalent":
        than = f" to {base}" if finding.peers else ""
        return (
            f"{label} is equivalent{than}: {name} differs by {finding_row.change}, within ±{finding_row.margin_text}."
        )
    if verdict == "improved":
        return f"{label} {verb}: {name} is {_change(finding)}{'' if finding.peers else f' than on {base}'}."
    return _inconclusive(finding, primary)


def _change(finding: MetricComparison) -> str:
    """Return the size of the difference, such as `25 % shorter`."""
    assert finding.difference is not None, "what has a known direction has a difference"
    return size(finding.difference.d, finding, longer=True)


def _inconclusive(finding: MetricComparison, primary: Sequence[MetricComparison]) -> str:
    finding_row, reason, name = row(finding), finding.verdict.reason, metric_text(finding.spec)
    lead, details = reasons.parts(reason)
    if finding.direction == "worse":
        after = " after Holm’s correction" if reason == NOT_AFTER_HOLM else f" ({details})" if details else ""
        now = _so_far(finding, range_of(finding, longer=False))
        worse = f"{finding.candidate} is {finding_row.known} than {finding.baseline}: {now}"
        return f"{worse}. Whether this exceeds the margin of {finding_row.margin_text} is inconclusive{after}."
    if reason and reason.code == "none_seen":
        passed = join_words([metric_text(f.spec) for f in primary if f.verdict.passes])
        which = (
            f"{finding.candidate} passes on {passed}; its {name}" if passed else f"The {name} of {finding.candidate}"
        )
        return f"{which} is inconclusive: {lead or details}, and the margin is {finding_row.margin_text}."
    inconclusive = f"Inconclusive on {finding.candidate}"
    if lead:
        return f"{inconclusive} ({lead}): {details}."
    if finding.difference is None or math.isnan(finding.difference.d):
        if reason is not None and reason.code == "uncertain":
            return f"{inconclusive}: {name} is {details}."
        absent = reason is not None and reason.code in ("no_turns", "no_value", "no_ratio", "no_analysis")
        return f"{inconclusive}: {details}." if absent else f"{inconclusive}: {name}: {details or 'no estimate'}."
    may = f"{inconclusive}: {name} may be {range_of(finding)} and the margin is {finding_row.margin_text}"
    return f"{may} ({details})." if details else f"{may}."


def _conclusive(finding: MetricComparison) -> str:
    """Return the confidence that the candidate has regressed, and the minimum size of the regression; else ""."""
    difference = finding.difference
    if difference is None or finding.verdict.name != "regressed":
        return ""
    sure = f"With {format_number(100 * (1 - difference.level))}{NBSP}% confidence it is at least"
    bound = difference.low if is_lower(finding.spec) else difference.high
    minimum = f"{sure} {size(bound, finding, longer=True)}; the" if math.isfinite(bound) else "The"
    return f"{minimum} margin is {row(finding).margin_text}."


def _so_far(finding: MetricComparison, more: str) -> str:
    """Return a sentence part about a metric that became worse. `more` is the size, such as `65 % more than on direct`.

    Example: `one turn in twenty now takes longer than 2.64 s, 65 % more than on direct (ttfa p95)`.
    """
    difference, spec, now = finding.difference, finding.spec, "" if finding.peers else "now "
    assert difference is not None, "what became worse has a difference"
    if spec.metric in HAPPENS:
        noun = "replies" if spec.metric == "stall_rate" else "turns"
        return f"{share(difference.candidate)}{NBSP}% of its {noun} {HAPPENS[spec.metric]}, {more}"
    if spec.p not in ONE_IN or not is_time(spec):
        return f"{metric_text(spec)} is {value_text(difference.candidate, spec)}, {more}"
    which, several = which_turns(spec)
    if math.isinf(difference.candidate):
        was = f"on {finding.baseline} it {'is' if finding.peers else 'was'} {value_text(difference.baseline, spec)}"
        return f"{which} {now}{'fail' if several else 'fails'} ({metric_text(spec)}; {was})"
    takes = "take" if several else "takes"
    return f"{which} {now}{takes} longer than {value_text(difference.candidate, spec)}, {more} ({metric_text(spec)})"


def subject(primary: Sequence[MetricComparison]) -> MetricComparison:
    """Return the comparison that represents several: the one with the worst verdict.

    If several comparisons have this verdict, it is the one that is farthest beyond its margin.
    """
    verdict = overall(primary)

    def priority(finding: MetricComparison) -> tuple[bool, bool, float]:
        unseen = finding.verdict.reason is not None and finding.verdict.reason.code == "none_seen"
        return not unseen, verdict == "inconclusive" and finding.direction == "worse", _reach(finding)

    return max((finding for finding in primary if finding.verdict.name == verdict), key=priority)


def _reach(finding: MetricComparison) -> float:
    """Return how far the metric is beyond its margin: the deciding bound as a multiple of the margin.

    If an interim analysis decided the metric, the difference itself is used instead of the bound.
    """
    difference, margin = finding.difference, finding.spec.margin
    if difference is None:
        return math.inf
    bound = {"regressed": difference.worse.low, "improved": difference.better.low}.get(
        finding.verdict.name, difference.worse.high
    )
    if finding.analysis is not None:
        bound = difference.d if is_lower(finding.spec) else -difference.d
    accepted = {"points": margin.points, "slope": margin.plus, "ratio": math.log1p(margin.ratio)}[difference.scale]
    return bound / max(accepted, 0.005)


def _others(mine: Sequence[MetricComparison], representative: MetricComparison) -> Iterable[str]:
    """Yield a sentence for each verdict that other primary metrics have, such as `Also regressed: ttfa p50 +57 %.`."""
    for verdict in WORST:
        others = [finding for finding in mine if finding.verdict.name == verdict and finding is not representative]
        for text in dict.fromkeys(map(displayed, others)):
            group = [finding for finding in others if displayed(finding) == text]
            lead = f"{'Also ' if verdict == representative.verdict.name else ''}{text}"
            changes = (
                f"{metric_text(finding.spec)} {row(finding).change}".removesuffix(f" {NOT_SHOWN}") for finding in group
            )
            details = "; ".join(map(_undecided, group)) if verdict == "inconclusive" else ", ".join(changes)
            yield f"{lead[:1].upper()}{lead[1:]}: {details}."


def _undecided(finding: MetricComparison) -> str:
    """Return the text of an inconclusive metric, such as `ttfa p95, 10 to 23 % longer (margin 20 %)`.

    For a rate of which no event occurred, the text has the values that the rate may have.
    """
    name, difference, reason = metric_text(finding.spec), finding.difference, finding.verdict.reason
    lead, details = reasons.parts(reason)
    if reason and reason.code == "none_seen":
        return f"{name}: {lead or details}"
    if difference is None or math.isnan(difference.d) or finding.shortfall:
        return f"{name}: {lead or details}" if lead or details else name
    margin = f"margin {row(finding).margin_text}"
    return f"{name}, {range_of(finding)} ({'; '.join(filter(None, (margin, reasons.reason_text(reason))))})"
