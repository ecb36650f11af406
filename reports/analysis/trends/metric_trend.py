"""One metric over a series of comparable runs: its value in each run, and the runs at which its
level changed.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import field

from bench.base.units import NS_PER_S
from reports.analysis.summary import drift
from reports.analysis.targets.conditions import OF_TARGET, differing_between, group_of
from reports.analysis.trends.trend_point import RunValue, TrendPoint
from reports.formatting import NONE
from reports.metrics.metric_spec import POINTS, MetricSpec, MetricSpecEntry
from reports.results.json_entries import Count, JsonEntry, Known, Rounded
from reports.results.value import BaselineFinding, Reason, Value, as_share
from reports.statistics import change_points
from reports.statistics.change_points import DAY, ENOUGH, WEEK, ChangePoint, without_cycle
from reports.statistics.counting import Integers, count_nonzero
from reports.statistics.slow_changes import SlowChange


class RunSeries(NamedTuple):
    """Comparable runs of a target, the oldest first.

    `differs` is the conditions that distinguish the series from others of its target. Its
    `simulated` is "" if no run ever connected. `earlier` has those of each series before it. Both
    are empty if the target has one series.
    """

    scenario: str
    target: str
    points: tuple[TrendPoint, ...]
    differs: Mapping[str, str]
    earlier: tuple[Mapping[str, str], ...]

    @property
    def simulated(self) -> bool:
        return any(point.simulated for point in self.points)


def series_of(points: Sequence[TrendPoint]) -> list[RunSeries]:
    """Return the series of all points, ordered by scenario.

    Within a scenario, targets are in the order of their first run.

    A run belongs to the first series of its target that has the same workload. If there is none,
    the run starts another series. A setting that is known for only one of two workloads does not
    count as a difference. The conditions OF_TARGET may change within a series: the trend shows the
    effect of such a change.
    """
    by_target: dict[tuple[str, str], list[tuple[dict[str, str], list[TrendPoint]]]] = {}
    for point in sorted(points, key=lambda point: (point.started_utc_ns, point.run_id)):
        workload = {
            key: text
            for key, text in point.conditions.items()
            if text and group_of(key) not in OF_TARGET
        }
        groups = by_target.setdefault((point.scenario, point.target), [])
        for known, members in groups:
            if not differing_between([known, workload]):
                known.update(workload)
                members.append(point)
                break
        else:
            groups.append((workload, [point]))
    series = list[RunSeries]()
    for (scenario, target), groups in sorted(by_target.items(), key=lambda item: item[0][0]):
        differing = _distinguishing([known for known, _ in groups])
        series += [
            RunSeries(scenario, target, tuple(members), differing[index], tuple(differing[:index]))
            for index, (_, members) in enumerate(groups)
        ]
    return series


def _distinguishing(workloads: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Return the conditions that distinguish each series of a target. `workloads` has the
    workload of each series.
    """
    differing = differing_between(workloads)
    if "num_users" in differing:  # the spawn rate follows from the number of users
        differing.pop("spawn_rate", None)
    return [
        ({"simulated": ""} if differing and "simulated" not in workload else {})
        | {code: texts[index] for code, texts in differing.items() if texts[index] != NONE}
        for index, workload in enumerate(workloads)
    ]


class TrendChange(BaselineFinding, kw_only=True):
    """A change of a metric: its level after the change, against that before, without a verdict.
    Their `n` is the number of compared runs.

    `first_run` and `last_run` of a change between two runs are the first run after it, and the last
    run before it. Those of a slow change are its first run and its last run. Its values are the
    levels at its ends, and both have the same runs.
    """

    first_run: str
    first_started_utc_ns: int
    last_run: str
    last_started_utc_ns: int
    also_changed: dict[str, tuple[Known, Known]] = field(default_factory=dict)
    """conditions that changed at the same time, before and after"""

    @property
    def is_slow(self) -> bool:
        """True for a steady rise or fall over several runs."""
        return self.first_started_utc_ns < self.last_started_utc_ns


class TrendSegment(JsonEntry):
    """The runs between two changes, with their mean (geometric for latencies) without the effect of
    hours and weekdays.

    During a slow change, it is the line of this change.
    """

    value: Rounded
    last_value: Rounded
    """at the last run; differs from `value` during a slow change"""
    first_run: str
    first_started_utc_ns: int
    last_run: str
    last_started_utc_ns: int


