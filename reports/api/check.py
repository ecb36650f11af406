"""The result of `rtbench.check`, with a frame and a summary."""

from __future__ import annotations

import pandas as pd

from reports.analysis.check.results import CheckResult
from reports.api.findings import DTYPES, finding_rows
from reports.api.frames import frame_of
from reports.formatting import NBSP, plural
from reports.render.notebook import frame_html
from reports.text import reasons

COLUMNS = (
    "threshold",
    "target",
    "result",
    "verdict",
    "value",
    "low",
    "high",
    "unit",
    "difference",
    "reason_text",
)
"""The columns that a notebook shows."""


class Checked(CheckResult, kw_only=True):
    """The check of one run."""

    def to_frame(self) -> pd.DataFrame:
        """Return the `findings` of check.json as a frame. It has a row for each threshold on each
        target.

        `value` or `low` is inf if it lies among the failed turns. If the check is invalid, `usable`
        is false, and `reason` states why.
        """
        rows = finding_rows(self.thresholds, self.validity.reasons)
        return frame_of([row | {"run_id": self.run_id} for row in rows], DTYPES)

    def __repr__(self) -> str:
        """Return a summary: Checked(20261120T091400Z-voice_turns: inconclusive, 3 thresholds)."""
        return (
            f"Checked({self.run_id}: {self.result}, {plural(len(self.thresholds), 'threshold')})"
        ).replace(NBSP, " ")

    def _repr_html_(self) -> str:
        return frame_html(
            repr(self), self.to_frame(), COLUMNS, [*map(reasons.reason_line, self.causes)]
        )
