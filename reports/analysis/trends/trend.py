"""A trend: the runs in some folders, grouped into series of comparable runs, and the metrics of
each series.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bench.base.errors import UsageError
from bench.catalogue.metrics import SLOPE, WAITS
from bench.files.sanitize import escape_control
from bench.record.presence import is_run, run_folders
from bench.record.run_list import run_or_path
from reports.analysis.trends.metric_trend import (
    MetricTrend,
    RunSeries,
    TrendChange,
    TrendMetric,
    find_changes,
    metric_trend,
    series_of,
)
from reports.analysis.trends.trend_point import TrendPoint, TrendRun, points_of_run, stored_points
from reports.data.runs import RunFrames
from reports.data.samples import VOICE_TO_VOICE
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.statistic_types.quantile import Quantile
from reports.metrics.statistic_types.rate import FAILURES
from reports.metrics.strata import Stratum
from reports.metrics.thresholds import metric_option, quoted
from reports.results.json_entries import Count, JsonEntry, Rounded
from reports.results.value import LEVELS, Reason, Reasons

TREND_VERSION: Literal[6] = 6
MAIN_METRICS = WAITS
HEADLINE = (0.5, 0.95)


def trend_spec(text: str) -> MetricSpec:
    """Return the spec of a metric that is written as ttfa:p95, voice_to_voice:med, or failure_rate.

    Raise UsageError if a trend cannot show the metric. The message has the allowed statistics.
    """
    metric, statistic = metric_option(text, "p50")
    if metric.unit == SLOPE or metric.signed:
        raise UsageError(
            f"{metric.name} may be 0 or less, but a trend compares by ratios: choose another metric"
        )
    if statistic.kind != "rate" and statistic.p not in LEVELS:
        allowed = ", ".join(f"{metric.name}:p{100 * level:g}" for level in LEVELS)
        raise UsageError(f"{quoted(text)} is not in the summaries of runs; allowed: {allowed}")
    return MetricSpec(metric.name, statistic)


def headline_specs(points: Sequence[TrendPoint]) -> list[MetricSpec]:
    """Return the specs of the default metrics: p50 and p95 of the latencies of callers, and the
    failure rate.
    """
    known = {key.metric for point in points for key in point.quantiles}
    main = next((name for name in MAIN_METRICS if name in known), MAIN_METRICS[0])
    latencies = [main, VOICE_TO_VOICE] if VOICE_TO_VOICE in known else [main]
    return [
        *(MetricSpec(name, Quantile(p)) for name in latencies for p in HEADLINE),
        FAILURES,
    ]


def of_commonest_turns(spec: MetricSpec, points: Iterable[TrendPoint]) -> MetricSpec:
    """Return the spec, limited to the most frequent stratum if the metric has turns of several
    strata.
    """
    turns = Counter[Stratum]()
    for point in points:
        for key, quantiles in point.quantiles.items():
            if key.metric == spec.metric:
                turns[key.stratum] += max(run.n for run in quantiles.values())
    several = spec.statistic.per_stratum and len(turns) > 1
    return replace(spec, stratum=turns.most_common(1)[0][0]) if several else spec


@dataclass(frozen=True)
class Trend:
    """The trends of all scenarios.

    - `series` are ordered by scenario, the one with the most runs first.
    - `metrics` are ordered by scenario and metric. Each has one trend for each series that reports
      it.
    - `notices` are the runs that were left out, with the reasons.
    """

    series: tuple[RunSeries, ...]
    metrics: tuple[MetricTrend, ...]
    notices: Reasons = ()

    @property
    def by_series(self) -> list[tuple[RunSeries, list[MetricTrend]]]:
        """All series, each with the trends of its metrics."""
        return [
            (series, [metric for metric in self.metrics if metric.series is series])
            for series in self.series
        ]

    @property
    def points(self) -> list[TrendPoint]:
        """All points, the oldest first."""
        points = (point for series in self.series for point in series.points)
        return sorted(points, key=lambda point: point.started_utc_ns)

    @property
    def runs(self) -> int:
        return len({(point.run_id, point.started_utc_ns) for point in self.points})

    @property
    def comparisons(self) -> int:
        return sum(metric.comparisons for metric in self.metrics)

    @property
    def changes(self) -> list[tuple[MetricTrend, TrendChange]]:
        """All changes with their metrics, the newest first."""
        changes = [(metric, change) for metric in self.metrics for change in metric.changes]
        return sorted(changes, key=lambda item: -item[1].first_started_utc_ns)

    @property
    def slow_changes(self) -> list[tuple[MetricTrend, TrendChange]]:
        """All steady rises and falls with their metrics, the newest first."""
        changes = [(metric, metric.slow_change) for metric in self.metrics if metric.slow_change]
        return sorted(changes, key=lambda item: -item[1].last_started_utc_ns)

    @property
    def changes_by_run(self) -> list[list[tuple[MetricTrend, TrendChange]]]:
        """All changes, in one list for each series and run at which changes begin."""
        groups: dict[tuple[int, str, int], list[tuple[MetricTrend, TrendChange]]] = {}
        for metric, change in self.changes:
            run = id(metric.series), change.first_run, change.first_started_utc_ns
            groups.setdefault(run, []).append((metric, change))
        return list(groups.values())


class TrendSeries(JsonEntry):
    """Comparable runs of a target, the oldest first."""

    scenario: str
    target: str
    name: str
    simulated: bool
    runs: list[TrendRun]
    metrics: list[TrendMetric]


class TrendDocument(JsonEntry):
    """The output of `rtbench trend --json`."""

    schema: Literal[6]
    alpha: Rounded
    """the maximum share of unchanged histories in which a change is ever marked"""
    comparisons: Count
    """made with these runs; each run of a year has the same share of the error level"""
    series: list[TrendSeries]
    notices: list[str]


def in_folders(folders: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Return two lists of folders: those of runs, and those of stored baselines.

    Each given folder is a run, or contains runs, or otherwise counts as a folder of stored
    baselines. A run may be given by its name. Raise UsageError if a path is neither.
    """
    runs = list[Path]()
    stored = list[Path]()
    for path in folders:
        folder = run_or_path(path)
        inside = [folder] if is_run(folder) else sorted(run_folders(folder))
        runs += inside
        stored += [] if inside else [folder]
    return runs, stored


