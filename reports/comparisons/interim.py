"""The interim analyses of a comparison as a table: the estimate of each primary metric with the bounds that decide.

At an analysis with critical value c the bounds are d ∓ T⁻¹(Φ(c))·SE, with T of the analysis's degrees of freedom. A
metric is worse if the lower one is beyond the margin, and passes if the upper one is below it.
"""

from __future__ import annotations

import math

from reports.finding_sentences import displayed
from reports.formatting import NBSP, NONE, count
from reports.metric_spec import MetricSpec
from reports.render.blocks import MARKS, Cell, Column, Table, make_row
from reports.sequential.analysis import End, InterimAnalysis
from reports.sequential.decision import Decision
from reports.statistics.group_sequential import bound_distance
from reports.statistics.interim import InterimStatistic
from reports.wording.verdicts import as_share, difference_interval, margin, metric_text, signed, verdict_text

REASONS: dict[End, str] = {
    "regressed": "A primary metric is worse than its margin allows.",
    "not_regressed": "No primary metric is worse than its margin allows.",
    "futility": "Stopped for futility: further analyses were unlikely to decide.",
    "final_analysis": "The final analysis was inconclusive.",
    "invalid": "The targets could not be compared at that time, so nothing was decided.",
    "stopped_by_user": "The run was interrupted; only bounds that were crossed before that count.",
    "pending": "The run is in progress.",
    "no_analysis": "The run ended before its first interim analysis.",
}


def interim_analyses(decision: Decision) -> Table | None:
    """Return a row for each analysis; None if no analysis has an estimate."""
    looks, rulings = decision.result.analyses, decision.result.decisions
    if not any(_is_estimated(seen) for look in looks for seen in look.statistics):
        return None
    head = [Column("analysis"), Column("pairs"), *(Column(metric_text(gate)) for gate in decision.primary_metrics)]
    rows = []
    for k, look in enumerate(looks):
        cells = [
            Cell(
                _estimate(gate, look, look.statistics[at]),
                MARKS[ruling.verdict].marker + NBSP + displayed(decision.findings[at]) if ruling.analysis == k else "",
            )
            for at, (gate, ruling) in enumerate(zip(decision.primary_metrics, rulings, strict=True))
        ]
        rows.append(make_row([f"{k + 1} of {len(decision.plan.analyses)}", count(look.pairs), *cells]))
    return Table(tuple(head), tuple(rows), stacked=True)


def _is_estimated(seen: InterimStatistic) -> bool:
    return math.isfinite(seen.d) and not seen.untested


def _estimate(gate: MetricSpec, look: InterimAnalysis, seen: InterimStatistic) -> str:
    """Return +47 % (+10 % to +95 %); a dash if the analysis has no estimate."""
    if not _is_estimated(seen):
        return NONE
    known = math.isfinite(seen.se) and math.isfinite(seen.df) and math.isfinite(look.c)
    reach = bound_distance(look.c, seen.df) * seen.se if known else math.inf
    scale = gate.scale
    low, high = as_share(seen.d - reach, scale), as_share(seen.d + reach, scale)
    return f"{_value_text(gate, seen.d)} ({difference_interval(low, high, scale)})"


def _value_text(gate: MetricSpec, value: float) -> str:
    """Return +47 %, or +1.2 points; no number for an open end."""
    return signed(as_share(value, gate.scale), gate.scale)


def verdict_lines(decision: Decision) -> list[str]:
    """Return a sentence for each primary metric: its verdict, its estimate, and that corrected for the early stop."""
    lines = []
    for at, ruling in enumerate(decision.result.decisions):
        gate, look = decision.primary_metrics[at], decision.result.analyses[ruling.analysis]
        seen = look.statistics[at]
        why = f" ({verdict_text(ruling.reason)})" if ruling.reason else ""
        verdict = f"{MARKS[ruling.verdict].marker} {metric_text(gate)} {displayed(decision.findings[at])}{why}"
        estimate = f": {_value_text(gate, seen.d)}" if _is_estimated(seen) else ""
        early = math.isfinite(ruling.corrected) and ruling.verdict != "inconclusive"
        better = f", corrected for the early stop {_value_text(gate, ruling.corrected)}" if early else ""
        allowed = f"; the margin is {margin(gate.margin, gate.metric)}"
        lines.append(f"{verdict} at {count(look.pairs)}{NBSP}pairs{estimate}{better}{allowed}.")
    return lines


def end_reason(decision: Decision) -> str:
    """Return the sentence on the end of the analyses, and on the pairs that are not in the verdict."""
    held, planned = decision.result.analyses, decision.plan.analyses
    at = f"Stopped at analysis {len(held)} of {len(planned)}, at {count(decision.used)}{NBSP}pairs. " if held else ""
    at = "" if decision.result.reason == "pending" else at
    beyond = (
        f" {count(decision.after)} complete pairs after that analysis are not part of the verdict."
        if decision.after
        else ""
    )
    return f"{at}{REASONS[decision.result.reason]}{beyond}"
