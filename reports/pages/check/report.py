"""The page of a check, for a terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from reports.analysis.check.results import BY_SEVERITY, CheckResult, ThresholdResult
from reports.data.runs import title_of
from reports.formatting import count
from reports.pages.comparisons.interim import z_scores
from reports.render import blocks as b
from reports.text import check_sentences as sentences
from reports.text.cells import observed
from reports.text.comparison_rows import NOT_JUDGED
from reports.text.reasons import reason_line

ROWS_SHOWN = 10
"""The maximum number of thresholds that a comment shows without folding."""
INTERVALS = (
    "Intervals of values are 95 %, as in a report. A one-sided bound with a type I error of 5 % decides a threshold."
)
SIZES = ("metric", "target", "turns", "sessions", "failed", "completed")
DIFFERENCES = "Intervals of differences are 90 %, as in a comparison: their ends are the bounds that decide."


def check_page(checked: CheckResult) -> b.Page:
    """Compose the page of a check. The verdict is first, then the thresholds follow, the worst result first."""
    results = sorted(checked.thresholds, key=lambda result: BY_SEVERITY.index(result.result))
    against = sentences.against_text(checked)
    name = title_of(checked.scenario, checked.labels)
    head = [name, checked.run_id, f"against {against}" if against else "", observed(checked.observed_s)]
    headline = sentences.check_headline(checked)
    # the headline has the first reason
    notes = [*map(reason_line, checked.validity.reasons[1:]), *sentences.notices(checked)]
    decided = list(z_scores(checked.decision)) if checked.decision else []
    intervals = [INTERVALS] if any(not result.relative for result in results) else []
    intervals += [DIFFERENCES] if any(result.relative for result in results) else []
    reasons = _reasons(results, checked, headline)
    listed = [f"{of.target}: {of.title}: {text}" for of, text in zip(results, reasons, strict=True) if text]
    sizes = [
        [of.title, of.target, *map(count, (of.turns, of.sessions, of.failed)), sentences.completed_text(of)]
        for of in results
    ]
    return b.Page(
        title=f"{name}: {headline}",
        badges=sentences.check_badges(checked),
        notes=" · ".join(filter(None, head)),
        headline=headline,
        lead=[b.Paragraph(b.Strong(f"! {warning}"), "warn bold") for warning in sentences.warnings(checked)],
        answer=[_table(results, reasons, checked), b.Paragraph(" ".join(intervals), "soft")] if results else [],
        sections=[
            b.Section("analyses", "Interim analyses", "How was the run decided?", decided, brief=decided),
            b.Section("why", "Why, and what to do", "", [b.Bullets([*notes, *listed])], brief=[b.Bullets(notes)]),
            b.Section("sizes", "Turns, sessions and failures", "", [b.table(SIZES, sizes, left=(0, 1))]),
        ],
        next=[b.Paragraph(sentences.ending(checked))],
    )


def _table(results: Sequence[ThresholdResult], reasons: Sequence[str], checked: CheckResult) -> b.Table:
    several, relative = len({result.target for result in results}) > 1, any(result.relative for result in results)
    heads: list[b.Head] = [
        b.Column("metric", left=True),
        *([b.Column("target", left=True)] if several else []),
        *([b.Column("baseline", leave_out=1)] if relative else []),
        *("value", "interval", "limit"),
        b.Column("verdict", left=True),
    ]
    rows = []
    for result, reason in zip(results, reasons, strict=True):
        texts = [
            result.title,
            *([result.target] if several else []),
            *([sentences.baseline_text(result)] if relative else []),
        ]
        texts += [sentences.value_text(result), sentences.interval_text(result), sentences.limit_text(result)]
        rows.append(b.make_row([*map(b.Cell, texts), _verdict(result, checked)], more=b.note(reason)))
    return b.table(heads, rows, shown=ROWS_SHOWN)


def _verdict(result: ThresholdResult, checked: CheckResult) -> b.Cell:
    if not sentences.has_verdict(result, checked):
        return b.Cell(NOT_JUDGED, style="soft")
    style = b.MARKS[result.result].colour
    verdict = sentences.displayed_result(result) + sentences.within_text(result)
    text = b.Strong(verdict) if result.result in ("fail", "not_evaluated") else verdict
    return b.Cell(
        (f"{b.MARKS[result.result].marker} ", text, ", provisional" if result.provisional else ""), style=style
    )


def _reasons(results: Sequence[ThresholdResult], checked: CheckResult, headline: str) -> list[str]:
    """Return the reason of each result that counts. That no run is stored is stated once, or only in the headline."""
    reasons = list[str]()
    for result in results:
        reason = sentences.remark(result) if sentences.has_verdict(result, checked) else ""
        is_repeated = sentences.is_not_stored(result) and (sentences.why(result) in headline or reason in reasons)
        reasons.append("" if is_repeated else reason)
    return reasons