class TrendMetric(MetricSpecEntry, kw_only=True):
    """A metric over the runs of a series."""

    title: str
    unit: str
    values: tuple[RunValue, ...]
    """of each run of the series"""
    compared: tuple[Count, ...]
    """the indexes of the runs that are compared, from 0"""
    comparisons: Count = 0
    not_searched: Reason | None = None
    """why changes could not be searched for"""
    autocorrelation: Rounded = 0.0
    """of neighbouring runs, 0 to 0.9; 0 if there is no change, marked or not"""
    effective_runs: Count = 0
    """independent runs that contain as much information as the compared runs"""
    weekdays: tuple[Rounded, ...] = ()
    """Monday to Sunday relative to their mean, which is subtracted; empty if they do not differ"""
    hours: tuple[Rounded, ...] = ()
    """the same for the 24 hours of a day, UTC"""
    slow_change: TrendChange | None = None
    """a steady rise or fall; null if none was found"""
    levels: tuple[TrendSegment, ...] = ()
    unmarked_changes: tuple[TrendChange, ...] = ()
    """changes that would be marked if neighbouring runs were independent"""
    changes: tuple[TrendChange, ...] = ()


class MetricTrend(TrendMetric, kw_only=True):
    """A metric over the runs of a series, with its spec and the series."""

    spec: MetricSpec
    series: RunSeries

    def changes_at(self, point: TrendPoint) -> list[TrendChange]:
        """Return the change that begins with the run of a point, as a list; [] if there is none."""
        return [
            change
            for change in self.changes
            if (change.first_run, change.first_started_utc_ns) == _run(point)
        ]


def metric_trend(series: RunSeries, spec: MetricSpec) -> MetricTrend:
    """Return the trend of a metric with the value of each run. Changes are not searched for."""
    values = tuple(point.value(spec) for point in series.points)
    compared = tuple(
        index
        for index, (point, run) in enumerate(zip(series.points, values, strict=True))
        if not point.excluded
        and math.isfinite(run.value)
        and (spec.scale == "points" or run.value > 0)
    )
    runs = len(compared)
    return MetricTrend(
        **spec.entry_fields,
        title=spec.title,
        unit=spec.unit,
        values=values,
        compared=compared,
        comparisons=change_points.number_of_comparisons(runs),
        not_searched=(
            None if runs >= ENOUGH else Reason("too_few_runs", {"there": [runs], "needed": ENOUGH})
        ),
        spec=spec,
        series=series,
    )


def find_changes(trends: Sequence[MetricTrend]) -> list[MetricTrend]:
    """Return the trends with their changes. All trends share one probability of a false change."""
    searched = sum(not trend.not_searched for trend in trends)
    return [_with_changes(trend, searched) if trend.compared else trend for trend in trends]


def _with_changes(trend: MetricTrend, searched: int) -> MetricTrend:
    points = [trend.series.points[index] for index in trend.compared]
    logs = trend.spec.scale == "ratio"
    runs = [trend.values[index] for index in trend.compared]
    values = np.array([math.log(run.value) if logs else run.value for run in runs])
    variances = np.array([run.variance for run in runs])
    started = np.array([point.started_utc_ns for point in points], int)
    days = days_of(started)
    hours = hours_of(started)
    min_change = math.log1p(drift.MIN_DIFFERENCE) if logs else POINTS
    result = change_points.find_changes(
        values, variances, days, hours, among=searched, min_change=min_change
    )
    times = hours / DAY.size
    slow = result.slow
    course = slow.course(times) if slow else np.zeros(values.size)
    starts = sorted(
        {0, *(change.at for change in result.changes), *((slow.first, slow.end) if slow else ())}
    )
    ends = [*starts[1:], values.size]
    rest = (
        without_cycle(without_cycle(values, hours, DAY, result.hours), days, WEEK, result.weekdays)
        - course
    )
    level = np.exp if logs else np.asarray
    levels = tuple(
        TrendSegment(
            float(level(rest[start:end].mean() + course[start])),
            float(level(rest[start:end].mean() + course[end - 1])),
            *_run(points[start]),
            *_run(points[end - 1]),
        )
        for start, end in zip(starts, ends, strict=True)
        if start < end
    )
    slow_change = None
    if slow:
        levels_at_ends = (
            levels[starts.index(slow.first)].value,
            levels[ends.index(slow.end)].last_value,
        )
        both = (slow.end - slow.first,) * 2
        slow_change = _sized(
            trend, slow, levels_at_ends, both, points[slow.first], points[slow.end - 1]
        )
    return msgspec.structs.replace(
        trend,
        changes=tuple(
            _change(trend, change, points, levels[starts.index(change.at) - 1 :])
            for change in result.changes
        ),
        unmarked_changes=tuple(_change(trend, change, points) for change in result.unmarked),
        levels=levels,
        autocorrelation=result.autocorrelation,
        effective_runs=result.effective_runs(len(points)),
        slow_change=slow_change,
        weekdays=tuple(_share(effect, trend.spec) for effect in result.weekdays),
        hours=tuple(_share(effect, trend.spec) for effect in result.hours),
    )


