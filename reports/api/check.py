"""The result of `rtbench.check`, with a frame and a summary."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from msgspec import structs

from reports.analysis.check.results import CheckResult
from reports.api.frames import COUNT, FLAG, NUMBER, REASON, TEXT, dtypes_of, frame_of
from reports.engine.judge import Judged
from reports.formatting import NBSP, plural
from reports.pages.check.report import written_finding
from reports.render.notebook import frame_html
from reports.text import reasons

DTYPES = dtypes_of(
    (TEXT, ("run_id", "threshold", "title", "target", "metric", "unit", "result", "verdict")),
    (FLAG, ("published", "usable")),
    (TEXT, REASON),
    (FLAG, ("provisional",)),
    (NUMBER, ("value", "low", "high", "bound")),
    (TEXT, ("operator",)),
    (NUMBER, ("limit", "baseline", "difference", "corrected")),
    (TEXT, ("margin", "direction")),
    (COUNT, ("analysis", "more_sessions")),
    (FLAG, ("in_failures",)),
    (COUNT, ("turns", "sessions", "failed")),
    (NUMBER, ("completed_share", "effective_sessions")),
    (COUNT, ("required", "available")),
    (TEXT, ("required_unit", "sentence")),
)
"""The columns of a check's frame, with their dtypes."""
COLUMNS = (
    "threshold", "target", "result", "verdict", "value", "low", "high", "unit", "difference", "reason_text",
)  # fmt: skip
"""The columns that a notebook shows."""


class Checked(CheckResult, frozen=True, kw_only=True):
    """The check of one run."""

    def to_frame(self) -> pd.DataFrame:
        """Return the `findings` of check.json as a frame. It has a row for each threshold on each target.

        `value` or `low` is inf if it lies among the failed turns. If the check is invalid, `usable` is false, and
        `reason` states why.
        """
        rows = []
        for result in self.thresholds:
            row = threshold_row(result)
            published = not pd.isna(row["value"])
            note = reasons.reasons_text(result.notes)
            row |= reasons.use(result.reason, published=published, invalid=self.validity.reasons, note=note)
            rows.append(row | {"run_id": self.run_id})
        return frame_of(rows, DTYPES)

    def __repr__(self) -> str:
        """Return a summary: Checked(20261120T091400Z-voice_turns: inconclusive, 3 thresholds)."""
        return f"Checked({self.run_id}: {self.result}, {plural(len(self.thresholds), 'threshold')})".replace(NBSP, " ")

    def _repr_html_(self) -> str:
        return frame_html(repr(self), self.to_frame(), COLUMNS, [*map(reasons.reason_line, self.causes)])


def threshold_row(result: Judged) -> dict[str, Any]:
    """Return a result with its sentences as a flat row.

    A value, or the low end of its interval, is inf if it lies among failed turns.
    """
    finding, counts = written_finding(result), dict[str, Any]()
    if result.estimate or result.relative:  # else the metric is uncertain
        sizes = [target.effective_sessions for target in result.targets if target.sessions or not result.relative]
        counts = structs.asdict(result.counts) | {"effective_sessions": min(sizes, default=None)}
    value = finding.value.value
    row = dict.fromkeys(DTYPES) | structs.asdict(finding) | counts
    row |= {"target": result.target, "metric": result.spec.metric, "margin": None, "in_failures": value == math.inf}
    row |= {"value": value, "difference": None}
    if short := result.shortfall:
        row |= {"required": short.needed, "available": short.there, "required_unit": f"{short.unit}s"}
    if not result.relative:
        row |= {"low": finding.value.low, "high": finding.value.high}
    else:
        row["margin"] = result.spec.margin_text(sign=True)
        difference, (of_baseline, of_candidate) = result.difference, result.shortfalls
        if difference is None:
            row["sentence"] = None
        elif not of_baseline:
            row["baseline"] = difference.baseline
        if difference and not of_candidate:
            row |= {"value": difference.candidate, "in_failures": difference.candidate == math.inf}
        if result.published:
            row |= dict(zip(("difference", "low", "high"), result.published.shares, strict=True))
    unbounded = [name for name in ("baseline", "high", "bound") if row[name] == math.inf]
    unbounded += [name for name in ("value", "low", "high", "bound") if row[name] == -math.inf]
    unknown = [name for name in ("value", "low", "high", "bound") if row[name] != row[name]]  # NaN
    return row | dict.fromkeys([*unbounded, *unknown])
