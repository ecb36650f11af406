"""The page of a check, for a terminal and for Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from reports.analysis.check.results import BY_SEVERITY, CheckResult
from reports.data.runs import title_of
from reports.engine.judge import Judged, finding_of
from reports.formatting import breakable, count, join_present
from reports.pages.thresholds import threshold_table
from reports.render import blocks as b
from reports.results.value import Finding, FindingTexts
from reports.text import check_sentences as sentences
from reports.text.phrases import observed
from reports.text.reasons import reason_line, reason_text, reasons_text
from reports.text.validity import summarized, with_messages

if TYPE_CHECKING:
    from reports.analysis.sequential.decide import Decision

SIZES = (
    b.TextColumn("metric"),
    b.TextColumn("target"),
    "turns",
    "sessions",
    "failed",
    "completed",
)


def written_finding(result: Judged, texts: FindingTexts | None = None) -> Finding:
    """Return a result with its texts, as an entry of check.json."""
    written = ""
    if result.relative:
        from reports.text.metric_sentences import sentence

        written = sentence(result)
    return finding_of(result, written, reasons_text(result.notes), texts)


def with_sentences(checked: CheckResult) -> CheckResult:
    """Return the check with the sentences of check.json."""
    written = zip(checked.thresholds, sentences.threshold_texts(checked), strict=True)
    return structs.replace(
        checked,
        headline=breakable(sentences.check_headline(checked)),
        validity=with_messages(checked.validity),
        baseline=sentences.against_text(checked),
        findings=tuple(written_finding(result, texts) for result, texts in written),
        notices=tuple(sentences.notices(checked)),
        explanations=tuple(sentences.explanations(checked)),
        warnings=tuple(sentences.warnings(checked)),
    )


def check_page(checked: CheckResult) -> b.Page:
    """Compose the page of a check. The verdict is first, then the thresholds follow, the worst
    result first.
    """
    written = with_sentences(checked)
    results = sorted(written.thresholds, key=lambda result: BY_SEVERITY.index(result.result))
    name = title_of(checked.scenario, checked.labels)
    against = f"against {written.baseline}" if written.baseline else ""
    reasons = summarized(checked.validity.reasons)
    differences = [
        reason_text(reason) for reason in checked.validity.reasons if reason not in reasons
    ]
    # the headline has the first reason
    notes = [*map(reason_line, reasons[1:]), *differences, *written.notices]
    decided = _decided(checked.decision) if checked.decision else []
    why = [b.Explanation(written.explanations)] if written.explanations else []
    return b.Page(
        title=f"{name}: {written.headline}",
        badges=sentences.check_badges(written),
        notes=join_present(" · ", name, checked.run_id, against, observed(checked.observed_s)),
        headline=sentences.check_headline(checked),
        lead=[b.Paragraph(b.Strong(f"! {warning}"), "warn bold") for warning in written.warnings],
        answer=[threshold_table(written)] if results else [],
        sections=[
            b.Section(
                "analyses", "Interim analyses", "How was the run decided?", decided, brief=decided
            ),
            b.Section("notes", "Notes", "", [b.Bullets(notes)], brief=[b.Bullets(notes)]),
            b.Section("why", b.WHY, "", why, brief=why),
            b.Section(
                "sizes",
                "Turns, sessions and failures",
                "",
                [b.table(SIZES, map(_size, results))],
            ),
        ],
        next=[b.Paragraph(sentences.ending(checked))],
    )


def _decided(decision: Decision) -> list[b.Block]:
    from reports.pages.comparisons.interim import z_scores

    return list(z_scores(decision))


def _size(result: Judged) -> b.Line:
    counts = map(count, (result.counts.turns, result.counts.sessions, result.counts.failed))
    return [result.title, result.target, *counts, sentences.completed_text(result)]
