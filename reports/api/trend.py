"""The result of `rtbench.trend`: a trend with its frame."""

from __future__ import annotations

import math

import pandas as pd

from reports.analysis.trends import trend
from reports.api.frames import COUNT, FLAG, NUMBER, REASON, TEXT, dtypes_of, frame_of
from reports.formatting import NBSP, plural
from reports.metrics.strata import NO_LABELS
from reports.render.notebook import frame_html
from reports.text.reasons import use
from reports.text.trend_sentences import notice_texts, series_name

DTYPES = dtypes_of(
    (TEXT, ("scenario", "series", "target", "run_id", "validity")),
    ("datetime64[ns, UTC]", ("start",)),
    (TEXT, ("title", "metric")),
    (NUMBER, ("p",)),
    (TEXT, ("measured_from", "turn_type", "unit")),
    (NUMBER, ("value", "low", "high")),
    (COUNT, ("n",)),
    (FLAG, ("published", "usable")),
    (TEXT, REASON),
    (NUMBER, ("change", "change_low", "change_high")),
)
"""The columns of a trend's frame with their dtypes."""
SHOWN = (
    "scenario",
    "target",
    "run_id",
    "title",
    "value",
    "low",
    "high",
    "unit",
    "change",
    "reason",
)
"""The columns that a notebook shows."""


class TrendResult(trend.Trend):
    """The trends of runs: their values, and the changes of their levels."""

    def to_frame(self) -> pd.DataFrame:
        """Return the trend as a frame with one row for each metric of each run.

        A row has the value with its 95 % interval, in `unit`, as in the run's report. `usable` is
        True if the run is compared; otherwise `reason` states why it is not. If the level changed
        at the run, `change` is the level after the change relative to the level before it, with its
        interval. For a rate, it is the difference of the levels. It is NaN if the level did not
        change.
        """
        rows = []
        for metric in self.metrics:
            spec = metric.spec
            series = metric.series
            for point, run in zip(series.points, metric.values, strict=True):
                change = next(iter(metric.changes_at(point)), None)
                excluded = point.excluded
                published = not math.isnan(run.value)
                values = (
                    series.scenario,
                    series_name(series),
                    point.target,
                    point.run_id,
                    point.validity,
                    pd.Timestamp(point.started_utc_ns, unit="ns", tz="UTC"),
                    spec.name,
                    spec.metric,
                    spec.p,
                    *(NO_LABELS if spec.stratum is None else spec.stratum.labels).values(),
                    spec.unit,
                    run.value,
                    run.low,
                    run.high,
                    run.n,
                    *use(run.missing, published=published, invalid=excluded).values(),
                    *((change.change, change.low, change.high) if change else (None, None, None)),
                )
                rows.append(dict(zip(DTYPES, values, strict=True)))
        return frame_of(rows, DTYPES)

    def __repr__(self) -> str:
        """Return a text such as `Trend(12 runs, 3 metrics, 1 change)`."""
        specs = len({(metric.series.scenario, metric.spec) for metric in self.metrics})
        changes = plural(len(self.changes) + len(self.slow_changes), "change")
        counted = plural(self.runs, "run"), plural(specs, "metric"), changes
        return f"Trend({', '.join(counted)})".replace(NBSP, " ")

    def _repr_html_(self) -> str:
        return frame_html(repr(self), self.to_frame(), SHOWN, notice_texts(self))
