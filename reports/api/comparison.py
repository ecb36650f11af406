"""The result of `rtbench.compare`, with a frame and a summary."""

from __future__ import annotations

import pandas as pd

from reports.analysis.comparisons import comparison
from reports.api.findings import DTYPES, finding_rows
from reports.api.frames import frame_of
from reports.data.runs import run_id_of
from reports.formatting import NBSP, join_words, plural
from reports.render.notebook import frame_html
from reports.results.verdict import RESULT_OF_STATUS
from reports.text.reasons import reason_line

COLUMNS = (
    "title",
    "target",
    "verdict",
    "baseline",
    "value",
    "unit",
    "difference",
    "low",
    "high",
    "reason_text",
)
"""The columns that a notebook shows."""


class CompareResult(comparison.Comparison):
    """A comparison of targets. The first target is the baseline."""

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each comparison of a metric, with primary metrics first, then one for
        the p50 of each step.

        A row is the flattened entry of compare.json. The column `scale` determines the unit of
        `difference`, `low` and `high`. If it is `ratio`, they are shares of the baseline's value
        (0.2 is +20 %). If it is `points`, they are differences of shares (0.2 is 20 points). If it
        is `slope`, they are in the unit of the metric. An unbounded end is NaN. If the comparison
        is not fair, `usable` is false and `verdict` is `not_evaluated`. `run_id` is the ID of the
        candidate's run.
        """
        run_ids = {target.label: run_id_of(target.run) for target in self.targets}
        of_steps = {
            name: labels
            for target in self.targets
            for name, labels in target.turns.row_labels.items()
        }
        refused = (
            dict.fromkeys(("result", "verdict"), "not_evaluated") if self.failed_checks else {}
        )
        rows = []
        for row in finding_rows((*self.comparisons, *self.steps), self.invalid_reasons):
            script, step = of_steps.get(row["step"], (None, row["step"]))
            rows.append(
                row | refused | {"run_id": run_ids[row["target"]], "script": script, "step": step}
            )
        return frame_of(rows, DTYPES)

    def __repr__(self) -> str:
        """Return a summary: Comparison(east:b against west:b: inconclusive, 18 metrics)."""
        base, *candidates = (target.label for target in self.targets)
        counted = plural(len(self.comparisons), "metric").replace(NBSP, " ")
        return (
            f"Comparison({join_words(candidates)} against {base}:"
            f" {RESULT_OF_STATUS[self.exit_status]}, {counted})"
        )

    def _repr_html_(self) -> str:
        return frame_html(
            repr(self), self.to_frame(), COLUMNS, [*map(reason_line, self.invalid_reasons)]
        )