def trend_of(
    runs: Sequence[Path | RunFrames], stored: Sequence[Path], specs: Sequence[MetricSpec] = ()
) -> Trend:
    """Return the trend of runs (folders, or loaded runs) and of folders with stored baselines.

    If `specs` is empty, the trend has the default metrics. The `notices` of the trend name the runs
    that could not be read. Raise UsageError if no run could be read.
    """
    points = list[TrendPoint]()
    notices = list[Reason]()
    for run in runs:
        try:
            points += points_of_run(run)
        except UsageError as error:
            notices.append(Reason("run_notice", {"notice": escape_control(str(error))}))
    for folder in stored:
        folder_points, problems = stored_points(folder)
        points += folder_points
        notices += problems
    if not points:
        more = f" (and {len(notices) - 1} more)" if len(notices) > 1 else ""
        parents = dict.fromkeys(run.parent for run in runs if isinstance(run, Path))
        where = ", ".join(str(path) for path in (*stored, *parents)) or "these folders"
        first = notices[0].numbers if notices else {}
        if "notice" in first:
            raise UsageError(f"there is no run to show in {where}: {first['notice']}{more}")
        if "path" in first:
            raise UsageError(
                f"there is no run to show in {where}: {first['path']} is not in the folder of"
                f" {first['of']}; move it there{more}"
            )
        raise UsageError(f"there is no run to show in {where}")
    return trend_of_points(points, specs, notices)


def trend_of_points(
    points: Sequence[TrendPoint], specs: Sequence[MetricSpec] = (), notices: Sequence[Reason] = ()
) -> Trend:
    """Return the trend of these points. If there are several points of one target of one run,
    use only the first.
    """
    once: dict[tuple[str, int, str, str], TrendPoint] = {}
    for point in points:
        once.setdefault((point.run_id, point.started_utc_ns, point.scenario, point.target), point)
    all_series = series_of(list(once.values()))
    counts = Counter(point.scenario for point in once.values())
    metrics = list[MetricTrend]()
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        members = [series for series in all_series if series.scenario == name]
        of_scenario = [point for series in members for point in series.points]
        limited = dict.fromkeys(
            of_commonest_turns(spec, of_scenario) for spec in specs or headline_specs(of_scenario)
        )
        metrics += [metric_trend(series, spec) for spec in limited for series in members]
    found = find_changes(metrics)
    reported = [
        metric for metric in found if not all(math.isnan(run.value) for run in metric.values)
    ]
    ordered = sorted(all_series, key=lambda series: (-counts[series.scenario], series.scenario))
    duplicates = len(points) - len(once)
    found_again = [Reason("found_again", {"targets": duplicates})] if duplicates else []
    return Trend(tuple(ordered), tuple(reported), (*notices, *found_again))