def _share(effect: float, spec: MetricSpec) -> float:
    return as_share(effect, spec.scale) or 0.0


def _run(point: TrendPoint) -> tuple[str, int]:
    return point.run_id, point.started_utc_ns


UNKNOWN_LEVELS = math.nan, math.nan


def _sized(
    trend: MetricTrend,
    found: ChangePoint | SlowChange,
    levels: tuple[float, float],
    runs: tuple[int, int],
    first: TrendPoint,
    last: TrendPoint,
    also_changed: Mapping[str, tuple[str, str]] = {},
) -> TrendChange:
    """Return a change. `levels` and `runs` are those before it, then those after it."""
    spec = trend.spec
    against, value = (
        Value(
            target=trend.series.target,
            metric=spec.metric,
            statistic=spec.statistic_name,
            value=level,
            n=number,
            unit="runs",
            sessions=0,
        )
        for level, number in zip(levels, runs, strict=True)
    )
    is_worse = (found.d > 0) == (spec.better == "lower")
    return TrendChange(
        title=spec.title,
        value=value,
        against=against,
        unit=spec.unit,
        scale=spec.scale,
        difference=_share(found.d, spec),
        low=_share(found.low, spec),
        high=_share(found.high, spec),
        direction=None if spec.better == "neither" else "worse" if is_worse else "better",
        first_run=first.run_id,
        first_started_utc_ns=first.started_utc_ns,
        last_run=last.run_id,
        last_started_utc_ns=last.started_utc_ns,
        also_changed=dict(also_changed),
    )


def _change(
    trend: MetricTrend,
    change: ChangePoint,
    points: Sequence[TrendPoint],
    levels: Sequence[TrendSegment] = (),
) -> TrendChange:
    """Return a change between two runs. `levels` begins with those before and after it."""
    last = points[change.at - 1]
    first = points[change.at]
    both = {
        code: (last.conditions.get(code, ""), first.conditions.get(code, "")) for code in OF_TARGET
    }
    changed = {code: (was, now) for code, (was, now) in both.items() if was != now}
    around = (levels[0].last_value, levels[1].value) if levels else UNKNOWN_LEVELS
    return _sized(trend, change, around, (change.before, change.after), first, last, changed)


NS_PER_HOUR = 3_600 * NS_PER_S


def days_of(started_utc_ns: Integers) -> Integers:
    """Return the day of each run, as the number of days since 1970. The weekday follows from it.

    A day usually begins at midnight UTC. But if runs start within an hour of midnight, a nightly
    job that must wait would start on one day or on the next. So in this case, days begin at the
    hour around which the fewest runs start. If there are several such hours, the one farthest from
    midnight is used. A day has the date on which most runs start.
    """
    hours = started_utc_ns // NS_PER_HOUR % DAY.size
    starts = np.bincount(hours, minlength=DAY.size)
    near = starts + np.roll(starts, 1)
    start_hour = min(
        range(DAY.size), key=lambda hour: (near[hour], hour > 0, -min(hour, DAY.size - hour))
    )
    days: Integers = (started_utc_ns - start_hour * NS_PER_HOUR) // (DAY.size * NS_PER_HOUR)
    return days + int(2 * count_nonzero(hours < start_hour) > hours.size)


def hours_of(started_utc_ns: Integers) -> Integers:
    """Return the hour of each run, as the number of hours since 1970.

    A scheduled job that must wait would start in one hour or in the next. So hours begin half an
    hour before the mean minute at which runs start.
    """
    angles = 2 * np.pi * (started_utc_ns % NS_PER_HOUR) / NS_PER_HOUR
    mean_ns = float(np.angle(np.exp(1j * angles).mean())) / (2 * np.pi) * NS_PER_HOUR
    hours: Integers = (started_utc_ns - round(mean_ns) + NS_PER_HOUR // 2) // NS_PER_HOUR
    return hours
