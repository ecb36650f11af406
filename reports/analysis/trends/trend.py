"""A trend: the runs in some folders, grouped into series of comparable runs, and the metrics of each series."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from bench.base.errors import UsageError
from bench.catalogue.metrics import SLOPE, WAITS
from bench.files.sanitize import escape_control
from bench.record.presence import is_run, run_folders
from reports.analysis.trends.metric_trend import (
    MetricTrend,
    RunSeries,
    SlowTrendChange,
    TrendChange,
    find_changes,
    metric_trend,
    series_of,
)
from reports.analysis.trends.trend_point import TrendPoint, points_of_run, stored_points
from reports.data.frames import COUNT, FLAG, NUMBER, REASON, TEXT, dtypes_of, frame_of
from reports.data.runs import RunFrames
from reports.data.samples import VOICE_TO_VOICE
from reports.formatting import NBSP, plural
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.statistic_types.quantile import Quantile
from reports.metrics.statistic_types.rate import FAILURES
from reports.metrics.strata import NO_LABELS, Stratum
from reports.metrics.thresholds import metric_option, quoted
from reports.render.notebook import frame_html
from reports.results.levels import LEVELS
from reports.text.reasons import use

MAIN_METRICS = WAITS
HEADLINE = (0.5, 0.95)


def trend_spec(text: str) -> MetricSpec:
    """Return the spec of a metric that is written as ttfa:p95, voice_to_voice:med, or failure_rate.

    Raise UsageError if a trend cannot show the metric. The message has the allowed statistics.
    """
    metric, statistic = metric_option(text, "p50")
    if metric.unit == SLOPE or metric.signed:
        raise UsageError(f"{metric.name} may be 0 or less, but a trend compares by ratios: choose another metric")
    if statistic.kind != "rate" and statistic.p not in LEVELS:
        allowed = ", ".join(f"{metric.name}:p{100 * level:g}" for level in LEVELS)
        raise UsageError(f"{quoted(text)} is not in the summaries of runs; allowed: {allowed}")
    return MetricSpec(metric.name, statistic)


def headline_specs(points: Sequence[TrendPoint]) -> list[MetricSpec]:
    """Return the specs of the default metrics: p50 and p95 of the latencies of callers, and the failure rate."""
    known = {key.metric for point in points for key in point.quantiles}
    main = next((name for name in MAIN_METRICS if name in known), MAIN_METRICS[0])
    latencies = [main, VOICE_TO_VOICE] if VOICE_TO_VOICE in known else [main]
    return [
        *(MetricSpec(name, Quantile(p)) for name in latencies for p in HEADLINE),
        FAILURES,
    ]


def of_commonest_turns(spec: MetricSpec, points: Iterable[TrendPoint]) -> MetricSpec:
    """Return the spec, limited to the most frequent stratum if the metric has turns of several strata."""
    turns = Counter[Stratum]()
    for point in points:
        for key, quantiles in point.quantiles.items():
            if key.metric == spec.metric:
                turns[key.stratum] += max(run.n for run in quantiles.values())
    several = spec.statistic.per_stratum and len(turns) > 1
    return replace(spec, stratum=turns.most_common(1)[0][0]) if several else spec


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


@dataclass(frozen=True)
class ScenarioTrend:
    """The series of one scenario, and its metrics.

    `metrics` has each metric with its trends. There is one trend for each series that reports the metric.
    """

    name: str
    series: tuple[RunSeries, ...]
    metrics: tuple[tuple[MetricSpec, tuple[MetricTrend, ...]], ...]

    def of_series(self, series: RunSeries) -> list[MetricTrend]:
        return [trend for _, trends in self.metrics for trend in trends if trend.series is series]


@dataclass(frozen=True)
class Trend:
    """The trends of all scenarios.

    `notices` are the runs that were left out, with the reasons.
    """

    scenarios: tuple[ScenarioTrend, ...]
    notices: tuple[str, ...] = ()

    @property
    def series(self) -> list[RunSeries]:
        return [series for scenario in self.scenarios for series in scenario.series]

    @property
    def by_series(self) -> list[tuple[RunSeries, list[MetricTrend]]]:
        """All series, each with the trends of its metrics."""
        return [(series, scenario.of_series(series)) for scenario in self.scenarios for series in scenario.series]

    @property
    def points(self) -> list[TrendPoint]:
        """All points, the oldest first."""
        return sorted(
            (point for series in self.series for point in series.points), key=lambda point: point.started_utc_ns
        )

    @property
    def runs(self) -> int:
        return len({(point.run_id, point.started_utc_ns) for point in self.points})

    @property
    def metrics(self) -> list[MetricTrend]:
        return [trend for scenario in self.scenarios for _, trends in scenario.metrics for trend in trends]

    @property
    def comparisons(self) -> int:
        return sum(metric.comparisons for metric in self.metrics)

    @property
    def changes(self) -> list[tuple[MetricTrend, TrendChange]]:
        """All changes with their metrics, the newest first."""
        changes = [(metric, change) for metric in self.metrics for change in metric.changes]
        return sorted(changes, key=lambda item: -item[1].first_started_utc_ns)

    @property
    def slow_changes(self) -> list[tuple[MetricTrend, SlowTrendChange]]:
        """All steady rises and falls with their metrics, the newest first."""
        changes = [(metric, metric.slow) for metric in self.metrics if metric.slow]
        return sorted(changes, key=lambda item: -item[1].last_started_utc_ns)

    @property
    def changes_by_run(self) -> list[list[tuple[MetricTrend, TrendChange]]]:
        """All changes, in one list for each series and run at which changes begin."""
        groups: dict[tuple[int, str, int], list[tuple[MetricTrend, TrendChange]]] = {}
        for metric, change in self.changes:
            run = id(metric.series), change.first_run, change.first_started_utc_ns
            groups.setdefault(run, []).append((metric, change))
        return list(groups.values())

    def to_frame(self) -> pd.DataFrame:
        """Return the trend as a frame with one row for each metric of each run.

        A row has the value with its 95 % interval, in `unit`, as in the run's report. `usable` is True if the run is
        compared; otherwise `reason` states why it is not. If the level changed at the run, `change` is the level after
        the change relative to the level before it, with its interval. For a rate, it is the difference of the levels.
        It is NaN if the level did not change.
        """
        rows = []
        for metric in self.metrics:
            spec, series = metric.spec, metric.series
            for point, run in zip(series.points, metric.values, strict=True):
                change = next(iter(metric.changes_at(point)), None)
                excluded, published = point.excluded, not math.isnan(run.value)
                values = (
                    *(series.scenario, series.name, point.target, point.run_id, point.validity),
                    pd.Timestamp(point.started_utc_ns, unit="ns", tz="UTC"),
                    *(spec.name, spec.metric, spec.p),
                    *(NO_LABELS if spec.stratum is None else spec.stratum.labels).values(),
                    spec.unit,
                    *(run.value, run.low, run.high, run.n),
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
        columns = ("scenario", "target", "run_id", "title", "value", "low", "high", "unit", "change", "reason")
        return frame_html(repr(self), self.to_frame(), columns, self.notices)


def in_folders(folders: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Return two lists of folders: those of runs, and those of stored baselines.

    Each given folder is a run, or contains runs, or otherwise counts as a folder of stored baselines. Raise UsageError
    if a path is not a folder.
    """
    runs, stored = list[Path](), list[Path]()
    for folder in folders:
        inside = [folder] if is_run(folder) else sorted(run_folders(folder))
        runs += inside
        stored += [] if inside else [folder]
    return runs, stored


