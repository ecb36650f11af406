"""The interim analyses of a run: two tables of them, and the writing of decision.json.

At an analysis with critical value c, the bounds are d ∓ T⁻¹(Φ(c))·SE. T is the distribution
function of Student's t with the degrees of freedom of the estimate. A metric is worse if the lower
bound is beyond the margin. It passes if the upper bound is below the margin.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.base.errors import UsageError
from bench.files.safe_io import replace_text
from reports.analysis.sequential.analysis import AnalysisEntry, AnalyzedMetricEntry
from reports.analysis.sequential.decide import STATUSES, Decision, DecisionDocument, decision_of
from reports.data import runs
from reports.engine.judge import baseline_finding
from reports.formatting import NBSP, NONE, count, format_duration
from reports.metrics.metric_spec import MetricSpec
from reports.render.blocks import MARKS, Block, Cell, Column, Paragraph, Table, make_row, table
from reports.results.json_entries import narrowed, text_of
from reports.results.value import as_share
from reports.statistics.group_sequential import bound_distance
from reports.text.decision_sentences import (
    FOR_INFORMATION,
    decision_sentence,
    estimate_text,
    outcome,
)
from reports.text.metric_sentences import displayed
from reports.text.reasons import document_data
from reports.text.verdicts import difference_interval

NAME = "decision.json"
WITHOUT_SE = (
    f"; {NONE}: all pairs are equal, so there is no standard error, and only the bound decides"
)


def analyse_pairs(folder: Path) -> Decision:
    """Return the decision on a run, which may still continue. Write it to decision.json.

    Raise UsageError if the folder is not a run, if the run was started without a plan, or if the
    folder is not writable.
    """
    decision = decision_of(runs.load_for_report(folder), str(folder))
    write_decision(decision, folder)
    return decision


def write_decision(decision: Decision, folder: Path) -> Path:
    """Write decision.json. Raise UsageError if the folder is not writable."""
    path = folder / NAME
    try:
        replace_text(path, text_of(decision_data(decision)))
    except OSError as error:
        raise UsageError(f"the decision cannot be written to {folder}: {error.strerror}") from None
    return path


def decision_data(decision: Decision) -> dict[str, Any]:
    """Return the document decision.json as lists, dictionaries, strings, and numbers."""
    headline = outcome(decision)
    sentence = decision_sentence(decision)
    findings = tuple(map(baseline_finding, decision.comparisons))
    document = narrowed(
        DecisionDocument, decision, headline=headline, sentence=sentence, primary_metrics=findings
    )
    return document_data(document, findings=("primary_metrics",))


def z_scores(decision: Decision) -> Iterable[Block]:
    """Yield a table of the interim analyses: the critical values, and the z-score of each
    primary metric.
    """
    if not decision.analyses:
        return
    if decision.invalid and not decision.is_decided_by_analysis:
        yield Paragraph(FOR_INFORMATION)
    rows = []
    has_no_se = False
    for k, analysis in enumerate(decision.analyses, start=1):
        cells = []
        for metric, decided in zip(analysis.primary_metrics, decision.comparisons, strict=True):
            has_no_se |= not metric.untested and metric.se == 0
            text = "n/a" if metric.untested else NONE if metric.se == 0 else _signed(metric.z)
            is_decided = k >= (decided.analysis or 1) and decided.verdict.name in STATUSES
            cells.append(f"{text} {MARKS[decided.verdict.name].marker if is_decided else ' '}")
        bounds = _signed(analysis.critical_value_first), _signed(-analysis.critical_value)
        rows.append(make_row([f"{k}", *_size(analysis), *bounds, *cells]))
    heads = (
        "analysis",
        "pairs",
        "over",
        "fail above",
        "pass below",
        *(one.title for one in decision.comparisons),
    )
    yield table(heads, rows)
    yield Paragraph(f"z-scores relative to the margin{WITHOUT_SE if has_no_se else ''}.", "soft")


def _size(analysis: AnalysisEntry) -> tuple[str, str]:
    return count(analysis.pairs), format_duration(analysis.observed_s)


def _signed(z: float) -> str:
    return ("+∞" if z > 0 else "−∞") if math.isinf(z) else f"{z:+.2f}".replace("-", "−")


def interim_analyses(decision: Decision) -> Table | None:
    """Return a table with the estimate of each primary metric at each analysis; None if there
    are no estimates.
    """
    if not any(
        metric.is_estimated for analysis in decision.analyses for metric in analysis.primary_metrics
    ):
        return None
    heads = [
        Column(text)
        for text in ("analysis", "pairs", "over", *(one.title for one in decision.comparisons))
    ]
    verdicts = [
        f"{MARKS[compared.verdict.name].marker}{NBSP}{displayed(compared)}"
        for compared in decision.comparisons
    ]
    rows = []
    for k, analysis in enumerate(decision.analyses, start=1):
        cells = [
            Cell(
                _estimate(decided.spec, analysis.critical_value, metric),
                verdict if decided.analysis == k else "",
            )
            for metric, decided, verdict in zip(
                analysis.primary_metrics, decision.comparisons, verdicts, strict=True
            )
        ]
        rows.append(
            make_row([f"{k} of {len(decision.plan['analyses'])}", *_size(analysis), *cells])
        )
    return Table(tuple(heads), tuple(rows), stacked=True)


def _estimate(spec: MetricSpec, c: float, metric: AnalyzedMetricEntry) -> str:
    """Return an estimate with its bounds, such as `+47 % (+10 to +95 %)`; a dash if there is no
    estimate.
    """
    if not metric.is_estimated:
        return NONE
    known = math.isfinite(metric.se) and math.isfinite(metric.df) and math.isfinite(c)
    distance = bound_distance(c, metric.df) * metric.se if known else math.inf
    low, high = (as_share(end, spec.scale) for end in (metric.d - distance, metric.d + distance))
    return f"{estimate_text(spec, metric.d)} ({difference_interval(low, high, spec.scale)})"
