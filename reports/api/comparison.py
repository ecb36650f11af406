"""The result of `rtbench.compare`, with a frame and a summary."""

from __future__ import annotations

import pandas as pd

from reports.analysis.comparisons import comparison
from reports.formatting import NBSP, join_words, plural
from reports.pages.comparisons.document import comparison_frame
from reports.render.notebook import frame_html
from reports.results.verdict import RESULT_OF_STATUS
from reports.text.reasons import reason_line

COLUMNS = ("title", "candidate", "verdict", "baseline", "value", "unit", "difference", "low", "high", "reason_text")
"""The columns that a notebook shows."""


class CompareResult(comparison.Comparison):
    """A comparison of targets. The first target is the baseline."""

    def to_frame(self) -> pd.DataFrame:
        return comparison_frame(self)

    to_frame.__doc__ = comparison_frame.__doc__

    def __repr__(self) -> str:
        """Return a summary: Comparison(east:b against west:b: inconclusive, 18 metrics)."""
        base, *candidates = (target.label for target in self.targets)
        counted = plural(len(self.comparisons), "metric").replace(NBSP, " ")
        return f"Comparison({join_words(candidates)} against {base}: {RESULT_OF_STATUS[self.exit_status]}, {counted})"

    def _repr_html_(self) -> str:
        return frame_html(repr(self), self.to_frame(), COLUMNS, [*map(reason_line, self.invalid_reasons)])