def trend_of(runs: Sequence[Path | RunFrames], stored: Sequence[Path], specs: Sequence[MetricSpec] = ()) -> Trend:
    """Return the trend of runs (folders, or loaded runs) and of folders with stored baselines.

    If `specs` is empty, the trend has the default metrics. The `notices` of the trend name the runs that could not be
    read. Raise UsageError if no run could be read.
    """
    points, notices = list[TrendPoint](), list[str]()
    for run in runs:
        try:
            points += points_of_run(run)
        except UsageError as error:
            notices.append(escape_control(str(error)))
    for folder in stored:
        folder_points, problems = stored_points(folder)
        points += folder_points
        notices += problems
    if not points:
        more = f" (and {len(notices) - 1} more)" if len(notices) > 1 else ""
        first = f": {notices[0]}{more}" if notices else ""
        parents = dict.fromkeys(run.parent for run in runs if isinstance(run, Path))
        where = ", ".join(str(path) for path in (*stored, *parents))
        raise UsageError(f"there is no run to show in {where or 'these folders'}{first}")
    return trend_of_points(points, specs, notices)


def trend_of_points(
    points: Sequence[TrendPoint], specs: Sequence[MetricSpec] = (), notices: Sequence[str] = ()
) -> Trend:
    """Return the trend of these points. If there are several points of one target of one run, use only the first."""
    once: dict[tuple[str, int, str, str], TrendPoint] = {}
    for point in points:
        once.setdefault((point.run_id, point.started_utc_ns, point.scenario, point.target), point)
    by_scenario: dict[str, list[RunSeries]] = {}
    for series in series_of(list(once.values())):
        by_scenario.setdefault(series.scenario, []).append(series)
    runs = {name: [point for series in members for point in series.points] for name, members in by_scenario.items()}
    names = sorted(by_scenario, key=lambda name: -len(runs[name]))
    specs_by_name = {
        name: dict.fromkeys(of_commonest_turns(spec, runs[name]) for spec in specs or headline_specs(runs[name]))
        for name in names
    }
    all_trends = [
        metric_trend(series, spec)
        for name, members in by_scenario.items()
        for series in members
        for spec in specs_by_name[name]
    ]
    metrics = find_changes(all_trends)
    reported = [metric for metric in metrics if not all(math.isnan(run.value) for run in metric.values)]
    scenarios = []
    for name in names:
        of_specs = (
            (spec, [m for m in reported if (m.series.scenario, m.spec) == (name, spec)]) for spec in specs_by_name[name]
        )
        by_spec = tuple((spec, tuple(trends)) for spec, trends in of_specs if trends)
        scenarios.append(ScenarioTrend(name, tuple(by_scenario[name]), by_spec))
    duplicates = len(points) - len(once)
    notice = f"{plural(duplicates, 'target')} of runs found more than once, shown once."
    return Trend(tuple(scenarios), (*notices, *([notice] if duplicates else [])))
