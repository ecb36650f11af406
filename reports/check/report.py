"""A check as a page, for a terminal and Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from reports.check import sentences
from reports.check.results import CheckResult, ThresholdResult
from reports.finding_rows import NOT_JUDGED, row
from reports.formatting import count
from reports.metric_comparison import Result
from reports.render import blocks as b
from reports.sequential.decision import analyses
from reports.statistics.target_counts import NO_TURNS
from reports.wording.cells import observed

BY_SEVERITY: tuple[Result, ...] = ("fail", "not_evaluated", "inconclusive", "pass")
ROWS_SHOWN = 10
"""The maximum number of thresholds that a comment shows without folding."""
INTERVALS = (
    "Intervals of values are 95 %, as in a report. A one-sided bound with a type I error of 5 % decides a threshold."
)
SIZES = ("metric", "target", "turns", "sessions", "failed", "completed")
DIFFERENCES = "Intervals of differences are 90 %, as in a comparison: their ends are the bounds that decide."


def check_page(checked: CheckResult) -> b.Page:
    """Compose the page of a check: the verdict first, then each threshold, the worst first."""
    results = sorted(checked.thresholds, key=lambda one: BY_SEVERITY.index(one.result))
    against = f"against {checked.baseline}" if checked.baseline else ""
    head = [checked.called, checked.run_id, against, observed(checked.observed_s)]
    headline, remarks = sentences.check_headline(checked), sentences.remarks(checked)
    notes = remarks[1:] if len(remarks) > len(checked.notices) else remarks  # the headline has the first reason
    decided = list(analyses(checked.decision)) if checked.decision else []
    intervals = [INTERVALS] if any(not one.relative for one in results) else []
    intervals += [DIFFERENCES] if any(one.relative for one in results) else []
    reasons = [f"{one.target}: {one.title}: {why}" for one in results if (why := _reason(one, checked))]
    sizes = [
        [one.title, one.target, *map(count, (of.turns, of.sessions, of.failed)), sentences.completed_text(one)]
        for one, of in ((one, one.counts or NO_TURNS) for one in results)
    ]
    return b.Page(
        title=f"{checked.called}: {headline}",
        badges=sentences.check_badges(checked),
        notes=" · ".join(filter(None, head)),
        headline=headline,
        lead=[b.Paragraph(b.Strong(f"! {warning}"), "warn bold") for warning in checked.warnings],
        answer=[_table(results, checked), b.Paragraph(" ".join(intervals), "soft")] if results else [],
        sections=[
            b.Section("analyses", "Interim analyses", "How was the run decided?", decided, brief=decided),
            b.Section("why", "Why, and what to do", "", [b.Bullets([*notes, *reasons])], brief=[b.Bullets(notes)]),
            b.Section("sizes", "Turns, sessions and failures", "", [b.table(SIZES, sizes, left=(0, 1))]),
        ],
        next=[b.Paragraph(sentences.ending(checked))],
    )


def _table(results: Sequence[ThresholdResult], checked: CheckResult) -> b.Table:
    several, relative = len({one.target for one in results}) > 1, any(one.relative for one in results)
    heads: list[b.Head] = [
        b.Column("metric", left=True),
        *([b.Column("target", left=True)] if several else []),
        *([b.Column("baseline", leave_out=1)] if relative else []),
        *("value", "interval", "limit"),
        b.Column("verdict", left=True),
    ]
    rows = []
    for one in results:
        texts = [one.title, *([one.target] if several else []), *([sentences.baseline_text(one)] if relative else [])]
        texts += [sentences.value_text(one), sentences.interval_text(one), sentences.limit_text(one)]
        rows.append(b.make_row([*map(b.Cell, texts), _verdict(one, checked)], more=b.note(_reason(one, checked))))
    return b.table(heads, rows, shown=ROWS_SHOWN)


def _verdict(one: ThresholdResult, checked: CheckResult) -> b.Cell:
    if not sentences.has_verdict(one, checked):
        return b.Cell(NOT_JUDGED, style="soft")
    within = row(one.finding, 1).within if one.finding and one.finding.difference else ""
    style, verdict = b.MARKS[one.result].colour, sentences.displayed_result(one) + within
    shown = b.Strong(verdict) if one.result in ("fail", "not_evaluated") else verdict
    return b.Cell((f"{b.MARKS[one.result].marker} ", shown, ", provisional" if one.provisional else ""), style=style)


def _reason(one: ThresholdResult, checked: CheckResult) -> str:
    return sentences.reason(one) if sentences.has_verdict(one, checked) else ""
